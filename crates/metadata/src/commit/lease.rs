//! The lease of a project: the publisher that has it may write rows above the head.
//!
//! Each taking raises the number in the lease's row, and every batch of a publisher has that very
//! row as its precondition. A publisher that lost its lease while it stood still changes nothing
//! when it goes on.

use std::cell::Cell;
use std::time::Duration;

use lfsfs_common::clock::WallTime;
use lfsfs_meta_store::{Applied, Batch, Precondition, Write};
use lfsfs_types::ProjectId;

use crate::error::{MetadataError, Result};
use crate::keys;
use crate::metadata::Metadata;
use crate::rows::{LeaseRow, RowValue};

/// How long a lease lasts without renewal.
const LEASE: Duration = Duration::from_secs(30);
/// A lease is renewed when less than this is left of it.
const RENEWAL: Duration = Duration::from_secs(20);

/// A lease that was taken.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) project: ProjectId,
    row: Cell<LeaseRow>,
}

impl<'a> Lease<'a> {
    /// Takes the lease of a project, unless another coordinator has it.
    ///
    /// The caller holds the project's publishing lock, so a lease of this very process is a dead
    /// one. In a store that no other process has open, so is every other.
    pub(super) fn take(metadata: &'a Metadata, project: ProjectId) -> Result<Self> {
        let key = keys::lease(project);
        let store = metadata.store();
        loop {
            let Some(seen) = store.get(&key)? else {
                return Err(MetadataError::UnknownProjectId { id: project });
            };
            let held = LeaseRow::decode(&key, &seen)?;
            let now = metadata.inner.clock.wall_time();
            let dead = [LeaseRow::NO_HOLDER, metadata.inner.instance].contains(&held.holder)
                || store.is_exclusive();
            if !dead && held.expiry > now {
                return Err(MetadataError::Busy { project });
            }
            let row = LeaseRow {
                number: held.number + 1,
                holder: metadata.inner.instance,
                expiry: now.saturating_add(LEASE),
            };
            let mut batch = Batch::new();
            batch.require_equals(&*key, seen).put(&*key, row.encode());
            if store.apply(batch)?.is_done() {
                return Ok(Self {
                    metadata,
                    project,
                    row: Cell::new(row),
                });
            }
        }
    }

    /// Makes a batch if the lease still stands and the batch's own preconditions hold.
    pub(super) fn apply(&self, mut batch: Batch) -> Result<Applied> {
        self.renew_if_due()?;
        let key = keys::lease(self.project);
        let stands = Precondition::Equals(key, self.row.get().encode());
        batch.preconditions.insert(0, stands);
        match self.metadata.store().apply(batch)? {
            Applied::Conflict { index: 0 } => Err(MetadataError::LeaseLost {
                project: self.project,
            }),
            Applied::Conflict { index } => Ok(Applied::Conflict { index: index - 1 }),
            Applied::Done => Ok(Applied::Done),
        }
    }

    /// Makes a batch that has no preconditions of its own.
    pub(super) fn write(&self, batch: Batch) -> Result<()> {
        match self.apply(batch)? {
            Applied::Done => Ok(()),
            Applied::Conflict { .. } => Err(MetadataError::LeaseLost {
                project: self.project,
            }),
        }
    }

    /// Adds the giving back of the lease to a batch.
    pub(super) fn give_back_in(&self, batch: &mut Batch) {
        let free = LeaseRow {
            number: self.row.get().number,
            ..LeaseRow::FREE
        };
        batch.put(keys::lease(self.project), free.encode());
    }

    /// Gives the lease back, if it still stands.
    pub(super) fn give_back(&self) -> Result<()> {
        let mut batch = Batch::new();
        self.give_back_in(&mut batch);
        self.write(batch)
    }

    /// Renews the lease when a part of its time is over. What takes long without a batch calls it.
    pub(super) fn renew_if_due(&self) -> Result<()> {
        let now = self.metadata.inner.clock.wall_time();
        if now.saturating_add(RENEWAL) < self.row.get().expiry {
            return Ok(());
        }
        self.renew(now)
    }

    fn renew(&self, now: WallTime) -> Result<()> {
        let held = self.row.get();
        let renewed = LeaseRow {
            expiry: now.saturating_add(LEASE),
            ..held
        };
        let key = keys::lease(self.project);
        let mut batch = Batch::new();
        batch
            .require_equals(&*key, held.encode())
            .put(&*key, renewed.encode());
        if !self.metadata.store().apply(batch)?.is_done() {
            return Err(MetadataError::LeaseLost {
                project: self.project,
            });
        }
        self.row.set(renewed);
        Ok(())
    }
}

/// Collects the rows of a publisher into batches that the engine takes.
#[derive(Debug)]
pub(super) struct LeasedWrites<'l, 'a> {
    lease: &'l Lease<'a>,
    batch: Batch,
    max: usize,
}

impl<'l, 'a> LeasedWrites<'l, 'a> {
    pub(super) fn new(lease: &'l Lease<'a>) -> Self {
        let max = lease.metadata.store().batch_ops_max();
        Self {
            lease,
            batch: Batch::new(),
            max,
        }
    }

    /// Adds writes that must be made together.
    pub(super) fn add(&mut self, group: Vec<Write>) -> Result<()> {
        if self.batch.len() + group.len() > self.max {
            self.lease.write(std::mem::take(&mut self.batch))?;
        }
        self.batch.writes.extend(group);
        Ok(())
    }

    /// Makes what is left, and makes everything durable.
    pub(super) fn finish(self) -> Result<()> {
        if !self.batch.is_empty() {
            self.lease.write(self.batch)?;
        }
        Ok(self.lease.metadata.store().flush()?)
    }
}
