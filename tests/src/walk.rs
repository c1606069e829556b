//! Passes over a tree.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Returns every path below `dir`, directories before what they hold.
pub fn paths(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).expect("a directory can be listed") {
            let path = entry.expect("an entry").path();
            let metadata = path.symlink_metadata().expect("attributes");
            if metadata.is_dir() {
                todo.push(path.clone());
            }
            found.push((path, metadata));
        }
    }
    found
}

/// Lists and stats everything, and follows links to their targets' names.
pub fn walk(dir: &Path) -> Vec<(PathBuf, Metadata)> {
    let found = paths(dir);
    for (path, _) in found.iter().filter(|(_, metadata)| metadata.is_symlink()) {
        fs::read_link(path).expect("a link");
    }
    found
}

/// Returns the regular files below `dir`.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let found = paths(dir).into_iter();
    let files = found.filter(|(_, metadata)| metadata.is_file());
    files.map(|(path, _)| path).collect()
}

/// Opens, reads and closes every regular file, and returns how many bytes they had.
pub fn read_all(dir: &Path) -> u64 {
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    for path in files(dir) {
        let mut file = File::open(&path).expect("a file");
        loop {
            let len = file.read(&mut buffer).expect("bytes");
            bytes += len as u64;
            if len == 0 {
                break;
            }
        }
    }
    bytes
}

/// Returns the inode number of everything below `dir`, by path from there.
pub fn inode_numbers(dir: &Path) -> BTreeMap<PathBuf, u64> {
    use std::os::unix::fs::MetadataExt as _;
    let numbers = paths(dir).into_iter().map(|(path, metadata)| {
        let path = path.strip_prefix(dir).expect("it lies below");
        (path.to_owned(), metadata.ino())
    });
    numbers.collect()
}
