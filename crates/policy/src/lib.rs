//! Pure decisions, with their reasons: what is due, which disks, how consistent, when a point
//! expires, what may be deleted, what may begin.
//!
//! Nothing here reads a clock or the world: the time, the time zone and all that is known are
//! arguments. Whoever asks does what was decided and nothing else.

mod civil;

pub mod admission;
pub mod consistency;
pub mod deletion;
pub mod expiry;
pub mod retention;
pub mod rules;
pub mod schedule;
pub mod selection;

/// The time zone calendars are read in: a region's.
pub use jiff::tz::TimeZone;
