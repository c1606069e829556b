//! The version, directory by directory: directories are made here, everything else becomes work.
//!
//! Some listings are asked for ahead, since each is an answer of the server to wait for.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesOrdered, StreamExt as _};
use lfsfs_common::JobQueue;
use lfsfs_remote::{DirectoryListing, RemoteError, RemoteRead, Snapshot};
use lfsfs_types::{DirId, Kind, LinkId, Name, ObjectPath, Record};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::ExportError;
use super::target::failed;
use super::worker::{BATCH_LEN, Job, Manner, Workshop, below};
use crate::compare::{Pair, pairs};
use crate::local::{self, DirHandle, LocalStat};

/// Listings that are on their way at once.
const LISTINGS_AT_ONCE: usize = 8;
/// Entries that one worker takes at once.
const BATCH_ENTRIES_MAX: usize = 256;

/// A directory to fill.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) path: ObjectPath,
    pub(crate) dir: DirId,
    /// True if something may be in it already.
    pub(crate) is_present: bool,
}

/// A further name of a hard-linked file.
#[derive(Debug)]
pub(crate) struct LaterName {
    pub(crate) dir: ObjectPath,
    pub(crate) name: Name,
    pub(crate) link: LinkId,
}

/// What can be done only when everything else is.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// Where each hard-linked file was met first.
    pub(crate) first_names: HashMap<LinkId, (ObjectPath, Name)>,
    pub(crate) later_names: Vec<LaterName>,
    /// Directories whose attributes change while they are filled, parents first.
    pub(crate) directories: Vec<(ObjectPath, Record)>,
}

/// One walk.
pub(crate) struct Walk<'a> {
    remote: &'a dyn RemoteRead,
    snapshot: &'a Snapshot,
    shop: &'a Workshop,
    batches: JobQueue<Vec<Job>>,
    batch: Vec<Job>,
    batch_len: u64,
    pending: Vec<Pending>,
    rest: Rest,
}

type Listed = (Pending, Result<DirectoryListing, RemoteError>);

impl<'a> Walk<'a> {
    pub(crate) fn new(
        remote: &'a dyn RemoteRead,
        snapshot: &'a Snapshot,
        shop: &'a Workshop,
        batches: JobQueue<Vec<Job>>,
    ) -> Self {
        Self {
            remote,
            snapshot,
            shop,
            batches,
            batch: Vec::new(),
            batch_len: 0,
            pending: Vec::new(),
            rest: Rest::default(),
        }
    }

    /// Walks from one entry of the version down. `top` is `None` for the root.
    pub(crate) fn run(
        mut self,
        top: Option<(&ObjectPath, &Name)>,
        record: Record,
    ) -> Result<Rest, ExportError> {
        match top {
            None => {
                let is_present = self.shop.manner == Manner::Live;
                self.enter(ObjectPath::ROOT, record, is_present)?;
            }
            Some((dir, name)) => {
                let handle = self.shop.target.dir(dir)?;
                let present = local::stat_entry(&handle, name)
                    .map_err(failed("look at", &dir.join(name)?))?;
                self.entry(&handle, dir, name.clone(), present, record)?;
            }
        }
        let mut listings: FuturesOrdered<BoxFuture<'a, Listed>> = FuturesOrdered::new();
        loop {
            while listings.len() < LISTINGS_AT_ONCE
                && let Some(pending) = self.pending.pop()
            {
                listings.push_back(list(self.remote, self.snapshot, pending).boxed());
            }
            let Some(listed) = self.shop.runtime.block_on(listings.next()) else {
                break;
            };
            let (pending, listing) = listed;
            // Without the listing of its root there is no version.
            if pending.path.is_root() {
                self.directory(&pending, listing?)?;
                continue;
            }
            let filled = listing
                .map_err(ExportError::from)
                .and_then(|listing| self.directory(&pending, listing));
            self.or_left_out(pending.path.as_bytes(), filled)?;
        }
        self.send_batch()?;
        Ok(self.rest)
    }

    fn directory(
        &mut self,
        pending: &Pending,
        listing: DirectoryListing,
    ) -> Result<(), ExportError> {
        let handle = self.shop.target.dir(&pending.path)?;
        let present = if pending.is_present {
            local::read_dir(&handle).map_err(failed("read", &pending.path))?
        } else {
            Vec::new()
        };
        for pair in pairs(present, listing.entries) {
            self.shop.go_on()?;
            let path = below(&pending.path, &pair.name);
            let done = self.name(&handle, &pending.path, pair);
            self.or_left_out(&path, done)?;
        }
        Ok(())
    }

    fn name(
        &mut self,
        handle: &DirHandle,
        dir: &ObjectPath,
        pair: Pair<Result<LocalStat, Errno>>,
    ) -> Result<(), ExportError> {
        let Pair { name, local, base } = pair;
        let path = dir.join(&name)?;
        let present = local.transpose().map_err(failed("look at", &path))?;
        match (present, base) {
            (present, Some(record)) => self.entry(handle, dir, name, present, record),
            (Some(present), None) => self.remove(handle, &path, &name, &present),
            (None, None) => Ok(()),
        }
    }

    fn or_left_out(&self, path: &[u8], done: Result<(), ExportError>) -> Result<(), ExportError> {
        done.or_else(|failure| self.shop.progress.leave_out(path, failure))
    }

    fn entry(
        &mut self,
        handle: &DirHandle,
        dir: &ObjectPath,
        name: Name,
        present: Option<LocalStat>,
        record: Record,
    ) -> Result<(), ExportError> {
        self.shop.progress.entry();
        let path = dir.join(&name)?;
        let is_directory = record.kind.is_directory();
        // A directory and something else never replace each other in one step.
        let present = match present {
            Some(found) if (found.kind == FileType::Directory) != is_directory => {
                self.remove(handle, &path, &name, &found)?;
                None
            }
            present => present,
        };
        match record.kind {
            Kind::Directory { .. } => {
                if present.is_none() {
                    self.shop.target.make_dir(handle, &path, &name)?;
                }
                self.enter(path, record, present.is_some())
            }
            Kind::Pack { .. } => Err(ExportError::Pack {
                path: OsStr::from_bytes(path.as_bytes()).into(),
            }),
            _ => self.job(Job {
                dir: dir.clone(),
                name,
                record,
                present,
            }),
        }
    }

    fn enter(
        &mut self,
        path: ObjectPath,
        record: Record,
        is_present: bool,
    ) -> Result<(), ExportError> {
        let Kind::Directory { dir } = record.kind else {
            return Err(ExportError::Stopped("a directory is none"));
        };
        self.rest.directories.push((path.clone(), record));
        self.pending.push(Pending {
            path,
            dir,
            is_present,
        });
        Ok(())
    }

    fn job(&mut self, job: Job) -> Result<(), ExportError> {
        if let Some(link) = job.record.link.filter(|link| link.nlink > 1) {
            if self.rest.first_names.contains_key(&link.id) {
                self.rest.later_names.push(LaterName {
                    dir: job.dir,
                    name: job.name,
                    link: link.id,
                });
                return Ok(());
            }
            let first = (job.dir.clone(), job.name.clone());
            self.rest.first_names.insert(link.id, first);
        }
        self.batch_len = self.batch_len.saturating_add(job.record.size());
        self.batch.push(job);
        if self.batch_len >= BATCH_LEN || self.batch.len() >= BATCH_ENTRIES_MAX {
            self.send_batch()?;
        }
        Ok(())
    }

    fn send_batch(&mut self) -> Result<(), ExportError> {
        self.batch_len = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.batches.push(batch)?)
    }

    fn remove(
        &self,
        handle: &DirHandle,
        path: &ObjectPath,
        name: &Name,
        present: &LocalStat,
    ) -> Result<(), ExportError> {
        let is_directory = present.kind == FileType::Directory;
        self.shop.target.remove(handle, path, name, is_directory)?;
        self.shop.progress.removed();
        Ok(())
    }
}

async fn list(remote: &dyn RemoteRead, snapshot: &Snapshot, pending: Pending) -> Listed {
    let (project, version) = (snapshot.project.id, snapshot.version.number);
    let listing = remote.list_directory(project, version, pending.dir).await;
    (pending, listing)
}

/// Returns the record of a path and those of the directories above it, the root's first.
pub(crate) async fn way_to(
    remote: &Arc<dyn RemoteRead>,
    snapshot: &Snapshot,
    path: &ObjectPath,
) -> Result<(Vec<Record>, Record), ExportError> {
    let not_there = || ExportError::NotThere {
        path: OsStr::from_bytes(path.as_bytes()).into(),
    };
    let (project, version) = (snapshot.project.id, snapshot.version.number);
    let mut above = Vec::new();
    let mut record = snapshot.root.clone();
    for name in path.names() {
        let dir = record.dir().ok_or_else(not_there)?;
        let listing = remote.list_directory(project, version, dir).await?;
        let found = listing
            .entries
            .binary_search_by(|(entry, _)| entry.cmp(&name))
            .map_err(|_| not_there())?;
        above.push(std::mem::replace(
            &mut record,
            listing.entries[found].1.clone(),
        ));
    }
    Ok((above, record))
}
