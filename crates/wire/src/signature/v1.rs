//! HMAC-SHA1 over the method and all parameters, those of the form included.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{Refusal, Timestamp};

use super::{Claim, Scheme, Verified, check_key_id, check_nonce, check_time, incomplete, mismatch};
use crate::pairs::{Pairs, canonical, encode_onto, join};
use crate::request::RawRequest;

/// The one parameter that is not signed.
const SIGNATURE: &str = "Signature";

/// The parameters that say who signed.
pub(super) struct Signed {
    access_key_id: String,
    security_token: Option<String>,
    signature: String,
}

impl Signed {
    pub(super) fn read(pairs: &Pairs) -> Result<Self, Refusal> {
        let Some(signature) = pairs.get(SIGNATURE).filter(|text| !text.is_empty()) else {
            return Err(incomplete("the request is not signed"));
        };
        for (name, served) in [("SignatureMethod", "HMAC-SHA1"), ("SignatureVersion", "1.0")] {
            if !pairs.get(name).is_some_and(|value| value.eq_ignore_ascii_case(served)) {
                return Err(incomplete(format!("{name} is not {served}")));
            }
        }
        Ok(Self {
            access_key_id: check_key_id(pairs.get("AccessKeyId").unwrap_or_default())?,
            security_token: pairs.get("SecurityToken").map(str::to_owned),
            signature: signature.to_owned(),
        })
    }

    pub(super) fn claim(self) -> Claim {
        Claim { scheme: Scheme::V1, access_key_id: self.access_key_id, security_token: self.security_token }
    }

    pub(super) fn verify(
        self,
        raw: &RawRequest,
        pairs: &Pairs,
        secret: &str,
        now: Timestamp,
    ) -> Result<Verified, Refusal> {
        let signed_at = check_time(pairs.get("Timestamp").unwrap_or_default(), now)?;
        let nonce = check_nonce(pairs.get("SignatureNonce"), "SignatureNonce")?;
        let text = string_to_sign(raw, pairs);
        // Compares in constant time.
        BASE64
            .decode(&self.signature)
            .ok()
            .and_then(|tag| hmac::verify(&key(secret), text.as_bytes(), &tag).ok())
            .ok_or_else(|| mismatch(&text))?;
        Ok(Verified { scheme: Scheme::V1, access_key_id: self.access_key_id, nonce, signed_at })
    }
}

/// Adds the protocol's parameters and the signature to the query of a request.
pub fn sign(
    raw: &mut RawRequest,
    access_key_id: &str,
    secret: &str,
    now: Timestamp,
    nonce: &str,
) -> Result<(), Refusal> {
    let mut pairs = Pairs::of(raw)?;
    let time = crate::time::iso(now);
    for (name, value) in [
        ("AccessKeyId", access_key_id),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", &time),
    ] {
        pairs.query.push((name.to_owned(), value.to_owned()));
    }
    let tag = hmac::sign(&key(secret), string_to_sign(raw, &pairs).as_bytes());
    pairs.query.push((SIGNATURE.to_owned(), BASE64.encode(tag)));
    raw.query = join(pairs.query.iter());
    Ok(())
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, format!("{secret}&").as_bytes())
}

fn string_to_sign(raw: &RawRequest, pairs: &Pairs) -> String {
    let mut text = format!("{}&%2F&", raw.method);
    encode_onto(&mut text, &canonical(pairs.all().filter(|pair| pair.0 != SIGNATURE)));
    text
}
