//! A pack's table of contents, opened.
#![no_main]

use format::Toc;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(decoded) = bounded(input.len(), || Toc::decode(input)) {
        let encoded = decoded.encode();
        assert_eq!(Toc::decode(&encoded).as_ref(), Ok(&decoded));
        assert_eq!(encoded, input);
    }
});
