//! How a command can fail, by what the caller sees: an exit code, and words.

use std::process::ExitCode;

use model::Refusal;
use serde_json::json;

use crate::args::Output;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The job did not work out, or this side failed.
    #[error("{0}")]
    Failed(String),
    /// The command line asked for something that cannot be: nothing was sent.
    #[error("{0}")]
    Usage(String),
    /// The server said no.
    #[error("{code}: {message}")]
    Refused { code: String, message: String, remedy: String, request_id: String },
    #[error("cannot reach {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    /// Ctrl-C while watching.
    #[error("{0}")]
    Interrupted(String),
}

impl Failure {
    /// Documented in `hikae --help`.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused { .. } => 3,
            Self::Unreachable { .. } => 4,
            Self::Interrupted(_) => 130,
        }
    }

    fn kind(&self) -> &str {
        match self {
            Self::Failed(_) => "Failed",
            Self::Usage(_) => "Usage",
            Self::Refused { code, .. } => code,
            Self::Unreachable { .. } => "Unreachable",
            Self::Interrupted(_) => "Interrupted",
        }
    }

    /// Says it on stderr, in the form asked for.
    pub(crate) fn report(&self, output: Output) -> ExitCode {
        match output {
            Output::Table => eprintln!("{}", self.in_words()),
            Output::Json => eprintln!("{}", self.in_json()),
        }
        ExitCode::from(self.exit_code())
    }

    fn in_words(&self) -> String {
        let Self::Refused { remedy, request_id, .. } = self else {
            return format!("hikae: {self}");
        };
        let mut text = format!("hikae: {self}");
        if !remedy.is_empty() {
            text.push_str(&format!("\n  {remedy}"));
        }
        if !request_id.is_empty() {
            text.push_str(&format!("\n  request id {request_id}"));
        }
        text
    }

    fn in_json(&self) -> serde_json::Value {
        let (message, remedy, request_id) = match self {
            Self::Refused { message, remedy, request_id, .. } => {
                (message.clone(), remedy.as_str(), request_id.as_str())
            }
            other => (other.to_string(), "", ""),
        };
        json!({"error": {
            "code": self.kind(), "message": message, "remedy": remedy, "request_id": request_id,
            "exit_code": self.exit_code(),
        }})
    }
}

/// A refusal that was found on this side, before anything was sent.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Usage(format!("{}. {}", refusal.message, refusal.remedy))
    }
}

impl From<model::IdError> for Failure {
    fn from(error: model::IdError) -> Self {
        Self::Usage(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_code_message_remedy_and_request_id() {
        let failure = Failure::Refused {
            code: "PolicyNotExist".into(),
            message: "there is no policy po-1".into(),
            remedy: "List policies.".into(),
            request_id: "ID".into(),
        };
        let words = failure.in_words();
        for part in ["PolicyNotExist", "there is no policy po-1", "List policies.", "ID"] {
            assert!(words.contains(part), "{words}");
        }
        assert_eq!(failure.in_json()["error"]["code"], "PolicyNotExist");
        assert_eq!(failure.exit_code(), 3);
    }
}
