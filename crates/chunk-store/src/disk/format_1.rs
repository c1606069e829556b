//! The layout of format 1: `ab/cd/ID`, two levels of directories.
//!
//! Each chunk had to create its directories, and to wait for the disk twice more.

use std::fs;
use std::io;
use std::path::Path;

use lfsfs_common::PathError;
use lfsfs_common::durable::{rename_without_sync, sync_dir};

use super::layout::{chunk_ids, prefixes};

/// What the file `format` says.
pub(super) const FORMAT: &str = "lfsfs chunk store, format 1\n";

/// Moves all chunks one directory up. On return that is durable.
///
/// After a crash in its middle it goes on: the file `format` still says 1.
pub(super) fn flatten(root: &Path) -> Result<(), PathError> {
    let firsts = prefixes(root)?;
    tracing::info!("the chunk store is brought from format 1 to format 2");
    for first in &firsts {
        let dir = root.join(first);
        for second in prefixes(&dir)? {
            move_up(&dir.join(second), &dir)?;
        }
        sync_dir(&dir)?;
    }
    Ok(())
}

/// Moves the chunks of a directory to the one above, and removes the directory. One with files of another
/// program stays.
fn move_up(from: &Path, to: &Path) -> Result<(), PathError> {
    for id in chunk_ids(from)? {
        let old = from.join(id.to_string());
        rename_without_sync(&old, &to.join(id.to_string()))?;
    }
    match fs::remove_dir(from) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
            Err(PathError::new("remove", from, error))
        }
        _ => Ok(()),
    }
}
