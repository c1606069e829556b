//! The file of this machine that becomes a version.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::PutError;
use crate::local::{self, LocalStat};

/// A regular file that was opened.
#[derive(Debug)]
pub(super) struct LocalFile {
    pub(super) file: File,
    /// What it was before it was read.
    pub(super) stat: LocalStat,
    path: PathBuf,
    name: String,
}

impl LocalFile {
    /// Opens a file, through symbolic links. A pipe is no file, and the caller does not wait for its
    /// other end.
    pub(super) fn open(path: PathBuf) -> Result<Self, PutError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).map(File::from);
        let file = file.map_err(failed(&path))?;
        let stat = local::stat(&file).map_err(failed(&path))?;
        match stat.kind {
            FileType::RegularFile => {}
            FileType::Directory => return Err(PutError::LocalDirectory { path }),
            _ => return Err(PutError::NotRegular { path }),
        }
        Ok(Self {
            file,
            stat,
            name: path.display().to_string(),
            path,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Fails if another program may have written to it since it was opened, or if it does not have as many
    /// bytes as were read.
    pub(super) fn check_unchanged(&self, read: u64) -> Result<(), PutError> {
        let now = local::stat(&self.file).map_err(failed(&self.path))?;
        if now.untouched_since(&self.stat) && now.size == read {
            return Ok(());
        }
        let path = self.path.clone();
        Err(PutError::Changed { path })
    }
}

fn failed(path: &Path) -> impl FnOnce(Errno) -> PutError {
    let path = path.to_owned();
    move |error| PutError::Open {
        path,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_another_program_writes_to_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "before").expect("a file");
        let local = LocalFile::open(path.clone()).expect("a file");
        local.check_unchanged(6).expect("nothing changed");
        let short = local.check_unchanged(5);
        assert!(matches!(short, Err(PutError::Changed { .. })), "{short:?}");
        let mut writer = fs::OpenOptions::new().append(true).open(&path);
        let writer = writer.as_mut().expect("a file");
        writer.write_all(b" and after").expect("bytes");
        let changed = local.check_unchanged(6);
        assert!(
            matches!(changed, Err(PutError::Changed { .. })),
            "{changed:?}"
        );
    }

    #[test]
    fn only_a_regular_file_is_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |path: &Path| LocalFile::open(path.to_owned()).expect_err("no file");
        assert!(matches!(open(dir.path()), PutError::LocalDirectory { .. }));
        assert!(matches!(
            open(Path::new("/dev/null")),
            PutError::NotRegular { .. }
        ));
        let absent = open(&dir.path().join("absent"));
        assert!(matches!(absent, PutError::Open { .. }), "{absent:?}");
    }
}
