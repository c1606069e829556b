//! Entries of a directory as readdir shows them.

use std::sync::Arc;

use lfsfs_types::{ContentId, DirId, Kind, Name, Record, nodeid};

use crate::attr::{Attr, FileKind};
use crate::error::{Stop, VfsError};
use crate::inode::{Candidate, Directory, Identity, Inodes, Place};
use crate::listing::Listing;

/// Entries come behind `.` and `..`.
const DOTS: u64 = 2;

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

/// Returns how the entry at `place` gets its inode.
pub(crate) fn candidate(
    project: &lfsfs_types::ProjectId,
    parent: u64,
    place: Place,
    name: &[u8],
    record: &Record,
) -> Result<Candidate, VfsError> {
    let name = Name::new(name).map_err(|_| VfsError::NotFound)?;
    let identity = match (&record.kind, record.link) {
        (kind, _) if FileKind::of(kind) == FileKind::Directory => {
            Identity::Directory(record.dir().unwrap_or(DirId::ABOVE_ROOT))
        }
        (Kind::File { content, .. }, Some(link)) => Identity::Link(link.id, *content),
        (_, Some(link)) => Identity::Link(link.id, ContentId::EMPTY),
        _ => Identity::Entry(place),
    };
    Ok(Candidate {
        nodeid: nodeid::of_entry(project, place.dir, &name, record),
        identity,
        place,
        parent,
        name_len: u8::try_from(name.as_bytes().len()).unwrap_or(u8::MAX),
    })
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

/// A directory that is being read.
#[derive(Debug)]
pub(crate) struct DirReader<'a> {
    pub(crate) project: &'a lfsfs_types::ProjectId,
    pub(crate) inodes: &'a Inodes,
    pub(crate) ino: u64,
    pub(crate) directory: Directory,
    pub(crate) listing: Arc<Listing>,
    /// Whether entries come with attributes and count a lookup each.
    pub(crate) plus: bool,
}

impl DirReader<'_> {
    /// Gives the entries from `offset` on to `sink` until it is full. Only entries that it took
    /// count a lookup.
    pub(crate) fn read(&self, offset: u64, sink: &mut EntrySink<'_>) -> Result<(), Stop> {
        let dots: [(&[u8], u64); 2] = [(b".", self.ino), (b"..", self.directory.parent)];
        for (position, (name, ino)) in (0..DOTS).zip(dots) {
            let dot = DirEntry {
                ino,
                offset: position + 1,
                kind: FileKind::Directory,
                name,
                attr: None,
            };
            if position >= offset && !sink(dot) {
                return Ok(());
            }
        }
        let first = u32::try_from(offset.saturating_sub(DOTS)).unwrap_or(u32::MAX);
        for index in first..self.listing.len() {
            if !self.show(index, sink)? {
                break;
            }
        }
        Ok(())
    }

    fn show(&self, index: u32, sink: &mut EntrySink<'_>) -> Result<bool, Stop> {
        let name = self.listing.name(index).map_err(VfsError::damaged_record)?;
        let record = self
            .listing
            .record(index)
            .map_err(VfsError::damaged_record)?;
        let place = Place {
            dir: self.directory.dir,
            index,
        };
        let candidate = candidate(self.project, self.ino, place, name, &record)?;
        // Counted before the entry is shown, so that nobody is forgotten in between.
        let counts = self.plus && !matches!(record.kind, Kind::Pack { .. });
        let ino = match counts {
            true => self.inodes.look_up(&candidate, &|_| false)?,
            false => self.inodes.peek(&candidate, &|_| false)?,
        };
        let is_taken = sink(DirEntry {
            ino,
            offset: u64::from(index) + DOTS + 1,
            kind: FileKind::of(&record.kind),
            name,
            attr: counts.then(|| Attr::of(ino, &record)),
        });
        if counts && !is_taken {
            self.inodes.forget(ino, 1);
        }
        Ok(is_taken)
    }
}
