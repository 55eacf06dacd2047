//! Which chunks of a disk to read, to clear, or to take over from the base. Pure.

use std::ops::Range;

use host::DiskExtent;

/// What to do with a run of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Todo {
    /// As in the base.
    Keep,
    /// Reads as zeroes.
    Clear,
    Read,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) chunks: Range<u64>,
    pub(crate) todo: Todo,
}

/// Turns extents, which begin and end anywhere, into runs of whole chunks, in order.
#[derive(Debug)]
pub(crate) struct Plan {
    chunk_len: u64,
    size: u64,
    /// Below this, unchanged extents need not be looked at: the base has them.
    keep_below: u64,
    position: u64,
    /// The chunk `position` is in the middle of, and what is known of it so far.
    partial: Option<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    changed: bool,
    data: bool,
}

impl Seen {
    const fn todo(self) -> Todo {
        match (self.changed, self.data) {
            (false, _) => Todo::Keep,
            (true, false) => Todo::Clear,
            (true, true) => Todo::Read,
        }
    }
}

impl Plan {
    pub(crate) const fn new(chunk_len: u64, size: u64, keep_below: u64) -> Self {
        Self { chunk_len, size, keep_below, position: 0, partial: None }
    }

    /// Where the next extent must begin; the disk's size when all is planned.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next extent. What reaches past the disk's end is cut off; `None` when it does not
    /// begin where the last one ended, or is empty.
    pub(crate) fn take(&mut self, extent: &DiskExtent) -> Option<Vec<Run>> {
        let (start, end) = (extent.extent.offset, extent.extent.end().min(self.size));
        if start != self.position || end <= start {
            return None;
        }
        let mut runs = Vec::new();
        // An extent may straddle the place where the base ends.
        let split = self.keep_below.clamp(start, end);
        for (from, to, changed) in [(start, split, extent.changed), (split, end, true)] {
            if from < to {
                self.advance(to, Seen { changed, data: !extent.zero }, &mut runs);
            }
        }
        Some(runs)
    }

    fn advance(&mut self, to: u64, seen: Seen, runs: &mut Vec<Run>) {
        while self.position < to {
            let chunk = self.position / self.chunk_len;
            let chunk_end = (chunk + 1) * self.chunk_len;
            let whole = self.position.is_multiple_of(self.chunk_len) && to >= chunk_end;
            if whole {
                let last = to / self.chunk_len;
                push(runs, chunk..last, seen.todo());
                self.position = last * self.chunk_len;
                continue;
            }
            let so_far = self.partial.take();
            let merged = so_far.map_or(seen, |before| Seen {
                changed: before.changed || seen.changed,
                data: before.data || seen.data,
            });
            self.position = to.min(chunk_end);
            if self.position == chunk_end || self.position == self.size {
                push(runs, chunk..chunk + 1, merged.todo());
            } else {
                self.partial = Some(merged);
            }
        }
    }
}

fn push(runs: &mut Vec<Run>, chunks: Range<u64>, todo: Todo) {
    match runs.last_mut() {
        Some(last) if last.todo == todo && last.chunks.end == chunks.start => last.chunks.end = chunks.end,
        _ => runs.push(Run { chunks, todo }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Extent;
    use proptest::prelude::*;

    const CHUNK: u64 = 8;

    /// Byte by byte: what each chunk needs.
    fn naive(extents: &[DiskExtent], size: u64, keep_below: u64) -> Vec<Todo> {
        (0..size.div_ceil(CHUNK))
            .map(|chunk| {
                let bytes = chunk * CHUNK..((chunk + 1) * CHUNK).min(size);
                let of = |byte| {
                    extents
                        .iter()
                        .find(|e| e.extent.offset <= byte && byte < e.extent.end())
                        .expect("covered")
                };
                let changed = bytes.clone().any(|byte| of(byte).changed || byte >= keep_below);
                let data = bytes.clone().any(|byte| !of(byte).zero);
                Seen { changed, data }.todo()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn runs_say_what_every_byte_says(
            pieces in prop::collection::vec((1_u64..40, any::<bool>(), any::<bool>()), 1..20),
            cut in 0_u64..40,
            keep_below in 0_u64..300,
        ) {
            let mut offset = 0;
            let extents: Vec<DiskExtent> = pieces.iter().map(|&(len, zero, changed)| {
                let extent = Extent { offset, len };
                offset += len;
                DiskExtent { extent, zero, changed }
            }).collect();
            let size = offset - cut.min(pieces[pieces.len() - 1].0 - 1);
            let mut plan = Plan::new(CHUNK, size, keep_below);
            let mut todos = Vec::new();
            for extent in &extents {
                for run in plan.take(extent).expect("in order") {
                    prop_assert_eq!(run.chunks.start, todos.len() as u64);
                    todos.extend(run.chunks.map(|_| run.todo));
                }
            }
            prop_assert_eq!(plan.position(), size);
            prop_assert_eq!(todos, naive(&extents, size, keep_below));
        }
    }

    #[test]
    fn gaps_and_empty_extents_are_refused() {
        let extent = |offset, len| DiskExtent { extent: Extent { offset, len }, zero: false, changed: true };
        assert_eq!(Plan::new(CHUNK, 100, 0).take(&extent(1, 9)), None);
        assert_eq!(Plan::new(CHUNK, 100, 0).take(&extent(0, 0)), None);
    }
}
