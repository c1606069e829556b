//! The value of every row: a format byte, then fields in the codec of the durable formats.
//!
//! docs/formats.md "Metadata keys" has the table. A value that cannot be decoded is a corrupt row;
//! nothing here panics on what a disk holds.

use lfsfs_common::clock::WallTime;
use lfsfs_meta_store::MetaError;
use lfsfs_types::limits::PROJECT_NAME_LEN_MAX;
use lfsfs_types::{
    ClusterId, DecodeError, DirId, LinkId, Name, ProjectId, ProjectName, Reader, Record, SessionId,
    Timestamp, VersionId, VersionNumber, Writer,
};

use crate::pack::PackDir;
use crate::settings::{PATTERN_LEN_MAX, PATTERNS_MAX, ProjectSettings};

/// The format byte of every value of this layout.
pub(crate) const FORMAT: u8 = 1;
/// A value that can be kept in a row.
pub(crate) trait RowValue: Sized {
    /// What the row is called in errors.
    const WHAT: &'static str;

    /// Appends the fields behind the format byte.
    fn write(&self, writer: &mut Writer);

    /// Takes the fields behind the format byte.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The newest format of rows of this kind. Each has further fields behind those of the one before.
    const FORMAT_NEWEST: u8 = FORMAT;

    /// Returns the oldest format that has all fields of the value.
    fn format(&self) -> u8 {
        FORMAT
    }

    /// Appends the fields that a format has beside those of the one before.
    fn write_fields_of(&self, _format: u8, _: &mut Writer) {}

    /// Takes the fields that a format has beside those of the one before.
    fn read_fields_of(&mut self, _format: u8, _: &mut Reader<'_>) -> Result<(), DecodeError> {
        Ok(())
    }

    /// Returns the value with its format byte.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(self.format());
        self.write(&mut writer);
        for format in FORMAT + 1..=self.format() {
            self.write_fields_of(format, &mut writer);
        }
        writer.finish()
    }

    /// Decodes the value of the row at `key`.
    fn decode(key: &[u8], value: &[u8]) -> Result<Self, MetaError> {
        let reader = Reader::new(Self::WHAT, value);
        let row = Self::decode_from(reader);
        row.map_err(|error| MetaError::corrupt(error.to_string(), key))
    }

    /// Takes a whole value.
    fn decode_from(mut reader: Reader<'_>) -> Result<Self, DecodeError> {
        let newer = (FORMAT + 1..=Self::FORMAT_NEWEST).find(|format| reader.starts_with(*format));
        let format = newer.unwrap_or(FORMAT);
        reader.format(format)?;
        let mut row = Self::read(&mut reader)?;
        for format in FORMAT + 1..=format {
            row.read_fields_of(format, &mut reader)?;
        }
        reader.finish()?;
        Ok(row)
    }
}

/// The value of rows whose key says everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker;

impl RowValue for Marker {
    const WHAT: &'static str = "marker";

    fn write(&self, _: &mut Writer) {}

    fn read(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

/// The layout of the store and the cluster it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClusterRow {
    pub(crate) layout: u64,
    pub(crate) cluster: ClusterId,
}

impl RowValue for ClusterRow {
    const WHAT: &'static str = "cluster row";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.layout).raw(self.cluster.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            layout: reader.varint()?,
            cluster: ClusterId(reader.array()?),
        })
    }
}

impl RowValue for ProjectId {
    const WHAT: &'static str = "project name row";

    fn write(&self, writer: &mut Writer) {
        writer.raw(self.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.array()?))
    }
}

/// What a project is, apart from its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectRow {
    pub(crate) name: ProjectName,
    pub(crate) created: Timestamp,
    pub(crate) settings: ProjectSettings,
}

impl RowValue for ProjectRow {
    const WHAT: &'static str = "project row";

    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.name.as_str().as_bytes());
        write_time(self.created, writer);
        let ProjectSettings {
            replication,
            pack_patterns,
            ignore_patterns: _,
            ignore_times: _,
        } = &self.settings;
        writer.varint(u64::from(*replication));
        write_patterns(pack_patterns, writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = read_text(reader, PROJECT_NAME_LEN_MAX)?;
        let name = ProjectName::new(&name).map_err(|_| reader.error("no project name"))?;
        let created = read_time(reader)?;
        let replication = reader.varint32()?;
        let settings = ProjectSettings {
            replication,
            pack_patterns: read_patterns(reader)?,
            ignore_patterns: Vec::new(),
            ignore_times: false,
        };
        Ok(Self {
            name,
            created,
            settings,
        })
    }

    const FORMAT_NEWEST: u8 = 3;

    fn format(&self) -> u8 {
        let ProjectSettings {
            ignore_patterns,
            ignore_times,
            ..
        } = &self.settings;
        match (&ignore_patterns[..], ignore_times) {
            (_, true) => 3,
            ([], false) => FORMAT,
            (_, false) => 2,
        }
    }

    fn write_fields_of(&self, format: u8, writer: &mut Writer) {
        match format {
            2 => write_patterns(&self.settings.ignore_patterns, writer),
            _ => {
                writer.u8(u8::from(self.settings.ignore_times));
            }
        }
    }

    fn read_fields_of(&mut self, format: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match format {
            2 => self.settings.ignore_patterns = read_patterns(reader)?,
            _ => {
                self.settings.ignore_times = match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(reader.error("unknown value of a flag")),
                }
            }
        }
        Ok(())
    }
}

fn write_patterns(patterns: &[String], writer: &mut Writer) {
    writer.varint(patterns.len() as u64);
    for pattern in patterns {
        writer.bytes(pattern.as_bytes());
    }
}

fn read_patterns(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let count = reader.varint()?;
    if count > PATTERNS_MAX as u64 {
        return Err(reader.error("too many patterns"));
    }
    (0..count)
        .map(|_| read_text(reader, PATTERN_LEN_MAX))
        .collect()
}

/// The newest version of a project: nothing above it is there for any reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadRow {
    pub(crate) number: VersionNumber,
    pub(crate) id: VersionId,
}

impl HeadRow {
    /// The head of a new project.
    pub(crate) const ZERO: Self = Self {
        number: VersionNumber::ZERO,
        id: VersionId::ZERO,
    };
}

impl RowValue for HeadRow {
    const WHAT: &'static str = "head row";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.number.0).raw(self.id.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            number: VersionNumber(reader.varint()?),
            id: VersionId(reader.array()?),
        })
    }
}

/// The next ids of a project that were never given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CountersRow {
    pub(crate) next_dir: DirId,
    pub(crate) next_link: LinkId,
}

impl CountersRow {
    /// The counters of a new project: the root is directory 1.
    pub(crate) const FIRST: Self = Self {
        next_dir: DirId(2),
        next_link: LinkId(1),
    };
}

impl RowValue for CountersRow {
    const WHAT: &'static str = "counters row";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.next_dir.0).varint(self.next_link.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            next_dir: DirId(reader.varint()?),
            next_link: LinkId(reader.varint()?),
        })
    }
}

/// The lease of a project: which instance may write its rows above the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    /// Raised at each taking.
    pub(crate) number: u64,
    /// The instance that has it; all zero if none has.
    pub(crate) holder: SessionId,
    /// When another instance may take it.
    pub(crate) expiry: WallTime,
}

impl LeaseRow {
    /// The holder of a lease that no instance has.
    pub(crate) const NO_HOLDER: SessionId = SessionId([0; 16]);

    /// The lease of a new project.
    pub(crate) const FREE: Self = Self {
        number: 0,
        holder: Self::NO_HOLDER,
        expiry: WallTime::from_seconds(0),
    };
}

impl RowValue for LeaseRow {
    const WHAT: &'static str = "lease row";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.number).raw(self.holder.as_bytes());
        write_time(timestamp_of(self.expiry), writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.varint()?;
        let holder = SessionId(reader.array()?);
        let expiry = read_time(reader)?;
        let nanoseconds = i128::from(expiry.secs) * 1_000_000_000 + i128::from(expiry.nanos);
        Ok(Self {
            number,
            holder,
            expiry: WallTime::from_nanoseconds(nanoseconds),
        })
    }
}

/// Which version a random id or a tag names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionPointer {
    pub(crate) project: ProjectId,
    pub(crate) number: VersionNumber,
}

impl RowValue for VersionPointer {
    const WHAT: &'static str = "version pointer";

    fn write(&self, writer: &mut Writer) {
        writer.raw(self.project.as_bytes()).varint(self.number.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            project: ProjectId(reader.array()?),
            number: VersionNumber(reader.varint()?),
        })
    }
}

/// A live or closed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectRow {
    /// The first version that has it.
    pub(crate) start: VersionNumber,
    pub(crate) record: Record,
}

impl RowValue for ObjectRow {
    const WHAT: &'static str = "object row";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.start.0).raw(&self.record.encode());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = VersionNumber(reader.varint()?);
        let record = Record::decode(reader.raw(reader.remaining())?)?;
        Ok(Self { start, record })
    }
}

/// Where a directory is from one version on, and when its listing last changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirectoryRow {
    /// Its parent and its name there; none once it is removed.
    pub(crate) place: Option<(DirId, Option<Name>)>,
    /// The last version that changed its listing.
    pub(crate) listing: VersionNumber,
    /// That version's random id.
    pub(crate) listing_id: VersionId,
    /// Whether a pack has its entries.
    pub(crate) packed: Packed,
}

/// Whether a pack has the entries of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Packed {
    /// They are rows.
    #[default]
    No,
    /// The pack that has them begins here; a row of its own says what lies in it.
    Root,
    /// The pack with this root has them, and says where the directory is.
    Within(DirId),
}

impl DirectoryRow {
    /// The root of a project in which it never changed.
    pub(crate) const ROOT: Self = Self {
        place: Some((DirId::ABOVE_ROOT, None)),
        listing: VersionNumber::ZERO,
        listing_id: VersionId::ZERO,
        packed: Packed::No,
    };

    /// The row of a directory that is in a pack, after it was elsewhere.
    pub(crate) fn within(root: DirId, listing: VersionNumber, listing_id: VersionId) -> Self {
        Self {
            place: None,
            listing,
            listing_id,
            packed: Packed::Within(root),
        }
    }

    /// What the row of a directory in a pack would be, if it had one.
    pub(crate) fn of_packed(dir: &PackDir) -> Self {
        let place = dir.place.clone();
        Self {
            place: place.map(|(above, name)| (above, Some(name))),
            listing: dir.listed.version,
            listing_id: dir.listed.id,
            packed: Packed::No,
        }
    }

    /// Returns true if the directory is nowhere from here on.
    pub(crate) fn is_removal(&self) -> bool {
        self.place.is_none() && !matches!(self.packed, Packed::Within(_))
    }
}

impl RowValue for DirectoryRow {
    const WHAT: &'static str = "directory row";
    const FORMAT_NEWEST: u8 = 2;

    fn format(&self) -> u8 {
        match self.packed {
            Packed::No => 1,
            Packed::Root | Packed::Within(_) => 2,
        }
    }

    fn write_fields_of(&self, _: u8, writer: &mut Writer) {
        match self.packed {
            Packed::No => writer.u8(0),
            Packed::Root => writer.u8(1),
            Packed::Within(root) => writer.u8(2).varint(root.0),
        };
    }

    fn read_fields_of(&mut self, _: u8, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        self.packed = match reader.u8()? {
            0 => Packed::No,
            1 => Packed::Root,
            2 => Packed::Within(DirId(reader.varint()?)),
            _ => return Err(reader.error("unknown relation to a pack")),
        };
        Ok(())
    }

    fn write(&self, writer: &mut Writer) {
        match &self.place {
            None => writer.u8(0),
            Some((parent, name)) => writer
                .u8(1)
                .varint(parent.0)
                .bytes(crate::keys::name_bytes(name.as_ref())),
        };
        writer
            .varint(self.listing.0)
            .raw(self.listing_id.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let place = match reader.u8()? {
            0 => None,
            1 => Some((DirId(reader.varint()?), read_name(reader)?)),
            _ => return Err(reader.error("unknown form of a place")),
        };
        Ok(Self {
            place,
            listing: VersionNumber(reader.varint()?),
            listing_id: VersionId(reader.array()?),
            packed: Packed::No,
        })
    }
}

/// The state that a session wants a name to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StagedRow {
    pub(crate) state: Option<Record>,
}

impl RowValue for StagedRow {
    const WHAT: &'static str = "staged row";

    fn write(&self, writer: &mut Writer) {
        if let Some(record) = &self.state {
            writer.raw(&record.encode());
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.raw(reader.remaining())?;
        let state = match bytes {
            [] => None,
            bytes => Some(Record::decode(bytes)?),
        };
        Ok(Self { state })
    }
}

/// Returns the wall time in the form that durable values have.
pub(crate) fn timestamp_of(time: WallTime) -> Timestamp {
    Timestamp {
        secs: time.seconds(),
        nanos: time.subsecond_nanoseconds(),
    }
}

pub(crate) fn write_time(time: Timestamp, writer: &mut Writer) {
    writer.signed(time.secs).varint(u64::from(time.nanos));
}

pub(crate) fn read_time(reader: &mut Reader<'_>) -> Result<Timestamp, DecodeError> {
    let secs = reader.signed()?;
    let nanos = reader.varint32()?;
    Timestamp::new(secs, nanos).ok_or_else(|| reader.error("nanoseconds above a second"))
}

pub(crate) fn read_text(reader: &mut Reader<'_>, len_max: usize) -> Result<String, DecodeError> {
    let bytes = reader.bytes(len_max)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| reader.error("text is not UTF-8"))
}

fn read_name(reader: &mut Reader<'_>) -> Result<Option<Name>, DecodeError> {
    match reader.bytes(lfsfs_types::limits::NAME_LEN_MAX)? {
        [] => Ok(None),
        bytes => Name::new(bytes)
            .map(Some)
            .map_err(|_| reader.error("no name of an entry")),
    }
}
