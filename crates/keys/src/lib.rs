//! The key service: keys that wrap the depots' data keys.

mod region;
mod wrap;

pub use region::RegionKeys;
pub use wrap::{KeyError, KeyWrap, WrappedKey};
