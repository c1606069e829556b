//! Appending to the log and making it durable.
//!
//! One writer appends at a time. Local file systems take one buffered write to a file at a time
//! anyway, and so what is acknowledged is always a prefix of the log without further care.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use lfsfs_common::PathError;
use lfsfs_common::durable::sync_dir;

use crate::durability::Durability;
use crate::error::OverlayError;
use crate::log::segment::{HEADER_LEN, Segment, SegmentHeader, SegmentKind};

/// Where the next records go.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    position: u64,
}

/// Why nothing is written any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// A write failed half way and could not be taken back.
    Append,
    /// The kernel drops what it could not sync, so a later sync would lie.
    Sync,
}

/// The end of the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    pub(crate) dir: PathBuf,
    pub(crate) overlay: [u8; 16],
    pub(crate) boot: [u8; 16],
    pub(crate) durability: Durability,
    pub(crate) segment_len_max: u64,
    pub(crate) next_number: u32,
    pub(crate) next_sequence: u64,
    /// All records up to this one are durable.
    pub(crate) synced: u64,
    /// Segments with records that may not be durable.
    pub(crate) unsynced: BTreeMap<u32, Arc<Segment>>,
    /// Whether the log says that this process began.
    pub(crate) begun: bool,
    active: Option<Active>,
    failure: Option<Failure>,
}

/// What a sync has to do.
#[derive(Debug)]
pub(crate) struct SyncWork {
    segments: Vec<Arc<Segment>>,
    sequence: u64,
}

/// Where a log is and how far it was read.
#[derive(Debug)]
pub(crate) struct LogParams {
    pub(crate) dir: PathBuf,
    /// The random id of the overlay.
    pub(crate) overlay: [u8; 16],
    /// The boot of this machine that the process runs in.
    pub(crate) boot: [u8; 16],
    pub(crate) durability: Durability,
    pub(crate) segment_len_max: u64,
    pub(crate) next_number: u32,
    pub(crate) next_sequence: u64,
    /// Segments with records that may not be durable.
    pub(crate) unsynced: BTreeMap<u32, Arc<Segment>>,
}

impl LogWriter {
    pub(crate) fn new(params: LogParams) -> Self {
        Self {
            dir: params.dir,
            overlay: params.overlay,
            boot: params.boot,
            durability: params.durability,
            segment_len_max: params.segment_len_max,
            next_number: params.next_number,
            next_sequence: params.next_sequence,
            synced: 0,
            unsynced: params.unsynced,
            begun: false,
            active: None,
            failure: None,
        }
    }

    /// Returns the number of the segment that is being written.
    pub(crate) fn active_number(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.segment.number)
    }

    /// Returns where `len` bytes of records will go, in a new segment if they fit in no other.
    pub(crate) fn prepare(&mut self, len: u64) -> Result<(Arc<Segment>, u64), OverlayError> {
        if self.failure == Some(Failure::Append) {
            return Err(OverlayError::Broken);
        }
        let fits = |active: &&Active| {
            active.position + len <= self.segment_len_max || active.position == HEADER_LEN as u64
        };
        if let Some(active) = self.active.as_ref().filter(fits) {
            return Ok((active.segment.clone(), active.position));
        }
        self.begin_segment()
    }

    /// Begins a new segment; what follows goes there.
    pub(crate) fn begin_segment(&mut self) -> Result<(Arc<Segment>, u64), OverlayError> {
        let number = self.next_number;
        let header = self.header(SegmentKind::Operations, number);
        let segment = Segment::create(&self.dir, &header).map_err(OverlayError::of_write)?;
        let segment = Arc::new(segment);
        self.next_number += 1;
        self.unsynced.insert(number, segment.clone());
        let position = HEADER_LEN as u64;
        self.active = Some(Active {
            segment: segment.clone(),
            position,
        });
        Ok((segment, position))
    }

    pub(crate) fn header(&self, kind: SegmentKind, number: u32) -> SegmentHeader {
        SegmentHeader {
            kind,
            number,
            first_sequence: self.next_sequence,
            overlay: self.overlay,
            boot: self.boot,
        }
    }

    /// Appends records where [`prepare`](Self::prepare) said. On an error the log is as before.
    pub(crate) fn append(&mut self, bytes: &[u8], records: u64) -> Result<(), OverlayError> {
        let Some(active) = &mut self.active else {
            return Err(OverlayError::Broken);
        };
        let segment = &active.segment;
        if let Err(error) = segment.file.write_all_at(bytes, active.position) {
            if segment.file.set_len(active.position).is_err() {
                self.failure = Some(Failure::Append);
            }
            return Err(OverlayError::of_write(PathError::new(
                "write",
                &segment.path,
                error,
            )));
        }
        active.position += bytes.len() as u64;
        self.next_sequence += records;
        self.unsynced.insert(segment.number, segment.clone());
        Ok(())
    }

    /// Returns what must be synced so that everything appended so far is durable.
    pub(crate) fn sync_work(&self) -> Result<Option<SyncWork>, OverlayError> {
        if self.failure == Some(Failure::Sync) {
            let error = std::io::Error::other("an earlier sync failed");
            return Err(OverlayError::Sync(error));
        }
        if self.unsynced.is_empty() || self.durability == Durability::Volatile {
            return Ok(None);
        }
        let segments = self.unsynced.values().cloned().collect();
        Ok(Some(SyncWork {
            segments,
            sequence: self.next_sequence - 1,
        }))
    }

    /// Notes that a sync ended.
    pub(crate) fn synced(&mut self, work: &SyncWork) {
        self.synced = self.synced.max(work.sequence);
        let grew = self.next_sequence - 1 > work.sequence;
        let active = self.active_number();
        for segment in &work.segments {
            if !(grew && active == Some(segment.number)) {
                self.unsynced.remove(&segment.number);
            }
        }
    }

    /// Takes nothing more: what the log has and what is in memory may not be the same.
    pub(crate) fn give_up(&mut self) {
        self.failure = Some(Failure::Append);
    }

    pub(crate) fn sync_failed(&mut self) {
        self.failure = Some(Failure::Sync);
    }
}

impl SyncWork {
    /// Syncs, without any lock of the log.
    pub(crate) fn run(&self, dir: &std::path::Path) -> Result<(), OverlayError> {
        for segment in &self.segments {
            segment.file.sync_data().map_err(OverlayError::Sync)?;
        }
        // The entries of new segments. Asking whether there are any would cost as much.
        sync_dir(dir).map_err(|error| OverlayError::Sync(error.source))
    }
}
