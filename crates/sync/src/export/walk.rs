//! The version, directory by directory: directories are made here, everything else becomes work.
//!
//! A walk over all of the version takes its directories in the order in which a stream brings their listings. Another
//! one asks for some ahead, since each is an answer of the server to wait for.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesOrdered, StreamExt as _};
use lfsfs_common::JobQueue;
use lfsfs_remote::{RemoteRead, Snapshot};
use lfsfs_types::{Kind, LinkId, Name, ObjectPath, Record};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::error::ExportError;
use super::listed::{Listed, Lister, directory};
use super::scope::{Extent, Pending, Scope};
use super::target::failed;
use super::worker::{BATCH_LEN, Job, Manner, Workshop, below};
use crate::changes::{Changes, Mark};
use crate::compare::{Pair, pairs};
use crate::local::{self, DirHandle, LocalStat};
use crate::selection::Verdict;

mod other_names;

/// Listings that are on their way at once.
const LISTINGS_AT_ONCE: usize = 8;
/// Entries that one worker takes at once.
const BATCH_ENTRIES_MAX: usize = 256;

type LocalPair = Pair<Result<LocalStat, Errno>>;

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
    /// How many names of such a file were not met, if only changes are looked at.
    unmet_names: HashMap<LinkId, u32>,
    pub(crate) later_names: Vec<LaterName>,
    /// Directories whose attributes change while they are filled, parents first.
    pub(crate) directories: Vec<(ObjectPath, Record)>,
}

/// One walk.
pub(crate) struct Walk<'a> {
    lister: Lister<'a>,
    scope: &'a Scope,
    shop: &'a Workshop,
    batches: JobQueue<Vec<Job>>,
    batch: Vec<Job>,
    batch_len: u64,
    pending: Vec<Pending>,
    rest: Rest,
}

/// An entry of the version and what is in its place.
struct Entry {
    name: Name,
    present: Option<LocalStat>,
    /// Whether the export has made the directory that it is in.
    is_dir_new: bool,
    record: Record,
    verdict: Verdict,
    /// If it is a directory that is there already: which of its entries are looked at.
    extent: Extent,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(lister: Lister<'a>, shop: &'a Workshop, batches: JobQueue<Vec<Job>>) -> Self {
        Self {
            lister,
            scope: lister.scope,
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
            None => self.start(record)?,
            Some((dir, name)) => {
                let handle = self.shop.target.dir(dir)?;
                let present = local::stat_entry(&handle, name)
                    .map_err(failed("look at", &dir.join(name)?))?;
                let entry = Entry {
                    name: name.clone(),
                    present,
                    is_dir_new: false,
                    record,
                    verdict: Verdict::Taken,
                    extent: Extent::Whole,
                };
                self.entry(&handle, dir, entry)?;
            }
        }
        self.walk()?;
        self.find_other_names()?;
        self.send_batch()?;
        Ok(self.rest)
    }

    fn start(&mut self, record: Record) -> Result<(), ExportError> {
        let is_present = self.shop.manner != Manner::Fresh;
        let scope = self.scope;
        let was_opened = self.shop.target.make_root_usable();
        let was_opened = was_opened.map_err(failed("open", &ObjectPath::ROOT))?;
        let is_taken = scope.selection.takes_root() && scope.applies_to(&ObjectPath::ROOT);
        let extent = scope.of_root();
        let root = (ObjectPath::ROOT, is_present, extent);
        self.enter(root, record, was_opened || is_taken)
    }

    /// Fills the directories that are pending, and those that are found in them.
    fn walk(&mut self) -> Result<(), ExportError> {
        let mut listings: FuturesOrdered<BoxFuture<'a, _>> = FuturesOrdered::new();
        loop {
            let at_once = match self.lister.listings.are_in_order() {
                true => 1,
                false => LISTINGS_AT_ONCE,
            };
            while listings.len() < at_once
                && let Some(pending) = self.pending.pop()
            {
                listings.push_back(self.lister.list(pending).boxed());
            }
            let Some(listed) = self.shop.runtime.block_on(listings.next()) else {
                return Ok(());
            };
            let (pending, listed) = listed;
            // Without the listing of its root there is no version.
            if pending.path.is_root() {
                self.directory(&pending, &listed?)?;
                continue;
            }
            let filled = listed
                .map_err(ExportError::from)
                .and_then(|listed| self.directory(&pending, &listed));
            self.or_left_out(pending.path.as_bytes(), filled)?;
        }
    }

    fn directory(&mut self, pending: &Pending, listed: &Listed) -> Result<(), ExportError> {
        if pending.extent == Extent::OtherNames {
            return self.other_names(pending, listed);
        }
        let handle = self.shop.target.dir(&pending.path)?;
        let first = self.pending.len();
        for pair in self.pairs(&handle, pending, listed)? {
            self.shop.go_on()?;
            let path = below(&pending.path, &pair.name);
            let done = self.name(&handle, pending, listed, pair);
            self.or_left_out(&path, done)?;
        }
        // The last one is taken first: so they are filled in the order of their names.
        self.pending[first..].reverse();
        Ok(())
    }

    /// Returns the names to look at, each with what is there and what the version has.
    fn pairs(
        &self,
        handle: &DirHandle,
        pending: &Pending,
        listed: &Listed,
    ) -> Result<Vec<LocalPair>, ExportError> {
        if pending.extent != Extent::Changed {
            let present = if pending.is_present {
                local::read_dir(handle).map_err(failed("read", &pending.path))?
            } else {
                Vec::new()
            };
            return Ok(pairs(present, listed.entries.iter().cloned()).collect());
        }
        let changed = self.scope.changes().into_iter();
        let names = changed.flat_map(|changes| changes.in_dir(&pending.path));
        let pair = |name: &Name| Pair {
            name: name.clone(),
            local: local::stat_entry(handle, name).transpose(),
            base: listed.find(name).cloned(),
        };
        Ok(names.map(|(name, _)| pair(name)).collect())
    }

    fn name(
        &mut self,
        handle: &DirHandle,
        pending: &Pending,
        listed: &Listed,
        pair: LocalPair,
    ) -> Result<(), ExportError> {
        let Pair { name, local, base } = pair;
        let path = pending.path.join(&name)?;
        let verdict = self.scope.selection.verdict(&path, &name);
        if verdict == Verdict::Skipped {
            return Ok(());
        }
        // Above what is selected, only directories count.
        let base = base.filter(|base| verdict == Verdict::Taken || base.kind.is_directory());
        let present = local.transpose().map_err(failed("look at", &path))?;
        match (present, base) {
            (present, Some(record)) => {
                let entry = Entry {
                    extent: self.extent_in(pending, listed, &name, &record),
                    name,
                    present,
                    is_dir_new: !pending.is_present,
                    record,
                    verdict,
                };
                self.entry(handle, &pending.path, entry)
            }
            (Some(_), None) if verdict == Verdict::Above => self.remove_tops_below(&path),
            (Some(present), None) => match &pending.extent {
                // It may be the user's: no version had it.
                Extent::Repair(_) if !listed.is_elsewhere(&name) => Ok(()),
                _ => self.remove(handle, &path, &name, &present),
            },
            (None, None) => Ok(()),
        }
    }

    /// Returns which entries of a directory in another are looked at, if it is there already.
    fn extent_in(
        &self,
        pending: &Pending,
        listed: &Listed,
        name: &Name,
        record: &Record,
    ) -> Extent {
        let mark = |changes: &Changes| changes.mark(&pending.path, name);
        let is_on_the_way = self.scope.changes().and_then(mark) == Some(Mark::OnTheWay);
        let is_in_place = || directory(record).is_some_and(|dir| listed.is_in_place(dir));
        match &pending.extent {
            Extent::Repair(_) => Extent::Repair(listed.dirs_elsewhere(name)),
            Extent::Changed if is_on_the_way || is_in_place() => Extent::Changed,
            Extent::Changed | Extent::Whole => Extent::Whole,
            Extent::OtherNames => Extent::OtherNames,
        }
    }

    fn or_left_out(&self, path: &[u8], done: Result<(), ExportError>) -> Result<(), ExportError> {
        done.or_else(|failure| self.shop.progress.leave_out(path, failure))
    }

    fn entry(
        &mut self,
        handle: &DirHandle,
        dir: &ObjectPath,
        entry: Entry,
    ) -> Result<(), ExportError> {
        self.shop.progress.entry();
        let path = dir.join(&entry.name)?;
        let is_directory = entry.record.kind.is_directory();
        // A directory and something else never replace each other in one step.
        let present = match entry.present {
            Some(found) if (found.kind == FileType::Directory) != is_directory => {
                self.remove(handle, &path, &entry.name, &found)?;
                None
            }
            present => present,
        };
        match entry.record.kind {
            Kind::Directory { .. } => self.sub_directory(handle, path, Entry { present, ..entry }),
            _ => self.job(Job {
                dir: dir.clone(),
                name: entry.name,
                record: entry.record,
                present,
                is_dir_new: entry.is_dir_new,
            }),
        }
    }

    fn sub_directory(
        &mut self,
        handle: &DirHandle,
        path: ObjectPath,
        entry: Entry,
    ) -> Result<(), ExportError> {
        let Some(stat) = &entry.present else {
            self.shop.target.make_dir(handle, &path, &entry.name)?;
            self.shop.progress.directory();
            return self.enter((path, false, Extent::Whole), entry.record, true);
        };
        let was_opened = self.shop.target.make_usable(handle, &entry.name, stat);
        let was_opened = was_opened.map_err(failed("open", &path))?;
        let is_taken = entry.verdict == Verdict::Taken && self.scope.applies_to(&path);
        let is_whole = entry.extent == Extent::Whole && entry.verdict == Verdict::Taken;
        let gets_attributes = was_opened || is_taken || is_whole;
        self.enter((path, true, entry.extent), entry.record, gets_attributes)
    }

    fn enter(
        &mut self,
        (path, is_present, extent): (ObjectPath, bool, Extent),
        record: Record,
        gets_attributes: bool,
    ) -> Result<(), ExportError> {
        let dir = directory(&record).ok_or(ExportError::Stopped("a directory is none"))?;
        if gets_attributes {
            self.rest.directories.push((path.clone(), record));
        }
        self.pending.push(Pending {
            path,
            dir,
            is_present,
            extent,
            record: None,
        });
        Ok(())
    }

    fn job(&mut self, job: Job) -> Result<(), ExportError> {
        if let Some(link) = job.record.link.filter(|link| link.nlink > 1) {
            if self.scope.changes().is_some() {
                let unmet = &mut self.rest.unmet_names;
                let left = unmet.entry(link.id).or_insert(link.nlink);
                *left = left.saturating_sub(1);
            }
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

    /// Removes the selected paths below one at which the version has no directory.
    fn remove_tops_below(&self, path: &ObjectPath) -> Result<(), ExportError> {
        for top in self.scope.selection.tops_below(path) {
            let Some((dir, name)) = top.split_last() else {
                continue;
            };
            // Without a way to it, it is not there.
            let Ok(handle) = self.shop.target.dir(&dir) else {
                continue;
            };
            let present = local::stat_entry(&handle, &name);
            if let Some(present) = present.map_err(failed("look at", top))? {
                self.remove(&handle, top, &name, &present)?;
            }
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
