//! Holds: a mount, or another process that reads a version for long, keeps it from expiring.
//!
//! A hold lasts for a time and is renewed. One that was lost, because its process died, lets its version expire
//! after that time; what is not held does not come back.

use std::collections::BTreeSet;
use std::time::Duration;

use lfsfs_common::clock::WallTime;
use lfsfs_meta_store::{Batch, KeyRange, MetaStoreExt as _};
use lfsfs_types::{DecodeError, ProjectId, Reader, SessionId, VersionNumber, Writer};

use crate::error::Result;
use crate::exact::ExactVersion;
use crate::keys::{self, table};
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::roots::RootsRow;
use crate::rows::{RowValue, read_time, timestamp_of, write_time};

/// A version that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The project.
    pub project: ProjectId,
    /// The version.
    pub version: ExactVersion,
    /// Drawn by the one who holds it. One may hold several versions.
    pub holder: SessionId,
}

impl Hold {
    fn key(&self) -> Vec<u8> {
        keys::hold(self.project, self.version.number, self.holder)
    }
}

/// Until when a version is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HoldRow {
    pub(crate) expiry: WallTime,
}

impl RowValue for HoldRow {
    const WHAT: &'static str = "row of a hold";

    fn write(&self, writer: &mut Writer) {
        write_time(timestamp_of(self.expiry), writer);
    }

    fn read(reader: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        let time = read_time(reader)?;
        let nanoseconds = i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
        Ok(Self {
            expiry: WallTime::from_nanoseconds(nanoseconds),
        })
    }
}

impl Metadata {
    /// Holds a version for so long from now on, or renews a hold. A new one is durable on return.
    pub fn hold_version(&self, hold: &Hold, lasts: Duration) -> Result<()> {
        let key = hold.key();
        let row = HoldRow {
            expiry: self.inner.clock.wall_time().saturating_add(lasts),
        };
        let version = keys::version(hold.project, hold.version.number);
        loop {
            self.expect_exact(hold.project, hold.version)?;
            if hold.version.number == VersionNumber::ZERO {
                return Ok(());
            }
            let is_new = self.store().get(&key)?.is_none();
            let mut batch = Batch::new();
            batch.require_present(&*version);
            if is_new {
                batch.require_absent(&*key);
                RootsRow::change(self.store(), hold.project, &mut batch)?;
            } else {
                batch.require_present(&*key);
            }
            batch.put(&*key, row.encode());
            if !self.store().apply(batch)?.is_done() {
                continue;
            }
            if is_new {
                self.store().flush()?;
            }
            return Ok(());
        }
    }

    /// Ends a hold. There need not be one.
    pub fn release_version(&self, hold: &Hold) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete(hold.key());
        Ok(self.store().write(batch)?)
    }

    /// Renews all holds of a project, so that they last for so long from now on.
    pub(crate) fn renew_holds(&self, project: ProjectId, lasts: Duration) -> Result<()> {
        let row = HoldRow {
            expiry: self.inner.clock.wall_time().saturating_add(lasts),
        };
        let rows = KeyRange::prefix(&keys::project_rows(table::HOLD, project));
        for found in self.store().scan_all(rows, SCAN_PAGE) {
            let (key, value) = found?;
            let mut batch = Batch::new();
            // After a conflict it was ended at this moment.
            batch.require_equals(&*key, value).put(&*key, row.encode());
            let _ = self.store().apply(batch)?;
        }
        Ok(())
    }

    /// Returns the versions of a project that are held now, and removes holds that are over.
    pub(super) fn held_versions(&self, project: ProjectId) -> Result<BTreeSet<VersionNumber>> {
        let now = self.inner.clock.wall_time();
        let mut held = BTreeSet::new();
        let rows = KeyRange::prefix(&keys::project_rows(table::HOLD, project));
        for row in self.store().scan_all(rows, SCAN_PAGE) {
            let (key, value) = row?;
            if HoldRow::decode(&key, &value)?.expiry > now {
                held.insert(keys::decode_hold(&key)?);
                continue;
            }
            let mut batch = Batch::new();
            // It may be renewed at this moment.
            batch.require_equals(&*key, value).delete(key);
            let _ = self.store().apply(batch)?;
        }
        Ok(held)
    }

    /// Returns the versions of a project that tags name.
    pub(super) fn tagged_versions(&self, project: ProjectId) -> Result<BTreeSet<VersionNumber>> {
        let mut tagged = BTreeSet::new();
        let mut after = None;
        loop {
            let page = self.list_tags(project, after.as_ref(), SCAN_PAGE)?;
            tagged.extend(page.items.iter().map(|(_, number)| *number));
            after = page.items.last().map(|(name, _)| name.clone());
            if !page.more {
                return Ok(tagged);
            }
        }
    }
}
