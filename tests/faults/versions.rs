//! Versions that are made and read while something fails.

use std::fs;
use std::path::{Path, PathBuf};

use lfsfs_tests::{Numbers, Run, World};

/// A server that goes away for a moment must not end a command.
pub(crate) const RETRY: [&str; 2] = ["--retry-for", "60"];

pub(crate) fn new_project(world: &World) {
    let made: Run = world.lfsfs(["project", "new", "app"]);
    assert_eq!(made.code(), Some(0), "{made:?}");
}

/// Versions of a project, and the trees that they were made of.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    pub(crate) trees: Vec<PathBuf>,
}

impl Versions {
    /// Returns one version, made of this tree.
    pub(crate) fn of(tree: PathBuf) -> Self {
        Self { trees: vec![tree] }
    }

    /// Makes a new tree, the one before with some changed files, and imports it.
    pub(crate) fn import_next(&mut self, world: &World, numbers: &mut Numbers) {
        let tree = world.make_dir(&format!("tree-{}", self.trees.len()));
        if let Some(last) = self.trees.last() {
            copy_files(last, &tree);
        }
        for _ in 0..40 {
            let name = format!("file-{}", numbers.below(200));
            let len = 1 + numbers.below(100_000);
            let bytes = numbers.bytes(usize::try_from(len).expect("small"));
            fs::write(tree.join(name), bytes).expect("a file");
        }
        let tree_word = tree.to_str().expect("UTF-8");
        let words = [RETRY[0], RETRY[1], "import", tree_word, "app"];
        let imported = world.lfsfs(words);
        assert_eq!(imported.ok(), format!("app@v{}", self.trees.len() + 1));
        self.trees.push(tree);
    }

    /// Reads a version from the datanodes, and compares it.
    pub(crate) fn check(&self, world: &World, number: usize) {
        check(world, number, &self.trees[number]);
    }
}

/// Reads version `number`, counted from 0, from the datanodes, and compares it with the tree of which it was made.
#[track_caller]
pub(crate) fn check(world: &World, number: usize, tree: &Path) {
    let out = world.path("out");
    let source = format!("app@v{}", number + 1);
    let out_word = out.to_str().expect("UTF-8");
    let exported = world.lfsfs([RETRY[0], RETRY[1], "export", &source, out_word]);
    assert_eq!(exported.code(), Some(0), "{exported:?}");
    assert_same_files(tree, &out);
    fs::remove_dir_all(out).expect("a directory");
}

fn copy_files(from: &Path, to: &Path) {
    for file in names(from) {
        fs::copy(from.join(&file), to.join(&file)).expect("a copy");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut names: Vec<_> = names.map(|name| name.expect("UTF-8")).collect();
    names.sort();
    names
}

pub(crate) fn assert_same_files(expected: &Path, found: &Path) {
    assert_eq!(names(expected), names(found));
    for name in names(expected) {
        let read = |dir: &Path| fs::read(dir.join(&name)).expect("a file");
        assert!(read(expected) == read(found), "{name} differs");
    }
}
