//! What a datanode counts, and what it tells of itself as metrics.

use std::fmt;

use super::DataNode;
use crate::figures::{Count, Figures, Page};

/// What a datanode did since its start, and does now.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Chunks that are being received.
    pub(super) uploads: Count,
    /// Ranges that are being sent.
    pub(super) downloads: Count,
    /// Bytes of chunks that clients sent.
    pub(super) uploaded_bytes: Count,
    /// Bytes of copies that other datanodes sent.
    pub(super) received_copy_bytes: Count,
    /// Bytes that this datanode got from others for repair.
    pub(super) fetched_bytes: Count,
    /// Bytes of the ranges that were sent.
    pub(super) downloaded_bytes: Count,
    /// Bytes of whole copies that were sent to other datanodes.
    pub(super) sent_copy_bytes: Count,
    pub(super) frames_refused: Count,
    pub(super) copies_made: Count,
    pub(super) copies_failed: Count,
    pub(super) fetches_made: Count,
    pub(super) fetches_failed: Count,
    pub(super) scrubbed_chunks: Count,
    pub(super) scrubbed_bytes: Count,
    /// Chunks that were found damaged.
    pub(super) corrupt: Count,
    /// Looks for a chunk that is not here.
    pub(super) absent: Count,
    pub(super) heartbeats_lost: Count,
}

impl Figures for DataNode {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        self.write_room(page)?;
        self.counters.write_transfers(page)?;
        self.counters.write_copies(page)?;
        self.counters.write_truth(page)?;
        page.gauge(
            "lfsfs_datanode_registered",
            "1 once the coordinator has registered this datanode.",
            u64::from(self.link.generation() > 0),
        )?;
        page.counter(
            "lfsfs_datanode_heartbeats_lost_total",
            "Heartbeats that the coordinator did not answer.",
            self.counters.heartbeats_lost.value(),
        )
    }
}

impl DataNode {
    /// Writes what the disk has and can take; nothing if the disk does not tell.
    fn write_room(&self, page: &mut Page<'_>) -> fmt::Result {
        let stats = match self.store.stats() {
            Ok(stats) => stats,
            Err(error) => {
                tracing::debug!(%error, "the disk cannot be asked for metrics");
                return Ok(());
            }
        };
        let capacity = self.capacity_of(&stats);
        let room = self.room(&stats);
        for (name, help, value) in [
            ("lfsfs_datanode_chunks", "Chunks.", stats.chunks),
            (
                "lfsfs_datanode_chunk_bytes",
                "Bytes of the chunks.",
                stats.chunk_bytes,
            ),
            (
                "lfsfs_datanode_capacity_bytes",
                "Bytes that this datanode can hold.",
                capacity,
            ),
            (
                "lfsfs_datanode_used_bytes",
                "Bytes of these that are used, with the reserve.",
                capacity.saturating_sub(room),
            ),
            (
                "lfsfs_datanode_full",
                "1 if no chunk is taken any more.",
                u64::from(room == 0),
            ),
            (
                "lfsfs_disk_size_bytes",
                "Size of the disk with the chunks.",
                stats.total_bytes,
            ),
            (
                "lfsfs_disk_free_bytes",
                "Bytes of the disk that are free.",
                stats.free_bytes,
            ),
            (
                "lfsfs_disk_reserve_bytes",
                "Bytes of the disk that stay free.",
                self.reserve,
            ),
        ] {
            page.gauge(name, help, value)?;
        }
        Ok(())
    }
}

impl Counters {
    fn write_transfers(&self, page: &mut Page<'_>) -> fmt::Result {
        page.gauge(
            "lfsfs_datanode_uploads_running",
            "Chunks that are being received.",
            self.uploads.value(),
        )?;
        page.gauge(
            "lfsfs_datanode_downloads_running",
            "Ranges of chunks that are being sent.",
            self.downloads.value(),
        )?;
        let kind = |kind, count: &Count| ([("kind", kind)], count.value());
        page.counters(
            "lfsfs_datanode_received_bytes_total",
            "Bytes of chunks that came.",
            [
                kind("upload", &self.uploaded_bytes),
                kind("copy", &self.received_copy_bytes),
                kind("fetch", &self.fetched_bytes),
            ],
        )?;
        page.counters(
            "lfsfs_datanode_sent_bytes_total",
            "Bytes of chunks that went.",
            [
                kind("download", &self.downloaded_bytes),
                kind("copy", &self.sent_copy_bytes),
            ],
        )?;
        page.counter(
            "lfsfs_datanode_frames_refused_total",
            "Frames of uploads that were wrong.",
            self.frames_refused.value(),
        )
    }

    fn write_copies(&self, page: &mut Page<'_>) -> fmt::Result {
        let ended = |kind, result, count: &Count| {
            let labels = [("kind", kind), ("result", result)];
            (labels, count.value())
        };
        page.counters(
            "lfsfs_datanode_copies_total",
            "Copies of chunks that were made from here or to here.",
            [
                ended("copy", "made", &self.copies_made),
                ended("copy", "failed", &self.copies_failed),
                ended("fetch", "made", &self.fetches_made),
                ended("fetch", "failed", &self.fetches_failed),
            ],
        )
    }

    fn write_truth(&self, page: &mut Page<'_>) -> fmt::Result {
        page.counter(
            "lfsfs_datanode_scrubbed_chunks_total",
            "Chunks that were read again to find damage.",
            self.scrubbed_chunks.value(),
        )?;
        page.counter(
            "lfsfs_datanode_scrubbed_bytes_total",
            "Bytes of these chunks.",
            self.scrubbed_bytes.value(),
        )?;
        page.counter(
            "lfsfs_datanode_corrupt_chunks_total",
            "Chunks that were found damaged and moved aside.",
            self.corrupt.value(),
        )?;
        page.counter(
            "lfsfs_datanode_absent_chunks_total",
            "Looks for a chunk that should be here and is not.",
            self.absent.value(),
        )
    }
}
