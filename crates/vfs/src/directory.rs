//! Entries of a directory as readdir shows them.

use lfsfs_types::{ContentId, DirId, Kind, Name, Record, nodeid};

use crate::attr::{Attr, FileKind};
use crate::inode::{Candidate, Identity, Place};

/// One entry of a directory.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// Its inode.
    pub ino: u64,
    /// Where to go on behind it. Offsets of an inode stay the same for ever.
    pub offset: u64,
    /// What it is.
    pub kind: FileKind,
    /// Its name.
    pub name: &'a [u8],
    /// Its attributes: with `plus`, except for `.` and `..`.
    pub attr: Option<Attr>,
}

/// Takes entries; returns false if it has no room for this one.
pub type EntrySink<'a> = dyn FnMut(DirEntry<'_>) -> bool + Send + 'a;

/// An entry of a version, by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VersionPlace {
    pub(crate) dir: DirId,
    /// `None` for the root.
    pub(crate) name: Option<Name>,
}

/// Returns how the entry at `place` gets its inode.
pub(crate) fn candidate(
    project: &lfsfs_types::ProjectId,
    parent: u64,
    place: Place,
    name: &Name,
    record: &Record,
) -> Candidate {
    let identity = match (&record.kind, record.link) {
        (kind, _) if FileKind::of(kind) == FileKind::Directory => {
            Identity::Directory(record.dir().unwrap_or(DirId::ABOVE_ROOT))
        }
        (Kind::File { content, .. }, Some(link)) => Identity::Link(link.id, *content),
        (_, Some(link)) => Identity::Link(link.id, ContentId::EMPTY),
        _ => Identity::Entry(place),
    };
    Candidate {
        nodeid: nodeid::of_entry(project, place.dir, name, record),
        identity,
        place,
        parent,
        name_len: u8::try_from(name.as_bytes().len()).unwrap_or(u8::MAX),
    }
}

/// Returns how a directory gets its inode, wherever it is.
pub(crate) fn directory_candidate(project: &lfsfs_types::ProjectId, dir: DirId) -> Candidate {
    let identity = Identity::Directory(dir);
    Candidate {
        nodeid: nodeid::of_directory(project, dir),
        identity,
        place: Place {
            dir: DirId::ABOVE_ROOT,
            index: 0,
        },
        parent: nodeid::ROOT,
        name_len: 0,
    }
}
