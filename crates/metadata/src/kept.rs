//! Deleted projects that are kept for a time, so that they can be brought back.
//!
//! One batch takes away the rows by which calls find a project, and puts one row in their place that has what they
//! said. All other rows stay where they are: no call reads them, and a collection of garbage finds in them what the
//! project needs. Another batch puts the rows back, or a mark in the place of that row, behind which all others go.

use std::time::Duration;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _, Row};
use lfsfs_types::{DecodeError, ProjectId, ProjectName, Reader, Timestamp, VersionId, Writer};

use crate::error::{MetadataError, Result};
use crate::exact::ExactVersion;
use crate::keys::{self, table};
use crate::metadata::{Metadata, get_row};
use crate::project::{Page, Project};
use crate::rows::{HeadRow, LeaseRow, Marker, ProjectRow, RowValue, read_time, write_time};

/// Rows that are read at once; each may have a megabyte of patterns.
const PROJECTS_AT_ONCE: usize = 16;
/// Most ids that an error names.
const IDS_TOLD: usize = 20;
/// How long a mount has to renew its hold after its project is back. A mount that was refused asks again after 10
/// minutes.
const HOLDS_LAST: Duration = Duration::from_secs(15 * 60);

/// A deleted project that can be brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedProject {
    /// What it was; another project may have its name now.
    pub project: Project,
    /// When it was deleted.
    pub deleted: Timestamp,
}

/// What the rows said that a deletion took away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptRow {
    pub(crate) deleted: Timestamp,
    pub(crate) head: HeadRow,
    /// The number of the last lease, so that no publisher of before goes on afterwards.
    pub(crate) lease: u64,
    pub(crate) project: ProjectRow,
}

impl RowValue for KeptRow {
    const WHAT: &'static str = "row of a kept project";

    fn write(&self, writer: &mut Writer) {
        write_time(self.deleted, writer);
        writer
            .varint(self.head.number.0)
            .raw(self.head.id.as_bytes())
            .varint(self.lease)
            .raw(&self.project.encode());
    }

    fn read(reader: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        let deleted = read_time(reader)?;
        let head = HeadRow {
            number: lfsfs_types::VersionNumber(reader.varint()?),
            id: VersionId(reader.array()?),
        };
        let lease = reader.varint()?;
        let project = reader.raw(reader.remaining())?;
        Ok(Self {
            deleted,
            head,
            lease,
            project: ProjectRow::decode_from(Reader::new(ProjectRow::WHAT, project))?,
        })
    }
}

impl KeptRow {
    fn told(self, id: ProjectId) -> DeletedProject {
        let ProjectRow {
            name,
            created,
            settings,
        } = self.project;
        DeletedProject {
            project: Project {
                id,
                name,
                created,
                settings,
                head: ExactVersion {
                    number: self.head.number,
                    id: self.head.id,
                },
                repacking: false,
            },
            deleted: self.deleted,
        }
    }

    /// Returns whether the time is over for which it is kept.
    fn is_over(&self, kept: Duration, now: Timestamp) -> bool {
        let kept = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
        now.secs.saturating_sub(self.deleted.secs) >= kept
    }
}

impl Metadata {
    /// Returns up to `limit` deleted projects that can be brought back, in the order of their ids, from behind `after`.
    pub fn list_deleted(
        &self,
        after: Option<ProjectId>,
        limit: usize,
    ) -> Result<Page<DeletedProject>> {
        let prefix = [table::KEPT];
        let range = match after {
            Some(id) => KeyRange::after(&keys::kept(id), &prefix),
            None => KeyRange::prefix(&prefix),
        };
        let found = self.store().scan(range, limit)?;
        let told = |row: &Row| decode(row).map(|(id, row)| row.told(id));
        Ok(Page {
            items: found.rows.iter().map(told).collect::<Result<_>>()?,
            more: found.more,
        })
    }

    /// Returns a deleted project that can be brought back.
    pub fn deleted_project(&self, id: ProjectId) -> Result<Option<DeletedProject>> {
        let row: Option<KeptRow> = get_row(self.store(), &keys::kept(id))?;
        Ok(row.map(|row| row.told(id)))
    }

    /// Returns the deleted project that had a name, or that has an id. Fails if several had the name.
    pub fn find_deleted(&self, name_or_id: &str) -> Result<ProjectId> {
        let mut ids = Vec::new();
        for row in self.kept_rows() {
            let (id, row) = decode(&row?)?;
            if row.project.name.as_str() == name_or_id && ids.len() < IDS_TOLD {
                ids.push(id);
            }
        }
        match ids[..] {
            [id] => return Ok(id),
            [] => {}
            _ => {
                let name = name_or_id.to_owned();
                return Err(MetadataError::AmbiguousDeleted { name, ids });
            }
        }
        let id = ProjectId::try_from_hex(name_or_id).ok();
        let found = id.map(|id| self.deleted_project(id)).transpose()?.flatten();
        let unknown = || MetadataError::UnknownDeleted {
            named: name_or_id.chars().take(100).collect(),
        };
        Ok(found.ok_or_else(unknown)?.project.id)
    }

    /// Brings a deleted project back under its name, or under another one: with all versions, tags and settings. It is
    /// durable on return.
    pub fn undelete_project(&self, id: ProjectId, name: Option<&ProjectName>) -> Result<Project> {
        let key = keys::kept(id);
        let unknown = || MetadataError::UnknownDeleted {
            named: id.to_string(),
        };
        let seen = self.store().get(&key)?.ok_or_else(unknown)?;
        let row = KeptRow::decode(&key, &seen)?;
        let mut project = row.project;
        project.name = name.unwrap_or(&project.name).clone();
        let lease = LeaseRow {
            number: row.lease.saturating_add(1),
            ..LeaseRow::FREE
        };
        self.renew_holds(id, HOLDS_LAST)?;
        let mut batch = Batch::new();
        batch
            .require_absent(keys::project_name(&project.name))
            .require_equals(&*key, seen)
            .delete(key)
            .put(keys::project_name(&project.name), id.encode())
            .put(keys::project(id), project.encode())
            .put(keys::head(id), row.head.encode())
            .put(keys::lease(id), lease.encode());
        match self.store().apply(batch)? {
            lfsfs_meta_store::Applied::Done => {}
            lfsfs_meta_store::Applied::Conflict { index: 0 } => {
                return Err(MetadataError::ProjectExists { name: project.name });
            }
            // Another call brought it back, or removed it.
            lfsfs_meta_store::Applied::Conflict { .. } => return Err(unknown()),
        }
        self.store().flush()?;
        self.project_by_id(id)
    }

    /// Removes a deleted project for good.
    pub fn purge_deleted(&self, id: ProjectId) -> Result<()> {
        let seen = self.store().get(&keys::kept(id))?;
        let was_there = match seen {
            Some(seen) => self.purge(id, seen)?,
            None => false,
        };
        let named = id.to_string();
        was_there
            .then_some(())
            .ok_or(MetadataError::UnknownDeleted { named })
    }

    /// Removes the deleted projects for good that were kept for so long, and returns how many. With `dry_run` it only
    /// counts them. It may end at any moment.
    pub fn purge_kept_for(&self, kept: Duration, dry_run: bool) -> Result<u64> {
        let mut purged = 0;
        for row in self.kept_rows() {
            if self.stops() {
                break;
            }
            let row = row?;
            let (id, decoded) = decode(&row)?;
            if decoded.is_over(kept, self.now()) && (dry_run || self.purge(id, row.1)?) {
                purged += 1;
            }
        }
        Ok(purged)
    }

    /// Removes all rows of a deleted project, unless another call was faster. Then false is returned.
    fn purge(&self, id: ProjectId, seen: Vec<u8>) -> Result<bool> {
        let mut batch = Batch::new();
        batch
            .require_equals(keys::kept(id), seen)
            .delete(keys::kept(id))
            .delete(keys::counters(id))
            .delete(keys::stored(id))
            .put(keys::deleted(id), Marker.encode());
        if !self.store().apply(batch)?.is_done() {
            return Ok(false);
        }
        self.store().flush()?;
        self.remove_rows_of(id)?;
        Ok(true)
    }

    fn kept_rows(&self) -> impl Iterator<Item = Result<Row>> {
        let range = KeyRange::prefix(&[table::KEPT]);
        let rows = self.store().scan_all(range, PROJECTS_AT_ONCE);
        rows.map(|row| Ok(row?))
    }
}

fn decode((key, value): &Row) -> Result<(ProjectId, KeptRow)> {
    let id = ProjectId(keys::decode_id(table::KEPT, key)?);
    Ok((id, KeptRow::decode(key, value)?))
}
