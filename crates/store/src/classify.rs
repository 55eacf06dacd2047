//! What an error of the `object_store` crate means to our callers.
//!
//! The crate keeps its HTTP status in types it does not export, so it is read out of the text of the
//! error chain; `tests/s3_errors.rs` holds that against a server that misbehaves.

use std::error::Error;
use std::io::{self, ErrorKind};

use object_store::client::HttpError;

use crate::{ObjectKey, Put, StoreError};

/// How the crate words a status; the three digits and the answer's body follow.
const STATUS_TEXT: &str = "Server returned non-2xx status code: ";

/// What was found at the bottom of an error chain.
#[derive(Debug, PartialEq, Eq)]
enum Cause {
    NoSpace,
    Denied,
    /// Two creations of one name at the same moment: this one lost or neither is done.
    Conflict,
    /// No answer, or an answer that says "later".
    Silent,
    Other,
}

/// The meaning of a failed read, of one object.
pub(crate) fn reading(key: &ObjectKey, error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } if !is_bucket_missing(&error) => {
            StoreError::NotFound { key: key.clone() }
        }
        error => looking(&format!("read {key}"), &error),
    }
}

/// The meaning of a failed listing.
pub(crate) fn listing(prefix: &str, error: object_store::Error) -> StoreError {
    looking(&format!("list {prefix:?}"), &error)
}

/// The meaning of a write that did not simply succeed.
pub(crate) fn writing(key: &ObjectKey, error: object_store::Error) -> Result<Put, StoreError> {
    let (cause, text) = cause(&error);
    let what = format!("write {key}: {text}");
    match (cause, &error) {
        (Cause::Conflict, _) => Err(StoreError::Unknown { what }),
        (_, object_store::Error::AlreadyExists { .. }) => Ok(Put::Existed),
        (Cause::NoSpace, _) => Err(StoreError::NoSpace { what }),
        (Cause::Denied, _) => Err(StoreError::Denied { what }),
        // Even a refused connection proves little: an earlier try inside may have got through.
        (Cause::Silent, _) => Err(StoreError::Unknown { what }),
        (Cause::Other, _) => Err(StoreError::Failed { what }),
    }
}

fn looking(doing: &str, error: &object_store::Error) -> StoreError {
    let (cause, text) = cause(error);
    let what = format!("{doing}: {text}");
    match cause {
        Cause::Denied => StoreError::Denied { what },
        Cause::Silent => StoreError::Unavailable { what },
        Cause::NoSpace | Cause::Conflict | Cause::Other => StoreError::Failed { what },
    }
}

/// A missing bucket also answers 404; to call every object of it absent would invite a collector to
/// think the depot empty.
fn is_bucket_missing(error: &object_store::Error) -> bool {
    chain(error).any(|link| link.to_string().contains("<Code>NoSuchBucket</Code>"))
}

/// The cause, and words for it in which no request, header or foreign text of length appears.
fn cause(error: &object_store::Error) -> (Cause, String) {
    if let Some((status, code)) = chain(error).find_map(|link| status_of(&link.to_string())) {
        return (
            cause_of_status(status, &code),
            format!("the server answered {status} {code}").trim_end().to_owned(),
        );
    }
    if let Some(http) = chain(error).find_map(|link| link.downcast_ref::<HttpError>()) {
        return (Cause::Silent, format!("no answer from the server ({:?})", http.kind()));
    }
    if let Some(io) = chain(error).find_map(|link| link.downcast_ref::<io::Error>()) {
        return (cause_of_io(io.kind()), io.to_string());
    }
    let denied = matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    );
    let text: String = error.to_string().chars().take(200).collect();
    (if denied { Cause::Denied } else { Cause::Other }, text)
}

fn cause_of_status(status: u16, code: &str) -> Cause {
    match (status, code) {
        // Ceph says 403 when a quota is full, others 507.
        (507, _) | (403, "QuotaExceeded" | "XMinioStorageFull") => Cause::NoSpace,
        (401 | 403, _) | (404, "NoSuchBucket") => Cause::Denied,
        (409, _) => Cause::Conflict,
        (408 | 429 | 500.., _) => Cause::Silent,
        _ => Cause::Other,
    }
}

pub(crate) fn io_error(doing: &str, error: &io::Error) -> StoreError {
    let what = format!("{doing}: {error}");
    match cause_of_io(error.kind()) {
        Cause::NoSpace => StoreError::NoSpace { what },
        Cause::Denied => StoreError::Denied { what },
        Cause::Conflict | Cause::Silent | Cause::Other => StoreError::Failed { what },
    }
}

const fn cause_of_io(kind: ErrorKind) -> Cause {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Cause::NoSpace,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Cause::Denied,
        _ => Cause::Other,
    }
}

/// The status and, if its body names one, the S3 error code.
fn status_of(text: &str) -> Option<(u16, String)> {
    let rest = text.strip_prefix(STATUS_TEXT)?;
    let status = rest.get(..3)?.parse().ok()?;
    let code = rest.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map_or("", |(code, _)| code);
    let is_plain = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Some((status, if is_plain { code.to_owned() } else { String::new() }))
}

fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    std::iter::from_fn(move || {
        let link = next?;
        next = link.source();
        Some(link)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(kind: ErrorKind) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(io::Error::from(kind)) }
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let key = ObjectKey::new("a").expect("a name");
        for (kind, full) in
            [(ErrorKind::StorageFull, true), (ErrorKind::QuotaExceeded, true), (ErrorKind::Other, false)]
        {
            let error = writing(&key, local(kind)).expect_err("it failed");
            assert_eq!(matches!(error, StoreError::NoSpace { .. }), full, "{error}");
        }
    }

    #[test]
    fn a_status_is_read_with_its_code_and_nothing_else() {
        let text =
            format!("{STATUS_TEXT}507 Insufficient Storage: <Error><Code>Full</Code><Key>AK</Key></Error>");
        assert_eq!(status_of(&text), Some((507, "Full".to_owned())));
        assert_eq!(status_of(&format!("{STATUS_TEXT}500: <Code>a b</Code>")), Some((500, String::new())));
        assert_eq!(status_of("Server returned"), None);
    }
}
