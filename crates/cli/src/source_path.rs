//! Paths of a version as a user types them, and `SOURCE:PATH`, as the verbs for single files take it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use lfsfs_types::{ObjectPath, ProjectName, Source};

use crate::error::CommandError;
use crate::output::quoted;

/// A version, and the path of a file in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourcePath {
    pub(crate) source: Source,
    pub(crate) path: ObjectPath,
}

impl SourcePath {
    pub(crate) fn parse(word: &OsStr) -> Result<Self, CommandError> {
        let (source, path) = split(word)?;
        Ok(Self {
            source: text(source)?.parse()?,
            path,
        })
    }

    /// Takes a word that names a path of the project's next version: no version is changed.
    pub(crate) fn parse_next(word: &OsStr) -> Result<(ProjectName, ObjectPath), CommandError> {
        let (source, path) = split(word)?;
        let Source { project, version } = text(source)?.parse()?;
        if source.contains(&b'@') {
            let path = quoted(path.as_bytes());
            return Err(CommandError::usage(format!(
                "{project}@{version} is a version, and stays as it is"
            ))
            .hint(format!(
                "name the project alone, which gets a new version: {project}:{path}"
            )));
        }
        Ok((project, path))
    }
}

/// Returns what is before the first colon, which no source has in it, and the path behind it.
fn split(word: &OsStr) -> Result<(&[u8], ObjectPath), CommandError> {
    let shown = quoted(word.as_bytes());
    let mut parts = word.as_bytes().splitn(2, |byte| *byte == b':');
    let source = parts.next().unwrap_or_default();
    let Some(path) = parts.next() else {
        return Err(no_path(format!(
            "{shown} names no file: there is no colon in it"
        )));
    };
    if path.ends_with(b"/") {
        return Err(no_path(format!(
            "{shown} ends with a slash, as the path of a directory does"
        )));
    }
    let path = typed_path(OsStr::from_bytes(path))?;
    if path.is_root() {
        return Err(no_path(format!("{shown} has no path behind its colon")));
    }
    Ok((source, path))
}

/// Returns a path as a user types it: `./` is the place that it begins at.
pub(crate) fn typed_path(path: &OsStr) -> Result<ObjectPath, CommandError> {
    let names = path.as_bytes().split(|byte| *byte == b'/');
    let names: Vec<_> = names.filter(|name| name != b".").collect();
    Ok(ObjectPath::new(&names.join(&b'/'))?)
}

fn no_path(problem: String) -> CommandError {
    CommandError::usage(problem).hint("a file is written like this: app:src/main.js")
}

fn text(source: &[u8]) -> Result<&str, CommandError> {
    str::from_utf8(source).map_err(|_| {
        let source = quoted(source);
        CommandError::usage(format!("{source} names no version: it is not UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_ends_the_source() {
        for (word, source, path) in [
            ("app:a", "app@latest", "a"),
            ("app@v3:a/b:c", "app@v3", "a/b:c"),
            ("app@stable:./a", "app@stable", "a"),
            ("app@latest:/a", "app@latest", "a"),
        ] {
            let parsed = SourcePath::parse(OsStr::new(word)).expect(word);
            assert_eq!(parsed.source.to_string(), source, "{word}");
            assert_eq!(parsed.path.as_bytes(), path.as_bytes(), "{word}");
        }
    }

    #[test]
    fn a_path_need_not_be_text() {
        let parsed = SourcePath::parse(OsStr::from_bytes(b"app:\xff"));
        assert_eq!(parsed.expect("a path").path.as_bytes(), b"\xff");
    }

    #[test]
    fn what_names_no_file_is_wrong_usage() {
        for word in [
            &b"app"[..],
            b"app:",
            b"app:.",
            b"app:/",
            b"app:a/",
            b":a",
            b"a b:c",
            b"app@:a",
            b"app:../a",
            b"\xff:a",
        ] {
            let error = SourcePath::parse(OsStr::from_bytes(word)).expect_err("no file");
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }

    #[test]
    fn a_version_is_not_changed() {
        for word in ["app@v1:a", "app@latest:a", "app@stable:a"] {
            let error = SourcePath::parse_next(OsStr::new(word)).expect_err(word);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("app:a"), "{error}");
        }
        let (project, path) = SourcePath::parse_next(OsStr::new("app:a")).expect("a path");
        assert_eq!((project.as_str(), path.as_bytes()), ("app", &b"a"[..]));
    }

    #[test]
    fn a_path_may_begin_where_it_begins() {
        let path = |text: &str| typed_path(OsStr::new(text)).map(|path| path.as_bytes().to_vec());
        for (typed, expected) in [("./src", "src"), (".", ""), ("a/./b/", "a/b"), ("/a", "a")] {
            assert_eq!(path(typed).expect(typed), expected.as_bytes(), "{typed}");
        }
        for typed in ["../a", "a/../b", "a//b"] {
            assert!(path(typed).is_err(), "{typed}");
        }
    }
}
