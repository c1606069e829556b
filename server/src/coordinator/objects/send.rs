//! A chunk on its way from the coordinator to a datanode.

use std::iter::Peekable;
use std::time::Duration;

use bytes::Bytes;
use lfsfs_metadata::StoredFor;
use lfsfs_proto::convert::{ProtocolError, id, required};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_transfer::{Frame, Pace, SendWindow, TransferError, cut_frames};
use lfsfs_types::limits::FRAME_LEN_DEFAULT;
use lfsfs_types::{ChunkId, NodeId, SessionId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::super::Coordinator;
use crate::blocking::IntoFault as _;
use crate::datanodes::{message_within, within};
use crate::frames;

/// How long a datanode may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Frames on their way.
const FRAMES_WAITING_MAX: usize = 4;
/// How many datanodes are tried.
const ATTEMPTS: usize = 3;

/// Stores a chunk. On return it is verified, durable and known to the coordinator, in as many copies as
/// a write needs.
pub(in crate::coordinator) async fn store(
    coordinator: &Coordinator,
    stored: StoredFor,
    id: ChunkId,
    bytes: Bytes,
) -> Result<(), Fault> {
    let mut avoid = Vec::new();
    let mut failure = Fault::new(FaultKind::Unavailable, "no datanode is available");
    for _ in 0..ATTEMPTS {
        let slots = coordinator.plan_for(stored, 1, bytes.len() as u64, &avoid)?;
        let slot = slots.into_iter().next();
        let slot = required("slot", slot).map_err(ProtocolError::into_fault)?;
        let primary = slot.primary.clone();
        let primary = required("primary", primary).map_err(ProtocolError::into_fault)?;
        let node = NodeId::from_slice(&primary.id);
        if node.is_some_and(|node| avoid.contains(&node)) {
            break;
        }
        match send(coordinator, slot, &primary.address, id, bytes.clone()).await {
            Ok(()) => return Ok(()),
            Err(fault) => {
                let (address, reason) = (&primary.address, &fault.message);
                tracing::warn!(chunk = %id, address, reason, "a chunk was not stored by this datanode");
                failure = fault;
                avoid.extend(node);
            }
        }
    }
    Err(failure)
}

async fn send(
    coordinator: &Coordinator,
    slot: v1::Slot,
    address: &str,
    chunk: ChunkId,
    bytes: Bytes,
) -> Result<(), Fault> {
    let mut client = coordinator.datanodes.client(address)?;
    let request = v1::PrepareChunkUploadRequest {
        chunk_id: chunk.as_bytes().to_vec(),
        size: bytes.len() as u64,
        slot_id: slot.id,
        propagate: true,
        replicas: slot.replicas,
        ticket: Vec::new(),
        copies: slot.copies,
        copies_min: slot.copies_min,
    };
    let answer = client.prepare_chunk_upload(request);
    let prepared = message_within(address, SILENCE_MAX, answer).await?;
    if !prepared.accept {
        return Err(Fault::new(FaultKind::Full, prepared.message));
    }
    if prepared.present {
        return Ok(());
    }
    let session = id("session_id", &prepared.session_id, SessionId::from_slice);
    let (frames, outgoing) = mpsc::channel(FRAMES_WAITING_MAX);
    let sender = Sender {
        session: session.map_err(ProtocolError::into_fault)?,
        chunk,
        frames,
        address,
    };
    let answer = client.upload_chunk_stream(ReceiverStream::new(outgoing));
    sender
        .send(message_within(address, SILENCE_MAX, answer), bytes)
        .await
}

/// One chunk on its way to one datanode.
struct Sender<'a> {
    session: SessionId,
    chunk: ChunkId,
    frames: mpsc::Sender<v1::ChunkFrame>,
    address: &'a str,
}

impl Sender<'_> {
    async fn send(
        self,
        acks: impl Future<Output = Result<Streaming<v1::ChunkAck>, Fault>>,
        bytes: Bytes,
    ) -> Result<(), Fault> {
        let mut frames = cut_frames(0, bytes, FRAME_LEN_DEFAULT).peekable();
        let mut window = SendWindow::new();
        // Nothing takes frames before the call is under way.
        let (acks, ()) = tokio::join!(acks, self.fill(&mut frames, &mut window));
        let mut acks = acks?;
        loop {
            let ack = within(self.address, SILENCE_MAX, acks.message()).await?;
            let ack = ack.ok_or_else(|| self.broken("the stream of acknowledgements ended"))?;
            if !ack.success {
                return Err(self.broken(&ack.message));
            }
            if ack.is_final {
                return Ok(());
            }
            let pace = match ack.ready_for_next {
                true => Pace::GoOn,
                false => Pace::Wait,
            };
            let taken = window.acknowledged(ack.bytes_received, pace);
            taken.map_err(TransferError::into_fault)?;
            self.fill(&mut frames, &mut window).await;
        }
    }

    /// Sends as many frames as the window allows. A stream that ended early says why in its acknowledgements.
    async fn fill(
        &self,
        left: &mut Peekable<impl Iterator<Item = Frame>>,
        window: &mut SendWindow,
    ) {
        while let Some(frame) = left.next_if(|frame| window.may_send(frame.data.len())) {
            window.sent(frame.data.len());
            let session = self.session.as_bytes().to_vec();
            let message = frames::message(session, self.chunk, frame);
            if self.frames.send(message).await.is_err() {
                return;
            }
        }
    }

    fn broken(&self, reason: &str) -> Fault {
        let text = format!("datanode {}: {reason}", self.address);
        Fault::new(FaultKind::Unavailable, text)
    }
}
