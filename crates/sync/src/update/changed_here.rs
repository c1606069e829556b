//! Places that others changed, and a directory too: there it has what neither of two versions has.
//!
//! Only what a merge would write, or remove, is looked at.

use std::collections::BTreeSet;

use lfsfs_remote::{DiffEntry, RemoteRead, Snapshot};
use lfsfs_types::{DirId, Name, ObjectPath, Record, VersionNumber};
use rustix::fs::{FileType, ResolveFlags};
use rustix::io::Errno;
use tokio::runtime::Handle;

use crate::changes::{Changes, Mark};
use crate::directory_diff::Comparer;
use crate::export::ExportError;
use crate::export::target::failed;
use crate::local::{self, DirHandle, LocalStat};
use crate::rebuild::RebuildError;
use crate::selection::{Selection, Verdict};

/// What is known of the changes of a directory before a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum History {
    /// All were sent.
    AllSent,
    /// Some may be unsent.
    SomeUnsent,
    /// Some may be unsent, and a process that was killed has begun with the merge: directories get their
    /// attributes when all is in them, so attributes say nothing.
    Begun,
}

/// The walk.
pub(super) struct ChangedHere<'a> {
    pub(super) remote: &'a dyn RemoteRead,
    /// The version of the directory, and the one that it is to get.
    pub(super) versions: [&'a Snapshot; 2],
    pub(super) root: &'a DirHandle,
    pub(super) selection: &'a Selection,
    pub(super) others: &'a Changes,
    pub(super) history: History,
    pub(super) comparer: Comparer<'a>,
    pub(super) runtime: &'a Handle,
    pub(super) pending: Vec<Pending>,
    pub(super) found: Vec<ObjectPath>,
}

/// A directory of the directory or of a version.
pub(super) struct Pending {
    path: ObjectPath,
    /// Its numbers in the versions.
    dirs: [Option<DirId>; 2],
    is_present: bool,
    /// True if all of it is replaced.
    is_whole: bool,
}

/// What is at one place.
struct Place<'p> {
    name: &'p Name,
    path: ObjectPath,
    present: Option<LocalStat>,
    records: [Option<&'p Record>; 2],
}

impl Place<'_> {
    fn is_directory_here(&self) -> bool {
        let is_directory = |stat: LocalStat| stat.kind == FileType::Directory;
        self.present.is_some_and(is_directory)
    }

    fn dirs(&self) -> [Option<DirId>; 2] {
        self.records.map(|record| record.and_then(Record::dir))
    }

    /// Returns true if both versions have the same directory here.
    fn is_same_directory(&self) -> bool {
        let [old, new] = self.dirs();
        old.is_some() && old == new
    }
}

type Entries = Vec<(Name, Record)>;

impl ChangedHere<'_> {
    /// Returns the places, in order.
    pub(super) fn run(mut self) -> Result<Vec<ObjectPath>, RebuildError> {
        self.root()?;
        self.pending.push(Pending {
            path: ObjectPath::ROOT,
            dirs: self.versions.map(|version| version.root.dir()),
            is_present: true,
            is_whole: false,
        });
        while let Some(pending) = self.pending.pop() {
            self.directory(&pending)?;
        }
        self.found.sort();
        Ok(self.found)
    }

    fn root(&mut self) -> Result<(), RebuildError> {
        let root = ObjectPath::ROOT;
        let is_written = self.others.has_root() || self.others.touch(&root);
        if !self.selection.takes_root() || !is_written || self.history == History::Begun {
            return Ok(());
        }
        let stat = local::stat(self.root).map_err(failed("look at", &root))?;
        let has_state = |version: &&Snapshot| {
            let comparer = &self.comparer;
            comparer.has_state(self.root, None, &stat, &version.root)
        };
        if !self.versions.iter().any(has_state) {
            self.found.push(root);
        }
        Ok(())
    }

    fn directory(&mut self, pending: &Pending) -> Result<(), RebuildError> {
        let path = &pending.path;
        let lists = [
            self.entries(0, pending.dirs[0])?,
            self.entries(1, pending.dirs[1])?,
        ];
        let handle = if pending.is_present {
            local::open_below(self.root, path, ResolveFlags::NO_XDEV).map(Some)
        } else {
            Ok(None)
        };
        let handle = handle.map_err(failed("look at", path))?;
        for name in self.names(pending, handle.as_ref(), &lists)? {
            let present = handle
                .as_ref()
                .map(|handle| local::stat_entry(handle, &name));
            let below = path.join(&name).map_err(ExportError::from)?;
            let present = present.transpose().map_err(failed("look at", &below))?;
            let place = Place {
                records: lists.each_ref().map(|list| find(list, &name)),
                name: &name,
                path: below,
                present: present.flatten(),
            };
            self.place(pending, handle.as_ref(), place)?;
        }
        Ok(())
    }

    /// Returns the names that a merge looks at.
    fn names(
        &self,
        pending: &Pending,
        handle: Option<&DirHandle>,
        lists: &[Entries; 2],
    ) -> Result<BTreeSet<Name>, RebuildError> {
        if !pending.is_whole {
            let names = self.others.in_dir(&pending.path);
            return Ok(names.map(|(name, _)| name.clone()).collect());
        }
        let read = handle.map(local::read_dir).transpose();
        let read = read.map_err(|error: Errno| failed("read", &pending.path)(error))?;
        let present = read.into_iter().flatten().map(|(name, _)| name);
        let listed = lists.iter().flatten().map(|(name, _)| name.clone());
        Ok(present.chain(listed).collect())
    }

    fn place(
        &mut self,
        pending: &Pending,
        handle: Option<&DirHandle>,
        place: Place<'_>,
    ) -> Result<(), RebuildError> {
        let verdict = self.selection.verdict(&place.path, place.name);
        if verdict == Verdict::Skipped {
            return Ok(());
        }
        let mark = self.others.mark(&pending.path, place.name);
        let is_replaced = mark == Some(Mark::Changed) && !place.is_same_directory();
        if verdict == Verdict::Taken && self.is_other(handle, &place) {
            self.found.push(place.path.clone());
        }
        let is_present = place.is_directory_here();
        if is_present || place.dirs().iter().any(Option::is_some) {
            self.pending.push(Pending {
                dirs: place.dirs(),
                path: place.path,
                is_present,
                is_whole: pending.is_whole || is_replaced,
            });
        }
        Ok(())
    }

    /// Returns true if the directory has at a place what neither version has.
    fn is_other(&self, handle: Option<&DirHandle>, place: &Place<'_>) -> bool {
        let (Some(handle), Some(stat)) = (handle, &place.present) else {
            // A directory that was removed, and of which all was sent, comes back with what others made in it.
            let passes = self.history == History::AllSent && place.is_same_directory();
            return !passes && place.records.iter().all(Option::is_some);
        };
        if place.is_directory_here()
            && place.dirs().iter().any(Option::is_some)
            && (self.history == History::Begun || !self.is_written(place))
        {
            return false;
        }
        let is_as_in = |record: &Record| {
            let compared =
                self.comparer
                    .compare_both(handle, place.name, stat, record, place.path.clone());
            matches!(compared, None | Some(DiffEntry::Touched(_)))
        };
        !place
            .records
            .iter()
            .flatten()
            .any(|record| is_as_in(record))
    }

    /// Returns true if a merge gives a directory its attributes.
    fn is_written(&self, place: &Place<'_>) -> bool {
        let dir = place.path.split_last();
        let mark = dir.and_then(|(dir, name)| self.others.mark(&dir, &name));
        mark == Some(Mark::Changed) || self.others.touch(&place.path) || !place.is_same_directory()
    }

    fn entries(&self, version: usize, dir: Option<DirId>) -> Result<Entries, RebuildError> {
        let Snapshot {
            project, version, ..
        } = self.versions[version];
        let Some(dir) = dir.filter(|_| version.number != VersionNumber::ZERO) else {
            return Ok(Entries::new());
        };
        let listing = self.remote.list_directory(project.id, version.number, dir);
        Ok(self.runtime.block_on(listing)?.entries)
    }
}

fn find<'e>(entries: &'e [(Name, Record)], name: &Name) -> Option<&'e Record> {
    let found = entries.binary_search_by(|(entry, _)| entry.cmp(name));
    found.ok().map(|at| &entries[at].1)
}
