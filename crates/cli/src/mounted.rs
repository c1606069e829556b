//! The mounts that paths lie in, and what those paths are there.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use lfsfs_mount::mountinfo::{self, MountEntry};
use lfsfs_mount::{Mount, MountOptions, MountState, MountStatus, Places, VersionInfo, find_mount};
use lfsfs_types::ObjectPath;
use rustix::io::Errno;

use crate::error::CommandError;

/// A path in a mount. What it names need not be there any more.
#[derive(Debug)]
pub(crate) struct MountedPath {
    pub(crate) mount: Mount,
    /// The path from the root of the mounted version.
    pub(crate) path: ObjectPath,
}

/// Returns the places of this machine that commands look at.
pub(crate) fn places() -> Result<Places, CommandError> {
    Ok(Places::find(&MountOptions::default())?)
}

/// Finds the mount that a path lies in. Links are followed on the way to the last name, never
/// through it.
pub(crate) fn locate(path: &Path) -> Result<MountedPath, CommandError> {
    let (around, below) = split(path)?;
    let mount = find_mount(&around, &places()?)?;
    let seen = around
        .strip_prefix(&mount.entry.dir)
        .unwrap_or(Path::new(""));
    // A bind mount shows a directory of the version as its root.
    let shown = mount.entry.root.strip_prefix("/");
    let path = shown.unwrap_or(Path::new("")).join(seen).join(below);
    let path = ObjectPath::new(path.as_os_str().as_bytes())?;
    Ok(MountedPath { mount, path })
}

/// Returns true if a path is a mount of another user: the kernel shows nothing of it to this
/// process, not even as root.
fn is_closed(error: &io::Error, path: &Path) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        && mountinfo::read()
            .is_ok_and(|mounts| mountinfo::topmost(&mounts, path).is_some_and(MountEntry::is_ours))
}

/// Splits a path into a directory that is there, without links in it, and what follows.
fn split(path: &Path) -> Result<(PathBuf, PathBuf), CommandError> {
    let mut around = std::path::absolute(path)?;
    let mut below: Vec<OsString> = Vec::new();
    // The last name may be a link that is meant itself; those before it are only ways.
    let mut found = around.symlink_metadata();
    while !is_directory(found, &around)? {
        match around.components().next_back() {
            Some(Component::Normal(name)) => below.push(name.to_owned()),
            _ => {
                let path = path.display();
                return Err(CommandError::failed(format!(
                    "there is no directory on the way to {path}"
                )));
            }
        }
        around.pop();
        found = around.metadata();
    }
    let around = match around.canonicalize() {
        // A dead mount answers nothing, but its directory has a name.
        Err(error) if is_dead(&error) || is_closed(&error, &around) => around,
        canonical => canonical?,
    };
    Ok((around, below.iter().rev().collect()))
}

fn is_directory(found: io::Result<Metadata>, path: &Path) -> Result<bool, CommandError> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match found {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if is_dead(&error) || is_closed(&error, path) => Ok(true),
        // Something in such a mount: the directory is further up.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(false),
        Err(error) => Err(CommandError::failed(format!("{}: {error}", path.display()))),
    }
}

fn is_dead(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error())
}

/// Returns what the process of a mount says of itself, or why it says nothing.
pub(crate) fn served(mount: &Mount) -> Result<&MountStatus, CommandError> {
    let dir = mount.entry.dir.display();
    match &mount.state {
        MountState::Served(status) => Ok(status),
        MountState::Dead => Err(
            CommandError::failed(format!("the mount at {dir} is dead")).hint(format!(
                "mount it again, or take it away with: lfsfs umount {dir}"
            )),
        ),
        MountState::Silent(silence) => Err(CommandError::failed(format!(
            "the process of the mount at {dir} does not answer: {silence}"
        ))),
    }
}

/// As [`served`], for what needs a mount that can be written.
pub(crate) fn served_writable(mount: &Mount) -> Result<&MountStatus, CommandError> {
    let status = served(mount)?;
    if status.mode == "rw" {
        return Ok(status);
    }
    let dir = mount.entry.dir.display();
    Err(CommandError::failed(format!("{dir} is mounted read-only"))
        .hint("mount it without the option ro to change it"))
}

/// Returns the version that a mount shows, as it is typed.
pub(crate) fn source(version: &VersionInfo) -> String {
    format!("{}@v{}", version.project, version.version)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn split_of(path: &Path) -> (PathBuf, PathBuf) {
        split(path).expect("a path")
    }

    #[test]
    fn links_are_followed_on_the_way_and_never_at_the_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().canonicalize().expect("a path");
        fs::create_dir(root.join("real")).expect("a directory");
        symlink("real", root.join("link")).expect("a link");
        assert_eq!(
            split_of(&root.join("link/gone")),
            (root.join("real"), "gone".into())
        );
        assert_eq!(split_of(&root.join("link")), (root.clone(), "link".into()));
        assert_eq!(
            split_of(&root.join("real/..")),
            (root.clone(), PathBuf::new())
        );
    }

    #[test]
    fn what_is_gone_has_the_path_that_it_had() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().canonicalize().expect("a path");
        fs::write(root.join("file"), "").expect("a file");
        assert_eq!(
            split_of(&root.join("a/b/c")),
            (root.clone(), "a/b/c".into())
        );
        assert_eq!(split_of(&root.join("file")), (root.clone(), "file".into()));
        assert!(split(&root.join("gone/../x")).is_err());
    }
}
