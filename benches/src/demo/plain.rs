//! The same tree with plain tools: copied by cp, unpacked by tar, changed at random.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use lfsfs_testkit::tree::mutate;

use super::screen::Times;
use crate::command;

const SEED: u64 = 7;
const CHANGES: usize = 30;

/// How long plain tools take to make a directory of a tree.
#[derive(Debug)]
pub(super) struct Plain {
    copy: PathBuf,
    copied: Duration,
    untarred: Duration,
}

impl Plain {
    /// Copies and unpacks `tree` in `scratch`, which is created; the copy stays there.
    pub(super) fn measure(tree: &Path, scratch: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(scratch).context("create a place for copies")?;
        let (copy, untarred) = (scratch.join("copy"), scratch.join("untarred"));
        let archive = scratch.join("tree.tar");
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(tree).arg("-cf").arg(&archive).arg(".");
        // First, so that the others find the tree in memory.
        command::run(&mut pack)?;
        let copied = command::run(Command::new("cp").arg("-a").arg(tree).arg(&copy))?;
        fs::create_dir(&untarred).context("create a place to unpack")?;
        let mut unpack = Command::new("tar");
        unpack.arg("-C").arg(&untarred).arg("-xf").arg(&archive);
        let unpacked = command::run(&mut unpack)?;
        fs::remove_file(&archive).context("remove the archive")?;
        command::run(Command::new("rm").arg("-rf").arg(&untarred))?;
        Ok(Self {
            copy,
            copied: copied.wall,
            untarred: unpacked.wall,
        })
    }

    pub(super) fn copy(&self) -> &Path {
        &self.copy
    }

    /// Puts what plain tools need for a usable directory beside what lfsfs needed.
    pub(super) fn beside(&self, lfsfs: Duration) -> Times {
        Times::of(lfsfs).copy(self.copied).untar(self.untarred)
    }
}

/// Makes `changed`, which is `tree` with some random changes; returns how many.
pub(super) fn change(tree: &Path, changed: &Path) -> anyhow::Result<usize> {
    command::run(Command::new("cp").arg("-a").arg(tree).arg(changed))?;
    match mutate(changed, SEED, CHANGES) {
        Ok(changes) => Ok(changes.len()),
        // A tree too small for that: one change that is always possible.
        Err(_) => {
            fs::write(changed.join("added-by-the-demo"), "new\n").context("add a file")?;
            Ok(1)
        }
    }
}

/// Returns the name of some regular file in the root of `tree`.
pub(super) fn some_file(tree: &Path) -> anyhow::Result<Option<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(tree).context("list the copy")? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name());
        }
    }
    Ok(names.into_iter().min())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::compare::{CompareOptions, assert_same_trees, compare_trees};
    use lfsfs_testkit::tempdir::TempDir;
    use lfsfs_testkit::tree::TreeSpec;

    #[test]
    fn the_copy_is_the_tree_and_the_changed_one_is_not() {
        let dir = TempDir::new().unwrap();
        let tree = dir.path().join("tree");
        TreeSpec::small().generate(&tree).unwrap();
        let plain = Plain::measure(&tree, &dir.path().join("plain")).unwrap();
        assert_same_trees(&tree, plain.copy(), &CompareOptions::default());
        let changed = dir.path().join("changed");
        assert_eq!(change(plain.copy(), &changed).unwrap(), CHANGES);
        let differences = compare_trees(&tree, &changed, &CompareOptions::default()).unwrap();
        assert!(!differences.is_empty());
    }

    #[test]
    fn a_tree_too_small_for_many_changes_gets_one() {
        let dir = TempDir::new().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        assert_eq!(some_file(&tree).unwrap(), None);
        assert_eq!(change(&tree, &dir.path().join("changed")).unwrap(), 1);
    }
}
