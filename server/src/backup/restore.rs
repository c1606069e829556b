//! The metadata of a backup in a new place.

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;
use lfsfs_common::durable::{
    create_private_dir_durable, is_temp_file_name, remove_file_durably, write_file_atomically,
};
use lfsfs_meta_store::Engine;
use lfsfs_metadata::restore_backup;

use super::{BackUpError, Backup, Tell, check, now, open};
use crate::ServerError;
use crate::data::DataDir;
use crate::meta_place::{MetaPlace, RESTORING_FILE};

/// Where metadata is to be restored.
#[derive(Debug, Clone)]
pub(crate) struct RestoreTarget {
    /// The data directory of a server that is not running; it may be new.
    pub(crate) data: PathBuf,
    /// Engine and directory of the metadata, if it is not to be in it.
    pub(crate) meta: Option<MetaPlace>,
}

/// Metadata that was restored.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) backup: Backup,
    pub(crate) place: MetaPlace,
}

/// Restores a backup to a place without metadata. The place is durable on return.
///
/// The file is verified before anything is made. As long as the rows are not all there, a file beside them says
/// so: no server serves them, and another restore begins again.
pub(crate) fn restore(
    file: &Path,
    target: &RestoreTarget,
    tell: &mut Tell<'_>,
) -> Result<Restored, BackUpError> {
    let backup = check(file)?;
    let data = DataDir::open(&target.data)?;
    let own = data.meta();
    let place = target.meta.clone().unwrap_or_else(|| MetaPlace {
        engine: Engine::Redb,
        dir: own.clone(),
    });
    for dir in [&own, &place.dir] {
        expect_free(dir)?;
    }
    create_private_dir_durable(&place.dir)?;
    let restoring = place.dir.join(RESTORING_FILE);
    // First, so that what follows is known as a part of a restore.
    write_file_atomically(&restoring, format!("{}\n", file.display()).as_bytes())?;
    empty(&place.dir)?;
    let store = place
        .engine
        .open(&place.dir)
        .map_err(ServerError::MetaStore)?;
    let rows = BufReader::new(open(file)?);
    let progress = &mut |rows| tell(rows, 0);
    let restored = restore_backup(rows, store.as_ref(), now(), progress);
    restored.map_err(|source| BackUpError::NotRestored {
        place: place.to_string(),
        source: source.into(),
    })?;
    // The engine writes its last bytes when it closes.
    drop(store);
    remove_file_durably(&restoring)?;
    Ok(Restored { backup, place })
}

/// Fails unless a directory is missing, empty, or has a part of a restore.
fn expect_free(dir: &Path) -> Result<(), BackUpError> {
    if dir.join(RESTORING_FILE).exists() || names_in(dir)?.is_empty() {
        return Ok(());
    }
    let dir = dir.to_owned();
    Err(BackUpError::Occupied { dir })
}

/// Removes what an earlier restore has left in its directory.
fn empty(dir: &Path) -> Result<(), PathError> {
    for path in names_in(dir)? {
        if path.ends_with(RESTORING_FILE) {
            continue;
        }
        let removed = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        removed.map_err(PathError::wrap("remove", &path))?;
    }
    Ok(())
}

/// Returns what is in a directory, apart from temporary files; nothing if there is none.
fn names_in(dir: &Path) -> Result<Vec<PathBuf>, PathError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(PathError::new("read directory", dir, error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<_> = paths
        .collect::<Result<_, _>>()
        .map_err(PathError::wrap("read directory", dir))?;
    let is_temp = |path: &PathBuf| path.file_name().is_some_and(is_temp_file_name);
    Ok(paths.into_iter().filter(|path| !is_temp(path)).collect())
}

#[cfg(test)]
mod tests;
