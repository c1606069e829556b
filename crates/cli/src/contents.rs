//! Bytes of the files of a version, through the cache of this machine.

use std::sync::Arc;

use lfsfs_cache::DiskCache;
use lfsfs_common::clock::SystemClock;
use lfsfs_mount::{MountOptions, Places, open_cache};
use lfsfs_remote::{RemoteRead, Snapshot};
use lfsfs_types::{ObjectPath, nodeid};
use lfsfs_vfs::{Attr, BaseVersion, FileKind, Vfs, VfsConfig, VfsError};

use crate::error::{CommandError, no_such_path};
use crate::output::quoted;

/// Bytes asked for at once.
const READ_LEN: u32 = 1024 * 1024;

/// Opens the cache that all mounts of this user on this machine share.
pub(crate) fn cache() -> Result<DiskCache, CommandError> {
    let places = Places::find(&MountOptions::default())?;
    open_cache(&places, None).map_err(|error| CommandError::failed(error.to_string()))
}

/// The files of one version.
#[derive(Debug)]
pub(crate) struct Contents {
    vfs: Vfs,
    remote: Arc<dyn RemoteRead>,
}

impl Contents {
    pub(crate) fn open(
        remote: &Arc<dyn RemoteRead>,
        snapshot: &Snapshot,
    ) -> Result<Self, CommandError> {
        let (remote, snapshot) = (Arc::clone(remote), snapshot.clone());
        let (reading, config) = (Arc::clone(&remote), VfsConfig::default());
        let base = BaseVersion::new(reading, cache()?, snapshot, config);
        let vfs = Vfs::read_only(base, Arc::new(SystemClock))?;
        Ok(Self { vfs, remote })
    }

    /// Gives the bytes of a regular file to `take`, in order. No name of the path is a link.
    pub(crate) async fn read(
        &self,
        path: &ObjectPath,
        mut take: impl FnMut(&[u8]) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let attr = self.attr(path).await?;
        if attr.kind != FileKind::File {
            let path = quoted(path.as_bytes());
            return Err(CommandError::failed(format!(
                "{path} is not a regular file"
            )));
        }
        let mut offset = 0;
        while offset < attr.size {
            let read = self.vfs.read(attr.ino, offset, READ_LEN).await;
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(error) => return Err(self.told(error).await),
            };
            take(&bytes)?;
            offset += bytes.len().max(1) as u64;
        }
        Ok(())
    }

    async fn attr(&self, path: &ObjectPath) -> Result<Attr, CommandError> {
        let mut ino = nodeid::ROOT;
        for name in path.names() {
            ino = match self.vfs.lookup(ino, name.as_bytes()).await {
                Ok(entry) => entry.attr.ino,
                Err(VfsError::NotFound | VfsError::NotDirectory) => return Err(no_such_path(path)),
                Err(error) => return Err(self.told(error).await),
            };
        }
        match self.vfs.getattr(ino).await {
            Ok(attr) => Ok(attr),
            Err(error) => Err(self.told(error).await),
        }
    }

    /// Returns an error in the words of the server, if the version has expired since it was opened.
    async fn told(&self, error: VfsError) -> CommandError {
        let base = self.vfs.base();
        let snapshot = base.snapshot();
        let (project, version) = (snapshot.project.id, snapshot.version.number);
        if !matches!(error, VfsError::Stale) {
            return error.into();
        }
        match self.remote.snapshot(project, version).await {
            Ok(_) => error.into(),
            Err(expired) => expired.into(),
        }
    }

    /// Waits until everything that was fetched is in the cache.
    pub(crate) async fn close(self) {
        self.vfs.base().settle().await;
    }
}
