//! A directory of a version as if it were a whole version: its content is the root, and nothing else is there.
//!
//! [`Subdirectory`] stands between a caller that exports, rebuilds or mounts and the remote. It looks its path
//! up in each version, so a directory that was moved elsewhere is not followed. Ids of directories are those of
//! the project, but for the root, which is [`DirId::ROOT`]; [`Snapshot::root_dir`] has its own id.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use lfsfs_types::{ContentId, DirId, Kind, ObjectPath, ProjectId, Record, Source, VersionNumber};
use thiserror::Error;

use crate::data::{
    ChangedName, ChunkBytes, ChunkLocation, DirectoryListing, DirectoryPlace, Hold, Renames,
    Resolved, Snapshot, TreeParams, VersionRange,
};
use crate::error::RemoteError;
use crate::remote::{DiffStream, RemoteContents, RemoteRead, TreeStream};

mod changed;
#[cfg(all(test, feature = "testing"))]
mod tests;

/// Why a version has no such directory.
#[derive(Debug, Error)]
pub enum SubdirectoryError {
    /// It has nothing there.
    #[error("{version} has no directory {path:?}: there is no {at:?}")]
    Missing {
        /// The version.
        version: VersionNumber,
        /// The directory.
        path: ObjectPath,
        /// The first part of the path that is not there.
        at: ObjectPath,
    },
    /// It has something else there, or on the way.
    #[error("{version} has no directory {path:?}: {at:?} is {found}")]
    NotDirectory {
        /// The version.
        version: VersionNumber,
        /// The directory.
        path: ObjectPath,
        /// The part of the path that is something else.
        at: ObjectPath,
        /// What that is.
        found: &'static str,
    },
    /// The server failed or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// A remote of which the versions have a subdirectory as their root.
#[derive(Debug)]
pub struct Subdirectory {
    remote: Arc<dyn RemoteRead>,
    path: ObjectPath,
    /// The records of the directory in the versions that were asked for. Not held across an await.
    found: Mutex<HashMap<(ProjectId, VersionNumber), Record>>,
}

impl Subdirectory {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(remote: Arc<dyn RemoteRead>, path: ObjectPath) -> Self {
        Self {
            remote,
            path,
            found: Mutex::default(),
        }
    }

    /// Returns the directory of a version as a version. Its counts are those of the whole version.
    pub async fn of(&self, whole: Snapshot) -> Result<Snapshot, SubdirectoryError> {
        let place = (whole.project.id, whole.version.number);
        let record = self.look_up(place).await?;
        self.lock().insert(place, record.clone());
        Ok(Snapshot {
            root_dir: record.dir().unwrap_or(whole.root_dir),
            root: Record {
                kind: Kind::Directory { dir: DirId::ROOT },
                ..record
            },
            ..whole
        })
    }

    async fn look_up(
        &self,
        (project, version): (ProjectId, VersionNumber),
    ) -> Result<Record, SubdirectoryError> {
        let mut record = self.remote.snapshot(project, version).await?.root;
        let mut at = ObjectPath::ROOT;
        for name in self.path.names() {
            // A part of a path is no longer than the path.
            at = at.join(&name).unwrap_or_else(|_| self.path.clone());
            record = match self.remote.lookup(project, version, &at).await {
                Ok(record) => record,
                Err(error) if error.is_not_found() => {
                    return Err(SubdirectoryError::Missing {
                        version,
                        path: self.path.clone(),
                        at,
                    });
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(found) = no_directory(&record.kind) {
                return Err(SubdirectoryError::NotDirectory {
                    version,
                    path: self.path.clone(),
                    at,
                    found,
                });
            }
        }
        Ok(record)
    }

    /// Returns the id of the directory in a version.
    async fn dir(&self, project: ProjectId, version: VersionNumber) -> Result<DirId, RemoteError> {
        let known = self.lock().get(&(project, version)).and_then(Record::dir);
        if let Some(dir) = known {
            return Ok(dir);
        }
        let record = self.look_up((project, version)).await?;
        let dir = record.dir().unwrap_or(DirId::ROOT);
        self.lock().insert((project, version), record);
        Ok(dir)
    }

    /// Returns the path below the directory of a path of the project; the root for the directory itself.
    fn below(&self, path: &ObjectPath) -> Option<ObjectPath> {
        let rest = path.as_bytes().strip_prefix(self.path.as_bytes())?;
        match rest {
            [] => Some(ObjectPath::ROOT),
            [b'/', rest @ ..] => ObjectPath::new(rest).ok(),
            _ => None,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(ProjectId, VersionNumber), Record>> {
        // An insertion is whole, whatever panicked beside it.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<SubdirectoryError> for RemoteError {
    fn from(error: SubdirectoryError) -> Self {
        match error {
            SubdirectoryError::Remote(error) => error,
            SubdirectoryError::Missing { .. } | SubdirectoryError::NotDirectory { .. } => {
                Self::NotFound(error.to_string())
            }
        }
    }
}

/// Returns what something is that is no directory.
const fn no_directory(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Directory { .. } => None,
        Kind::File { .. } => Some("a file"),
        Kind::Symlink { .. } => Some("a symbolic link, which is not followed"),
        Kind::Fifo => Some("a named pipe"),
        Kind::Socket => Some("a socket"),
        Kind::BlockDevice { .. } | Kind::CharDevice { .. } => Some("a device"),
    }
}

#[async_trait]
impl RemoteContents for Subdirectory {
    async fn resolve(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Resolved, RemoteError> {
        self.remote.resolve(project, contents).await
    }

    async fn read_chunk(
        &self,
        chunk: &ChunkLocation,
        range: Range<u64>,
    ) -> Result<ChunkBytes, RemoteError> {
        self.remote.read_chunk(chunk, range).await
    }
}

#[async_trait]
impl RemoteRead for Subdirectory {
    async fn resolve_source(&self, source: &Source) -> Result<Snapshot, RemoteError> {
        let whole = self.remote.resolve_source(source).await?;
        Ok(self.of(whole).await?)
    }

    async fn snapshot(
        &self,
        project: ProjectId,
        version: VersionNumber,
    ) -> Result<Snapshot, RemoteError> {
        let whole = self.remote.snapshot(project, version).await?;
        Ok(self.of(whole).await?)
    }

    async fn lookup(
        &self,
        project: ProjectId,
        version: VersionNumber,
        path: &ObjectPath,
    ) -> Result<Record, RemoteError> {
        if path.is_root() {
            return Ok(self.snapshot(project, version).await?.root);
        }
        let mut whole = self.path.clone();
        for name in path.names() {
            whole = whole
                .join(&name)
                .map_err(|error| RemoteError::NotFound(error.to_string()))?;
        }
        self.remote.lookup(project, version, &whole).await
    }

    async fn list_directory(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<DirectoryListing, RemoteError> {
        let dir = match dir {
            DirId::ROOT => self.dir(project, version).await?,
            dir => dir,
        };
        self.remote.list_directory(project, version, dir).await
    }

    async fn list_tree(&self, params: &TreeParams) -> Result<TreeStream, RemoteError> {
        let root = self.dir(params.project, params.version).await?;
        let stored = |dir| if dir == DirId::ROOT { root } else { dir };
        let params = TreeParams {
            top: stored(params.top),
            after: params.after.map(stored),
            ..*params
        };
        let listings = self.remote.list_tree(&params).await?;
        let shown = move |(dir, listing)| (if dir == root { DirId::ROOT } else { dir }, listing);
        Ok(listings.map_ok(shown).boxed())
    }

    async fn changed_names(
        &self,
        project: ProjectId,
        range: VersionRange,
    ) -> Result<Vec<ChangedName>, RemoteError> {
        self.changed(project, range).await
    }

    async fn directory_places(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dirs: &[DirId],
    ) -> Result<Vec<DirectoryPlace>, RemoteError> {
        let root = self.dir(project, version).await?;
        let places = self.remote.directory_places(project, version, dirs).await?;
        let inside = Inside::new(root, &places);
        let places = places.iter().filter(|(dir, _, _)| inside.has(*dir));
        let above = |above: DirId| if above == root { DirId::ROOT } else { above };
        Ok(places
            .map(|(dir, parent, name)| (*dir, above(*parent), name.clone()))
            .collect())
    }

    async fn hold_version(&self, hold: &Hold) -> Result<Duration, RemoteError> {
        self.remote.hold_version(hold).await
    }

    async fn release_version(&self, hold: &Hold) -> Result<(), RemoteError> {
        self.remote.release_version(hold).await
    }

    async fn diff(
        &self,
        _project: ProjectId,
        _range: VersionRange,
        _renames: Renames,
    ) -> Result<DiffStream, RemoteError> {
        let what = "the differences of a subdirectory alone";
        Err(RemoteError::Unimplemented(what.to_owned()))
    }
}

/// Which directories lie below another one.
#[derive(Debug)]
struct Inside {
    root: DirId,
    above: HashMap<DirId, DirId>,
}

impl Inside {
    /// `places` has the directories that will be asked for and all above them.
    fn new(root: DirId, places: &[DirectoryPlace]) -> Self {
        let above = places.iter().map(|(dir, above, _)| (*dir, *above));
        Self {
            root,
            above: above.collect(),
        }
    }

    /// Returns true for a directory that lies below the root, which does not itself.
    fn has(&self, mut dir: DirId) -> bool {
        // An answer that makes no sense could lead in a circle.
        for _ in 0..=self.above.len() {
            match self.above.get(&dir) {
                Some(above) if dir != self.root && *above == self.root => return true,
                Some(above) if dir != self.root => dir = *above,
                _ => return false,
            }
        }
        false
    }

    /// Returns true for a directory that the version has somewhere else.
    fn is_outside(&self, dir: DirId) -> bool {
        self.above.contains_key(&dir) && dir != self.root && !self.has(dir)
    }
}
