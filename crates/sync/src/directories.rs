//! The directories of an import: all that were found can be used, few are open at once.
//!
//! A handle stays good when its directory moves, a path does not. So the last that were used stay
//! open, as many as the process may have, and one that was closed is opened again by its path below
//! the root, without following a link. Where numbers of inodes can be trusted it must be the same
//! directory.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_types::ObjectPath;
use lru::LruCache;
use rustix::fs::ResolveFlags;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::failure::Failure;
use crate::local::{self, DirHandle, FileIdentity, LocalStat};
use crate::problems::Reason;

/// Of the descriptors that the process may have, one in so many is for directories.
const SHARE: u64 = 4;
/// More are not needed, whatever the limit is.
const OPEN_MAX: u64 = 4096;
const OPEN_MIN: NonZeroUsize = NonZeroUsize::MIN;

/// A directory that was found. Its handle may be closed meanwhile.
#[derive(Debug)]
pub(crate) struct FoundDir {
    number: u64,
    identity: FileIdentity,
    pub(crate) path: ObjectPath,
}

/// The directories of one import.
#[derive(Debug)]
pub(crate) struct Directories {
    root: DirHandle,
    has_true_numbers: bool,
    open: Mutex<LruCache<u64, DirHandle>>,
    next: AtomicU64,
}

impl Directories {
    /// Takes the directory to import.
    pub(crate) fn new(root: DirHandle) -> Self {
        Self::with_open_max(root, open_max())
    }

    fn with_open_max(root: DirHandle, open_max: NonZeroUsize) -> Self {
        Self {
            has_true_numbers: local::has_true_numbers(&root),
            root,
            open: Mutex::new(LruCache::new(open_max)),
            next: AtomicU64::new(0),
        }
    }

    /// Returns true if the inode numbers of the directory's file system name one file each.
    pub(crate) const fn has_true_numbers(&self) -> bool {
        self.has_true_numbers
    }

    /// Adds a directory that was opened.
    pub(crate) fn add(
        &self,
        path: ObjectPath,
        stat: &LocalStat,
        handle: DirHandle,
    ) -> Arc<FoundDir> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.kept().put(number, handle);
        let identity = stat.identity();
        Arc::new(FoundDir {
            number,
            identity,
            path,
        })
    }

    /// Returns a handle of a directory, opening it again where it was closed.
    pub(crate) fn open(&self, dir: &FoundDir) -> Result<DirHandle, Failure> {
        if let Some(handle) = self.kept().get(&dir.number) {
            return Ok(Arc::clone(handle));
        }
        let handle = match local::open_below(&self.root, &dir.path, ResolveFlags::empty()) {
            Err(Errno::NOENT) => return Err(Reason::Gone.into()),
            opened => opened?,
        };
        if self.has_true_numbers && local::stat(&handle)?.identity() != dir.identity {
            return Err(Reason::Changing.into());
        }
        self.kept().put(dir.number, Arc::clone(&handle));
        Ok(handle)
    }

    /// Returns true if there is an entry at a path, to which no link leads.
    pub(crate) fn has(&self, path: &ObjectPath) -> bool {
        let Some((dir, name)) = path.split_last() else {
            return true;
        };
        let dir = local::open_below(&self.root, &dir, ResolveFlags::NO_XDEV);
        dir.is_ok_and(|dir| matches!(local::stat_entry(&dir, &name), Ok(Some(_))))
    }

    fn kept(&self) -> MutexGuard<'_, LruCache<u64, DirHandle>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_max() -> NonZeroUsize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = usize::try_from((limit / SHARE).min(OPEN_MAX)).unwrap_or(1);
    NonZeroUsize::new(count).unwrap_or(OPEN_MIN)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn path(text: &str) -> ObjectPath {
        ObjectPath::new(text.as_bytes()).expect("a path")
    }

    /// Returns the directories of `root` with room for one, `a/b` among them, closed by another.
    fn closed(root: &Path) -> (Directories, Arc<FoundDir>) {
        fs::create_dir_all(root.join("a/b")).expect("directories");
        let handle = local::open_root(root).expect("a directory");
        let directories = Directories::with_open_max(Arc::clone(&handle), OPEN_MIN);
        let found = local::open_below(&handle, &path("a/b"), ResolveFlags::empty());
        let found = found.expect("a directory");
        let stat = local::stat(&found).expect("attributes");
        let dir = directories.add(path("a/b"), &stat, found);
        let root_stat = local::stat(&handle).expect("attributes");
        let _ = directories.add(ObjectPath::ROOT, &root_stat, handle);
        (directories, dir)
    }

    #[test]
    fn a_closed_directory_is_opened_again() {
        let root = tempfile::tempdir().expect("a directory");
        let (directories, dir) = closed(root.path());
        fs::write(root.path().join("a/b/in"), "bytes").expect("a file");
        let handle = directories.open(&dir).expect("a directory");
        let name = lfsfs_types::Name::new(b"in").expect("a name");
        assert!(matches!(local::stat_entry(&handle, &name), Ok(Some(_))));
    }

    #[test]
    fn another_directory_at_its_place_is_not_taken_for_it() {
        let root = tempfile::tempdir().expect("a directory");
        let (directories, dir) = closed(root.path());
        rustix::fs::rename(root.path().join("a/b"), root.path().join("a/c")).expect("a rename");
        fs::create_dir(root.path().join("a/b")).expect("a directory");
        if directories.has_true_numbers() {
            let refused = directories.open(&dir);
            let is_changing = matches!(refused, Err(Failure::Entry(Reason::Changing)));
            assert!(is_changing, "{refused:?}");
        }
    }

    #[test]
    fn no_link_is_followed_on_the_way() {
        let root = tempfile::tempdir().expect("a directory");
        let (directories, dir) = closed(root.path());
        rustix::fs::rename(root.path().join("a"), root.path().join("c")).expect("a rename");
        symlink("c", root.path().join("a")).expect("a link");
        let refused = directories.open(&dir);
        assert!(matches!(refused, Err(Failure::Entry(_))), "{refused:?}");
    }
}
