//! One function in the workspace deletes objects.

use super::Finding;
use super::source::Source;

/// Crates that can reach a store at all. The store's own wrappers pass the call on and are not callers.
const WATCHED: &[&str] = &["depot", "blocks", "backup", "keys", "server", "sim"];

/// How a call of `Store::delete` looks.
const CALLS: &[&str] = &[".delete(", "Store::delete("];

pub(crate) fn check(files: &[Source]) -> Vec<Finding> {
    let mut places = Vec::new();
    for file in files.iter().filter(|file| WATCHED.contains(&file.home.as_str())) {
        for call in CALLS {
            for (at, _) in file.code.match_indices(call) {
                places.push(format!("{}:{}", file.path, file.line_of(at)));
            }
        }
    }
    if let [_] = places.as_slice() {
        return Vec::new();
    }
    if places.is_empty() {
        let depot_exists = files.iter().any(|file| file.home == "depot" && file.product_lines > 10);
        let gone = Finding::new("crates/depot", "nobody deletes objects: garbage is never collected");
        return if depot_exists { vec![gone] } else { Vec::new() };
    }
    let all = places.join(", ");
    let what =
        format!("a store's delete has one caller in the workspace, with a validated decision; here: {all}");
    vec![Finding::new(places[0].clone(), what)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source::new(path, text.to_owned())
    }

    #[test]
    fn one_caller_and_no_more() {
        let caller = || file("crates/depot/src/gc.rs", "fn f() { store.delete(doomed); }");
        let wrapper = file("crates/store/src/counting.rs", "fn f() { self.inner.delete(doomed); }");
        let test = file("crates/depot/tests/gc.rs", "fn f() { store.delete(doomed); }");
        assert!(check(&[caller(), wrapper, test]).is_empty());

        let second = file("crates/blocks/src/lib.rs", "fn f() { store.delete(doomed); }");
        assert_eq!(check(&[caller(), second]).len(), 1);
    }

    #[test]
    fn a_depot_without_any_caller_leaks_for_ever() {
        let depot = file("crates/depot/src/lib.rs", &"fn f() {}\n".repeat(20));
        assert_eq!(check(&[depot]).len(), 1);
    }
}
