//! What differs between a directory at two versions.
//!
//! The server tells what changed in the whole project. What crossed the border of the directory is like something
//! removed or added here, and so all below it is told, too, as the seam says. If the path has one directory
//! in one version and another in the other, everything of both is told.

use std::collections::HashMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use lfsfs_types::limits::DIRS_PER_MESSAGE_MAX;
use lfsfs_types::{DirId, Name, ObjectPath, ProjectId, Record, VersionNumber};

use super::{Inside, Subdirectory};
use crate::data::{ChangedName, VersionRange};
use crate::error::RemoteError;

/// Listings that are on their way at once.
const LISTINGS_AT_ONCE: usize = 8;

/// One of the two versions that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

/// A version, and the directory there.
#[derive(Debug, Clone, Copy)]
struct End {
    side: Side,
    version: VersionNumber,
    root: DirId,
}

/// The paths of a name in both versions.
#[derive(Debug, Default)]
struct Paths {
    old: Option<ObjectPath>,
    new: Option<ObjectPath>,
}

/// The names that were found to differ, each once.
#[derive(Debug, Default)]
struct Names(HashMap<(DirId, Name), Paths>);

impl Names {
    fn add(&mut self, side: Side, dir: DirId, name: Name, path: ObjectPath) {
        let paths = self.0.entry((dir, name)).or_default();
        match side {
            Side::Old => paths.old = Some(path),
            Side::New => paths.new = Some(path),
        }
    }

    /// Returns the names that one side alone has, by their directories.
    fn only_in(&self, side: Side) -> HashMap<DirId, Vec<(&Name, &ObjectPath)>> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for ((dir, name), paths) in &self.0 {
            let (here, there) = match side {
                Side::Old => (&paths.old, &paths.new),
                Side::New => (&paths.new, &paths.old),
            };
            if let (Some(path), None) = (here, there) {
                found.entry(*dir).or_default().push((name, path));
            }
        }
        found
    }

    fn into_changed(self) -> impl Iterator<Item = ChangedName> {
        self.0.into_iter().map(|((dir, name), paths)| ChangedName {
            dir,
            name: Some(name),
            old: paths.old,
            new: paths.new,
        })
    }
}

impl Subdirectory {
    /// Returns the names that differ in the directory, and the directory's own record if that may.
    pub(super) async fn changed(
        &self,
        project: ProjectId,
        range: VersionRange,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        let old = End {
            side: Side::Old,
            version: range.from,
            root: self.dir(project, range.from).await?,
        };
        let new = End {
            side: Side::New,
            version: range.to,
            root: self.dir(project, range.to).await?,
        };
        let mut names = Names::default();
        let mut has_root = old.root != new.root;
        if has_root {
            for end in [old, new] {
                let root = vec![(end.root, ObjectPath::ROOT)];
                self.add_all_below(project, end, root, &mut names).await?;
            }
        } else {
            has_root = self.add_told(project, (old, new), &mut names).await?;
            self.add_crossed(project, (old, new), &mut names).await?;
            self.add_crossed(project, (new, old), &mut names).await?;
        }
        let root = ChangedName {
            dir: DirId::ABOVE_ROOT,
            name: None,
            old: Some(ObjectPath::ROOT),
            new: Some(ObjectPath::ROOT),
        };
        Ok(has_root
            .then_some(root)
            .into_iter()
            .chain(names.into_changed())
            .collect())
    }

    /// Adds what the server tells. Returns true if the directory's own record is among that.
    async fn add_told(
        &self,
        project: ProjectId,
        (from, to): (End, End),
        names: &mut Names,
    ) -> Result<bool, RemoteError> {
        let range = VersionRange {
            from: from.version,
            to: to.version,
        };
        let mut has_root = false;
        for told in self.remote.changed_names(project, range).await? {
            let here = |path: Option<ObjectPath>| path.and_then(|path| self.below(&path));
            let (old, new) = (here(told.old), here(told.new));
            let Some(name) = told.name else { continue };
            let dir = from.seen(told.dir);
            for (side, path) in [(Side::Old, old), (Side::New, new)] {
                match path {
                    Some(path) if path.is_root() => has_root = true,
                    Some(path) => names.add(side, dir, name.clone(), path),
                    None => {}
                }
            }
        }
        Ok(has_root)
    }

    /// Adds what lies at one end below directories that the other end has outside.
    async fn add_crossed(
        &self,
        project: ProjectId,
        (here, there): (End, End),
        names: &mut Names,
    ) -> Result<(), RemoteError> {
        let mut level = self.directories(project, here, names).await?;
        while !level.is_empty() {
            let outside = self.outside(project, there, level).await?;
            level = self.add_entries(project, here, outside, names).await?;
        }
        Ok(())
    }

    /// Returns the directories among the names that one end alone has.
    async fn directories(
        &self,
        project: ProjectId,
        end: End,
        names: &Names,
    ) -> Result<Vec<(DirId, ObjectPath)>, RemoteError> {
        let only = names.only_in(end.side);
        let dirs: Vec<DirId> = only.keys().copied().collect();
        let listings = stream::iter(dirs)
            .map(|dir| async move {
                let listed = self.entries(project, end, end.stored(dir)).await?;
                Ok::<_, RemoteError>((dir, listed))
            })
            .buffered(LISTINGS_AT_ONCE);
        let listings: Vec<_> = listings.try_collect().await?;
        let mut found = Vec::new();
        for (dir, entries) in listings {
            for (name, path) in only.get(&dir).into_iter().flatten() {
                let at = entries.binary_search_by(|(entry, _)| entry.cmp(name));
                let record = at.ok().map(|at| &entries[at].1);
                found.extend(
                    record
                        .and_then(Record::dir)
                        .map(|dir| (dir, (*path).clone())),
                );
            }
        }
        Ok(found)
    }

    /// Returns those directories that a version has, but not here. One that was removed is told with all below
    /// it, and of one that was moved here what changed is.
    async fn outside(
        &self,
        project: ProjectId,
        end: End,
        dirs: Vec<(DirId, ObjectPath)>,
    ) -> Result<Vec<(DirId, ObjectPath)>, RemoteError> {
        let mut found = Vec::new();
        for part in dirs.chunks(DIRS_PER_MESSAGE_MAX) {
            let ids: Vec<DirId> = part.iter().map(|(dir, _)| *dir).collect();
            let places = self.remote.directory_places(project, end.version, &ids);
            let inside = Inside::new(end.root, &places.await?);
            let outside = part.iter().filter(|(dir, _)| inside.is_outside(*dir));
            found.extend(outside.cloned());
        }
        Ok(found)
    }

    async fn add_all_below(
        &self,
        project: ProjectId,
        end: End,
        mut level: Vec<(DirId, ObjectPath)>,
        names: &mut Names,
    ) -> Result<(), RemoteError> {
        while !level.is_empty() {
            level = self.add_entries(project, end, level, names).await?;
        }
        Ok(())
    }

    /// Adds all entries of directories, and returns the directories among them.
    async fn add_entries(
        &self,
        project: ProjectId,
        end: End,
        dirs: Vec<(DirId, ObjectPath)>,
        names: &mut Names,
    ) -> Result<Vec<(DirId, ObjectPath)>, RemoteError> {
        let mut listings = stream::iter(dirs)
            .map(|(dir, path)| async move {
                let listed = self.entries(project, end, dir).await?;
                Ok::<_, RemoteError>((dir, path, listed))
            })
            .buffered(LISTINGS_AT_ONCE);
        let mut below = Vec::new();
        while let Some((dir, path, entries)) = listings.try_next().await? {
            for (name, record) in entries {
                let Ok(path) = path.join(&name) else { continue };
                below.extend(Record::dir(&record).map(|dir| (dir, path.clone())));
                names.add(end.side, end.seen(dir), name, path);
            }
        }
        Ok(below)
    }

    async fn entries(
        &self,
        project: ProjectId,
        end: End,
        dir: DirId,
    ) -> Result<Vec<(Name, Record)>, RemoteError> {
        let listing = self
            .remote
            .list_directory(project, end.version, dir)
            .await?;
        Ok(listing.entries)
    }
}

impl End {
    /// Returns the id that a directory of the project has for the caller.
    fn seen(&self, dir: DirId) -> DirId {
        if dir == self.root { DirId::ROOT } else { dir }
    }

    /// Returns the id that a directory has in the project.
    fn stored(&self, dir: DirId) -> DirId {
        if dir == DirId::ROOT { self.root } else { dir }
    }
}
