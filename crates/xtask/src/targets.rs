//! Dead files: Rust files that no target and no module names, so that nothing compiles them.

use std::collections::HashSet;

use crate::finding::Finding;
use crate::workspace::SourceFile;

/// Returns every Rust file that is neither the root of a target nor named by a file beside or
/// above it. `targets` are paths of target roots, build scripts among them.
pub(crate) fn check(files: &[SourceFile], targets: &HashSet<String>) -> Vec<Finding> {
    let dead = files.iter().filter(|file| file.is_rust()).filter(|file| {
        !targets.contains(&file.path) && !files.iter().any(|other| names(other, &file.path))
    });
    dead.map(|file| Finding::new(&file.path, "no target and no module names this file"))
        .collect()
}

/// Returns whether `parent` declares the module at `path`, or mentions that file by name as
/// `#[path]`, `include!` and the manifest of a package outside the workspace do.
fn names(parent: &SourceFile, path: &str) -> bool {
    let (dir, file_name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file_name.trim_end_matches(".rs");
    let own_dir = parent.path.trim_end_matches(".rs");
    let parent_dir = parent.path.rsplit_once('/').map_or("", |(dir, _)| dir);
    let declares = parent
        .text
        .lines()
        .any(|line| declared_module(line) == Some(stem));
    let is_near = dir == own_dir || dir == parent_dir;
    (declares && is_near && parent.path != path)
        || (dir.starts_with(parent_dir) && parent.text.contains(&format!("{file_name}\"")))
}

/// Returns the module that a line such as `pub(crate) mod name;` declares.
fn declared_module(line: &str) -> Option<&str> {
    let (before, name) = line.trim().strip_suffix(';')?.rsplit_once(' ')?;
    (before == "mod" || before.ends_with(" mod")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        let file = |&(path, text): &(&str, &str)| SourceFile {
            path: path.into(),
            text: text.into(),
        };
        let files: Vec<_> = files.iter().map(file).collect();
        let targets = ["a/src/lib.rs", "a/tests/crash.rs"]
            .map(String::from)
            .into();
        check(&files, &targets)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn modules_beside_and_below_their_declaration_live() {
        let files = [
            ("a/src/lib.rs", "pub mod disk;\n"),
            ("a/src/disk.rs", "#[cfg(test)]\nmod tests;\n"),
            ("a/src/disk/tests.rs", ""),
            ("a/tests/crash.rs", ""),
        ];
        assert_eq!(dead(&files), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_nothing_names_is_dead() {
        let files = [
            ("a/src/lib.rs", "// mod disk\n"),
            ("a/src/disk.rs", ""),
            ("a/tests/new.rs", ""),
        ];
        assert_eq!(dead(&files).len(), 2);
    }

    #[test]
    fn a_module_of_another_directory_does_not_count() {
        let files = [("a/src/lib.rs", "mod disk;\n"), ("b/src/disk.rs", "")];
        assert_eq!(dead(&files).len(), 1);
    }

    #[test]
    fn files_named_by_path_live() {
        let files = [
            (
                "a/tests/crash.rs",
                "#[path = \"crash/steps.rs\"]\nmod steps;\n",
            ),
            ("a/tests/crash/steps.rs", ""),
            ("fuzz/Cargo.toml", "path = \"targets/record.rs\"\n"),
            ("fuzz/targets/record.rs", ""),
        ];
        assert_eq!(dead(&files), Vec::<String>::new());
    }
}
