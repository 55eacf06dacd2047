//! What lies under the seal of a frame: packed in any way, said to be of any length.
#![no_main]

use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((len, packed)) = input.split_first_chunk::<4>() else { return };
    let plain_len = u32::from_le_bytes(*len) as usize % (format::FRAME_PLAIN_MAX + 1);
    // The reference says how long a frame is, and is itself checked: that much may be taken.
    let opened = bounded(packed.len() + plain_len, || depot::fuzzing::unpack(packed, plain_len));
    assert!(opened.is_none_or(|plain| plain.len() <= plain_len.max(packed.len())));
});
