//! The two values of a pack: its listing, and its row. docs/formats.md "Packs in the metadata".

use std::collections::{BTreeMap, HashMap};

use lfsfs_meta_store::{MetaError, MetaStore};
use lfsfs_types::limits::PACK_ENTRIES_MAX;
use lfsfs_types::pack::{EntryAttributes, Owner, PackAttributes, PackEntry, PackKind, PackListing};
use lfsfs_types::{
    ContentId, DecodeError, DirId, Kind, ObjectPath, Reader, Record, VersionId, VersionNumber,
    Writer,
};

use crate::error::Result;
use crate::keys;
use crate::metadata::{get_row, random};
use crate::pack::{Listed, Pack, PackDir};
use crate::rows::RowValue;

/// A quick level: listings are small, and their hashes do not compress.
const LEVEL: i32 = 3;
/// A listing has no more bytes: a path and a target for each entry, in no case as long as they can be.
const LISTING_LEN_MAX: usize = 64 << 20;

/// What differs each time the same objects lie somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackRow {
    /// Names the listing.
    pub(crate) listing: ContentId,
    /// In the order of the listing.
    attributes: PackAttributes,
    /// The directories of the listing in its order, each with when its own listing changed.
    dirs: Vec<(DirId, Listed)>,
}

/// The bytes of a listing, as they are kept: compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListingRow(pub(crate) Vec<u8>);

impl ListingRow {
    /// Returns the listing; `key` is that of a row that names it.
    pub(crate) fn listing(&self, key: &[u8]) -> Result<PackListing, MetaError> {
        PackListing::decode(&self.0).map_err(|error| MetaError::corrupt(error.to_string(), key))
    }
}

impl RowValue for ListingRow {
    const WHAT: &'static str = "pack listing";

    fn write(&self, writer: &mut Writer) {
        // Compression of bytes in memory fails for want of memory alone; then they are kept as they are.
        let compressed = zstd::bulk::compress(&self.0, LEVEL).unwrap_or_default();
        if compressed.is_empty() || compressed.len() >= self.0.len() {
            writer.varint(0).raw(&self.0);
        } else {
            writer.varint(self.0.len() as u64).raw(&compressed);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        let stored = reader.raw(reader.remaining())?;
        match len {
            0 => Ok(Self(stored.to_vec())),
            1..=LISTING_LEN_MAX => zstd::bulk::decompress(stored, len)
                .ok()
                .filter(|raw| raw.len() == len)
                .map(Self)
                .ok_or_else(|| reader.error("cannot be decompressed")),
            _ => Err(reader.error("longer than a listing")),
        }
    }
}

/// Returns a listing that the row at `key` names.
pub(crate) fn read_listing(
    store: &dyn MetaStore,
    listing: ContentId,
    key: &[u8],
) -> Result<ListingRow> {
    let found = get_row(store, &keys::pack_listing(listing))?;
    let missing = || MetaError::corrupt("the listing of a pack is missing", key);
    Ok(found.ok_or_else(missing)?)
}

/// A random number, written anew each time a publisher uses a listing, or an operator changes the patterns of a project:
/// the process that removes the row at that moment finds another number, and leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    /// Draws a number.
    pub(crate) fn draw() -> Result<Self> {
        let drawn = u128::from_be_bytes(random()?);
        Ok(Self(u64::try_from(drawn >> 64).unwrap_or_default()))
    }
}

impl RowValue for Stamp {
    const WHAT: &'static str = "stamp";

    fn write(&self, writer: &mut Writer) {
        writer.u64(self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.u64()?))
    }
}

/// Directories with ids one behind the other that were made in one pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedDirsRow {
    /// How many there are.
    pub(crate) count: u64,
    /// The root of the pack.
    pub(crate) root: DirId,
    /// The version that made them.
    pub(crate) version: VersionNumber,
}

impl RowValue for PackedDirsRow {
    const WHAT: &'static str = "row of directories in a pack";

    fn write(&self, writer: &mut Writer) {
        writer
            .varint(self.count)
            .varint(self.root.0)
            .varint(self.version.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            count: reader.varint()?,
            root: DirId(reader.varint()?),
            version: VersionNumber(reader.varint()?),
        })
    }
}

impl RowValue for PackRow {
    const WHAT: &'static str = "pack row";

    fn write(&self, writer: &mut Writer) {
        let mut rest = Writer::new();
        rest.bytes(&self.attributes.encode());
        write_dirs(&self.dirs, &mut rest);
        writer.raw(self.listing.as_bytes());
        ListingRow(rest.finish()).write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let listing = ContentId(reader.array()?);
        let rest = ListingRow::read(reader)?.0;
        let mut rest = Reader::new(Self::WHAT, &rest);
        let attributes = PackAttributes::decode(rest.bytes(LISTING_LEN_MAX)?)?;
        let dirs = read_dirs(&mut rest)?;
        rest.finish()?;
        Ok(Self {
            listing,
            attributes,
            dirs,
        })
    }
}

/// Few versions listed the directories of a pack last, so these stand in front.
fn write_dirs(dirs: &[(DirId, Listed)], writer: &mut Writer) {
    let mut listings: Vec<_> = dirs.iter().map(|(_, listed)| *listed).collect();
    listings.sort_unstable();
    listings.dedup();
    writer.varint(listings.len() as u64);
    for listed in &listings {
        writer.varint(listed.version.0).raw(listed.id.as_bytes());
    }
    writer.varint(dirs.len() as u64);
    for (dir, listed) in dirs {
        let index = listings.binary_search(listed).unwrap_or_default();
        writer.varint(dir.0).varint(index as u64);
    }
}

fn read_dirs(reader: &mut Reader<'_>) -> Result<Vec<(DirId, Listed)>, DecodeError> {
    let mut listings = Vec::new();
    for _ in 0..count(reader)? {
        listings.push(Listed {
            version: VersionNumber(reader.varint()?),
            id: VersionId(reader.array()?),
        });
    }
    let mut dirs = Vec::new();
    for _ in 0..count(reader)? {
        let dir = DirId(reader.varint()?);
        let index = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        let listed = listings.get(index).copied();
        dirs.push((dir, listed.ok_or_else(|| reader.error("no such listing"))?));
    }
    Ok(dirs)
}

fn count(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    match reader.varint()? {
        count if count <= PACK_ENTRIES_MAX as u64 => Ok(count),
        _ => Err(reader.error("too many directories")),
    }
}

impl PackRow {
    /// Returns the directories below the root.
    pub(crate) fn dirs(&self) -> impl Iterator<Item = DirId> {
        self.dirs.iter().map(|(dir, _)| *dir)
    }

    /// Returns the row and the listing of a pack.
    pub(crate) fn of(pack: &Pack) -> Result<(Self, ListingRow)> {
        let mut objects = Vec::new();
        let mut found = vec![(pack.root(), ObjectPath::ROOT)];
        while let Some((dir, above)) = found.pop() {
            for (name, record) in pack.dir(dir).into_iter().flat_map(|dir| &dir.entries) {
                let path = crate::side::join(&above, name)?;
                found.extend(record.dir().map(|below| (below, path.clone())));
                objects.push((path, record));
            }
        }
        objects.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let listed = |dir| pack.dir(dir).map(|found| (dir, found.listed));
        let dirs = objects
            .iter()
            .filter_map(|(_, record)| listed(record.dir()?));
        let dirs: Vec<_> = dirs.collect();
        let attributes = objects.iter().map(|(_, record)| attributes_of(record));
        let attributes = PackAttributes::new(attributes.collect()).ok_or_else(too_large)?;
        let entries = objects
            .into_iter()
            .map(|(path, record)| entry(path, record));
        let listing = PackListing::new(entries.collect::<Option<_>>().ok_or_else(too_large)?);
        let listing = listing.map_err(|_| too_large())?.encode();
        let row = Self {
            listing: lfsfs_types::content::Content::of_bytes(&listing).id,
            attributes,
            dirs,
        };
        Ok((row, ListingRow(listing)))
    }

    /// Returns the pack that this row at `key` and its listing make up.
    pub(crate) fn pack(
        &self,
        root: DirId,
        listing: &ListingRow,
        key: &[u8],
    ) -> Result<Pack, MetaError> {
        let corrupt = |problem: &str| MetaError::corrupt(problem.to_owned(), key);
        let decoded = listing.listing(key)?;
        let (entries, attributes) = (decoded.entries(), self.attributes.entries());
        if entries.len() != attributes.len() {
            return Err(corrupt("a pack row with other attributes than its listing"));
        }
        let unknown = Listed {
            version: VersionNumber::ZERO,
            id: VersionId::ZERO,
        };
        let mut dirs = BTreeMap::from([(root, PackDir::new(None, unknown))]);
        let mut by_path: HashMap<Vec<u8>, DirId> = HashMap::from([(Vec::new(), root)]);
        let mut ids = self.dirs.iter();
        for (entry, attributes) in entries.iter().zip(attributes) {
            let split = entry.path.split_last();
            let (above, name) = split.ok_or_else(|| corrupt("a pack that is a single file"))?;
            let above = by_path.get(above.as_bytes()).copied();
            let above = above.ok_or_else(|| corrupt("an entry without its directory"))?;
            let mut below = DirId::ROOT;
            if entry.kind == PackKind::Directory {
                let (dir, listed) = *ids
                    .next()
                    .ok_or_else(|| corrupt("a directory without id"))?;
                let place = Some((above, name.clone()));
                if dirs.insert(dir, PackDir::new(place, listed)).is_some() {
                    return Err(corrupt("a directory that is in its pack twice"));
                }
                by_path.insert(entry.path.as_bytes().to_vec(), dir);
                below = dir;
            }
            let record = record_of(entry, below, attributes);
            if let Some(dir) = dirs.get_mut(&above) {
                dir.entries.insert(name, record);
            }
        }
        if ids.next().is_some() {
            return Err(corrupt("an id without its directory"));
        }
        Ok(Pack { root, dirs })
    }
}

/// The publisher that builds a pack keeps to its limits.
fn too_large() -> MetaError {
    MetaError::corrupt("a pack that cannot be kept", &[])
}

fn attributes_of(record: &Record) -> EntryAttributes {
    EntryAttributes {
        mtime: record.mtime,
        ctime: record.ctime,
        owner: Owner {
            uid: record.uid,
            gid: record.gid,
        },
    }
}

fn entry(path: ObjectPath, record: &Record) -> Option<PackEntry> {
    let kind = match &record.kind {
        Kind::File { size, content } => PackKind::File {
            size: *size,
            content: *content,
        },
        Kind::Directory { .. } => PackKind::Directory,
        Kind::Symlink { target } => PackKind::Symlink {
            target: target.clone(),
        },
        _ => return None,
    };
    Some(PackEntry {
        path,
        mode: record.mode,
        kind,
    })
}

/// Returns the record of an entry; a directory has the id `dir`.
pub(crate) fn record_of(entry: &PackEntry, dir: DirId, attributes: &EntryAttributes) -> Record {
    let kind = match &entry.kind {
        PackKind::Directory => Kind::Directory { dir },
        PackKind::File { size, content } => Kind::File {
            size: *size,
            content: *content,
        },
        PackKind::Symlink { target } => Kind::Symlink {
            target: target.clone(),
        },
    };
    Record {
        uid: attributes.owner.uid,
        gid: attributes.owner.gid,
        mtime: attributes.mtime,
        ctime: attributes.ctime,
        ..Record::plain(kind, entry.mode)
    }
}
