//! What is told about each changed entry.
//!
//! One thread goes over the entries, gives session ids to what is new, and tells at once what needs
//! no bytes; files whose content may be new go to workers. Nothing is held for an entry but on its
//! way, except the ids of new directories and the records of files with several names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread;

use lfsfs_common::{JobQueue, WorkerPool};
use lfsfs_overlay::{BaseObject, ChangedEntry, DirectoryRef, Entry, FileData, Inode, Node, Sealed};
use lfsfs_types::{
    Aspect, ContentId, DirId, Kind, Link, Name, Record, Xattr, XattrName, XattrValue,
};
use lfsfs_upload::{ChangeSink, ContentBytes, ContentSender, OFFER_LEN, Progress};
use tokio::runtime::Handle;

use super::conflicts::Conflicts;
use super::contents::FileKind;
use super::error::CommitError;
use super::made::Made;
use crate::base::BaseVersion;
use crate::blocking::blocking;
use crate::directory::VersionPlace;
use crate::error::VfsError;
use crate::listing::Listing;

/// Files of one batch, and the bytes that end one earlier.
const BATCH_FILES_MAX: usize = 256;
const BATCH_LEN_MAX: u64 = OFFER_LEN;
/// Batches that wait for a worker.
const BATCHES_QUEUED_MAX: usize = 2;

/// What the planner and the workers of a commit share.
#[derive(Debug)]
pub(super) struct Workshop {
    /// The version below.
    pub(super) base: Arc<BaseVersion>,
    pub(super) runtime: Handle,
    pub(super) sealed: Sealed,
    pub(super) contents: ContentSender,
    pub(super) changes: ChangeSink,
    pub(super) progress: Arc<Progress>,
}

/// Why changes were not all told.
#[derive(Debug)]
pub(super) enum Unsent {
    /// Others changed the same while the last commit was under way.
    Touched(Conflicts),
    /// Something failed.
    Failed(CommitError),
}

impl<E: Into<CommitError>> From<E> for Unsent {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A file whose content may be new, under one of its names.
#[derive(Debug)]
pub(super) struct FileJob {
    dir: DirId,
    name: Option<Name>,
    ino: u64,
    /// Whether this is the place that it has in the base.
    in_place: bool,
}

impl Workshop {
    /// Tells every change and sends every content, and ends the stream of changes.
    pub(super) async fn run(self: &Arc<Self>, force: bool) -> Result<Made, Unsent> {
        let pool = WorkerPool {
            workers: workers_count(),
            queued_max: BATCHES_QUEUED_MAX,
        };
        let (planning, working) = (Arc::clone(self), Arc::clone(self));
        let plan = move |batches| Planner::new(&planning, batches, force).plan();
        let made = pool
            .run(plan, move |batch| Ok(working.tell_files(batch)?))
            .await?;
        let ending = Arc::clone(self);
        blocking(
            self.base.spawner(),
            "the end of a commit's streams",
            move || ending.finish(),
        )
        .await??;
        Ok(made)
    }

    /// Sends what had to wait for the end. No worker is busy any more.
    fn finish(&self) -> Result<(), CommitError> {
        self.contents.finish()?;
        Ok(self.changes.end()?)
    }

    fn tell_files(&self, batch: Vec<FileJob>) -> Result<(), CommitError> {
        let state = self.sealed.view().state();
        let lost = self.lost(batch.iter().filter_map(|job| state.inode(job.ino)))?;
        let mut offer = Offer::new(&lost);
        for job in batch {
            self.tell_file(&job, &mut offer)?;
        }
        Ok(self.contents.offer(&offer.contents)?)
    }

    fn tell_file(&self, job: &FileJob, offer: &mut Offer<'_>) -> Result<(), CommitError> {
        let inode = self.inode(job.ino)?;
        let record = self.file_record(job.ino, inode, None, offer)?;
        let base = inode.base.as_ref().filter(|_| job.in_place);
        let base = base.map(|base| &base.record);
        Ok(self.changes.put(job.dir, job.name.as_ref(), record, base)?)
    }

    fn inode(&self, ino: u64) -> Result<&Inode, VfsError> {
        let inode = self.sealed.view().state().inode(ino);
        inode.ok_or_else(|| VfsError::internal("a seal lost an inode"))
    }

    /// Returns the record of a regular file, and the bytes that the server may lack.
    fn file_record(
        &self,
        ino: u64,
        inode: &Inode,
        link: Option<Link>,
        offer: &mut Offer<'_>,
    ) -> Result<Record, CommitError> {
        let FileKind { kind, bytes } = self.file_kind(ino, inode, offer.lost)?;
        // What the base names is offered too: the server may have lost it since.
        offer.contents.extend(bytes);
        Ok(record(inode, kind, link, &mut offer.contents))
    }
}

/// Contents to be offered together.
struct Offer<'a> {
    contents: Vec<ContentBytes>,
    /// Of what was uploaded before, what the server does not have any more.
    lost: &'a HashSet<ContentId>,
}

impl<'a> Offer<'a> {
    const fn new(lost: &'a HashSet<ContentId>) -> Self {
        Self {
            contents: Vec::new(),
            lost,
        }
    }
}

/// Goes over the entries.
struct Planner<'a> {
    workshop: &'a Workshop,
    batches: JobQueue<Vec<FileJob>>,
    force: bool,
    made: Made,
    /// Files with several names: each is read once, and all names get one record.
    linked: HashMap<u64, Record>,
    batch: Vec<FileJob>,
    batch_len: u64,
    /// The listing that was looked at last.
    listing: Option<(DirId, Arc<Listing>)>,
    conflicts: Conflicts,
}

impl<'a> Planner<'a> {
    fn new(workshop: &'a Workshop, batches: JobQueue<Vec<FileJob>>, force: bool) -> Self {
        Self {
            workshop,
            batches,
            force,
            made: Made::default(),
            linked: HashMap::new(),
            batch: Vec::new(),
            batch_len: 0,
            listing: None,
            conflicts: Conflicts::default(),
        }
    }

    fn plan(mut self) -> Result<Made, Unsent> {
        let workshop = self.workshop;
        for entry in workshop.sealed.changes() {
            workshop.progress.entry();
            self.take(&entry)?;
        }
        self.hand_over()?;
        if self.conflicts.is_empty() {
            Ok(self.made)
        } else {
            Err(Unsent::Touched(self.conflicts))
        }
    }

    fn take(&mut self, entry: &ChangedEntry<'_>) -> Result<(), CommitError> {
        let name = entry.name;
        let dir = match entry.directory {
            DirectoryRef::Base(dir) => dir,
            DirectoryRef::New(ino) => self.made.directory(ino),
            DirectoryRef::NamesOf(_) => return self.take_link(entry),
        };
        let (ino, inode) = match (entry.entry, name) {
            (Entry::Present { ino, inode }, _) => (ino, inode),
            (Entry::Removed, Some(name)) => return Ok(self.workshop.changes.remove(dir, name)?),
            (Entry::Removed, None) => {
                return Err(VfsError::internal("a seal removes the root").into());
            }
        };
        self.check(inode)?;
        let in_place = is_in_place(inode.base.as_deref(), dir, name);
        let link = self.link(ino, inode);
        if let (Node::File(_), None) = (&inode.node, link) {
            let name = name.cloned();
            let job = FileJob {
                dir,
                name,
                ino,
                in_place,
            };
            return self.add_file(inode, job);
        }
        let record = self.record(ino, inode, link)?;
        // Which names of a link change is decided by the server, for all of them together.
        let base = inode.base.as_ref().filter(|_| in_place && link.is_none());
        let base = base.map(|base| &base.record);
        Ok(self.workshop.changes.put(dir, name, record, base)?)
    }

    /// Tells the state of all names of a link that are still those of the base.
    fn take_link(&mut self, entry: &ChangedEntry<'_>) -> Result<(), CommitError> {
        let Entry::Present { ino, inode } = entry.entry else {
            return Err(VfsError::internal("a seal has names of what is not there").into());
        };
        self.check(inode)?;
        let link = self.link(ino, inode);
        let record = self.record(ino, inode, link)?;
        Ok(self.workshop.changes.put_link(record)?)
    }

    /// Returns the record of an object, and sends what it needs.
    fn record(
        &mut self,
        ino: u64,
        inode: &Inode,
        link: Option<Link>,
    ) -> Result<Record, CommitError> {
        if let Some(record) = self.linked.get(&ino) {
            return Ok(record.clone());
        }
        let lost = self.workshop.lost(std::iter::once(inode))?;
        let mut offer = Offer::new(&lost);
        let record = match self.other_kind(ino, &inode.node) {
            Some(kind) => record(inode, kind, link, &mut offer.contents),
            None => self.workshop.file_record(ino, inode, link, &mut offer)?,
        };
        self.workshop.contents.offer(&offer.contents)?;
        if link.is_some() {
            self.linked.insert(ino, record.clone());
        }
        Ok(record)
    }

    /// Returns what an object is, unless it is a file, for which its content must be known.
    fn other_kind(&mut self, ino: u64, node: &Node) -> Option<Kind> {
        Some(match node {
            Node::File(_) => return None,
            Node::Directory(directory) => Kind::Directory {
                dir: directory.base.unwrap_or_else(|| self.made.directory(ino)),
            },
            Node::Symlink(target) => Kind::Symlink {
                target: target.as_ref().into(),
            },
            Node::Fifo => Kind::Fifo,
            Node::Socket => Kind::Socket,
            Node::BlockDevice(rdev) => Kind::BlockDevice { rdev: *rdev },
            Node::CharDevice(rdev) => Kind::CharDevice { rdev: *rdev },
        })
    }

    /// Returns what the names of a file share, if it has or had several.
    fn link(&mut self, ino: u64, inode: &Inode) -> Option<Link> {
        let nlink = inode.attributes.nlink;
        let base = inode.base.as_ref().and_then(|base| base.record.link);
        let id = match base {
            Some(link) => self.made.known_link(ino, link.id),
            None if nlink > 1 => self.made.link(ino),
            None => return None,
        };
        Some(Link { id, nlink })
    }

    /// Gives a file to the workers, a batch at a time.
    fn add_file(&mut self, inode: &Inode, job: FileJob) -> Result<(), CommitError> {
        self.batch.push(job);
        // A record of the base can tell any size.
        let size = inode.file().map_or(0, FileData::size);
        self.batch_len = self.batch_len.saturating_add(size);
        if self.batch.len() < BATCH_FILES_MAX && self.batch_len < BATCH_LEN_MAX {
            return Ok(());
        }
        self.hand_over()
    }

    fn hand_over(&mut self) -> Result<(), CommitError> {
        self.batch_len = 0;
        Ok(self.batches.push(std::mem::take(&mut self.batch))?)
    }

    /// Notes a conflict if the base does not have any more what an object was made from.
    ///
    /// That is so if others changed it, the commit before was rebased on that, and it was changed
    /// here while that commit was under way.
    fn check(&mut self, inode: &Inode) -> Result<(), CommitError> {
        let Some(base) = inode.base.as_deref() else {
            return Ok(());
        };
        if self.force {
            return Ok(());
        }
        let now = self.record_now(base)?;
        // Times are merged and conflict with nothing; the hash says nothing that the content id does
        // not say. The number of names counts, since the record of this commit says how many there are.
        let is_same = |now: &Record| {
            let differences = now.differences(&base.record);
            !differences.has_any(&Aspect::STATE) && !differences.has_any(&Aspect::LINK)
        };
        if !now.as_ref().is_some_and(is_same) {
            self.conflicts.add(VersionPlace {
                dir: base.directory,
                name: base.name.clone(),
            });
        }
        Ok(())
    }

    /// Returns what the base has where an object was.
    fn record_now(&mut self, base: &BaseObject) -> Result<Option<Record>, VfsError> {
        let workshop = self.workshop;
        let Some(name) = &base.name else {
            return Ok(Some(workshop.base.snapshot().root.clone()));
        };
        let listing = match &self.listing {
            Some((dir, listing)) if *dir == base.directory => Arc::clone(listing),
            _ => match workshop
                .runtime
                .block_on(workshop.base.listing(base.directory))
            {
                Ok(listing) => listing,
                // The directory itself is gone.
                Err(VfsError::Stale) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        self.listing = Some((base.directory, Arc::clone(&listing)));
        listing.record_of(name)
    }
}

/// Returns true if an object is told at the place that it has in the base.
fn is_in_place(base: Option<&BaseObject>, dir: DirId, name: Option<&Name>) -> bool {
    base.is_some_and(|base| base.directory == dir && base.name.as_ref() == name)
}

/// Returns the record of an object; attributes too large for it go to `offer`.
fn record(inode: &Inode, kind: Kind, link: Option<Link>, offer: &mut Vec<ContentBytes>) -> Record {
    let attributes = &inode.attributes;
    let base = inode.base.as_ref().map(|base| &base.record);
    let xattrs = attributes.xattrs.iter();
    Record {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: attributes.mtime,
        ctime: attributes.ctime,
        sha256: base.filter(|it| it.kind == kind).and_then(|it| it.sha256),
        link,
        xattrs: xattrs
            .map(|(name, value)| xattr(name, value, offer))
            .collect(),
        kind,
    }
}

/// Returns an extended attribute as a record has it.
fn xattr(name: &XattrName, value: &XattrValue, offer: &mut Vec<ContentBytes>) -> Xattr {
    let value = match value {
        XattrValue::Inline(bytes) => {
            let value = XattrValue::of(bytes);
            if let XattrValue::Content { content, .. } = value {
                offer.push(ContentBytes {
                    id: content,
                    bytes: bytes.to_vec(),
                });
            }
            value
        }
        // The base has it as a content already.
        XattrValue::Content { .. } => value.clone(),
    };
    Xattr {
        name: name.clone(),
        value,
    }
}

/// Hashing and reading take turns, and the server is waited for now and then.
fn workers_count() -> usize {
    thread::available_parallelism().map_or(2, usize::from)
}
