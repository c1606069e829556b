//! What differs each time the objects of a pack are unpacked: times and owners.

use std::collections::BTreeMap;

use crate::codec::{DecodeError, Reader, Writer};
use crate::content::Content;
use crate::limits::PACK_ENTRIES_MAX;
use crate::timestamp::Timestamp;

const FORMAT: u8 = 1;

/// The owner of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The attributes of one object of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EntryAttributes {
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the attributes.
    pub ctime: Timestamp,
    /// Its owner.
    pub owner: Owner,
}

/// The attributes of all objects of a pack, in the order of its listing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PackAttributes {
    entries: Vec<EntryAttributes>,
}

impl PackAttributes {
    /// Takes one for each entry of the listing; `None` if they are more than a pack may have.
    #[must_use]
    pub fn new(entries: Vec<EntryAttributes>) -> Option<Self> {
        (entries.len() <= PACK_ENTRIES_MAX).then_some(Self { entries })
    }

    /// Returns the attributes in the order of the listing. A caller that reads both must check that
    /// there are as many as the listing has entries.
    #[must_use]
    pub fn entries(&self) -> &[EntryAttributes] {
        &self.entries
    }

    /// Returns the content that the encoded attributes are.
    #[must_use]
    pub fn content(&self) -> Content {
        Content::of_bytes(&self.encode())
    }

    /// Returns the attributes in format 1.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let default = self.default_owner();
        let exceptions = || {
            (0u64..)
                .zip(&self.entries)
                .filter(|(_, it)| it.owner != default)
        };
        let mut writer = Writer::new();
        writer.u8(FORMAT).varint(self.entries.len() as u64);
        encode_owner(default, &mut writer);
        for entry in &self.entries {
            entry.mtime.encode(&mut writer);
            entry.ctime.encode(&mut writer);
        }
        writer.varint(exceptions().count() as u64);
        for (index, entry) in exceptions() {
            encode_owner(entry.owner, writer.varint(index));
        }
        writer.finish()
    }

    /// Decodes attributes that fill `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("pack attributes", bytes);
        reader.format(FORMAT)?;
        let count = reader.varint()?;
        if count > PACK_ENTRIES_MAX as u64 {
            return Err(reader.error("too many entries"));
        }
        let default = decode_owner(&mut reader)?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(EntryAttributes {
                mtime: Timestamp::decode(&mut reader)?,
                ctime: Timestamp::decode(&mut reader)?,
                owner: default,
            });
        }
        decode_exceptions(&mut reader, default, &mut entries)?;
        let attributes = Self { entries };
        if attributes.default_owner() != default {
            return Err(reader.error("default owner is not the most frequent one"));
        }
        reader.finish()?;
        Ok(attributes)
    }

    /// Returns the owner of most objects; of several such, the one with the lowest numbers.
    fn default_owner(&self) -> Owner {
        let mut counts = BTreeMap::<Owner, usize>::new();
        for entry in &self.entries {
            *counts.entry(entry.owner).or_default() += 1;
        }
        // Of equal counts `max_by_key` takes the last, which reversed is the lowest.
        let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
        most.map(|(owner, _)| owner).unwrap_or_default()
    }
}

fn decode_exceptions(
    reader: &mut Reader<'_>,
    default: Owner,
    entries: &mut [EntryAttributes],
) -> Result<(), DecodeError> {
    let mut next = 0;
    for _ in 0..reader.varint()? {
        let index = reader.varint()?;
        let owner = decode_owner(reader)?;
        if index < next || owner == default {
            return Err(reader.error("exceptions out of order or none"));
        }
        let entry = usize::try_from(index)
            .ok()
            .and_then(|index| entries.get_mut(index))
            .ok_or_else(|| reader.error("exception beyond the entries"))?;
        entry.owner = owner;
        next = index + 1;
    }
    Ok(())
}

fn encode_owner(owner: Owner, writer: &mut Writer) {
    writer
        .varint(u64::from(owner.uid))
        .varint(u64::from(owner.gid));
}

fn decode_owner(reader: &mut Reader<'_>) -> Result<Owner, DecodeError> {
    Ok(Owner {
        uid: reader.varint32()?,
        gid: reader.varint32()?,
    })
}
