//! What the workers of an import do: files are read until they hold still, and what is new is sent.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use lfsfs_types::{Kind, Name, Record};
use lfsfs_upload::{ChangeSink, ContentBytes, ContentSender, FileSource, Progress, ReadContent};
use rustix::fs::FileType;

use crate::attributes::{Xattrs, read_xattrs, record};
use crate::directories::Directories;
use crate::entry::Entry;
use crate::error::ImportError;
use crate::failure::Failure;
use crate::fit::Fit;
use crate::links::{LinkGroups, NamesSeen, ReadState};
use crate::local::{self, DirHandle, LocalStat};
use crate::problems::{Problems, Reason};
use crate::summary::Known;

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
    pub(crate) names_seen: NamesSeen,
    pub(crate) problems: Problems,
    pub(crate) progress: Arc<Progress>,
    pub(crate) fit: Fit,
    /// Files that need not be read.
    pub(crate) known: Option<Arc<Known>>,
}

/// A file that was read: what it is, and the bytes that the server may lack.
pub(crate) struct ReadFile {
    pub(crate) state: ReadState,
    pub(crate) offer: Vec<ContentBytes>,
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

    pub(crate) fn send(&self, offer: &[ContentBytes]) -> Result<(), ImportError> {
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
        if let Some(file) = self.unread(&parent, entry)? {
            return Ok(file);
        }
        for _ in 0..ATTEMPTS_MAX {
            let (file, before) = open(&parent, &entry.name)?;
            let content = self.contents.read(FileSource::new(&file, before.size))?;
            let xattrs = read_xattrs(&parent, Some(&entry.name))?;
            let after = local::stat(&file)?;
            if after.untouched_since(&before) && content.size == after.size {
                let file = read_file(&after, content, xattrs);
                self.note(entry, &after, &file.state.record);
                return Ok(self.fitted(file, entry));
            }
        }
        Err(Reason::Changing.into())
    }

    /// Returns a file that has the content of the base, if that is known without reading it.
    fn unread(&self, parent: &DirHandle, entry: &Entry) -> Result<Option<ReadFile>, Failure> {
        let base = entry.base.as_ref().map(|base| &base.kind);
        let (Some(known), Some(Kind::File { size, content })) = (&self.known, base) else {
            return Ok(None);
        };
        let look = || local::stat_entry(parent, &entry.name);
        let Some(before) = look()?.filter(|it| it.kind == FileType::RegularFile) else {
            return Ok(None);
        };
        if known.content(&entry.path(), &before) != Some(*content) {
            return Ok(None);
        }
        let xattrs = read_xattrs(parent, Some(&entry.name))?;
        let after = look()?.filter(|after| after.untouched_since(&before));
        let content = ReadContent {
            id: *content,
            size: *size,
            bytes: None,
        };
        let file = after.map(|after| read_file(&after, content, xattrs));
        Ok(file.map(|file| self.fitted(file, entry)))
    }

    /// Notes which content a file has, for the next run.
    pub(crate) fn note(&self, entry: &Entry, stat: &LocalStat, record: &Record) {
        if let (Some(known), Kind::File { content, .. }) = (&self.known, &record.kind) {
            known.read(&entry.path(), stat, *content);
        }
    }

    fn fitted(&self, mut file: ReadFile, entry: &Entry) -> ReadFile {
        file.state.record = self.fit.record(file.state.record, entry.base.as_ref());
        file
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

fn read_file(stat: &LocalStat, content: ReadContent, xattrs: Xattrs) -> ReadFile {
    let kind = Kind::File {
        size: content.size,
        content: content.id,
    };
    // Whether it is a hard link is known only when the whole tree has been seen.
    let (record, mut offer) = record(kind, stat, xattrs);
    // What the base names is offered too: it may have been lost since, and here are its bytes.
    offer.extend(content.bytes);
    let stat = *stat;
    ReadFile {
        state: ReadState { record, stat },
        offer,
    }
}
