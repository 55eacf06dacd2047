//! New access keys: an id to show, and a secret shown once.

use catalog::AccessKey;
use model::{AccessKeyId, Entropy};
use zeroize::Zeroizing;

/// The alphabet of ids: 32 characters, so five bits of a random byte make one without bias.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 40 characters of five bits: more than the 160 bits of the older signature's hash.
const SECRET_CHARS: usize = 40;

/// An access key not yet in force: write the secret down, then [`keep`](crate::Access::keep) it.
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct NewAccessKey {
    pub id: AccessKeyId,
    pub secret: Zeroizing<String>,
    pub(crate) record: AccessKey,
}

pub(crate) fn draw_secret(entropy: &dyn Entropy) -> Zeroizing<String> {
    let mut random = Zeroizing::new([0; SECRET_CHARS]);
    entropy.fill(random.as_mut_slice());
    // Sized in advance: a growing string would leave copies behind.
    let mut secret = Zeroizing::new(String::with_capacity(SECRET_CHARS));
    secret.extend(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])));
    secret
}

/// What a secret is sealed for: moved to another key's row it does not open.
pub(crate) fn seal_context(id: AccessKeyId) -> String {
    format!("hikae/access-key/{id}")
}
