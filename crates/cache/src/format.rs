//! The number of the layout, and what happens to a directory that has another one.

use std::fs;
use std::io;

use lfsfs_common::PathError;
use lfsfs_common::flock::{FileLock, LockMode};

use crate::evict;
use crate::layout::Layout;

/// Raised by every change of paths or bytes that an older program would misread.
const FORMAT: &str = "1\n";

/// Makes sure that the directory has this format, wiping what was stored in another.
///
/// Only what the cache itself stores is removed: a directory named by mistake keeps its files.
pub(crate) fn ensure(layout: &Layout) -> Result<(), PathError> {
    if is_current(layout) {
        return Ok(());
    }
    let _lock = FileLock::acquire(&layout.lock(), LockMode::Exclusive)?;
    if is_current(layout) {
        return Ok(());
    }
    evict::wipe(layout).map_err(PathError::wrap("wipe the cache in", layout.dir()))?;
    let write = |path, bytes: &[u8]| match fs::write(&path, bytes) {
        Ok(()) => Ok(()),
        Err(error) => Err(PathError::new("write", path, error)),
    };
    write(layout.usage(), &0u64.to_be_bytes())?;
    write(layout.format(), FORMAT.as_bytes())
}

/// A file that cannot be read says nothing, and neither does one of another format.
fn is_current(layout: &Layout) -> bool {
    let bytes: io::Result<Vec<u8>> = fs::read(layout.format());
    bytes.is_ok_and(|bytes| bytes == FORMAT.as_bytes())
}
