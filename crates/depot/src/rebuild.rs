//! What can be made anew from the bucket and the key: the list of snapshots, and what is known of chunks.
//!
//! Every group's manifest stands by itself, and so does every tree; nothing else is needed to list and
//! restore them. What is known of chunks comes from the packs' own tables of contents. A manifest that
//! is lost cannot be made anew: `docs/operating.md` says what is left then.
//!
//! # Limits
//! One manifest at a time; names of packs that groups need; of chunks as many as are kept in memory.

use std::collections::HashSet;

use format::{
    FOOTER_LEN, FrameKind, GroupManifest, HEADER_LEN, PACK_LEN_MAX, PackFooter, PackName, Toc, TreeRef,
};
use format::{path, terms};
use futures::StreamExt;
use model::{GroupId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::known::Contents;
use crate::objects::key;
use crate::packer::narrow;
use crate::walk::Named;
use crate::work::{Work, cancellable};
use crate::{Depot, DepotError};

/// Something that could not be read, and was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    pub object: String,
    pub what: String,
}

/// What is known now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebuiltKnown {
    pub packs: usize,
    pub chunks: usize,
    /// There was more than is kept: the packs of older snapshots were left out.
    pub is_full: bool,
    pub passed_over: Vec<PassedOver>,
}

impl Depot {
    /// Learns anew where chunks lie, from the tables of contents of the packs that groups need, those
    /// of the newest groups first, until as many are known as are kept. `progress` is told how many
    /// groups of how many were looked at.
    pub async fn rebuild_known(
        &self,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<RebuiltKnown, DepotError> {
        cancellable(cancel, self.rebuild_known_inner(progress)).await
    }

    async fn rebuild_known_inner(
        &self,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<RebuiltKnown, DepotError> {
        let marks = self.newest_marks().await?;
        self.enter_known(marks.as_ref()).await?;
        let epoch = marks.as_ref().map_or(0, |marks| marks.number);
        let avoid: HashSet<PackName> =
            marks.iter().flat_map(|marks| &marks.packs).map(|mark| mark.pack).collect();
        let mut rebuilt = RebuiltKnown::default();
        let groups = self.newest_first(&mut rebuilt).await?;
        let (mut named, mut seen) = (Named::default(), HashSet::new());
        let mut read: Vec<(PackName, Contents)> = Vec::new();
        for (nth, (_, _, trees)) in (0..).zip(&groups) {
            progress(nth, groups.len() as u64);
            for tree in trees {
                pass_over(named.add(self, tree, None).await, &mut rebuilt.passed_over)?;
            }
            let mut fresh: Vec<PackName> = named
                .packs
                .iter()
                .copied()
                .filter(|pack| !avoid.contains(pack) && seen.insert(*pack))
                .collect();
            fresh.sort_unstable();
            let mut tocs = futures::stream::iter(fresh)
                .map(|pack| async move { (pack, self.toc(pack).await) })
                .buffered(self.settings.fetches());
            while let Some((pack, toc)) = tocs.next().await {
                let Some(toc) = pass_over(toc, &mut rebuilt.passed_over)? else { continue };
                let contents = Contents::of_toc(&toc);
                if rebuilt.chunks + contents.len() > self.settings.known_chunks {
                    rebuilt.is_full = true;
                    break;
                }
                rebuilt.chunks += contents.len();
                rebuilt.packs += 1;
                read.push((pack, contents));
            }
            if rebuilt.is_full {
                break;
            }
        }
        progress(groups.len() as u64, groups.len() as u64);
        self.known.forget_all();
        // The newest last: the first to be learned is the first to be forgotten.
        for (pack, contents) in read.into_iter().rev() {
            self.known.learn(epoch, pack, contents).await;
        }
        Ok(rebuilt)
    }

    async fn newest_first(
        &self,
        rebuilt: &mut RebuiltKnown,
    ) -> Result<Vec<(Timestamp, GroupId, Vec<TreeRef>)>, DepotError> {
        let mut groups = Vec::new();
        let mut damaged = Vec::new();
        let trees_of = |group: &GroupManifest| group.disks.iter().map(|disk| disk.tree).collect();
        let each = self.each_group(|(id, found)| match found {
            Ok(group) => groups.push((group.taken, id, trees_of(&group))),
            Err(error) => damaged.push(error),
        });
        each.await?;
        for error in damaged {
            pass_over::<()>(Err(error), &mut rebuilt.passed_over)?;
        }
        groups.sort_by_key(|(taken, id, _)| std::cmp::Reverse((*taken, *id)));
        Ok(groups)
    }

    /// A pack's own table of contents.
    pub(crate) async fn toc(&self, pack: PackName) -> Result<Toc, DepotError> {
        let key = key(&path::pack(pack))?;
        let damaged = |what: &str| DepotError::damaged(key.as_str(), what);
        let len = self.objects.size(&key).await?.ok_or_else(|| damaged("missing"))?;
        let whole = (HEADER_LEN + FOOTER_LEN) as u64..=PACK_LEN_MAX as u64;
        if !whole.contains(&len) {
            return Err(damaged("not as long as a pack can be"));
        }
        let footer_len = narrow(FOOTER_LEN)?;
        let footer_at = narrow(crate::read::usize_of(len))? - footer_len;
        let footer = self.objects.get_range(&key, footer_at, footer_len).await?;
        let unreadable = |error| DepotError::unreadable(key.as_str(), error);
        let footer = PackFooter::decode(&footer, len).map_err(unreadable)?;
        let cipher = self.pack_cipher(pack).await?;
        let sealed = self.objects.get_range(&key, footer.toc_offset, footer.toc_sealed_len).await?;
        let opened = Work::compute(self.settings.parallelism > 1, move || {
            cipher.open(terms::TOC_FRAME, FrameKind::Toc, &sealed, footer.toc_plain_len as usize)
        });
        let opened = opened.wait().await?.map_err(|error| damaged(error.0))?;
        Toc::decode(&opened).map_err(unreadable)
    }
}

/// Damage is said and passed over; any other error ends the work.
fn pass_over<T>(
    found: Result<T, DepotError>,
    passed_over: &mut Vec<PassedOver>,
) -> Result<Option<T>, DepotError> {
    match found.map_err(DepotError::damage) {
        Ok(found) => Ok(Some(found)),
        Err(Ok((object, what))) => {
            passed_over.push(PassedOver { object, what });
            Ok(None)
        }
        Err(Err(error)) => Err(error),
    }
}
