//! Workers: files are read, hashed, and what is new of them is sent.

use std::fs::File;
use std::io::{Read, Seek as _};
use std::sync::{Arc, Mutex, PoisonError};

use lfsfs_types::content::{Content, Piece, PieceList, cut, small_content_id};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{ContentId, Kind, Name};
use lfsfs_upload::{ChangeSink, ContentSender, Progress};
use rustix::fs::FileType;

use crate::attributes::{Xattrs, read_xattrs, record};
use crate::directories::Directories;
use crate::entry::Entry;
use crate::error::ImportError;
use crate::failure::Failure;
use crate::links::{LinkGroups, ReadState};
use crate::local::{self, DirHandle, LocalStat};
use crate::problems::{Problems, Reason};

/// Bytes that are offered at once.
pub(crate) const OFFER_LEN: u64 = 8 * 1024 * 1024;
/// How often a file that changes under the reader is read again.
pub(crate) const ATTEMPTS_MAX: u32 = 5;

/// A file to read.
#[derive(Debug)]
pub(crate) struct FileJob {
    pub(crate) entry: Entry,
    /// Set for the first name of a hard-linked file, whose other names are not read.
    pub(crate) group: Option<usize>,
}

/// What every worker needs.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) directories: Directories,
    pub(crate) contents: ContentSender,
    pub(crate) changes: ChangeSink,
    pub(crate) links: Mutex<LinkGroups>,
    pub(crate) problems: Problems,
    pub(crate) progress: Arc<Progress>,
}

/// The content of a file, with its bytes if it is small.
struct Hashed {
    content: Content,
    bytes: Option<Vec<u8>>,
}

/// A file that was read: what it is, and the bytes that the server may lack.
pub(crate) struct ReadFile {
    pub(crate) state: ReadState,
    pub(crate) offer: Vec<(ContentId, Vec<u8>)>,
}

impl Workshop {
    /// Reads files and sends what is new of them.
    pub(crate) fn process(&self, batch: Vec<FileJob>) -> Result<(), ImportError> {
        let mut offer = Vec::new();
        for job in batch {
            match (self.read(&job.entry), job.group) {
                (Ok(file), group) => {
                    offer.extend(file.offer);
                    self.deliver(&job.entry, group, file.state)?;
                }
                (Err(failure), None) => self.give_up(&job.entry, failure)?,
                // Other names of the file may be there still: the end of the walk looks at them.
                (Err(failure), Some(_)) => drop(failure.of_entry(&job.entry.path())?),
            }
        }
        self.send(&offer)
    }

    pub(crate) fn send(&self, offer: &[(ContentId, Vec<u8>)]) -> Result<(), ImportError> {
        Ok(self.contents.offer(offer)?)
    }

    /// Leaves out a file that could not be read. One that was removed since is not there.
    fn give_up(&self, entry: &Entry, failure: Failure) -> Result<(), ImportError> {
        let reason = failure.of_entry(&entry.path())?;
        let is_gone = match self.directories.open(&entry.parent) {
            Ok(parent) => local::is_gone(&parent, &entry.name),
            Err(failure) => failure.of_entry(&entry.path())? == Reason::Gone,
        };
        if is_gone {
            return self.remove(entry);
        }
        self.problems.report(&entry.path(), reason);
        Ok(())
    }

    /// Takes an entry that is not there out of the version.
    pub(crate) fn remove(&self, entry: &Entry) -> Result<(), ImportError> {
        if entry.base.is_some() {
            self.changes.remove(entry.dir, &entry.name)?;
        }
        Ok(())
    }

    /// Reports an entry that cannot be imported.
    pub(crate) fn report(&self, entry: &Entry, failure: Failure) -> Result<(), ImportError> {
        let reason = failure.of_entry(&entry.path())?;
        self.problems.report(&entry.path(), reason);
        Ok(())
    }

    fn deliver(
        &self,
        entry: &Entry,
        group: Option<usize>,
        read: ReadState,
    ) -> Result<(), ImportError> {
        match group {
            None => {
                let (name, base) = (Some(&entry.name), entry.base.as_ref());
                Ok(self.changes.put(entry.dir, name, read.record, base)?)
            }
            Some(group) => {
                let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
                links.set_read(group, read);
                Ok(())
            }
        }
    }

    /// Reads a file until it holds still.
    pub(crate) fn read(&self, entry: &Entry) -> Result<ReadFile, Failure> {
        let parent = self.directories.open(&entry.parent)?;
        for _ in 0..ATTEMPTS_MAX {
            let (mut file, before) = open(&parent, &entry.name)?;
            let hashed = self.hash(&mut file, before.size)?;
            let xattrs = read_xattrs(&parent, Some(&entry.name))?;
            let after = local::stat(&file)?;
            if after.untouched_since(&before) && hashed.content.len == after.size {
                return Ok(read_file(&after, hashed, xattrs));
            }
        }
        Err(Reason::Changing.into())
    }

    /// Hashes a file. A small one comes back with its bytes, pieces of a large one are offered here.
    /// `size` is what it seems to have.
    fn hash(&self, file: &mut File, size: u64) -> Result<Hashed, Failure> {
        // With room for one byte more the end is found without a larger buffer.
        let room = size.min(SMALL_CONTENT_LEN_MAX) + 1;
        let mut head = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
        file.take(SMALL_CONTENT_LEN_MAX + 1)
            .read_to_end(&mut head)?;
        if head.len() as u64 > SMALL_CONTENT_LEN_MAX {
            file.rewind()?;
            return self.hash_pieces(file);
        }
        self.progress.read(head.len() as u64);
        let content = Content {
            id: small_content_id(&head),
            len: head.len() as u64,
            pieces: None,
        };
        Ok(Hashed {
            content,
            bytes: Some(head),
        })
    }

    fn hash_pieces(&self, file: &mut File) -> Result<Hashed, Failure> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut offer = Vec::new();
        let mut offered = 0;
        for cut in cut(file) {
            let (piece, bytes) = cut?;
            self.progress.read(u64::from(piece.len));
            pieces.push(piece);
            offered += u64::from(piece.len);
            offer.push((piece.hash, bytes));
            if offered >= OFFER_LEN {
                self.send(&std::mem::take(&mut offer))?;
                offered = 0;
            }
        }
        self.send(&offer)?;
        let list = PieceList::new(pieces).map_err(|error| Reason::Unreadable(error.to_string()))?;
        let content = Content::large(list);
        if let Some(pieces) = &content.pieces {
            self.contents.register(content.id, pieces);
        }
        Ok(Hashed {
            content,
            bytes: None,
        })
    }
}

fn open(parent: &DirHandle, name: &Name) -> Result<(File, LocalStat), Failure> {
    let file = local::open_file(parent, name)?;
    let stat = local::stat(&file)?;
    if stat.kind == FileType::RegularFile {
        return Ok((file, stat));
    }
    Err(Reason::Changing.into())
}

fn read_file(stat: &LocalStat, hashed: Hashed, xattrs: Xattrs) -> ReadFile {
    let Hashed { content, bytes } = hashed;
    let kind = Kind::File {
        size: content.len,
        content: content.id,
    };
    // Whether it is a hard link is known only when the whole tree has been seen.
    let (record, mut offer) = record(kind, stat, xattrs);
    // What the base names is offered too: it may have been lost since, and here are its bytes.
    offer.extend(bytes.map(|bytes| (content.id, bytes)));
    let stat = *stat;
    ReadFile {
        state: ReadState { record, stat },
        offer,
    }
}
