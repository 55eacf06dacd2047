//! Words with another meaning on the wire, or with a better word here.

use std::collections::BTreeSet;

use super::Finding;
use super::source::{Source, line_of};

/// As they appear once an identifier is taken apart, and what to say.
const BANNED: &[(&str, &str)] = &[
    ("vault", "depot"),
    ("vaults", "depots"),
    ("repository", "depot"),
    ("repositories", "depots"),
    ("datastore", "depot"),
    ("snapshot set", "group"),
    ("snapshot sets", "groups"),
    ("snapshot test", "golden"),
    ("snapshot tests", "goldens"),
    ("changed block tracking", "checkpoint"),
];

/// The wire keeps the wire's words, other tools are spoken to in theirs; this list has to name them.
const EXEMPT: &[&str] = &["crates/wire/", "xtask/src/bench/", "xtask/src/tidy/"];

/// What `exceptions` lets through are lines `word <path> <word>`; one that is no longer needed is a finding.
pub(crate) fn check(files: &[Source], exceptions: &str) -> Vec<Finding> {
    let mut unused: BTreeSet<&str> = exceptions.lines().filter(|line| line.starts_with("word ")).collect();
    let allowed = unused.clone();
    let mut findings = Vec::new();
    for file in files {
        for (banned, finding) in check_one(file) {
            let exception = format!("word {} {banned}", file.path);
            if allowed.contains(exception.as_str()) {
                unused.remove(exception.as_str());
            } else {
                findings.push(finding);
            }
        }
    }
    let settled = unused.into_iter().map(|line| {
        Finding::new("xtask/tidy-exceptions.txt", format!("{line:?} is not needed any more: remove it"))
    });
    findings.extend(settled);
    findings
}

fn check_one(file: &Source) -> Vec<(&'static str, Finding)> {
    if EXEMPT.iter().any(|place| file.path.starts_with(place)) {
        return Vec::new();
    }
    let code = identifiers(&file.code).map(|(at, word)| (at, in_words(word)));
    let docs = file.docs.lines().scan(0, |at, line| {
        let start = *at;
        *at += line.len() + 1;
        Some((start, in_words(line)))
    });
    let mut findings = Vec::new();
    for (at, said) in code.chain(docs) {
        for (banned, instead) in BANNED {
            if says(&said, banned) {
                let place = format!("{}:{}", file.path, line_of(&file.text, at));
                findings.push((*banned, Finding::new(place, format!("say \"{instead}\", not \"{banned}\""))));
            }
        }
    }
    findings.dedup();
    findings
}

fn says(said: &str, banned: &str) -> bool {
    format!(" {said} ").contains(&format!(" {banned} "))
}

fn identifiers(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    code.split(|one: char| !one.is_ascii_alphanumeric() && one != '_').filter_map(move |word| {
        let start = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some((start, word))
    })
}

/// `SnapshotSet`, `snapshot_set` and "Snapshot set." all become "snapshot set".
fn in_words(text: &str) -> String {
    let mut words = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    for one in text.chars() {
        if one.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push(' ');
        }
        words.push(if one.is_ascii_alphanumeric() { one.to_ascii_lowercase() } else { ' ' });
        before = one;
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(path: &str, text: &str) -> usize {
        check(&[Source::new(path, text.to_owned())], "").len()
    }

    #[test]
    fn an_exception_lets_one_word_through_in_one_file_and_must_be_needed() {
        let files = [Source::new("crates/model/src/policy.rs", "let vault = 1;".to_owned())];
        assert!(check(&files, "word crates/model/src/policy.rs vault\n").is_empty());
        assert_eq!(check(&files, "word crates/model/src/point.rs vault\n").len(), 2);
        assert_eq!(check(&[], "word crates/model/src/policy.rs vault\n").len(), 1);
    }

    #[test]
    fn banned_in_every_spelling_of_a_name_and_in_docs() {
        for text in
            ["let vault_id = 1;", "struct VaultId;", "const SNAPSHOT_SET: u8 = 1;", "/// A Repository.\n"]
        {
            assert_eq!(said("crates/backup/src/lib.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn allowed_on_the_wire_in_strings_and_within_other_words() {
        assert_eq!(said("crates/wire/src/lib.rs", "struct VaultId;"), 0);
        assert_eq!(said("crates/server/src/main.rs", "let name = \"VaultId\"; // the vault"), 0);
        assert_eq!(said("crates/backup/src/lib.rs", "let default_value = snapshot_settings;"), 0);
    }
}
