//! Workers: files are read, hashed, and what is new of them is sent.

use std::fs::File;
use std::io::{Read, Seek as _};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use lfsfs_types::content::{Content, Piece, PieceList, cut, small_content_id};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{ContentId, DirId, Kind, Name, ObjectPath, Record};
use lfsfs_upload::{ChangeSink, ContentSender, Progress};
use rustix::fs::FileType;

use crate::attributes::{Xattrs, read_xattrs, record};
use crate::error::ImportError;
use crate::links::LinkGroups;
use crate::local::{self, DirHandle, LocalStat};
use crate::problems::{Problems, Reason};

/// Bytes that are offered at once.
pub(crate) const OFFER_LEN: u64 = 8 * 1024 * 1024;
/// How often a file that changes under the reader is read again.
const ATTEMPTS_MAX: u32 = 5;

/// A file to read.
#[derive(Debug)]
pub(crate) struct FileJob {
    pub(crate) parent: DirHandle,
    pub(crate) path: ObjectPath,
    pub(crate) dir: DirId,
    pub(crate) name: Name,
    pub(crate) base: Option<Record>,
    /// Set for the first name of a hard-linked file, whose other names are not read.
    pub(crate) group: Option<usize>,
}

/// What every worker needs.
#[derive(Debug)]
pub(crate) struct Workshop {
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

/// What can go wrong with a file: it is reported and left out, or the whole import ends.
enum Failure {
    File(Reason),
    Import(ImportError),
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

impl<R: Into<Reason>> From<R> for Failure {
    fn from(reason: R) -> Self {
        Self::File(reason.into())
    }
}

/// A file that was read: its record, and the bytes that the server may lack.
struct ReadFile {
    record: Record,
    offer: Vec<(ContentId, Vec<u8>)>,
}

impl Workshop {
    /// Works on batches until there are no more.
    pub(crate) fn work(&self, batches: &Mutex<Receiver<Vec<FileJob>>>) -> Result<(), ImportError> {
        loop {
            let batch = batches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            let Ok(batch) = batch else { return Ok(()) };
            self.process(batch)?;
        }
    }

    fn process(&self, batch: Vec<FileJob>) -> Result<(), ImportError> {
        let mut offer = Vec::new();
        for job in batch {
            match self.read(&job) {
                Ok(file) => {
                    offer.extend(file.offer);
                    self.deliver(job, file.record)?;
                }
                Err(Failure::File(reason)) => self.give_up(&job, reason)?,
                Err(Failure::Import(error)) => return Err(error),
            }
        }
        self.send(&offer)
    }

    fn send(&self, offer: &[(ContentId, Vec<u8>)]) -> Result<(), ImportError> {
        Ok(self.contents.offer(offer)?)
    }

    /// Leaves out a file that could not be read. One that was removed since is not there; if it
    /// had other names, those were not read.
    fn give_up(&self, job: &FileJob, reason: Reason) -> Result<(), ImportError> {
        let is_gone = local::is_gone(&job.parent, &job.name);
        match (is_gone, job.group, &job.base) {
            (true, None, Some(_)) => return Ok(self.changes.remove(job.dir, &job.name)?),
            (true, None, None) => {}
            (true, Some(_), _) => self.problems.report(job.path.as_bytes(), Reason::Changing),
            (false, ..) => self.problems.report(job.path.as_bytes(), reason),
        }
        Ok(())
    }

    fn deliver(&self, job: FileJob, record: Record) -> Result<(), ImportError> {
        match job.group {
            None => {
                let (name, base) = (Some(&job.name), job.base.as_ref());
                Ok(self.changes.put(job.dir, name, record, base)?)
            }
            Some(group) => {
                let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
                links.set_record(group, record);
                Ok(())
            }
        }
    }

    /// Reads a file until it holds still.
    fn read(&self, job: &FileJob) -> Result<ReadFile, Failure> {
        for _ in 0..ATTEMPTS_MAX {
            let (mut file, before) = open(job)?;
            let hashed = self.hash(&mut file, before.size)?;
            let xattrs = read_xattrs(&job.parent, Some(&job.name))?;
            let after = local::stat(&file)?;
            if after.untouched_since(&before) && hashed.content.len == after.size {
                return Ok(read_file(job, &after, hashed, xattrs));
            }
        }
        Err(Failure::File(Reason::Changing))
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

fn open(job: &FileJob) -> Result<(File, LocalStat), Failure> {
    let file = local::open_file(&job.parent, &job.name)?;
    let stat = local::stat(&file)?;
    if stat.kind == FileType::RegularFile {
        return Ok((file, stat));
    }
    Err(Failure::File(Reason::Changing))
}

fn read_file(job: &FileJob, stat: &LocalStat, hashed: Hashed, xattrs: Xattrs) -> ReadFile {
    let Hashed { content, bytes } = hashed;
    let kind = Kind::File {
        size: content.len,
        content: content.id,
    };
    let mut offer = xattrs.contents;
    offer.extend(bytes.map(|bytes| (content.id, bytes)));
    if let Some(base) = &job.base {
        offer.retain(|(id, _)| !base.contents().any(|known| known == *id));
    }
    // Whether it is a hard link is known only when the whole tree has been seen.
    ReadFile {
        record: record(kind, stat, xattrs.xattrs, None),
        offer,
    }
}
