//! What the proofs share: a bucket behind a network whose every message the test decides about.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod network;
