//! Trees that a server in memory serves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lfsfs_types::content::PieceList;
use lfsfs_types::{Content, ContentId, DirId, Kind, Record, Timestamp};

/// A tree that is to be served.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    /// Records by path, without leading slash; directory ids are given when it is served.
    pub(super) entries: BTreeMap<Vec<u8>, Record>,
    /// Where directories were in the version before that are elsewhere now, by where they are.
    pub(super) moved: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) contents: HashMap<ContentId, Vec<u8>>,
    /// Contents that are too long to have at hand, by what they are made of.
    pub(super) lists: HashMap<ContentId, PieceList>,
}

impl MemoryTree {
    /// Returns a tree with nothing but its root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object; a directory's id is replaced. The empty path is the root's own record.
    pub fn add(&mut self, path: &str, record: Record) -> &mut Self {
        self.entries.insert(path.as_bytes().to_vec(), record);
        self
    }

    /// Adds a directory.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        self.add(path, plain(Kind::Directory { dir: DirId::ROOT }, 0o755))
    }

    /// Removes an object and all below it.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        self.take(path);
        self
    }

    /// Moves an object with all below it. Served as the next version, a directory keeps its id.
    pub fn rename(&mut self, old: &str, new: &str) -> &mut Self {
        for (path, record) in self.take(old) {
            let path = [new.as_bytes(), &path[old.len()..]].concat();
            self.entries.insert(path, record);
        }
        let origin = self.moved.remove(old.as_bytes());
        let origin = origin.unwrap_or_else(|| old.as_bytes().to_vec());
        self.moved.insert(new.as_bytes().to_vec(), origin);
        self
    }

    fn take(&mut self, path: &str) -> Vec<(Vec<u8>, Record)> {
        let below = [path.as_bytes(), b"/"].concat();
        let is_in = |found: &Vec<u8>| *found == path.as_bytes() || found.starts_with(&below);
        let taken = self.entries.extract_if(.., |found, _| is_in(found));
        taken.collect()
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, bytes: &[u8]) -> &mut Self {
        let content = self.content(bytes);
        let size = bytes.len() as u64;
        self.add(path, plain(Kind::File { size, content }, 0o644))
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        let target = target.as_bytes().into();
        self.add(path, plain(Kind::Symlink { target }, 0o777))
    }

    /// Adds the bytes of a content, for records that name it.
    pub fn content(&mut self, bytes: &[u8]) -> ContentId {
        let id = Content::of_bytes(bytes).id;
        self.contents.insert(id, bytes.to_vec());
        id
    }

    /// Says of which pieces a content is made that is too long to have at hand; the bytes of the
    /// pieces are added like contents. Whether it is true is not checked.
    pub fn pieces(&mut self, content: ContentId, list: PieceList) -> &mut Self {
        self.content(&list.encode());
        self.lists.insert(content, list);
        self
    }

    /// Returns what is to be stored for a content, each once: its bytes, or the pieces of a long one
    /// and their list.
    pub(super) fn stored_for(&self, id: &ContentId) -> Vec<&[u8]> {
        let mut ids = vec![*id];
        if let Some(list) = self.lists.get(id) {
            let pieces: BTreeSet<_> = list.pieces().iter().map(|piece| piece.hash).collect();
            ids.extend(pieces);
            ids.push(Content::of_bytes(&list.encode()).id);
        }
        let bytes = ids.iter().filter_map(|id| self.contents.get(id));
        let bytes = bytes.map(Vec::as_slice);
        bytes.filter(|bytes| !bytes.is_empty()).collect()
    }
}

/// Returns a record with equal times, the owner 1000:1000 and nothing special.
#[must_use]
pub fn plain(kind: Kind, mode: u32) -> Record {
    let time = Timestamp {
        secs: 1_700_000_000,
        nanos: 123_456_789,
    };
    Record {
        kind,
        mode,
        uid: 1000,
        gid: 1000,
        mtime: time,
        ctime: time,
        sha256: None,
        link: None,
        xattrs: Vec::new(),
    }
}
