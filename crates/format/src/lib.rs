//! Bytes in the bucket: what every object of a depot looks like, encoded and decoded by hand.
//!
//! Pure: no IO, no compression, no cipher; what is sealed comes in and goes out as plain bytes,
//! and [`terms`] says how it is sealed. `docs/format.md` describes the same bytes in words.
//! Whatever a depot holds may have been damaged or forged, so decoding never panics and never
//! allocates more than a small multiple of its input.

mod below;
mod bytes;
mod error;
mod geometry;
mod header;
mod manifest;
mod marks;
mod name;
mod node;
mod pack;
pub mod path;
pub mod terms;
mod tree;

pub use below::{BELOW_MAX, Below};
pub use error::FormatError;
pub use geometry::{DISK_LEN_MAX, Geometry};
pub use header::{DepotHeader, KeySlot};
pub use manifest::{
    BaseSnapshot, DiskManifest, GroupManifest, ManifestEnvelope, ManifestHeader, Origin, VOID_LEN,
};
pub use marks::{Mark, MarkState, Marks};
pub use name::{Attempt, Name, NameKeys, PackName, PackStem, Salt, SlotId};
pub use node::{Link, Node, Place};
pub use pack::{
    FOOTER_LEN, FRAME_PLAIN_MAX, FrameKind, HEADER_LEN, Inside, PACK_LEN_MAX, PackFooter, PackHeader, Toc,
    TocFrame,
};
pub use tree::TreeRef;
