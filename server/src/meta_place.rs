//! Where the metadata is kept: an engine and a directory.
//!
//! Without `--meta` it is the directory `meta` of the data directory, with the engine that its store was
//! made by; a new one is made by redb.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use lfsfs_common::PathError;
use lfsfs_common::durable::{create_private_dir_durable, sync_dir, write_file_atomically};
use lfsfs_meta_store::{CopyError, Engine, MetaStore, OpenOptions, UnknownEngine, copy};

use crate::error::ServerError;

/// Lies beside a store into which another one is being copied.
const COPYING_FILE: &str = "copying";

/// Lies beside a store into which a backup is being restored.
pub(crate) const RESTORING_FILE: &str = "restoring";

/// An engine and its directory, as `--meta` names them: `redb:DIR` or `sled:DIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaPlace {
    /// The engine.
    pub engine: Engine,
    /// The directory.
    pub dir: PathBuf,
}

/// A text that names no place of metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaPlaceError {
    /// It has no engine, or no directory.
    #[error("give an engine and its directory: redb:DIR or sled:DIR")]
    Form,
    /// The engine is not known.
    #[error(transparent)]
    Engine(#[from] UnknownEngine),
}

impl FromStr for MetaPlace {
    type Err = MetaPlaceError;

    fn from_str(text: &str) -> Result<Self, MetaPlaceError> {
        match text.split_once(':') {
            Some((engine, dir)) if !dir.is_empty() => Ok(Self {
                engine: engine.parse()?,
                dir: dir.into(),
            }),
            Some(_) | None => Err(MetaPlaceError::Form),
        }
    }
}

impl fmt::Display for MetaPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.engine, self.dir.display())
    }
}

impl MetaPlace {
    /// Returns the place that was chosen, or else the one in a data directory.
    ///
    /// Fails if a new place was chosen though the data directory has metadata: the projects would seem
    /// to be gone.
    pub(crate) fn find(chosen: Option<&Self>, own: &Path) -> Result<Self, ServerError> {
        let found = Engine::found_in(own).map_err(ServerError::MetaStore)?;
        let Some(chosen) = chosen else {
            return Ok(Self {
                engine: found.unwrap_or(Engine::Redb),
                dir: own.to_owned(),
            });
        };
        let is_new = Engine::found_in(&chosen.dir).map_err(ServerError::MetaStore)?;
        match found {
            Some(engine) if is_new.is_none() => Err(ServerError::OtherMeta {
                chosen: chosen.to_string(),
                found: Self {
                    engine,
                    dir: own.to_owned(),
                }
                .to_string(),
            }),
            Some(_) | None => Ok(chosen.clone()),
        }
    }

    /// Opens the store, or creates it, in a directory that other users cannot look into.
    pub(crate) fn open(&self, options: OpenOptions) -> Result<Arc<dyn MetaStore>, ServerError> {
        create_private_dir_durable(&self.dir)?;
        if self.dir.join(COPYING_FILE).exists() {
            return Err(ServerError::UnfinishedCopy {
                place: self.to_string(),
            });
        }
        if self.dir.join(RESTORING_FILE).exists() {
            return Err(ServerError::UnfinishedRestore {
                place: self.to_string(),
            });
        }
        let opened = self.engine.open_with(&self.dir, options);
        opened.map_err(ServerError::MetaStore)
    }
}

/// Copies the metadata of a server that is not running to another place, and compares all of it. Returns
/// how many rows there are. A copy that was interrupted goes on.
pub(crate) fn copy_meta(
    from: &MetaPlace,
    to: &MetaPlace,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, ServerError> {
    let found = Engine::found_in(&from.dir).map_err(ServerError::MetaStore)?;
    if found.is_none() {
        return Err(ServerError::NoMeta {
            place: from.to_string(),
        });
    }
    if from.dir.join(RESTORING_FILE).exists() {
        return Err(ServerError::UnfinishedRestore {
            place: from.to_string(),
        });
    }
    let source = from
        .engine
        .open(&from.dir)
        .map_err(ServerError::MetaStore)?;
    create_private_dir_durable(&to.dir)?;
    let copying = to.dir.join(COPYING_FILE);
    let there = Engine::found_in(&to.dir).map_err(ServerError::MetaStore)?;
    if there.is_some() && !copying.exists() {
        return Err(ServerError::NotEmpty {
            place: to.to_string(),
        });
    }
    // First, so that no server serves a part.
    write_file_atomically(&copying, format!("{from}\n").as_bytes())?;
    let target = to.engine.open(&to.dir).map_err(ServerError::MetaStore)?;
    let count = copy(&*source, &*target, progress).map_err(|error| match error {
        CopyError::Store(error) => ServerError::MetaStore(error),
        CopyError::Different { .. } => ServerError::CopyDiffers {
            place: to.to_string(),
            reason: error.to_string(),
        },
    })?;
    drop(target);
    fs::remove_file(&copying).map_err(PathError::wrap("remove", &copying))?;
    sync_dir(&to.dir)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use lfsfs_meta_store::{Batch, MetaStoreExt as _};

    use super::*;

    fn one_row() -> Batch {
        let mut batch = Batch::new();
        batch.put(*b"key", *b"value");
        batch
    }

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for text in ["redb:/var/lib/meta", "sled:meta:2"] {
            let place: MetaPlace = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        for text in ["", "/var/lib/meta", "redb:", "lmdb:/meta"] {
            assert!(text.parse::<MetaPlace>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_data_directory_keeps_the_engine_that_made_its_metadata() {
        for engine in Engine::ALL {
            let dir = tempfile::tempdir().unwrap();
            let own = dir.path().join("meta");
            let new = MetaPlace::find(None, &own).unwrap();
            assert_eq!(new.engine, Engine::Redb);
            drop(engine.open(&own).unwrap());
            assert_eq!(MetaPlace::find(None, &own).unwrap().engine, engine);
        }
    }

    #[test]
    fn a_new_place_is_refused_while_the_data_directory_has_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("meta");
        drop(Engine::Sled.open(&own).unwrap());
        let chosen = MetaPlace {
            engine: Engine::Redb,
            dir: dir.path().join("other"),
        };
        let error = MetaPlace::find(Some(&chosen), &own).unwrap_err();
        assert!(error.to_string().contains("meta copy sled:"), "{error}");
        let from = MetaPlace::find(None, &own).unwrap();
        assert_eq!(copy_meta(&from, &chosen, &mut |_| ()).unwrap(), 0);
        assert_eq!(MetaPlace::find(Some(&chosen), &own).unwrap(), chosen);
    }

    #[test]
    fn half_a_copy_is_not_served_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let place = |engine, name| MetaPlace {
            engine,
            dir: dir.path().join(name),
        };
        let (from, to) = (place(Engine::Sled, "from"), place(Engine::Redb, "to"));
        from.open(OpenOptions::default())
            .unwrap()
            .write(one_row())
            .unwrap();
        drop(to.open(OpenOptions::default()).unwrap());
        fs::write(to.dir.join(COPYING_FILE), "").unwrap();
        let error = to.open(OpenOptions::default()).unwrap_err();
        assert!(
            matches!(error, ServerError::UnfinishedCopy { .. }),
            "{error}"
        );
        assert_eq!(copy_meta(&from, &to, &mut |_| ()).unwrap(), 1);
        let store = to.open(OpenOptions::default()).unwrap();
        assert_eq!(store.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
        drop(store);
        let again = copy_meta(&from, &to, &mut |_| ()).unwrap_err();
        assert!(matches!(again, ServerError::NotEmpty { .. }), "{again}");
        let absent = place(Engine::Redb, "absent");
        let error = copy_meta(&absent, &to, &mut |_| ()).unwrap_err();
        assert!(matches!(error, ServerError::NoMeta { .. }), "{error}");
    }
}
