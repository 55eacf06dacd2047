//! A list of changed ranges, from JSON: pure, and fuzzed by itself.

use model::Extent;

/// Reads a JSON list of `[offset, length]`; a list in any order, of ranges that may overlap.
pub(super) fn parse(text: &str) -> Result<Vec<Extent>, String> {
    let pairs: Vec<(u64, u64)> = serde_json::from_str(text)
        .map_err(|error| format!("not a JSON list of [offset, length]: {error}"))?;
    let extents = pairs.into_iter().map(|(offset, len)| Extent { offset, len });
    merge(extents.collect()).ok_or_else(|| "a range ends beyond any disk".to_owned())
}

/// In order, without empty ones, none touching another.
fn merge(mut extents: Vec<Extent>) -> Option<Vec<Extent>> {
    extents.sort_unstable_by_key(|extent| extent.offset);
    let mut merged: Vec<Extent> = Vec::new();
    for extent in extents.into_iter().filter(|extent| extent.len > 0) {
        let end = extent.offset.checked_add(extent.len)?;
        match merged.last_mut() {
            Some(last) if extent.offset <= last.end() => last.len = last.len.max(end - last.offset),
            _ => merged.push(extent),
        }
    }
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_put_in_order_and_joined() {
        let extents = |pairs: &[(u64, u64)]| -> Vec<Extent> {
            pairs.iter().map(|&(offset, len)| Extent { offset, len }).collect()
        };
        let parsed = parse("[[50, 10], [0, 10], [5, 20], [25, 0], [60, 1]]");
        assert_eq!(parsed, Ok(extents(&[(0, 25), (50, 11)])));
        assert_eq!(parse("[[18446744073709551615, 2]]"), Err("a range ends beyond any disk".to_owned()));
        for wrong in ["", "[[1]]", "[[-1, 2]]", "[[1, 2, 3]]", "{}", "[[1.5, 2]]"] {
            parse(wrong).expect_err(wrong);
        }
    }
}
