//! Rust source as tidy sees it: what is code, what is comment, what is only for tests.

use std::path::Path;

use anyhow::{Context as _, Result};

/// One file. `code` and `docs` have exactly the lines of `text`, with everything else blanked.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the workspace's root, with slashes.
    pub(crate) path: String,
    /// The directory under `crates/`, or `xtask`.
    pub(crate) home: String,
    pub(crate) text: String,
    /// No comments, no contents of strings, nothing under `#[cfg(test)]`.
    pub(crate) code: String,
    /// Doc comments alone.
    pub(crate) docs: String,
    /// Lines that are not under `#[cfg(test)]`.
    pub(crate) product_lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let parts: Vec<&str> = path.split('/').collect();
        let home = match parts.as_slice() {
            ["crates", home, ..] | [home, ..] => (*home).to_owned(),
            [] => String::new(),
        };
        let only_tests =
            parts.contains(&"tests") || parts.contains(&"benches") || parts.ends_with(&["tests.rs"]);
        let Split { mut code, docs } = split(&text);
        let lines = text.lines().count();
        let product_lines = if only_tests {
            code = blank(&code);
            0
        } else {
            lines - without_tests(&mut code)
        };
        Self { path: path.to_owned(), home, text, code, docs, product_lines }
    }

    /// 1-based line of a byte of `code`.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        line_of(&self.code, at)
    }

    /// Whether the file holds nothing but tests.
    pub(crate) fn only_tests(&self) -> bool {
        self.product_lines == 0
    }
}

pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// All Rust files of the workspace.
pub(crate) fn all(root: &Path) -> Result<Vec<Source>> {
    let mut files = Vec::new();
    for top in ["crates", "xtask"] {
        walk(root, &root.join(top), &mut files)?;
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

fn walk(root: &Path, directory: &Path, files: &mut Vec<Source>) -> Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target" && name != "node_modules") {
                walk(root, &path, files)?;
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            files.push(Source::new(&relative, text));
        }
    }
    Ok(())
}

struct Split {
    code: String,
    docs: String,
}

/// Everything but line ends becomes spaces.
fn blank(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// Divides text into code and doc comments. Both results have as many bytes as the text.
fn split(text: &str) -> Split {
    let (mut code, mut docs) = (String::with_capacity(text.len()), String::with_capacity(text.len()));
    let mut rest = text;
    while !rest.is_empty() {
        let (length, kind) = piece(rest, code.as_bytes().last().copied());
        let (taken, left) = rest.split_at(length);
        match kind {
            Kind::Code => code.push_str(taken),
            Kind::Text | Kind::Doc => code.push_str(&blank(taken)),
        }
        docs.push_str(&if kind == Kind::Doc { taken.to_owned() } else { blank(taken) });
        rest = left;
    }
    Split { code, docs }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Doc,
    Text,
}

/// The length of the next piece, and what it is.
fn piece(rest: &str, before: Option<u8>) -> (usize, Kind) {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if rest.starts_with("//") {
        let length = rest.find('\n').unwrap_or(rest.len());
        let doc = (rest.starts_with("///") && !rest.starts_with("////")) || rest.starts_with("//!");
        return (length, if doc { Kind::Doc } else { Kind::Text });
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Text);
    }
    if rest.starts_with('"') {
        return (quoted(rest), Kind::Text);
    }
    if !in_word && let Some(length) = raw_string(rest) {
        return (length, Kind::Text);
    }
    if rest.starts_with('\'')
        && let Some(length) = character(rest)
    {
        return (length, Kind::Text);
    }
    (rest.chars().next().map_or(1, char::len_utf8), Kind::Code)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = rest.as_bytes();
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let after =
        rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr")).or_else(|| rest.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|byte| *byte == b'#').count();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let head = rest.len() - body.len();
    Some(body.find(&end).map_or(rest.len(), |at| head + at + end.len()))
}

/// A character literal; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next()?;
        return characters.find(|(_, one)| *one == '\'').map(|(at, _)| at + 1);
    }
    characters.next().filter(|(_, one)| *one == '\'').map(|(at, _)| at + 1)
}

/// Blanks what stands under `#[cfg(test)]`, and says how many lines that were.
fn without_tests(code: &mut String) -> usize {
    const MARK: &str = "#[cfg(test)]";
    let mut lines = 0;
    while let Some(at) = code.find(MARK) {
        let end = item_end(code, at + MARK.len());
        let item = blank(&code[at..end]);
        lines += item.matches('\n').count() + 1;
        code.replace_range(at..end, &item);
    }
    lines
}

/// Where the item ends that begins at `from`: behind its braces, or its semicolon.
pub(crate) fn item_end(code: &str, from: usize) -> usize {
    let (mut depth, mut brackets) = (0_usize, 0_usize);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets = brackets.saturating_sub(1),
            b';' if depth == 0 && brackets == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("crates/model/src/lib.rs", text.to_owned())
    }

    #[test]
    fn strings_and_comments_are_no_code() {
        let file = source(
            "let a = \"fn { \\\" }\"; // vault {\nlet b = r#\"}\"#; /* { /* } */ */ 'x' '{' '\\'' &'a str",
        );
        assert!(!file.code.contains(['{', '}']), "{}", file.code);
        assert!(file.code.contains("&'a str") && !file.code.contains("vault"));
        assert_eq!(file.code.len(), file.text.len());
    }

    #[test]
    fn doc_comments_are_kept_apart() {
        let file = source("//! of the file\n/// of an item\n// why\nfn f() {}\n");
        assert!(file.docs.contains("of the file") && file.docs.contains("of an item"));
        assert!(!file.docs.contains("why") && !file.docs.contains("fn f"));
    }

    #[test]
    fn what_only_tests_see_does_not_count() {
        let file = source("fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() { c() }\n}\nfn d() {}\n");
        assert!(file.code.contains("fn a") && file.code.contains("fn d") && !file.code.contains("fn b"));
        assert_eq!(file.product_lines, 3);
        assert!(Source::new("crates/model/tests/all.rs", "fn a() {}".into()).only_tests());
    }
}
