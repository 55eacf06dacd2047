//! Collection marks.
#![no_main]

use format::Marks;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    for object in hikae_fuzz::with_sum(input) {
        let decoded = bounded(object.len(), || Marks::decode(&object));
        if let Ok(decoded) = decoded {
            let encoded = decoded.encode();
            assert_eq!(Marks::decode(&encoded).as_ref(), Ok(&decoded));
            assert_eq!(encoded, object);
        }
    }
});
