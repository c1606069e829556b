//! What a mount changed, as lines: the difference between its base and what it shows.
//!
//! The lines mean what those of a difference between two versions mean. A directory that the base
//! has too is at most *renamed*: one line, whatever is below it. All else is compared by path after
//! the renames, so what was removed and made again in the same place is modified, has other times,
//! or is equal. It costs what changed: it starts from the slots of the overlay, and looks below new
//! and removed directories only.

mod compare;
mod paths;

use std::collections::BTreeSet;

use lfsfs_overlay::{BaseKey, Inode, Slot, State, View};
use lfsfs_types::{DirId, Name, ObjectPath, Record};

use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::listing::Listing;
use crate::verb_error::ChangesError;

use self::compare::Difference;
use self::paths::misplaced;
pub(crate) use self::paths::{Dir, Paths, join, path_of, paths_of, places_of_changes};

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LocalLine {
    /// Only the mount has it.
    Added,
    /// Only the base has it.
    Removed,
    /// Content, kind, mode, owner or extended attributes differ.
    Modified,
    /// Only the modification time differs.
    Times,
    /// A directory of the base has another path.
    Renamed,
}

/// One line of what a mount changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalChange {
    /// What became of it.
    pub line: LocalLine,
    /// The path: in the base for what was removed, else in the mount.
    pub path: ObjectPath,
    /// The path in the base of a renamed directory.
    pub old: Option<ObjectPath>,
}

/// Returns what a view differs in from its base, in the order of the paths.
pub(crate) async fn changes_of(
    base: &BaseVersion,
    view: &View,
) -> Result<Vec<LocalChange>, ChangesError> {
    let places = places_of_changes(base, view.state()).await?;
    let comparison = Comparison {
        base,
        view,
        paths: Paths::new(view.state(), &places),
        lines: Vec::new(),
    };
    comparison.run().await
}

/// What is at one place before and after, and the path of that place on both sides.
struct Pair {
    before: Option<Record>,
    after: Option<u64>,
    old: ObjectPath,
    new: ObjectPath,
}

struct Comparison<'a> {
    base: &'a BaseVersion,
    view: &'a View,
    paths: Paths<'a>,
    lines: Vec<LocalChange>,
}

impl Comparison<'_> {
    async fn run(mut self) -> Result<Vec<LocalChange>, ChangesError> {
        let view = self.view;
        for (ino, inode) in view.state().changed() {
            match Dir::of(ino, inode) {
                Some(Dir::Base(dir)) => self.compare_directory(ino, inode, dir).await?,
                // Reached by their names.
                Some(Dir::New(_)) => {}
                None => self.compare_in_place(inode).await?,
            }
        }
        self.lines
            .sort_by(|a, b| (&a.path, a.line, &a.old).cmp(&(&b.path, b.line, &b.old)));
        Ok(self.lines)
    }

    fn state(&self) -> &State {
        self.view.state()
    }

    /// Compares something that is no directory and has the name that it has in the base.
    async fn compare_in_place(&mut self, inode: &Inode) -> Result<(), ChangesError> {
        let Some(base) = inode.base.as_deref().filter(|_| inode.in_place) else {
            return Ok(());
        };
        let difference = self.difference(&base.record, inode).await?;
        if difference != Difference::None {
            let above = self.paths.now(Dir::Base(base.directory))?;
            let name = base.name.as_ref();
            let name =
                name.ok_or_else(|| VfsError::internal("what is no directory has no name"))?;
            self.push_difference(difference, join(&above, name)?);
        }
        Ok(())
    }

    /// Compares a directory that both sides have: its place, its attributes, and its entries as far
    /// as the overlay says anything about them.
    async fn compare_directory(
        &mut self,
        ino: u64,
        inode: &Inode,
        dir: DirId,
    ) -> Result<(), ChangesError> {
        let Some(base) = inode.base.as_deref() else {
            return Ok(());
        };
        let (old, new) = (self.paths.before(dir)?, self.paths.now(Dir::Base(dir))?);
        if self
            .has_moved(ino, base.directory, base.name.as_ref())
            .await?
        {
            self.lines.push(LocalChange {
                line: LocalLine::Renamed,
                path: new.clone(),
                old: Some(old.clone()),
            });
        }
        let difference = self.difference(&base.record, inode).await?;
        self.push_difference(difference, new.clone());
        let entries = inode
            .directory()
            .into_iter()
            .flat_map(|it| it.entries.iter());
        for (name, slot) in entries {
            let (covers_base, after) = match slot {
                Slot::Removed => (true, None),
                Slot::Inode { ino, covers_base } => (*covers_base, self.unless_kept(*ino)),
            };
            let before = if covers_base {
                self.before(dir, name).await?
            } else {
                None
            };
            let (old, new) = (join(&old, name)?, join(&new, name)?);
            self.compare(Pair {
                before,
                after,
                old,
                new,
            })
            .await?;
        }
        Ok(())
    }

    /// Tells the lines of a place and of all below it. Directories that both sides have are told for
    /// themselves, wherever they are.
    async fn compare(&mut self, pair: Pair) -> Result<(), ChangesError> {
        let mut open = vec![pair];
        while let Some(pair) = open.pop() {
            self.compare_one(&pair).await?;
            self.open_below(&pair, &mut open).await?;
        }
        Ok(())
    }

    async fn compare_one(&mut self, pair: &Pair) -> Result<(), ChangesError> {
        let view = self.view;
        let after = pair.after.and_then(|ino| view.state().inode(ino));
        match (&pair.before, after) {
            (None, None) => {}
            (Some(_), None) => self.push(LocalLine::Removed, pair.old.clone()),
            (None, Some(_)) => self.push(LocalLine::Added, pair.new.clone()),
            (Some(before), Some(after)) => {
                let difference = self.difference(before, after).await?;
                self.push_difference(difference, pair.new.clone());
            }
        }
        Ok(())
    }

    /// Adds what is below a place to what is to be compared.
    async fn open_below(&self, pair: &Pair, open: &mut Vec<Pair>) -> Result<(), ChangesError> {
        let view = self.view;
        let after = pair
            .after
            .and_then(|ino| view.state().inode(ino)?.directory());
        let before = match pair.before.as_ref().and_then(Record::dir) {
            Some(dir) => Some(self.base.listing(dir).await?),
            None => None,
        };
        let mut names: BTreeSet<Name> = after
            .into_iter()
            .flat_map(|it| it.entries.keys().cloned())
            .collect();
        if let Some(before) = &before {
            for index in 0..before.len() {
                names.insert(before.entry_name(index)?);
            }
        }
        for name in names {
            let slot = after.and_then(|it| it.entries.get(&name));
            let after = match slot {
                Some(Slot::Inode { ino, .. }) => self.unless_kept(*ino),
                _ => None,
            };
            let before = match &before {
                Some(listing) => self.entry(listing, &name)?,
                None => None,
            };
            open.push(Pair {
                before,
                after,
                old: join(&pair.old, &name)?,
                new: join(&pair.new, &name)?,
            });
        }
        Ok(())
    }

    /// Returns true if a directory does not simply follow the one above it.
    async fn has_moved(
        &self,
        ino: u64,
        old: DirId,
        old_name: Option<&Name>,
    ) -> Result<bool, ChangesError> {
        let Some((above, name)) = self.paths.names(ino).first() else {
            return Ok(false);
        };
        if Some(*name) != old_name {
            return Ok(true);
        }
        let above = self.paths.known_dir(*above)?;
        Ok(self.stand_in(above).await? != Some(old))
    }

    /// Returns the directory of the base at the place of a directory of the mount: itself, or one
    /// that only the base has, below the stand-in of the directory above, under the same name.
    async fn stand_in(&self, dir: Dir) -> Result<Option<DirId>, ChangesError> {
        let mut names = Vec::new();
        let mut at = dir;
        let mut found = loop {
            match at {
                Dir::Base(id) => break id,
                Dir::New(_) => {
                    let above = self.paths.above(at)?;
                    let (above, name) = above.ok_or_else(|| misplaced("a new directory"))?;
                    names.push(name);
                    at = above;
                }
            }
        };
        for name in names.iter().rev() {
            let before = self.before(found, name).await?;
            match before.as_ref().and_then(Record::dir) {
                Some(below) => found = below,
                None => return Ok(None),
            }
        }
        Ok(Some(found))
    }

    /// Returns what the base has under a name, unless it is a directory that the mount has too.
    async fn before(&self, dir: DirId, name: &Name) -> Result<Option<Record>, VfsError> {
        let listing = self.base.listing(dir).await?;
        self.entry(&listing, name)
    }

    fn entry(&self, listing: &Listing, name: &Name) -> Result<Option<Record>, VfsError> {
        let Some(index) = listing.find(name.as_bytes()) else {
            return Ok(None);
        };
        let record = listing.entry_record(index)?;
        // One that the mount has elsewhere is in the overlay, since its name here was taken away.
        let kept = record
            .dir()
            .and_then(|dir| self.state().copy_of(&BaseKey::Directory(dir)));
        Ok(kept.is_none().then_some(record))
    }

    /// Returns an inode unless it is a directory that the base has too.
    fn unless_kept(&self, ino: u64) -> Option<u64> {
        let kept = matches!(self.paths.dir(ino), Some(Dir::Base(_)));
        (!kept).then_some(ino)
    }

    fn push_difference(&mut self, difference: Difference, path: ObjectPath) {
        match difference {
            Difference::None => {}
            Difference::Times => self.push(LocalLine::Times, path),
            Difference::State => self.push(LocalLine::Modified, path),
        }
    }

    fn push(&mut self, line: LocalLine, path: ObjectPath) {
        self.lines.push(LocalChange {
            line,
            path,
            old: None,
        });
    }
}
