//! One visit of garbage collection: the packs nothing seemed to need, and those now condemned.
//!
//! Visits are a sequence of objects, each created once; each states the whole of what is marked.

use model::{DepotId, Timestamp};

use crate::bytes::{Decoder, Encoder};
use crate::pack::depot_id;
use crate::{FormatError, PackName};

const MAGIC: &[u8; 8] = b"HIKAEgc\0";
const VERSION: u16 = 1;
const WHAT: &str = "collection mark";
const MARKS_MAX: usize = 1 << 24;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    pub depot: DepotId,
    pub number: u64,
    pub made: Timestamp,
    /// In order of name.
    pub packs: Vec<Mark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    pub pack: PackName,
    pub state: MarkState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarkState {
    /// Not needed when last looked at, and first seen so at this time.
    Marked { since: Timestamp },
    /// To be deleted, and for ever so: nobody may take it up again.
    Condemned,
}

impl Marks {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(MAGIC, VERSION);
        out.u128(self.depot.bits()).u64(self.number).i64(self.made.0).count(self.packs.len());
        for mark in &self.packs {
            out.put(&mark.pack.0);
            match mark.state {
                MarkState::Marked { since } => out.u8(1).i64(since.0),
                MarkState::Condemned => out.u8(2).i64(0),
            };
        }
        out.finish_checked()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut input = Decoder::open_checked(WHAT, MAGIC, VERSION, bytes)?;
        let (depot, number, made) = (depot_id(&mut input)?, input.u64()?, Timestamp(input.i64()?));
        let count = input.count(MARKS_MAX, 41)?;
        let mut packs = Vec::with_capacity(count);
        for _ in 0..count {
            let pack = PackName(input.array()?);
            let state = match (input.u8()?, input.i64()?) {
                (1, since) => MarkState::Marked { since: Timestamp(since) },
                (2, 0) => MarkState::Condemned,
                _ => return Err(input.damaged("a state that is not known")),
            };
            packs.push(Mark { pack, state });
        }
        input.end()?;
        Ok(Self { depot, number, made, packs })
    }
}
