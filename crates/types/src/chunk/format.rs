//! What differs between the formats of a chunk.

use std::fmt;

use crate::id::ContentId;
use crate::limits::BLOCK_RAW_LEN_MAX;

/// The format of a chunk: its first bytes and its footer have the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkFormat {
    /// Whole ids in the footer, and blocks of at most 128 KiB.
    One,
    /// Prefixes of ids in the footer, and blocks of up to [`BLOCK_RAW_LEN_MAX`] bytes.
    Two,
}

impl ChunkFormat {
    /// The format that is written.
    pub(super) const NEWEST: Self = Self::Two;

    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::One),
            2 => Some(Self::Two),
            _ => None,
        }
    }

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// Returns how many bytes of a content id the footer has.
    ///
    /// Twenty bytes are enough: who would pass off one content as another must find two with the same
    /// prefix, 2^80 hashes. A datanode takes no chunk with two contents of one prefix.
    pub(super) const fn prefix_len(self) -> usize {
        match self {
            Self::One => ContentId::LEN,
            Self::Two => 20,
        }
    }

    pub(super) const fn block_raw_len_max(self) -> u32 {
        match self {
            Self::One => 128 * 1024,
            Self::Two => BLOCK_RAW_LEN_MAX,
        }
    }
}

/// The first bytes of the id of a content, by which the footer of a chunk names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdPrefix {
    /// Zeros behind the prefix.
    bytes: [u8; ContentId::LEN],
    len: u8,
}

impl IdPrefix {
    /// Takes the first bytes of an id; all of them if `len` is more than it has.
    pub(super) fn of(id: &ContentId, len: usize) -> Self {
        Self::from_slice(&id.as_bytes()[..len.min(ContentId::LEN)])
    }

    /// Takes at most as many bytes as an id has; what is more is left out.
    pub(super) fn from_slice(prefix: &[u8]) -> Self {
        let len = prefix.len().min(ContentId::LEN);
        let mut bytes = [0; ContentId::LEN];
        bytes[..len].copy_from_slice(&prefix[..len]);
        Self {
            bytes,
            len: u8::try_from(len).expect("an id has 32 bytes"),
        }
    }

    /// Returns true if the id begins with this prefix.
    #[must_use]
    pub fn is_of(&self, id: &ContentId) -> bool {
        id.as_bytes().starts_with(self.as_bytes())
    }

    /// Returns the bytes of the prefix.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.as_bytes().iter();
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdPrefix({self})")
    }
}
