//! One chunk on its way to a datanode.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lfsfs_proto::convert::{id, required};
use lfsfs_proto::v1;
use lfsfs_remote::RemoteError;
use lfsfs_transfer::{Frame, Pace, SendWindow, cut_frames};
use lfsfs_types::limits::FRAME_LEN_DEFAULT;
use lfsfs_types::{ChunkId, NodeId, ProjectId, SessionId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::connection::{Connections, while_working};
use crate::fault::Checked as _;
use crate::fault::of_datanode;
use crate::signs::Signs;

/// Frames that wait between the window and the wire.
const FRAMES_QUEUED_MAX: usize = 4;

/// A place for one chunk on a datanode, handed out by the coordinator.
struct Slot {
    id: SessionId,
    node: NodeId,
    primary: String,
    replicas: Vec<v1::NodeInfo>,
    len_max: u64,
    copies: u32,
    copies_min: u32,
}

/// A datanode that fails so soon is followed by another one at once.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How many datanodes are tried at once, before the caller waits for one of them.
const SLOTS_TRIED: usize = 3;

/// Asks for a slot and sends a chunk there. Returns how many bytes went over the wire.
///
/// A datanode that fails is followed by another one, if the coordinator has one.
pub(super) async fn send_chunk(
    connections: &Connections,
    project: ProjectId,
    chunk: ChunkId,
    bytes: Bytes,
) -> Result<u64, RemoteError> {
    let mut failure = None;
    let started = Instant::now();
    for _ in 0..SLOTS_TRIED {
        let avoid = connections.nodes.to_avoid();
        let slot = plan(connections, project, bytes.len() as u64, &avoid).await?;
        let node = slot.node;
        if let Some(failure) = failure.take_if(|_| avoid.contains(&node)) {
            return Err(failure);
        }
        match send_to(connections, slot, chunk, bytes.clone()).await {
            Err(error) if error.is_retryable() => {
                connections.nodes.refused(node);
                // After a silence the caller's deadline has come, and the retry of calls decides.
                if started.elapsed() > AT_ONCE {
                    return Err(error);
                }
                failure = Some(error);
            }
            ended => return ended,
        }
    }
    Err(failure.unwrap_or_else(|| RemoteError::Full("no datanode".to_owned())))
}

/// Sends a chunk to the datanode of a slot.
async fn send_to(
    connections: &Connections,
    slot: Slot,
    chunk: ChunkId,
    bytes: Bytes,
) -> Result<u64, RemoteError> {
    let len = bytes.len() as u64;
    if len > slot.len_max {
        return Err(RemoteError::Invalid(format!(
            "a chunk of {len} bytes does not fit its slot"
        )));
    }
    let (limit, signs) = (connections.config.progress_timeout, &connections.signs);
    let mut datanode = connections.datanode(&slot.primary)?;
    let request = v1::PrepareChunkUploadRequest {
        chunk_id: chunk.as_bytes().to_vec(),
        size: len,
        slot_id: slot.id.as_bytes().to_vec(),
        propagate: true,
        replicas: slot.replicas,
        ticket: Vec::new(),
        copies: slot.copies,
        copies_min: slot.copies_min,
    };
    let answer = datanode.prepare_chunk_upload(request);
    let coordinator = &connections.config.address;
    let prepared = while_working(signs, &slot.primary, "to a chunk", limit, answer)
        .await
        .map_err(|error| of_datanode(error, coordinator))?
        .into_inner();
    if !prepared.accept {
        return Err(RemoteError::Full(prepared.message));
    }
    if prepared.present {
        return Ok(0);
    }
    let session = id("session_id", &prepared.session_id, SessionId::from_slice).checked()?;
    let (frames, outgoing) = mpsc::channel(FRAMES_QUEUED_MAX);
    let answer = datanode.upload_chunk_stream(ReceiverStream::new(outgoing));
    let sender = Sender {
        session,
        chunk,
        frames,
        node: &slot.primary,
        signs,
    };
    let acks = async {
        let answer = while_working(signs, &slot.primary, "to a chunk", limit, answer);
        Ok(answer.await?.into_inner())
    };
    let sent = sender.send(acks, bytes, limit).await;
    sent.map(|()| len)
        .map_err(|error| of_stream(error, &slot.primary))
}

/// Makes of a session that the datanode does not know a failure that is tried again: the datanode
/// started anew between the announcement and the stream.
fn of_stream(error: RemoteError, address: &str) -> RemoteError {
    match error {
        RemoteError::SessionLost(reason) => RemoteError::Unavailable {
            address: address.to_owned(),
            reason,
        },
        error => error,
    }
}

async fn plan(
    connections: &Connections,
    project: ProjectId,
    len: u64,
    avoid: &[NodeId],
) -> Result<Slot, RemoteError> {
    let request = v1::PlanUploadRequest {
        project_id: project.as_bytes().to_vec(),
        count: 1,
        chunk_size: len,
        avoid: avoid.iter().map(|id| id.as_bytes().to_vec()).collect(),
    };
    let mut fs = connections.fs();
    let limit = connections.config.progress_timeout;
    let answer = connections
        .call("a place for a chunk", limit, fs.plan_upload(request))
        .await?;
    let mut slots = answer.into_inner().slots.into_iter();
    let first = slots.next();
    slot(first.ok_or_else(|| RemoteError::Full("no datanode".to_owned()))?)
}

/// One chunk on its way to one datanode.
struct Sender<'a> {
    session: SessionId,
    chunk: ChunkId,
    frames: mpsc::Sender<v1::ChunkFrame>,
    node: &'a str,
    signs: &'a Signs,
}

impl Sender<'_> {
    async fn send(
        self,
        acks: impl Future<Output = Result<Streaming<v1::ChunkAck>, RemoteError>>,
        bytes: Bytes,
        limit: std::time::Duration,
    ) -> Result<(), RemoteError> {
        let mut frames = cut_frames(0, bytes, FRAME_LEN_DEFAULT).peekable();
        let mut window = SendWindow::new();
        // Nothing takes frames from the queue before the call is under way.
        let (acks, ()) = tokio::join!(acks, self.fill(&mut frames, &mut window));
        let mut acks = acks?;
        loop {
            let what = "a chunk's acknowledgement";
            let ack = while_working(self.signs, self.node, what, limit, acks.message()).await?;
            let ack = ack.ok_or_else(|| self.broken("the stream of acknowledgements ended"))?;
            if !ack.success {
                return Err(RemoteError::Corrupt(ack.message));
            }
            if ack.is_final {
                return Ok(());
            }
            if ack.session_id.is_empty() {
                // It says no more than that the chunk is being worked on.
                continue;
            }
            let pace = if ack.ready_for_next {
                Pace::GoOn
            } else {
                Pace::Wait
            };
            window.acknowledged(ack.bytes_received, pace).checked()?;
            self.fill(&mut frames, &mut window).await;
        }
    }

    /// Sends as many frames as the window allows. A stream that ended early says why in its
    /// acknowledgements, so that a closed queue is no error here.
    async fn fill(
        &self,
        frames: &mut std::iter::Peekable<impl Iterator<Item = Frame>>,
        window: &mut SendWindow,
    ) {
        while let Some(frame) = frames.next_if(|frame| window.may_send(frame.data.len())) {
            let Ok(permit) = self.frames.reserve().await else {
                return;
            };
            window.sent(frame.data.len());
            permit.send(self.message(frame));
        }
    }

    fn message(&self, frame: Frame) -> v1::ChunkFrame {
        v1::ChunkFrame {
            session_id: self.session.as_bytes().to_vec(),
            chunk_id: self.chunk.as_bytes().to_vec(),
            data: frame.data,
            offset: frame.offset,
            is_final: frame.is_final,
            partial_checksum: frame.checksum.as_bytes().to_vec(),
        }
    }

    fn broken(&self, reason: &str) -> RemoteError {
        RemoteError::Unavailable {
            address: self.node.to_owned(),
            reason: reason.to_owned(),
        }
    }
}

fn slot(message: v1::Slot) -> Result<Slot, RemoteError> {
    let primary = required("primary", message.primary).checked()?;
    let node = id("node id", &primary.id, NodeId::from_slice).checked()?;
    Ok(Slot {
        node,
        id: id("slot id", &message.id, SessionId::from_slice).checked()?,
        primary: primary.address,
        replicas: message.replicas,
        len_max: message.len_max,
        copies: message.copies,
        copies_min: message.copies_min,
    })
}
