//! Functions fit a screen, files fit a head, lines fit a window. Exceptions are listed and may only shrink.

use std::collections::BTreeMap;

use super::Finding;
use super::source::{Source, item_end};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 110;

/// Lines that are too wide. A table's row can't be broken, and a message is easier to find in one piece.
pub(crate) fn lines(file: &Source) -> Vec<Finding> {
    if file.only_tests() {
        return Vec::new();
    }
    let wide = file.text.lines().zip(file.code.lines()).enumerate().filter(|(_, (line, code))| {
        let trimmed = line.trim_start();
        let comment = trimmed.starts_with("//") && !trimmed.ends_with('|');
        // Blank code is a test, which is the formatter's.
        let plain = !code.trim().is_empty() && !line.contains('"');
        (comment || plain) && line.chars().count() > COLUMNS_MAX
    });
    wide.map(|(at, _)| {
        let place = format!("{}:{}", file.path, at + 1);
        Finding::new(place, format!("wider than {COLUMNS_MAX} columns"))
    })
    .collect()
}

/// Everything too long, against the list of exceptions.
pub(crate) fn check(files: &[Source], exceptions: &str) -> Vec<Finding> {
    let mut long = BTreeMap::new();
    for file in files {
        if file.product_lines > FILE_LINES_MAX {
            long.insert(format!("file {}", file.path), file.product_lines);
        }
        for (name, lines) in functions(&file.code) {
            if lines > FUNCTION_LINES_MAX {
                long.insert(format!("function {} {name}", file.path), lines);
            }
        }
    }
    compare(&long, exceptions)
}

fn compare(long: &BTreeMap<String, usize>, exceptions: &str) -> Vec<Finding> {
    let mut allowed: BTreeMap<String, usize> = BTreeMap::new();
    let mut findings = Vec::new();
    let other = |line: &&str| line.is_empty() || line.starts_with('#') || line.starts_with("word ");
    for line in exceptions.lines().filter(|line| !other(line)) {
        match line.rsplit_once(' ').map(|(what, lines)| (what, lines.parse())) {
            Some((what, Ok(lines))) => drop(allowed.insert(what.to_owned(), lines)),
            _ => findings.push(Finding::new("xtask/tidy-exceptions.txt", format!("cannot read {line:?}"))),
        }
    }
    for (what, lines) in long {
        match allowed.remove(what) {
            Some(known) if known == *lines => {}
            Some(known) if known > *lines => findings.push(Finding::new(
                "xtask/tidy-exceptions.txt",
                format!("{what} shrank to {lines}: lower its number from {known}"),
            )),
            Some(known) => findings.push(Finding::new(what, format!("grew from {known} to {lines} lines"))),
            None => findings.push(Finding::new(
                what,
                format!("{lines} lines; functions have at most {FUNCTION_LINES_MAX}, files {FILE_LINES_MAX}"),
            )),
        }
    }
    let settled = allowed.keys().map(|what| {
        Finding::new("xtask/tidy-exceptions.txt", format!("{what} is short now: remove its line"))
    });
    findings.extend(settled);
    findings
}

/// Every function's name and its lines, signature to closing brace.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts = at.checked_sub(1).is_none_or(|before| {
            let byte = code.as_bytes()[before];
            !byte.is_ascii_alphanumeric() && byte != b'_'
        });
        let name: String =
            code[at + 3..].chars().take_while(|one| one.is_ascii_alphanumeric() || *one == '_').collect();
        if starts && !name.is_empty() {
            let end = item_end(code, at);
            found.push((name, code[at..end].matches('\n').count() + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let code = "impl A {\n    pub fn one(\n        a: u8,\n    ) -> [u8; 3] {\n        if a { b }\n    }\n}\nfn two() {}\n";
        // The array's semicolon in a signature must not end it early.
        assert_eq!(functions(code), [("one".to_owned(), 5), ("two".to_owned(), 1)]);
    }

    #[test]
    fn exceptions_only_shrink() {
        let long = |lines| BTreeMap::from([("file a.rs".to_owned(), lines)]);
        assert!(compare(&long(700), "# why\nfile a.rs 700\n").is_empty());
        assert_eq!(compare(&long(701), "file a.rs 700").len(), 1, "grew");
        assert_eq!(compare(&long(699), "file a.rs 700").len(), 1, "shrank and the list does not say so");
        assert_eq!(compare(&long(700), "").len(), 1, "new");
        assert_eq!(compare(&BTreeMap::new(), "file a.rs 700").len(), 1, "short now");
    }

    #[test]
    fn a_wide_line_is_found_but_not_in_a_tests_data() {
        let wide = "x".repeat(111);
        let count = |text: String| lines(&Source::new("crates/model/src/lib.rs", text)).len();
        assert_eq!(count(format!("fn {wide}() {{}}\n")), 1);
        assert_eq!(count(format!("// {wide}\nfn a() {{}}\n")), 1);
        assert_eq!(
            count(format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n    const A: &str = \"{wide}\";\n}}\n")),
            0
        );
    }
}
