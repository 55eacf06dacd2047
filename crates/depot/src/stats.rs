//! What a depot holds, counted.

use std::collections::{BTreeMap, HashSet};

use format::{MarkState, PackName, path};
use model::{ByteCount, SnapshotId};
use store::LIST_MAX;

use crate::reach::{Needs, Remembered};
use crate::{Depot, DepotError};

/// Sums over a whole depot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DepotStats {
    pub groups: usize,
    pub snapshots: usize,
    /// Sizes of the disks, as their guests saw them.
    pub disk_bytes: ByteCount,
    pub packs: usize,
    pub pack_bytes: ByteCount,
    /// Packs some group needs; the others are garbage, or of jobs under way.
    pub needed_packs: usize,
    pub needed_bytes: ByteCount,
    /// Packs that collection has its eye on.
    pub marked_packs: usize,
    pub condemned_packs: usize,
}

impl Depot {
    /// Counts everything: reads every manifest and the upper nodes of every tree, and no data.
    pub async fn stats(&self) -> Result<DepotStats, DepotError> {
        let mut stats = DepotStats::default();
        let (needs, mut snapshots) = (Needs::new(self, Remembered::default()), HashSet::<SnapshotId>::new());
        let mut groups = Vec::new();
        self.each_group(|(_, found)| groups.push(found)).await?;
        for group in groups {
            stats.groups += 1;
            for disk in group?.disks {
                snapshots.insert(disk.snapshot);
                stats.disk_bytes += ByteCount(disk.tree.size);
            }
        }
        stats.snapshots = snapshots.len();
        needs.add_groups().await?;
        let (needed, _) = needs.end();
        for (pack, size) in self.pack_sizes().await? {
            stats.packs += 1;
            stats.pack_bytes += size;
            if needed.contains(&pack.stem()) {
                stats.needed_packs += 1;
                stats.needed_bytes += size;
            }
        }
        for mark in self.newest_marks().await?.iter().flat_map(|marks| &marks.packs) {
            match mark.state {
                MarkState::Marked { .. } => stats.marked_packs += 1,
                MarkState::Condemned => stats.condemned_packs += 1,
            }
        }
        Ok(stats)
    }

    async fn pack_sizes(&self) -> Result<BTreeMap<PackName, ByteCount>, DepotError> {
        let (mut sizes, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.objects.list_page(path::PACKS, after.as_ref(), LIST_MAX).await?;
            let more = page.len() >= LIST_MAX;
            let packs = page
                .iter()
                .filter_map(|listed| Some((path::parse_pack(listed.key.as_str())?, ByteCount(listed.size))));
            sizes.extend(packs);
            match page.into_iter().next_back() {
                Some(last) if more => after = Some(last.key),
                _ => return Ok(sizes),
            }
        }
    }
}
