//! A version, or a directory of one, as a user types it: `SOURCE` or `SOURCE:PATH`.

use std::fmt;

use thiserror::Error;

use crate::name::{Name, NameError, ObjectPath, PathError};
use crate::source::{Source, SourceError};

/// A directory of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDirectory {
    /// The version.
    pub source: Source,
    /// The directory; the root unless a path was typed.
    pub path: ObjectPath,
}

/// A text that names no directory of a version.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceDirectoryError {
    /// What is before the first colon is no source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What is before the first colon is not UTF-8.
    #[error("{text:?} names no version: it is not UTF-8")]
    NotText {
        /// What was typed.
        text: String,
    },
    /// Nothing is behind the colon.
    #[error("{text:?} has no path behind its colon")]
    NoPath {
        /// What was typed.
        text: String,
    },
    /// The path begins with a slash.
    #[error("the path {path:?} begins with a slash, which no path of a version does")]
    LeadingSlash {
        /// The path.
        path: String,
    },
    /// One of the names in the path is none.
    #[error("{path:?} is no path of a version")]
    Name {
        /// The path.
        path: String,
        /// What is wrong with the name.
        #[source]
        source: NameError,
    },
    /// The path is none.
    #[error("{path:?} is no path of a version")]
    Path {
        /// The path.
        path: String,
        /// Why.
        #[source]
        source: PathError,
    },
}

impl SourceDirectory {
    /// Reads what a user typed. The first colon ends the source; the path behind it is taken as it stands, and
    /// may end with one slash.
    pub fn new(typed: &[u8]) -> Result<Self, SourceDirectoryError> {
        let at = typed.iter().position(|byte| *byte == b':');
        let (source, path) = match at {
            None => (typed, None),
            Some(at) => (&typed[..at], Some(&typed[at + 1..])),
        };
        let source = str::from_utf8(source)
            .map_err(|_| SourceDirectoryError::NotText { text: shown(typed) })?;
        Ok(Self {
            source: source.parse()?,
            path: match path {
                None => ObjectPath::ROOT,
                Some([]) => return Err(SourceDirectoryError::NoPath { text: shown(typed) }),
                Some(path) => checked(path)?,
            },
        })
    }
}

fn checked(typed: &[u8]) -> Result<ObjectPath, SourceDirectoryError> {
    let path = || shown(typed);
    if typed.starts_with(b"/") {
        return Err(SourceDirectoryError::LeadingSlash { path: path() });
    }
    let names = typed.strip_suffix(b"/").unwrap_or(typed);
    for name in names.split(|byte| *byte == b'/') {
        Name::new(name).map_err(|source| SourceDirectoryError::Name {
            path: path(),
            source,
        })?;
    }
    ObjectPath::new(names).map_err(|source| SourceDirectoryError::Path {
        path: path(),
        source,
    })
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

impl fmt::Display for SourceDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)?;
        if self.path.is_root() {
            return Ok(());
        }
        write!(f, ":{}", String::from_utf8_lossy(self.path.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(typed: &str) -> Result<SourceDirectory, SourceDirectoryError> {
        SourceDirectory::new(typed.as_bytes())
    }

    #[test]
    fn the_first_colon_ends_the_source() {
        for (typed, source, path) in [
            ("app", "app@latest", ""),
            ("app@v3", "app@v3", ""),
            ("app:dir", "app@latest", "dir"),
            ("app@v3:a/b", "app@v3", "a/b"),
            ("app@stable:a:b/c:", "app@stable", "a:b/c:"),
            ("app:dir/", "app@latest", "dir"),
        ] {
            let parsed = parsed(typed).expect(typed);
            assert_eq!(parsed.source.to_string(), source, "{typed}");
            assert_eq!(parsed.path.as_bytes(), path.as_bytes(), "{typed}");
        }
        assert_eq!(
            parsed("app:a/b").expect("a path").to_string(),
            "app@latest:a/b"
        );
        let bytes = SourceDirectory::new(b"app:\xff").expect("a path");
        assert_eq!(bytes.path.as_bytes(), b"\xff");
    }

    #[test]
    fn what_is_no_path_is_refused_and_named() {
        for (typed, words) in [
            ("app:", "no path behind"),
            ("app:/a", "begins with a slash"),
            ("app:/", "begins with a slash"),
            ("app:..", "\"..\" is no path"),
            ("app:a/../b", "\"a/../b\" is no path"),
            ("app:./a", "\"./a\" is no path"),
            ("app:a//b", "\"a//b\" is no path"),
            ("app:a//", "\"a//\" is no path"),
            ("app:a\0b", "is no path"),
            (":a", "names no version"),
            ("a b:c", "names no version"),
            ("app@:c", "names no version"),
        ] {
            let error = parsed(typed).expect_err(typed).to_string();
            assert!(error.contains(words), "{typed}: {error}");
        }
        let long = format!("app:{}", "abc/".repeat(1100));
        assert!(matches!(
            parsed(&long),
            Err(SourceDirectoryError::Path { .. })
        ));
        assert!(matches!(
            SourceDirectory::new(b"\xff:a"),
            Err(SourceDirectoryError::NotText { .. })
        ));
    }
}
