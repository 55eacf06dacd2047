//! The first bytes of a pack.
#![no_main]

use format::PackHeader;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(decoded) = bounded(input.len(), || PackHeader::decode(input)) {
        let encoded = decoded.encode();
        assert_eq!(PackHeader::decode(&encoded).as_ref(), Ok(&decoded));
        assert_eq!(encoded, input);
    }
});
