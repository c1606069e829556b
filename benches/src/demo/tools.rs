//! Changes by ordinary tools: what a person or a job does in a directory.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::plain::{some_directory, some_file};
use crate::command::{self, Ran};

/// Works in the current directory. `$1` is a file and `$2` a directory in it; either may be empty.
const SCRIPT: &str = r#"set -e
mkdir -p demo-notes/kept
seq 1000 > demo-notes/numbers
ln -s numbers demo-notes/link
if [ -n "$1" ]; then
    cp -p "$1" demo-notes/kept/
    echo "changed by the demo" >> "$1"
    chmod g+w "$1"
fi
if [ -n "$2" ]; then
    mv "$2" "$2.moved"
fi
find . -xdev -type f ! -path './demo-notes/*' ! -path "./$1" |
    LC_ALL=C sort | awk 'NR % 1000 == 500' | head -5 | xargs -r rm
"#;

/// What the tools are set to.
#[derive(Debug)]
pub(super) struct Tools {
    file: Option<OsString>,
    directory: Option<OsString>,
}

impl Tools {
    /// Chooses a file to change and a directory to move in the root of `tree`.
    pub(super) fn choose(tree: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            file: some_file(tree)?,
            directory: some_directory(tree)?,
        })
    }

    /// Returns the file that they change, if there is one.
    pub(super) fn file(&self) -> Option<&OsString> {
        self.file.as_ref()
    }

    /// Changes `dir`, always in the same way.
    pub(super) fn run(&self, dir: &Path) -> anyhow::Result<Ran> {
        let argument = |name: &Option<OsString>| name.clone().unwrap_or_default();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "sh"]).current_dir(dir);
        command.arg(argument(&self.file));
        command.arg(argument(&self.directory));
        command::run(&mut command).context("change a tree by ordinary tools")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
    use lfsfs_testkit::tempdir::TempDir;
    use lfsfs_testkit::tree::TreeSpec;

    #[test]
    fn two_equal_trees_are_changed_alike() {
        let dir = TempDir::new().unwrap();
        let trees = ["a", "b"].map(|name| dir.path().join(name));
        for tree in &trees {
            TreeSpec::app(1_200).generate(tree).unwrap();
            Tools::choose(tree).unwrap().run(tree).unwrap();
        }
        let options = CompareOptions {
            times: false,
            directory_times: false,
            ..CompareOptions::default()
        };
        assert_same_trees(&trees[0], &trees[1], &options);
        assert!(trees[0].join("demo-notes/kept").is_dir());
        assert!(trees[0].join("node_modules.moved").is_dir());
    }

    #[test]
    fn an_empty_tree_can_be_changed_too() {
        let dir = TempDir::new().unwrap();
        let tools = Tools::choose(dir.path()).unwrap();
        tools.run(dir.path()).unwrap();
        assert_eq!(tools.file(), None);
        assert!(dir.path().join("demo-notes/link").is_symlink());
    }
}
