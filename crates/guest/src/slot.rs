//! A number on disk that a torn write cannot turn into another one.
//!
//! Two slots, one page each, written in turn. A page is filled with words that follow from the number and
//! ends in a checksum, so a slot is either whole or refused, and the other still holds the number before.

/// One page of a file system, so that a write never needs to read first.
pub(crate) const SLOT_BYTES: usize = 4096;

const MAGIC: u64 = 0x6869_6b61_6577_6974;
const WORDS: usize = SLOT_BYTES / 8;

/// Which of the two slots a number goes to.
pub(crate) const fn slot_of(number: u64) -> u64 {
    number % 2
}

pub(crate) fn encode(number: u64) -> [u8; SLOT_BYTES] {
    let mut page = [0; SLOT_BYTES];
    let mut sum = Checksum::new();
    for (index, chunk) in page.chunks_exact_mut(8).enumerate() {
        let word = match index {
            0 => MAGIC,
            1 => number,
            _ if index + 1 < WORDS => number.wrapping_mul(2 * index as u64 + 1),
            _ => sum.value(),
        };
        sum.add(word);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    page
}

/// The number in a slot, or `None` where it is torn or was never written.
pub(crate) fn decode(page: &[u8]) -> Option<u64> {
    if page.len() != SLOT_BYTES {
        return None;
    }
    let number = u64::from_le_bytes(page.get(8..16)?.try_into().ok()?);
    (page == encode(number)).then_some(number)
}

/// What a whole file holds: the larger number, and how many slots were written but are not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub number: u64,
    pub torn: usize,
}

pub(crate) fn read(bytes: &[u8]) -> Held {
    let slots = bytes.chunks(SLOT_BYTES).take(2);
    let number = slots.clone().filter_map(decode).max().unwrap_or(0);
    let torn = slots.filter(|slot| decode(slot).is_none() && slot.iter().any(|byte| *byte != 0)).count();
    Held { number, torn }
}

struct Checksum(u64);

impl Checksum {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    const fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    const fn value(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(numbers: &[u64]) -> Vec<u8> {
        let mut bytes = vec![0; 2 * SLOT_BYTES];
        for number in numbers {
            let at = usize::try_from(slot_of(*number)).expect("0 or 1") * SLOT_BYTES;
            bytes[at..at + SLOT_BYTES].copy_from_slice(&encode(*number));
        }
        bytes
    }

    #[test]
    fn the_larger_number_counts() {
        assert_eq!(read(&file(&[])), Held { number: 0, torn: 0 });
        assert_eq!(read(&file(&[1])), Held { number: 1, torn: 0 });
        assert_eq!(read(&file(&[1, 2, 3])), Held { number: 3, torn: 0 });
        assert_eq!(read(&[]), Held { number: 0, torn: 0 });
    }

    #[test]
    fn a_write_torn_at_any_sector_leaves_the_number_before() {
        for sectors in 1..SLOT_BYTES / 512 {
            let mut bytes = file(&[6, 7]);
            let at = usize::try_from(slot_of(8)).expect("0 or 1") * SLOT_BYTES;
            bytes[at..at + sectors * 512].copy_from_slice(&encode(8)[..sectors * 512]);
            assert_eq!(read(&bytes), Held { number: 7, torn: 1 }, "{sectors} sectors of 8 arrived");
        }
    }

    #[test]
    fn one_wrong_bit_anywhere_is_refused() {
        let whole = encode(42);
        for byte in 0..SLOT_BYTES {
            let mut page = whole;
            page[byte] ^= 1;
            assert_eq!(decode(&page), None, "byte {byte}");
        }
    }

    #[test]
    fn a_short_file_is_no_number() {
        assert_eq!(read(&encode(5)[..100]), Held { number: 0, torn: 1 });
    }
}
