//! One block of a backup: what stands in front of its bytes, and its hash.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// Rows are put together up to about so many bytes.
pub(super) const RAW_LEN: usize = 256 * 1024;
/// Most bytes of a block before it is compressed, and after.
pub(super) const RAW_LEN_MAX: usize = 16 * 1024 * 1024;
/// Bytes in front of those of a block.
pub(super) const PREFIX_LEN: usize = 10;
/// Bytes of a hash.
pub(super) const SUM_LEN: usize = 32;
const LEVEL: i32 = 3;

/// The hash of a block and, with it, of all before it.
pub(super) type Sum = [u8; SUM_LEN];

/// What the first block takes for the hash of the one before it.
pub(super) const FIRST: Sum = [0; SUM_LEN];

/// What is in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Head,
    Rows,
    End,
}

/// What stands in front of the bytes of a block, but for the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) kind: Kind,
    is_compressed: bool,
    raw_len: u32,
    stored_len: u32,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Head => 1,
            Self::Rows => 2,
            Self::End => 3,
        }
    }
}

impl Prefix {
    fn encode(self) -> [u8; PREFIX_LEN] {
        let mut bytes = [0; PREFIX_LEN];
        bytes[0] = self.kind.byte();
        bytes[1] = u8::from(self.is_compressed);
        bytes[2..6].copy_from_slice(&self.raw_len.to_be_bytes());
        bytes[6..].copy_from_slice(&self.stored_len.to_be_bytes());
        bytes
    }

    /// Takes a prefix apart; its lengths are checked before memory is taken for them.
    pub(super) fn decode(bytes: [u8; PREFIX_LEN]) -> Result<Self, &'static str> {
        let [kind, codec, a, b, c, d, e, f, g, h] = bytes;
        let (raw_len, stored_len) = (
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([e, f, g, h]),
        );
        let kind = match kind {
            1 => Kind::Head,
            2 => Kind::Rows,
            3 => Kind::End,
            _ => return Err("an unknown kind of block"),
        };
        let is_compressed = match codec {
            0 => false,
            1 => true,
            _ => return Err("an unknown codec"),
        };
        if raw_len as usize > RAW_LEN_MAX {
            return Err("a block that is too long");
        }
        let fits = match is_compressed {
            true => stored_len < raw_len,
            false => stored_len == raw_len,
        };
        if !fits {
            return Err("a block of wrong lengths");
        }
        Ok(Self {
            kind,
            is_compressed,
            raw_len,
            stored_len,
        })
    }

    pub(super) const fn stored_len(self) -> usize {
        self.stored_len as usize
    }

    /// Returns the hash of a block with these bytes behind the one with the hash `before`.
    pub(super) fn sum(self, before: &Sum, stored: &[u8]) -> Sum {
        let mut hasher = Sha256::new();
        hasher.update(before);
        hasher.update(self.encode());
        hasher.update(stored);
        hasher.finalize().into()
    }

    /// Returns what was put into the block.
    pub(super) fn unpack(self, stored: Vec<u8>) -> Result<Vec<u8>, &'static str> {
        if !self.is_compressed {
            return Ok(stored);
        }
        let raw_len = self.raw_len as usize;
        zstd::bulk::decompress(&stored, raw_len)
            .ok()
            .filter(|raw| raw.len() == raw_len)
            .ok_or("a block that cannot be decompressed")
    }
}

/// A block, ready to be written.
#[derive(Debug)]
pub(super) struct Packed<'a> {
    pub(super) prefix: [u8; PREFIX_LEN],
    pub(super) sum: Sum,
    pub(super) stored: Cow<'a, [u8]>,
}

/// Makes a block, which is compressed if that saves anything. `raw` has at most [`RAW_LEN_MAX`] bytes.
pub(super) fn pack<'a>(kind: Kind, raw: &'a [u8], before: &Sum) -> Packed<'a> {
    let compressed = zstd::bulk::compress(raw, LEVEL).ok();
    let compressed = compressed.filter(|it| it.len() < raw.len());
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a block is shorter than 4 GiB");
    let is_compressed = compressed.is_some();
    let stored = compressed.map_or(Cow::Borrowed(raw), Cow::Owned);
    let prefix = Prefix {
        kind,
        is_compressed,
        raw_len: len(raw),
        stored_len: len(&stored),
    };
    Packed {
        prefix: prefix.encode(),
        sum: prefix.sum(before, &stored),
        stored,
    }
}
