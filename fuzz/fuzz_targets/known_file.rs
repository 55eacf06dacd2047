//! A file of known chunks, as a disk gives it back.
#![no_main]

use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let known = bounded(input.len(), || depot::fuzzing::known_file(input));
    assert!(known.is_none_or(|chunks| chunks * 16 <= input.len()));
});
