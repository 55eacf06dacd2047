//! Every file says in its first line what it is for.

use super::Finding;
use super::source::Source;

pub(crate) fn check(file: &Source) -> Option<Finding> {
    let mut lines = file.text.lines().filter(|line| !line.starts_with("#!"));
    let first = lines.next().unwrap_or_default();
    let sentence = first.strip_prefix("//! ").map(str::trim);
    match sentence {
        Some(sentence) if sentence.split_whitespace().count() >= 2 => None,
        _ => Some(Finding::new(
            format!("{}:1", file.path),
            "begin the file with `//!` and one honest sentence about what it is for",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_a_sentence() {
        let check = |text: &str| check(&Source::new("crates/model/src/lib.rs", text.to_owned()));
        assert_eq!(check("//! The nouns.\n"), None);
        for none in ["", "fn main() {}\n", "//!\n//! Late.\n", "//! Word\n", "/// Of an item.\n"] {
            assert!(check(none).is_some(), "{none:?}");
        }
    }
}
