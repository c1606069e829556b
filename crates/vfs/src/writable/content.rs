//! Bytes of files: the calls that read and write them.

use bytes::Bytes;
use lfsfs_overlay::{NewAttributes, Operation};

use crate::error::VfsError;
use crate::overlay_file::OverlayFile;
use crate::stack::Resolved;
use crate::writable::Vfs;
use crate::writable::attributes::plan_privileges;
use crate::writable::plan::check_range;
use crate::writable::request::{Allocation, ModeEffect, Privileges, Written};

/// Whether a write changes the times of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteTimes {
    Now,
    Kept,
}

/// What one call writes.
struct Write<'a> {
    offset: u64,
    data: &'a [u8],
    privileges: Privileges,
    times: WriteTimes,
}

impl Vfs {
    /// Returns bytes of a file as of one moment: fewer than `size` only at its end. Blocks of the
    /// base are fetched where nothing was written.
    pub async fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Bytes, VfsError> {
        match self.stack.resolve(ino).await? {
            Resolved::Base(view, found) => view.base().read_found(&found, offset, size).await,
            Resolved::Upper(upper) => {
                let (view, inode) = upper.get()?;
                let base = upper.base();
                let file = OverlayFile { base, view, inode };
                file.read(offset, u64::from(size)).await
            }
        }
    }

    /// Writes into a file.
    pub async fn write(
        &self,
        ino: u64,
        offset: u64,
        data: &[u8],
        privileges: Privileges,
    ) -> Result<Written, VfsError> {
        self.write_with(
            ino,
            Write {
                offset,
                data,
                privileges,
                times: WriteTimes::Now,
            },
        )
        .await
    }

    /// As [`write`](Self::write), of bytes that a kernel gathered which keeps the times of the file
    /// itself: it sets them when they are others than those that it was told.
    pub async fn write_gathered(
        &self,
        ino: u64,
        offset: u64,
        data: &[u8],
        privileges: Privileges,
    ) -> Result<Written, VfsError> {
        self.write_with(
            ino,
            Write {
                offset,
                data,
                privileges,
                times: WriteTimes::Kept,
            },
        )
        .await
    }

    async fn write_with(&self, ino: u64, write: Write<'_>) -> Result<Written, VfsError> {
        let Write {
            offset,
            data,
            privileges,
            times,
        } = write;
        let len = u32::try_from(data.len()).map_err(|_| VfsError::Invalid)?;
        self.change(|plan| {
            let object = plan.merged.object(ino)?;
            object.expect_file()?;
            check_range(offset, u64::from(len))?;
            if data.is_empty() {
                let mode = ModeEffect::Kept;
                return Ok(Written { len, mode });
            }
            plan.copy_up(&object);
            let mode = plan_privileges(plan, &object, privileges);
            let attr = object.attr();
            let time = match times {
                WriteTimes::Now => plan.time,
                WriteTimes::Kept => attr.ctime,
            };
            let write = Operation::Write {
                ino,
                offset,
                time,
                mode,
            };
            plan.push_data(write, data);
            if times == WriteTimes::Kept && attr.mtime != time {
                let attributes = NewAttributes {
                    mtime: Some(attr.mtime),
                    ..NewAttributes::default()
                };
                plan.push(Operation::SetAttributes {
                    ino,
                    attributes,
                    time,
                });
            }
            let mode = ModeEffect::of(mode);
            Ok(Written { len, mode })
        })
        .await
    }

    /// Lengthens a file or makes a range of it zeros. Nothing is reserved.
    pub async fn fallocate(
        &self,
        ino: u64,
        offset: u64,
        len: u64,
        allocation: Allocation,
        privileges: Privileges,
    ) -> Result<ModeEffect, VfsError> {
        self.change(|plan| {
            let object = plan.merged.object(ino)?;
            object.expect_file()?;
            let end = check_range(offset, len)?;
            if len == 0 {
                return Err(VfsError::Invalid.into());
            }
            let before = object.attr().size;
            let (zeros, size) = match allocation {
                Allocation::Extend => (0, before.max(end)),
                Allocation::KeepSize => (0, before),
                Allocation::PunchHole | Allocation::ZeroRangeKeepSize => (len, before),
                Allocation::ZeroRange => (len, before.max(end)),
            };
            plan.copy_up(&object);
            let mode = plan_privileges(plan, &object, privileges);
            plan.push(Operation::Fallocate {
                ino,
                offset,
                len: zeros,
                size,
                time: plan.time,
                mode,
            });
            Ok(ModeEffect::of(mode))
        })
        .await
    }
}
