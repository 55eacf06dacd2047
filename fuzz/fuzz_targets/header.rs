//! The header of a depot.
#![no_main]

use format::DepotHeader;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    for object in hikae_fuzz::with_sum(input) {
        let decoded = bounded(object.len(), || DepotHeader::decode(&object));
        if let Ok(decoded) = decoded {
            let encoded = decoded.encode();
            assert_eq!(DepotHeader::decode(&encoded).as_ref(), Ok(&decoded));
            assert_eq!(encoded, object);
        }
    }
});
