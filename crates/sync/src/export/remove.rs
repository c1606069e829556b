//! Removing a directory with all that is below it, however deep, with few open descriptors.
//!
//! No link is followed. A directory without the right to change it is given that right first, where
//! it is ours.

use lfsfs_types::Name;
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::local::DirHandle;

/// A directory on the way down: its path below the top, and the directories in it that are left.
struct Level {
    path: Vec<u8>,
    names: Vec<Name>,
}

/// Removes a directory in another with all that is below it.
pub(crate) fn remove_directory(parent: &DirHandle, name: &Name) -> Result<(), Errno> {
    let top = open(parent, name.as_bytes())?.into();
    remove_below(&top)?;
    fs::unlinkat(parent, name.as_bytes(), AtFlags::REMOVEDIR)
}

/// Removes everything below a directory.
pub(crate) fn remove_below(top: &DirHandle) -> Result<(), Errno> {
    let mut levels = vec![empty(top, Vec::new())?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            let path = levels.pop().map(|level| level.path).unwrap_or_default();
            if !path.is_empty() {
                fs::unlinkat(&open_above(top, &path)?, last(&path), AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        let path = joined(&level.path, name.as_bytes());
        levels.push(empty(top, path)?);
    }
    Ok(())
}

/// Removes what is in a directory but for directories, and returns those.
fn empty(top: &DirHandle, path: Vec<u8>) -> Result<Level, Errno> {
    let dir = open(top, if path.is_empty() { b"." } else { &path })?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        // Only "." and ".." are no names of entries.
        let Ok(name) = Name::new(entry.file_name().to_bytes()) else {
            continue;
        };
        if is_directory(&dir, &name, entry.file_type())? {
            names.push(name);
        } else {
            fs::unlinkat(&dir, name.as_bytes(), AtFlags::empty())?;
        }
    }
    Ok(Level { path, names })
}

fn is_directory(dir: &impl std::os::fd::AsFd, name: &Name, kind: FileType) -> Result<bool, Errno> {
    if kind != FileType::Unknown {
        return Ok(kind == FileType::Directory);
    }
    let stat = fs::statat(dir, name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn open_above(top: &DirHandle, path: &[u8]) -> Result<std::os::fd::OwnedFd, Errno> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => open(top, &path[..slash]),
        None => open(top, b"."),
    }
}

/// Opens a directory to be emptied.
fn open(top: &DirHandle, path: &[u8]) -> Result<std::os::fd::OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let open_for = |flags| {
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        loop {
            match fs::openat2(top, path, flags, Mode::empty(), resolve) {
                // Something was renamed while the way was looked for.
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
    };
    let is_root = rustix::process::geteuid().is_root();
    if !is_root && path != b"." {
        let found = open_for(OFlags::PATH)?;
        let mode = Mode::from_raw_mode(fs::fstat(&found)?.st_mode);
        if !mode.contains(Mode::RWXU) {
            // If the right cannot be given, the open below fails and says so.
            let place = format!(
                "/proc/self/fd/{}/.",
                std::os::fd::AsRawFd::as_raw_fd(&found)
            );
            let _ = fs::chmodat(fs::CWD, place, mode | Mode::RWXU, AtFlags::empty());
        }
    }
    open_for(OFlags::RDONLY)
}

fn joined(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return name.to_vec();
    }
    [path, b"/", name].concat()
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::local::open_root;

    #[test]
    fn all_that_is_below_goes_and_nothing_beside_it() {
        let scratch = tempfile::tempdir().expect("a directory");
        let at = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(at("top/a/b")).expect("directories");
        std::fs::create_dir(at("top/c")).expect("a directory");
        std::fs::create_dir(at("beside")).expect("a directory");
        for name in ["top/one", "top/a/b/two", "beside/three"] {
            std::fs::write(at(name), name).expect("a file");
        }
        symlink(at("beside"), at("top/link")).expect("a link");
        let parent = open_root(scratch.path()).expect("a directory");
        let name = Name::new(b"top").expect("a name");
        remove_directory(&parent, &name).expect("it goes");
        assert!(!at("top").exists());
        assert!(at("beside/three").exists());
    }

    #[test]
    fn a_tree_deeper_than_there_are_descriptors_goes() {
        let scratch = tempfile::tempdir().expect("a directory");
        let root = open_root(scratch.path()).expect("a directory");
        let mut dir = DirHandle::clone(&root);
        let name = Name::new(b"d").expect("a name");
        // More would be more than a path can name.
        for _ in 0..2_000 {
            fs::mkdirat(&dir, name.as_bytes(), Mode::RWXU).expect("a directory");
            dir = crate::local::open_dir(&dir, &name).expect("a directory");
        }
        remove_below(&root).expect("it goes");
        assert_eq!(
            std::fs::read_dir(scratch.path())
                .expect("a directory")
                .count(),
            0
        );
    }
}
