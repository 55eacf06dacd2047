//! The envelope of a group manifest.
#![no_main]

use format::ManifestEnvelope;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    for object in hikae_fuzz::with_sum(input) {
        let decoded = bounded(object.len(), || ManifestEnvelope::decode(&object));
        if let Ok(decoded) = decoded {
            let encoded = decoded.encode();
            assert_eq!(ManifestEnvelope::decode(&encoded).as_ref(), Ok(&decoded));
            assert_eq!(encoded.len(), object.len());
        }
    }
});
