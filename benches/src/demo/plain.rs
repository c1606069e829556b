//! The same tree with plain tools: copied by cp, unpacked by tar, changed.

use std::ffi::OsString;
use std::fs::{self, FileType};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::screen::Times;
use super::tools::Tools;
use crate::command;
use anyhow::Context;

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

/// Copies `tree` to `changed` and changes that; returns how long the tools took.
pub(super) fn change(tools: &Tools, tree: &Path, changed: &Path) -> anyhow::Result<Duration> {
    command::run(Command::new("cp").arg("-a").arg(tree).arg(changed))?;
    Ok(tools.run(changed)?.wall)
}

/// Returns the name of some regular file in the root of `tree`.
pub(super) fn some_file(tree: &Path) -> anyhow::Result<Option<OsString>> {
    first_name(tree, FileType::is_file)
}

/// Returns the name of some directory in the root of `tree`.
pub(super) fn some_directory(tree: &Path) -> anyhow::Result<Option<OsString>> {
    first_name(tree, FileType::is_dir)
}

fn first_name(tree: &Path, is_wanted: fn(&FileType) -> bool) -> anyhow::Result<Option<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(tree).context("list a tree")? {
        let entry = entry?;
        if is_wanted(&entry.file_type()?) {
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
        change(&Tools::choose(&tree).unwrap(), plain.copy(), &changed).unwrap();
        let differences = compare_trees(&tree, &changed, &CompareOptions::default()).unwrap();
        assert!(!differences.is_empty());
    }

    #[test]
    fn a_tree_without_anything_has_no_name_to_choose() {
        let dir = TempDir::new().unwrap();
        assert_eq!(some_file(dir.path()).unwrap(), None);
        assert_eq!(some_directory(dir.path()).unwrap(), None);
    }
}
