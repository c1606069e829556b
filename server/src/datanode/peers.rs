//! The calls of a datanode to others: it sends them chunks while it receives them, or from its disk, and
//! gets chunks from them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lfsfs_chunk_store::ChunkStore;
use lfsfs_proto::convert::{ProtocolError, id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_transfer::{DownloadReceiver, Frame, Pace, SendWindow, TransferError};
use lfsfs_types::limits::FRAME_LEN_DEFAULT;
use lfsfs_types::{ChunkId, SessionId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Streaming};

use super::transfers::Announced;
use crate::blocking::{IntoFault as _, blocking};
use crate::budget::Held;
use crate::datanodes::{Client, Datanodes, message_within, within};
use crate::frames;

/// How long another datanode may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Frames on their way to one datanode.
const FRAMES_WAITING_MAX: usize = 4;

/// The metadata field of a stream that makes a copy.
pub(super) const COPY_FIELD: &str = "lfsfs-copy";

/// A frame, and the memory of the call that it came in.
#[derive(Debug, Clone)]
pub(super) struct PaidFrame {
    pub(super) frame: Frame,
    /// None for a frame of this disk, of which few are in memory.
    pub(super) held: Option<Arc<Held>>,
}

/// Sends a chunk to another datanode. It is durable there on return, and reported.
pub(super) async fn send(
    datanodes: &Datanodes,
    to: &v1::NodeInfo,
    announced: &Announced,
    mut frames: mpsc::Receiver<PaidFrame>,
) -> Result<(), Fault> {
    let address = &to.address;
    let mut client = datanodes.client(address)?;
    let Some(session) = announce(&mut client, address, announced).await? else {
        // It is there. What comes is taken all the same: the sender waits for that.
        while frames.recv().await.is_some() {}
        return Ok(());
    };
    let (outgoing, stream) = mpsc::channel(FRAMES_WAITING_MAX);
    let mut request = Request::new(ReceiverStream::new(stream));
    let metadata = request.metadata_mut();
    metadata.insert(COPY_FIELD, MetadataValue::from_static("1"));
    let answer = client.upload_chunk_stream(request);
    let acks = message_within(address, SILENCE_MAX, answer).await?;
    let sender = Sender {
        address,
        session,
        chunk: announced.chunk,
        outgoing: Some(outgoing),
        window: SendWindow::new(),
        left: announced.len,
        unacknowledged: VecDeque::new(),
    };
    sender.send(frames, acks).await
}

/// Announces a chunk. Returns the session to send it under, unless it is there.
async fn announce(
    client: &mut Client,
    address: &str,
    announced: &Announced,
) -> Result<Option<SessionId>, Fault> {
    let slot = announced.slot.map(|slot| slot.as_bytes().to_vec());
    let request = v1::PrepareChunkUploadRequest {
        chunk_id: announced.chunk.as_bytes().to_vec(),
        size: announced.len,
        slot_id: slot.unwrap_or_default(),
        ..Default::default()
    };
    let answer = client.prepare_chunk_upload(request);
    let prepared = message_within(address, SILENCE_MAX, answer).await?;
    if !prepared.accept {
        return Err(Fault::new(FaultKind::Full, prepared.message));
    }
    if prepared.present {
        return Ok(None);
    }
    let session = id("session_id", &prepared.session_id, SessionId::from_slice);
    session.map(Some).map_err(ProtocolError::into_fault)
}

/// A chunk on its way to one datanode.
struct Sender<'a> {
    address: &'a str,
    session: SessionId,
    chunk: ChunkId,
    /// None once everything was sent.
    outgoing: Option<mpsc::Sender<v1::ChunkFrame>>,
    window: SendWindow,
    /// Bytes that were not sent yet.
    left: u64,
    /// The memory of frames that are on their way, each with the end of its frame.
    unacknowledged: VecDeque<(u64, Option<Arc<Held>>)>,
}

impl Sender<'_> {
    async fn send(
        mut self,
        mut frames: mpsc::Receiver<PaidFrame>,
        mut acks: Streaming<v1::ChunkAck>,
    ) -> Result<(), Fault> {
        let mut next: Option<PaidFrame> = None;
        loop {
            if let Some(paid) = next.take_if(|it| self.window.may_send(it.frame.data.len())) {
                self.send_frame(paid).await;
            }
            let wants_frame = next.is_none() && self.left > 0;
            tokio::select! {
                frame = frames.recv(), if wants_frame => match frame {
                    Some(frame) => next = Some(frame),
                    None => return Err(self.broken("the chunk was not sent to its end")),
                },
                ack = within(self.address, SILENCE_MAX, acks.message()) => {
                    if self.take_ack(ack?)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn send_frame(&mut self, paid: PaidFrame) {
        let PaidFrame { frame, held } = paid;
        let end = frame.offset + frame.data.len() as u64;
        self.unacknowledged.push_back((end, held));
        self.window.sent(frame.data.len());
        self.left = self.left.saturating_sub(frame.data.len() as u64);
        let session = self.session.as_bytes().to_vec();
        let message = frames::message(session, self.chunk, frame);
        if let Some(outgoing) = &self.outgoing {
            // A stream that ended early says why in its acknowledgements.
            drop(outgoing.send(message).await);
        }
        if self.left == 0 {
            self.outgoing = None;
        }
    }

    /// Takes an acknowledgement. Returns true if it is the last one.
    fn take_ack(&mut self, ack: Option<v1::ChunkAck>) -> Result<bool, Fault> {
        let ack = ack.ok_or_else(|| self.broken("the stream of acknowledgements ended"))?;
        if !ack.success {
            return Err(Fault::new(FaultKind::Unavailable, ack.message));
        }
        if ack.is_final {
            return Ok(true);
        }
        if ack.session_id.is_empty() {
            // It says no more than that the chunk is being worked on.
            return Ok(false);
        }
        let pace = if ack.ready_for_next {
            Pace::GoOn
        } else {
            Pace::Wait
        };
        let has_arrived = |(end, _): &mut (u64, Option<Arc<Held>>)| *end <= ack.bytes_received;
        while self.unacknowledged.pop_front_if(has_arrived).is_some() {}
        let taken = self.window.acknowledged(ack.bytes_received, pace);
        taken.map_err(TransferError::into_fault)?;
        Ok(false)
    }

    fn broken(&self, reason: &str) -> Fault {
        let text = format!("datanode {}: {reason}", self.address);
        Fault::new(FaultKind::Unavailable, text)
    }
}

/// Reads a chunk of this disk as frames. Reading ends when the receiver is dropped.
pub(super) fn frames_of(store: Arc<dyn ChunkStore>, chunk: ChunkId) -> mpsc::Receiver<PaidFrame> {
    let (frames, receiver) = mpsc::channel(FRAMES_WAITING_MAX);
    let read = move || {
        let reader = store.open(chunk)?;
        let len = reader.chunk_len();
        let mut offset = 0;
        while offset < len {
            let end = len.min(offset + FRAME_LEN_DEFAULT as u64);
            let frame = Frame::new(offset, reader.read(offset..end)?, end == len);
            let held = None;
            if frames.blocking_send(PaidFrame { frame, held }).is_err() {
                break;
            }
            offset = end;
        }
        Ok::<_, lfsfs_chunk_store::ChunkStoreError>(())
    };
    tokio::spawn(async move {
        if let Err(fault) = blocking(read).await {
            tracing::warn!(%chunk, reason = fault.message, "a chunk cannot be read to be copied");
        }
    });
    receiver
}

/// A chunk that comes from another datanode.
pub(super) struct Incoming {
    address: String,
    stream: Streaming<v1::ChunkFrame>,
    receiver: DownloadReceiver,
}

impl Incoming {
    /// Asks another datanode for a chunk.
    pub(super) async fn open(
        datanodes: &Datanodes,
        from: &v1::NodeInfo,
        chunk: ChunkId,
        len: u64,
    ) -> Result<Self, Fault> {
        let target = v1::download_chunk_stream_request::Target::ChunkId(chunk.as_bytes().to_vec());
        let request = v1::DownloadChunkStreamRequest {
            target: Some(target),
            ..Default::default()
        };
        let mut client = datanodes.client(&from.address)?;
        let answer = client.download_chunk_stream(request);
        Ok(Self {
            address: from.address.clone(),
            stream: message_within(&from.address, SILENCE_MAX, answer).await?,
            receiver: DownloadReceiver::new(0..len),
        })
    }

    /// Returns the next bytes, checked; none at the end of the chunk.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let message = within(&self.address, SILENCE_MAX, self.stream.message());
        let Some(message) = message.await? else {
            self.receiver.finish().map_err(TransferError::into_fault)?;
            return Ok(None);
        };
        let frame = frames::frame(message).map_err(ProtocolError::into_fault)?;
        let received = self.receiver.receive(frame);
        received.map(Some).map_err(TransferError::into_fault)
    }
}
