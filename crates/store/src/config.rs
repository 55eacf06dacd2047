//! Where a depot's objects are kept, and how such a place is opened.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use url::Url;
use zeroize::Zeroizing;

use crate::bucket::Bucket;
use crate::key::is_allowed;
use crate::{Store, StoreError, directory};

/// One try of one request. The largest pack on a slow line needs most of it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries after the first, and how long after the first one may still begin. A workflow step above
/// tries again with more patience; here only hiccups are bridged.
const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(90);

/// Where objects are kept.
pub enum StoreConfig {
    Directory {
        path: PathBuf,
    },
    S3 {
        /// `https://host:port`; empty means AWS itself.
        endpoint: String,
        bucket: String,
        /// Put before every name; may be empty.
        prefix: String,
        region: String,
        access_key_id: String,
        secret: Secret,
        /// Whether the endpoint may be plain `http`.
        allow_http: bool,
    },
}

/// The secret half of a credential. It has no way out but [`Secret::new`]'s argument.
#[expect(missing_debug_implementations, reason = "what is not implemented cannot leak")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

/// What a bucket asks for; never part of a URL.
#[expect(missing_debug_implementations, reason = "what is not implemented cannot leak")]
pub struct Credentials {
    pub access_key_id: String,
    pub secret: Secret,
}

/// A place that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a depot location: {0}")]
pub struct ConfigError(String);

impl StoreConfig {
    /// Reads `file:///path` or
    /// `s3://bucket/prefix?endpoint=http://host:port&region=…&allow_http=true`.
    pub fn parse(text: &str, credentials: Option<Credentials>) -> Result<Self, ConfigError> {
        // The text itself is not repeated: somebody may have put a password into it.
        let url = Url::parse(text).map_err(|error| ConfigError(error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConfigError("credentials do not belong in a URL".to_owned()));
        }
        match url.scheme() {
            "file" => {
                let path = url
                    .to_file_path()
                    .map_err(|()| ConfigError("a file URL needs an absolute path".to_owned()))?;
                Ok(Self::Directory { path })
            }
            "s3" => Self::parse_s3(&url, credentials),
            other => Err(ConfigError(format!("{other:?} is neither file nor s3"))),
        }
    }

    fn parse_s3(url: &Url, credentials: Option<Credentials>) -> Result<Self, ConfigError> {
        let bucket = url.host_str().unwrap_or_default().to_owned();
        if bucket.is_empty() {
            return Err(ConfigError("an s3 URL begins with a bucket".to_owned()));
        }
        let Some(Credentials { access_key_id, secret }) = credentials else {
            return Err(ConfigError("an s3 bucket needs an access key id and a secret".to_owned()));
        };
        let prefix = url.path().trim_matches('/').to_owned();
        let is_plain = |byte: u8| is_allowed(byte.to_ascii_lowercase());
        let is_odd = |part: &str| matches!(part, "" | "." | "..") || !part.bytes().all(is_plain);
        if !prefix.is_empty() && prefix.split('/').any(is_odd) {
            return Err(ConfigError("a prefix holds only letters, digits, '.', '_', '-' and '/'".to_owned()));
        }
        let (mut endpoint, mut region, mut allow_http) = (String::new(), "us-east-1".to_owned(), false);
        for (name, value) in url.query_pairs() {
            match (&*name, &*value) {
                ("endpoint", _) => endpoint = value.into_owned(),
                ("region", _) => region = value.into_owned(),
                ("allow_http", "true") => allow_http = true,
                ("allow_http", "false") => allow_http = false,
                _ => return Err(ConfigError(format!("unknown or malformed setting {name:?}"))),
            }
        }
        Ok(Self::S3 { endpoint, bucket, prefix, region, access_key_id, secret, allow_http })
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The place, without credentials.
impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path } => write!(f, "file://{}", path.display()),
            Self::S3 { endpoint, bucket, prefix, .. } => {
                // Somebody may have hidden a password in the endpoint.
                let endpoint = endpoint.rsplit_once('@').map_or(endpoint.as_str(), |(_, host)| host);
                write!(f, "s3://{bucket}/{prefix} at {endpoint}")
            }
        }
    }
}

/// Opens a store, without writing to it (a missing directory is made). What it honours,
/// [`crate::probe`] tells.
pub async fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, StoreError> {
    match config {
        StoreConfig::Directory { path } => Ok(Arc::new(directory::open(path).await?)),
        StoreConfig::S3 { endpoint, bucket, prefix, region, access_key_id, secret, allow_http } => {
            let mut builder = AmazonS3Builder::new()
                .with_bucket_name(bucket)
                .with_region(region)
                .with_access_key_id(access_key_id)
                .with_secret_access_key(secret.0.as_str())
                .with_conditional_put(S3ConditionalPut::ETagMatch)
                .with_retry(retries())
                .with_client_options(
                    ClientOptions::new()
                        .with_timeout(REQUEST_TIMEOUT)
                        .with_connect_timeout(CONNECT_TIMEOUT)
                        .with_allow_http(*allow_http),
                );
            if !endpoint.is_empty() {
                builder = builder.with_endpoint(endpoint);
            }
            let s3 = builder.build().map_err(|error| {
                let what: String = error.to_string().chars().take(200).collect();
                StoreError::Failed { what: format!("set up {config}: {what}") }
            })?;
            Ok(Arc::new(Bucket::new(Arc::new(s3), prefix)))
        }
    }
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Option<Credentials> {
        Some(Credentials { access_key_id: "AKID".to_owned(), secret: Secret::new("hush-hush") })
    }

    #[test]
    fn places_are_read() {
        let config = StoreConfig::parse("file:///srv/depot", None).expect("a directory");
        assert_eq!(config.to_string(), "file:///srv/depot");
        let text = "s3://backups/tokyo/A-1?endpoint=http://127.0.0.1:9000&region=x&allow_http=true";
        let config = StoreConfig::parse(text, credentials()).expect("a bucket");
        assert_eq!(config.to_string(), "s3://backups/tokyo/A-1 at http://127.0.0.1:9000");
        let StoreConfig::S3 { region, allow_http, .. } = config else { panic!("not a bucket") };
        assert_eq!((region.as_str(), allow_http), ("x", true));
    }

    #[test]
    fn odd_places_are_refused_and_no_password_is_repeated() {
        for text in [
            "",
            "nowhere",
            "ftp://x/y",
            "s3:///prefix",
            "s3://b/?allow_http=yes",
            "s3://b/?secret=pass-word",
            "s3://me:pass-word@b/",
            "s3://b/a//b",
            "s3://b/a%20b",
            "s3://b/../x y",
        ] {
            let error = StoreConfig::parse(text, credentials()).expect_err(text);
            assert!(!error.to_string().contains("pass-word"), "{error}");
        }
        assert!(StoreConfig::parse("s3://bucket", None).is_err(), "without credentials");
    }

    #[test]
    fn a_configuration_prints_no_credential() {
        let config =
            StoreConfig::parse("s3://b/p?endpoint=https://me:pass-word@h", credentials()).expect("a bucket");
        for text in [format!("{config:?}"), config.to_string()] {
            assert!(
                !text.contains("hush") && !text.contains("pass-word") && !text.contains("AKID"),
                "{text}"
            );
        }
    }
}
