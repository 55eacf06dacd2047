//! Chunks known to lie in the depot, so that the same content need not be stored again: a cache.
//!
//! # Consistency
//! That a chunk lies at a place of a pack is true for ever, for packs never change; that the pack is
//! still there is not. So what is remembered is used only if its pack was put, or seen to be there and
//! long enough, after the newest collection marks were read, and does not stand in them. Even so the
//! seal is what keeps the promise: it looks for every pack a group names, and at the marks after it.
//! A mistake here costs a backup that has to be made again, never a snapshot that does not restore.
//! # Crash consistency
//! Files are written after their packs, and believed by their sums alone: see `folder.rs`.
//! # Concurrency
//! One table for all writes of a depot. A write that read older marks than another finds what the
//! newer ones left over.
//! # Errors
//! Those of the store, when a pack is asked for. Those of the folder cost what would have been saved.
//! # Cancellation
//! Nothing is half known: a pack is learned whole.
//! # Limits
//! `Settings::known_chunks`, in memory and in the folder; the least recently used pack goes first.

mod folder;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod table;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use format::{Link, Marks, Name, PackName, path};
use model::DepotId;
use tokio::sync::OnceCell;

use crate::depot::lock;
use crate::objects::key;
use crate::work::Work;
use crate::{Depot, DepotError};
use folder::{Folder, SumKey};
use table::Table;
pub(crate) use table::{Contents, Look};

pub(crate) struct Known {
    table: Mutex<Table>,
    folder: Option<Folder>,
    sums: OnceLock<SumKey>,
    loaded: OnceCell<()>,
    beside: bool,
}

impl Known {
    pub(crate) fn new(chunks_max: usize, folder: Option<&PathBuf>, depot: DepotId, beside: bool) -> Self {
        Self {
            table: Mutex::new(Table::new(chunks_max)),
            folder: folder.map(|within| Folder::new(within, depot)),
            sums: OnceLock::new(),
            loaded: OnceCell::new(),
            beside,
        }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// These packs are going away, or gone.
    pub(crate) fn forget(&self, packs: impl IntoIterator<Item = PackName>) {
        for pack in packs {
            self.table().forget(pack);
            self.discard(&[pack]);
        }
    }

    pub(crate) fn forget_all(&self) {
        let gone = self.table().forget_all();
        self.discard(&gone);
    }

    fn discard(&self, packs: &[PackName]) {
        if let Some(folder) = &self.folder {
            packs.iter().for_each(|pack| folder.remove(*pack));
        }
    }

    /// Takes what a pack holds that was certainly there after marks `epoch` were read.
    pub(crate) async fn learn(self: &Arc<Self>, epoch: u64, pack: PackName, contents: Contents) {
        let known = self.clone();
        let work = move || {
            let kept = known.folder.is_some().then(|| contents.clone());
            let gone = known.table().learn(pack, contents, Some(epoch));
            known.discard(&gone);
            if let (Some(folder), Some(sums), Some(contents)) = (&known.folder, known.sums.get(), kept)
                && !gone.contains(&pack)
            {
                // Not kept is not lost: it can be read from the pack itself.
                let _ = folder.write(sums, pack, &contents);
            }
        };
        // Only a folder may block.
        let _ = Work::block(self.beside && self.folder.is_some(), work).wait().await;
    }

    /// Reads the folder, newest files first, until the table is full; what is left over goes.
    fn load(&self) {
        let (Some(folder), Some(sums)) = (&self.folder, self.sums.get()) else { return };
        let mut read = Vec::new();
        let mut chunks = self.table().chunks();
        for pack in folder.list() {
            if self.table().holds(pack) {
                continue;
            }
            match folder.read(sums, pack).filter(|found| self.table().has_room(chunks + found.len())) {
                Some(contents) => {
                    chunks += contents.len();
                    read.push((pack, contents));
                }
                None => folder.remove(pack),
            }
        }
        // The oldest first, so that they are the first to be forgotten.
        for (pack, contents) in read.into_iter().rev() {
            let gone = self.table().learn(pack, contents, None);
            self.discard(&gone);
        }
    }
}

impl Depot {
    /// Before a write: heeds the newest marks, and the first time reads what the folder kept.
    pub(crate) async fn enter_known(&self, marks: Option<&Marks>) -> Result<(), DepotError> {
        if self.known.folder.is_some() {
            let load = || async {
                let keys = self.slot_keys(self.slot).await?;
                let known = self.known.clone();
                known.sums.get_or_init(|| keys.known_key());
                Work::block(known.beside, move || known.load()).wait().await
            };
            self.known.loaded.get_or_try_init(load).await?;
        }
        if let Some(marks) = marks {
            let marked = marks.packs.iter().map(|mark| mark.pack);
            let gone = self.known.table().enter(marks.number, marked);
            self.known.discard(&gone);
        }
        Ok(())
    }

    /// Where a chunk lies, if it is known and its pack is there.
    pub(crate) async fn known_chunk(&self, name: Name) -> Result<Option<Link>, DepotError> {
        loop {
            let look = self.known.table().look(name);
            let Look::Ask { pack, reach, epoch } = look else {
                return Ok(if let Look::Lies(link) = look { Some(link) } else { None });
            };
            match self.objects.size(&key(&path::pack(pack))?).await? {
                Some(len) if len >= reach => self.known.table().confirm(pack, epoch),
                _ => self.known.forget([pack]),
            }
        }
    }
}
