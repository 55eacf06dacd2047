//! The frozen outside: RPC framing, signatures, parameter encodings, envelopes, errors.
//!
//! Pure: bytes in, values out. The time is an argument, nonces are drawn and remembered by others.
//! A request goes through [`signature::claim`] (who says they ask?), [`signature::verify`] (do
//! they?) and [`Request::parse`] (for what?); then one `parse` of [`hbr`] or [`ecs`] makes it a
//! typed value. An answer goes through [`envelope::success`] or [`envelope::failure`].

pub mod client;
mod document;
pub mod ecs;
pub mod envelope;
pub mod error;
pub mod filter;
pub mod hbr;
pub mod page;
mod pairs;
pub mod params;
pub mod request;
pub mod shape;
pub mod signature;
mod time;
mod xml;

pub use document::Document;
pub use envelope::Answer;
pub use filter::{Filter, Operator};
pub use page::{EcsPage, NumberPage, Page, TokenPage};
pub use params::{Asked, Params};
pub use request::{EcsAction, Format, HbrAction, Operation, Product, RawRequest, RegionHint, Request};
pub use signature::{Claim, Scheme, Verified};
