//! The numbers that committed objects go on having in this overlay's mounts: the file `numbers`.
//!
//! A new file gets its number before its content is known, so it is another one than that which
//! follows from the committed object (`lfsfs_types::nodeid`). The file says which number an object
//! is shown by, so that it keeps it over the end of the mount.
//!
//! Losing it costs programs that remember numbers, like git, one more look at each file. It can never
//! give a file the number of another one: a row goes by the number that follows from what the object
//! is, whatever version it is found in, and a number that something else has is not taken. So nothing
//! here waits for the disk, and what cannot be read is begun anew.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use lfsfs_common::PathError;
use lfsfs_common::durable::TempFile;

/// The most rows that are kept; what is committed beyond that gets other numbers in later mounts.
pub const NUMBERS_MAX: usize = 1 << 20;

const MAGIC: &[u8; 4] = b"LFSN";
const FORMAT: u8 = 1;
const PART_HEADER_LEN: usize = 8;
const ROW_LEN: usize = 16;
/// Rows in one part, so that a damaged length asks for little.
const PART_ROWS_MAX: usize = 65_536;
/// Rows that the file may have beside twice those that count, before it is written anew.
const SPARE_ROWS: usize = 4_096;

/// One row: the number that follows from the committed object, and that by which it is shown; `None`
/// if it is shown by no other any more.
pub type NumberRow = (u64, Option<u64>);

/// The open file.
#[derive(Debug)]
pub(crate) struct NumberFile {
    path: PathBuf,
    overlay: [u8; 16],
    /// The end of what makes sense; `None` without a file that does.
    end: Option<u64>,
    rows: usize,
}

impl NumberFile {
    /// Reads the file of an overlay, and returns what objects are shown by.
    pub(crate) fn open(dir: &Path, overlay: [u8; 16]) -> (Self, HashMap<u64, u64>) {
        let mut file = Self {
            path: dir.join("numbers"),
            overlay,
            end: None,
            rows: 0,
        };
        let bytes = match fs::read(&file.path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    file.lost(&error);
                }
                return (file, HashMap::new());
            }
        };
        let numbers = file.take(&bytes);
        if file.end != Some(bytes.len() as u64) {
            file.lost(&io::Error::from(ErrorKind::InvalidData));
        }
        (file, numbers)
    }

    /// Adds rows. `all` is what counts with them, for when the file has many that do not.
    pub(crate) fn add(
        &mut self,
        rows: &[NumberRow],
        all: &HashMap<u64, u64>,
    ) -> Result<(), PathError> {
        let written = match self.end {
            Some(end) if self.rows + rows.len() <= 2 * all.len() + SPARE_ROWS => {
                self.append(end, rows)
            }
            _ => self.write_anew(all),
        };
        written.inspect_err(|_| self.end = None)
    }

    fn append(&mut self, end: u64, rows: &[NumberRow]) -> Result<(), PathError> {
        let parts = self.parts(rows);
        let append = || {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            // What a crash left behind the end is no part of what follows.
            file.set_len(end)?;
            file.write_all_at(&parts, end)
        };
        append().map_err(PathError::wrap("write", &self.path))?;
        self.end = Some(end + parts.len() as u64);
        self.rows += rows.len();
        Ok(())
    }

    fn write_anew(&mut self, all: &HashMap<u64, u64>) -> Result<(), PathError> {
        let mut rows: Vec<NumberRow> = all.iter().map(|(id, ino)| (*id, Some(*ino))).collect();
        rows.sort_unstable();
        let bytes = [self.header(), self.parts(&rows)].concat();
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let mut temp = TempFile::create_in(dir)?;
        let write = |file: &mut File| file.write_all(&bytes);
        write(temp.file_mut()).map_err(PathError::wrap("write", temp.path()))?;
        temp.persist_without_sync(&self.path)?;
        self.end = Some(bytes.len() as u64);
        self.rows = rows.len();
        Ok(())
    }

    fn header(&self) -> Vec<u8> {
        let mut header = [&MAGIC[..], &[FORMAT, 0, 0, 0], &self.overlay].concat();
        header.extend(crc32c::crc32c(&header).to_be_bytes());
        header
    }

    fn parts(&self, rows: &[NumberRow]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(rows.len() * ROW_LEN + PART_HEADER_LEN);
        for part in rows.chunks(PART_ROWS_MAX) {
            let rows = part.iter().flat_map(|(id, ino)| {
                let ino = ino.unwrap_or(0);
                [id.to_be_bytes(), ino.to_be_bytes()].concat()
            });
            let rows: Vec<u8> = rows.collect();
            let count = u32::try_from(part.len()).unwrap_or(u32::MAX);
            bytes.extend(count.to_be_bytes());
            bytes.extend(self.checksum(&rows).to_be_bytes());
            bytes.extend(rows);
        }
        bytes
    }

    fn checksum(&self, rows: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c(&self.overlay), rows)
    }

    /// Reads rows as far as they make sense.
    fn take(&mut self, bytes: &[u8]) -> HashMap<u64, u64> {
        let mut numbers = HashMap::new();
        let Some(mut rest) = bytes.strip_prefix(self.header().as_slice()) else {
            return numbers;
        };
        while let Some((rows, behind)) = self.part(rest) {
            for row in rows.chunks_exact(ROW_LEN) {
                let (id, ino) = row.split_at(ROW_LEN / 2);
                match (number(id), number(ino)) {
                    (id, 0) => drop(numbers.remove(&id)),
                    (id, ino) => drop(numbers.insert(id, ino)),
                }
            }
            self.rows += rows.len() / ROW_LEN;
            rest = behind;
        }
        self.end = Some((bytes.len() - rest.len()) as u64);
        numbers
    }

    /// Returns the rows of the first part and what is behind it; `None` if it is not whole.
    fn part<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let (count, rest) = bytes.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        let count = u32::from_be_bytes(*count) as usize;
        if !(1..=PART_ROWS_MAX).contains(&count) {
            return None;
        }
        let (rows, rest) = rest.split_at_checked(count * ROW_LEN)?;
        (self.checksum(rows) == u32::from_be_bytes(*checksum)).then_some((rows, rest))
    }

    fn lost(&self, error: &io::Error) {
        let path = self.path.display();
        tracing::warn!(%path, %error, "some committed files get other inode numbers");
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const OVERLAY: [u8; 16] = [9; 16];

    fn open(dir: &TempDir) -> (NumberFile, HashMap<u64, u64>) {
        NumberFile::open(dir.path(), OVERLAY)
    }

    fn add(dir: &TempDir, rows: &[NumberRow]) -> HashMap<u64, u64> {
        let (mut file, mut all) = open(dir);
        for (id, ino) in rows {
            match ino {
                Some(ino) => all.insert(*id, *ino),
                None => all.remove(id),
            };
        }
        file.add(rows, &all).unwrap();
        all
    }

    #[test]
    fn rows_are_there_when_the_file_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(&dir).1.is_empty());
        add(&dir, &[(1, Some(10)), (2, Some(20)), (3, Some(30))]);
        let all = add(
            &dir,
            &[(2, None), (3, Some(31)), (u64::MAX, Some(u64::MAX))],
        );
        assert_eq!(open(&dir).1, all);
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn what_a_crash_cut_off_is_lost_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let first = add(&dir, &[(1, Some(10))]);
        let path = dir.path().join("numbers");
        let len = fs::read(&path).unwrap().len();
        add(&dir, &[(2, Some(20)), (3, Some(30))]);
        let whole = fs::read(&path).unwrap();
        for end in len..whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            assert_eq!(open(&dir).1, first, "cut at {end}");
        }
        // What comes next does not stand behind the rest of what was cut.
        let all = add(&dir, &[(4, Some(40))]);
        assert_eq!(open(&dir).1, all);
    }

    #[test]
    fn damage_and_other_overlays_give_no_number() {
        let dir = tempfile::tempdir().unwrap();
        let all = add(&dir, &[(1, Some(10)), (2, Some(20))]);
        let path = dir.path().join("numbers");
        let whole = fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x40;
            fs::write(&path, &damaged).unwrap();
            assert!(open(&dir).1.is_empty(), "byte {position}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(NumberFile::open(dir.path(), [8; 16]).1.is_empty());
        assert_eq!(open(&dir).1, all);
    }

    #[test]
    fn a_file_of_old_rows_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, mut all) = open(&dir);
        for ino in 1..=10 {
            let rows: Vec<NumberRow> = (0..1_000).map(|id| (id, Some(ino))).collect();
            all.extend(rows.iter().filter_map(|row| Some((row.0, row.1?))));
            file.add(&rows, &all).unwrap();
        }
        let len = fs::metadata(dir.path().join("numbers")).unwrap().len();
        assert!(len < 16 * 7_000, "{len} bytes for 1,000 numbers");
        assert_eq!(open(&dir).1, all);
    }
}
