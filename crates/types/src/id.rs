//! Identifiers, one type for each kind of thing, so that none is taken for another.

use std::fmt;

use thiserror::Error;

/// A text that is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is not a valid {what}: {digits} hexadecimal digits are expected")]
pub struct IdError {
    what: &'static str,
    digits: usize,
    text: String,
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Returns the bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Takes untrusted bytes; `None` if their number is wrong.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Parses untrusted hexadecimal text.
            pub fn try_from_hex(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self).ok_or_else(|| IdError {
                    what: $what,
                    digits: 2 * $len,
                    text: text.chars().take(100).collect(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                write_hex(&self.0[..4], f)?;
                f.write_str("..)")
            }
        }
    };
}

byte_id!(
    /// A SHA-256 that is not the name of anything.
    Sha256, 32, "SHA-256"
);
byte_id!(
    /// Names the bytes of a content: see [`crate::content`]. Pieces of large contents are named in
    /// the same space, by the SHA-256 of their bytes.
    ContentId, 32, "content id"
);
byte_id!(
    /// Names a chunk: the SHA-256 of its stored bytes.
    ChunkId, 32, "chunk id"
);
byte_id!(
    /// A project: random, never used again. A project's name only points to it.
    ProjectId, 16, "project id"
);
byte_id!(
    /// A version's own random id, drawn by the client that opened the session.
    VersionId, 16, "version id"
);
byte_id!(
    /// A cluster, drawn at its first start.
    ClusterId, 16, "cluster id"
);
byte_id!(
    /// A chunk transfer or a metadata session.
    SessionId, 16, "session id"
);
byte_id!(
    /// A datanode, kept on its disk.
    NodeId, 16, "node id"
);

impl ContentId {
    /// The content of no bytes. It is never stored and always present.
    pub const EMPTY: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ]);
}

impl VersionId {
    /// The id of version 0, which every project has and which is empty.
    pub const ZERO: Self = Self([0; 16]);
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

number_id!(
    /// A directory of a project, given by the coordinator, kept through renames, never given twice.
    /// Numbers from [`DirId::SESSION_FIRST`] on stand for directories that a commit makes; the
    /// coordinator replaces them when it publishes.
    DirId
);
number_id!(
    /// All names of one hard-linked file share one. Numbers from [`LinkId::SESSION_FIRST`] on stand
    /// for links that a commit makes.
    LinkId
);
number_id!(
    /// A version of a project: 0 is the empty one, and they only grow.
    VersionNumber
);

impl DirId {
    /// The directory that holds the root's own record, under the empty name.
    pub const ABOVE_ROOT: Self = Self(0);
    /// The root directory of every project.
    pub const ROOT: Self = Self(1);
    /// The first number that stands for a directory made by the commit that names it.
    pub const SESSION_FIRST: Self = Self(1 << 63);

    /// Returns true for a directory that only the commit in hand knows.
    #[must_use]
    pub const fn is_session(self) -> bool {
        self.0 >= Self::SESSION_FIRST.0
    }
}

impl LinkId {
    /// The first number that stands for a link made by the commit that names it.
    pub const SESSION_FIRST: Self = Self(1 << 63);

    /// Returns true for a link that only the commit in hand knows.
    #[must_use]
    pub const fn is_session(self) -> bool {
        self.0 >= Self::SESSION_FIRST.0
    }
}

impl VersionNumber {
    /// The empty version that every project starts with.
    pub const ZERO: Self = Self(0);

    /// Returns the number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for VersionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for DirId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways() {
        let id = ProjectId(*b"0123456789abcdef");
        assert_eq!(ProjectId::try_from_hex(&id.to_string()), Ok(id));
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in [
            "",
            "00",
            "zz112233445566778899aabbccddeeff",
            "00112233445566778899aabbccddeef\u{e9}",
        ] {
            assert!(ProjectId::try_from_hex(text).is_err(), "{text:?}");
        }
    }
}
