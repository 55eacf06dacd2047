//! Who is asking: access keys, and requests that are signed by one, on time, and for the first time.
//!
//! # Consistency
//! A key made inactive is refused from the next request on: every request reads the catalog.
//!
//! # Crash consistency
//! Keys live in the catalog, their secrets sealed. Nonces are remembered in memory only: after a
//! restart a request caught on the wire can be replayed until its time has passed.
//!
//! # Concurrency
//! Of two requests with one nonce, exactly one is admitted.
//!
//! # Errors
//! Refusals in the product's own codes. What cannot be checked is refused, never let through.
//!
//! # Cancellation
//! A dropped check may have used up its nonce.
//!
//! # Limits
//! The nonces of `nonce.rs`: when they are full, requests are refused rather than nonces forgotten.

mod access;
mod key;
mod nonce;

pub use access::{Access, AccessError, Caller};
pub use key::NewAccessKey;
