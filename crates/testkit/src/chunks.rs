//! What a datanode has on its disk, whatever it says.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the files of the chunks in the data directory of a server, each named by its chunk. A directory that
/// is not there has none.
#[must_use]
pub fn files_in(data: &Path) -> Vec<PathBuf> {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    let prefixes = entries(&data.join("chunks")).filter(|it| it.file_name().len() == 2);
    let files = prefixes.flat_map(|prefix| entries(&prefix.path()));
    files.map(|file| file.path()).collect()
}

/// Returns the names of these chunks.
#[must_use]
pub fn names_in(data: &Path) -> Vec<String> {
    let files = files_in(data).into_iter();
    let names = files.filter_map(|file| file.file_name()?.to_str().map(str::to_owned));
    names.collect()
}
