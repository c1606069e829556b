//! Bytes of content devices: those of the files that lie there, and zeros between them.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{FuturesOrdered, StreamExt as _};
use lfsfs_erofs::address::DEVICE_BLOCKS;
use lfsfs_erofs::{BLOCK_LEN, content_blocks};
use lfsfs_reader::Wanted;
use lfsfs_types::Kind;

use super::places::Run;
use super::{ImageFile, VersionImage};
use crate::error::VfsError;
use crate::inode::Place;
use crate::stretch::Listed;

/// Returns where blocks that are counted over all devices lie.
pub(super) fn ranges(blocks: Range<u64>) -> Vec<(ImageFile, Range<u64>)> {
    let mut ranges = Vec::new();
    let mut start = blocks.start;
    while start < blocks.end {
        let device = start / DEVICE_BLOCKS;
        let end = blocks.end.min((device + 1) * DEVICE_BLOCKS);
        let bytes = |block: u64| (block - device * DEVICE_BLOCKS) * BLOCK_LEN as u64;
        let file = ImageFile::Content(u16::try_from(device).unwrap_or(u16::MAX));
        ranges.push((file, bytes(start)..bytes(end)));
        start = end;
    }
    ranges
}

/// Bytes of a file that a request wants, and where they go.
struct Part {
    to: usize,
    wanted: Wanted,
    listed: Listed,
}

impl VersionImage {
    /// Returns bytes of a content device.
    pub async fn read_content(
        self: &Arc<Self>,
        device: u16,
        offset: u64,
        len: u32,
    ) -> Result<Bytes, VfsError> {
        let start = u64::from(device) * DEVICE_BLOCKS * BLOCK_LEN as u64 + offset;
        let bytes = self.read_devices(start, len).await?;
        self.note_content_read(&(start..start + u64::from(len)));
        Ok(bytes)
    }

    /// Returns bytes that are counted over all devices.
    pub(super) async fn read_devices(&self, start: u64, len: u32) -> Result<Bytes, VfsError> {
        let parts = self.parts(start..start + u64::from(len)).await?;
        if let [part] = &parts[..]
            && part.wanted.range.end - part.wanted.range.start == u64::from(len)
        {
            return self.read_part(part).await;
        }
        let mut bytes = BytesMut::zeroed(len as usize);
        let mut reads: FuturesOrdered<_> = parts.iter().map(|part| self.read_part(part)).collect();
        for part in &parts {
            let Some(read) = reads.next().await.transpose()? else {
                break;
            };
            bytes[part.to..part.to + read.len()].copy_from_slice(&read);
        }
        drop(reads);
        Ok(bytes.freeze())
    }

    async fn read_part(&self, part: &Part) -> Result<Bytes, VfsError> {
        let wanted = part.wanted.clone();
        let expected = wanted.range.end - wanted.range.start;
        let bytes = self
            .version
            .read_content(Some(wanted), Some(&part.listed))
            .await?;
        if bytes.len() as u64 != expected {
            return Err(VfsError::corrupt(
                "read a file",
                "it is shorter than its record says",
            ));
        }
        Ok(bytes)
    }

    /// Returns what lies in a range of bytes, counted over all devices.
    async fn parts(&self, range: Range<u64>) -> Result<Vec<Part>, VfsError> {
        let mut parts = Vec::new();
        let mut at = range.start;
        self.places()
            .note_content_read(range.end.div_ceil(BLOCK_LEN as u64));
        while at < range.end {
            let found = self.places().run_at(at / BLOCK_LEN as u64);
            let Some((run, end)) = found else {
                break;
            };
            let end = end * BLOCK_LEN as u64;
            if end <= at {
                // Behind all that was given away.
                break;
            }
            self.add_parts(&run, at..end.min(range.end), range.start, &mut parts)
                .await?;
            at = end;
        }
        Ok(parts)
    }

    async fn add_parts(
        &self,
        run: &Run,
        range: Range<u64>,
        base: u64,
        parts: &mut Vec<Part>,
    ) -> Result<(), VfsError> {
        let listing = self.version.listing(run.entry.dir).await?;
        let mut start = run.start * BLOCK_LEN as u64;
        for index in run.entry.index..listing.len() {
            if start >= range.end {
                break;
            }
            let record = listing.entry_record(index)?;
            let is_first = index == run.entry.index;
            // A hard link is a run of its own.
            if record.link.is_some() && !is_first {
                continue;
            }
            let Kind::File { size, content } = record.kind else {
                continue;
            };
            let begin = range.start.max(start);
            let within = begin - start..range.end.saturating_sub(start).min(size);
            if within.start < within.end {
                parts.extend(Wanted::new(content, size, within).map(|wanted| Part {
                    to: usize::try_from(begin - base).unwrap_or(usize::MAX),
                    wanted,
                    listed: Listed {
                        place: Place {
                            dir: run.entry.dir,
                            index,
                        },
                        listing: Arc::clone(&listing),
                    },
                }));
            }
            start += content_blocks(&record) * BLOCK_LEN as u64;
            if record.link.is_some() {
                break;
            }
        }
        Ok(())
    }
}
