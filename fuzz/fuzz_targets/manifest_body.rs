//! The opened body of a group manifest.
#![no_main]

use format::GroupManifest;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(decoded) = bounded(input.len(), || GroupManifest::decode(input)) {
        let encoded = decoded.encode();
        assert_eq!(GroupManifest::decode(&encoded).as_ref(), Ok(&decoded));
        assert_eq!(encoded.len(), input.len());
    }
});
