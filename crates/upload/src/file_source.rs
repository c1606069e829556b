//! Files of this machine as contents. Holes are not read: the file system says where they are.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use lfsfs_types::content::{Content, PieceList};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::source::{ContentSource, Cut};
use crate::window::{WINDOW_LEN, Window};

/// An open file, read from its start to its end. Its holes are not read.
#[derive(Debug)]
pub struct FileSource<'a> {
    file: &'a File,
    len: u64,
    window: Window,
    /// Whether holes are looked for. Known with the first piece.
    holes: Option<Holes>,
}

/// Where the data of a file is.
#[derive(Debug, Clone, Copy)]
enum Holes {
    /// Everywhere.
    None,
    /// Nowhere from the last cut up to here.
    Before(u64),
}

impl<'a> FileSource<'a> {
    /// Takes a file that was just opened. `len` is the length in bytes that it seems to have: how much
    /// it has is seen when it is read.
    #[must_use]
    pub fn new(file: &'a File, len: u64) -> Self {
        Self {
            file,
            len,
            window: Window::default(),
            holes: None,
        }
    }

    /// Returns true if so many zeros follow that the cutter sees nothing else, as the file system
    /// says. A file that changes meanwhile is read again by the caller.
    fn is_hole(&mut self) -> bool {
        let at = self.window.at();
        let end = at + WINDOW_LEN;
        let data = match self.holes {
            Some(Holes::None) => return false,
            Some(Holes::Before(data)) if data > at => data,
            Some(Holes::Before(_)) => self.next_data(at),
            None if self.has_holes() => self.next_data(at),
            None => {
                self.holes = Some(Holes::None);
                return false;
            }
        };
        self.holes = Some(Holes::Before(data));
        data >= end
    }

    fn has_holes(&self) -> bool {
        let hole = rustix::fs::seek(self.file, SeekFrom::Hole(0));
        hole.is_ok_and(|hole| hole < self.len)
    }

    /// Returns where the first data from `at` on is, the end of the file if there is none.
    fn next_data(&self, at: u64) -> u64 {
        match rustix::fs::seek(self.file, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => self.len,
            // What cannot be told is read.
            Err(_) => at,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let (mut from, room) = self.window.missing();
        let mut bytes = vec![0; usize::try_from(room).unwrap_or_default()];
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            match self.file.read_at(rest, from) {
                Ok(0) => break,
                Ok(read) => {
                    from += read as u64;
                    rest = &mut rest[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let missing = rest.len();
        self.window.fill(&bytes[..bytes.len() - missing]);
        Ok(())
    }
}

impl ContentSource for FileSource<'_> {
    type Error = io::Error;

    fn read_small(&mut self) -> io::Result<Option<Vec<u8>>> {
        // With room for one byte more the end is found without a larger buffer.
        let room = self.len.min(SMALL_CONTENT_LEN_MAX) + 1;
        let mut head = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
        let mut file = self.file;
        file.by_ref()
            .take(SMALL_CONTENT_LEN_MAX + 1)
            .read_to_end(&mut head)?;
        Ok((head.len() as u64 <= SMALL_CONTENT_LEN_MAX).then_some(head))
    }

    fn next_piece(&mut self) -> io::Result<Option<Cut>> {
        if self.is_hole() {
            return Ok(Some(self.window.cut_zeros()));
        }
        self.fill()?;
        Ok(self.window.cut())
    }
}

/// Hashes a file that was just opened, as [`describe`](lfsfs_types::content::describe) does; its holes
/// are not read.
pub fn describe_file(file: &File) -> io::Result<Content> {
    let mut source = FileSource::new(file, file.metadata()?.len());
    if let Some(bytes) = source.read_small()? {
        return Ok(Content::of_bytes(&bytes));
    }
    let mut pieces = Vec::new();
    while let Some(cut) = source.next_piece()? {
        pieces.push(cut.into_parts().0);
    }
    let list = PieceList::new(pieces)
        .map_err(|error| io::Error::new(io::ErrorKind::FileTooLarge, error))?;
    Ok(Content::large(list))
}
