//! The last bytes of a pack of any length.
#![no_main]

use format::PackFooter;
use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((len, bytes)) = input.split_first_chunk::<4>() else { return };
    let pack_len = u64::from(u32::from_le_bytes(*len));
    if let Ok(footer) = bounded(input.len(), || PackFooter::decode(bytes, pack_len)) {
        assert!(u64::from(footer.toc_offset) + u64::from(footer.toc_sealed_len) < pack_len);
        assert_eq!(footer.encode(), bytes);
    }
});
