//! Which crate may use which: an allow-list against what cargo says.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Finding;
use super::pure::PURE;
use crate::sh::{capture, command};

/// Who may use whom, layer by layer from the bottom. A crate not listed here is a finding.
const ALLOWED: &[(&str, &[&str])] = &[
    // pure
    ("model", &[]),
    ("format", &["model"]),
    ("journal", &["model"]),
    ("policy", &["model"]),
    ("wire", &["model"]),
    // seams and adaptors
    ("host", &["model"]),
    ("nbd", &[]),
    ("seal", &["model"]),
    ("store", &["model"]),
    ("host-libvirt", &["host", "model", "nbd"]),
    // engines
    ("keys", &["catalog", "model", "seal"]),
    ("catalog", &["journal", "model"]),
    ("workflow", &["catalog", "journal", "model"]),
    ("depot", &["format", "host", "keys", "model", "seal", "store"]),
    // services; `backup` reaches data only through `blocks`
    ("access", &["catalog", "model", "seal", "wire"]),
    ("blocks", &["catalog", "depot", "format", "host", "journal", "keys", "model", "workflow"]),
    ("backup", &["blocks", "catalog", "journal", "model", "policy", "workflow"]),
    // edge
    (
        "sim",
        &[
            "access", "backup", "blocks", "catalog", "depot", "format", "host", "journal", "keys", "model",
            "policy", "seal", "store", "wire", "workflow",
        ],
    ),
    (
        "server",
        &[
            "access",
            "backup",
            "blocks",
            "catalog",
            "depot",
            "host",
            "host-libvirt",
            "journal",
            "keys",
            "model",
            "nbd",
            "policy",
            "seal",
            "sim",
            "store",
            "wire",
            "workflow",
        ],
    ),
    // beside the product
    ("guest", &[]),
    ("xtask", &[]),
];

/// A test may look further than its crate, but never up to the edge.
const NOT_EVEN_IN_TESTS: &[&str] = &["server", "xtask", "guest"];

/// What a pure crate may use of others' work: nothing that does IO, waits, or draws.
const PURE_MAY_USE: &[&str] = &[
    "aws-lc-rs",
    "base64",
    "blake3",
    "hex",
    "jiff",
    "percent-encoding",
    "serde",
    "serde_json",
    "thiserror",
    "zeroize",
];

/// Libraries with one home.
const ONE_HOME: &[(&str, &[&str])] = &[
    ("axum", &["server"]),
    ("libloading", &["host-libvirt"]),
    ("object_store", &["store"]),
    ("quick-xml", &["host-libvirt"]),
    ("sqlx", &["catalog"]),
];

/// One crate of ours and what it names in its manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) ours: Vec<String>,
    pub(crate) ours_in_tests: Vec<String>,
    pub(crate) theirs: Vec<String>,
}

/// Asks cargo.
pub(crate) fn read() -> Result<Vec<Crate>> {
    let text =
        capture(&mut command("cargo", &["metadata", "--no-deps", "--format-version", "1", "--offline"]))?;
    let metadata: Value = serde_json::from_str(&text).context("read cargo's metadata")?;
    let packages = metadata["packages"].as_array().context("cargo lists no packages")?;
    Ok(packages.iter().map(parse).collect())
}

fn short(name: &str) -> String {
    name.strip_prefix("hikae-").unwrap_or(name).to_owned()
}

fn parse(package: &Value) -> Crate {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut parsed = Crate { name: short(&text(&package["name"])), ..Crate::default() };
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        let name = text(&dependency["name"]);
        match (dependency["path"].is_string(), dependency["kind"].as_str()) {
            (true, Some("dev")) => parsed.ours_in_tests.push(short(&name)),
            (true, _) => parsed.ours.push(short(&name)),
            (false, Some("dev")) => {}
            (false, _) => parsed.theirs.push(name),
        }
    }
    parsed
}

pub(crate) fn check(crates: &[Crate]) -> Vec<Finding> {
    crates.iter().flat_map(check_one).collect()
}

fn check_one(one: &Crate) -> Vec<Finding> {
    let place = format!("crate {}", one.name);
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == one.name) else {
        return vec![Finding::new(place, "not in the list of arrows: say there what it may use")];
    };
    let refused = |name: &&String| !allowed.contains(&name.as_str());
    let mut what: Vec<String> =
        one.ours.iter().filter(refused).map(|name| format!("may not use `{name}`")).collect();
    let tests = one.ours_in_tests.iter().filter(|name| NOT_EVEN_IN_TESTS.contains(&name.as_str()));
    what.extend(tests.map(|name| format!("may not use `{name}`, not even in tests")));
    if PURE.contains(&one.name.as_str()) {
        let impure = one.theirs.iter().filter(|name| !PURE_MAY_USE.contains(&name.as_str()));
        what.extend(impure.map(|name| format!("is pure and may not use `{name}`")));
    }
    for (library, homes) in ONE_HOME {
        if one.theirs.iter().any(|name| name == library) && !homes.contains(&one.name.as_str()) {
            what.push(format!("may not use `{library}`: its home is {}", homes.join(", ")));
        }
    }
    what.into_iter().map(|what| Finding::new(place.clone(), what)).collect()
}

/// One line a crate, from the bottom up.
pub(crate) fn print() -> Result<()> {
    let crates = read()?;
    for (name, _) in ALLOWED {
        if let Some(one) = crates.iter().find(|one| one.name == *name) {
            println!(
                "{name:13} -> {}",
                if one.ours.is_empty() { "-".to_owned() } else { one.ours.join(" ") }
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(name: &str, ours: &[&str], theirs: &[&str]) -> usize {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        check_one(&Crate { name: name.into(), ours: own(ours), theirs: own(theirs), ..Crate::default() })
            .len()
    }

    #[test]
    fn backup_has_no_side_door() {
        for door in ["depot", "host", "store", "host-libvirt", "keys"] {
            assert_eq!(uses("backup", &[door], &[]), 1, "{door}");
        }
        assert_eq!(uses("backup", &["blocks", "policy"], &["tokio"]), 0);
    }

    #[test]
    fn pure_crates_have_no_way_to_io_and_sql_has_one_home() {
        assert_eq!(uses("policy", &["model"], &["tokio"]), 1);
        assert_eq!(uses("journal", &["catalog"], &["serde"]), 1);
        assert_eq!(uses("blocks", &[], &["sqlx"]), 1);
        assert_eq!(uses("catalog", &["model"], &["sqlx"]), 0);
    }

    #[test]
    fn a_crate_nobody_listed_is_found() {
        assert_eq!(uses("newcomer", &[], &[]), 1);
    }

    #[test]
    fn the_list_has_no_cycle() {
        let mut seen: Vec<&str> = Vec::new();
        let mut waiting: Vec<_> = ALLOWED.iter().collect();
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|(name, uses)| {
                let ready = uses.iter().all(|used| seen.contains(used));
                if ready {
                    seen.push(name);
                }
                !ready
            });
            assert!(waiting.len() < before, "these use each other in a circle: {waiting:?}");
        }
    }
}
