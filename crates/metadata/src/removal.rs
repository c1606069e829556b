//! Deleting a project: its name is free at once, and it is kept for a time or its rows go in batches.
//!
//! One batch takes away what makes it a project. A commit to it finds the lease gone, a reader finds no project. In its
//! place comes the row of a [kept](crate::kept) project, or a mark: then its rows go. Those that a crash leaves are
//! removed when the store is opened next. Contents stay: they belong to no project, and are for the collection of
//! garbage.

use std::sync::PoisonError;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::{ProjectId, ProjectName};

use crate::error::{MetadataError, Result};
use crate::kept::KeptRow;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::rows::{HeadRow, LeaseRow, Marker, ProjectRow, RowValue};
use crate::version::decode_version;

/// What becomes of the rows of a project that is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// They stay for a time, and the project can be brought back.
    Kept,
    /// They go, and nothing brings the project back.
    AtOnce,
}

/// The tables that hold rows of one project each, but for versions, which are named elsewhere too.
const TABLES: [u8; 13] = [
    table::TAG,
    table::LIVE,
    table::CLOSED,
    table::CLOSED_NAME,
    table::DIRECTORY,
    table::CHANGE,
    table::LINK,
    table::ROOTS,
    table::HOLD,
    table::EXPIRING,
    table::PACK,
    table::PACKED_DIRS,
    table::REPACK,
];

impl Metadata {
    /// Deletes a project with all of its versions. It is durable on return.
    pub fn delete_project(&self, name: &ProjectName, deletion: Deletion) -> Result<()> {
        let project = self.project(name)?.id;
        if deletion == Deletion::Kept && self.store().is_exclusive() {
            // What is kept has no version that an earlier process left half done.
            self.recover_project(project)?;
        }
        let lock = self.publishing_lock(project);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.try_delete(name, project, deletion)? {}
        self.store().flush()?;
        match deletion {
            Deletion::Kept => Ok(()),
            Deletion::AtOnce => self.remove_rows_of(project),
        }
    }

    /// Makes a project none any more. Returns false if another call changed it at this moment.
    fn try_delete(
        &self,
        name: &ProjectName,
        project: ProjectId,
        deletion: Deletion,
    ) -> Result<bool> {
        let unknown = || MetadataError::UnknownProject { name: name.clone() };
        let rows = [
            keys::project_name(name),
            keys::project(project),
            keys::head(project),
            keys::lease(project),
        ];
        let values = rows.iter().map(|key| self.store().get(key));
        let values: Vec<_> = values.collect::<Result<_, _>>()?;
        let [Some(id), Some(row), Some(head), Some(lease)] = &values[..] else {
            return Err(unknown());
        };
        if *id != project.encode() {
            return Err(unknown());
        }
        let kept = KeptRow {
            deleted: self.now(),
            head: HeadRow::decode(&rows[2], head)?,
            lease: LeaseRow::decode(&rows[3], lease)?.number,
            project: ProjectRow::decode(&rows[1], row)?,
        };
        let mut batch = Batch::new();
        for (key, value) in rows.into_iter().zip(values) {
            batch.require_unchanged(&*key, value).delete(key);
        }
        match deletion {
            Deletion::Kept => batch.put(keys::kept(project), kept.encode()),
            Deletion::AtOnce => batch
                .delete(keys::counters(project))
                .delete(keys::stored(project))
                .put(keys::deleted(project), Marker.encode()),
        };
        Ok(self.store().apply(batch)?.is_done())
    }

    /// Removes the rows of projects whose deletion a crash broke off.
    pub(crate) fn finish_deletions(&self) -> Result<()> {
        let marks = KeyRange::prefix(&[table::DELETED]);
        for row in self.store().scan_all(marks, SCAN_PAGE) {
            let (key, _) = row?;
            if self.stops() {
                return Ok(());
            }
            self.remove_rows_of(ProjectId(keys::decode_id(table::DELETED, &key)?))?;
        }
        Ok(())
    }

    pub(crate) fn remove_rows_of(&self, project: ProjectId) -> Result<()> {
        let versions = KeyRange::prefix(&keys::project_rows(table::VERSION, project));
        for row in self.store().scan_all(versions, SCAN_PAGE) {
            let (key, value) = row?;
            let id = decode_version(&key, &value)?.id;
            let mut batch = Batch::new();
            batch.delete(key).delete(keys::version_id(id));
            self.store().write(batch)?;
        }
        for rows in TABLES {
            let prefix = keys::project_rows(rows, project);
            self.store().delete_range(KeyRange::prefix(&prefix))?;
        }
        // The mark goes last, and not before the rows are gone for good.
        self.store().flush()?;
        let mut batch = Batch::new();
        batch.delete(keys::deleted(project));
        self.store().write(batch)?;
        Ok(self.store().flush()?)
    }
}
