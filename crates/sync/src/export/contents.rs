//! Contents of the version that is written, many at once.
//!
//! They are read by [`lfsfs_reader`], each checked against the hash that names it. Nothing is kept but
//! footers of chunks. Calls are repeated by the remote, which knows how long the user wants to wait.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use lfsfs_common::tasks::Tasks;
use lfsfs_reader::{ContentReader, Deadline, ReaderConfig, Source};
use lfsfs_remote::{RemoteError, RemoteRead};
use lfsfs_types::content::{Piece, PieceList, ZERO_PIECE, ZERO_PIECE_BYTES};
use lfsfs_types::{ContentId, ProjectId};

use super::error::ExportError;

pub(crate) use lfsfs_reader::Loaded;

/// Bytes of a large file that are fetched together.
const WINDOW_LEN: u64 = 8 * 1024 * 1024;
/// Such windows of one file that are on their way at once.
const WINDOWS_AT_ONCE: usize = 3;
/// Memory for footers of chunks.
const FOOTERS_LEN_MAX: usize = 32 << 20;

/// Bytes of a large content that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// They were fetched.
    Bytes(&'a [u8]),
    /// They are so many zeros, which no server was asked for.
    Zeros(u64),
}

/// Reads contents.
#[derive(Debug)]
pub(crate) struct Contents {
    reader: Arc<ContentReader>,
    /// What is still fetched when an export fails is stopped.
    tasks: Tasks,
}

impl Contents {
    pub(crate) fn new(remote: Arc<dyn RemoteRead>, project: ProjectId) -> Self {
        let tasks = Tasks::new();
        let source = Source {
            remote,
            project,
            cache: None,
            spawner: tasks.spawner().clone(),
        };
        let config = ReaderConfig {
            blocks_len_max: 0,
            places_len_max: 0,
            footers_len_max: FOOTERS_LEN_MAX,
            ..ReaderConfig::default()
        };
        Self {
            reader: Arc::new(ContentReader::new(source, &config)),
            tasks,
        }
    }

    /// Returns small contents and pieces, all of them and each as its name says. The caller asks for
    /// no more than it can hold.
    pub(crate) async fn load(&self, wanted: &[ContentId]) -> Result<Loaded, ExportError> {
        let load = self.reader.load(wanted, Deadline::of_the_remote());
        Ok(load.await?)
    }

    /// Gives the pieces of a large content to `take`, in order. What comes next is fetched meanwhile, and
    /// no more than that is in memory.
    pub(crate) async fn each_piece<E: From<ExportError>>(
        &self,
        list: &PieceList,
        mut take: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let loads = windows(list.pieces()).map(|pieces| async move {
            let fetched = pieces.iter().filter(|piece| **piece != ZERO_PIECE);
            let ids: Vec<ContentId> = fetched.map(|piece| piece.hash).collect();
            // It goes on while the caller takes what came before.
            let loaded = self.load_in_task(ids).await?;
            Ok::<_, ExportError>((pieces, loaded))
        });
        let mut loads = std::pin::pin!(stream::iter(loads).buffered(WINDOWS_AT_ONCE));
        while let Some(loaded) = loads.next().await {
            let (pieces, loaded) = loaded?;
            for piece in pieces {
                if *piece == ZERO_PIECE {
                    take(Part::Zeros(u64::from(piece.len)))?;
                    continue;
                }
                let bytes = self::take(&loaded, &piece.hash).map_err(ExportError::from)?;
                take(Part::Bytes(bytes))?;
            }
        }
        Ok(())
    }

    /// As [`load`](Self::load), in a task of its own: it goes on while the caller does not wait.
    async fn load_in_task(&self, wanted: Vec<ContentId>) -> Result<Loaded, ExportError> {
        let reader = Arc::clone(&self.reader);
        let load = async move { reader.load(&wanted, Deadline::of_the_remote()).await };
        match self.tasks.spawner().spawn(load).await {
            Ok(Some(loaded)) => Ok(loaded?),
            Ok(None) => Err(ExportError::Stopped("a task was stopped")),
            Err(_) => Err(ExportError::Stopped("a task panicked")),
        }
    }

    /// Returns the pieces of a large content.
    pub(crate) async fn pieces(&self, content: ContentId) -> Result<PieceList, ExportError> {
        let pieces = self.reader.piece_list(content, Deadline::of_the_remote());
        Ok(pieces.await?)
    }
}

impl Part<'_> {
    /// Returns how many bytes it has.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(len) => *len,
        }
    }

    /// Gives all of its bytes to `take`, a few at a time.
    pub(crate) fn each<E>(&self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut rest = match self {
            Self::Bytes(bytes) => return take(bytes),
            Self::Zeros(len) => *len,
        };
        while rest > 0 {
            let len = usize::try_from(rest).unwrap_or(usize::MAX);
            let zeros = &ZERO_PIECE_BYTES[..len.min(ZERO_PIECE_BYTES.len())];
            take(zeros)?;
            rest -= zeros.len() as u64;
        }
        Ok(())
    }
}

/// Returns how many bytes a server is asked for to have a piece.
fn fetched_len(piece: &Piece) -> u64 {
    if *piece == ZERO_PIECE {
        return 0;
    }
    u64::from(piece.len)
}

/// Divides pieces into stretches to be fetched one after the other.
fn windows(pieces: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    let mut rest = pieces;
    std::iter::from_fn(move || {
        let mut len = 0;
        let fits = rest.iter().take_while(|piece| {
            len += fetched_len(piece);
            len <= WINDOW_LEN
        });
        let count = fits.count().max(1).min(rest.len());
        let (window, left) = rest.split_at(count);
        rest = left;
        (!window.is_empty()).then_some(window)
    })
}

/// Returns a content that was loaded.
pub(crate) fn take<'a>(loaded: &'a Loaded, id: &ContentId) -> Result<&'a Bytes, RemoteError> {
    let missing = || RemoteError::NotFound(format!("content {id} is not where it should be"));
    loaded.get(id).ok_or_else(missing)
}
