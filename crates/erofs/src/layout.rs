//! One directory: how it lies in an image, and its bytes.

use std::collections::HashMap;

use lfsfs_types::{DirId, Kind, LinkId, Name, Record};

use crate::BLOCK_LEN;
use crate::address::{self, REGION_LEN, inode_number};
use crate::dirents::{self, Dirent};
use crate::error::RenderError;
use crate::inode::{ContentPlace, Data, INODE_LEN, Inode, file_type};
use crate::table::{CELL_LEN, Need, Table, hash};

const DIRECTORY: u8 = 2;

/// A directory of a version.
#[derive(Debug, Clone, Copy)]
pub struct Directory<'a> {
    /// Its id.
    pub dir: DirId,
    /// The directory above; itself for the root.
    pub parent: DirId,
    /// Its own record. Values of attributes that are contents are not shown, here and below: a caller replaces them.
    pub record: &'a Record,
    /// What is in it, in the order of names.
    pub entries: &'a [(Name, Record)],
}

/// How a directory lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    table: Table,
    /// Where the inode of each entry is in the table, for those that have one there.
    cells: Vec<Option<u32>>,
    entries_len: u64,
    /// The entries stand behind the inode of the directory, not in blocks.
    is_inline: bool,
    long_targets: u32,
}

/// What was given to a directory.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The first of [`Layout::blocks`] blocks.
    pub first_block: u32,
    /// The place of its table, if [`Layout::has_large_table`].
    pub large_table: u32,
    /// Where the contents of its files are, one for each entry. What has no content, or more than one name,
    /// may have anything.
    pub contents: &'a [ContentPlace],
    /// Where the inodes of hard links lie that are too long for their own places.
    pub long_links: &'a HashMap<LinkId, u64>,
}

/// The bytes of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryImage {
    /// Its region, without zeros at the end.
    pub region: Vec<u8>,
    /// Its table, if that lies elsewhere.
    pub large_table: Vec<u8>,
    /// Its blocks, the last one maybe without its end.
    pub blocks: Vec<u8>,
}

impl Layout {
    /// Decides how a directory lies. That depends on it and its entries alone.
    pub fn of(directory: &Directory<'_>) -> Result<Self, RenderError> {
        let needs = needs(directory)?;
        let entries_len = dirents::len_of(names(directory.entries).into_iter());
        let head_len = Inode::of(directory.record)?.head_len();
        let placed: Vec<Need> = needs.iter().flatten().cloned().collect();
        let fits = |table: Table| {
            let has_room = head_len <= table.bytes_before();
            let cells = has_room.then(|| table.place(&placed)).flatten()?;
            Some((table, cells))
        };
        if head_len as u64 > REGION_LEN {
            return Err(RenderError::Xattrs { len: head_len });
        }
        let (table, cells) = Table::all().find_map(fits).ok_or(RenderError::Entries {
            entries: directory.entries.len(),
        })?;
        let mut cells = cells.into_iter();
        let inline_end = head_len as u64 + entries_len;
        let long_targets = directory
            .entries
            .iter()
            .filter(|(_, record)| has_long_target(record));
        Ok(Self {
            table,
            cells: needs
                .iter()
                .map(|need| need.as_ref().and_then(|_| cells.next()))
                .collect(),
            entries_len,
            is_inline: inline_end <= table.bytes_before().min(BLOCK_LEN) as u64,
            long_targets: u32::try_from(long_targets.count()).unwrap_or(u32::MAX),
        })
    }

    /// Returns how many blocks of the metadata file it needs beside its own place.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.entry_blocks() + self.long_targets
    }

    /// Returns true if its table needs a place of its own.
    #[must_use]
    pub fn has_large_table(&self) -> bool {
        matches!(self.table, Table::Large(_))
    }

    fn entry_blocks(&self) -> u32 {
        let blocks = if self.is_inline {
            0
        } else {
            self.entries_len.div_ceil(BLOCK_LEN as u64)
        };
        u32::try_from(blocks).unwrap_or(u32::MAX)
    }

    /// Renders the directory.
    pub fn render(
        &self,
        directory: &Directory<'_>,
        places: &Places<'_>,
    ) -> Result<DirectoryImage, RenderError> {
        let region = address::region(directory.dir)?;
        let table = match self.table {
            Table::Large(_) => address::large_table(places.large_table),
            Table::Small | Table::Middle(_) => region + self.table.bytes_before() as u64,
        };
        let entries = self.dirents(directory, places, table)?;
        let mut inode = Inode::of(directory.record)?;
        inode.size = self.entries_len;
        let (head, mut blocks) = if self.is_inline {
            (inode.encode(&Data::Inline(&entries)), Vec::new())
        } else {
            (inode.encode(&Data::Blocks(places.first_block)), entries)
        };
        let mut cells = vec![0; self.table.len()];
        self.write_inodes(directory, places, &mut cells, &mut blocks)?;
        let mut region = head;
        let mut large_table = Vec::new();
        if self.has_large_table() {
            large_table = cells;
        } else {
            region.resize(self.table.bytes_before(), 0);
            region.extend_from_slice(&cells);
        }
        Ok(DirectoryImage {
            region,
            large_table,
            blocks,
        })
    }

    fn dirents(
        &self,
        directory: &Directory<'_>,
        places: &Places<'_>,
        table: u64,
    ) -> Result<Vec<u8>, RenderError> {
        let of_directory = |dir| address::region(dir).map(inode_number);
        let mut dirents = Vec::with_capacity(directory.entries.len() + 2);
        for ((name, record), cell) in directory.entries.iter().zip(&self.cells) {
            let inode = match (&record.kind, record.link, cell) {
                (Kind::Directory { dir }, ..) => of_directory(*dir)?,
                (_, Some(link), _) => match places.long_links.get(&link.id) {
                    Some(place) => inode_number(*place),
                    None => inode_number(address::link(link.id)?),
                },
                (_, None, cell) => {
                    let within = u64::from(cell.unwrap_or(0)) * CELL_LEN as u64;
                    inode_number(table + within)
                }
            };
            dirents.push(Dirent {
                name: name.as_bytes(),
                inode,
                file_type: file_type(&record.kind),
            });
        }
        let own = [(&b".."[..], directory.parent), (&b"."[..], directory.dir)];
        for (name, dir) in own {
            let at = dirents.partition_point(|dirent| dirent.name < name);
            let (inode, file_type) = (of_directory(dir)?, DIRECTORY);
            dirents.insert(
                at,
                Dirent {
                    name,
                    inode,
                    file_type,
                },
            );
        }
        Ok(dirents::encode(&dirents))
    }

    /// Writes the inodes of the table, and long targets behind the blocks of entries.
    fn write_inodes(
        &self,
        directory: &Directory<'_>,
        places: &Places<'_>,
        table: &mut [u8],
        blocks: &mut Vec<u8>,
    ) -> Result<(), RenderError> {
        let mut next_block = places.first_block + self.entry_blocks();
        for (index, (_, record)) in directory.entries.iter().enumerate() {
            let Some(cell) = self.cells[index] else {
                continue;
            };
            let inode = Inode::of(record)?;
            let content = places.contents.get(index).copied().unwrap_or_default();
            let bytes = inode.encode(&inode.data(content, next_block));
            let start = cell as usize * CELL_LEN;
            table[start..start + bytes.len()].copy_from_slice(&bytes);
            if let Kind::Symlink { target } = &record.kind
                && inode.has_long_target()
            {
                blocks.resize(blocks.len().next_multiple_of(BLOCK_LEN), 0);
                blocks.extend_from_slice(target);
                next_block += 1;
            }
        }
        Ok(())
    }
}

/// Returns what each entry needs in the table. Directories have regions of their own, hard links their own places.
fn needs(directory: &Directory<'_>) -> Result<Vec<Option<Need>>, RenderError> {
    let need = |(name, record): &(Name, Record)| {
        if matches!(record.kind, Kind::Directory { .. }) || record.link.is_some() {
            return Ok(None);
        }
        let inode = Inode::of(record)?;
        let len = inode.len();
        let has_inline_target =
            matches!(record.kind, Kind::Symlink { .. }) && !inode.has_long_target();
        Ok(Some(Need {
            hash: hash(name.as_bytes(), record),
            len,
            whole: if has_inline_target {
                inode.head_len()..len
            } else {
                0..0
            },
        }))
    };
    directory.entries.iter().map(need).collect()
}

fn has_long_target(record: &Record) -> bool {
    record.link.is_none() && Inode::of(record).is_ok_and(|inode| inode.has_long_target())
}

/// Returns all names of a directory in the order of their bytes, its own two among them.
fn names(entries: &[(Name, Record)]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = entries.iter().map(|(name, _)| name.as_bytes()).collect();
    for own in [&b".."[..], &b"."[..]] {
        let at = names.partition_point(|name| *name < own);
        names.insert(at, own);
    }
    names
}

const _: () = assert!(INODE_LEN <= CELL_LEN);
