//! A way in for the fuzzers: what lies under a seal or a keyed sum, as if that had opened.

/// The plain bytes of an opened frame, if they can be had.
pub fn unpack(packed: &[u8], plain_len: usize) -> Option<Vec<u8>> {
    crate::cipher::unpack(packed, plain_len).ok()
}

/// How many chunks a file of known chunks names, without its sum, if it can be read.
pub fn known_file(body: &[u8]) -> Option<usize> {
    crate::known::fuzzing::file(body)
}
