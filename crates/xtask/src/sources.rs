//! Checks of one file's text.
//!
//! The patterns are spelled in two halves, so that this file passes its own check.

use crate::finding::Finding;
use crate::workspace::SourceFile;

/// A file longer than this has more than one subject.
const LINES_MAX: usize = 800;

/// Marks of unfinished work, looked for in code; documents may speak of them.
const LEFTOVERS: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
];

/// Beginnings of paths that exist on one developer's machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/", "home/"),
    concat!("/", "work/"),
    concat!("/", "root/"),
    concat!("/", "Users/"),
];

/// Returns what is wrong with one file.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let mut findings: Vec<_> = [module_file(file), too_long(file)]
        .into_iter()
        .flatten()
        .collect();
    for (number, line) in (1..).zip(file.text.lines()) {
        let place = || format!("{}:{number}", file.path);
        if let Some(mark) = leftover(&file.path, line) {
            findings.push(Finding::new(place(), format!("{mark} is left")));
        }
        if let Some(path) = machine_path(line) {
            findings.push(Finding::new(
                place(),
                format!("{path} is a path of one machine"),
            ));
        }
    }
    findings
}

fn module_file(file: &SourceFile) -> Option<Finding> {
    let named_mod = file.path.ends_with("/mod.rs");
    named_mod.then(|| {
        Finding::new(
            &file.path,
            "name the module's file after the module: x.rs beside x/",
        )
    })
}

fn too_long(file: &SourceFile) -> Option<Finding> {
    let lines = file.text.lines().count();
    let counts = file.is_rust() && !file.path.contains("/generated/");
    (counts && lines > LINES_MAX).then(|| {
        Finding::new(
            &file.path,
            format!("{lines} lines, of {LINES_MAX}: divide it"),
        )
    })
}

fn leftover(path: &str, line: &str) -> Option<&'static str> {
    let is_document = path.ends_with(".md");
    LEFTOVERS
        .iter()
        .copied()
        .find(|mark| !is_document && line.contains(mark))
}

/// Finds a machine path that begins here, rather than in the middle of a longer path.
fn machine_path(line: &str) -> Option<&'static str> {
    MACHINE_PATHS.iter().copied().find(|prefix| {
        line.match_indices(prefix).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._-/~}*>".contains(c))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&SourceFile {
            path: path.into(),
            text: text.into(),
        })
        .len()
    }

    #[test]
    fn clean_code_has_no_findings() {
        assert_eq!(
            count(
                "a/src/lib.rs",
                "fn f() {}\n// see /var/lib/lfsfs and /mnt/app\n"
            ),
            0
        );
    }

    #[test]
    fn modules_are_not_called_mod() {
        assert_eq!(count("a/src/b/mod.rs", ""), 1);
        assert_eq!(count("a/src/b/model.rs", ""), 0);
    }

    #[test]
    fn long_files_are_found_unless_generated() {
        let at_limit = "\n".repeat(LINES_MAX);
        let above = "\n".repeat(LINES_MAX + 1);
        assert_eq!(count("a/src/lib.rs", &at_limit), 0);
        assert_eq!(count("a/src/lib.rs", &above), 1);
        assert_eq!(count("a/src/generated/v1.rs", &above), 0);
        assert_eq!(count("Cargo.lock", &above), 0);
    }

    #[test]
    fn leftovers_are_found_in_code_and_not_in_documents() {
        for mark in LEFTOVERS {
            assert_eq!(
                count("a/src/lib.rs", &format!("x\n    {mark}\n")),
                1,
                "{mark}"
            );
            assert_eq!(count("docs/style.md", mark), 0, "{mark}");
        }
    }

    #[test]
    fn machine_paths_are_found_where_a_path_begins() {
        for prefix in MACHINE_PATHS {
            assert_eq!(count("a.md", &format!("in `{prefix}x`")), 1);
            assert_eq!(count("a.toml", &format!("path = \"{prefix}x\"")), 1);
            assert_eq!(count("a.md", &format!("in some{prefix}x")), 0);
        }
    }
}
