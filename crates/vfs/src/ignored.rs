//! What of the changes of a mount is ignored: new objects that no commit takes.
//!
//! The project says which, and files in the tree as the mount shows it; the decision is that of every import
//! ([`IgnoreScope`]). A commit never leaves out what the version has at a path, nor an object of the version that
//! a user moved. It costs what changed: it starts from the directories that the overlay says anything of.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use lfsfs_overlay::{BaseKey, BaseObject, DirectoryData, EntryName, Inode, Slot, State, View};
use lfsfs_types::{DirId, Kind, Name, ObjectPath, Record};
use lfsfs_upload::{IGNORE_FILE, IGNORE_FILE_LEN_MAX, IgnoreFile, IgnoreScope, IgnoreWarning};

use crate::base::BaseVersion;
use crate::changes::{Dir, Paths, join, places_of_changes};
use crate::error::VfsError;
use crate::overlay_file::{BelowRange, OverlayFile, read_below};
use crate::verb_error::ChangesError;

/// A path that no commit takes, with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredPath {
    /// The path in the mount.
    pub path: ObjectPath,
    /// Whether a directory is there.
    pub is_directory: bool,
}

/// What is ignored of the changes of a mount.
#[derive(Debug, Default)]
pub(crate) struct Ignored {
    /// The names, each with all below it. None is below another one.
    pub(crate) names: Vec<EntryName>,
    /// Where they are, in the same order.
    pub(crate) paths: Vec<IgnoredPath>,
    /// What in files that say what is ignored says nothing.
    pub(crate) warnings: Vec<IgnoreWarning>,
}

/// Finds what is ignored of the changes above a base.
pub(crate) async fn ignored_of(base: &BaseVersion, view: &View) -> Result<Ignored, ChangesError> {
    // Boxed, since every verb of a mount has it in hand.
    Box::pin(find(base, view)).await
}

/// Returns all objects below the names that are ignored, by their inodes.
pub(crate) async fn ignored_files(
    base: &BaseVersion,
    view: &View,
) -> Result<HashSet<u64>, ChangesError> {
    let (state, ignored) = (view.state(), ignored_of(base, view).await?);
    let mut open = inodes_of(state, &ignored.names);
    let mut files = HashSet::new();
    while let Some(ino) = open.pop() {
        let directory = state.inode(ino).and_then(Inode::directory);
        open.extend(directory.into_iter().flat_map(below));
        files.insert(ino);
    }
    Ok(files)
}

async fn find(base: &BaseVersion, view: &View) -> Result<Ignored, ChangesError> {
    let state = view.state();
    let is_new = |(_, inode): (u64, &Inode)| inode.base.is_none();
    if !state.changed().any(is_new) {
        return Ok(Ignored::default());
    }
    let places = places_of_changes(base, state).await?;
    let mut kept = HashSet::new();
    loop {
        let finder = Finder {
            base,
            view,
            paths: Paths::new(state, &places),
            kept: &kept,
            scopes: HashMap::new(),
            found: Ignored::default(),
        };
        let found = finder.run().await?;
        // A file that has a name elsewhere is kept with all of its names.
        let shared = named_elsewhere(state, &found.names);
        if shared.is_empty() {
            return Ok(found);
        }
        kept.extend(shared);
    }
}

/// Returns the files below some names that have other names too.
fn named_elsewhere(state: &State, names: &[EntryName]) -> Vec<u64> {
    let mut counts: HashMap<u64, u32> = HashMap::new();
    let mut open = inodes_of(state, names);
    while let Some(ino) = open.pop() {
        let Some(inode) = state.inode(ino) else {
            continue;
        };
        match inode.directory() {
            Some(directory) => open.extend(below(directory)),
            None if inode.attributes.nlink > 1 => *counts.entry(ino).or_default() += 1,
            None => {}
        }
    }
    let has_more = |(ino, count): &(u64, u32)| {
        let inode = state.inode(*ino);
        inode.is_some_and(|inode| inode.attributes.nlink > *count)
    };
    let shared = counts.into_iter().filter(has_more);
    shared.map(|(ino, _)| ino).collect()
}

/// Returns the objects of the overlay that have some names.
fn inodes_of(state: &State, names: &[EntryName]) -> Vec<u64> {
    let slot = |place: &EntryName| {
        let directory = state.inode(place.directory)?.directory()?;
        directory.entries.get(&place.name).copied()
    };
    names.iter().filter_map(slot).filter_map(inode_of).collect()
}

fn inode_of(slot: Slot) -> Option<u64> {
    match slot {
        Slot::Inode { ino, .. } => Some(ino),
        Slot::Removed => None,
    }
}

/// Returns the objects of the overlay that are in a directory.
fn below(directory: &DirectoryData) -> impl Iterator<Item = u64> + '_ {
    let slots = directory.entries.values().copied();
    slots.filter_map(inode_of)
}

/// A directory whose names are looked at.
struct Visit {
    ino: u64,
    path: ObjectPath,
    scope: IgnoreScope,
    /// The directory that the base has at the path, as far as it has not another place now.
    before: Option<DirId>,
    /// Whether it is that directory itself: then names say for themselves whether the base has them.
    is_of_base: bool,
}

struct Finder<'a> {
    base: &'a BaseVersion,
    view: &'a View,
    paths: Paths<'a>,
    /// Files that are not ignored because of another name.
    kept: &'a HashSet<u64>,
    scopes: HashMap<Dir, IgnoreScope>,
    found: Ignored,
}

impl<'a> Finder<'a> {
    async fn run(mut self) -> Result<Ignored, ChangesError> {
        let view = self.view;
        for (ino, inode) in view.state().changed() {
            let Some(dir @ Dir::Base(id)) = Dir::of(ino, inode) else {
                continue;
            };
            if inode
                .directory()
                .is_none_or(|it| below(it).next().is_none())
            {
                continue;
            }
            let mut open = vec![Visit {
                ino,
                path: self.paths.now(dir)?,
                scope: self.scope(dir).await?,
                before: Some(id),
                is_of_base: true,
            }];
            while let Some(visit) = open.pop() {
                self.visit(&visit, &mut open).await?;
            }
        }
        Ok(self.found)
    }

    async fn visit(&mut self, at: &Visit, open: &mut Vec<Visit>) -> Result<(), ChangesError> {
        let view = self.view;
        let directory = view.state().inode(at.ino).and_then(Inode::directory);
        for (name, slot) in directory.into_iter().flat_map(|it| it.entries.iter()) {
            let Slot::Inode { ino, covers_base } = *slot else {
                continue;
            };
            let inode = view.state().inode(ino).filter(|it| it.base.is_none());
            // What is of the base is kept, and its directories are visited for themselves.
            let Some(inode) = inode else { continue };
            let path = join(&at.path, name)?;
            let before = match at.before {
                Some(dir) if covers_base || !at.is_of_base => self.before(dir, name).await?,
                _ => None,
            };
            let is_directory = inode.directory().is_some();
            let is_tracked = covers_base || before.is_some();
            if !is_tracked && at.scope.ignores(&path, is_directory) && !self.has_kept(ino) {
                self.found.names.push(EntryName {
                    directory: at.ino,
                    name: name.clone(),
                });
                self.found.paths.push(IgnoredPath { path, is_directory });
            } else if is_directory {
                open.push(Visit {
                    scope: self.enter(&at.scope, &path, Dir::New(ino)).await?,
                    ino,
                    path,
                    before: before.as_ref().and_then(Record::dir),
                    is_of_base: false,
                });
            }
        }
        Ok(())
    }

    /// Returns what the base has under a name, unless it is a directory that has another place now.
    async fn before(&self, dir: DirId, name: &Name) -> Result<Option<Record>, VfsError> {
        let record = self.record(dir, name).await?;
        let is_here = |record: &Record| {
            let key = record.dir().map(BaseKey::Directory);
            key.is_none_or(|key| self.view.state().copy_of(&key).is_none())
        };
        Ok(record.filter(is_here))
    }

    async fn record(&self, dir: DirId, name: &Name) -> Result<Option<Record>, VfsError> {
        match self.base.listing(dir).await {
            Ok(listing) => listing.record_of(name),
            // Others removed it, and the next commit conflicts.
            Err(VfsError::Stale) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns true if anything at or below an object must be in a version.
    fn has_kept(&self, ino: u64) -> bool {
        let state = self.view.state();
        let mut open = vec![ino];
        while let Some(ino) = open.pop() {
            let Some(inode) = state.inode(ino) else {
                continue;
            };
            if inode.base.is_some() || self.kept.contains(&ino) {
                return true;
            }
            open.extend(inode.directory().into_iter().flat_map(below));
        }
        false
    }

    /// Returns what is ignored in a directory.
    async fn scope(&mut self, dir: Dir) -> Result<IgnoreScope, ChangesError> {
        let mut way = Vec::new();
        let mut at = dir;
        let mut scope = loop {
            if let Some(scope) = self.scopes.get(&at) {
                break scope.clone();
            }
            match self.paths.above(at)? {
                Some((above, _)) => way.push(std::mem::replace(&mut at, above)),
                None => {
                    let scope = self.root_scope(at).await?;
                    self.scopes.insert(at, scope.clone());
                    break scope;
                }
            }
        };
        for dir in way.into_iter().rev() {
            let path = self.paths.now(dir)?;
            scope = self.enter(&scope, &path, dir).await?;
            self.scopes.insert(dir, scope.clone());
        }
        Ok(scope)
    }

    async fn root_scope(&mut self, root: Dir) -> Result<IgnoreScope, ChangesError> {
        let patterns = &self.base.snapshot().project.ignore_patterns;
        let (scope, wrong) = IgnoreScope::of_settings(patterns, &ObjectPath::ROOT);
        if let Some(error) = wrong {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the project has a pattern that is not used");
        }
        let file = self.file(root).await?;
        let (scope, warnings) = scope.with_file(&ObjectPath::ROOT, file.as_file());
        self.found.warnings.extend(warnings);
        Ok(scope)
    }

    async fn enter(
        &mut self,
        above: &IgnoreScope,
        path: &ObjectPath,
        dir: Dir,
    ) -> Result<IgnoreScope, ChangesError> {
        let file = if above.reads_file_in(path) {
            self.file(dir).await?
        } else {
            FileRead::None
        };
        let (scope, warnings) = above.enter(path, file.as_file());
        self.found.warnings.extend(warnings);
        Ok(scope)
    }

    /// Reads the file of a directory that says what is ignored in it.
    async fn file(&self, dir: Dir) -> Result<FileRead, VfsError> {
        let state = self.view.state();
        let name = Name::new(IGNORE_FILE.as_bytes()).expect("the name is one");
        let ino = match dir {
            Dir::Base(id) => self.paths.copy_of(id),
            Dir::New(ino) => Some(ino),
        };
        let directory = ino.and_then(|ino| state.inode(ino)?.directory());
        match (directory.and_then(|it| it.entries.get(&name)), dir) {
            (Some(Slot::Inode { ino, .. }), _) => self.read_upper(*ino).await,
            (Some(Slot::Removed), _) | (None, Dir::New(_)) => Ok(FileRead::None),
            (None, Dir::Base(directory)) => match self.record(directory, &name).await? {
                None => Ok(FileRead::None),
                Some(record) => {
                    let name = Some(name);
                    let object = BaseObject {
                        directory,
                        name,
                        record,
                    };
                    match state.copy_of(&object.key()) {
                        Some(ino) => self.read_upper(ino).await,
                        None => self.read_lower(&object).await,
                    }
                }
            },
        }
    }

    async fn read_upper(&self, ino: u64) -> Result<FileRead, VfsError> {
        let inode = self.view.state().inode(ino);
        let Some((inode, file)) = inode.and_then(|it| Some((it, it.file()?))) else {
            return Ok(FileRead::None);
        };
        if file.size() > IGNORE_FILE_LEN_MAX {
            return Ok(FileRead::TooLong);
        }
        let file_above = OverlayFile {
            base: self.base,
            view: self.view,
            inode,
        };
        FileRead::of(file_above.read(0, file.size()).await)
    }

    async fn read_lower(&self, object: &BaseObject) -> Result<FileRead, VfsError> {
        let Kind::File { content, size } = object.record.kind else {
            return Ok(FileRead::None);
        };
        if size > IGNORE_FILE_LEN_MAX {
            return Ok(FileRead::TooLong);
        }
        let range = BelowRange {
            content,
            size,
            offset: 0,
            len: size,
        };
        FileRead::of(read_below(self.base, object, range).await)
    }
}

/// What was read of a file.
enum FileRead {
    None,
    Bytes(Bytes),
    TooLong,
    Unreadable,
}

impl FileRead {
    /// Takes what was read. What is damaged or lost for good stands in the way of nothing else.
    fn of(read: Result<Bytes, VfsError>) -> Result<Self, VfsError> {
        match read {
            Ok(bytes) => Ok(Self::Bytes(bytes)),
            Err(error) if error.is_corrupt() || error.is_not_found() => Ok(Self::Unreadable),
            Err(error) => Err(error),
        }
    }

    fn as_file(&self) -> IgnoreFile<'_> {
        match self {
            Self::None => IgnoreFile::None,
            Self::Bytes(bytes) => IgnoreFile::Bytes(bytes),
            Self::TooLong => IgnoreFile::TooLong,
            Self::Unreadable => IgnoreFile::Unreadable,
        }
    }
}
