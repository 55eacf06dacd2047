//! Nonces seen, remembered as long as the request they came with could be sent again.
//!
//! A request is good until [`WINDOW_SECONDS`] after its time, so that is when its nonce may go;
//! [`STEP_BACK_SECONDS`] later, in case our own clock is set back meanwhile.

use std::collections::{BTreeSet, HashMap, HashSet};

use aws_lc_rs::digest::{SHA256, digest};
use model::{AccessKeyId, Timestamp};
use wire::signature::WINDOW_SECONDS;

/// How far our clock may step back without a nonce being forgotten too early.
const STEP_BACK_SECONDS: i64 = 60;

/// Of one access key: about 270 requests a second, all the time. One key cannot lock the others out.
pub(crate) const PER_KEY_MAX: usize = 1 << 18;
/// Of all: about 50 MB.
pub(crate) const TOTAL_MAX: usize = 1 << 19;
const _: () = assert!(PER_KEY_MAX < TOTAL_MAX);

/// Nonces are of any length up to that of a header; sixteen bytes of a hash stand for one.
type Short = [u8; 16];

/// Why a nonce was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    Used,
    /// No room to remember it.
    Full,
}

#[derive(Debug)]
pub(crate) struct Nonces {
    seen: HashMap<AccessKeyId, Seen>,
    total: usize,
    per_key_max: usize,
    total_max: usize,
}

#[derive(Debug, Default)]
struct Seen {
    nonces: HashSet<Short>,
    /// The same, by the second after which each may be forgotten.
    until: BTreeSet<(i64, Short)>,
}

impl Nonces {
    pub(crate) fn new(per_key_max: usize, total_max: usize) -> Self {
        Self { seen: HashMap::new(), total: 0, per_key_max, total_max }
    }

    /// Takes the nonce of a request whose signature is right, unless it was taken before.
    pub(crate) fn take(
        &mut self,
        key: AccessKeyId,
        nonce: &str,
        signed_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), Turned> {
        let now = now.seconds();
        self.forget(key, now);
        if self.total >= self.total_max {
            let keys: Vec<_> = self.seen.keys().copied().collect();
            keys.into_iter().for_each(|key| self.forget(key, now));
        }
        let seen = self.seen.entry(key).or_default();
        let short = shorten(nonce);
        if seen.nonces.contains(&short) {
            return Err(Turned::Used);
        }
        if seen.nonces.len() >= self.per_key_max || self.total >= self.total_max {
            return Err(Turned::Full);
        }
        seen.nonces.insert(short);
        seen.until.insert((signed_at.seconds() + WINDOW_SECONDS + STEP_BACK_SECONDS, short));
        self.total += 1;
        Ok(())
    }

    /// Forgets what can no longer be replayed.
    fn forget(&mut self, key: AccessKeyId, now: i64) {
        let Some(seen) = self.seen.get_mut(&key) else { return };
        while let Some(&(until, short)) = seen.until.first().filter(|first| first.0 < now) {
            seen.until.remove(&(until, short));
            seen.nonces.remove(&short);
            self.total -= 1;
        }
        if seen.nonces.is_empty() {
            self.seen.remove(&key);
        }
    }
}

fn shorten(nonce: &str) -> Short {
    let mut short = Short::default();
    let len = short.len();
    short.copy_from_slice(&digest(&SHA256, nonce.as_bytes()).as_ref()[..len]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp::from_seconds(1_795_000_000);

    fn key(number: u128) -> AccessKeyId {
        AccessKeyId::from_bits(number)
    }

    /// For every pair of times at which a request is good, the second try is refused.
    #[test]
    fn a_nonce_is_remembered_as_long_as_its_request_is_good() {
        let window = [-WINDOW_SECONDS, -1, 0, 1, WINDOW_SECONDS];
        for first in window {
            for second in window.into_iter().filter(|second| *second >= first - STEP_BACK_SECONDS) {
                let mut nonces = Nonces::new(9, 9);
                assert_eq!(nonces.take(key(1), "n", NOON, NOON.plus_seconds(first)), Ok(()));
                let again = nonces.take(key(1), "n", NOON, NOON.plus_seconds(second));
                assert_eq!(again, Err(Turned::Used), "first at {first}, again at {second}");
            }
        }
    }

    #[test]
    fn a_nonce_is_forgotten_in_the_end() {
        let mut nonces = Nonces::new(1, 9);
        assert_eq!(nonces.take(key(1), "n", NOON, NOON), Ok(()));
        let later = NOON.plus_seconds(WINDOW_SECONDS + STEP_BACK_SECONDS);
        assert_eq!(nonces.take(key(1), "m", later, later), Err(Turned::Full));
        let later = later.plus_seconds(1);
        assert_eq!(nonces.take(key(1), "m", later, later), Ok(()));
        assert_eq!((nonces.total, nonces.seen.len()), (1, 1));
    }

    /// Our own clock may be corrected by up to a minute.
    #[test]
    fn a_clock_set_back_a_little_admits_nothing_twice() {
        let mut nonces = Nonces::new(9, 9);
        assert_eq!(nonces.take(key(1), "old", NOON, NOON), Ok(()));
        let end = NOON.plus_seconds(WINDOW_SECONDS + STEP_BACK_SECONDS);
        assert_eq!(nonces.take(key(1), "new", end, end), Ok(()));
        let back = end.plus_seconds(-STEP_BACK_SECONDS);
        assert_eq!(nonces.take(key(1), "old", NOON, back), Err(Turned::Used));
    }

    #[test]
    fn keys_do_not_share_nonces_nor_room() {
        let mut nonces = Nonces::new(2, 5);
        for name in ["a", "b"] {
            assert_eq!(nonces.take(key(1), name, NOON, NOON), Ok(()));
            assert_eq!(nonces.take(key(2), name, NOON, NOON), Ok(()));
        }
        assert_eq!(nonces.take(key(1), "c", NOON, NOON), Err(Turned::Full), "the room of one key");
        assert_eq!(nonces.take(key(1), "a", NOON, NOON), Err(Turned::Used), "a full table still knows");
        assert_eq!(nonces.take(key(3), "a", NOON, NOON), Ok(()));
        assert_eq!(nonces.take(key(4), "a", NOON, NOON), Err(Turned::Full), "the room of all");
        // Another key's request, later, makes room for all.
        let later = NOON.plus_seconds(WINDOW_SECONDS + STEP_BACK_SECONDS + 1);
        assert_eq!(nonces.take(key(4), "a", later, later), Ok(()));
        assert_eq!(nonces.total, 1);
    }
}
