//! Pure crates never do IO, read a clock or draw a random number.

use super::Finding;
use super::source::Source;

pub(crate) const PURE: &[&str] = &["model", "wire", "policy", "format", "journal"];

/// What gives impurity away, and what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("SystemTime", "take `now` as an argument"),
    ("Instant", "take `now` as an argument"),
    ("Timestamp::now", "take `now` as an argument"),
    ("Zoned::now", "take `now` as an argument"),
    ("std::fs", "bytes in, values out: the edge reads files"),
    ("std::net", "bytes in, values out: the edge has the network"),
    ("std::env", "configuration is an argument"),
    ("std::process", "a pure crate starts and ends nothing"),
    ("std::thread", "a pure crate runs on its caller's thread"),
    ("std::io", "bytes in, values out"),
    ("tokio", "a pure crate is not async"),
    ("async fn", "a pure crate is not async"),
    (".await", "a pure crate is not async"),
    ("rand::", "randomness is an argument"),
    ("rand_core", "randomness is an argument"),
    ("SystemRandom", "randomness is an argument"),
    ("getrandom", "randomness is an argument"),
    ("new_v4", "ids are arguments"),
    ("println!", "a pure crate returns what it has to say"),
    ("tracing::", "a pure crate returns what it has to say"),
];

pub(crate) fn check(file: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !PURE.contains(&file.home.as_str()) {
        return findings;
    }
    for (banned, instead) in BANNED {
        for (at, _) in file.code.match_indices(banned) {
            if whole(&file.code, at, banned) {
                let place = format!("{}:{}", file.path, file.line_of(at));
                findings.push(Finding::new(place, format!("`{banned}` in a pure crate: {instead}")));
            }
        }
    }
    findings
}

/// Not a piece of a longer name.
fn whole(code: &str, at: usize, word: &str) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = code.as_bytes();
    let before = at.checked_sub(1).and_then(|at| bytes.get(at));
    let starts_in_a_name = part(before) && part(word.as_bytes().first());
    let ends_in_a_name = part(bytes.get(at + word.len())) && part(word.as_bytes().last());
    !starts_in_a_name && !ends_in_a_name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, text: &str) -> usize {
        check(&Source::new(path, text.to_owned())).len()
    }

    #[test]
    fn impurity_is_seen_in_code_only() {
        assert_eq!(broken("crates/policy/src/due.rs", "let now = std::time::SystemTime::now();"), 1);
        assert_eq!(
            broken("crates/policy/src/due.rs", "// never SystemTime::now()\nlet InstantAccess = 1;"),
            0
        );
        assert_eq!(broken("crates/wire/src/due.rs", "async fn call() { other().await }"), 2);
    }

    #[test]
    fn other_crates_and_tests_may() {
        assert_eq!(broken("crates/server/src/main.rs", "std::fs::read(x);"), 0);
        assert_eq!(broken("crates/format/tests/golden.rs", "std::fs::read(x);"), 0);
        assert_eq!(
            broken("crates/format/src/lib.rs", "#[cfg(test)]\nmod tests { fn a() { std::fs::read(x); } }"),
            0
        );
    }
}
