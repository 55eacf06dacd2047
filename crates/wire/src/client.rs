//! Requests to send: what our own command line uses, signed as everyone's.

use model::{Refusal, Timestamp};

use crate::pairs::join;
use crate::request::RawRequest;
use crate::signature::sign_acs3;

/// One call of any product. Nothing checks its action or parameters here: the server does.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub version: &'a str,
    pub action: &'a str,
    pub params: &'a [(String, String)],
    /// As the HTTP library will send it: it is signed.
    pub host: &'a str,
    /// `/`, or the prefix that names a region.
    pub path: &'a str,
}

impl Call<'_> {
    /// The request, all parameters in a form. `nonce` must be new, and nobody's guess.
    pub fn signed(
        &self,
        access_key_id: &str,
        secret: &str,
        now: Timestamp,
        nonce: &str,
    ) -> Result<RawRequest, Refusal> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut raw = RawRequest {
            method: "POST".to_owned(),
            path: if self.path.is_empty() { "/".to_owned() } else { self.path.to_owned() },
            query: String::new(),
            headers: vec![
                header("host", self.host),
                header("accept", "application/json"),
                header("content-type", "application/x-www-form-urlencoded"),
                header("x-acs-action", self.action),
                header("x-acs-version", self.version),
            ],
            body: join(self.params.iter()).into_bytes(),
        };
        sign_acs3(&mut raw, access_key_id, secret, now, nonce)?;
        Ok(raw)
    }
}
