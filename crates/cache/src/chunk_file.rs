//! One chunk in the cache: a sparse image of it, and behind that a map of what is there.
//!
//! Blocks and footer lie where they lie in the chunk, the rest is holes. The map has one byte for
//! the footer and one for each block, so that a process sets its own bytes with one write and never
//! has to read, change and write a byte that others share. Data and map are one file, so that they
//! appear and vanish together. The map only saves reading holes: what it promises is verified.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use lfsfs_types::ChunkInfo;
use lfsfs_types::chunk::{Footer, TRAILER_LEN, decode_block};

const PRESENT: u8 = 0xA5;
const ABSENT: u8 = 0;
/// The bytes may be of files that were private, and the directory may be one that others look into.
const MODE: u32 = 0o600;

/// What became of an attempt to read something.
pub(crate) enum Found<T> {
    /// It was there and is what it should be.
    Whole(T),
    /// It was there, but damaged; it is marked as absent now.
    Damaged,
    /// It was not there.
    Absent,
}

/// An open file of the cache.
pub(crate) struct ChunkFile<'a> {
    file: File,
    info: &'a ChunkInfo,
}

impl<'a> ChunkFile<'a> {
    /// Opens the file, for writing too where the directory allows that.
    pub(crate) fn open(path: &Path, info: &'a ChunkInfo) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = match file {
            Err(error) if error.kind() != io::ErrorKind::NotFound => File::open(path)?,
            other => other?,
        };
        Ok(Self { file, info })
    }

    /// Opens the file, creating it when it is missing.
    pub(crate) fn open_or_create(path: &Path, info: &'a ChunkInfo) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(path)?;
        Ok(Self { file, info })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn footer(&self) -> io::Result<Found<Footer>> {
        if !self.is_marked(0)? {
            return Ok(Found::Absent);
        }
        let bytes = self.read(self.footer_start(), self.info.footer_len)?;
        let footer =
            bytes.and_then(|bytes| Footer::decode_verified(&bytes, &self.info.footer_sha256).ok());
        self.found(0, footer)
    }

    pub(crate) fn store_footer(&self, encoded: &[u8]) -> io::Result<()> {
        self.file.write_all_at(encoded, self.footer_start())?;
        self.mark(0, PRESENT)
    }

    /// Returns the raw bytes of a block.
    pub(crate) fn block(&self, footer: &Footer, index: u32) -> io::Result<Found<Vec<u8>>> {
        let Some(entry) = footer.blocks().get(index as usize) else {
            return Ok(Found::Absent);
        };
        let mark = u64::from(index) + 1;
        if !self.is_marked(mark)? {
            return Ok(Found::Absent);
        }
        let stored = self.read(entry.offset, entry.stored_len)?;
        let raw = stored.and_then(|stored| decode_block(entry, &stored).ok());
        self.found(mark, raw)
    }

    pub(crate) fn store_block(&self, footer: &Footer, index: u32, stored: &[u8]) -> io::Result<()> {
        let Some(range) = footer.block_range(index) else {
            return Ok(());
        };
        self.file.write_all_at(stored, range.start)?;
        self.mark(u64::from(index) + 1, PRESENT)
    }

    /// Returns which blocks are there, by what the map says.
    pub(crate) fn blocks_present(&self, footer: &Footer) -> io::Result<Vec<bool>> {
        let mut map = vec![ABSENT; footer.blocks().len()];
        let mut filled = 0;
        while filled < map.len() {
            match self
                .file
                .read_at(&mut map[filled..], self.map_start() + 1 + filled as u64)?
            {
                0 => break,
                len => filled += len,
            }
        }
        Ok(map.into_iter().map(|mark| mark == PRESENT).collect())
    }

    fn found<T>(&self, mark: u64, value: Option<T>) -> io::Result<Found<T>> {
        match value {
            Some(value) => Ok(Found::Whole(value)),
            None => {
                self.mark(mark, ABSENT)?;
                Ok(Found::Damaged)
            }
        }
    }

    /// Returns the bytes, or `None` if the file ends before.
    fn read(&self, offset: u64, len: u32) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; len as usize];
        match self.file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_marked(&self, mark: u64) -> io::Result<bool> {
        let mut byte = [ABSENT];
        self.file.read_at(&mut byte, self.map_start() + mark)?;
        Ok(byte == [PRESENT])
    }

    fn mark(&self, mark: u64, value: u8) -> io::Result<()> {
        self.file.write_all_at(&[value], self.map_start() + mark)
    }

    fn map_start(&self) -> u64 {
        self.info.len
    }

    fn footer_start(&self) -> u64 {
        let behind = u64::from(self.info.footer_len) + TRAILER_LEN as u64;
        self.info.len.saturating_sub(behind)
    }
}
