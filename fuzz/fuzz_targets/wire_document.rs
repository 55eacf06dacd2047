//! A JSON document in a parameter.
#![no_main]

use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    bounded(text.len(), || {
        if let Ok(document) = wire::Document::parse("Rules", text) {
            // Not equal: numbers with a point may lose their last digit.
            assert!(wire::Document::parse("Rules", &document.to_json()).is_ok());
            let _ = (document.elements(50), document.texts(), document.get("a"), document.int("b", 0, 9));
        }
    });
});
