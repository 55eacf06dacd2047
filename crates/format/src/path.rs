//! What the objects of a depot are called, under its prefix.

use model::GroupId;

use crate::{Attempt, PackName, SlotId};

pub const HEADER: &str = "depot";
pub const KEYS: &str = "keys/";
pub const PACKS: &str = "packs/";
pub const INTENTS: &str = "intents/";
pub const GROUPS: &str = "groups/";
pub const MARKS: &str = "gc/";

pub fn key_slot(slot: SlotId) -> String {
    format!("{KEYS}{slot}")
}

pub fn pack(pack: PackName) -> String {
    let name = pack.to_string();
    format!("{PACKS}{}/{name}", &name[..2])
}

/// What an attempt at sealing a group is about to put under [`group`].
pub fn intent(group: GroupId, attempt: Attempt) -> String {
    format!("{INTENTS}{group}.{attempt}")
}

pub fn group(group: GroupId, attempt: Attempt) -> String {
    format!("{GROUPS}{group}.{attempt}")
}

/// What the names of all intents of a group begin with.
pub fn intents_of(group: GroupId) -> String {
    format!("{INTENTS}{group}.")
}

/// What the names of all manifests of a group begin with.
pub fn manifests_of(group: GroupId) -> String {
    format!("{GROUPS}{group}.")
}

/// Padded, so that names sort as numbers do.
pub fn marks(number: u64) -> String {
    format!("{MARKS}{number:020}")
}

pub fn parse_pack(path: &str) -> Option<PackName> {
    let (folder, name) = path.strip_prefix(PACKS)?.split_once('/')?;
    if !name.starts_with(folder) || folder.len() != 2 {
        return None;
    }
    name.parse().ok()
}

pub fn parse_intent(path: &str) -> Option<(GroupId, Attempt)> {
    parse_attempt(path.strip_prefix(INTENTS)?)
}

pub fn parse_group(path: &str) -> Option<(GroupId, Attempt)> {
    parse_attempt(path.strip_prefix(GROUPS)?)
}

fn parse_attempt(name: &str) -> Option<(GroupId, Attempt)> {
    let (group, attempt) = name.split_once('.')?;
    Some((group.parse().ok()?, attempt.parse().ok()?))
}

pub fn parse_marks(path: &str) -> Option<u64> {
    let digits = path.strip_prefix(MARKS)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}
