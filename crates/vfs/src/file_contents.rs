//! Contents of changed files: what they are made of, and where their bytes are read from.

use lfsfs_overlay::{
    BaseObject, ExtentSource, FileData, Inode, Piece, PieceSource, SharedContent, View,
};
use lfsfs_types::content::PlacedPiece;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_upload::{ChangedFile, ContentSender, ReadContent, ReadError, Stretch, StretchOrigin};
use tokio::runtime::Handle;

use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::overlay_file::{OverlayFile, file_of, pieces_below, pieces_shared};

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
            let like = CutLike::of(inode, file);
            let base = self.runtime.block_on(like.pieces(self.base));
            (stretches(file, like), base.map_err(ReadError::Source)?)
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

/// Of which content a changed file has parts at their places, so that it is cut as that is.
#[derive(Debug, Clone, Copy)]
enum CutLike<'a> {
    /// The one below it.
    Base(&'a BaseObject),
    /// One that it shares.
    Content(&'a SharedContent),
    Nothing,
}

impl<'a> CutLike<'a> {
    fn of(inode: &'a Inode, file: &'a FileData) -> Self {
        let mut in_place = file
            .shared()
            .filter_map(|(offset, extent)| match &extent.source {
                ExtentSource::Content(shared, from) if *from == offset => Some(&**shared),
                _ => None,
            });
        match (inode.base.as_deref(), in_place.next()) {
            (Some(base), _) if file.base_len() > 0 => Self::Base(base),
            (_, Some(shared)) => Self::Content(shared),
            _ => Self::Nothing,
        }
    }

    /// Returns what the content is cut into; nothing if it is small.
    async fn pieces(self, base: &BaseVersion) -> Result<Vec<PlacedPiece>, VfsError> {
        match self {
            Self::Base(object) => pieces_below(base, object).await,
            Self::Content(shared) => pieces_shared(base, shared).await,
            Self::Nothing => Ok(Vec::new()),
        }
    }

    fn has(self, piece: &Piece) -> bool {
        match (self, &piece.source) {
            (Self::Base(_), PieceSource::Base) => true,
            (Self::Content(like), PieceSource::Content(shared, from)) => {
                like.content == shared.content && *from == piece.offset
            }
            _ => false,
        }
    }
}

/// Returns what a file is made of.
fn stretches(file: &FileData, like: CutLike<'_>) -> Vec<Stretch> {
    let pieces = file.pieces(0, file.size()).into_iter();
    let stretches = pieces.map(|piece| Stretch {
        offset: piece.offset,
        len: piece.len,
        origin: match piece.source {
            _ if like.has(&piece) => StretchOrigin::Base,
            PieceSource::Zeros => StretchOrigin::Zeros,
            _ => StretchOrigin::Written,
        },
    });
    stretches.collect()
}
