//! ACS3-HMAC-SHA256: the query, the headers the client lists and the hash of the body.

use aws_lc_rs::{digest, hmac};
use model::{Code, Refusal, Timestamp};

use super::{Claim, Scheme, Verified, check_key_id, check_nonce, check_time, incomplete, mismatch};
use crate::pairs::{Pairs, canonical};
use crate::request::{RawRequest, clipped};

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// Headers that mean something here. Whatever else a client leaves unsigned, these it must sign:
/// else one signature would do for any action.
const MEANINGFUL: [&str; 5] =
    ["x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce", "x-acs-security-token"];

/// The parts of the header `Authorization`.
pub(super) struct Signed {
    access_key_id: String,
    header_list: String,
    signature: String,
}

impl Signed {
    pub(super) fn read(raw: &RawRequest) -> Result<Self, Refusal> {
        let value = raw.header("authorization").unwrap_or_default();
        let Some(rest) = value.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
            let algorithm = clipped(value.split(' ').next().unwrap_or_default());
            return Err(incomplete(format!("the signature algorithm {algorithm:?} is not served")));
        };
        let part = |name: &str| {
            let mut parts = rest.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let (header_list, signature) = (part("SignedHeaders"), part("Signature"));
        if header_list.is_empty() || signature.is_empty() {
            return Err(incomplete("the header Authorization lacks SignedHeaders or Signature"));
        }
        Ok(Self {
            access_key_id: check_key_id(part("Credential"))?,
            header_list: header_list.to_owned(),
            signature: signature.to_owned(),
        })
    }

    pub(super) fn claim(self, raw: &RawRequest) -> Claim {
        let security_token = raw.header("x-acs-security-token").map(str::to_owned);
        Claim { scheme: Scheme::Acs3, access_key_id: self.access_key_id, security_token }
    }

    pub(super) fn verify(
        self,
        raw: &RawRequest,
        pairs: &Pairs,
        secret: &str,
        now: Timestamp,
    ) -> Result<Verified, Refusal> {
        for name in MEANINGFUL {
            if raw.header(name).is_some() && !self.signs(name) {
                return Err(incomplete(format!("the header {name} is sent but not signed")));
            }
        }
        let signed_at = check_time(raw.header("x-acs-date").unwrap_or_default(), now)?;
        let nonce = check_nonce(raw.header("x-acs-signature-nonce"), "x-acs-signature-nonce")?;
        let body_hash = hash(&raw.body);
        let claimed_hash = raw.header("x-acs-content-sha256");
        if claimed_hash.is_some_and(|claimed| !claimed.eq_ignore_ascii_case(&body_hash)) {
            let message = "x-acs-content-sha256 is not the hash of the body that came: sha256 is";
            return Err(Refusal::new(Code::SignatureMismatch, format!("{message} {body_hash}")));
        }
        let text = string_to_sign(raw, pairs, &self.header_list, &body_hash)?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        // Compares in constant time.
        hex::decode(&self.signature)
            .ok()
            .and_then(|tag| hmac::verify(&key, text.as_bytes(), &tag).ok())
            .ok_or_else(|| mismatch(&text))?;
        Ok(Verified { scheme: Scheme::Acs3, access_key_id: self.access_key_id, nonce, signed_at })
    }

    fn signs(&self, name: &str) -> bool {
        self.header_list.split(';').any(|listed| listed.eq_ignore_ascii_case(name))
    }
}

/// Adds time, nonce, hash and signature to a request that has its action and version.
pub fn sign(
    raw: &mut RawRequest,
    access_key_id: &str,
    secret: &str,
    now: Timestamp,
    nonce: &str,
) -> Result<(), Refusal> {
    let body_hash = hash(&raw.body);
    raw.headers.push(("x-acs-date".into(), crate::time::iso(now)));
    raw.headers.push(("x-acs-signature-nonce".into(), nonce.into()));
    raw.headers.push(("x-acs-content-sha256".into(), body_hash.clone()));
    let mut names: Vec<_> = raw.headers.iter().map(|header| header.0.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    let header_list = names.join(";");
    let text = string_to_sign(raw, &Pairs::of(raw)?, &header_list, &body_hash)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = hex::encode(hmac::sign(&key, text.as_bytes()));
    let value =
        format!("{ALGORITHM} Credential={access_key_id},SignedHeaders={header_list},Signature={signature}");
    raw.headers.push(("Authorization".into(), value));
    Ok(())
}

fn string_to_sign(
    raw: &RawRequest,
    pairs: &Pairs,
    header_list: &str,
    body_hash: &str,
) -> Result<String, Refusal> {
    let query = canonical(pairs.query.iter());
    let mut headers = String::new();
    for name in header_list.split(';') {
        let mut values: Vec<_> = raw
            .headers
            .iter()
            .filter(|header| header.0.eq_ignore_ascii_case(name))
            .map(|header| header.1.trim())
            .collect();
        if values.is_empty() {
            let name = clipped(name);
            return Err(incomplete(format!("the header {name:?} is listed as signed and was not sent")));
        }
        values.sort_unstable();
        headers.extend([&name.to_ascii_lowercase(), ":", &values.join(","), "\n"]);
    }
    // Clients sign the path `/` even where an endpoint has a prefix and another path is sent.
    let request = format!("{}\n/\n{query}\n{headers}\n{header_list}\n{body_hash}", raw.method);
    Ok(format!("{ALGORITHM}\n{}", hash(request.as_bytes())))
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}
