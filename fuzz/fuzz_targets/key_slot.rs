//! A key slot.
#![no_main]

use format::KeySlot;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    for object in hikae_fuzz::with_sum(input) {
        let decoded = bounded(object.len(), || KeySlot::decode(&object));
        if let Ok(decoded) = decoded {
            let encoded = decoded.encode();
            assert_eq!(KeySlot::decode(&encoded).as_ref(), Ok(&decoded));
            assert_eq!(encoded.len(), object.len());
        }
    }
});
