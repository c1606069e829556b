//! Where the directories of a mount are, and where they were in its base.
//!
//! An inode of the overlay knows no path. What was moved or made is found by the slots that lead to
//! it, read backwards; what lies where the base has it, by the places of the base's directories.

use std::collections::HashMap;

use lfsfs_overlay::{BaseKey, Inode, Slot, State};
use lfsfs_types::limits::PATH_LEN_MAX;
use lfsfs_types::{DirId, Name, ObjectPath, path_text};

use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::verb_error::ChangesError;

const ACTION: &str = "find where directories are";

/// A directory as the mount has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dir {
    /// One that the base has too, wherever it is now.
    Base(DirId),
    /// A new one, by its inode.
    New(u64),
}

impl Dir {
    /// Returns which one an inode is, if it is a directory.
    pub(crate) fn of(ino: u64, inode: &Inode) -> Option<Self> {
        let base = inode.directory()?.base;
        Some(base.map_or(Self::New(ino), Self::Base))
    }
}

/// The way from names to directories above, in the mount and in its base.
#[derive(Debug)]
pub(crate) struct Paths<'a> {
    state: &'a State,
    /// The slots that stand for an inode: directory and name.
    names: HashMap<u64, Vec<(u64, &'a Name)>>,
    /// Places of the base's directories as far as the server was asked.
    places: &'a HashMap<DirId, (DirId, Name)>,
}

impl<'a> Paths<'a> {
    pub(crate) fn new(state: &'a State, places: &'a HashMap<DirId, (DirId, Name)>) -> Self {
        let mut names: HashMap<u64, Vec<_>> = HashMap::new();
        for (directory, inode) in state.changed() {
            for (name, slot) in inode
                .directory()
                .into_iter()
                .flat_map(|it| it.entries.iter())
            {
                if let Slot::Inode { ino, .. } = slot {
                    names.entry(*ino).or_default().push((directory, name));
                }
            }
        }
        Self {
            state,
            names,
            places,
        }
    }

    /// Returns the names that slots of the overlay give an inode.
    pub(crate) fn names(&self, ino: u64) -> &[(u64, &'a Name)] {
        self.names.get(&ino).map_or(&[], Vec::as_slice)
    }

    /// Returns the inode of a directory of the base, if the mount still has it and changed it.
    pub(crate) fn copy_of(&self, dir: DirId) -> Option<u64> {
        self.state.copy_of(&BaseKey::Directory(dir))
    }

    /// Returns which directory an inode is.
    pub(crate) fn dir(&self, ino: u64) -> Option<Dir> {
        Dir::of(ino, self.state.inode(ino)?)
    }

    /// Returns which directory an inode is that names are in.
    pub(crate) fn known_dir(&self, ino: u64) -> Result<Dir, VfsError> {
        let dir = self.dir(ino);
        dir.ok_or_else(|| VfsError::internal("names are in what is no directory"))
    }

    /// Returns the directory above one in the mount, and its name there; `None` for the root.
    pub(crate) fn above(&self, dir: Dir) -> Result<Option<(Dir, &Name)>, VfsError> {
        let ino = match dir {
            Dir::Base(DirId::ROOT) => return Ok(None),
            Dir::Base(id) => self.copy_of(id),
            Dir::New(ino) => Some(ino),
        };
        if let Some((above, name)) = ino.and_then(|ino| self.names(ino).first()) {
            return Ok(self.dir(*above).map(|above| (above, *name)));
        }
        match dir {
            Dir::Base(id) => {
                let (above, name) = self.known_place(id)?;
                Ok(Some((Dir::Base(above), name)))
            }
            Dir::New(_) => Err(misplaced("a new directory")),
        }
    }

    /// Returns the path of a directory in the mount.
    pub(crate) fn now(&self, dir: Dir) -> Result<ObjectPath, ChangesError> {
        let mut names = Vec::new();
        let mut at = dir;
        while let Some((above, name)) = self.above(at)? {
            names.push(name);
            at = above;
            check_depth(names.len())?;
        }
        join_all(&names)
    }

    /// Returns the path of a directory in the base.
    pub(crate) fn before(&self, dir: DirId) -> Result<ObjectPath, ChangesError> {
        let mut names = Vec::new();
        let mut at = dir;
        while at != DirId::ROOT {
            let (above, name) = self.known_place(at)?;
            names.push(name);
            at = above;
            check_depth(names.len())?;
        }
        join_all(&names)
    }

    /// Returns where the base has a directory, as far as that is known here.
    pub(crate) fn place(&self, dir: DirId) -> Option<(DirId, &Name)> {
        let copy = self.copy_of(dir).and_then(|ino| self.state.inode(ino));
        if let Some(base) = copy.and_then(|inode| inode.base.as_ref()) {
            return Some((base.directory, base.name.as_ref()?));
        }
        self.places.get(&dir).map(|(above, name)| (*above, name))
    }

    fn known_place(&self, dir: DirId) -> Result<(DirId, &Name), VfsError> {
        let place = self.place(dir);
        place.ok_or_else(|| misplaced(&format!("directory {dir}")))
    }

    /// Returns true if paths of changes go through directories whose place is not known.
    pub(crate) fn is_incomplete(&self) -> bool {
        let mut changed = self.state.changed();
        changed.any(|(_, inode)| {
            let base = inode.base.as_ref();
            base.is_some_and(|base| self.unknown(base.directory).is_some())
        })
    }

    /// Returns the directory on the way from `dir` to the root whose place must be asked for.
    fn unknown(&self, dir: DirId) -> Option<DirId> {
        let mut at = dir;
        // Ids that lead in a circle are an error where a path is asked for.
        for _ in 0..PATH_LEN_MAX {
            if at == DirId::ROOT || at == DirId::ABOVE_ROOT {
                return None;
            }
            match self.place(at) {
                Some((above, _)) => at = above,
                None => return Some(at),
            }
        }
        None
    }
}

/// Returns the places of all directories of the base that paths of changes go through, beyond what
/// the overlay itself knows.
pub(crate) async fn places_of_changes(
    base: &BaseVersion,
    state: &State,
) -> Result<HashMap<DirId, (DirId, Name)>, VfsError> {
    let none = HashMap::new();
    let paths = Paths::new(state, &none);
    let mut unknown: Vec<_> = state
        .changed()
        .filter_map(|(_, inode)| paths.unknown(inode.base.as_ref()?.directory))
        .collect();
    unknown.sort_unstable();
    unknown.dedup();
    if unknown.is_empty() {
        return Ok(none);
    }
    let places = base.directory_places(&unknown).await?;
    // The version has every directory that an overlay above it names.
    if Paths::new(state, &places).is_incomplete() {
        return Err(misplaced("a directory of what changed"));
    }
    Ok(places)
}

/// Returns where a mount has an object that it changed.
pub(crate) async fn path_of(
    base: &BaseVersion,
    state: &State,
    ino: u64,
) -> Result<ObjectPath, ChangesError> {
    let places = places_of_changes(base, state).await?;
    path_within(&Paths::new(state, &places), state, ino)
}

/// As [`path_of`], of many; those that have no name any more are left out.
pub(crate) async fn paths_of(
    base: &BaseVersion,
    state: &State,
    inodes: &[u64],
) -> Result<HashMap<u64, ObjectPath>, ChangesError> {
    let places = places_of_changes(base, state).await?;
    let paths = Paths::new(state, &places);
    let path = |ino: &u64| Some((*ino, path_within(&paths, state, *ino).ok()?));
    Ok(inodes.iter().filter_map(path).collect())
}

fn path_within(paths: &Paths<'_>, state: &State, ino: u64) -> Result<ObjectPath, ChangesError> {
    if let Some((above, name)) = paths.names(ino).first() {
        let above = paths.known_dir(*above)?;
        return join(&paths.now(above)?, name);
    }
    let below = state.inode(ino).and_then(|inode| inode.base.as_ref());
    let named = below.and_then(|below| Some((below, below.name.as_ref()?)));
    let (below, name) = named.ok_or_else(|| VfsError::internal("a changed object has no name"))?;
    join(&paths.now(Dir::Base(below.directory))?, name)
}

/// Returns the path of a name in a directory.
pub(crate) fn join(path: &ObjectPath, name: &Name) -> Result<ObjectPath, ChangesError> {
    path.join(name).map_err(|_| {
        let names = [path.as_bytes(), name.as_bytes()];
        ChangesError::PathTooLong {
            path: path_text(names.into_iter()),
        }
    })
}

fn join_all(upwards: &[&Name]) -> Result<ObjectPath, ChangesError> {
    let mut path = ObjectPath::ROOT;
    for name in upwards.iter().rev() {
        path = join(&path, name)?;
    }
    Ok(path)
}

/// Fails if the way up cannot end any more: paths are shorter than that.
fn check_depth(len: usize) -> Result<(), VfsError> {
    if len <= PATH_LEN_MAX {
        Ok(())
    } else {
        let problem = "directories lie in a circle";
        Err(VfsError::corrupt(ACTION, problem))
    }
}

/// Returns the error for something that is in no directory of the version.
pub(super) fn misplaced(what: &str) -> VfsError {
    VfsError::corrupt(ACTION, format!("the version has no place for {what}"))
}
