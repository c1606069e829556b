//! Names and paths: bytes for what is in a project, text for what a user types.

use std::fmt;

use thiserror::Error;

use crate::limits::{NAME_LEN_MAX, PATH_LEN_MAX, PROJECT_NAME_LEN_MAX};

/// Bytes that are no name of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// No bytes.
    #[error("a name cannot be empty")]
    Empty,
    /// More than 255 bytes.
    #[error("a name of {len} bytes is too long: {NAME_LEN_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A slash or a NUL.
    #[error("a name cannot hold '/' or NUL")]
    ForbiddenByte,
    /// `.` or `..`
    #[error("a name cannot be '.' or '..'")]
    Dots,
}

/// The name of one entry in a directory: 1 to 255 bytes, none of them `/` or NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks untrusted bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        match bytes {
            [] => Err(NameError::Empty),
            b"." | b".." => Err(NameError::Dots),
            _ if bytes.len() > NAME_LEN_MAX => Err(NameError::TooLong { len: bytes.len() }),
            _ if bytes.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(NameError::ForbiddenByte),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Bytes that are no object path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PathError {
    /// More than 4,095 bytes.
    #[error("a path of {len} bytes is too long: {PATH_LEN_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// One of its names is none.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// The path of an object from the root of its project, without a leading slash; the root is the
/// empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectPath(Vec<u8>);

impl ObjectPath {
    /// The root of a project.
    pub const ROOT: Self = Self(Vec::new());

    /// Checks untrusted bytes. Slashes at the ends are dropped, since users type them.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        let trimmed = trim_slashes(bytes);
        if trimmed.len() > PATH_LEN_MAX {
            return Err(PathError::TooLong { len: trimmed.len() });
        }
        if !trimmed.is_empty() {
            for name in trimmed.split(|byte| *byte == b'/') {
                Name::new(name)?;
            }
        }
        Ok(Self(trimmed.to_vec()))
    }

    /// Returns the path of `name` in this directory.
    pub fn join(&self, name: &Name) -> Result<Self, PathError> {
        let mut bytes = self.0.clone();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name.as_bytes());
        if bytes.len() > PATH_LEN_MAX {
            return Err(PathError::TooLong { len: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// Returns the names from the root down.
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .map(|name| Name(name.into()))
    }

    /// Returns the directory and the name, or `None` for the root.
    #[must_use]
    pub fn split_last(&self) -> Option<(Self, Name)> {
        if self.0.is_empty() {
            return None;
        }
        let at = self.0.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = at.map_or((&[][..], &self.0[..]), |at| {
            (&self.0[..at], &self.0[at + 1..])
        });
        Some((Self(parent.to_vec()), Name(name.into())))
    }

    /// Returns true for the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

fn trim_slashes(mut bytes: &[u8]) -> &[u8] {
    while let [b'/', rest @ ..] | [rest @ .., b'/'] = bytes {
        bytes = rest;
    }
    bytes
}

/// A text that is no name of a project, tag or version, and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} cannot name a {what}: {fault}")]
pub struct LabelError {
    what: &'static str,
    text: String,
    fault: LabelFault,
}

/// What is wrong with a text that was to be a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum LabelFault {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {PROJECT_NAME_LEN_MAX} characters")]
    TooLong,
    #[error("it begins with {0:?}, not with a letter or digit")]
    FirstCharacter(char),
    #[error("it holds {0:?}; letters, digits, '.', '_' and '-' are allowed")]
    Character(char),
    #[error("it looks like the number of a version")]
    LooksLikeNumber,
    #[error("it always names the newest version")]
    Latest,
    #[error("the number is too large")]
    NumberTooLarge,
}

impl LabelError {
    fn new(what: &'static str, text: &str, fault: LabelFault) -> Self {
        let text = text.chars().take(100).collect();
        Self { what, text, fault }
    }

    /// A version whose number no version can have.
    pub(crate) fn number_too_large(text: &str) -> Self {
        Self::new("version", text, LabelFault::NumberTooLarge)
    }
}

fn check_label(what: &'static str, text: &str) -> Result<(), LabelError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fault = match text.chars().next() {
        None => LabelFault::Empty,
        Some(first) if is_allowed(first) && !first.is_ascii_alphanumeric() => {
            LabelFault::FirstCharacter(first)
        }
        _ => match text.chars().find(|c| !is_allowed(*c)) {
            Some(c) => LabelFault::Character(c),
            None if text.len() > PROJECT_NAME_LEN_MAX => LabelFault::TooLong,
            None => return Ok(()),
        },
    };
    Err(LabelError::new(what, text, fault))
}

/// Returns true for `v` and digits, which name a version.
pub(crate) fn looks_like_number(text: &str) -> bool {
    let digits = text.strip_prefix('v').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name of a project.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(String);

impl ProjectName {
    /// Checks untrusted text.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        check_label("project", text).map(|()| Self(text.to_owned()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a tag: like a project's, but not `latest` and not `v` with digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagName(String);

impl TagName {
    /// Checks untrusted text.
    pub fn new(text: &str) -> Result<Self, LabelError> {
        check_label("tag", text)?;
        if text == "latest" {
            return Err(LabelError::new("tag", text, LabelFault::Latest));
        }
        if looks_like_number(text) {
            return Err(LabelError::new("tag", text, LabelFault::LooksLikeNumber));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_any_bytes_but_the_forbidden() {
        assert!(Name::new(b"\xff\n ...").is_ok());
        assert_eq!(Name::new(b""), Err(NameError::Empty));
        assert_eq!(Name::new(b".."), Err(NameError::Dots));
        assert_eq!(Name::new(b"a/b"), Err(NameError::ForbiddenByte));
        assert_eq!(Name::new(b"a\0"), Err(NameError::ForbiddenByte));
        assert!(Name::new(&[b'x'; 255]).is_ok());
        assert_eq!(
            Name::new(&[b'x'; 256]),
            Err(NameError::TooLong { len: 256 })
        );
    }

    #[test]
    fn paths_join_and_split() {
        let path = ObjectPath::new(b"/a/b/c/").expect("a path");
        let (parent, name) = path.split_last().expect("not the root");
        assert_eq!(parent.as_bytes(), b"a/b");
        assert_eq!(parent.join(&name), Ok(path));
        assert!(ObjectPath::new(b"a//b").is_err());
        assert!(ObjectPath::new(b"a/../b").is_err());
        assert!(ObjectPath::new(b"/").expect("the root").is_root());
    }

    #[test]
    fn tags_cannot_look_like_versions() {
        for text in ["latest", "v1", "v007", "-a", "", "a b"] {
            assert!(TagName::new(text).is_err(), "{text}");
        }
        for text in ["v", "v1a", "release-1.2", "1"] {
            assert!(TagName::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_name_is_refused_with_the_reason() {
        let reason = |text: &str| TagName::new(text).expect_err(text).to_string();
        let long = "a".repeat(64);
        for (text, words) in [
            (
                "v3",
                "\"v3\" cannot name a tag: it looks like the number of a version",
            ),
            ("latest", "always names the newest version"),
            ("", "it is empty"),
            ("-x", "begins with '-'"),
            ("a b", "it holds ' '"),
            ("\u{1b}[31m", "it holds '\\u{1b}'"),
            (&long, "longer than 63 characters"),
        ] {
            assert!(reason(text).contains(words), "{}", reason(text));
        }
        let project = ProjectName::new("my/app").expect_err("no name").to_string();
        assert!(project.starts_with("\"my/app\" cannot name a project: it holds '/'"));
        assert!(ProjectName::new(&"a".repeat(63)).is_ok());
    }
}
