//! Deleting a project: its name is free at once, its rows go in batches.
//!
//! One batch takes away what makes it a project and leaves a mark. A commit to it finds the lease
//! gone, a reader finds no project. Rows that a crash leaves are removed when the store is opened
//! next. Contents stay: they belong to no project, and are for the collection of garbage.

use std::sync::PoisonError;

use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::{ProjectId, ProjectName};

use crate::error::{MetadataError, Result};
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::rows::{Marker, RowValue};
use crate::version::decode_version;

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
    /// Deletes a project with all of its versions. It survives any crash, and nothing undoes it.
    pub fn delete_project(&self, name: &ProjectName) -> Result<()> {
        let project = self.project(name)?.id;
        let lock = self.publishing_lock(project);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new();
        batch
            .require_equals(keys::project_name(name), project.encode())
            .delete(keys::project_name(name))
            .delete(keys::project(project))
            .delete(keys::head(project))
            .delete(keys::counters(project))
            .delete(keys::lease(project))
            .delete(keys::stored(project))
            .put(keys::deleted(project), Marker.encode());
        if !self.store().apply(batch)?.is_done() {
            return Err(MetadataError::UnknownProject { name: name.clone() });
        }
        self.store().flush()?;
        self.remove_rows_of(project)
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

    fn remove_rows_of(&self, project: ProjectId) -> Result<()> {
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
