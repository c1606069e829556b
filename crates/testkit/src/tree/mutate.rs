//! Random changes to an existing tree, for a second import.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rand::{Rng, RngExt, SeedableRng};

use super::Random;
use crate::directory::Directory;

/// Paths longer than this stay as they are: plain system calls cannot reach them.
const PATH_BYTES_MAX: usize = 3_000;

/// One change that was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// What changed, relative to the root of the tree.
    pub path: PathBuf,
    /// How it changed.
    pub kind: ChangeKind,
}

/// How an object changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Some bytes of a file are others, or it grew, or it shrank.
    Edited,
    /// A new file, symlink or directory with a file.
    Added,
    /// Gone, with everything below it.
    Removed,
    /// Other permission bits.
    ModeChanged,
    /// A file, directory or symlink became another one of these three.
    TypeChanged,
    /// Has another name, also in another directory.
    Renamed {
        /// The new path, relative to the root of the tree.
        to: PathBuf,
    },
}

/// Makes `count` random changes below `dir`; the same tree and seed give the same changes.
///
/// A later change may touch what an earlier one made or removed.
///
/// # Errors
/// Fails where the tree is too small for so many changes.
pub fn mutate(dir: &Path, seed: u64, count: usize) -> anyhow::Result<Vec<Change>> {
    let mut paths = Vec::new();
    collect(&Directory::open(dir)?, Path::new(""), &mut paths)?;
    let random = Random::seed_from_u64(seed);
    let mut mutator = Mutator {
        dir,
        paths,
        random,
        next_name: 0,
    };
    let mut changes = Vec::new();
    for _ in 0..count * 100 {
        if changes.len() == count {
            break;
        }
        changes.extend(mutator.change()?);
    }
    ensure!(
        changes.len() == count,
        "{} is too small for {count} changes",
        dir.display()
    );
    Ok(changes)
}

fn collect(at: &Directory, path: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for (name, kind) in at.entries()? {
        let path = path.join(&name);
        if path.as_os_str().len() > PATH_BYTES_MAX {
            continue;
        }
        if kind.is_dir() {
            collect(&at.child(&name)?, &path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

struct Mutator<'a> {
    dir: &'a Path,
    paths: Vec<PathBuf>,
    random: Random,
    next_name: u32,
}

impl Mutator<'_> {
    /// Tries one change; none is made where the chosen object does not suit it.
    fn change(&mut self) -> anyhow::Result<Option<Change>> {
        if self.paths.is_empty() {
            return Ok(None);
        }
        let path = self.paths[self.random.random_range(0..self.paths.len())].clone();
        let full = self.dir.join(&path);
        let Ok(metadata) = full.symlink_metadata() else {
            return Ok(None);
        };
        let kind = match self.random.random_range(0..100) {
            0..40 if metadata.is_file() => self.edit(&full, metadata.len())?,
            40..60 if metadata.is_dir() => return self.add(&path).map(Some),
            60..70 if self.is_spare(&metadata, &full)? => self.remove(&path, &metadata)?,
            70..80 if !metadata.is_symlink() => self.change_mode(&full, &metadata)?,
            80..90 if self.is_spare(&metadata, &full)? => self.change_type(&path, &metadata)?,
            90..100 => self.rename(&path)?,
            _ => return Ok(None),
        };
        Ok(Some(Change { path, kind }))
    }

    /// A directory with many entries is not removed: one change would empty the tree.
    fn is_spare(&self, metadata: &fs::Metadata, full: &Path) -> anyhow::Result<bool> {
        Ok(!metadata.is_dir() || fs::read_dir(full)?.count() <= 3)
    }

    fn edit(&mut self, full: &Path, len: u64) -> anyhow::Result<ChangeKind> {
        let context = || format!("edit {}", full.display());
        let mut file = fs::OpenOptions::new()
            .write(true)
            .open(full)
            .with_context(context)?;
        let mut bytes = vec![0; self.random.random_range(1..200)];
        self.random.fill_bytes(&mut bytes);
        match self.random.random_range(0..3) {
            0 if len > 1 => file.set_len(len - self.random.random_range(1..=len / 2))?,
            1 => {
                file.seek(SeekFrom::End(0))?;
                file.write_all(&bytes)?;
            }
            _ => {
                file.seek(SeekFrom::Start(self.random.random_range(0..=len)))?;
                file.write_all(&bytes)?;
            }
        }
        Ok(ChangeKind::Edited)
    }

    fn add(&mut self, parent: &Path) -> anyhow::Result<Change> {
        let path = parent.join(self.new_name());
        let full = self.dir.join(&path);
        match self.random.random_range(0..5) {
            0 => symlink("../some/target", &full)?,
            1 => {
                fs::create_dir(&full)?;
                self.write_new(&full.join("file"))?;
                self.paths.push(path.join("file"));
            }
            _ => self.write_new(&full)?,
        }
        self.paths.push(path.clone());
        Ok(Change {
            path,
            kind: ChangeKind::Added,
        })
    }

    fn remove(&mut self, path: &Path, metadata: &fs::Metadata) -> anyhow::Result<ChangeKind> {
        let full = self.dir.join(path);
        if metadata.is_dir() {
            fs::remove_dir_all(&full).with_context(|| format!("remove {}", full.display()))?;
        } else {
            fs::remove_file(&full).with_context(|| format!("remove {}", full.display()))?;
        }
        self.paths.retain(|other| !other.starts_with(path));
        Ok(ChangeKind::Removed)
    }

    fn change_mode(&mut self, full: &Path, metadata: &fs::Metadata) -> anyhow::Result<ChangeKind> {
        let bit = [0o100, 0o010, 0o001, 0o020, 0o004][self.random.random_range(0..5)];
        let mode = (metadata.permissions().mode() & 0o7777) ^ bit;
        // Without this root's own directories could become closed to the tests of other users.
        let mode = if metadata.is_dir() {
            mode | 0o700
        } else {
            mode
        };
        fs::set_permissions(full, fs::Permissions::from_mode(mode))?;
        Ok(ChangeKind::ModeChanged)
    }

    fn change_type(&mut self, path: &Path, metadata: &fs::Metadata) -> anyhow::Result<ChangeKind> {
        self.remove(path, metadata)?;
        let full = self.dir.join(path);
        let to_directory = self.random.random_range(0..2) == 0;
        match (metadata.is_dir(), to_directory) {
            (false, true) => {
                fs::create_dir(&full)?;
                self.write_new(&full.join("file"))?;
            }
            (true, true) => self.write_new(&full)?,
            _ if metadata.is_symlink() => self.write_new(&full)?,
            _ => symlink("anywhere", &full)?,
        }
        self.paths.push(path.to_owned());
        Ok(ChangeKind::TypeChanged)
    }

    fn rename(&mut self, path: &Path) -> anyhow::Result<ChangeKind> {
        let sibling = self.paths[self.random.random_range(0..self.paths.len())].clone();
        let mut parent = sibling.parent().unwrap_or(Path::new("")).to_owned();
        if parent.starts_with(path) {
            parent = path.parent().unwrap_or(Path::new("")).to_owned();
        }
        let to = parent.join(self.new_name());
        rustix::fs::rename(self.dir.join(path), self.dir.join(&to))
            .with_context(|| format!("rename {} to {}", path.display(), to.display()))?;
        for other in &mut self.paths {
            if let Ok(rest) = other.strip_prefix(path) {
                // Joining an empty rest would append a slash.
                *other = if rest.as_os_str().is_empty() {
                    to.clone()
                } else {
                    to.join(rest)
                };
            }
        }
        Ok(ChangeKind::Renamed { to })
    }

    fn new_name(&mut self) -> String {
        self.next_name += 1;
        format!(
            "changed-{}-{:08x}",
            self.next_name,
            self.random.random::<u32>()
        )
    }

    fn write_new(&mut self, full: &Path) -> anyhow::Result<()> {
        let mut bytes = vec![0; self.random.random_range(0..5_000)];
        self.random.fill_bytes(&mut bytes);
        fs::write(full, bytes).with_context(|| format!("write {}", full.display()))
    }
}
