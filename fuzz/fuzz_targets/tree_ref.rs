//! A tree reference as text, with a sum that fits and without.
#![no_main]

use format::TreeRef;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let sum = blake3::hash(input);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let summed = format!("tree1-{}{}", hex(input), hex(&sum.as_bytes()[..4]));
    for text in [text, &summed] {
        if let Ok(tree) = bounded(text.len(), || text.parse::<TreeRef>()) {
            assert_eq!(tree.to_string().parse(), Ok(tree));
            let _ = tree.root_level();
        }
    }
});
