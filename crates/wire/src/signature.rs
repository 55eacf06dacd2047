//! Both signatures, checked and made: ACS3-HMAC-SHA256 of today and HMAC-SHA1 of old.
//!
//! # Limits
//! A signature is good for [`WINDOW_SECONDS`] before and after its time. That it is used once only
//! is for whoever remembers nonces.

mod acs3;
mod v1;

use std::fmt;

use model::{Code, Refusal, Timestamp};

use crate::pairs::Pairs;
use crate::request::{RawRequest, clipped};

pub use acs3::sign as sign_acs3;
pub use v1::sign as sign_v1;

/// How far a request's clock may be from ours, either way. A nonce must be remembered twice as long.
pub const WINDOW_SECONDS: i64 = 15 * 60;

/// Longer names and nonces are nobody's: they would only fill the memory of who keeps them.
const TOKEN_CHARS_MAX: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Acs3,
    V1,
}

/// Who a request says it is from. Nothing is proven yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    pub scheme: Scheme,
    pub access_key_id: String,
    /// Of a temporary access key.
    pub security_token: Option<String>,
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("scheme", &self.scheme)
            .field("access_key_id", &self.access_key_id)
            .field("has_security_token", &self.security_token.is_some())
            .finish()
    }
}

/// A request whose signature is right and whose time is near.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub scheme: Scheme,
    pub access_key_id: String,
    /// The caller must refuse it when it has seen it with this access key in the window.
    pub nonce: String,
    pub signed_at: Timestamp,
}

/// Who asks, cheaply, so that the secret to verify with can be looked up.
pub fn claim(raw: &RawRequest) -> Result<Claim, Refusal> {
    if raw.is_acs3() {
        return acs3::Signed::read(raw).map(|signed| signed.claim(raw));
    }
    v1::Signed::read(&Pairs::of(raw)?).map(|signed| signed.claim())
}

/// Checks time, nonce and signature. `secret` belongs to the access key of [`claim`].
pub fn verify(raw: &RawRequest, secret: &str, now: Timestamp) -> Result<Verified, Refusal> {
    let pairs = Pairs::of(raw)?;
    if raw.is_acs3() {
        acs3::Signed::read(raw)?.verify(raw, &pairs, secret, now)
    } else {
        v1::Signed::read(&pairs)?.verify(raw, &pairs, secret, now)
    }
}

impl RawRequest {
    pub(crate) fn is_acs3(&self) -> bool {
        self.header("authorization").is_some_and(|value| value.starts_with("ACS3-"))
    }
}

fn check_time(text: &str, now: Timestamp) -> Result<Timestamp, Refusal> {
    let Some(signed_at) = crate::time::parse_iso(text) else {
        let message = format!("the request's time is {:?}", clipped(text));
        return Err(Refusal::new(Code::IllegalTimestamp, message).remedy("Write it as 2026-11-22T16:06:28Z."));
    };
    if (now.seconds() - signed_at.seconds()).abs() > WINDOW_SECONDS {
        let now = crate::time::iso(now);
        let message = format!("the request was signed at {}, and it is {now} here", clipped(text));
        return Err(Refusal::new(Code::TimestampExpired, message)
            .remedy("Set the client's clock right; 15 minutes apart are allowed."));
    }
    Ok(signed_at)
}

fn check_nonce(nonce: Option<&str>, name: &str) -> Result<String, Refusal> {
    match nonce {
        Some(nonce) if nonce.len() > TOKEN_CHARS_MAX => {
            let message = format!("{name} is longer than {TOKEN_CHARS_MAX} bytes");
            Err(Refusal::new(Code::InvalidParameter, message))
        }
        Some(nonce) if !nonce.is_empty() => Ok(nonce.to_owned()),
        _ => Err(Refusal::new(Code::MissingParameter, format!("the parameter {name} is missing"))
            .remedy("Send a new random text with every request.")),
    }
}

fn check_key_id(text: &str) -> Result<String, Refusal> {
    if text.is_empty() || text.len() > TOKEN_CHARS_MAX {
        return Err(incomplete("the access key id is missing or endless"));
    }
    Ok(text.to_owned())
}

fn incomplete(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::IncompleteSignature, message)
        .remedy("Sign with ACS3-HMAC-SHA256 (header Authorization) or HMAC-SHA1 (parameter Signature).")
}

fn mismatch(string_to_sign: &str) -> Refusal {
    // The old client reads on from the first colon, and compares that with what it signed.
    let message = format!(
        "Specified signature is not matched with our calculation. server string to sign is:{string_to_sign}"
    );
    Refusal::new(Code::SignatureMismatch, message)
        .remedy("Check the access key secret, and that nothing on the way changes the request.")
}
