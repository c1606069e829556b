//! Giving back the space of bytes that no file has any more.
//!
//! Steps, each safe to be the last: (1) data that is still needed is copied out of segments that hold
//! little of it, record by record, as ordinary appends; (2) the log goes on in a new segment and the
//! state of that moment is kept, which is all that writers wait for; (3) that state is written to a
//! checkpoint, which is synced together with the segments that it refers to; (4) `current` is renamed
//! to name it; (5) what it does not refer to is removed. A start sweeps what a crash left between.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use lfsfs_common::PathError;
use lfsfs_common::durable::{TempFile, write_file_atomically};

use crate::error::OverlayError;
use crate::extent::Location;
use crate::log::checkpoint_file;
use crate::log::files::encode_current;
use crate::log::segment::SegmentKind;
use crate::operation::{Change, Operation};
use crate::overlay::{Durability, Overlay, View};
use crate::state::State;

/// What a compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Bytes of content that were copied.
    pub moved_bytes: u64,
    /// Bytes of the new checkpoint.
    pub checkpoint_bytes: u64,
    /// Segments that were removed.
    pub segments_removed: usize,
}

/// Bytes of the log that were copied.
#[derive(Debug, Clone, Copy)]
struct Moved {
    from: Location,
    len: u64,
    to: Location,
}

impl Moved {
    /// Returns where the copy has bytes that lay in the log, if it has them.
    fn place_of(self, from: Location, len: u64) -> Option<Location> {
        let skip = from.start().checked_sub(self.from.start())?;
        let is_part = from.segment == self.from.segment && skip + len <= self.len;
        is_part.then(|| self.to.advanced(skip))
    }
}

fn has_extent(state: &State, ino: u64, offset: u64, location: Location, len: u64) -> bool {
    let file = state.inode(ino).and_then(|inode| inode.file());
    let extent = file.and_then(|file| file.extent_at(offset));
    extent.is_some_and(|it| it.location() == Some(location) && it.len == len)
}

impl Overlay {
    /// Compacts the log. Blocks for long; others wait for single appends of at most 128 KiB, and
    /// once for the creation of a file.
    pub fn compact(&self) -> Result<CompactionReport, OverlayError> {
        let _one_at_a_time = self
            .compacting
            .lock()
            .expect("no holder of this lock panics");
        let moved_bytes = self.move_out_of_sparse_segments()?;
        let (view, number, header) = {
            let mut writer = self.lock_writer();
            if !writer.begun {
                let view = self.view();
                self.append(&mut writer, view, &[], |_, _| Ok::<_, OverlayError>(()))?;
            }
            let number = writer.next_number;
            let header = writer.header(SegmentKind::Checkpoint, number);
            // The name is spent even if the checkpoint fails.
            writer.next_number += 1;
            let (segment, _) = writer.begin_segment()?;
            let mut shown = self.shown();
            let segments = &mut Arc::make_mut(&mut shown).segments;
            segments.insert_mut(segment.number, segment);
            (Arc::clone(&shown), number, header)
        };
        let durability = self.lock_writer().durability;
        let checkpoint_bytes = checkpoint_file::write(&self.dir, &header, &view.state, durability)?;
        self.sync()?;
        self.make_current(number, durability)?;
        let segments_removed = self.remove_unused(&view, number)?;
        Ok(CompactionReport {
            moved_bytes,
            checkpoint_bytes,
            segments_removed,
        })
    }

    fn make_current(&self, number: u32, durability: Durability) -> Result<(), OverlayError> {
        let (path, bytes) = (self.dir.join("current"), encode_current(number));
        let written = match durability {
            Durability::Synced => write_file_atomically(&path, &bytes),
            Durability::Volatile => TempFile::create_in(&self.dir).and_then(|mut temp| {
                let written = std::io::Write::write_all(temp.file_mut(), &bytes);
                written.map_err(PathError::wrap("write", &path))?;
                temp.persist_without_sync(&path).map(drop)
            }),
        };
        written.map_err(OverlayError::of_write)
    }

    /// Copies what is needed out of segments of which more than half is dead.
    fn move_out_of_sparse_segments(&self) -> Result<u64, OverlayError> {
        let view = self.view();
        let active = self.lock_writer().active_number();
        let pinned = view
            .state
            .sealed_state()
            .map(|it| it.segments_in_use())
            .unwrap_or_default();
        let mut sparse = BTreeMap::new();
        for (number, bytes) in view.state.segments_in_use() {
            let Some(segment) = view.segments.get(&number) else {
                continue;
            };
            // What a seal refers to stays where it is until the commit ends.
            let movable = Some(number) != active && !pinned.contains_key(&number);
            if movable && segment.len()? / 2 > bytes {
                sparse.insert(number, ());
            }
        }
        let extents = view.state.located_extents();
        let mut extents: Vec<_> = extents
            .filter(|(_, _, from, _)| sparse.contains_key(&from.segment))
            .collect();
        // What others have a part of comes before them, and is copied once.
        extents.sort_by_key(|(_, _, from, len)| (from.segment, from.start(), Reverse(*len)));
        let mut moved_bytes = 0;
        let mut last: Option<Moved> = None;
        for (ino, offset, from, len) in extents {
            if let Some(to) = last.and_then(|last| last.place_of(from, len)) {
                self.repoint_extent(ino, offset, from, to, len)?;
                continue;
            }
            last = self
                .move_extent(&view, ino, offset, from, len)?
                .map(|to| Moved { from, len, to });
            moved_bytes += last.map_or(0, |_| len);
        }
        Ok(moved_bytes)
    }

    /// Copies an extent, unless it is gone. Returns where the copy is.
    fn move_extent(
        &self,
        view: &View,
        ino: u64,
        offset: u64,
        from: Location,
        len: u64,
    ) -> Result<Option<Location>, OverlayError> {
        let len_in_memory = usize::try_from(len).unwrap_or(usize::MAX);
        let data = view.read(from, len_in_memory)?;
        let decide = |state: &State| {
            let operation = Operation::Move { ino, offset, from };
            let change = has_extent(state, ino, offset, from, len).then_some(Change {
                operation,
                data: &data,
            });
            Ok::<_, OverlayError>(change.into_iter().collect())
        };
        self.transact_if(decide, |before, after| {
            let file = after.inode(ino).and_then(|inode| inode.file());
            let place = file.and_then(|file| file.extent_at(offset)?.location());
            Ok(place.filter(|_| has_extent(before, ino, offset, from, len)))
        })
    }

    fn repoint_extent(
        &self,
        ino: u64,
        offset: u64,
        from: Location,
        to: Location,
        len: u64,
    ) -> Result<(), OverlayError> {
        self.transact(|state| {
            let repoint = Operation::Repoint {
                ino,
                offset,
                from,
                to,
            };
            let change = has_extent(state, ino, offset, from, len).then_some(repoint.into());
            Ok(((), change.into_iter().collect()))
        })
    }

    /// Removes the files that neither the checkpoint nor what came after it refers to.
    fn remove_unused(&self, view: &View, checkpoint: u32) -> Result<usize, OverlayError> {
        let used = view.state.segments_in_use();
        let unused: Vec<_> = view
            .segments
            .keys()
            .copied()
            .filter(|number| *number < checkpoint && !used.contains_key(number))
            .collect();
        {
            let mut writer = self.lock_writer();
            let mut shown = self.shown();
            let segments = &mut Arc::make_mut(&mut shown).segments;
            for number in &unused {
                // Views that were taken before keep the file open.
                segments.remove_mut(number);
                writer.unsynced.remove(number);
            }
        }
        for number in &unused {
            let path = self.dir.join(SegmentKind::Operations.file_name(*number));
            fs::remove_file(&path).map_err(PathError::wrap("remove", &path))?;
        }
        self.remove_old_checkpoints(checkpoint)?;
        Ok(unused.len())
    }

    fn remove_old_checkpoints(&self, current: u32) -> Result<(), PathError> {
        let dir = &self.dir;
        let current = SegmentKind::Checkpoint.file_name(current);
        for entry in fs::read_dir(dir).map_err(PathError::wrap("list", dir))? {
            let path = entry.map_err(PathError::wrap("list", dir))?.path();
            let is_checkpoint = path.extension().is_some_and(|it| it == "checkpoint");
            if is_checkpoint
                && path
                    .file_name()
                    .is_some_and(|name| name != current.as_str())
            {
                fs::remove_file(&path).map_err(PathError::wrap("remove", &path))?;
            }
        }
        Ok(())
    }
}
