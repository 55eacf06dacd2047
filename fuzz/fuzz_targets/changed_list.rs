//! The list of changed ranges an operator hands to the depot tool.
#![no_main]

use hikae_fuzz::bounded;

#[path = "../../crates/server/src/depot_tool/ranges.rs"]
mod ranges;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(ranges) = bounded(text.len(), || ranges::parse(text)) {
        assert!(ranges.iter().all(|range| range.len > 0));
        assert!(ranges.windows(2).all(|two| two[0].end() < two[1].offset), "{ranges:?}");
        let again: Vec<(u64, u64)> = ranges.iter().map(|range| (range.offset, range.len)).collect();
        assert_eq!(ranges::parse(&serde_json::to_string(&again).expect("numbers")), Ok(ranges));
    }
});
