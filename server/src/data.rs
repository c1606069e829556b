//! The directory of a server: `lock`, `node-id`, `meta/`, `staging/`, `chunks/`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;
use lfsfs_common::durable::{create_private_dir_durable, write_file_atomically};
use lfsfs_common::flock::{FileLock, LockMode};
use lfsfs_common::random::random_bytes;
use lfsfs_types::NodeId;

use crate::error::ServerError;

/// A directory that this process alone uses.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    _lock: FileLock,
}

impl DataDir {
    /// Takes a directory, which is made if it is missing. Files of many owners lie in it as plain
    /// chunks, so one that other users can look into is refused.
    pub(crate) fn open(root: &Path) -> Result<Self, ServerError> {
        create_private_dir_durable(root)?;
        check_private(root)?;
        Self::lock(root)
    }

    /// Takes a directory that a server has used before.
    pub(crate) fn open_existing(root: &Path) -> Result<Self, ServerError> {
        if root.join("meta").is_dir() || root.join("chunks").is_dir() {
            return Self::lock(root);
        }
        Err(ServerError::NoData {
            data: root.to_owned(),
        })
    }

    fn lock(root: &Path) -> Result<Self, ServerError> {
        let lock = FileLock::try_acquire(&root.join("lock"), LockMode::Exclusive)?;
        let root = root.to_owned();
        match lock {
            Some(lock) => Ok(Self { root, _lock: lock }),
            None => Err(ServerError::InUse { data: root }),
        }
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.root.join("meta")
    }

    /// What commits stage beyond the memory for it, while the server runs.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn chunks(&self) -> PathBuf {
        self.root.join("chunks")
    }

    /// Returns the datanode's id, which is drawn at its first start.
    pub(crate) fn node_id(&self) -> Result<NodeId, ServerError> {
        let path = self.root.join("node-id");
        match fs::read_to_string(&path) {
            Ok(text) => NodeId::try_from_hex(text.trim()).map_err(|_| ServerError::NodeId { path }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => draw_node_id(&path),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(ServerError::NodeId { path })
            }
            Err(error) => Err(PathError::new("read", path, error).into()),
        }
    }
}

fn check_private(root: &Path) -> Result<(), ServerError> {
    let metadata = fs::metadata(root).map_err(PathError::wrap("stat", root))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(ServerError::NotPrivate {
        data: root.to_owned(),
        mode,
    })
}

fn draw_node_id(path: &Path) -> Result<NodeId, ServerError> {
    let id = NodeId(random_bytes().map_err(|source| ServerError::System {
        act: "draw a node id",
        source,
    })?);
    write_file_atomically(path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn private_dir() -> tempfile::TempDir {
        let mode = fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().permissions(mode).tempdir();
        made.unwrap()
    }

    #[test]
    fn a_node_keeps_its_id() {
        let dir = private_dir();
        let first = DataDir::open(dir.path()).unwrap().node_id().unwrap();
        assert_eq!(DataDir::open(dir.path()).unwrap().node_id().unwrap(), first);
    }

    #[test]
    fn a_damaged_node_id_is_refused_and_not_replaced() {
        let dir = private_dir();
        for damage in [&b"0011"[..], b"", b"\xff\xfe"] {
            fs::write(dir.path().join("node-id"), damage).unwrap();
            let data = DataDir::open(dir.path()).unwrap();
            assert!(matches!(data.node_id(), Err(ServerError::NodeId { .. })));
        }
    }

    #[test]
    fn a_directory_is_made_private_and_one_that_others_can_look_into_is_refused() {
        let dir = private_dir();
        let root = dir.path().join("data");
        drop(DataDir::open(&root).unwrap());
        let mode = |mode| fs::set_permissions(&root, fs::Permissions::from_mode(mode));
        assert_eq!(
            fs::metadata(&root).unwrap().permissions().mode() & 0o7777,
            0o700
        );
        for open in [0o755, 0o750, 0o701, 0o770] {
            mode(open).unwrap();
            let refused = DataDir::open(&root).unwrap_err();
            assert!(refused.to_string().contains("chmod 700"), "{refused}");
        }
        mode(0o700).unwrap();
        DataDir::open(&root).unwrap();
    }

    #[test]
    fn one_process_has_a_directory() {
        let dir = private_dir();
        let _held = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(matches!(error, ServerError::InUse { .. }));
    }

    #[test]
    fn a_check_needs_a_directory_that_was_used() {
        let dir = private_dir();
        let error = DataDir::open_existing(dir.path()).unwrap_err();
        assert!(matches!(error, ServerError::NoData { .. }));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
