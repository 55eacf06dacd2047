//! Bytes in the bucket: versioned encode and decode.
