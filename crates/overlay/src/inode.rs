//! What an object of the overlay is: its attributes, its content, and what it is in the base.

use std::sync::Arc;

use lfsfs_types::{DirId, Kind, LinkId, Name, Record, Timestamp, XattrName, XattrValue};

use crate::Map;
use crate::entries::Entries;
pub use crate::entries::Slot;
use crate::extent::FileData;
use crate::field::struct_field;

/// An object of the base: where it is and what it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseObject {
    /// The directory; [`DirId::ABOVE_ROOT`] for the root.
    pub directory: DirId,
    /// The name in it; `None` for the root.
    pub name: Option<Name>,
    /// What it is.
    pub record: Record,
}
struct_field!(BaseObject {
    directory,
    name,
    record
});

impl BaseObject {
    /// Returns by what the base's object is recognised.
    #[must_use]
    pub fn key(&self) -> BaseKey {
        match (self.record.dir(), self.record.link, &self.name) {
            (Some(dir), _, _) => BaseKey::Directory(dir),
            (None, Some(link), _) => BaseKey::Link(link.id),
            (None, None, Some(name)) => BaseKey::Entry(self.directory, name.clone()),
            // Only the root has no name, and it is a directory; anything else is only itself.
            (None, None, None) => BaseKey::Directory(self.directory),
        }
    }
}

/// By what an object of the base is recognised, whatever way leads to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BaseKey {
    /// A directory is itself wherever it is.
    Directory(DirId),
    /// All names of a hard-linked file are one object.
    Link(LinkId),
    /// Anything else is its place.
    Entry(DirId, Name),
}

/// The entries of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryData {
    /// The directory of the base that shows through; none shows through a new directory.
    pub base: Option<DirId>,
    /// What differs from the base.
    pub entries: Entries,
}

/// What an object is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File(FileData),
    /// A directory.
    Directory(DirectoryData),
    /// A symbolic link and its target.
    Symlink(Arc<[u8]>),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device and its number.
    BlockDevice(u64),
    /// A character device and its number.
    CharDevice(u64),
}

impl Node {
    /// Returns the node of a base's object.
    pub(crate) fn of_base(kind: &Kind) -> Self {
        let directory = |dir| {
            Self::Directory(DirectoryData {
                base: Some(dir),
                ..Default::default()
            })
        };
        match kind {
            Kind::File { size, .. } => Self::File(FileData::of_base(*size)),
            Kind::Directory { dir } => directory(*dir),
            Kind::Symlink { target } => Self::Symlink(target.as_ref().into()),
            Kind::Fifo => Self::Fifo,
            Kind::Socket => Self::Socket,
            Kind::BlockDevice { rdev } => Self::BlockDevice(*rdev),
            Kind::CharDevice { rdev } => Self::CharDevice(*rdev),
        }
    }
}

/// The attributes that every object has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last access, if a program set it; reading does not.
    pub atime: Option<Timestamp>,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the attributes.
    pub ctime: Timestamp,
    /// Number of names; 1 for a directory that is not removed.
    pub nlink: u32,
    /// Extended attributes.
    pub xattrs: Map<XattrName, XattrValue>,
}

impl Attributes {
    pub(crate) fn of_base(record: &Record) -> Self {
        let xattrs = record.xattrs.iter();
        Self {
            mode: record.mode,
            uid: record.uid,
            gid: record.gid,
            atime: None,
            mtime: record.mtime,
            ctime: record.ctime,
            nlink: record.link.map_or(1, |link| link.nlink.max(1)),
            xattrs: xattrs
                .map(|it| (it.name.clone(), it.value.clone()))
                .collect(),
        }
    }
}

/// An object of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Its attributes.
    pub attributes: Attributes,
    /// What it is.
    pub node: Node,
    /// What it is in the base; `None` for a new object.
    pub base: Option<Arc<BaseObject>>,
    /// How many of its names are still those of the base, untouched by the overlay.
    pub base_names: u32,
    /// True if the place in [`base`](Self::base) is one of those names.
    pub in_place: bool,
    /// The write generation: that of the last operation that changed it. Equal numbers mean equal
    /// content, so what was computed from it (a hash) is valid for (inode, generation).
    pub generation: u64,
}

impl Inode {
    /// Returns the object with a base's record.
    pub(crate) fn of_base(base: Arc<BaseObject>, generation: u64) -> Self {
        let attributes = Attributes::of_base(&base.record);
        Self {
            node: Node::of_base(&base.record.kind),
            base_names: attributes.nlink,
            attributes,
            base: Some(base),
            in_place: true,
            generation,
        }
    }

    /// Returns the entries of a directory.
    #[must_use]
    pub fn directory(&self) -> Option<&DirectoryData> {
        match &self.node {
            Node::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Returns the content of a file.
    #[must_use]
    pub fn file(&self) -> Option<&FileData> {
        match &self.node {
            Node::File(file) => Some(file),
            _ => None,
        }
    }

    /// Returns true if it has no name any more and lives only because it is open.
    #[must_use]
    pub fn is_orphan(&self) -> bool {
        self.attributes.nlink == 0
    }

    /// Returns true if the object is not what the base has of it: other times of a directory, and
    /// another ctime or number of names of anything, are no difference.
    pub(crate) fn differs(&self) -> bool {
        let Some(base) = &self.base else {
            return true;
        };
        let then = Attributes::of_base(&base.record);
        let now = &self.attributes;
        let same = (then.mode, then.uid, then.gid) == (now.mode, now.uid, now.gid)
            && (then.mtime == now.mtime || self.directory().is_some())
            && then.xattrs == now.xattrs
            && self.file().is_none_or(FileData::is_base);
        !same
    }

    /// Returns true if nothing but times is other than in the base: there is nothing to commit.
    pub(crate) fn is_only_touched(&self) -> bool {
        let names = |base: &BaseObject| base.record.link.map_or(1, |link| link.nlink.max(1));
        let has_its_names = self.base.as_ref().is_some_and(|base| {
            let names = names(base);
            self.in_place && (self.base_names, self.attributes.nlink) == (names, names)
        });
        let slots = self.directory().is_some_and(|it| !it.entries.is_empty());
        has_its_names && !slots && !self.differs()
    }

    /// Returns how many names it has that the base has not, or 1 for a directory with another place.
    pub(crate) fn new_names(&self) -> u32 {
        match (self.directory(), &self.base) {
            (Some(_), base) => u32::from(base.is_none() || !self.in_place),
            (None, None) => self.attributes.nlink,
            (None, Some(_)) => self.attributes.nlink.saturating_sub(self.base_names),
        }
    }

    /// Returns by what the base's object is recognised, as long as that leads here.
    pub(crate) fn base_key(&self) -> Option<BaseKey> {
        let key = self.base.as_ref()?.key();
        let leads_here = !self.is_orphan() && (self.in_place || !matches!(key, BaseKey::Entry(..)));
        leads_here.then_some(key)
    }

    /// Returns true if both are files with the same bytes, as far as that is known without reading them.
    pub(crate) fn has_bytes_of(&self, other: &Self) -> bool {
        let files = self.file().zip(other.file());
        self.base == other.base && files.is_some_and(|(ours, theirs)| ours.has_writes_of(theirs))
    }

    /// Returns the length of a file whose bytes only this machine has: they are not those of the base, and were not
    /// uploaded.
    #[must_use]
    pub fn local_len(&self) -> Option<u64> {
        let file = self.file()?;
        let is_local = file.size() > 0 && !file.is_base() && file.uploaded().is_none();
        (is_local && !self.is_orphan()).then(|| file.size())
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.file().map_or(0, FileData::log_bytes)
    }
}
