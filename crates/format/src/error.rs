//! Why bytes could not be read, by what the caller should do about it.

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Something else was put in the place of ours.
    #[error("not a {what}")]
    NotOurs { what: &'static str },
    /// Written by a later version: upgrade before touching this depot.
    #[error("{what} of version {version}, which this program cannot read yet")]
    Newer { what: &'static str, version: u16 },
    /// Ours once, and no longer whole.
    #[error("damaged {what}: {why}")]
    Damaged { what: &'static str, why: &'static str },
}
