//! The real clock and real chance: the only place of the product that asks the machine for either.

use model::{Clock, Entropy, Timestamp};

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the edge")]
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            // A clock before 1970 is a broken clock; requests fail their time check, which says so.
            Err(_) => Timestamp(0),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RealEntropy;

impl Entropy for RealEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // Keys are made of this: going on with weak bytes would be worse than stopping.
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the system has no random bytes to give: {error}");
        }
    }
}

/// A request id as the source system writes it: an upper-case UUID.
pub(crate) fn request_id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string().to_uppercase()
}

/// Thirty-two hexadecimal digits nobody has seen before.
pub(crate) fn nonce(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_looks_like_one() {
        let id = request_id(&RealEntropy);
        assert_eq!(id.len(), 36);
        assert!(id.chars().all(|c| c == '-' || c.is_ascii_digit() || ('A'..='F').contains(&c)), "{id}");
        assert_ne!(id, request_id(&RealEntropy));
    }
}
