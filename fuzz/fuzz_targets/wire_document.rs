//! A JSON document in a parameter.
#![no_main]

use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    bounded(text.len(), || {
        if let Ok(document) = wire::Document::parse("Rules", text) {
            assert_eq!(
                wire::Document::parse("Rules", &document.to_json()).map(|again| again.to_json()),
                Ok(document.to_json())
            );
            let _ = (document.elements(50), document.texts(), document.get("a"), document.int("b", 0, 9));
        }
    });
});
