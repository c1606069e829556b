//! A version as a reader sees it: the state of one name, where a directory lies, what a path is.
//!
//! A name's rows are always read at one point in time. Its live row counts if it started by the
//! version; else the first closed row that stops behind the version does, if that started by it.
//! Rows above the head need no special care: what starts there is not there yet for any version
//! that can be read, and what stops there still is.

use lfsfs_meta_store::{KeyRange, MetaError, MetaStore, MetaStoreExt as _, Read, Rows};
use lfsfs_types::{DirId, Kind, Name, ObjectPath, ProjectId, Record, VersionNumber, path_text};

use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{Metadata, get_row};
use crate::pack::PackCache;
use crate::rows::{DirectoryRow, ObjectRow, Packed, RowValue};

/// No path has more names than this, since each takes a byte and a slash.
pub(crate) const DEPTH_MAX: usize = lfsfs_types::limits::PATH_LEN_MAX;

/// How often a name is read again because an undo came between two reads. One is enough as long as
/// no closed row is lost.
const UNDO_RETRIES: usize = 100;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The directory it lies in.
    pub dir: DirId,
    /// Its name there; none for the root.
    pub name: Option<Name>,
    /// What it is.
    pub record: Record,
}

impl Metadata {
    /// Returns what `path` leads to; symlinks are not followed.
    pub fn lookup(
        &self,
        project: ProjectId,
        version: VersionNumber,
        path: &ObjectPath,
    ) -> Result<Option<Found>> {
        let _reading = self.reading();
        self.view(project, version)?.lookup(path)
    }

    /// Returns the state of one name; without a name, and in [`DirId::ABOVE_ROOT`], the root's.
    pub fn state(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
        name: Option<&Name>,
    ) -> Result<Option<Record>> {
        let _reading = self.reading();
        self.view(project, version)?.state(dir, name)
    }

    /// Returns the path of a directory, or `None` if the version does not have it.
    pub fn directory_path(
        &self,
        project: ProjectId,
        version: VersionNumber,
        dir: DirId,
    ) -> Result<Option<ObjectPath>> {
        let _reading = self.reading();
        self.view(project, version)?.path_of(dir)
    }

    /// Returns a version that is there. The caller is [`reading`](Self::reading) as long as it uses it.
    pub(crate) fn view(&self, project: ProjectId, version: VersionNumber) -> Result<View<'_>> {
        // A project that is being deleted still has versions.
        let mut keys = vec![keys::project(project)];
        if version != VersionNumber::ZERO {
            keys.push(keys::version(project, version));
        }
        let reads: Vec<_> = keys.into_iter().map(Read::get).collect();
        let found = self.store().read(&reads)?;
        if found.into_iter().all(|rows| rows.into_value().is_some()) {
            Ok(self.view_unchecked(project, version))
        } else {
            Err(self.no_version(project, version)?)
        }
    }

    /// Returns a version of which the caller knows that it is there.
    pub(crate) fn view_unchecked(&self, project: ProjectId, version: VersionNumber) -> View<'_> {
        View {
            store: self.store(),
            packs: &self.inner.packs,
            project,
            version,
        }
    }
}

/// One version of one project.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) store: &'a dyn MetaStore,
    pub(crate) packs: &'a PackCache,
    pub(crate) project: ProjectId,
    pub(crate) version: VersionNumber,
}

impl View<'_> {
    /// Returns the record of the root directory.
    pub(crate) fn root(&self) -> Result<Record> {
        let root = self.state(DirId::ABOVE_ROOT, None)?;
        Ok(root.unwrap_or_else(root_of_version_zero))
    }

    pub(crate) fn state(&self, dir: DirId, name: Option<&Name>) -> Result<Option<Record>> {
        let found = self.find(dir, keys::name_bytes(name))?;
        match (found, name) {
            (Some(row), _) => Ok(Some(row.record)),
            (None, None) if dir == DirId::ABOVE_ROOT => Ok(Some(root_of_version_zero())),
            (None, None) => Ok(None),
            (None, Some(name)) => {
                let pack = self.pack_of(dir)?;
                Ok(pack.and_then(|pack| pack.get(dir, name).cloned()))
            }
        }
    }

    /// Returns the row that holds the state of a name; what is in a pack has none.
    pub(crate) fn find(&self, dir: DirId, name: &[u8]) -> Result<Option<ObjectRow>> {
        if self.version == VersionNumber::ZERO {
            return Ok(None);
        }
        let live = keys::live(self.project, dir, name);
        let reads = self.reads_of(dir, name);
        for _ in 0..UNDO_RETRIES {
            let mut found = self.store.read(&reads)?.into_iter();
            let live_row = found.next().and_then(Rows::into_value);
            if let Some(value) = live_row {
                let row = ObjectRow::decode(&live, &value)?;
                if row.start <= self.version {
                    return Ok(Some(row));
                }
            }
            let Some((key, _)) = found.next().and_then(Rows::into_first) else {
                return Ok(None);
            };
            if let Some(row) = self.closed_row(&key)? {
                return Ok((row.start <= self.version).then_some(row));
            }
            // An undo took the closed row back between the two reads: the live row counts again.
        }
        let closed = self.closed_behind(dir, name);
        Err(MetaError::corrupt("a closed name without its object", &closed.start).into())
    }

    /// Returns the reads that tell the state of a name: its live row and its next closed name.
    pub(crate) fn reads_of(&self, dir: DirId, name: &[u8]) -> [Read; 2] {
        let live = keys::live(self.project, dir, name);
        [
            Read::get(live),
            Read::scan(self.closed_behind(dir, name), 1),
        ]
    }

    /// Returns the read of the closed row that holds the state of a name, if it takes that one too, after
    /// what [`reads_of`](Self::reads_of) has found.
    pub(crate) fn read_of_closed(&self, live: &Rows, closed: &Rows) -> Result<Option<Read>> {
        if let Some((key, value)) = live.rows.first()
            && ObjectRow::decode(key, value)?.start <= self.version
        {
            return Ok(None);
        }
        let named = closed.rows.first();
        let key = named.map(|(key, _)| self.closed_key(key)).transpose()?;
        Ok(key.map(Read::get))
    }

    /// Returns the closed row that a closed name stands for.
    fn closed_row(&self, closed_name: &[u8]) -> Result<Option<ObjectRow>> {
        get_row(self.store, &self.closed_key(closed_name)?)
    }

    fn closed_key(&self, closed_name: &[u8]) -> Result<Vec<u8>> {
        let key = keys::ObjectKey::closed_name(closed_name)?;
        let stop = key.version.unwrap_or(VersionNumber::ZERO);
        let name = key.name_bytes();
        Ok(keys::closed(self.project, key.dir, stop, name))
    }

    /// The closed names of one name that stop behind this version.
    fn closed_behind(&self, dir: DirId, name: &[u8]) -> KeyRange {
        let first = keys::closed_name(self.project, dir, name, self.version.next());
        KeyRange::at_or_after(&first, &keys::closed_names_of(self.project, dir, name))
    }

    /// Returns where a directory is and when its listing changed; `None` if it is not in this
    /// version.
    pub(crate) fn directory(&self, dir: DirId) -> Result<Option<DirectoryRow>> {
        match self.directory_row(dir)? {
            Some((_, row)) if !matches!(row.packed, Packed::Within(_)) => {
                Ok(Some(row).filter(|row| row.place.is_some()))
            }
            None if dir == DirId::ROOT => Ok(Some(DirectoryRow::ROOT)),
            row => {
                let pack = self.pack_by_row(dir, row)?;
                let found = pack.as_ref().and_then(|pack| pack.dir(dir));
                Ok(found.map(DirectoryRow::of_packed))
            }
        }
    }

    /// Returns the newest row of a directory, and the version that wrote it.
    pub(crate) fn directory_row(
        &self,
        dir: DirId,
    ) -> Result<Option<(VersionNumber, DirectoryRow)>> {
        decode_directory_row(self.store.read_one(self.read_of_directory(dir))?)
    }

    /// Returns the read that tells where a directory is.
    pub(crate) fn read_of_directory(&self, dir: DirId) -> Read {
        let newest = keys::directory(self.project, dir, self.version);
        let prefix = keys::directory_rows(table::DIRECTORY, self.project, dir);
        Read::scan(KeyRange::at_or_after(&newest, &prefix), 1)
    }

    /// Returns the row of a directory that must be in this version.
    pub(crate) fn live_directory(&self, dir: DirId) -> Result<DirectoryRow> {
        self.directory(dir)?.ok_or(MetadataError::UnknownDirectory {
            dir,
            version: self.version,
        })
    }

    pub(crate) fn lookup(&self, path: &ObjectPath) -> Result<Option<Found>> {
        let mut found = Found {
            dir: DirId::ABOVE_ROOT,
            name: None,
            record: self.root()?,
        };
        for name in path.names() {
            let Kind::Directory { dir } = found.record.kind else {
                return Ok(None);
            };
            let Some(record) = self.state(dir, Some(&name))? else {
                return Ok(None);
            };
            found = Found {
                dir,
                name: Some(name),
                record,
            };
        }
        Ok(Some(found))
    }

    /// Returns the path of a directory, or `None` if it is not in this version.
    pub(crate) fn path_of(&self, dir: DirId) -> Result<Option<ObjectPath>> {
        let mut names = Vec::new();
        let mut above = dir;
        while above != DirId::ROOT {
            let Some(row) = self.directory(above)? else {
                return Ok(None);
            };
            let Some((parent, Some(name))) = row.place else {
                return Ok(None);
            };
            if names.len() >= DEPTH_MAX {
                return Err(too_long(&names));
            }
            names.push(name);
            above = parent;
        }
        let mut path = ObjectPath::ROOT;
        for name in names.iter().rev() {
            path = path.join(name).map_err(|_| too_long(&names))?;
        }
        Ok(Some(path))
    }
}

/// Returns what [`View::read_of_directory`] has found.
pub(crate) fn decode_directory_row(found: Rows) -> Result<Option<(VersionNumber, DirectoryRow)>> {
    let Some((key, value)) = found.into_first() else {
        return Ok(None);
    };
    let (_, _, version) = keys::decode_directory(&key)?;
    Ok(Some((version, DirectoryRow::decode(&key, &value)?)))
}

fn too_long(upwards: &[Name]) -> MetadataError {
    let names = upwards.iter().rev().map(Name::as_bytes);
    MetadataError::PathTooLong {
        path: path_text(names),
    }
}

/// The root as it is until a version changes it.
pub(crate) fn root_of_version_zero() -> Record {
    Record::plain(Kind::Directory { dir: DirId::ROOT }, 0o755)
}
