//! What differs in a rebuilt directory from the version that it has.
//!
//! The version's listings are walked beside the directory. A file that the directory's summary knows is not read,
//! unless the caller wants that; so this tells what an update would send.

use std::path::Path;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesOrdered, StreamExt as _};
use lfsfs_remote::{DiffEntry, RemoteError, RemoteRead};
use lfsfs_types::{ContentId, DirId, Kind, Name, ObjectPath, ProjectId, Record, VersionNumber};
use lfsfs_upload::IgnoredPaths;
use rustix::fs::{FileType, ResolveFlags};
use rustix::io::Errno;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::compare::{Pair, pairs};
use crate::export::ExportProgress;
use crate::export::apply::{Applier, Owners};
use crate::export::worker::is_same;
use crate::ignored::Ignored;
use crate::local::{self, DirHandle, LocalStat};
use crate::rebuild::{RebuildError, Rebuilt};
use crate::selection::{Selection, Verdict};
use crate::summary::Known;

/// Listings that are on their way at once.
const LISTINGS_AT_ONCE: usize = 8;

/// How files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompareBy {
    /// By what the summary knows of them, and by their bytes where it knows nothing.
    Summary,
    /// By their bytes.
    Bytes,
}

/// A rebuilt directory that is compared with the version it has.
#[derive(Debug)]
pub struct DirectoryDiff {
    rebuilt: Rebuilt,
    by: CompareBy,
    progress: Arc<ExportProgress>,
}

/// A directory on either side, or on both.
struct Pending {
    path: ObjectPath,
    dir: Option<DirId>,
    is_present: bool,
    /// What is ignored in the directory above; for the root, what the project ignores.
    above: Ignored,
}

type Listed = (Pending, Result<Vec<(Name, Record)>, RemoteError>);

impl DirectoryDiff {
    /// Reads what the directory remembers. It stays locked: no rebuild runs meanwhile.
    pub fn open(dir: &Path, by: CompareBy) -> Result<Self, RebuildError> {
        Ok(Self {
            rebuilt: Rebuilt::open(dir)?,
            by,
            progress: Arc::default(),
        })
    }

    /// Returns the counters to watch, and the way to stop, while the work goes on.
    #[must_use]
    pub fn progress(&self) -> Arc<ExportProgress> {
        Arc::clone(&self.progress)
    }

    /// Returns the differences, in no particular order. A directory that one side alone has is told with
    /// all that is below it; the root has the empty path.
    pub async fn run(self, remote: Arc<dyn RemoteRead>) -> Result<Vec<DiffEntry>, RebuildError> {
        let (remote, snapshot) = self.rebuilt.rooted(remote).await?;
        let selection = self.rebuilt.selection()?;
        let runtime = Handle::current();
        let work = move || {
            let known = match self.by {
                CompareBy::Summary => Some(self.rebuilt.place.known()?),
                CompareBy::Bytes => None,
            };
            let comparer = Comparer::new(known.as_ref(), &self.progress);
            let walk = Walk {
                remote: &*remote,
                at: (snapshot.project.id, snapshot.version.number),
                root: self.rebuilt.root(),
                selection: &selection,
                comparer,
                pending: Vec::new(),
                found: Vec::new(),
            };
            let patterns = &snapshot.project.ignore_patterns;
            let at = &self.rebuilt.part.subdirectory;
            let above = Ignored::of_project(IgnoredPaths::LeftOut, patterns, at);
            walk.run(&snapshot.root, above, &runtime)
        };
        let panicked = |_| RebuildError::Stopped("a worker panicked");
        spawn_blocking(work).await.map_err(panicked)?
    }
}

struct Walk<'a> {
    remote: &'a dyn RemoteRead,
    at: (ProjectId, VersionNumber),
    root: &'a DirHandle,
    selection: &'a Selection,
    comparer: Comparer<'a>,
    pending: Vec<Pending>,
    found: Vec<DiffEntry>,
}

impl Walk<'_> {
    fn run(
        mut self,
        root: &Record,
        above: Ignored,
        runtime: &Handle,
    ) -> Result<Vec<DiffEntry>, RebuildError> {
        if self.selection.takes_root() {
            let stat = local::stat(self.root).map_err(|error| failed(&ObjectPath::ROOT, error))?;
            let comparer = &self.comparer;
            if !comparer.has_state(self.root, None, &stat, root) {
                self.found.push(DiffEntry::Modified(ObjectPath::ROOT));
            }
        }
        self.pending.push(Pending {
            path: ObjectPath::ROOT,
            dir: root.dir(),
            is_present: true,
            above,
        });
        let (remote, at) = (self.remote, self.at);
        let mut listings: FuturesOrdered<BoxFuture<'_, Listed>> = FuturesOrdered::new();
        loop {
            while listings.len() < LISTINGS_AT_ONCE
                && let Some(pending) = self.pending.pop()
            {
                listings.push_back(list(remote, at, pending).boxed());
            }
            let Some((pending, listed)) = runtime.block_on(listings.next()) else {
                return Ok(self.found);
            };
            self.directory(&pending, listed?)?;
        }
    }

    fn directory(
        &mut self,
        pending: &Pending,
        entries: Vec<(Name, Record)>,
    ) -> Result<(), RebuildError> {
        let path = &pending.path;
        // The walk takes a directory that it cannot open any more for an empty one.
        let handle = if pending.is_present {
            local::open_below(self.root, path, ResolveFlags::NO_XDEV).map(Some)
        } else {
            Ok(None)
        };
        let handle = handle.map_err(|error| failed(path, error))?;
        let present = handle.as_ref().map(local::read_dir).transpose();
        let present = present.map_err(|error| failed(path, error))?;
        let present = present.unwrap_or_default();
        // The update itself warns of lines that say nothing.
        let (ignored, _) = match &handle {
            Some(handle) if path.is_root() => pending.above.clone().in_root(handle, &present),
            Some(handle) => pending.above.enter(path, handle, &present),
            None => (Ignored::default(), Vec::new()),
        };
        for pair in pairs(present, entries) {
            if self.comparer.applier.progress.is_stopped() {
                return Err(crate::export::ExportError::Interrupted.into());
            }
            self.name((handle.as_ref(), &ignored), path, pair)?;
        }
        Ok(())
    }

    fn name(
        &mut self,
        (handle, ignored): (Option<&DirHandle>, &Ignored),
        dir: &ObjectPath,
        pair: Pair<Result<LocalStat, Errno>>,
    ) -> Result<(), RebuildError> {
        let Pair { name, local, base } = pair;
        let path = dir.join(&name).map_err(crate::export::ExportError::from)?;
        let verdict = self.selection.verdict(&path, &name);
        if verdict == Verdict::Skipped {
            return Ok(());
        }
        let present = local.transpose().map_err(|error| failed(&path, error))?;
        if let Some(stat) = &present
            && ignored.leaves_out(&path, stat.kind, base.is_none())
        {
            return Ok(());
        }
        if verdict == Verdict::Taken {
            self.comparer.applier.progress.entry();
            let entry = self.compare((handle, &name), &path, present.as_ref(), base.as_ref());
            self.found.extend(entry);
        }
        let dir = base.as_ref().and_then(Record::dir);
        let is_present = present.is_some_and(|stat| stat.kind == FileType::Directory);
        if dir.is_some() || is_present {
            self.pending.push(Pending {
                path,
                dir,
                is_present,
                above: ignored.clone(),
            });
        }
        Ok(())
    }

    fn compare(
        &self,
        (handle, name): (Option<&DirHandle>, &Name),
        path: &ObjectPath,
        present: Option<&LocalStat>,
        base: Option<&Record>,
    ) -> Option<DiffEntry> {
        let path = path.clone();
        match (handle, present, base) {
            (_, None, None) => None,
            (Some(handle), Some(stat), Some(record)) => {
                self.comparer.compare_both(handle, name, stat, record, path)
            }
            (_, _, None) => Some(DiffEntry::Added(path)),
            (_, _, Some(_)) => Some(DiffEntry::Removed(path)),
        }
    }
}

/// Compares entries with records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Comparer<'a> {
    /// Files that need not be read.
    known: Option<&'a Known>,
    applier: Applier<'a>,
}

impl<'a> Comparer<'a> {
    pub(crate) fn new(known: Option<&'a Known>, progress: &'a ExportProgress) -> Self {
        let applier = Applier {
            owners: Owners::of_this_process(),
            progress,
        };
        Self { known, applier }
    }

    /// Returns how an entry differs from a record.
    pub(crate) fn compare_both(
        &self,
        handle: &DirHandle,
        name: &Name,
        stat: &LocalStat,
        record: &Record,
        path: ObjectPath,
    ) -> Option<DiffEntry> {
        let has_time = stat.mtime == record.mtime;
        let is_same = self.has_content((handle, name, &path), stat, record)
            && self.has_state(handle, Some(name), stat, record);
        if !is_same {
            Some(DiffEntry::Modified(path))
        } else if has_time || record.kind.is_directory() {
            None
        } else {
            Some(DiffEntry::Touched(path))
        }
    }

    fn has_content(
        &self,
        (handle, name, path): (&DirHandle, &Name, &ObjectPath),
        stat: &LocalStat,
        record: &Record,
    ) -> bool {
        match &record.kind {
            Kind::Directory { .. } => stat.kind == FileType::Directory,
            // Their numbers are not compared.
            Kind::BlockDevice { .. } => stat.kind == FileType::BlockDevice,
            Kind::CharDevice { .. } => stat.kind == FileType::CharacterDevice,
            kind => {
                if let (Kind::File { content, .. }, Some(found)) =
                    (kind, self.known_content(path, stat))
                {
                    return found == *content;
                }
                self.applier.progress.bytes(record.size());
                is_same(handle, name, stat, kind)
            }
        }
    }

    fn known_content(&self, path: &ObjectPath, stat: &LocalStat) -> Option<ContentId> {
        let known = self.known.filter(|_| stat.kind == FileType::RegularFile)?;
        known.content(path.as_bytes(), stat)
    }

    /// Returns true if owner, mode and extended attributes are those of a record.
    pub(crate) fn has_state(
        &self,
        handle: &DirHandle,
        name: Option<&Name>,
        stat: &LocalStat,
        record: &Record,
    ) -> bool {
        let timeless = Record {
            mtime: stat.mtime,
            ..record.clone()
        };
        self.applier.has_attributes(handle, name, stat, &timeless)
    }
}

async fn list(
    remote: &dyn RemoteRead,
    (project, version): (ProjectId, VersionNumber),
    pending: Pending,
) -> Listed {
    let Some(dir) = pending.dir else {
        return (pending, Ok(Vec::new()));
    };
    let listing = remote.list_directory(project, version, dir).await;
    (pending, listing.map(|listing| listing.entries))
}

fn failed(path: &ObjectPath, error: Errno) -> RebuildError {
    crate::export::target::failed("look at", path)(error).into()
}
