//! Where the changes of writable mounts are kept, and what to do when they cannot be had.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_common::PathError;
use lfsfs_common::clock::StampClock;
use lfsfs_overlay::{Durability, OverlayError, OverlayOptions};
use lfsfs_types::ProjectId;
use lfsfs_vfs::{BaseVersion, OverlayPlace, Vfs, VfsError};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use crate::control::MountStatus;
use crate::error::MountError;
use crate::mounts::{Address, MountState, list_mounts, status_at};
use crate::options::{Access, MountOptions};
use crate::places::Places;
use crate::request::MountRequest;
use crate::users::{self, Use};

/// Bytes of the hash of a directory in the name of an overlay.
const HASH_LEN: usize = 8;

/// Returns the directory of the overlay of a mount; `None` for a read-only one.
///
/// Without a name of its own it is that of the project at the directory, which is canonical: the
/// same command finds it again.
pub(crate) fn directory(
    options: &MountOptions,
    places: &Places,
    project: &ProjectId,
    dir: &Path,
) -> Option<PathBuf> {
    if options.access == Access::ReadOnly {
        return None;
    }
    let mut path = places.state.join("overlays");
    match &options.overlay {
        Some(name) => path.push(format!(
            "named-{}",
            String::from_utf8_lossy(name.as_bytes())
        )),
        None => path.push(format!("{project}-{}", hash(dir))),
    }
    Some(path)
}

fn hash(dir: &Path) -> String {
    let digest = Sha256::digest(dir.as_os_str().as_bytes());
    let bytes = digest.iter().take(HASH_LEN);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Opens what is served: the version, and above it the changes kept at `overlay`.
pub(crate) async fn open(
    base: BaseVersion,
    overlay: Option<PathBuf>,
    request: &MountRequest,
    places: &Places,
) -> Result<Arc<Vfs>, MountError> {
    let clock = Arc::new(StampClock);
    let Some(overlay) = overlay else {
        let opened = Vfs::read_only(base, clock);
        return Ok(Arc::new(opened.map_err(|error| failed(request, error))?));
    };
    make_parent(&overlay)?;
    let place = OverlayPlace {
        dir: overlay,
        options: OverlayOptions {
            durability: if request.options.volatile {
                Durability::Volatile
            } else {
                Durability::Synced
            },
            size_max: request.options.overlay_size,
            ..OverlayOptions::default()
        },
    };
    let project = base.snapshot().project.name.to_string();
    let source = match Vfs::open(base, place, clock).await {
        Ok(vfs) => return Ok(Arc::new(vfs)),
        Err(VfsError::Overlay { source }) => source,
        Err(error) => return Err(failed(request, error)),
    };
    Err(match &*source {
        OverlayError::OtherBase { found, .. } => MountError::OverlayOfOtherVersion {
            dir: request.dir.clone(),
            version: format!("{project}@{}", found.number),
        },
        OverlayError::InUse { path } => MountError::OverlayInUse {
            overlay: path.clone(),
            holder: holder(path.clone(), places.clone()).await,
        },
        _ => failed(request, VfsError::Overlay { source }),
    })
}

fn failed(request: &MountRequest, error: VfsError) -> MountError {
    MountError::Open {
        source_name: request.source_text().to_owned(),
        source: error.into(),
    }
}

/// Makes the directory that has all overlays. Others than the owner have no business there.
fn make_parent(overlay: &Path) -> Result<(), PathError> {
    let parent = overlay.parent().unwrap_or(Path::new("/"));
    let above = parent.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(above).map_err(PathError::wrap("create directory", above))?;
    match fs::DirBuilder::new().mode(0o700).create(parent) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(PathError::new("create directory", parent, error))
        }
        _ => Ok(()),
    }
}

/// Returns who has an overlay open, as far as the mounts of this machine tell.
async fn holder(overlay: PathBuf, places: Places) -> String {
    let find = move || {
        let mounts = list_mounts(&places).unwrap_or_default();
        let mounted = mounts.into_iter().find_map(|mount| match mount.state {
            MountState::Served(status) if status.overlay.as_ref() == Some(&overlay) => Some(
                format!("the mount at {} (process {})", status.dir, status.pid),
            ),
            _ => None,
        });
        mounted.or_else(|| unmounted_holder(&overlay, &places))
    };
    let found = spawn_blocking(find).await.ok().flatten();
    found.unwrap_or_else(|| "another process".to_owned())
}

/// Finds a mount that has the overlay and shows in no table of ours: it was unmounted, and is still
/// used.
fn unmounted_holder(overlay: &Path, places: &Places) -> Option<String> {
    let sockets = fs::read_dir(&places.run).ok()?.flatten();
    let address = |entry: fs::DirEntry| Address {
        socket: entry.path(),
        owner: None,
    };
    let statuses = sockets.filter_map(|entry| status_at(&address(entry)).ok());
    let mut holders = statuses.filter(|status| status.overlay.as_deref() == Some(overlay));
    let MountStatus {
        dir, pid, device, ..
    } = holders.next()?;
    let elsewhere = Use::elsewhere(device, Path::new(&dir));
    let users = if elsewhere.copies.is_empty() {
        users::named(
            users::users(device)
                .iter()
                .map(ToString::to_string)
                .collect(),
        )
    } else {
        elsewhere.in_use_by()
    };
    Some(format!(
        "process {pid}, whose mount at {dir} was unmounted and is still used by {}",
        if users.is_empty() {
            "others".to_owned()
        } else {
            users.join(", ")
        }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_of(list: &str, dir: &str) -> Option<PathBuf> {
        let options = MountOptions::parse([list]).unwrap();
        let places = Places {
            cache: "/c".into(),
            state: "/s".into(),
            run: "/r".into(),
        };
        directory(
            &options,
            &places,
            &ProjectId::from_slice(&[7; 16]).unwrap(),
            Path::new(dir),
        )
    }

    #[test]
    fn each_project_and_directory_has_its_own_overlay_and_names_are_apart() {
        let one = directory_of("", "/a").unwrap();
        assert!(one.starts_with("/s/overlays"));
        assert_eq!(directory_of("rw", "/a"), Some(one.clone()));
        assert_ne!(directory_of("", "/b"), Some(one));
        let named = directory_of("overlay=build", "/a");
        assert_eq!(named, Some("/s/overlays/named-build".into()));
        assert_eq!(directory_of("overlay=build", "/b"), named);
        assert_eq!(directory_of("ro,overlay=build", "/a"), None);
    }

    #[test]
    fn overlays_are_closed_to_other_users() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let overlay = dir.path().join("state/overlays/one");
        make_parent(&overlay).unwrap();
        make_parent(&overlay).unwrap();
        let mode = fs::metadata(overlay.parent().unwrap())
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o700);
    }
}
