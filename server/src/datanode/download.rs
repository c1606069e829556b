//! Sending a range of a chunk.

use std::ops::Range;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use lfsfs_chunk_store::{ChunkReader, ChunkStoreError};
use lfsfs_proto::convert::{ProtocolError, id, required};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::download_chunk_stream_request::Target;
use lfsfs_transfer::Frame;
use lfsfs_types::limits::{FRAME_LEN_DEFAULT, FRAME_LEN_MAX};
use lfsfs_types::{ChunkId, SessionId};

use super::DataNode;
use super::truth::is_loss;
use crate::blocking::{IntoFault as _, blocking};
use crate::budget::Held;
use crate::frames;
use crate::ids::random_id;
use crate::streams::Sink;

/// Frames of one download that are read and hashed at the same time.
const FRAMES_AHEAD: usize = 2;

/// Opens a chunk for reading.
pub(super) async fn prepare(
    node: &Arc<DataNode>,
    request: v1::PrepareChunkDownloadRequest,
) -> Result<v1::PrepareChunkDownloadResponse, Fault> {
    let chunk = id("chunk_id", &request.chunk_id, ChunkId::from_slice)
        .map_err(ProtocolError::into_fault)?;
    let reader = open(node, chunk).await?;
    let session = random_id()?;
    let now = node.clock.monotonic();
    node.transfers().open(session, chunk, now)?;
    Ok(v1::PrepareChunkDownloadResponse {
        accept: true,
        message: String::new(),
        session_id: session.as_bytes().to_vec(),
        size: reader.chunk_len(),
    })
}

/// A range to send, checked.
#[derive(Debug)]
pub(super) struct Download {
    node: Arc<DataNode>,
    chunk: ChunkId,
    session: Vec<u8>,
    reader: Arc<dyn ChunkReader>,
    range: Range<u64>,
    frame_len: u64,
}

impl Download {
    /// Checks a request and opens the chunk.
    pub(super) async fn open(
        node: &Arc<DataNode>,
        request: v1::DownloadChunkStreamRequest,
    ) -> Result<Self, Fault> {
        let frame_len = frame_len(request.chunk_stream_size)?;
        let target = required("target", request.target).map_err(ProtocolError::into_fault)?;
        let (chunk, session) = chunk_of(node, target)?;
        let reader: Arc<dyn ChunkReader> = open(node, chunk).await?.into();
        let range = range(chunk, request.offset, request.length, reader.chunk_len())?;
        Ok(Self {
            node: Arc::clone(node),
            chunk,
            session,
            reader,
            range,
            frame_len,
        })
    }

    /// Sends the range.
    pub(super) async fn send(self, sink: Sink<v1::ChunkFrame>) -> Result<(), Fault> {
        let counters = &self.node.counters;
        let _sending = counters.downloads.begin();
        let mut frames = stream::iter(self.offsets())
            .map(|offset| self.frame(offset, &sink))
            .buffered(FRAMES_AHEAD);
        while let Some(frame) = frames.next().await {
            let (message, held) = frame?;
            let len = message.data.len() as u64;
            sink.send_held(message, held).await?;
            counters.downloaded_bytes.add(len);
        }
        Ok(())
    }

    /// Returns where frames begin.
    fn offsets(&self) -> impl Iterator<Item = u64> + use<> {
        let (end, frame_len) = (self.range.end, self.frame_len);
        let first = Some(self.range.start).filter(|offset| *offset < end);
        std::iter::successors(first, move |offset| {
            Some(offset + frame_len).filter(|offset| *offset < end)
        })
    }

    /// Reads and hashes a frame.
    async fn frame(
        &self,
        offset: u64,
        sink: &Sink<v1::ChunkFrame>,
    ) -> Result<(v1::ChunkFrame, Held), Fault> {
        let end = self.range.end.min(offset + self.frame_len);
        let is_final = end == self.range.end;
        let reader = Arc::clone(&self.reader);
        // Twice: as it is read, and as it is encoded.
        let len = usize::try_from(end - offset).unwrap_or(FRAME_LEN_MAX);
        let held = sink.reserve(2 * len).await?;
        // Reading and hashing in one go: both are too long for a thread that serves others.
        let frame = blocking(move || {
            let data = reader.read(offset..end)?;
            Ok::<_, ChunkStoreError>(Frame::new(offset, data, is_final))
        });
        let frame = frame.await;
        if frame.as_ref().is_err_and(is_loss) {
            self.node.look_again(self.chunk).await;
        }
        let message = frames::message(self.session.clone(), self.chunk, frame?);
        Ok((message, held))
    }
}

fn frame_len(wanted: u32) -> Result<u64, Fault> {
    match wanted as usize {
        0 => Ok(FRAME_LEN_DEFAULT as u64),
        len if len <= FRAME_LEN_MAX => Ok(len as u64),
        len => {
            let text = format!("frames of {len} bytes: {FRAME_LEN_MAX} are possible");
            Err(Fault::new(FaultKind::Invalid, text))
        }
    }
}

fn chunk_of(node: &DataNode, target: Target) -> Result<(ChunkId, Vec<u8>), Fault> {
    match target {
        Target::ChunkId(bytes) => {
            let chunk = id("chunk_id", &bytes, ChunkId::from_slice);
            Ok((chunk.map_err(ProtocolError::into_fault)?, Vec::new()))
        }
        Target::SessionId(bytes) => {
            let session = id("session_id", &bytes, SessionId::from_slice)
                .map_err(ProtocolError::into_fault)?;
            let now = node.clock.monotonic();
            Ok((node.transfers().download(session, now)?, bytes))
        }
    }
}

async fn open(node: &Arc<DataNode>, chunk: ChunkId) -> Result<Box<dyn ChunkReader>, Fault> {
    let store = Arc::clone(&node.store);
    let opened = blocking(move || store.open(chunk)).await;
    if opened.as_ref().is_err_and(is_loss) {
        node.look_again(chunk).await;
    }
    opened
}

/// Returns the range asked for; a length of 0 means up to the end.
fn range(chunk: ChunkId, offset: u64, length: u64, len: u64) -> Result<Range<u64>, Fault> {
    let end = match length {
        0 => len,
        length => offset.saturating_add(length),
    };
    if offset > end || end > len {
        let range = offset..end;
        let error = ChunkStoreError::Range {
            id: chunk,
            range,
            len,
        };
        return Err(error.into_fault());
    }
    Ok(offset..end)
}
