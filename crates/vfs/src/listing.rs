//! One directory's entries in one compact buffer, in memory as in the disk cache.
//!
//! Format 1: a format byte, the number of entries, the end of each entry from the start of the
//! first (all big-endian, 32 bits), then the entries in the order of their names: the name behind
//! its length, and the record.

use bytes::Bytes;
use lfsfs_overlay::BaseObject;
use lfsfs_reader::Weight;
use lfsfs_types::limits::NAME_LEN_MAX;
use lfsfs_types::{DecodeError, DirId, Name, Reader, Record, VersionId, Writer};

use crate::error::VfsError;
use crate::inode::Place;

const FORMAT: u8 = 1;
const HEADER_LEN: usize = 5;
const END_LEN: usize = 4;

/// The entries of a directory.
#[derive(Debug, Clone)]
pub(crate) struct Listing {
    bytes: Bytes,
    count: u32,
    /// Under which directory and version a cache keeps it.
    stored: Option<(DirId, VersionId)>,
}

impl Listing {
    /// Encodes entries, which must be in the order of their names; `None` if they are not, or do
    /// not fit.
    pub(crate) fn encode(entries: &[(Name, Record)]) -> Option<Self> {
        if !entries.is_sorted_by(|a, b| a.0 < b.0) {
            return None;
        }
        let count = u32::try_from(entries.len()).ok()?;
        let mut table = Writer::new();
        table.u8(FORMAT).u32(count);
        let mut body = Writer::new();
        for (name, record) in entries {
            body.bytes(name.as_bytes()).raw(&record.encode());
            table.u32(u32::try_from(body.len()).ok()?);
        }
        table.raw(&body.finish());
        Some(Self {
            bytes: table.finish().into(),
            count,
            stored: None,
        })
    }

    /// Takes a buffer that [`encode`](Self::encode) made. Every name is checked now, records when
    /// they are looked at.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("listing", &bytes);
        reader.format(FORMAT)?;
        let count = reader.u32()?;
        let ends: Vec<u32> = (0..count.min(u32::try_from(bytes.len()).unwrap_or(u32::MAX)))
            .map(|_| reader.u32())
            .collect::<Result<_, _>>()?;
        let body_len = reader.remaining();
        let is_whole = ends.is_sorted() && ends.last().copied().unwrap_or(0) as usize == body_len;
        if ends.len() != count as usize || !is_whole {
            return Err(reader.error("ends of entries make no sense"));
        }
        let listing = Self {
            bytes: bytes.clone(),
            count,
            stored: None,
        };
        let names = (0..count).map(|index| listing.parts(index).map(|parts| parts.0));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        if !names.is_sorted_by(|a, b| a < b) || names.iter().any(|it| Name::new(it).is_err()) {
            return Err(reader.error("names make no sense"));
        }
        Ok(listing)
    }

    /// Says of which directory of the project it is, and which version changed it last.
    pub(crate) fn stored_as(self, dir: DirId, version: VersionId) -> Self {
        Self {
            stored: Some((dir, version)),
            ..self
        }
    }

    /// Returns the directory of the project, and the version that changed the listing last; `None` for a listing
    /// that no version has.
    pub(crate) fn stored(&self) -> Option<(DirId, VersionId)> {
        self.stored
    }

    pub(crate) fn encoded(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Returns the name of an entry.
    pub(crate) fn name(&self, index: u32) -> Result<&[u8], DecodeError> {
        Ok(self.parts(index)?.0)
    }

    /// Returns the record of an entry.
    pub(crate) fn record(&self, index: u32) -> Result<Record, DecodeError> {
        Record::decode(self.parts(index)?.1)
    }

    /// Returns the name of an entry, as a name.
    pub(crate) fn entry_name(&self, index: u32) -> Result<Name, VfsError> {
        let bytes = self.name(index).map_err(VfsError::damaged_record)?;
        Name::new(bytes).map_err(|error| VfsError::corrupt("read a listing", error.to_string()))
    }

    /// Returns the record of an entry.
    pub(crate) fn entry_record(&self, index: u32) -> Result<Record, VfsError> {
        self.record(index).map_err(VfsError::damaged_record)
    }

    /// Returns the record of a name, if the listing has it.
    pub(crate) fn record_of(&self, name: &Name) -> Result<Option<Record>, VfsError> {
        let index = self.find(name.as_bytes());
        index.map(|index| self.entry_record(index)).transpose()
    }

    /// Returns the position of a name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<u32> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle).ok()?.cmp(name) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Returns name and encoded record of an entry.
    pub(crate) fn encoded_entry(&self, index: u32) -> Result<(&[u8], &[u8]), VfsError> {
        self.parts(index).map_err(VfsError::damaged_record)
    }

    /// Returns the object at a place in this listing.
    pub(crate) fn object(&self, place: Place) -> Result<BaseObject, VfsError> {
        Ok(BaseObject {
            directory: place.dir,
            name: Some(self.entry_name(place.index)?),
            record: self.entry_record(place.index)?,
        })
    }

    fn parts(&self, index: u32) -> Result<(&[u8], &[u8]), DecodeError> {
        let mut reader = Reader::new("entry of a listing", self.entry(index).unwrap_or(&[]));
        let name = reader.bytes(NAME_LEN_MAX)?;
        let record = reader.raw(reader.remaining())?;
        Ok((name, record))
    }

    fn entry(&self, index: u32) -> Option<&[u8]> {
        let start = match index {
            0 => 0,
            _ => self.end(index - 1)?,
        };
        let body = self
            .bytes
            .get(HEADER_LEN + self.count as usize * END_LEN..)?;
        body.get(start..self.end(index)?)
    }

    fn end(&self, index: u32) -> Option<usize> {
        if index >= self.count {
            return None;
        }
        let at = HEADER_LEN + index as usize * END_LEN;
        let end = self.bytes.get(at..)?.first_chunk::<END_LEN>()?;
        Some(u32::from_be_bytes(*end) as usize)
    }
}

impl Weight for Listing {
    fn weight(&self) -> usize {
        self.bytes.len() + 128
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::{Kind, Timestamp};

    use super::*;

    fn entries() -> Vec<(Name, Record)> {
        let record = |size: u64| Record {
            kind: Kind::Symlink {
                target: vec![b'x'; usize::try_from(size).unwrap()].into(),
            },
            mode: 0o777,
            uid: 1,
            gid: 2,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            sha256: None,
            link: None,
            xattrs: Vec::new(),
        };
        let names: [&[u8]; 4] = [b"a", b"b", b"bb", b"\xff"];
        let named = |(name, size)| (Name::new(name).unwrap(), record(size));
        names.into_iter().zip(1..).map(named).collect()
    }

    #[test]
    fn entries_read_back_and_are_found() {
        let listing = Listing::encode(&entries()).unwrap();
        let listing = Listing::decode(listing.encoded().clone()).unwrap();
        for (index, (name, record)) in (0..).zip(entries()) {
            assert_eq!(listing.find(name.as_bytes()), Some(index));
            assert_eq!(listing.name(index).unwrap(), name.as_bytes());
            assert_eq!(listing.record(index).unwrap(), record);
        }
        assert_eq!(listing.find(b"ba"), None);
        assert!(listing.record(4).is_err());
    }

    #[test]
    fn an_empty_directory_is_a_listing() {
        let listing = Listing::encode(&[]).unwrap();
        let listing = Listing::decode(listing.encoded().clone()).unwrap();
        assert_eq!((listing.len(), listing.find(b"a")), (0, None));
    }

    #[test]
    fn entries_out_of_order_are_refused() {
        let mut entries = entries();
        entries.swap(0, 1);
        assert!(Listing::encode(&entries).is_none());
    }

    #[test]
    fn damaged_buffers_are_errors_or_other_names_but_never_a_panic() {
        let whole = Listing::encode(&entries()).unwrap().encoded().to_vec();
        for len in 0..whole.len() {
            assert!(Listing::decode(whole[..len].to_vec().into()).is_err());
        }
        for position in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[position] ^= 1 << bit;
                if let Ok(listing) = Listing::decode(bytes.into()) {
                    (0..listing.len()).for_each(|index| drop(listing.record(index)));
                }
            }
        }
    }

    #[test]
    fn a_record_that_cannot_be_decoded_is_corruption() {
        let mut bytes = Listing::encode(&entries()).unwrap().encoded().to_vec();
        // The last entry is a name behind its length, and a record, which begins with its format.
        let record = entries().last().unwrap().1.encode();
        let start = bytes.len() - record.len();
        bytes[start] = 0xff;
        let listing = Listing::decode(bytes.into()).unwrap();
        assert!(listing.entry_name(3).is_ok());
        let error = listing.entry_record(3).unwrap_err();
        assert!(error.is_corrupt(), "{error:?}");
    }
}
