//! Random scenarios, each from one seed.
