//! The reader: what a program does with a tree, one kind of call at a time, in one thread.
//!
//! It calls the kernel with as little around it as Rust allows, because both sides pay for what
//! it does itself. It runs in a process of its own, so that it starts clean and inherits its
//! CPUs: `bench read-tree DIR` prints one [`Times`] as JSON.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, lstat, open, openat};
use serde::{Deserialize, Serialize};

use crate::samples::Samples;

/// Most files fit into one read.
const BUFFER_LEN: usize = 128 * 1024;

/// Seconds of each pass, and what it met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Listing every directory, without a look at the entries.
    pub(crate) walk: f64,
    /// `lstat` of every entry.
    pub(crate) stat: f64,
    /// `open` and `close` of every file.
    pub(crate) open: f64,
    /// `open`, `fstat`, `read` to the end and `close` of every file.
    pub(crate) read: f64,
    /// Names in the tree.
    pub(crate) entries: u64,
    /// Bytes in its files.
    pub(crate) bytes: u64,
}

impl Times {
    /// Returns all four passes together.
    pub(crate) fn sum(&self) -> f64 {
        self.walk + self.stat + self.open + self.read
    }
}

/// Runs the passes over `root`: first `warm_ups` times without looking at the clock, then
/// `repeats` times, of which each pass reports the median.
pub(crate) fn measure(root: &Path, warm_ups: u32, repeats: u32) -> anyhow::Result<Times> {
    for _ in 0..warm_ups {
        all_passes(root)?;
    }
    let all = (0..repeats)
        .map(|_| all_passes(root))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let last = all.last().context("no repeats")?;
    let median = |pass: fn(&Times) -> f64| all.iter().map(pass).collect::<Samples>().median();
    Ok(Times {
        walk: median(|times| times.walk),
        stat: median(|times| times.stat),
        open: median(|times| times.open),
        read: median(|times| times.read),
        ..*last
    })
}

/// Walks and reads the tree once, as a program that needs all of it for the first time.
pub(crate) fn read_once(root: &Path) -> anyhow::Result<Times> {
    let mut times = Times::default();
    let tree = timed(&mut times.walk, || Tree::walk(root))?;
    times.entries = tree.entries.len() as u64;
    times.bytes = timed(&mut times.read, || tree.read_all())?;
    Ok(times)
}

fn all_passes(root: &Path) -> anyhow::Result<Times> {
    let mut times = Times::default();
    let tree = timed(&mut times.walk, || Tree::walk(root))?;
    times.entries = tree.entries.len() as u64;
    timed(&mut times.stat, || tree.stat_all())?;
    timed(&mut times.open, || tree.open_all())?;
    times.bytes = timed(&mut times.read, || tree.read_all())?;
    Ok(times)
}

fn timed<T>(seconds: &mut f64, pass: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let started = Instant::now();
    let result = pass();
    *seconds = started.elapsed().as_secs_f64();
    result
}

/// The names of a tree, in the order of its directories.
#[derive(Debug, Default)]
struct Tree {
    entries: Vec<CString>,
    /// Those of the entries that are regular files.
    files: Vec<CString>,
}

impl Tree {
    fn walk(root: &Path) -> anyhow::Result<Self> {
        let mut tree = Self::default();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            open(root, flags, Mode::empty()).with_context(|| format!("open {}", root.display()))?;
        let mut path = root.as_os_str().as_bytes().to_vec();
        tree.directory(&directory, &mut path)?;
        Ok(tree)
    }

    fn directory(&mut self, directory: &OwnedFd, path: &mut Vec<u8>) -> anyhow::Result<()> {
        let mut below = Vec::new();
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let full = joined(path, name)?;
            match entry.file_type() {
                FileType::Directory => below.push(name.to_owned()),
                FileType::RegularFile => self.files.push(full.clone()),
                _ => {}
            }
            self.entries.push(full);
        }
        for name in below {
            let child = open_directory(directory.as_fd(), &name)?;
            let len = path.len();
            path.push(b'/');
            path.extend_from_slice(name.to_bytes());
            self.directory(&child, path)?;
            path.truncate(len);
        }
        Ok(())
    }

    fn stat_all(&self) -> anyhow::Result<()> {
        for path in &self.entries {
            lstat(path.as_c_str()).with_context(|| format!("stat {path:?}"))?;
        }
        Ok(())
    }

    fn open_all(&self) -> anyhow::Result<()> {
        for path in &self.files {
            drop(open_file(path)?);
        }
        Ok(())
    }

    fn read_all(&self) -> anyhow::Result<u64> {
        let mut buffer = vec![0; BUFFER_LEN];
        let mut total = 0;
        for path in &self.files {
            total += read_file(path, &mut buffer).with_context(|| format!("read {path:?}"))?;
        }
        Ok(total)
    }
}

fn joined(path: &[u8], name: &CStr) -> anyhow::Result<CString> {
    let mut full = Vec::with_capacity(path.len() + name.count_bytes() + 2);
    full.extend_from_slice(path);
    full.push(b'/');
    full.extend_from_slice(name.to_bytes());
    Ok(CString::new(full)?)
}

fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).with_context(|| format!("open {name:?}"))
}

fn open_file(path: &CStr) -> anyhow::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).with_context(|| format!("open {path:?}"))
}

fn read_file(path: &CStr, buffer: &mut [u8]) -> anyhow::Result<u64> {
    let file = open_file(path)?;
    let size = u64::try_from(fstat(&file)?.st_size)?;
    let mut total = 0;
    loop {
        match rustix::io::read(&file, &mut *buffer)? {
            0 => break,
            len => total += len as u64,
        }
    }
    anyhow::ensure!(total == size, "{total} bytes of {size}");
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::tempdir::TempDir;
    use lfsfs_testkit::tree::TreeSpec;

    #[test]
    fn the_passes_meet_every_entry_and_every_byte() {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("tree");
        let made = TreeSpec::app(300).generate(&root).unwrap();
        let times = measure(&root, 1, 2).unwrap();
        assert_eq!((times.entries, times.bytes), (made.entries(), made.bytes));
        assert!(times.walk > 0.0 && times.stat > 0.0 && times.open > 0.0 && times.read > 0.0);
        let once = read_once(&root).unwrap();
        assert_eq!((once.entries, once.bytes), (made.entries(), made.bytes));
        assert!(measure(&dir.path().join("missing"), 0, 1).is_err());
    }
}
