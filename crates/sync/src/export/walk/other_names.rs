//! Names of hard-linked files that did not change, where others of the same file did.

use lfsfs_types::{Link, Name, ObjectPath, Record};
use rustix::fs::FileType;

use super::{LaterName, Walk};
use crate::export::error::ExportError;
use crate::export::listed::{Listed, directory};
use crate::export::scope::{Extent, Pending};
use crate::local;
use crate::selection::Verdict;

impl Walk<'_> {
    /// Finds the names of hard-linked files that did not change, where others of the same file did: all of
    /// them must be one file. It costs a listing of each directory, and is rare.
    pub(super) fn find_other_names(&mut self) -> Result<(), ExportError> {
        self.rest.unmet_names.retain(|_, unmet| *unmet > 0);
        if self.rest.unmet_names.is_empty() {
            return Ok(());
        }
        let root = &self.lister.snapshot.root;
        self.look_in(ObjectPath::ROOT, root);
        self.walk()?;
        // Parents come first, as they do where directories are found one below the other.
        let directories = &mut self.rest.directories;
        directories.sort_by(|(a, _), (b, _)| a.cmp(b));
        directories.dedup_by(|(a, _), (b, _)| a == b);
        Ok(())
    }

    fn look_in(&mut self, path: ObjectPath, record: &Record) {
        self.pending.extend(directory(record).map(|dir| Pending {
            path,
            dir,
            is_present: true,
            extent: Extent::OtherNames,
            record: Some(Box::new(record.clone())),
        }));
    }

    pub(super) fn other_names(
        &mut self,
        pending: &Pending,
        listed: &Listed,
    ) -> Result<(), ExportError> {
        self.shop.go_on()?;
        let mut is_any = false;
        for (name, record) in &listed.entries {
            // The path of an object that is not written may be longer than a path can be.
            let Ok(path) = pending.path.join(name) else {
                continue;
            };
            let verdict = self.scope.selection.verdict(&path, name);
            if record.kind.is_directory() && verdict != Verdict::Skipped {
                self.look_in(path, record);
            } else if verdict == Verdict::Taken {
                is_any |= self.other_name(&pending.path, name, record);
            }
        }
        // A name that is replaced changes the times of its directory.
        if let Some(record) = pending.record.as_deref().filter(|_| is_any) {
            let directory = (pending.path.clone(), record.clone());
            self.rest.directories.push(directory);
        }
        Ok(())
    }

    /// Notes a name of a hard-linked file, unless the user removed it, or it was met before. Returns true if
    /// it did.
    fn other_name(&mut self, dir: &ObjectPath, name: &Name, record: &Record) -> bool {
        let is_unmet = |link: &Link| self.rest.unmet_names.contains_key(&link.id);
        let changes = self.scope.changes();
        let mark = changes.and_then(|changes| changes.mark(dir, name));
        let Some(link) = record.link.filter(|link| mark.is_none() && is_unmet(link)) else {
            return false;
        };
        let handle = self.shop.target.dir(dir).ok();
        let stat = handle.and_then(|handle| local::stat_entry(&handle, name).ok().flatten());
        let is_there = stat.is_some_and(|stat| stat.kind != FileType::Directory);
        if is_there {
            self.rest.later_names.push(LaterName {
                dir: dir.clone(),
                name: name.clone(),
                link: link.id,
            });
        }
        is_there
    }
}
