//! The product's main job, every crash, every fault and random histories, on simulated regions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod audits;
mod crash_matrix;
mod faults;
mod main_job;
mod scripts;
mod seeds;
