//! Which entries are left out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use lfsfs_types::{Name, ObjectPath};
use thiserror::Error;

/// The name in the root of a directory under which a rebuild keeps its state: no part of any tree.
pub(crate) const STATE_DIR: &str = ".lfsfs";

/// A text that is no pattern.
#[derive(Debug, Error)]
#[error("{pattern:?} is not a pattern")]
pub struct PatternError {
    /// What was given.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: globset::Error,
}

/// Patterns of entries to leave out. A pattern without a slash is compared with each name, one with
/// a slash with the whole path; `**` crosses directories.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    names: GlobSet,
    paths: GlobSet,
}

impl Filter {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, PatternError> {
        let (paths, names): (Vec<_>, Vec<_>) = patterns
            .iter()
            .partition(|pattern| pattern.trim_end_matches('/').contains('/'));
        Ok(Self {
            names: globs(names)?,
            paths: globs(paths)?,
        })
    }

    /// Returns true if more than the state of a rebuild is left out.
    pub(crate) fn has_patterns(&self) -> bool {
        !self.names.is_empty() || !self.paths.is_empty()
    }

    pub(crate) fn excludes(&self, path: &ObjectPath, name: &Name) -> bool {
        path.as_bytes() == STATE_DIR.as_bytes()
            || self.names.is_match(OsStr::from_bytes(name.as_bytes()))
            || self.paths.is_match(OsStr::from_bytes(path.as_bytes()))
    }
}

/// Returns patterns to compare with paths or names; `*` does not cross directories, `**` does.
pub(crate) fn globs<'p>(
    patterns: impl IntoIterator<Item = &'p String>,
) -> Result<GlobSet, PatternError> {
    let error = |pattern: &str| {
        let pattern = pattern.to_owned();
        |source| PatternError { pattern, source }
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern.trim_matches('/'))
            .literal_separator(true)
            .build();
        set.add(glob.map_err(error(pattern))?);
    }
    set.build().map_err(error(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_anywhere_and_paths_from_the_root() {
        let patterns = ["*.log", "/build/out", "a/**/z"].map(str::to_owned);
        let filter = Filter::new(&patterns).expect("patterns");
        let excludes = |path: &str| {
            let path = ObjectPath::new(path.as_bytes()).expect("a path");
            let (_, name) = path.split_last().expect("not the root");
            filter.excludes(&path, &name)
        };
        assert!(excludes("x/y.log") && excludes("build/out") && excludes("a/b/c/z"));
        assert!(!excludes("x/build/out") && !excludes("log") && !excludes("b/z"));
    }

    #[test]
    fn the_state_of_a_rebuild_is_left_out_in_the_root_alone() {
        let filter = Filter::default();
        let excludes = |path: &str| {
            let path = ObjectPath::new(path.as_bytes()).expect("a path");
            let (_, name) = path.split_last().expect("not the root");
            filter.excludes(&path, &name)
        };
        assert!(excludes(".lfsfs"));
        assert!(!excludes("a/.lfsfs") && !excludes(".lfsfs-other"));
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        let error = Filter::new(&["[".to_owned()]).expect_err("no pattern");
        assert!(error.to_string().contains('['));
    }
}
