//! Entries that an update sent, and that have another time in its version: others changed that, or the time of
//! another name of the file, and the server merged the two.

use lfsfs_remote::{DiffEntry, RemoteRead, Snapshot};
use lfsfs_types::{DirId, Name, ObjectPath, Record};
use rustix::fs::ResolveFlags;
use tokio::runtime::Handle;

use crate::changes::Changes;
use crate::directory_diff::Comparer;
use crate::local::{self, DirHandle};
use crate::rebuild::RebuildError;

/// The walk over what was sent.
pub(super) struct OwnTimes<'a> {
    pub(super) remote: &'a dyn RemoteRead,
    /// The version that has what was sent.
    pub(super) version: &'a Snapshot,
    pub(super) root: &'a DirHandle,
    pub(super) own: &'a Changes,
    pub(super) comparer: Comparer<'a>,
    pub(super) runtime: &'a Handle,
}

impl OwnTimes<'_> {
    /// Returns the entries that differ in their times alone. What was changed since it was sent is not among them.
    pub(super) fn run(&self) -> Result<Vec<ObjectPath>, RebuildError> {
        let mut found = Vec::new();
        let root = self.version.root.dir().map(|dir| (ObjectPath::ROOT, dir));
        let mut pending: Vec<(ObjectPath, DirId)> = root.into_iter().collect();
        while let Some((path, dir)) = pending.pop() {
            let Snapshot {
                project, version, ..
            } = self.version;
            let listing = self.remote.list_directory(project.id, version.number, dir);
            let entries = self.runtime.block_on(listing)?.entries;
            let handle = local::open_below(self.root, &path, ResolveFlags::NO_XDEV).ok();
            for (name, _) in self.own.in_dir(&path) {
                let at = entries.binary_search_by(|(entry, _)| entry.cmp(name));
                let (Ok(at), Ok(below)) = (at, path.join(name)) else {
                    continue;
                };
                let record = &entries[at].1;
                if let Some(dir) = record.dir() {
                    pending.push((below, dir));
                } else if let Some(handle) = &handle
                    && self.is_touched(handle, name, &below, record)
                {
                    found.push(below);
                }
            }
        }
        Ok(found)
    }

    fn is_touched(
        &self,
        handle: &DirHandle,
        name: &Name,
        path: &ObjectPath,
        record: &Record,
    ) -> bool {
        let stat = local::stat_entry(handle, name).ok().flatten();
        let Some(stat) = stat.filter(|stat| stat.mtime != record.mtime) else {
            return false;
        };
        let compared = self
            .comparer
            .compare_both(handle, name, &stat, record, path.clone());
        matches!(compared, Some(DiffEntry::Touched(_)))
    }
}
