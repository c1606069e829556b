//! Links between documents: what a page points to must exist.

use std::path::{Component, Path, PathBuf};

use crate::finding::Finding;
use crate::workspace::SourceFile;

/// Directories that every path of a source file begins with.
const ROOTS: [&str; 7] = [
    "benches/",
    "crates/",
    "docs/",
    "fs-mount/",
    "proto/",
    "server/",
    "tests/",
];

/// Returns the links of a Markdown file whose target does not exist in the tree, and the paths of files
/// that it names in backticks. Decisions of the past name files as they were then.
pub(crate) fn check(file: &SourceFile, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    if !file.path.ends_with(".md") {
        return Vec::new();
    }
    let dir = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let dead = targets(&file.text).filter(|target| !exists(&normalise(&dir.join(target))));
    let dead = dead.map(|target| format!("links to {target}, which is absent"));
    let named = named(&file.text).filter(|path| !exists(Path::new(path)));
    let named = named.map(|path| format!("names {path}, which is absent"));
    let is_past = file.path.starts_with("docs/design/");
    dead.chain(named.filter(|_| !is_past))
        .map(|text| Finding::new(&file.path, text))
        .collect()
}

/// Returns the paths of source files that stand in backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_path = |word: &&str| {
        let is_plain = word
            .chars()
            .all(|c| c.is_alphanumeric() || "/._-".contains(c));
        is_plain && ROOTS.iter().any(|root| word.starts_with(root))
    };
    quoted.filter(is_path)
}

/// Returns the targets of inline links that lie in this tree, without their anchors.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let inline = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    inline
        .map(|(target, _)| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains(':'))
}

/// Resolves `..` by text, as a browser does.
fn normalise(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_links(path: &str, text: &str) -> usize {
        let file = SourceFile {
            path: path.into(),
            text: text.into(),
        };
        check(&file, |target| target == Path::new("docs/style.md")).len()
    }

    #[test]
    fn links_resolve_from_the_directory_of_their_page() {
        assert_eq!(dead_links("README.md", "see [style](docs/style.md)"), 0);
        assert_eq!(
            dead_links(
                "docs/a.md",
                "[style](style.md#names) [it](../docs/style.md)"
            ),
            0
        );
        assert_eq!(dead_links("docs/a.md", "[style](docs/style.md)"), 1);
    }

    #[test]
    fn files_that_a_page_names_exist() {
        let page = "`docs/style.md`, `crates/gone/src/a.rs` and `tests/*.rs`, `gone/a.rs`";
        assert_eq!(dead_links("docs/a.md", page), 1);
        assert_eq!(dead_links("docs/design/a.md", page), 0);
    }

    #[test]
    fn each_dead_link_is_named_and_other_places_are_not_followed() {
        assert_eq!(dead_links("README.md", "[a](gone.md), [b](gone.md)"), 2);
        assert_eq!(
            dead_links("README.md", "[a](https://example.org/x) [b](#here)"),
            0
        );
        assert_eq!(dead_links("src/lib.rs", "[a](gone.md)"), 0);
    }
}
