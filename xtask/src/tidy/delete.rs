//! One function in the workspace deletes objects.

use super::Finding;
use super::source::Source;

/// The wrappers there pass a deletion on, which is not deleting.
const HOME: &str = "store";

/// What there is once each: condemning a key, and handing the condemned to a store.
const ONCE: &[(&str, &str)] = &[
    ("Doomed::condemn(", "a key is condemned in one place, out of a validated decision"),
    ("store.delete(", "a store's delete has one caller in the workspace"),
    ("Store::delete(", "a store's delete has one caller in the workspace, and it is no path"),
];

pub(crate) fn check(files: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (call, rule) in ONCE {
        let places = places(files, call);
        if let [first, _, ..] = places.as_slice() {
            findings.push(Finding::new(first.clone(), format!("{rule}; here: {}", places.join(", "))));
        }
    }
    let depot_exists = files.iter().any(|file| file.home == "depot" && file.product_lines > 10);
    if depot_exists && places(files, "Doomed::condemn(").is_empty() {
        findings.push(Finding::new("crates/depot", "nobody deletes objects: garbage is never collected"));
    }
    findings
}

fn places(files: &[Source], call: &str) -> Vec<String> {
    let mut places = Vec::new();
    for file in files.iter().filter(|file| file.home != HOME && file.home != "xtask") {
        let found = file.code.match_indices(call);
        places.extend(found.map(|(at, _)| format!("{}:{}", file.path, file.line_of(at))));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> Source {
        Source::new(path, text.to_owned())
    }

    fn collector() -> Source {
        file("crates/depot/src/gc.rs", "fn f() { store.delete(&Doomed::condemn(key)); }")
    }

    #[test]
    fn one_caller_and_no_more() {
        let wrapper = file("crates/store/src/counting.rs", "fn f() { self.store.delete(doomed); }");
        let test = file("crates/depot/tests/gc.rs", "fn f() { store.delete(&Doomed::condemn(key)); }");
        assert!(check(&[collector(), wrapper, test]).is_empty());
        for second in ["store.delete(doomed);", "self.store.delete(doomed);", "Doomed::condemn(key);"] {
            let second = file("crates/blocks/src/lib.rs", &format!("fn f() {{ {second} }}"));
            assert_eq!(check(&[collector(), second]).len(), 1);
        }
    }

    #[test]
    fn a_depot_without_any_caller_leaks_for_ever() {
        let depot = file("crates/depot/src/lib.rs", &"fn f() {}\n".repeat(20));
        assert_eq!(check(&[depot]).len(), 1);
    }
}
