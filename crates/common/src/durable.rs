//! File operations that survive power loss: the only place where files are renamed into being.
//!
//! A file is durable when its bytes *and* its directory entry have been synced. Callers that need
//! both use [`write_file_atomically`] or [`TempFile::persist`]; what can be fetched again (a cache)
//! uses [`TempFile::persist_without_sync`], which is atomic only.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::PathError;
use crate::random::random_bytes;

const TEMP_PREFIX: &str = ".tmp-";

/// Replaces the file at `path` by one with these bytes.
///
/// A process that opens `path`, at any time and after any crash, finds the old bytes or the new ones,
/// whole. On return the new ones are durable.
pub fn write_file_atomically(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let mut temp = TempFile::create_in(parent_of(path))?;
    temp.file_mut()
        .write_all(bytes)
        .map_err(PathError::wrap("write", path))?;
    temp.persist(path)?;
    Ok(())
}

/// Makes the entries of a directory durable: creations, renames and removals in it.
pub fn sync_dir(dir: &Path) -> Result<(), PathError> {
    let handle = File::open(dir).map_err(PathError::wrap("open directory", dir))?;
    handle
        .sync_all()
        .map_err(PathError::wrap("sync directory", dir))
}

/// Creates a directory and its missing ancestors, each durable in its parent on return.
///
/// A directory that exists already is left as it is.
pub fn create_dir_all_durable(dir: &Path) -> Result<(), PathError> {
    match fs::create_dir(dir) {
        Ok(()) => sync_dir(parent_of(dir)),
        Err(_) if dir.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = parent_of(dir);
            if parent == dir {
                return Err(PathError::new("create directory", dir, error));
            }
            create_dir_all_durable(parent)?;
            create_in_existing_parent(dir)
        }
        Err(error) => Err(PathError::new("create directory", dir, error)),
    }
}

/// Creates a directory that only its owner may look into, with its missing ancestors, each durable in
/// its parent on return. The ancestors get the usual mode.
///
/// A directory that exists already is left as it is: the caller decides whether its mode will do.
pub fn create_private_dir_durable(dir: &Path) -> Result<(), PathError> {
    let parent = parent_of(dir);
    if parent != dir {
        create_dir_all_durable(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => sync_dir(parent),
        Err(_) if dir.is_dir() => Ok(()),
        Err(error) => Err(PathError::new("create directory", dir, error)),
    }
}

/// Renames a file or directory, replacing what is at `to`; durable in both directories on return.
///
/// Only the entries are synced: bytes that must be durable under the new name were synced before.
pub fn rename_durably(from: &Path, to: &Path) -> Result<(), PathError> {
    rename(from, to)?;
    sync_dir(parent_of(to))?;
    if parent_of(from) != parent_of(to) {
        sync_dir(parent_of(from))?;
    }
    Ok(())
}

/// Moves a file; that is not durable before the caller has synced both directories, once for many files.
pub fn rename_without_sync(from: &Path, to: &Path) -> Result<(), PathError> {
    rename(from, to)
}

/// Removes a file; the removal is durable on return.
pub fn remove_file_durably(path: &Path) -> Result<(), PathError> {
    fs::remove_file(path).map_err(PathError::wrap("remove", path))?;
    sync_dir(parent_of(path))
}

/// Returns whether a [`TempFile`] could have this name.
///
/// A crash leaves temporary files behind; the owner of a directory uses this to sweep them while
/// it knows that no process writes there.
pub fn is_temp_file_name(name: &OsStr) -> bool {
    name.as_bytes().starts_with(TEMP_PREFIX.as_bytes())
}

/// A new file in the directory of its destination that removes itself unless it is persisted.
#[derive(Debug)]
pub struct TempFile {
    file: File,
    path: PathBuf,
    persisted: bool,
}

impl TempFile {
    /// Creates an empty file with a fresh name in `dir`, open for reading and writing.
    ///
    /// Only its owner may read it, whatever the umask: it may hold bytes of files that were private
    /// where they came from.
    pub fn create_in(dir: &Path) -> Result<Self, PathError> {
        let random = random_bytes().map_err(PathError::wrap("draw a file name in", dir))?;
        let name = format!("{TEMP_PREFIX}{:032x}", u128::from_be_bytes(random));
        let path = dir.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(PathError::wrap("create", &path))?;
        Ok(Self {
            file,
            path,
            persisted: false,
        })
    }

    /// Returns the open file.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Returns the open file for writing.
    pub const fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }

    /// Returns where the file lies until it is persisted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the bytes, moves the file to `destination` and syncs the directory.
    ///
    /// `destination` must be on the same file system; what was there is replaced. On an error
    /// before the move the file removes itself; an error after it (the directory could not be
    /// synced) leaves the file at its destination, whole but perhaps not durable.
    pub fn persist(self, destination: &Path) -> Result<File, PathError> {
        self.file
            .sync_all()
            .map_err(PathError::wrap("sync", &self.path))?;
        let file = self.persist_without_sync(destination)?;
        sync_dir(parent_of(destination))?;
        Ok(file)
    }

    /// Moves the file to `destination` at once but promises nothing over a power loss: after one,
    /// the file may be missing, short or zeroed. For bytes that are verified when they are read.
    pub fn persist_without_sync(mut self, destination: &Path) -> Result<File, PathError> {
        let file = self
            .file
            .try_clone()
            .map_err(PathError::wrap("duplicate", &self.path))?;
        rename(&self.path, destination)?;
        self.persisted = true;
        Ok(file)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if self.persisted {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a temporary file");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the syncs around it are"
)]
fn rename(from: &Path, to: &Path) -> Result<(), PathError> {
    fs::rename(from, to).map_err(PathError::wrap("rename a file to", to))
}

/// Creates `dir`, whose parent exists; another process may have created it meanwhile.
fn create_in_existing_parent(dir: &Path) -> Result<(), PathError> {
    match fs::create_dir(dir) {
        Ok(()) => sync_dir(parent_of(dir)),
        Err(_) if dir.is_dir() => Ok(()),
        Err(error) => Err(PathError::new("create directory", dir, error)),
    }
}

/// Returns the directory that holds the entry of `path`; `.` for a bare name, `/` for the root.
pub fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        None => path,
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head");

        write_file_atomically(&path, b"one").unwrap();
        write_file_atomically(&path, b"two").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names_in(dir.path()), ["head"]);
    }

    #[test]
    fn only_the_owner_may_read_what_is_written_and_what_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("above/private");
        create_private_dir_durable(&private).unwrap();
        create_private_dir_durable(&private).unwrap();
        write_file_atomically(&private.join("file"), b"bytes").unwrap();
        assert_eq!(
            (mode(&private), mode(&private.join("file"))),
            (0o700, 0o600)
        );
    }

    #[test]
    fn a_reader_of_the_old_file_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("head");
        write_file_atomically(&path, b"old").unwrap();
        let old = File::open(&path).unwrap();

        write_file_atomically(&path, b"new, and longer").unwrap();

        assert_eq!(io::read_to_string(old).unwrap(), "old");
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_state_and_names_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();

        let error = write_file_atomically(&path, b"bytes").unwrap_err();

        assert_eq!(error.path, path);
        assert_eq!(names_in(dir.path()), ["taken"]);
    }

    #[test]
    fn a_temporary_file_removes_itself_unless_persisted() {
        let dir = tempfile::tempdir().unwrap();
        let dropped = TempFile::create_in(dir.path()).unwrap();
        assert!(is_temp_file_name(dropped.path().file_name().unwrap()));
        drop(dropped);
        assert_eq!(names_in(dir.path()), Vec::<String>::new());

        let mut kept = TempFile::create_in(dir.path()).unwrap();
        kept.file_mut().write_all(b"bytes").unwrap();
        kept.persist_without_sync(&dir.path().join("kept")).unwrap();
        assert_eq!(names_in(dir.path()), ["kept"]);
        assert!(!is_temp_file_name(OsStr::new("kept")));
    }

    #[test]
    fn directories_are_created_with_their_ancestors_and_again_without_complaint() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");

        create_dir_all_durable(&deep).unwrap();
        create_dir_all_durable(&deep).unwrap();

        assert!(deep.is_dir());
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();

        let error = create_dir_all_durable(&file).unwrap_err();
        assert_eq!(
            (error.path.as_path(), error.kind()),
            (&*file, io::ErrorKind::AlreadyExists)
        );

        let below = create_dir_all_durable(&file.join("below")).unwrap_err();
        assert_eq!(below.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn files_are_moved_between_directories_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        create_dir_all_durable(&from).unwrap();
        create_dir_all_durable(&to).unwrap();
        write_file_atomically(&from.join("file"), b"bytes").unwrap();

        rename_durably(&from.join("file"), &to.join("file")).unwrap();
        assert_eq!(
            (names_in(&from).len(), fs::read(to.join("file")).unwrap()),
            (0, b"bytes".to_vec())
        );

        remove_file_durably(&to.join("file")).unwrap();
        assert!(
            remove_file_durably(&to.join("file"))
                .unwrap_err()
                .is_not_found()
        );
    }

    #[test]
    fn a_missing_directory_cannot_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            sync_dir(&dir.path().join("absent"))
                .unwrap_err()
                .is_not_found()
        );
    }

    #[test]
    fn bare_names_lie_in_the_working_directory() {
        assert_eq!(parent_of(Path::new("name")), Path::new("."));
        assert_eq!(parent_of(Path::new("/name")), Path::new("/"));
        assert_eq!(parent_of(Path::new("/")), Path::new("/"));
    }
}
