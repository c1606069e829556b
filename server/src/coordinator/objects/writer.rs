//! Bytes that clients send, on their way into chunks.
//!
//! They are cut where an import would cut them, so equal contents have one name however they came. What is stored
//! already is not sent. At most a piece, and a chunk that is being filled, are in memory; the call pays for both.
//!
//! `lfsfs-upload` does the same for files of a machine: it sends several chunks at the same time and reads ahead. Here
//! the memory of a connection is the limit, and the bytes come when the client sends them.

use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use lfsfs_metadata::Project;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::ContentId;
use lfsfs_types::chunk::ChunkBuilder;
use lfsfs_types::content::{Content, Piece, PieceList, first_piece, small_content_id};
use lfsfs_types::limits::{PIECE_LEN_MAX, PIECES_INLINE_MAX, SMALL_CONTENT_LEN_MAX};

use super::super::Coordinator;
use super::{PART_LEN, send};
use crate::blocking::blocking;
use crate::budget::Held;
use crate::calls::Call;

/// A chunk that has so many stored bytes is sent: fewer than usual, for the memory of a connection.
const CHUNK_LEN: usize = 2 << 20;
/// Bytes that a chunk takes at most: the last piece may go beyond.
const CHUNK_LEN_MAX: usize = CHUNK_LEN + PIECE_LEN_MAX as usize;
/// Bytes that must be there before a piece is cut off: it depends on what follows it by two bytes.
const AHEAD_LEN: usize = PIECE_LEN_MAX as usize + 2;
/// Bytes of a large content that are in memory to be cut.
const BUFFER_LEN: usize = AHEAD_LEN + PART_LEN;
/// Contents and bytes that wait until the coordinator is asked which of them are stored.
const WAITING_MAX: usize = 64;
const WAITING_LEN_MAX: usize = 512 * 1024;
/// Pieces of the longest content: at least 16 GiB, and 64 GiB as a rule.
const PIECES_MAX: usize = 64 * 1024;

/// Stores the contents of one update, one after the other.
pub(super) struct ContentWriter {
    coordinator: Arc<Coordinator>,
    project: Project,
    call: Call,
    /// What came of the content and is not cut yet.
    buffer: BytesMut,
    /// How many bytes of it came.
    len: u64,
    pieces: Vec<Piece>,
    /// Contents and pieces that may be stored already.
    waiting: Vec<(ContentId, Bytes)>,
    waiting_len: usize,
    /// The chunk that is being filled, and how many bytes it has at most.
    chunk: Option<ChunkBuilder>,
    chunk_len: usize,
    held: Held,
    held_len: usize,
}

/// A content that is stored, or will be when the writer has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) content: ContentId,
    pub(super) size: u64,
}

impl ContentWriter {
    pub(super) fn new(coordinator: &Arc<Coordinator>, call: &Call, project: Project) -> Self {
        Self {
            coordinator: Arc::clone(coordinator),
            project,
            call: call.clone(),
            buffer: BytesMut::new(),
            len: 0,
            pieces: Vec::new(),
            waiting: Vec::new(),
            waiting_len: 0,
            chunk: None,
            chunk_len: 0,
            held: Held::default(),
            held_len: 0,
        }
    }

    /// Takes the next bytes of a content.
    pub(super) async fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        for part in bytes.chunks(PART_LEN) {
            self.len += part.len() as u64;
            self.pay().await?;
            if self.is_large() {
                // Once, since what grows has its old and its new place for a moment.
                let room = BUFFER_LEN.saturating_sub(self.buffer.len());
                self.buffer.reserve(room);
            }
            self.buffer.extend_from_slice(part);
            while self.buffer.len() >= AHEAD_LEN {
                self.cut().await?;
            }
        }
        Ok(())
    }

    /// Ends a content, and returns its name.
    pub(super) async fn end(&mut self) -> Result<Written, Fault> {
        let size = self.len;
        if !self.is_large() {
            self.len = 0;
            let bytes = std::mem::take(&mut self.buffer).freeze();
            let content = small_content_id(&bytes);
            self.offer(content, bytes).await?;
            return Ok(Written { content, size });
        }
        while !self.buffer.is_empty() {
            self.cut().await?;
        }
        self.len = 0;
        self.buffer = BytesMut::new();
        let pieces = std::mem::take(&mut self.pieces);
        let list = PieceList::new(pieces).map_err(|error| super::invalid("content", error))?;
        let content = list.content_id();
        self.register(content, list).await?;
        Ok(Written { content, size })
    }

    /// Stores what is left. Then all contents that ended are stored.
    pub(super) async fn finish(&mut self) -> Result<(), Fault> {
        self.sort_out().await?;
        self.send().await?;
        self.pay().await
    }

    fn is_large(&self) -> bool {
        self.len > SMALL_CONTENT_LEN_MAX
    }

    /// Cuts a piece off the front.
    async fn cut(&mut self) -> Result<(), Fault> {
        if self.pieces.len() >= PIECES_MAX {
            let text =
                format!("it has more than {PIECES_MAX} pieces; send the file with lfsfs put");
            return Err(super::invalid("content", text));
        }
        let Some(piece) = first_piece(&self.buffer) else {
            return Ok(());
        };
        let bytes = Bytes::copy_from_slice(&self.buffer[..piece.len as usize]);
        self.buffer.advance(bytes.len());
        self.pieces.push(piece);
        self.offer(piece.hash, bytes).await
    }

    /// Takes a small content or a piece.
    async fn offer(&mut self, content: ContentId, bytes: Bytes) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.waiting_len += bytes.len();
        self.waiting.push((content, bytes));
        if self.waiting.len() >= WAITING_MAX || self.waiting_len >= WAITING_LEN_MAX {
            self.sort_out().await?;
        }
        Ok(())
    }

    /// Puts those contents that wait and are not stored into the chunk.
    async fn sort_out(&mut self) -> Result<(), Fault> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_len = 0;
        let ids: Vec<_> = waiting.iter().map(|(content, _)| *content).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.coordinator.note_upload(self.call.connection());
        let missing = self.coordinator.metadata(move |m| m.missing(&ids)).await?;
        for (content, bytes) in waiting {
            if missing.binary_search(&content).is_ok() {
                self.add(content, bytes).await?;
            }
        }
        self.pay().await
    }

    async fn add(&mut self, content: ContentId, bytes: Bytes) -> Result<(), Fault> {
        self.chunk_len = (self.chunk_len + bytes.len()).min(CHUNK_LEN_MAX);
        self.pay().await?;
        let mut chunk = self
            .chunk
            .take()
            .unwrap_or_else(|| ChunkBuilder::new(CHUNK_LEN as u64));
        let added = blocking(move || {
            let added = chunk.add(content, &bytes);
            added.map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))?;
            Ok::<_, Fault>(chunk)
        });
        let chunk = self.chunk.insert(added.await?);
        if chunk.is_full() {
            self.send().await?;
        }
        Ok(())
    }

    /// Sends the chunk.
    async fn send(&mut self) -> Result<(), Fault> {
        let Some(chunk) = self.chunk.take() else {
            return Ok(());
        };
        let chunk = blocking(move || Ok::<_, Fault>(chunk.finish())).await?;
        let stored = self.coordinator.stored_for_project(&self.project);
        send::store(&self.coordinator, stored, chunk.id, chunk.bytes.into()).await?;
        self.chunk_len = 0;
        self.pay().await
    }

    /// Registers a large content by its pieces, and before that its list, if that is stored as a content.
    async fn register(&mut self, content: ContentId, list: PieceList) -> Result<(), Fault> {
        let mut registered = vec![(content, list)];
        while let Some((_, list)) = registered.last()
            && list.pieces().len() > PIECES_INLINE_MAX
        {
            let encoded = Bytes::from(list.encode());
            let of_list = Content::of_bytes(&encoded);
            let Some(pieces) = of_list.pieces else {
                self.offer(of_list.id, encoded).await?;
                break;
            };
            let mut rest = encoded;
            for piece in pieces.pieces() {
                let bytes = rest.split_to(piece.len as usize);
                self.offer(piece.hash, bytes).await?;
            }
            registered.push((of_list.id, pieces));
        }
        self.finish().await?;
        for (content, list) in registered.into_iter().rev() {
            let put = self
                .coordinator
                .metadata(move |metadata| metadata.put_pieces(content, &list));
            put.await?;
        }
        Ok(())
    }

    /// Holds the memory that is needed now.
    async fn pay(&mut self) -> Result<(), Fault> {
        let buffer = match self.len {
            0..=SMALL_CONTENT_LEN_MAX => 2 * usize::try_from(self.len).unwrap_or_default(),
            _ => BUFFER_LEN,
        };
        let pieces = 2 * self.pieces.len() * size_of::<Piece>();
        let needed = buffer + self.waiting_len + self.chunk_len + pieces;
        if needed > self.held_len {
            // Little at a time would be many calls.
            let missing = (needed - self.held_len).next_multiple_of(64 * 1024);
            let held = self.call.account().take_more(missing).await?;
            self.held.merge(held);
            self.held_len += missing;
        } else if self.held_len - needed > 1 << 20 {
            drop(self.held.split(self.held_len - needed));
            self.held_len = needed;
        }
        Ok(())
    }
}
