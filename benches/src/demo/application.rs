//! The program that the demo runs from a mounted version.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use lfsfs_testkit::requirements::find_program;
use lfsfs_testkit::tree::TreeSpec;

use crate::command::{self, Ran};

const FILES: usize = 5_000;

/// For machines without node: a program of the tree that reads all of it.
const PYTHON: &str = r#"import hashlib, os
total = hashlib.sha256()
count = 0
for directory, directories, names in os.walk("."):
    directories.sort()
    for name in sorted(names):
        with open(os.path.join(directory, name), "rb") as file:
            total.update(file.read())
        count += 1
print(count, "files", total.hexdigest()[:16])
"#;

/// For machines without python as well, and for trees of which nothing may be run unasked.
const SHELL: &str = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 cat | cksum";

/// A program and its arguments, run in the root of a tree.
#[derive(Debug)]
pub(super) struct Application {
    name: &'static str,
    words: Vec<PathBuf>,
}

/// Makes the tree of the demo in `dir`: an application that node, python or a shell can run.
pub(super) fn make(dir: &Path) -> anyhow::Result<PathBuf> {
    let spec = TreeSpec::app(FILES);
    spec.generate(dir).context("make a tree")?;
    let script = dir.join("report.sh");
    fs::write(&script, format!("#!/bin/sh\n{SHELL}\n")).context("write report.sh")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).context("chmod report.sh")?;
    fs::write(dir.join("report.py"), PYTHON).context("write report.py")?;
    Ok(dir.to_owned())
}

impl Application {
    /// Chooses what to run: from the demo's own tree the best that this machine can, from a tree
    /// of the user nothing of theirs, because the demo cannot know what that would do.
    pub(super) fn choose(is_own_tree: bool) -> Self {
        let new = |name, words: &[&Path]| Self {
            name,
            words: words.iter().map(|word| word.to_path_buf()).collect(),
        };
        if !is_own_tree {
            return new("find | cksum", &["/bin/sh", "-c", SHELL].map(Path::new));
        }
        if let Some(node) = find_program("node") {
            return new("node index.js", &[&node, Path::new("index.js")]);
        }
        if let Some(python) = find_program("python3") {
            return new("python3 report.py", &[&python, Path::new("report.py")]);
        }
        new("./report.sh", &[Path::new("./report.sh")])
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it in `dir` to its end.
    pub(super) fn run(&self, dir: &Path) -> anyhow::Result<Ran> {
        let (program, arguments) = self.words.split_first().context("no program")?;
        command::run(Command::new(program).args(arguments).current_dir(dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfsfs_testkit::tempdir::TempDir;

    #[test]
    fn every_choice_of_program_runs_in_the_tree() {
        let dir = TempDir::new().unwrap();
        let tree = make(&dir.path().join("tree")).unwrap();
        for own in [true, false] {
            let ran = Application::choose(own).run(&tree).unwrap();
            assert!(!ran.stdout.is_empty(), "{ran:?}");
        }
        let script = Application {
            name: "./report.sh",
            words: vec!["./report.sh".into()],
        };
        assert!(!script.run(&tree).unwrap().stdout.is_empty());
        if find_program("python3").is_some() {
            let ran = command::run(Command::new("python3").arg("report.py").current_dir(&tree));
            let said = String::from_utf8(ran.unwrap().stdout).unwrap();
            assert!(said.contains(" files "), "{said}");
        }
    }
}
