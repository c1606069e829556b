//! What an image has given away so far: blocks, tables, addresses of contents. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use lfsfs_erofs::address::{self, DEVICE_BLOCKS, DEVICES, END_BLOCK, FIRST_BLOCK, LARGE_TABLES};
use lfsfs_erofs::{BLOCK_LEN, ContentPlace, Directory, HardLink, Layout, content_blocks};
use lfsfs_types::{DirId, Kind, LinkId, Name, Record};

use super::too_large;
use crate::error::VfsError;
use crate::inode::Place;

/// So many files follow one another at most before the place of the next one is noted again.
const RUN_FILES_MAX: usize = 64;

/// Whose a block of the metadata file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockOwner {
    Directory(DirId),
    Link(LinkId),
}

/// What a directory has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) first_block: u32,
    pub(super) large_table: u32,
    /// Where its contents begin among the runs.
    first_run: usize,
}

/// What the kernel read before it was given away, and so has as zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) blocks: Range<u32>,
    /// Counted over all devices.
    pub(super) content: Range<u64>,
    /// Where blocks of hard links begin.
    pub(super) links: BTreeSet<u64>,
}

/// What a hard link has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GivenLink {
    /// One of its names.
    pub(super) entry: Place,
    pub(super) content: ContentPlace,
    /// The first of its blocks, if it has some.
    pub(super) first_block: u32,
}

/// Contents of one directory that follow one another, in the order of its entries; or that of a hard link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// The first block; blocks are counted over all devices.
    pub(super) start: u64,
    /// The first entry.
    pub(super) entry: Place,
}

/// All that was given away.
#[derive(Debug)]
pub(super) struct Places {
    next_block: u32,
    next_content: u64,
    /// Where the last reads end that were answered with zeros because nothing was given away there yet.
    blocks_read_to: u32,
    content_read_to: u64,
    /// Where blocks of hard links begin that were read, with zeros for those that had no place yet.
    links_read: HashSet<u64>,
    directories: HashMap<DirId, Given>,
    above: HashMap<DirId, Place>,
    links: HashMap<LinkId, GivenLink>,
    long_links: HashMap<LinkId, u64>,
    /// By first block.
    blocks: Vec<(u32, BlockOwner)>,
    tables: HashMap<u32, DirId>,
    /// By start.
    runs: Vec<Run>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            next_block: FIRST_BLOCK,
            next_content: 0,
            blocks_read_to: 0,
            content_read_to: 0,
            links_read: HashSet::new(),
            directories: HashMap::new(),
            above: HashMap::new(),
            links: HashMap::new(),
            long_links: HashMap::new(),
            blocks: Vec::new(),
            tables: HashMap::new(),
            runs: Vec::new(),
        }
    }

    /// Returns what a directory has.
    pub(super) fn given(&self, dir: DirId) -> Option<Given> {
        self.directories.get(&dir).copied()
    }

    /// Gives a directory what it needs. From here on the places of the directories and hard links in it are known.
    /// Returns what the kernel must forget before it learns of them.
    pub(super) fn give(
        &mut self,
        directory: &Directory<'_>,
        layout: &Layout,
    ) -> Result<Forgotten, VfsError> {
        let (block, content) = (self.next_block, self.next_content);
        let first_block =
            self.take_blocks(layout.blocks(), BlockOwner::Directory(directory.dir))?;
        let large_table = if layout.has_large_table() {
            self.take_table(directory.dir)?
        } else {
            0
        };
        let given = Given {
            first_block,
            large_table,
            first_run: self.runs.len(),
        };
        let links = self.give_contents(directory)?;
        for (index, (_, record)) in (0..).zip(directory.entries) {
            if let Kind::Directory { dir } = record.kind {
                let dir_above = directory.dir;
                self.above.insert(
                    dir,
                    Place {
                        dir: dir_above,
                        index,
                    },
                );
            }
        }
        self.directories.insert(directory.dir, given);
        Ok(Forgotten {
            blocks: block..self.next_block.min(self.blocks_read_to),
            content: content..self.next_content.min(self.content_read_to),
            links,
        })
    }

    /// Notes that blocks up to here are read, whether they are given away or not.
    pub(super) fn note_blocks_read(&mut self, end: u32) {
        self.blocks_read_to = self.blocks_read_to.max(end);
    }

    /// Notes that contents up to this block are read, whether they are given away or not.
    pub(super) fn note_content_read(&mut self, end: u64) {
        self.content_read_to = self.content_read_to.max(end);
    }

    /// Returns where the contents of entries are that are in runs of a directory.
    pub(super) fn contents_of(
        &self,
        given: &Given,
        entries: &[(Name, Record)],
    ) -> Vec<ContentPlace> {
        let mut places = vec![ContentPlace::default(); entries.len()];
        let mut runs = self.runs[given.first_run.min(self.runs.len())..]
            .iter()
            .peekable();
        let mut next = 0;
        for (index, (_, record)) in (0..).zip(entries) {
            let blocks = content_blocks(record);
            if blocks == 0 {
                continue;
            }
            if let Some(run) = runs.next_if(|run| run.entry.index == index) {
                next = run.start;
            }
            if record.link.is_none() {
                places[index as usize] = place_of(next);
                next += blocks;
            }
        }
        places
    }

    pub(super) fn above(&self, dir: DirId) -> Option<Place> {
        self.above.get(&dir).copied()
    }

    /// Returns what a hard link has, for a read of the block that it lies in.
    pub(super) fn link_to_read(&mut self, link: LinkId) -> Result<Option<GivenLink>, VfsError> {
        self.links_read.insert(block_of_link(link)?);
        Ok(self.links.get(&link).copied())
    }

    /// Returns where those hard links among entries lie that are too long for their own places.
    pub(super) fn long_links_of(&self, entries: &[(Name, Record)]) -> HashMap<LinkId, u64> {
        if self.long_links.is_empty() {
            return HashMap::new();
        }
        let links = entries.iter().filter_map(|(_, record)| record.link);
        links
            .filter_map(|link| Some((link.id, *self.long_links.get(&link.id)?)))
            .collect()
    }

    pub(super) fn owner_of_table(&self, table: u32) -> Option<DirId> {
        self.tables.get(&table).copied()
    }

    /// Returns whose a block is, and the first one that was given with it.
    pub(super) fn owner_of_block(&self, block: u32) -> Option<(BlockOwner, u32)> {
        let behind = self.blocks.partition_point(|(first, _)| *first <= block);
        let (first, owner) = self.blocks.get(behind.checked_sub(1)?)?;
        Some((*owner, *first))
    }

    /// Returns the first block of contents that is not given away.
    pub(super) fn content_end(&self) -> u64 {
        self.next_content
    }

    /// Returns the run that a block of contents is in, and where the next one begins.
    pub(super) fn run_at(&self, block: u64) -> Option<(Run, u64)> {
        let behind = self.runs.partition_point(|run| run.start <= block);
        let run = self.runs.get(behind.checked_sub(1)?)?;
        let end = self
            .runs
            .get(behind)
            .map_or(self.next_content, |next| next.start);
        Some((*run, end))
    }

    /// Returns the blocks of hard links that were read too early.
    fn give_contents(&mut self, directory: &Directory<'_>) -> Result<BTreeSet<u64>, VfsError> {
        let mut read_early = BTreeSet::new();
        let mut files_in_run = RUN_FILES_MAX;
        let mut next = None;
        for (index, (_, record)) in (0..).zip(directory.entries) {
            let entry = Place {
                dir: directory.dir,
                index,
            };
            if let Some(link) = record.link
                && record.dir().is_none()
            {
                if !self.links.contains_key(&link.id) {
                    self.give_link(link.id, entry, record)?;
                    let block = block_of_link(link.id)?;
                    read_early.extend(self.links_read.take(&block));
                    next = None;
                }
                continue;
            }
            let blocks = content_blocks(record);
            if blocks == 0 {
                continue;
            }
            let start = self.take_content(blocks)?;
            if files_in_run == RUN_FILES_MAX || next != Some(start) {
                self.runs.push(Run { start, entry });
                files_in_run = 0;
            }
            files_in_run += 1;
            next = Some(start + blocks);
        }
        Ok(read_early)
    }

    fn give_link(&mut self, link: LinkId, entry: Place, record: &Record) -> Result<(), VfsError> {
        let start = self.take_content(content_blocks(record))?;
        if content_blocks(record) > 0 {
            self.runs.push(Run { start, entry });
        }
        let blocks = HardLink::of(record).map_err(too_large)?.blocks();
        let first_block = self.take_blocks(blocks, BlockOwner::Link(link))?;
        if blocks > 0 {
            self.long_links.insert(link, address::block(first_block));
        }
        let given = GivenLink {
            entry,
            content: place_of(start),
            first_block,
        };
        self.links.insert(link, given);
        Ok(())
    }

    fn take_blocks(&mut self, count: u32, owner: BlockOwner) -> Result<u32, VfsError> {
        let first = self.next_block;
        if count > 0 {
            let next = first.checked_add(count).filter(|next| *next <= END_BLOCK);
            self.next_block = next.ok_or_else(full)?;
            self.blocks.push((first, owner));
        }
        Ok(first)
    }

    fn take_table(&mut self, dir: DirId) -> Result<u32, VfsError> {
        let wanted = u32::try_from(dir.0 % u64::from(LARGE_TABLES)).unwrap_or(0);
        let mut tables = (wanted..LARGE_TABLES).chain(0..wanted);
        let table = tables.find(|table| !self.tables.contains_key(table));
        let table = table.ok_or_else(full)?;
        self.tables.insert(table, dir);
        Ok(table)
    }

    /// Takes blocks that lie in one device.
    fn take_content(&mut self, blocks: u64) -> Result<u64, VfsError> {
        let left = DEVICE_BLOCKS - self.next_content % DEVICE_BLOCKS;
        let start = if blocks > left {
            self.next_content + left
        } else {
            self.next_content
        };
        let end = start.saturating_add(blocks);
        if end > DEVICE_BLOCKS * u64::from(DEVICES) {
            return Err(full());
        }
        self.next_content = end;
        Ok(start)
    }
}

fn block_of_link(link: LinkId) -> Result<u64, VfsError> {
    let at = address::link(link).map_err(too_large)?;
    Ok(at - at % BLOCK_LEN as u64)
}

fn place_of(block: u64) -> ContentPlace {
    ContentPlace {
        device: u16::try_from(block / DEVICE_BLOCKS).unwrap_or(0),
        block: u32::try_from(block % DEVICE_BLOCKS).unwrap_or(0),
    }
}

/// The objects that were looked at take all that there is.
fn full() -> VfsError {
    tracing::warn!("the image is full; fuse mode has no such limit");
    VfsError::NoSpace
}
