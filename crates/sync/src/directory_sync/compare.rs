//! Where a side differs from what was agreed.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use lfsfs_meta_store::MetaError;
use lfsfs_types::{Name, ObjectPath};

use super::error::{SyncError, Trouble};
use super::ignore::Ignore;
use super::item::{Differences, Figures, FileItem, Item, Seen};
use super::reconcile::{Side, above};
use super::store::{Agreed, Rows, Store, order};
use super::view::{Completed, Entry, Listed, Since, SyncProgress, View};
use crate::local::LocalStat;

/// What was found on one side.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) differences: Differences,
    /// What stat shows of files that differ, as long as they have the content that was found.
    pub(crate) figures: std::collections::BTreeMap<ObjectPath, Figures>,
    /// What was agreed stays, and other figures tell so from now on.
    pub(crate) refreshed: Rows,
    pub(crate) troubles: Vec<Trouble>,
    /// Files that are being written.
    pub(crate) busy: BTreeSet<ObjectPath>,
    /// Paths that were agreed, of a comparison of everything.
    pub(crate) agreed: u64,
}

/// The comparison of a side with what was agreed.
pub(crate) struct Comparison<'a> {
    pub(crate) view: &'a dyn View,
    pub(crate) side: Side,
    pub(crate) store: &'a Store,
    pub(crate) ignore: &'a Ignore,
    pub(crate) progress: &'a SyncProgress,
    pub(crate) found: Found,
}

impl Comparison<'_> {
    /// Compares what may differ.
    pub(crate) fn run(mut self, since: &Since) -> Result<Found, SyncError> {
        match since {
            Since::Everywhere => self.tree(&ObjectPath::ROOT)?,
            Since::At { paths, trees } => {
                for tree in trees {
                    self.tree(tree)?;
                }
                for path in paths {
                    let is_done = trees.contains(path) || above(path).any(|it| trees.contains(&it));
                    if !is_done {
                        self.path(path)?;
                    }
                }
            }
        }
        Ok(self.found)
    }

    /// Compares a path and all below it.
    fn tree(&mut self, top: &ObjectPath) -> Result<(), SyncError> {
        let mut rows = self.store.below(top).peekable();
        let mut stack: Vec<(ObjectPath, std::vec::IntoIter<(Name, Entry)>)> = Vec::new();
        if top.is_root() {
            self.enter(top, &mut stack, &mut rows)?;
        } else {
            let entry = self.view.look(top)?;
            if let Some(entry) = entry
                && self.visit(top, entry, &mut rows)?
            {
                self.enter(top, &mut stack, &mut rows)?;
            }
        }
        while let Some((dir, entries)) = stack.last_mut() {
            let Some((name, entry)) = entries.next() else {
                let _ = stack.pop();
                continue;
            };
            let path = match dir.join(&name) {
                Ok(path) => path,
                Err(error) => {
                    let dir = dir.clone();
                    self.trouble(&dir, format!("an entry of it cannot be synced: {error}"));
                    continue;
                }
            };
            if self.visit(&path, entry, &mut rows)? {
                self.enter(&path, &mut stack, &mut rows)?;
            }
        }
        for row in rows {
            let (path, _) = row?;
            self.gone(path);
        }
        Ok(())
    }

    fn enter(
        &mut self,
        dir: &ObjectPath,
        stack: &mut Vec<(ObjectPath, std::vec::IntoIter<(Name, Entry)>)>,
        rows: &mut AgreedPeek<'_>,
    ) -> Result<(), SyncError> {
        match self.view.list(dir)? {
            Listed::Entries(entries) => stack.push((dir.clone(), entries.into_iter())),
            // A program removed it since. The rows that are left tell the caller what it had.
            Listed::Gone => drop(self.found.differences.insert(dir.clone(), Seen::Nothing)),
            Listed::Unreadable(reason) if dir.is_root() => {
                return Err(SyncError::Machine {
                    action: "list",
                    path: ".".into(),
                    source: std::io::Error::other(reason),
                });
            }
            Listed::Unreadable(reason) => {
                self.trouble(dir, reason);
                self.unknown(dir, rows)?;
            }
        }
        Ok(())
    }

    /// Compares one entry. Returns true if it is a directory to be entered.
    fn visit(
        &mut self,
        path: &ObjectPath,
        entry: Entry,
        rows: &mut AgreedPeek<'_>,
    ) -> Result<bool, SyncError> {
        self.progress.go_on()?;
        while let Some(before) = next_if(rows, |row| order(row, path) == Ordering::Less)? {
            self.gone(before.0);
        }
        let agreed = next_if(rows, |row| row == path)?.map(|(_, agreed)| agreed);
        self.found.agreed += u64::from(agreed.is_some());
        let is_directory = matches!(entry, Entry::Item(Item::Directory { .. }));
        if agreed.is_none() && self.ignore.ignores(path, is_directory) {
            if self.side == Side::Far {
                let _ = self.found.differences.insert(path.clone(), Seen::Unknown);
            }
            return Ok(false);
        }
        self.progress.look();
        let seen = self.see(path, entry, agreed.as_ref())?;
        let is_entered = matches!(&seen, Seen::Is(item) if item.is_directory());
        if seen == Seen::Unknown {
            self.unknown(path, rows)?;
        } else {
            self.compare(path, seen, agreed.as_ref());
        }
        Ok(is_entered)
    }

    /// Compares one path alone.
    fn path(&mut self, path: &ObjectPath) -> Result<(), SyncError> {
        let agreed = self.store.agreed(path)?;
        let Some(entry) = self.view.look(path)? else {
            self.compare(path, Seen::Nothing, agreed.as_ref());
            return Ok(());
        };
        let is_directory = matches!(entry, Entry::Item(Item::Directory { .. }));
        if agreed.is_none()
            && (self.ignore.ignores(path, is_directory) || self.is_in_ignored(path)?)
        {
            let _ = self.found.differences.insert(path.clone(), Seen::Unknown);
            return Ok(());
        }
        self.progress.look();
        let seen = self.see(path, entry, agreed.as_ref())?;
        self.compare(path, seen, agreed.as_ref());
        Ok(())
    }

    /// Returns true if a new directory above a path is ignored.
    fn is_in_ignored(&self, path: &ObjectPath) -> Result<bool, SyncError> {
        for above in above(path) {
            if self.store.agreed(&above)?.is_some() {
                return Ok(false);
            }
            if self.ignore.ignores(&above, true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn see(
        &mut self,
        path: &ObjectPath,
        entry: Entry,
        agreed: Option<&Agreed>,
    ) -> Result<Seen, SyncError> {
        match entry {
            Entry::Item(item) => Ok(Seen::Is(item)),
            Entry::File(stat) => self.see_file(path, &stat, agreed),
            Entry::Other if agreed.is_none() && self.side == Side::Root => {
                // It is in the way of what the far side may have there.
                Ok(Seen::Unknown)
            }
            Entry::Other => {
                self.trouble(
                    path,
                    "it is neither a file nor a directory nor a link".to_owned(),
                );
                Ok(Seen::Unknown)
            }
            Entry::Unreadable(reason) => {
                self.trouble(path, reason);
                Ok(Seen::Unknown)
            }
        }
    }

    /// Finds out what a file of a disk has, without reading it if that is known.
    fn see_file(
        &mut self,
        path: &ObjectPath,
        stat: &LocalStat,
        agreed: Option<&Agreed>,
    ) -> Result<Seen, SyncError> {
        let figures = Figures::of(stat);
        let known = agreed.filter(|it| it.figures[self.side as usize] == Some(figures));
        if let Some(agreed) = known {
            return Ok(Seen::Is(agreed.item.clone()));
        }
        if let Some(content) = self.store.hash(self.side, path, &figures)? {
            self.note(path, figures);
            return Ok(Seen::Is(Item::File(FileItem {
                mode: stat.mode,
                mtime: stat.mtime,
                size: stat.size,
                content,
            })));
        }
        let expected = agreed.and_then(|agreed| agreed.item.file());
        match self.view.complete(path, stat, expected)? {
            Completed::File(file, figures) => {
                let item = Item::File(file);
                match (figures, agreed) {
                    (None, _) => {}
                    (Some(figures), Some(agreed)) if agreed.item == item => {
                        let mut agreed = agreed.clone();
                        agreed.figures[self.side as usize] = Some(figures);
                        self.found.refreshed.agree(path, Some(&agreed));
                    }
                    (Some(figures), _) => self.note(path, figures),
                }
                Ok(Seen::Is(item))
            }
            Completed::Gone => Ok(Seen::Nothing),
            Completed::Busy => {
                let _ = self.found.busy.insert(path.clone());
                Ok(Seen::Unknown)
            }
            Completed::Unreadable(reason) => {
                self.trouble(path, reason);
                Ok(Seen::Unknown)
            }
        }
    }

    fn note(&mut self, path: &ObjectPath, figures: Figures) {
        let _ = self.found.figures.insert(path.clone(), figures);
    }

    fn compare(&mut self, path: &ObjectPath, seen: Seen, agreed: Option<&Agreed>) {
        let is_same = match (&seen, agreed) {
            (Seen::Nothing, None) => true,
            (Seen::Is(item), Some(agreed)) => *item == agreed.item,
            _ => false,
        };
        if !is_same {
            let _ = self.found.differences.insert(path.clone(), seen);
        }
    }

    fn gone(&mut self, path: ObjectPath) {
        self.found.agreed += 1;
        let _ = self.found.differences.insert(path, Seen::Nothing);
    }

    /// Leaves what was agreed below a path as it is: this pass cannot look there.
    fn unknown(&mut self, path: &ObjectPath, rows: &mut AgreedPeek<'_>) -> Result<(), SyncError> {
        let is_below = |row: &ObjectPath| above(row).any(|it| it == *path);
        while next_if(rows, is_below)?.is_some() {
            self.found.agreed += 1;
        }
        let _ = self.found.differences.insert(path.clone(), Seen::Unknown);
        Ok(())
    }

    fn trouble(&mut self, path: &ObjectPath, reason: String) {
        let path = path.clone();
        self.found.troubles.push(Trouble { path, reason });
    }
}

type AgreedPeek<'a> = std::iter::Peekable<super::store::AgreedRows<'a>>;

/// Returns the next row if it is one that is wanted.
fn next_if(
    rows: &mut AgreedPeek<'_>,
    is_wanted: impl Fn(&ObjectPath) -> bool,
) -> Result<Option<(ObjectPath, Agreed)>, MetaError> {
    let next = rows.next_if(|row| row.as_ref().map_or(true, |(path, _)| is_wanted(path)));
    next.transpose()
}
