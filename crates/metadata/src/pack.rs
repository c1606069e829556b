//! Packs: the entries of a directory and of all directories below it, kept as one row and one listing.
//!
//! A pack changes how a version is kept, and nothing of what it shows: above this module and
//! [`View`](crate::view::View), a directory in a pack is a directory like any other. Its *root* has a directory row,
//! which says where it is; all below it has none. What lies in the pack at a version is two values (`pack_row.rs`):
//!
//! - the *listing*, kept once under the hash of its bytes, which are the same for the same package wherever it is;
//! - the *row* of the pack, which has what differs from place to place: times, owners, directory ids.
//!
//! What a listing cannot hold is an object row beside the pack: a hard link, a device, extended attributes. Its
//! directory may be in the pack; a directory that is such a row is not, and nor is what lies below it.
//!
//! [`patterns`] says which directories are roots; `packed.rs` finds the pack of a directory; `commit/packing.rs` says
//! which changes of a commit go into packs, and `commit/repack.rs` makes packs follow patterns that have changed.

mod cache;
pub(crate) mod patterns;

use std::collections::BTreeMap;

use lfsfs_types::{DirId, Kind, Name, Record, VersionId, VersionNumber};

pub(crate) use self::cache::PackCache;

/// When the listing of a directory changed last, and the random id of that version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    pub(crate) version: VersionNumber,
    pub(crate) id: VersionId,
}

/// What lies in one pack at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pack {
    pub(crate) root: DirId,
    /// The root's too.
    pub(crate) dirs: BTreeMap<DirId, PackDir>,
}

/// A directory in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackDir {
    /// The directory above and the name there; none for the root.
    pub(crate) place: Option<(DirId, Name)>,
    /// That of the root counts nowhere: its directory row has it.
    pub(crate) listed: Listed,
    /// The entries that are not rows.
    pub(crate) entries: BTreeMap<Name, Record>,
}

impl PackDir {
    pub(crate) fn new(place: Option<(DirId, Name)>, listed: Listed) -> Self {
        Self {
            place,
            listed,
            entries: BTreeMap::new(),
        }
    }
}

impl Pack {
    /// Returns a pack without entries.
    pub(crate) fn new(root: DirId, listed: Listed) -> Self {
        let dirs = BTreeMap::from([(root, PackDir::new(None, listed))]);
        Self { root, dirs }
    }

    pub(crate) fn root(&self) -> DirId {
        self.root
    }

    pub(crate) fn has(&self, dir: DirId) -> bool {
        self.dirs.contains_key(&dir)
    }

    pub(crate) fn dir(&self, dir: DirId) -> Option<&PackDir> {
        self.dirs.get(&dir)
    }

    /// Returns all directories, the root too, in the order of their ids.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = (DirId, &PackDir)> {
        self.dirs.iter().map(|(dir, found)| (*dir, found))
    }

    pub(crate) fn get(&self, dir: DirId, name: &Name) -> Option<&Record> {
        self.dirs.get(&dir)?.entries.get(name)
    }

    /// Returns how many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.dirs.values().map(|dir| dir.entries.len()).sum()
    }

    /// Puts an object into a directory of the pack. A directory that is new comes with it, and is empty.
    pub(crate) fn insert(&mut self, dir: DirId, name: Name, record: Record, listed: Listed) {
        if let Kind::Directory { dir: below } = record.kind {
            self.dir_mut(below, listed).place = Some((dir, name.clone()));
        }
        self.dir_mut(dir, listed).entries.insert(name, record);
    }

    /// Takes an object away. A directory that nothing names any more goes with [`prune`](Self::prune).
    pub(crate) fn remove(&mut self, dir: DirId, name: &Name) {
        if let Some(found) = self.dirs.get_mut(&dir) {
            found.entries.remove(name);
        }
    }

    /// Notes that the listing of a directory changed.
    pub(crate) fn set_listed(&mut self, dir: DirId, listed: Listed) {
        self.dir_mut(dir, listed).listed = listed;
    }

    /// Forgets a directory with its entries.
    pub(crate) fn forget_dir(&mut self, dir: DirId) {
        self.dirs.remove(&dir);
    }

    /// The entries of a directory may come before the directory itself.
    fn dir_mut(&mut self, dir: DirId, listed: Listed) -> &mut PackDir {
        let found = self.dirs.entry(dir);
        found.or_insert_with(|| PackDir::new(None, listed))
    }

    /// Forgets directories that no entry names.
    pub(crate) fn prune(&mut self) {
        let mut named = Vec::from([self.root]);
        let mut kept = BTreeMap::new();
        while let Some(dir) = named.pop() {
            if let Some(found) = self.dirs.remove(&dir) {
                named.extend(found.entries.values().filter_map(Record::dir));
                kept.insert(dir, found);
            }
        }
        self.dirs = kept;
    }

    /// Returns a pack of a directory of this one and of all that lies below it.
    pub(crate) fn cut(&self, top: DirId) -> Option<Self> {
        let mut cut = Self {
            root: top,
            dirs: self.dirs.clone(),
        };
        cut.dirs.get_mut(&top)?.place = None;
        cut.prune();
        Some(cut)
    }
}

/// Returns true if a listing can hold an object.
pub(crate) fn is_packable(record: &Record) -> bool {
    let has_kind = matches!(
        record.kind,
        Kind::File { .. } | Kind::Directory { .. } | Kind::Symlink { .. }
    );
    has_kind && record.link.is_none() && record.sha256.is_none() && record.xattrs.is_empty()
}
