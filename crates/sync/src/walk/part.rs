//! A walk that looks at a part of a directory: the rest of the version stays.

use lfsfs_types::{DirId, Kind, Name, ObjectPath, Record};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::{Directory, Frame, Visited, Walk};
use crate::error::ImportError;
use crate::failure::Failure;
use crate::local::LocalStat;
use crate::selection::RestOfTree;

impl Walk<'_> {
    /// Looks at a name on the way to what is selected.
    pub(super) fn above(
        &mut self,
        frame: &Frame,
        path: &ObjectPath,
        name: &Name,
        (local, base): (Option<Result<LocalStat, Errno>>, Option<&Record>),
    ) -> Result<Option<Frame>, ImportError> {
        let is_directory = match local.transpose() {
            Ok(stat) => stat.is_some_and(|stat| {
                stat.kind == FileType::Directory
                    && !frame.ignored.leaves_out(path, stat.kind, base.is_none())
            }),
            Err(error) => {
                let reason = Failure::from(error).of_entry(path.as_bytes())?;
                self.workshop.problems.report(path.as_bytes(), reason);
                return Ok(None);
            }
        };
        let base_dir = base.and_then(Record::dir);
        let mut tops = self.picked.selection.tops_below(path);
        if !is_directory
            || (base_dir.is_none() && !tops.any(|top| self.workshop.directories.has(top)))
        {
            if let Some(dir) = base_dir {
                self.remove_tops(dir, path)?;
            }
            return Ok(None);
        }
        let parent = self.workshop.directories.open(&frame.found);
        let found = parent
            .and_then(|parent| self.visit_directory(&parent, (path, &frame.ignored), name, base));
        match found {
            Ok(Visited::Directory(directory)) if base_dir.is_some() => {
                let Directory {
                    found,
                    dir,
                    ignored,
                    entries,
                    ..
                } = *directory;
                self.frame(found, (dir, true), ignored, entries).map(Some)
            }
            // The version does not have the way to what is selected.
            Ok(Visited::Directory(directory)) => {
                self.enter(frame, name, *directory, base).map(Some)
            }
            Ok(_) => Ok(None),
            Err(failure) => {
                let reason = failure.of_entry(path.as_bytes())?;
                self.workshop.problems.report(path.as_bytes(), reason);
                Ok(None)
            }
        }
    }

    /// Takes what is selected below a directory of the base out of the version.
    fn remove_tops(&self, dir: DirId, path: &ObjectPath) -> Result<(), ImportError> {
        let depth = path.names().count();
        for top in self.picked.selection.tops_below(path) {
            let mut at = Some(dir);
            let mut names = top.names().skip(depth).peekable();
            while let (Some(dir), Some(name)) = (at, names.next()) {
                let entries = self.base_entries(dir)?;
                let found = entries.binary_search_by(|(entry, _)| entry.cmp(&name));
                let record = found.ok().map(|at| &entries[at].1);
                if names.peek().is_none() && record.is_some() {
                    self.workshop.changes.remove(dir, &name)?;
                }
                at = record.and_then(Record::dir);
            }
        }
        Ok(())
    }

    /// Returns what a device node is that a rebuild made. Its number is not compared.
    pub(super) fn device(&self, found: FileType, base: Option<&Record>) -> Option<Kind> {
        let kind = &base.filter(|_| self.picked.rest == RestOfTree::Kept)?.kind;
        let is_same = match kind {
            Kind::BlockDevice { .. } => found == FileType::BlockDevice,
            Kind::CharDevice { .. } => found == FileType::CharacterDevice,
            _ => false,
        };
        is_same.then(|| kind.clone())
    }
}
