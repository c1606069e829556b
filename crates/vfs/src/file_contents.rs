//! Contents of changed files: what they are made of, and where their bytes are read from.

use lfsfs_overlay::{FileData, Inode, PieceSource, View};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_upload::{ChangedFile, ContentSender, ReadContent, ReadError, Stretch, StretchOrigin};
use tokio::runtime::Handle;

use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::overlay_file::{OverlayFile, file_of, pieces_below};

/// Reads changed files and hashes them. Calls block.
#[derive(Clone, Copy)]
pub(crate) struct FileContents<'a> {
    /// The base of the view.
    pub(crate) base: &'a BaseVersion,
    /// Where the files are.
    pub(crate) view: &'a View,
    /// Sends the pieces of large ones on the way.
    pub(crate) contents: &'a ContentSender,
    pub(crate) runtime: &'a Handle,
}

impl FileContents<'_> {
    /// Reads a file. The bytes of a small one are returned, to be offered; of a large one, what is new was offered.
    pub(crate) fn read(&self, inode: &Inode) -> Result<ReadContent, ReadError<VfsError>> {
        let file = file_of(inode).map_err(ReadError::Source)?;
        let size = file.size();
        // A small file is read as a whole: what it is made of, and the cuts of its base, say nothing.
        let (stretches, base) = if size > SMALL_CONTENT_LEN_MAX {
            let base = inode.base.as_deref();
            let base = base.map(|base| self.runtime.block_on(pieces_below(self.base, base)));
            let base = base.transpose().map_err(ReadError::Source)?;
            (stretches(file), base.unwrap_or_default())
        } else {
            (Vec::new(), Vec::new())
        };
        let changed = ChangedFile {
            size,
            stretches: &stretches,
            base: &base,
        };
        let source = changed.source(|offset, len| self.bytes(inode, offset, len));
        self.contents.read(source)
    }

    /// Returns all bytes of a range of a file.
    fn bytes(&self, inode: &Inode, offset: u64, len: u64) -> Result<Vec<u8>, VfsError> {
        let file = OverlayFile {
            base: self.base,
            view: self.view,
            inode,
        };
        let bytes = self.runtime.block_on(file.read(offset, len))?;
        if bytes.len() as u64 == len {
            Ok(bytes.into())
        } else {
            Err(VfsError::internal("a changed file is shorter than it was"))
        }
    }
}

/// Returns what a file is made of.
fn stretches(file: &FileData) -> Vec<Stretch> {
    let pieces = file.pieces(0, file.size()).into_iter();
    let stretches = pieces.map(|piece| Stretch {
        offset: piece.offset,
        len: piece.len,
        origin: match piece.source {
            PieceSource::Base => StretchOrigin::Base,
            PieceSource::Zeros => StretchOrigin::Zeros,
            PieceSource::Log(_) => StretchOrigin::Written,
        },
    });
    stretches.collect()
}
