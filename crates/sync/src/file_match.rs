//! Whether all files that were written match what the caller said.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use globset::GlobSet;

use crate::filter::{PatternError, globs};

/// Patterns of whole paths, and what was seen of the files that were written.
#[derive(Debug, Default)]
pub(crate) struct FileMatch {
    /// Every path matches if there are none.
    include: Option<GlobSet>,
    exclude: GlobSet,
    is_any: AtomicBool,
    is_other: AtomicBool,
}

impl FileMatch {
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        let include = if include.is_empty() {
            None
        } else {
            Some(globs(include)?)
        };
        Ok(Self {
            include,
            exclude: globs(exclude)?,
            ..Self::default()
        })
    }

    /// Notes a file that was written.
    pub(crate) fn see(&self, path: &[u8]) {
        let path = OsStr::from_bytes(path);
        let is_included = self.include.as_ref().is_none_or(|set| set.is_match(path));
        self.is_any.store(true, Ordering::Relaxed);
        if !is_included || self.exclude.is_match(path) {
            self.is_other.store(true, Ordering::Relaxed);
        }
    }

    /// Returns true if a file was written, every one matches a pattern to include, and none matches one to
    /// exclude.
    pub(crate) fn is_match(&self) -> bool {
        self.is_any.load(Ordering::Relaxed) && !self.is_other.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(include: &[&str], exclude: &[&str], paths: &[&str]) -> bool {
        let owned = |texts: &[&str]| {
            texts
                .iter()
                .map(|&text| text.to_owned())
                .collect::<Vec<_>>()
        };
        let found = FileMatch::new(&owned(include), &owned(exclude)).expect("patterns");
        paths.iter().for_each(|path| found.see(path.as_bytes()));
        found.is_match()
    }

    #[test]
    fn one_file_at_least_and_no_other() {
        assert!(!matches(&[], &[], &[]));
        assert!(matches(&[], &[], &["a"]));
        assert!(matches(&["src/**"], &[], &["src/a", "src/b/c"]));
        assert!(!matches(&["src/*"], &[], &["src/a", "src/b/c"]));
        assert!(!matches(&["src/**"], &[], &["src/a", "b"]));
        assert!(matches(&["src/**", "b"], &[], &["src/a", "b"]));
        assert!(!matches(&["src/**"], &["**/*.md"], &["src/a", "src/b.md"]));
        assert!(FileMatch::new(&["[".to_owned()], &[]).is_err());
    }
}
