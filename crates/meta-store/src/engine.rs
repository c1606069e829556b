//! The engines that keep rows in a directory, by name.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::counted::Counted;
use crate::directory::{FORMAT_FILE, FORMAT_WORD};
use crate::{MetaError, MetaStore, RedbStore, SledStore, redb_store, sled_store};

/// An engine that keeps rows in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// One file of redb; the default.
    Redb,
    /// A directory of sled.
    Sled,
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// Bytes of memory that pages may take.
    pub cache_bytes: usize,
    /// A store of more bytes is not checked before it opens; [`MetaStore::verify`] does that beside other
    /// calls. sled is always checked.
    pub check_max: u64,
    /// Whether flushes, and the end, wait for the disk. A scratch store need not survive the process.
    pub is_durable: bool,
}

impl OpenOptions {
    /// The options of a store that is made for this process alone.
    #[must_use]
    pub fn scratch() -> Self {
        Self {
            is_durable: false,
            ..Self::default()
        }
    }
}

impl Default for OpenOptions {
    /// 64 MiB of memory, and a check of all there is.
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            check_max: u64::MAX,
            is_durable: true,
        }
    }
}

/// There is no engine of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is no engine; there are redb and sled")]
pub struct UnknownEngine {
    /// The name.
    pub name: String,
}

impl Engine {
    /// All engines, the default first.
    pub const ALL: [Self; 2] = [Self::Redb, Self::Sled];

    /// Returns the name, which the format file of a store has.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redb => redb_store::ENGINE,
            Self::Sled => sled_store::ENGINE,
        }
    }

    /// Returns what the data of a store lies in, beside the files that every store has.
    fn data_name(self) -> &'static str {
        match self {
            Self::Redb => redb_store::ROWS_FILE,
            Self::Sled => sled_store::DATA_DIR,
        }
    }

    /// Returns the engine of the store in `dir`, or `None` if there is no store. One that this program
    /// does not know is an error.
    ///
    /// Without its format file a store is known by its data: its engine refuses it if there are rows.
    pub fn found_in(dir: &Path) -> Result<Option<Self>, MetaError> {
        let path = dir.join(FORMAT_FILE);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let has_data = |engine: &Self| dir.join(engine.data_name()).exists();
                return Ok(Self::ALL.into_iter().find(has_data));
            }
            Err(source) => {
                let act = "read";
                return Err(MetaError::Io { act, path, source });
            }
        };
        let name = text.strip_prefix(FORMAT_WORD).unwrap_or(&text);
        let name = name.split_whitespace().next().unwrap_or_default();
        name.parse().map(Some).map_err(|_| MetaError::Format {
            path: dir.to_owned(),
            found: text.trim().escape_debug().take(64).collect(),
            expected: format!("{FORMAT_WORD} {} or {}", Self::Redb, Self::Sled),
        })
    }

    /// Opens the store in `dir`, or creates it there if there is none. Its calls are counted.
    pub fn open(self, dir: &Path) -> Result<Arc<dyn MetaStore>, MetaError> {
        self.open_with(dir, OpenOptions::default())
    }

    /// As [`open`](Self::open), with other options than the default ones.
    pub fn open_with(
        self,
        dir: &Path,
        options: OpenOptions,
    ) -> Result<Arc<dyn MetaStore>, MetaError> {
        Ok(match self {
            Self::Redb => Arc::new(Counted::new(RedbStore::open_with(dir, options)?)),
            Self::Sled => Arc::new(Counted::new(SledStore::open_with(dir, options)?)),
        })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let found = Self::ALL.into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| UnknownEngine {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guarded::testing::one_row;

    #[test]
    fn a_store_is_found_by_its_format_file() {
        for engine in Engine::ALL {
            let dir = tempfile::tempdir().unwrap();
            assert_eq!(Engine::found_in(dir.path()).unwrap(), None);
            drop(engine.open(dir.path()).unwrap());
            assert_eq!(Engine::found_in(dir.path()).unwrap(), Some(engine));
            assert_eq!(engine.name().parse(), Ok(engine));
        }
    }

    #[test]
    fn a_store_without_its_format_file_is_refused_by_its_engine() {
        for engine in Engine::ALL {
            let dir = tempfile::tempdir().unwrap();
            let store = engine.open(dir.path()).unwrap();
            assert!(store.apply(one_row()).unwrap().is_done());
            drop(store);
            fs::remove_file(dir.path().join("format")).unwrap();
            let found = Engine::found_in(dir.path()).unwrap();
            assert_eq!(found, Some(engine));
            assert!(engine.open(dir.path()).unwrap_err().is_corrupt());
        }
    }

    #[test]
    fn the_store_of_an_unknown_engine_is_refused() {
        for text in ["lfsfs-meta-store other 1\n", "", "\u{fffd}sled"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("format"), text).unwrap();
            let error = Engine::found_in(dir.path()).unwrap_err();
            assert!(matches!(error, MetaError::Format { .. }), "{error}");
        }
    }
}
