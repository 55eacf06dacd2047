//! The end of intents: of attempts that succeeded, nothing is left but the manifest; the others are given up.

use format::{Attempt, path};
use model::{GroupId, Timestamp};
use store::Put;

use super::{GcDecision, Margins, execute};
use crate::objects::key;
use crate::{Depot, DepotError};

impl Depot {
    /// Removes the intents of attempts begun long ago. Where there is no manifest, a void one is put
    /// first: from then on the attempt cannot succeed, and what it needed may go. Answers how many
    /// were given up so.
    pub(super) async fn settle_intents(&self, margins: Margins) -> Result<usize, DepotError> {
        let intents = self.objects.list(path::INTENTS, None, path::parse_intent).await?;
        let ended = ended(intents, margins, self.clock.now());
        let mut given_up = 0;
        for (group, attempt) in &ended {
            if self.objects.size(&key(&path::group(*group, *attempt))?).await?.is_none() {
                // It may have succeeded since.
                given_up += usize::from(self.put_void(*group, *attempt).await? == Put::Created);
            }
        }
        execute(self, &GcDecision::intents(ended)).await?;
        Ok(given_up)
    }
}

/// Pure: the attempts that have had their time.
fn ended(intents: Vec<(GroupId, Attempt)>, margins: Margins, now: Timestamp) -> Vec<(GroupId, Attempt)> {
    let is_over = |attempt: Attempt| attempt.begun().plus_seconds(margins.seal_s) <= now;
    intents.into_iter().filter(|(_, attempt)| is_over(*attempt)).collect()
}
