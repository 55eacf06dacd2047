//! What every store must do: one suite, run on memory, a directory, a real S3 server, and on the
//! operator's own.
