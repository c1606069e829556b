//! The contents of chunks that are rewritten: in which order they are written, and how they are read.
//!
//! They are written in the order of the paths, and read a few megabytes of that at a time, chunk by chunk: so each block
//! is read about once, whatever lies between.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use lfsfs_common::tasks::Tasks;
use lfsfs_reader::{ContentReader, ReaderConfig, Source};
use lfsfs_types::limits::BLOCK_RAW_LEN_MAX;
use lfsfs_types::{ContentPlace, ProjectId};

use super::super::{Coordinator, objects};

/// Blocks that one read brings at most: each is read once for all contents in it.
const BLOCKS_AT_ONCE: usize = 8;
/// Bytes of contents that are in memory until they are written.
const READ_AHEAD: RangeInclusive<usize> = 1 << 20..=4 << 20;

/// What the reader keeps: footers. Each block is read once.
const CONFIG: ReaderConfig = ReaderConfig {
    blocks_len_max: 0,
    places_len_max: 1 << 20,
    footers_len_max: 2 << 20,
    in_flight_len_max: 4 << 20,
    fetches_max: 4,
    window_len_first: 512 << 10,
    window_len_max: 1 << 20,
};

/// The contents of a gathering, in the order in which they are written.
pub(super) struct Contents {
    pub(super) reader: ContentReader,
    /// What the reader fetches with; they end with it.
    _tasks: Tasks,
    left: VecDeque<ContentPlace>,
    /// What was read and is not written yet.
    pub(super) read: VecDeque<(ContentPlace, Bytes)>,
}

impl Contents {
    pub(super) fn new(
        coordinator: &Arc<Coordinator>,
        project: Option<ProjectId>,
        places: Vec<ContentPlace>,
    ) -> Self {
        let tasks = Tasks::new();
        let source = Source {
            remote: Arc::new(objects::OwnRemote::new(coordinator)),
            // The coordinator itself finds contents of all projects.
            project: project.unwrap_or(ProjectId([0; 16])),
            cache: None,
            spawner: tasks.spawner().clone(),
        };
        Self {
            reader: ContentReader::new(source, &CONFIG),
            _tasks: tasks,
            left: places.into(),
            read: VecDeque::new(),
        }
    }

    /// Takes the next places, of about so many bytes.
    pub(super) fn next_places(&mut self, memory: usize) -> Vec<ContentPlace> {
        let most = memory.clamp(*READ_AHEAD.start(), *READ_AHEAD.end()) as u64;
        let (mut places, mut len) = (Vec::new(), 0);
        while len < most
            && let Some(place) = self.left.pop_front()
        {
            len += u64::from(place.len);
            places.push(place);
        }
        places
    }
}

/// Divides places into parts that are read at once: each from few blocks, and no block in two parts.
pub(super) fn parts(places: &[ContentPlace]) -> Vec<Vec<ContentPlace>> {
    let mut places = places.to_vec();
    places.sort_by_key(|it| (it.chunk, it.block, it.offset));
    let mut parts: Vec<Vec<ContentPlace>> = Vec::new();
    let (mut last, mut blocks) = (None, 0);
    for place in places {
        let block = Some((place.chunk, place.block));
        let is_new = block != last;
        last = block;
        // A long content goes on in further blocks.
        let further = place.len / BLOCK_RAW_LEN_MAX;
        blocks += usize::from(is_new) + further as usize;
        match parts.last_mut() {
            Some(part) if !is_new || blocks <= BLOCKS_AT_ONCE => part.push(place),
            _ => {
                blocks = 1 + further as usize;
                parts.push(vec![place]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use lfsfs_types::{ChunkId, ContentId};

    use super::*;

    fn place(chunk: u8, block: u32, len: u32) -> ContentPlace {
        ContentPlace {
            content: ContentId([chunk; 32]),
            chunk: ChunkId([chunk; 32]),
            block,
            offset: 0,
            len,
        }
    }

    #[test]
    fn a_block_is_read_once_and_few_at_the_same_time() {
        let mut places = Vec::new();
        for offset in 0..10 {
            for block in 0..100 {
                places.push(ContentPlace {
                    offset,
                    ..place(u8::try_from(block % 3).unwrap(), block, 10)
                });
            }
        }
        let parts = parts(&places);
        let mut seen = HashSet::new();
        for part in &parts {
            let blocks: HashSet<_> = part.iter().map(|it| (it.chunk, it.block)).collect();
            assert!(blocks.len() <= BLOCKS_AT_ONCE);
            assert!(blocks.iter().all(|it| seen.insert(*it)), "read twice");
        }
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), places.len());
        let long: Vec<_> = (0..10).map(|it| place(it, 0, 1 << 20)).collect();
        assert_eq!(
            super::parts(&long).len(),
            5,
            "a content of 1 MiB has two blocks, or a part of three"
        );
    }
}
