//! Access keys, and the one gate every request passes.

use std::sync::{Arc, Mutex, PoisonError};

use catalog::{AccessKey, Batch, Catalog, CatalogError, Column, Query};
use model::{AccessKeyId, Code, Entropy, Refusal, Timestamp};
use seal::{SealError, Sealed, Sealer};
use wire::RawRequest;
use wire::signature;
use zeroize::Zeroizing;

use crate::key::{NewAccessKey, draw_secret, seal_context};
use crate::nonce::{Nonces, PER_KEY_MAX, TOTAL_MAX, Turned};

/// Who has proven to be asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    pub key: AccessKeyId,
    /// May do everything.
    pub root: bool,
}

/// Why an access key was not made.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("access key not kept")]
    Catalog(#[from] CatalogError),
    #[error("secret of the access key not sealed")]
    Seal(#[from] SealError),
}

/// The access keys of one catalog, and the nonces seen by this process.
#[expect(missing_debug_implementations, reason = "it holds the root of trust")]
pub struct Access {
    catalog: Catalog,
    sealer: Arc<dyn Sealer>,
    entropy: Arc<dyn Entropy>,
    nonces: Mutex<Nonces>,
}

impl Access {
    pub fn open(catalog: Catalog, sealer: Arc<dyn Sealer>, entropy: Arc<dyn Entropy>) -> Self {
        Self::with_room(catalog, sealer, entropy, PER_KEY_MAX, TOTAL_MAX)
    }

    /// [`open`](Self::open) with room for so many nonces of one key, and of all.
    pub fn with_room(
        catalog: Catalog,
        sealer: Arc<dyn Sealer>,
        entropy: Arc<dyn Entropy>,
        per_key_max: usize,
        total_max: usize,
    ) -> Self {
        let nonces = Mutex::new(Nonces::new(per_key_max, total_max));
        Self { catalog, sealer, entropy, nonces }
    }

    /// Whether a root key was ever kept: a first start makes one.
    pub async fn has_root_key(&self) -> Result<bool, CatalogError> {
        Ok(self.catalog.count::<AccessKey>(&Query::all().eq(Column::Root, true)).await? > 0)
    }

    /// Draws a root key without putting it in force. Write the secret down before [`keep`]: a crash
    /// in between leaves a note of a key that never was, not a root key nobody knows.
    ///
    /// [`keep`]: Self::keep
    pub async fn draw_root_key(&self, now: Timestamp) -> Result<NewAccessKey, SealError> {
        let id: AccessKeyId = model::draw(&*self.entropy);
        let secret = draw_secret(&*self.entropy);
        let sealed = self.sealer.seal(secret.as_bytes(), &seal_context(id)).await?;
        let record = AccessKey {
            id,
            name: "root".to_owned(),
            sealed_secret: sealed.0,
            active: true,
            root: true,
            created: now,
        };
        Ok(NewAccessKey { id, secret, record })
    }

    /// Puts a drawn key in force. Again is an error of the catalog.
    pub async fn keep(&self, key: &NewAccessKey) -> Result<(), CatalogError> {
        self.catalog.write(Batch::new().insert(&key.record)).await
    }

    /// Draws a root key and keeps it at once.
    pub async fn create_root_key(
        &self,
        now: Timestamp,
    ) -> Result<(AccessKeyId, Zeroizing<String>), AccessError> {
        let key = self.draw_root_key(now).await?;
        self.keep(&key).await?;
        Ok((key.id, key.secret))
    }

    /// Puts a key out of force, or back. None when there is no such key.
    pub async fn set_active(&self, id: AccessKeyId, active: bool) -> Result<Option<()>, CatalogError> {
        self.catalog.update(&id, |key: &mut AccessKey| key.active = active).await
    }

    /// Who sent this request. It is refused when the key is unknown or inactive, the signature is
    /// wrong, the time is far, or the nonce was used: a request passes here once at most.
    pub async fn authenticate(&self, raw: &RawRequest, now: Timestamp) -> Result<Caller, Refusal> {
        let claim = signature::claim(raw)?;
        if claim.security_token.is_some() {
            return Err(no_such_key("temporary access keys are not issued here"));
        }
        let key = self.find(&claim.access_key_id).await?;
        let secret = self.secret_of(&key).await?;
        let verified = signature::verify(raw, &secret, now)?;
        // Only the key's owner learns that it is inactive.
        if !key.active {
            return Err(Refusal::new(
                Code::AccessKeyInactive,
                format!("the access key {} is inactive", key.id),
            )
            .remedy("Make it active again, or use another one."));
        }
        let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        match nonces.take(key.id, &verified.nonce, verified.signed_at, now) {
            Ok(()) => Ok(Caller { key: key.id, root: key.root }),
            Err(Turned::Used) => Err(Refusal::new(Code::NonceUsed, "the signature nonce was used before")
                .remedy("Draw a new nonce for every request, repeated ones included.")),
            Err(Turned::Full) => Err(Refusal::new(Code::Throttled, "too many requests in 15 minutes")
                .remedy("Send fewer requests, or spread them over several access keys.")),
        }
    }

    async fn find(&self, text: &str) -> Result<AccessKey, Refusal> {
        let unknown = || no_such_key("the access key id is not known here");
        let id: AccessKeyId = text.parse().map_err(|_| unknown())?;
        self.catalog.get::<AccessKey>(&id).await?.ok_or_else(unknown)
    }

    async fn secret_of(&self, key: &AccessKey) -> Result<Zeroizing<String>, Refusal> {
        let sealed = Sealed(key.sealed_secret.clone());
        let unusable = |why: String| {
            tracing::error!(key = %key.id, why, "the secret of an access key cannot be opened");
            Refusal::new(Code::KeyUnavailable, "the secret of this access key cannot be opened here")
                .remedy("Check the root key; the server's log says more.")
        };
        let plain = self.sealer.open(&sealed, &seal_context(key.id)).await;
        let plain = plain.map_err(|error| unusable(error.to_string()))?;
        match std::str::from_utf8(&plain) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(unusable("it is no text".to_owned())),
        }
    }
}

fn no_such_key(message: &str) -> Refusal {
    Refusal::new(Code::AccessKeyNotFound, message)
        .remedy("Use an access key of this server, such as the root key its first start wrote down.")
}
