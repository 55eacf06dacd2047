//! What can go wrong on a connection, by what the caller should do about it.

use std::fmt;

/// Why a peer did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NbdError {
    /// Nobody answers there, or the handshake did not end in time: try again later.
    #[error("cannot reach the NBD server: {0}")]
    Unreachable(String),
    /// The server is there and does not serve this.
    #[error("the NBD server refuses: {0}")]
    Refused(String),
    /// The peer broke the protocol. The connection is dead, and the peer is not to be trusted.
    #[error("the NBD server broke the protocol: {0}")]
    Protocol(String),
    /// The connection is gone. What was in flight may or may not have happened.
    #[error("the NBD connection was lost: {0}")]
    Lost(String),
    /// The server tried and failed. The connection lives on.
    #[error("the NBD server failed with {errno}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Server { errno: Errno, message: String },
    /// The caller asked for something the export cannot do. Nothing was sent.
    #[error("not a valid request for this export: {0}")]
    Invalid(String),
}

/// The error numbers of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errno {
    Perm,
    Io,
    NoMemory,
    Invalid,
    NoSpace,
    Overflow,
    NotSupported,
    Shutdown,
    Other(u32),
}

impl From<u32> for Errno {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Perm,
            5 => Self::Io,
            12 => Self::NoMemory,
            22 => Self::Invalid,
            28 => Self::NoSpace,
            75 => Self::Overflow,
            95 => Self::NotSupported,
            108 => Self::Shutdown,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Perm => f.write_str("operation not permitted"),
            Self::Io => f.write_str("input/output error"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::Invalid => f.write_str("invalid argument"),
            Self::NoSpace => f.write_str("no space left"),
            Self::Overflow => f.write_str("reply too large"),
            Self::NotSupported => f.write_str("operation not supported"),
            Self::Shutdown => f.write_str("server is shutting down"),
            Self::Other(number) => write!(f, "error {number}"),
        }
    }
}
