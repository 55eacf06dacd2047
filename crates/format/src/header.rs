//! The two small objects a depot begins with: its header, and the slots of its data keys.

use model::{DepotId, KeyId, Timestamp};

use crate::bytes::{Decoder, Encoder};
use crate::pack::depot_id;
use crate::{FormatError, SlotId};

const HEADER_MAGIC: &[u8; 8] = b"HIKAEdep";
const SLOT_MAGIC: &[u8; 8] = b"HIKAEkey";
const VERSION: u16 = 1;
const WRAPPED_LEN_MAX: usize = 64 << 10;

/// What all objects of a depot have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepotHeader {
    pub depot: DepotId,
    pub created: Timestamp,
}

impl DepotHeader {
    /// Names by BLAKE3, seals by AES-256-GCM-SIV, keys by BLAKE3's derivation: there are no others yet.
    const SUITE: [u8; 3] = [1, 1, 1];

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(HEADER_MAGIC, VERSION);
        out.u128(self.depot.bits()).i64(self.created.0).put(&Self::SUITE);
        out.finish_checked()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut input = Decoder::open_checked("depot header", HEADER_MAGIC, VERSION, bytes)?;
        let header = Self { depot: depot_id(&mut input)?, created: Timestamp(input.i64()?) };
        if input.array::<3>()? != Self::SUITE {
            return Err(input.damaged("a set of algorithms that is not known"));
        }
        input.end()?;
        Ok(header)
    }
}

/// A data key, wrapped by the key service. These bytes and the service's root are all a reader needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlot {
    pub depot: DepotId,
    pub slot: SlotId,
    /// The key of the key service it is wrapped under.
    pub key: KeyId,
    pub created: Timestamp,
    pub wrapped: Vec<u8>,
}

impl KeySlot {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::new(SLOT_MAGIC, VERSION);
        out.u128(self.depot.bits())
            .put(&self.slot.0)
            .u128(self.key.bits())
            .i64(self.created.0)
            .sized(&self.wrapped);
        out.finish_checked()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut input = Decoder::open_checked("key slot", SLOT_MAGIC, VERSION, bytes)?;
        let slot = Self {
            depot: depot_id(&mut input)?,
            slot: SlotId(input.array()?),
            key: KeyId::from_bits(input.u128()?),
            created: Timestamp(input.i64()?),
            wrapped: input.sized(WRAPPED_LEN_MAX)?.to_vec(),
        };
        input.end()?;
        Ok(slot)
    }
}
