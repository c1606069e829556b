//! The error of a file operation: what was tried, on which path, and what the system answered.

use std::io;
use std::path::{Path, PathBuf};

/// A file operation that failed, with the path that `io::Error` does not carry.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct PathError {
    /// The path the operation was asked to work on.
    pub path: PathBuf,
    /// The operation as a verb phrase that reads well before a path, such as `open`.
    pub action: &'static str,
    /// What the operating system answered.
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// Wraps `source` with the action and the path.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self {
            path: path.into(),
            action,
            source,
        }
    }

    /// Returns a closure for `map_err` that adds the action and the path.
    pub fn wrap(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::new(action, path, source)
    }

    /// Returns the kind of the underlying error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Returns whether the path, or a directory on the way to it, does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn names_the_action_and_the_path_and_leaves_the_cause_to_its_source() {
        let error = PathError::new("open", "/a/b", io::Error::from(io::ErrorKind::NotFound));

        assert_eq!(error.to_string(), "cannot open /a/b");
        assert!(error.source().is_some());
        assert!(error.is_not_found());
    }
}
