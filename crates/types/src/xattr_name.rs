//! Names of extended attributes, and the namespaces that a mount lets programs use.

use std::fmt;

use thiserror::Error;

use crate::access_list::{ACCESS_LIST, DEFAULT_LIST};
use crate::limits::XATTR_NAME_LEN_MAX;

/// Bytes that are no name of an extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum XattrNameError {
    /// No bytes.
    #[error("the name of an extended attribute cannot be empty")]
    Empty,
    /// More than 255 bytes.
    #[error("the name of an extended attribute has {len} bytes: {XATTR_NAME_LEN_MAX} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A NUL, which ends a name.
    #[error("the name of an extended attribute cannot hold NUL")]
    Nul,
}

/// The name of an extended attribute with its namespace: 1 to 255 bytes, none of them NUL. Unlike the
/// name of an entry it can hold `/`.
///
/// A version can have names of any namespace: which of them a file system takes is its own to say.
/// [`namespace`](Self::namespace) tells what a mount takes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct XattrName(Box<[u8]>);

/// The namespaces that Linux file systems have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrNamespace {
    /// `user.`: for programs.
    User,
    /// `trusted.`: for root.
    Trusted,
    /// `security.`: for security modules and capabilities.
    Security,
    /// `system.posix_acl_access` or `system.posix_acl_default`.
    AccessList,
}

/// Why a name has no namespace, as local file systems tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NamespaceError {
    /// It begins with no namespace that there is.
    #[error("no such namespace of extended attributes")]
    Unknown,
    /// Nothing follows the namespace.
    #[error("an extended attribute needs a name behind its namespace")]
    NoName,
}

const PREFIXES: [(&[u8], XattrNamespace); 3] = [
    (b"user.", XattrNamespace::User),
    (b"trusted.", XattrNamespace::Trusted),
    (b"security.", XattrNamespace::Security),
];
const ACCESS_LISTS: [&[u8]; 2] = [ACCESS_LIST, DEFAULT_LIST];

impl XattrName {
    /// Checks untrusted bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, XattrNameError> {
        match bytes {
            [] => Err(XattrNameError::Empty),
            _ if bytes.len() > XATTR_NAME_LEN_MAX => {
                Err(XattrNameError::TooLong { len: bytes.len() })
            }
            _ if bytes.contains(&0) => Err(XattrNameError::Nul),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the namespace of the name.
    pub fn namespace(&self) -> Result<XattrNamespace, NamespaceError> {
        if ACCESS_LISTS.contains(&self.as_bytes()) {
            return Ok(XattrNamespace::AccessList);
        }
        let found = PREFIXES
            .iter()
            .find_map(|(prefix, namespace)| Some((self.0.strip_prefix(*prefix)?, *namespace)));
        match found {
            None => Err(NamespaceError::Unknown),
            Some(([], _)) => Err(NamespaceError::NoName),
            Some((_, namespace)) => Ok(namespace),
        }
    }
}

impl fmt::Debug for XattrName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(text: &str) -> Result<XattrNamespace, NamespaceError> {
        XattrName::new(text.as_bytes()).expect("a name").namespace()
    }

    #[test]
    fn names_are_any_bytes_but_nul() {
        for text in ["user.a/b", ".", "..", "/", "user.\n"] {
            assert!(XattrName::new(text.as_bytes()).is_ok(), "{text}");
        }
        assert_eq!(XattrName::new(b""), Err(XattrNameError::Empty));
        assert_eq!(XattrName::new(b"user.\0"), Err(XattrNameError::Nul));
        assert!(XattrName::new(&[b'x'; 255]).is_ok());
        let told = XattrName::new(&[b'x'; 256]);
        assert_eq!(told, Err(XattrNameError::TooLong { len: 256 }));
    }

    #[test]
    fn namespaces_are_those_of_local_file_systems() {
        assert_eq!(namespace("user.a/b"), Ok(XattrNamespace::User));
        assert_eq!(namespace("trusted.."), Ok(XattrNamespace::Trusted));
        assert_eq!(namespace("security.a"), Ok(XattrNamespace::Security));
        assert_eq!(
            namespace("system.posix_acl_default"),
            Ok(XattrNamespace::AccessList)
        );
        for text in [
            "foo",
            "user",
            "User.a",
            "system.a",
            "system.posix_acl_access.",
            "btrfs.a",
        ] {
            assert_eq!(namespace(text), Err(NamespaceError::Unknown), "{text}");
        }
        for text in ["user.", "trusted.", "security."] {
            assert_eq!(namespace(text), Err(NamespaceError::NoName), "{text}");
        }
    }
}
