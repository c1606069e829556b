//! Which entries are left out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use lfsfs_types::{Name, ObjectPath};

use crate::error::ImportError;

/// Patterns of entries to leave out. A pattern without a slash is compared with each name, one with
/// a slash with the whole path; `**` crosses directories.
#[derive(Debug)]
pub(crate) struct Filter {
    names: GlobSet,
    paths: GlobSet,
}

impl Filter {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, ImportError> {
        let (paths, names): (Vec<_>, Vec<_>) = patterns
            .iter()
            .partition(|pattern| pattern.trim_end_matches('/').contains('/'));
        Ok(Self {
            names: set(&names)?,
            paths: set(&paths)?,
        })
    }

    pub(crate) fn excludes(&self, path: &ObjectPath, name: &Name) -> bool {
        self.names.is_match(OsStr::from_bytes(name.as_bytes()))
            || self.paths.is_match(OsStr::from_bytes(path.as_bytes()))
    }
}

fn set(patterns: &[&String]) -> Result<GlobSet, ImportError> {
    let error = |pattern: &str| {
        let pattern = pattern.to_owned();
        |source| ImportError::Pattern { pattern, source }
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
    fn a_wrong_pattern_is_named() {
        let error = Filter::new(&["[".to_owned()]).expect_err("no pattern");
        assert!(error.to_string().contains('['));
    }
}
