//! What libvirt says of domains and checkpoints.
#![no_main]

use hikae_fuzz::bounded;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    bounded(text.len(), || host_libvirt::fuzzing::read_xml(text));
});
