//! Reading: frames, nodes and chunks, each checked by seal and by name before anybody sees it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use format::{FrameKind, HEADER_LEN, Link, Node, PackHeader, PackName, Place, TreeRef, path};
use model::Extent;

use crate::cipher::{PackCipher, SlotKeys};
use crate::objects::key;
use crate::work::Work;
use crate::{Depot, DepotError};

/// One read of a snapshot; callers that want more ask again.
const READ_LEN_MAX: u64 = 64 << 20;

impl Depot {
    /// Bytes of a snapshot's disk. The whole range must lie on the disk.
    pub async fn read(&self, tree: &TreeRef, extent: Extent) -> Result<Bytes, DepotError> {
        if extent.end() > tree.size || extent.len > READ_LEN_MAX {
            let what = format!("{} bytes at {} cannot be read from this snapshot", extent.len, extent.offset);
            return Err(DepotError::Invalid(what));
        }
        let keys = self.slot_keys(tree.slot).await?;
        let chunk_len = u64::from(tree.geometry.chunk_len());
        let mut cursor = Cursor::new(self, *tree, keys.clone());
        let mut out = BytesMut::new();
        let mut position = extent.offset;
        while position < extent.end() {
            let (chunk, skip) = (position / chunk_len, position % chunk_len);
            let len = (chunk_len - skip).min(extent.end() - position);
            match cursor.chunk(chunk).await? {
                Some(link) => {
                    let bytes = self.chunk(&keys, &link).await?;
                    let (from, to) = (usize_of(skip), usize_of(skip + len));
                    out.extend_from_slice(&bytes[from..to]);
                }
                None => out.resize(out.len() + usize_of(len), 0),
            }
            position += len;
        }
        Ok(out.freeze())
    }

    /// One chunk, checked.
    pub(crate) async fn chunk(&self, keys: &SlotKeys, link: &Link) -> Result<Bytes, DepotError> {
        let frame = self.frame(&link.place, FrameKind::Data).await?;
        let bytes = slice(&frame, &link.place)?;
        if keys.names.chunk(&bytes) != link.name {
            return Err(DepotError::damaged(
                path::pack(link.place.pack),
                "a chunk is not what its name says",
            ));
        }
        Ok(bytes)
    }

    /// One tree node, checked.
    pub(crate) async fn node(
        &self,
        keys: &SlotKeys,
        tree: &TreeRef,
        link: &Link,
        level: u8,
    ) -> Result<Node, DepotError> {
        let object = || path::pack(link.place.pack);
        let frame = self.frame(&link.place, FrameKind::Tree).await?;
        let bytes = slice(&frame, &link.place)?;
        let node = Node::decode(&bytes, tree.geometry, level, link.place.pack)
            .map_err(|error| DepotError::unreadable(object(), error))?;
        if node.name(&keys.names, tree.geometry) != link.name {
            return Err(DepotError::damaged(object(), "a tree node is not what its name says"));
        }
        Ok(node)
    }

    /// One frame, opened; kept for a while.
    pub(crate) async fn frame(&self, place: &Place, kind: FrameKind) -> Result<Bytes, DepotError> {
        if let Some(frame) = self.frames.get(place) {
            // Another reference may say otherwise of the same frame; only what was opened counts.
            return Ok(frame);
        }
        let cipher = self.pack_cipher(place.pack).await?;
        let key = key(&path::pack(place.pack))?;
        let (objects, beside) = (self.objects.clone(), self.settings.parallelism > 1);
        let Place { frame: number, offset, sealed_len, plain_len, .. } = *place;
        let fetch = || async move {
            let sealed = objects.get_range(&key, offset, sealed_len).await?;
            let open = move || cipher.open(number, kind, &sealed, plain_len as usize);
            let opened = Work::compute(beside, open).wait().await?;
            opened.map(Bytes::from).map_err(|error| DepotError::damaged(key.as_str(), error.0))
        };
        self.frames.fetch(place, kind, beside, fetch).await
    }

    /// The key of a pack, by the salt in its header.
    pub(crate) async fn pack_cipher(&self, pack: PackName) -> Result<Arc<PackCipher>, DepotError> {
        if let Some(cipher) = self.ciphers().get(pack) {
            return Ok(cipher);
        }
        let key = key(&path::pack(pack))?;
        let len = crate::packer::narrow(HEADER_LEN)?;
        let bytes = self.objects.get_range(&key, 0, len).await?;
        let header =
            PackHeader::decode(&bytes).map_err(|error| DepotError::unreadable(key.as_str(), error))?;
        if header.depot != self.id {
            return Err(DepotError::damaged(key.as_str(), "a pack of another depot"));
        }
        let keys = self.slot_keys(header.slot).await?;
        let cipher = keys.pack(header.salt).map_err(|error| DepotError::Internal(error.0.to_owned()))?;
        self.ciphers().put(pack, cipher.clone());
        Ok(cipher)
    }
}

/// The part of an opened frame a place speaks of. A place is checked against the frame it claims,
/// which need not be the frame there is.
pub(crate) fn slice(frame: &Bytes, place: &Place) -> Result<Bytes, DepotError> {
    let (from, to) = (place.at as usize, place.at as usize + place.len as usize);
    if to > frame.len() {
        return Err(DepotError::damaged(path::pack(place.pack), "a frame shorter than what should be in it"));
    }
    Ok(frame.slice(from..to))
}

/// Looks up chunks and nodes of one tree by where they are on the disk. Remembers its way down.
pub(crate) struct Cursor<'a> {
    depot: &'a Depot,
    pub(crate) tree: TreeRef,
    keys: Arc<SlotKeys>,
    /// By level: the node looked at last, and its index.
    way: Vec<Option<(u64, Arc<Node>)>>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(depot: &'a Depot, tree: TreeRef, keys: Arc<SlotKeys>) -> Self {
        let levels = usize::from(tree.root_level()) + 1;
        Self { depot, tree, keys, way: vec![None; levels] }
    }

    pub(crate) async fn chunk(&mut self, chunk: u64) -> Result<Option<Link>, DepotError> {
        let geometry = self.tree.geometry;
        let leaf = self.node(0, geometry.index(0, chunk)).await?;
        Ok(leaf.and_then(|leaf| leaf.children[usize_of(chunk % geometry.span(0))]))
    }

    /// The node at a place of a level; none where all below it reads as zeroes, or past the root.
    pub(crate) async fn node(&mut self, level: u8, index: u64) -> Result<Option<Arc<Node>>, DepotError> {
        let root_level = self.tree.root_level();
        if level > root_level || index >> bits_between(self.tree, level, root_level) != 0 {
            return Ok(None);
        }
        let Some(mut link) = self.tree.root else { return Ok(None) };
        let mut at = root_level;
        loop {
            let here = index >> bits_between(self.tree, level, at);
            let known = self.way[usize::from(at)].as_ref().filter(|(index, _)| *index == here);
            let node = match known {
                Some((_, node)) => node.clone(),
                None => {
                    let node = Arc::new(self.depot.node(&self.keys, &self.tree, &link, at).await?);
                    self.way[usize::from(at)] = Some((here, node.clone()));
                    node
                }
            };
            if at == level {
                return Ok(Some(node));
            }
            let below = index >> bits_between(self.tree, level, at - 1);
            let fan_out = u64::from(self.tree.geometry.fan_out(at));
            match node.children[usize_of(below % fan_out)] {
                Some(child) => link = child,
                None => return Ok(None),
            }
            at -= 1;
        }
    }

    /// From `chunk` on, how many chunks certainly read as zeroes, because nothing is stored above them.
    pub(crate) async fn hole_from(&mut self, chunk: u64) -> Result<u64, DepotError> {
        let geometry = self.tree.geometry;
        for level in (0..=self.tree.root_level()).rev() {
            if self.node(level, geometry.index(level, chunk)).await?.is_none() {
                let span = geometry.span(level);
                return Ok(span - chunk % span);
            }
        }
        Ok(0)
    }
}

/// How far an index of one level shifts to be one of a higher level.
fn bits_between(tree: TreeRef, level: u8, above: u8) -> u32 {
    u32::from(above - level) * u32::from(tree.geometry.node_log2())
}

/// Within one node, frame or read: always small.
pub(crate) fn usize_of(small: u64) -> usize {
    usize::try_from(small).unwrap_or(usize::MAX)
}
