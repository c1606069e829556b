//! A version with a memory of where its directories are, for callers that look up many.

use std::collections::{HashMap, HashSet};

use lfsfs_types::{DirId, Name, ObjectPath, ProjectId, VersionNumber, path_text};

use crate::error::{MetadataError, Result};
use crate::metadata::Metadata;
use crate::view::View;

/// How many paths and directories are remembered.
const REMEMBERED_MAX: usize = 65_536;

impl Metadata {
    /// Returns where directories of a version are: for each one asked for and all above it, the
    /// directory above and its name there. Upper ones come first; the root and directories that the
    /// version does not have are left out.
    pub fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<(DirId, DirId, Name)>> {
        let _reading = self.reading();
        let mut side = Side::new(self.view(project, version)?);
        let mut told = HashSet::from([DirId::ROOT, DirId::ABOVE_ROOT]);
        let mut places = Vec::new();
        for dir in dirs {
            let mut chain = Vec::new();
            let mut dir = *dir;
            while told.insert(dir) {
                let Some((parent, Some(name))) = side.place(dir)? else {
                    break;
                };
                chain.push((dir, parent, name));
                dir = parent;
            }
            places.extend(chain.into_iter().rev());
        }
        Ok(places)
    }
}

/// A version, with what was found out about its directories.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    pub(crate) view: View<'a>,
    /// Where directories are; none if the version does not have them.
    places: HashMap<DirId, Option<(DirId, Option<Name>)>>,
    paths: HashMap<DirId, ObjectPath>,
}

impl<'a> Side<'a> {
    /// Returns a version of which nothing was found out.
    pub(crate) fn new(view: View<'a>) -> Self {
        Self {
            view,
            places: HashMap::new(),
            paths: HashMap::new(),
        }
    }

    /// Returns the directory above a directory and its name there, if the version has it.
    pub(crate) fn place(&mut self, dir: DirId) -> Result<Option<(DirId, Option<Name>)>> {
        if let Some(place) = self.places.get(&dir) {
            return Ok(place.clone());
        }
        let place = self.view.directory(dir)?.and_then(|row| row.place);
        if self.places.len() >= REMEMBERED_MAX {
            self.places.clear();
        }
        self.places.insert(dir, place.clone());
        Ok(place)
    }

    /// Returns true if the version has a directory, or what is above the root.
    pub(crate) fn has(&mut self, dir: DirId) -> Result<bool> {
        Ok(dir == DirId::ABOVE_ROOT || self.place(dir)?.is_some())
    }

    /// Returns true if the version has a directory and it is `top` or lies below that.
    pub(crate) fn is_below(&mut self, dir: DirId, top: DirId) -> Result<bool> {
        let mut dir = dir;
        while dir != top {
            match self.place(dir)? {
                Some((above, _)) => dir = above,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Returns the path of a directory, if the version has it.
    pub(crate) fn path_of(&mut self, dir: DirId) -> Result<Option<ObjectPath>> {
        if let Some(path) = self.paths.get(&dir) {
            return Ok(Some(path.clone()));
        }
        let path = self.view.path_of(dir)?;
        if self.paths.len() >= REMEMBERED_MAX {
            self.paths.clear();
        }
        self.paths
            .extend(path.iter().map(|path| (dir, path.clone())));
        Ok(path)
    }

    /// Returns the path of a name in a directory of the version.
    pub(crate) fn path(&mut self, dir: DirId, name: Option<&Name>) -> Result<ObjectPath> {
        let Some(name) = name else {
            return Ok(ObjectPath::ROOT);
        };
        let path = self.path_of(dir)?.ok_or(MetadataError::UnknownDirectory {
            dir,
            version: self.view.version,
        })?;
        join(&path, name)
    }

    /// Returns the path of a name, if the version has something there.
    pub(crate) fn path_if_there(
        &mut self,
        dir: DirId,
        name: Option<&Name>,
    ) -> Result<Option<ObjectPath>> {
        match self.view.state(dir, name)? {
            Some(_) => self.path(dir, name).map(Some),
            None => Ok(None),
        }
    }
}

/// Returns the path of a name below the path of a directory.
pub(crate) fn join(path: &ObjectPath, name: &Name) -> Result<ObjectPath> {
    path.join(name).map_err(|_| MetadataError::PathTooLong {
        path: path_text([path.as_bytes(), name.as_bytes()].into_iter()),
    })
}
