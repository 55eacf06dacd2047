//! Name and value pairs of a query or form, decoded; and the one way of encoding them for signing.

use std::fmt::Write as _;

use model::{Code, Refusal};

use crate::request::RawRequest;

/// Bodies and queries longer than this are refused unread.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// Requests of more parameters than this are refused.
pub(crate) const PAIRS_MAX: usize = 2_000;

/// Where in the request a pair stood: ACS3 signs the query as pairs and the body as bytes.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pub(crate) query: Vec<(String, String)>,
    pub(crate) form: Vec<(String, String)>,
}

impl Pairs {
    /// Splits and decodes both; the content type is not looked at, as clients send any.
    pub(crate) fn of(raw: &RawRequest) -> Result<Self, Refusal> {
        let length = raw.query.len().max(raw.body.len());
        if length > BODY_BYTES_MAX {
            return Err(too_large(format!(
                "{length} bytes of parameters, and at most {BODY_BYTES_MAX} are read"
            )));
        }
        let query = decode(raw.query.as_bytes(), PAIRS_MAX)?;
        let form = decode(&raw.body, PAIRS_MAX - query.len())?;
        Ok(Self { query, form })
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &(String, String)> {
        self.query.iter().chain(&self.form)
    }

    /// The value of a parameter of the protocol itself (`Action`, `SignatureNonce`).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all().find(|pair| pair.0.eq_ignore_ascii_case(name)).map(|pair| pair.1.as_str())
    }
}

fn decode(bytes: &[u8], pairs_max: usize) -> Result<Vec<(String, String)>, Refusal> {
    let mut pairs = Vec::new();
    for piece in bytes.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()) {
        if pairs.len() == pairs_max {
            return Err(too_large(format!("more than {PAIRS_MAX} parameters")));
        }
        let (name, value) = match piece.iter().position(|byte| *byte == b'=') {
            Some(at) => (&piece[..at], &piece[at + 1..]),
            None => (piece, &piece[..0]),
        };
        pairs.push((decode_text(name)?, decode_text(value)?));
    }
    Ok(pairs)
}

fn decode_text(bytes: &[u8]) -> Result<String, Refusal> {
    let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    String::from_utf8(percent_encoding::percent_decode(&spaced).collect()).map_err(|_| {
        Refusal::new(
            Code::InvalidParameter,
            "a parameter is not UTF-8 text once its percent signs are decoded",
        )
    })
}

fn too_large(message: String) -> Refusal {
    Refusal::new(Code::RequestTooLarge, message).remedy("Split the call into several.")
}

/// Appends `text` with everything but RFC 3986's unreserved characters percent-encoded.
pub(crate) fn encode_onto(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// `name=value&…`, encoded and, as both signatures want it, sorted.
pub(crate) fn canonical<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> String {
    let mut sorted: Vec<_> = pairs.collect();
    sorted.sort_unstable();
    join(sorted.into_iter())
}

/// `name=value&…`, encoded, in the order given.
pub(crate) fn join<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode_onto(&mut out, name);
        out.push('=');
        encode_onto(&mut out, value);
    }
    out
}
