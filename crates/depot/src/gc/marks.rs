//! The sequence of collection marks: the newest counts, and who creates the next one has won.

use format::{Marks, path};
use model::Timestamp;
use store::Put;

use super::{GcDecision, Newest};
use crate::objects::key;
use crate::{Depot, DepotError};

/// Marks are outdated, and may go, only when many more have been made: a list that is late by so
/// many visits this often is not of this world.
const TRIES: u32 = 4;

impl Depot {
    /// For those who must heed them. Marks that cannot be read stop everything that writes, until the
    /// next visit of a collector has made new ones.
    pub(crate) async fn newest_marks(&self) -> Result<Option<Marks>, DepotError> {
        let mut missing = DepotError::damaged(path::MARKS, "missing, though listed");
        for _ in 0..TRIES {
            let Some(number) = self.marks_numbers().await?.into_iter().max() else { return Ok(None) };
            match self.marks(number).await {
                Ok(Some(marks)) => return Ok(Some(marks)),
                Ok(None) => missing = DepotError::damaged(path::marks(number), "missing, though listed"),
                Err(error) => return Err(error),
            }
        }
        Err(missing)
    }

    pub(super) async fn marks_numbers(&self) -> Result<Vec<u64>, DepotError> {
        self.objects.list(path::MARKS, None, path::parse_marks).await
    }

    /// For a collector: out of those there are.
    pub(super) async fn newest_of(&self, numbers: &[u64]) -> Result<Newest, DepotError> {
        let mut downwards = numbers.to_vec();
        downwards.sort_unstable_by(|a, b| b.cmp(a));
        let Some(&number) = downwards.first() else { return Ok(Newest::None) };
        for candidate in downwards {
            match self.marks(candidate).await {
                Ok(Some(marks)) if candidate == number => return Ok(Newest::Read(marks)),
                Ok(Some(marks)) => return Ok(Newest::Lost { number, before: Some(marks) }),
                Ok(None) | Err(DepotError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Newest::Lost { number, before: None })
    }

    async fn marks(&self, number: u64) -> Result<Option<Marks>, DepotError> {
        let key = key(&path::marks(number))?;
        let Some(bytes) = self.objects.find(&key).await? else { return Ok(None) };
        let marks = Marks::decode(&bytes).map_err(|error| DepotError::unreadable(key.as_str(), error))?;
        if (marks.depot, marks.number) != (self.id, number) {
            return Err(DepotError::damaged(key.as_str(), "the marks of another visit or depot"));
        }
        Ok(Some(marks))
    }

    /// Creates the next marks. False: somebody else has.
    pub(super) async fn put_marks(&self, decision: &GcDecision, made: Timestamp) -> Result<bool, DepotError> {
        let marks = Marks { depot: self.id, number: decision.number, made, packs: decision.marks.clone() };
        let (key, bytes) = (key(&path::marks(decision.number))?, marks.encode());
        match self.objects.put(&key, bytes.clone().into()).await? {
            Put::Created => Ok(true),
            // Only our own earlier try is equal: another's would have to be made in the same microsecond
            // from the same sight, and then it decided the same.
            Put::Existed => Ok(self.objects.get(&key).await? == bytes),
        }
    }
}
