//! NBD client: newstyle, structured replies, meta contexts, many requests in flight.
//!
//! It has no IO policy of its own: no retries, no read-ahead, no timeouts after the handshake. What
//! the peer sends is not trusted: every length is bounded before it is believed, and a peer that
//! breaks the protocol ends the connection and fails every request that was waiting.

mod client;
mod error;
mod handshake;
mod pending;
mod proto;

pub use client::{Client, Endpoint};
pub use error::{Errno, NbdError};
pub use proto::{ContextStatus, ExportInfo, MAX_PAYLOAD, MAX_STATUS_LEN, StatusExtent};
