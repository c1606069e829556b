//! What is mounted inside a mount, where a switch would take it away.
//!
//! When the kernel drops a name, it silently detaches what is mounted on or below it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use lfsfs_remote::ChangedName;
use lfsfs_types::ObjectPath;
use tracing::warn;

use crate::mountinfo;

/// Returns what is mounted in the mount at `dir`, by paths in it.
pub(crate) fn inside(dir: &Path) -> Vec<PathBuf> {
    let mounts = mountinfo::read().unwrap_or_else(|error| {
        warn!(%error, "cannot read the mount table; nothing is known of mounts inside");
        Vec::new()
    });
    let points = mounts.iter().map(|mount| &mount.dir);
    points
        .filter(|point| *point != dir)
        .filter_map(|point| Some(point.strip_prefix(dir).ok()?.to_owned()))
        .collect()
}

/// Returns true if a mount point is this name, before or after its change, or lies below it.
pub(crate) fn covers(name: &ChangedName, below: &Path) -> bool {
    let covers = |path: &ObjectPath| {
        // The root itself is no name that is dropped.
        !path.is_root()
            && below.starts_with(Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())))
    };
    [&name.old, &name.new].into_iter().flatten().any(covers)
}

#[cfg(test)]
mod tests {
    use lfsfs_types::{DirId, Name};

    use super::*;

    fn changed(old: Option<&str>, new: Option<&str>) -> ChangedName {
        let path = |path: &str| ObjectPath::new(path.as_bytes()).unwrap();
        ChangedName {
            dir: DirId::ROOT,
            name: Name::new(b"any").ok(),
            old: old.map(path),
            new: new.map(path),
        }
    }

    #[test]
    fn mounts_on_and_below_a_name_are_in_the_way() {
        let below = Path::new("a/b");
        for path in ["a", "a/b"] {
            assert!(covers(&changed(Some(path), None), below), "{path}");
            assert!(covers(&changed(None, Some(path)), below), "{path}");
        }
        for path in ["a/bc", "a/b/c", "b", ""] {
            assert!(!covers(&changed(Some(path), Some(path)), below), "{path}");
        }
    }
}
