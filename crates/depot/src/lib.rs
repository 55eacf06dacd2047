//! Snapshots in one bucket: write, read, diff, verify, collect garbage; and the mover.
