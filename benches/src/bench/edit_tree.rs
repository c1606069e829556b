//! Changes to a tree, as a new version of it would have them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Appends a line to so many files, which lie all over the tree.
pub(super) fn append_to_files(tree: &Path, count: usize) -> anyhow::Result<()> {
    let files = files(tree)?;
    let step = (files.len() / count).max(1);
    let chosen = files.iter().step_by(step).take(count);
    chosen.map(PathBuf::as_path).try_for_each(append_a_line)
}

/// Changes the files of every directory of which the number, in the order of their paths, has this rest: what an upgrade
/// of some packages does.
pub(super) fn change_directories(tree: &Path, of: usize, rest: usize) -> anyhow::Result<()> {
    let files = files(tree)?;
    let mut directory = None;
    let mut number = 0;
    for file in &files {
        if directory != file.parent() {
            directory = file.parent();
            number += 1;
        }
        if number % of == rest {
            append_a_line(file)?;
        }
    }
    Ok(())
}

fn append_a_line(path: &Path) -> anyhow::Result<()> {
    let mut text = fs::read(path).context("read a file to change")?;
    text.push(b'\n');
    fs::write(path, text).context("change a file")
}

/// Returns the files of a tree in the order of their paths, but for those that lfsfs keeps in it.
fn files(tree: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![tree.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            match entry.file_type()? {
                _ if entry.file_name() == ".lfsfs" => {}
                kind if kind.is_dir() => pending.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    files.sort();
    Ok(files)
}
