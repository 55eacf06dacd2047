//! What an operator says has changed, laid over an image.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use host::{DiskExtent, DiskReader, HostError};
use model::{ByteCount, Extent};

use super::ranges;
use crate::cli::failure::Failure;

const FILE_BYTES_MAX: u64 = 256 << 20;

/// Reads a JSON list of `[offset, length]`; a list in any order, of ranges that may overlap.
pub(super) fn read(path: &Path) -> Result<Vec<Extent>, Failure> {
    let wrong = |what: String| Failure::Usage(format!("{}: {what}", path.display()));
    let len = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if len > FILE_BYTES_MAX {
        return Err(wrong("it is too long".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    ranges::parse(&text).map_err(wrong)
}

/// An image of which only these ranges count as changed.
#[derive(Debug)]
pub(super) struct Changed {
    pub(super) image: Arc<dyn DiskReader>,
    pub(super) ranges: Vec<Extent>,
}

#[async_trait]
impl DiskReader for Changed {
    fn size(&self) -> ByteCount {
        self.image.size()
    }

    async fn extents(&self, range: Extent) -> Result<Vec<DiskExtent>, HostError> {
        let told = self.image.extents(range).await?;
        Ok(told.into_iter().flat_map(|extent| lay_over(extent, &self.ranges)).collect())
    }

    async fn read(&self, range: Extent) -> Result<Bytes, HostError> {
        self.image.read(range).await
    }
}

/// Cuts an extent where ranges begin and end.
fn lay_over(told: DiskExtent, ranges: &[Extent]) -> Vec<DiskExtent> {
    let (mut at, end) = (told.extent.offset, told.extent.end());
    let mut cut = Vec::new();
    let first = ranges.partition_point(|range| range.end() <= at);
    let mut push = |from: u64, to: u64, changed: bool| {
        if from < to {
            cut.push(DiskExtent {
                extent: Extent { offset: from, len: to - from },
                zero: told.zero,
                changed,
            });
        }
    };
    for range in ranges[first..].iter().take_while(|range| range.offset < end) {
        push(at, range.offset, false);
        push(at.max(range.offset), range.end().min(end), true);
        at = range.end().min(end);
    }
    push(at, end, false);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent((offset, len): (u64, u64)) -> Extent {
        Extent { offset, len }
    }

    #[test]
    fn every_byte_is_told_of_once() {
        let ranges = [(10, 10), (30, 5), (90, 100)].map(extent);
        for (from, len) in [(0, 100), (10, 10), (15, 3), (20, 10), (5, 7), (34, 60), (95, 1)] {
            let told = DiskExtent { extent: extent((from, len)), zero: true, changed: true };
            let mut at = from;
            for part in lay_over(told, &ranges) {
                assert_eq!(part.extent.offset, at);
                assert!(part.zero && part.extent.len > 0);
                for byte in at..part.extent.end() {
                    let inside = ranges.iter().any(|range| (range.offset..range.end()).contains(&byte));
                    assert_eq!(part.changed, inside, "byte {byte}");
                }
                at = part.extent.end();
            }
            assert_eq!(at, from + len);
        }
    }
}
