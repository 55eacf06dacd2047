//! The operations, thin: read the typed request, call a service, say the typed answer.

pub(crate) mod ecs;
pub(crate) mod hbr_bindings;
pub(crate) mod hbr_jobs;
pub(crate) mod hbr_points;
pub(crate) mod hbr_policies;
pub(crate) mod hbr_restores;
mod runs;

use model::{Code, Refusal};
use serde::Serialize;
use serde_json::{Value, json};

/// An answer's payload as JSON.
fn payload(view: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(view).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        Refusal::new(Code::Internal, "the answer cannot be written")
            .remedy("Please report this defect of Hikae.")
    })
}

/// The answer of operations that only say it was done.
fn nothing() -> Value {
    json!({})
}
