//! What keeps versions of a project: a row that changes with each new tag and each new hold.
//!
//! Versions expire in a batch that has this row as its precondition, so a thing that comes to keep one of them at the
//! same moment is not overlooked.

use lfsfs_meta_store::{Batch, MetaError, MetaStore};
use lfsfs_types::{DecodeError, ProjectId, Reader, Writer};

use crate::error::Result;
use crate::keys;
use crate::rows::RowValue;

/// How often the things changed that keep versions of a project, and how many versions have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RootsRow {
    pub(crate) changes: u64,
    pub(crate) expired: u64,
}

impl RowValue for RootsRow {
    const WHAT: &'static str = "row of a project's roots";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.changes).varint(self.expired);
    }

    fn read(reader: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        Ok(Self {
            changes: reader.varint()?,
            expired: reader.varint()?,
        })
    }
}

impl RootsRow {
    /// Adds to a batch that another thing keeps a version of a project.
    pub(crate) fn change(
        store: &dyn MetaStore,
        project: ProjectId,
        batch: &mut Batch,
    ) -> Result<()> {
        Self::change_by(store, project, batch, 0)
    }

    /// As [`change`](Self::change); so many versions expire.
    pub(crate) fn change_by(
        store: &dyn MetaStore,
        project: ProjectId,
        batch: &mut Batch,
        expired: u64,
    ) -> Result<()> {
        let key = keys::roots(project);
        let seen = store.get(&key)?;
        let row = seen.as_deref().map(|value| Self::decode(&key, value));
        let row = row.transpose()?.unwrap_or_default();
        let changes = row.changes.checked_add(1);
        let row = Self {
            changes: changes
                .ok_or_else(|| MetaError::corrupt("the number of changes is at its end", &key))?,
            expired: row.expired.saturating_add(expired),
        };
        // The row must not outlive a project that is deleted meanwhile.
        batch
            .require_present(keys::project(project))
            .require_unchanged(&*key, seen)
            .put(&*key, row.encode());
        Ok(())
    }
}
