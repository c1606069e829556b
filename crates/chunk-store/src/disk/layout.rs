//! Where files lie: docs/formats.md "Chunk store".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;
use lfsfs_common::durable::{
    create_dir_all_durable, is_temp_file_name, sync_dir, write_file_atomically,
};
use lfsfs_types::ChunkId;

use super::format_1;
use crate::ChunkStoreError;

/// What the file `format` says.
const FORMAT: &str = "lfsfs chunk store, format 2\n";

/// The paths below the directory of a store.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Prepares a directory, or checks one that was prepared before.
    pub(super) fn open(root: &Path) -> Result<Self, ChunkStoreError> {
        let layout = Self {
            root: root.to_owned(),
        };
        create_dir_all_durable(root)?;
        layout.check_format()?;
        layout.create_directories()?;
        create_dir_all_durable(&layout.temp())?;
        create_dir_all_durable(&layout.damaged())?;
        Ok(layout)
    }

    /// Checks a directory that must have been prepared, and changes nothing.
    pub(super) fn open_existing(root: &Path) -> Result<Self, ChunkStoreError> {
        let layout = Self {
            root: root.to_owned(),
        };
        layout.read_format()?;
        Ok(layout)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn temp(&self) -> PathBuf {
        self.root.join("temp")
    }

    fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// Returns where a chunk lies: `ab/` and its whole id.
    pub(super) fn chunk(&self, id: ChunkId) -> PathBuf {
        let hex = id.to_string();
        self.root.join(&hex[..2]).join(hex)
    }

    /// Creates the directories of the chunks. So no upload has to, which would wait for the disk.
    fn create_directories(&self) -> Result<(), PathError> {
        let there = prefixes(&self.root)?;
        let missing = |name: &String| there.binary_search(name).is_err();
        let missing: Vec<_> = all_prefixes().filter(missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        for name in missing {
            let dir = self.root.join(name);
            fs::create_dir(&dir).map_err(PathError::wrap("create", &dir))?;
        }
        sync_dir(&self.root)
    }

    /// Returns a path, free now, to which a damaged chunk can be moved.
    pub(super) fn free_damaged(&self, id: ChunkId) -> PathBuf {
        (0_u64..)
            .map(|number| self.damaged().join(format!("{id}.{number}")))
            .find(|path| !path.exists())
            .expect("2^64 files do not fit a directory")
    }

    /// Removes what a crash has left of unfinished uploads.
    pub(super) fn sweep(&self) -> Result<(), PathError> {
        let temp = self.temp();
        for entry in fs::read_dir(&temp).map_err(PathError::wrap("list", &temp))? {
            let entry = entry.map_err(PathError::wrap("list", &temp))?;
            if is_temp_file_name(&entry.file_name()) {
                let path = entry.path();
                fs::remove_file(&path).map_err(PathError::wrap("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Returns the ids above `after` in their order, `limit` at most.
    pub(super) fn list(
        &self,
        after: Option<ChunkId>,
        limit: usize,
    ) -> Result<Vec<ChunkId>, PathError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let first = after.get(..2).unwrap_or_default();
        let mut ids = Vec::new();
        for prefix in prefixes(&self.root)?
            .iter()
            .filter(|it| it.as_str() >= first)
        {
            let mut found = chunk_ids(&self.root.join(prefix))?;
            found.retain(|id| after.is_empty() || id.to_string() > after);
            found.truncate(limit - ids.len());
            ids.append(&mut found);
            if ids.len() == limit {
                break;
            }
        }
        Ok(ids)
    }

    fn check_format(&self) -> Result<(), ChunkStoreError> {
        match self.read_format() {
            Err(ChunkStoreError::Io(error)) if error.is_not_found() => {
                self.check_empty()?;
                self.write_format()
            }
            Err(ChunkStoreError::OldFormat { .. }) => {
                format_1::flatten(&self.root)?;
                self.write_format()
            }
            answer => answer,
        }
    }

    fn write_format(&self) -> Result<(), ChunkStoreError> {
        Ok(write_file_atomically(&self.format(), FORMAT.as_bytes())?)
    }

    pub(super) fn read_format(&self) -> Result<(), ChunkStoreError> {
        let path = self.format();
        let found = fs::read(&path).map_err(PathError::wrap("read", &path))?;
        if found == FORMAT.as_bytes() {
            return Ok(());
        }
        if found == format_1::FORMAT.as_bytes() {
            return Err(ChunkStoreError::OldFormat { path });
        }
        Err(self.wrong_format(&found))
    }

    /// Makes sure that a directory without a format file has no files of another program.
    fn check_empty(&self) -> Result<(), ChunkStoreError> {
        let entries = fs::read_dir(&self.root).map_err(PathError::wrap("list", &self.root))?;
        for entry in entries {
            let name = entry
                .map_err(PathError::wrap("list", &self.root))?
                .file_name();
            if !is_temp_file_name(&name) {
                return Err(self.wrong_format(b"other files"));
            }
        }
        Ok(())
    }

    fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    fn wrong_format(&self, found: &[u8]) -> ChunkStoreError {
        ChunkStoreError::Format {
            path: self.format(),
            found: String::from_utf8_lossy(&found[..found.len().min(100)]).into_owned(),
            expected: FORMAT,
        }
    }
}

fn all_prefixes() -> impl Iterator<Item = String> {
    (0..=u8::MAX).map(|byte| format!("{byte:02x}"))
}

/// Returns the names of two hexadecimal digits in a directory, in order.
pub(super) fn prefixes(dir: &Path) -> Result<Vec<String>, PathError> {
    let mut names = names(dir)?;
    names.retain(|name| is_hex(name, 2));
    names.sort();
    Ok(names)
}

/// Returns the chunks that lie in a directory, in order.
pub(super) fn chunk_ids(dir: &Path) -> Result<Vec<ChunkId>, PathError> {
    let mut names = names(dir)?;
    names.retain(|name| is_hex(name, 2 * ChunkId::LEN));
    names.sort();
    let ids = names.iter();
    Ok(ids
        .filter_map(|name| ChunkId::try_from_hex(name).ok())
        .collect())
}

fn is_hex(name: &str, len: usize) -> bool {
    name.len() == len && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the names in a directory; one that is not there has none.
fn names(dir: &Path) -> Result<Vec<String>, PathError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PathError::new("list", dir, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(PathError::wrap("list", dir))?.file_name();
        names.extend(name.into_string());
    }
    Ok(names)
}
