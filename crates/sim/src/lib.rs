//! A whole region on one seeded thread: simulated hosts, faulty stores, crashes, and auditors that
//! check what must always hold.
//!
//! A [`World`] is a region and the process that serves it. Scenarios ask its services for things,
//! let things go wrong, and move workflows on by hand; [`World::audit`] checks every [`Invariant`]
//! whenever all is at rest. The same seed gives the same world, down to the next random number.

mod audit;
mod bucket;
mod chance;
mod explore;
mod plug;
mod watched;
mod world;

pub use audit::{Invariant, Violation};
pub use chance::{Dice, Hands};

pub use explore::{Explored, explore};
pub use plug::{Cell, Plug, Trip};
pub use watched::Images;
pub use world::{Stuck, World};
