//! The directory of a server: `lock`, `node-id`, `meta/`, `staging/`, `chunks/`; and further ones of a datanode.

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

    fn node_id_file(&self) -> PathBuf {
        self.root.join("node-id")
    }

    /// Returns the id of the datanode that has used the directory before.
    pub(crate) fn node_id(&self) -> Result<Option<NodeId>, ServerError> {
        let path = self.node_id_file();
        match fs::read_to_string(&path) {
            Ok(text) => match NodeId::try_from_hex(text.trim()) {
                Ok(id) => Ok(Some(id)),
                Err(_) => Err(ServerError::NodeId { path }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(ServerError::NodeId { path })
            }
            Err(error) => Err(PathError::new("read", path, error).into()),
        }
    }
}

/// The directories of a datanode: one that has everything, and others for chunks alone.
#[derive(Debug)]
pub(crate) struct ChunkDirs {
    /// The others.
    _locks: Vec<DataDir>,
    pub(crate) node: NodeId,
    /// Where the chunks lie.
    pub(crate) chunks: Vec<PathBuf>,
}

impl ChunkDirs {
    /// Takes the directories that are given beside `first`. One whose disk fails is left out, and its chunks count
    /// as lost.
    ///
    /// All of them know whose they are: the id is drawn at the first start, and a directory that is new gets
    /// it. So any of them may go.
    pub(crate) fn open(first: &DataDir, more: &[PathBuf]) -> Result<Self, ServerError> {
        let mut opened = Vec::new();
        for root in more {
            match DataDir::open(root) {
                Ok(dir) => opened.push(dir),
                Err(ServerError::Path(error)) => {
                    let (root, reason) = (root.display(), lfsfs_common::full_text(&error));
                    tracing::error!(%root, reason, "a data directory is left out; its chunks count as lost");
                }
                Err(error) => return Err(error),
            }
        }
        let dirs = || std::iter::once(first).chain(&opened);
        let node = node_id(dirs())?;
        let chunks = dirs().map(DataDir::chunks).collect();
        Ok(Self {
            _locks: opened,
            node,
            chunks,
        })
    }
}

/// Returns the id that all directories have, and writes it to those that have none.
fn node_id<'a>(dirs: impl Iterator<Item = &'a DataDir>) -> Result<NodeId, ServerError> {
    let (mut known, mut new) = (None, Vec::new());
    for dir in dirs {
        match (dir.node_id()?, known) {
            (None, _) => new.push(dir.node_id_file()),
            (Some(id), None) => known = Some(id),
            (Some(id), Some(expected)) if id != expected => {
                return Err(ServerError::OtherNode {
                    data: dir.root.clone(),
                    found: id,
                    expected,
                });
            }
            (Some(_), Some(_)) => {}
        }
    }
    let id = match known {
        Some(id) => id,
        None => draw_node_id()?,
    };
    for path in new {
        write_file_atomically(&path, format!("{id}\n").as_bytes())?;
    }
    Ok(id)
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

fn draw_node_id() -> Result<NodeId, ServerError> {
    let drawn = random_bytes().map_err(|source| ServerError::System {
        act: "draw a node id",
        source,
    });
    Ok(NodeId(drawn?))
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
        let id = || {
            let data = DataDir::open(dir.path()).unwrap();
            ChunkDirs::open(&data, &[]).unwrap().node
        };
        assert_eq!(id(), id());
    }

    #[test]
    fn directories_of_a_node_know_it_and_others_are_refused() {
        let dir = private_dir();
        let roots = ["a", "b", "c"].map(|name| dir.path().join(name));
        let open = |first: usize, more: &[usize]| {
            let data = DataDir::open(&roots[first]).unwrap();
            let more: Vec<_> = more.iter().map(|at| roots[*at].clone()).collect();
            ChunkDirs::open(&data, &more).map(|dirs| (dirs.node, dirs.chunks.len()))
        };
        let (id, ..) = open(0, &[1]).unwrap();
        // In another order, without the first one, and with a new one.
        assert_eq!(open(1, &[0]).unwrap(), (id, 2));
        fs::remove_dir_all(&roots[0]).unwrap();
        assert_eq!(open(0, &[1]).unwrap(), (id, 2));
        let (other, ..) = open(2, &[]).unwrap();
        assert_ne!(other, id);
        assert!(matches!(open(0, &[2]), Err(ServerError::OtherNode { .. })));
    }

    #[test]
    fn a_directory_whose_disk_fails_is_left_out() {
        let dir = private_dir();
        let (first, broken) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&broken, b"a file").unwrap();
        let data = DataDir::open(&first).unwrap();
        let dirs = ChunkDirs::open(&data, &[broken]).unwrap();
        assert_eq!(dirs.chunks, [first.join("chunks")]);
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
