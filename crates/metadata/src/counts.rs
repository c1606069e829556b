//! What a project has, counted without looking at its objects or contents.
//!
//! Objects and bytes are in the record of the newest version. The bytes that clients stored for a
//! project are in one row of it, which grows in the batch that notes a new chunk: both are there
//! after a crash, or neither. What was stored already costs a project nothing.

use lfsfs_meta_store::{Batch, EngineFigures, Read, Rows};
use lfsfs_types::{DecodeError, ProjectId, ProjectName, Reader, VersionCounts, Writer};

use crate::error::Result;
use crate::keys;
use crate::metadata::{Metadata, get_row};
use crate::project::{Page, Project};
use crate::rows::RowValue;

/// A project and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedProject {
    /// The project.
    pub project: Project,
    /// Objects and bytes of its newest version.
    pub counts: VersionCounts,
    /// Bytes of the chunks that were stored for it.
    pub stored: u64,
}

/// The bytes of the chunks that clients stored for a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StoredRow {
    pub(crate) bytes: u64,
}

impl RowValue for StoredRow {
    const WHAT: &'static str = "row of stored bytes";

    fn write(&self, writer: &mut Writer) {
        writer.varint(self.bytes);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.varint()?;
        Ok(Self { bytes })
    }
}

impl Metadata {
    /// Returns the name of the engine below, what it holds and what it did.
    #[must_use]
    pub fn engine(&self) -> (&'static str, EngineFigures) {
        (self.store().name(), self.store().figures())
    }

    /// Returns up to `limit` projects and what they have, in the order of their names, from behind
    /// `after`.
    pub fn count_projects(
        &self,
        after: Option<&ProjectName>,
        limit: usize,
    ) -> Result<Page<CountedProject>> {
        let page = self.list_projects(after, limit)?;
        let items = page.items.into_iter().map(|project| self.counted(project));
        Ok(Page {
            items: items.collect::<Result<_>>()?,
            more: page.more,
        })
    }

    /// Returns how many bytes the chunks have that were stored for a project.
    pub fn stored_bytes(&self, project: ProjectId) -> Result<u64> {
        let row: Option<StoredRow> = get_row(self.store(), &keys::stored(project))?;
        Ok(row.unwrap_or_default().bytes)
    }

    /// Adds to a batch that clients stored `len` bytes more for a project, and that nothing is added
    /// to it otherwise. A project that is gone counts nothing: then false is returned.
    pub(crate) fn count_stored(
        &self,
        batch: &mut Batch,
        project: ProjectId,
        len: u64,
    ) -> Result<bool> {
        self.change_stored(batch, project, |bytes| bytes.saturating_add(len))
    }

    /// Adds to a batch that a chunk of `len` bytes that a project counts is gone.
    pub(crate) fn uncount_stored(
        &self,
        batch: &mut Batch,
        project: ProjectId,
        len: u64,
    ) -> Result<()> {
        self.change_stored(batch, project, |bytes| bytes.saturating_sub(len))
            .map(drop)
    }

    fn change_stored(
        &self,
        batch: &mut Batch,
        project: ProjectId,
        change: impl FnOnce(u64) -> u64,
    ) -> Result<bool> {
        let (there, kept) = (keys::project(project), keys::kept(project));
        let key = keys::stored(project);
        let reads = [Read::get(&*there), Read::get(&*kept), Read::get(&*key)];
        let mut found = self.store().read(&reads)?.into_iter().map(Rows::into_value);
        let is_there = found.next().flatten().is_some();
        let is_kept = found.next().flatten().is_some();
        let project = match (is_there, is_kept) {
            (true, _) => there,
            // It goes on counting, as it may be brought back.
            (false, true) => kept,
            (false, false) => return Ok(false),
        };
        let seen = found.next().flatten();
        let known = seen.as_deref().map(|value| StoredRow::decode(&key, value));
        let known = known.transpose()?.unwrap_or_default();
        let bytes = change(known.bytes);
        // The row must not outlive a project that is deleted meanwhile.
        batch
            .require_present(project)
            .require_unchanged(&*key, seen)
            .put(&*key, StoredRow { bytes }.encode());
        Ok(true)
    }

    fn counted(&self, project: Project) -> Result<CountedProject> {
        let head = self.find_version(project.id, project.head.number)?;
        Ok(CountedProject {
            counts: head.map_or_else(VersionCounts::default, |head| head.counts),
            stored: self.stored_bytes(project.id)?,
            project,
        })
    }
}
