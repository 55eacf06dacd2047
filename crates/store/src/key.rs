//! Names of objects: checked once, valid in every store.

use std::fmt;
use std::str::FromStr;

const SEGMENTS_MAX: usize = 8;
const SEGMENT_BYTES_MAX: usize = 128;

/// The name of an object: one to eight segments of `[a-z0-9._-]{1,128}`, joined by `/`.
///
/// No name may be a folder of another (`a` beside `a/b`): a directory cannot hold both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

/// Text that is no object name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} cannot name an object: {why}")]
pub struct KeyError {
    pub text: String,
    pub why: &'static str,
}

impl ObjectKey {
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        match flaw(&text) {
            None => Ok(Self(text)),
            Some(why) => Err(KeyError { text: text.chars().take(160).collect(), why }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn flaw(text: &str) -> Option<&'static str> {
    if text.split('/').count() > SEGMENTS_MAX {
        return Some("more than eight segments");
    }
    text.split('/').find_map(|segment| match segment {
        "" => Some("empty segment"),
        "." | ".." => Some("relative segment"),
        long if long.len() > SEGMENT_BYTES_MAX => Some("segment longer than 128 bytes"),
        odd if !odd.bytes().all(is_allowed) => Some("character outside a-z, 0-9, '.', '_' and '-'"),
        _ => None,
    })
}

pub(crate) const fn is_allowed(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-')
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

/// An object somebody has decided to delete. Only garbage collection condemns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed(ObjectKey);

impl Doomed {
    pub const fn condemn(key: ObjectKey) -> Self {
        Self(key)
    }

    pub const fn key(&self) -> &ObjectKey {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted() {
        let longest = vec!["z".repeat(128); 8].join("/");
        for text in ["a", "packs/00/a-b_c.d", "...", ".a", "a..b", &longest] {
            assert_eq!(text.parse::<ObjectKey>().expect("a good name").as_str(), text);
        }
    }

    #[test]
    fn odd_names_are_refused() {
        let long = "z".repeat(129);
        for text in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/..",
            "a/./b",
            "A",
            "a b",
            "a\\b",
            "a#1",
            "a%2f",
            "é",
            "a\0",
            "1/2/3/4/5/6/7/8/9",
            &long,
        ] {
            assert!(text.parse::<ObjectKey>().is_err(), "{text:?}");
        }
    }
}
