//! Receiving a chunk: frames come in on one side, a thread writes them on the other, and the last
//! acknowledgement waits for disk and receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lfsfs_chunk_store::{ChunkStore, ChunkStoreError, StoredChunk};
use lfsfs_proto::convert::{ProtocolError, id, optional_id};
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_transfer::{
    CHUNK_TIME_MAX, Frame, Pace, RATE_FAIR, RATE_MIN, Received, TransferError, UploadReceiver,
};
use lfsfs_types::limits::FRAME_LEN_MAX;
use lfsfs_types::{ChunkId, SessionId};
use tokio::sync::{mpsc, watch};
use tonic::Streaming;

use super::DataNode;
use super::peers::PaidFrame;
use super::places::Place;
use super::replication::{CopyPlan, Replication};
use super::transfers::Announced;
use crate::blocking::{IntoFault as _, blocking};
use crate::budget::Held;
use crate::calls::Call;
use crate::frames;
use crate::ids::random_id;
use crate::streams::{Sink, next};

/// What verifying a chunk that is here holds.
const VERIFY_COST: usize = 4 * 1024 * 1024;
/// How often an upload that waits for a place looks for one that should give way.
const PRESSURE_INTERVAL: Duration = Duration::from_millis(500);
/// How often its sender is told that it waits: well within what clients take for silence.
pub(super) const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// How long a datanode tells the sender that it waits for its disk. After that the deadline of the sender counts.
const DISK_WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// How long an upload waits for a place; then it fails.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(10 * 60);
/// Frames between the stream and the disk.
pub(super) const FRAMES_WAITING_MAX: usize = 4;

/// Who sends a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SenderKind {
    Client,
    /// It makes a copy.
    DataNode,
}

/// Answers an announcement: a session to stream under, or that the chunk is here already.
pub(super) async fn prepare(
    node: &Arc<DataNode>,
    call: &Call,
    request: v1::PrepareChunkUploadRequest,
) -> Result<v1::PrepareChunkUploadResponse, Fault> {
    let announced = announced(&request).map_err(ProtocolError::into_fault)?;
    let mut answer = v1::PrepareChunkUploadResponse {
        accept: true,
        message: String::new(),
        session_id: Vec::new(),
        present: false,
        frame_len_max: u32::try_from(FRAME_LEN_MAX).unwrap_or(u32::MAX),
    };
    let plan = CopyPlan::of(&request);
    if is_present(node, call, announced).await? {
        // Other nodes may not have it yet: the client may have gone when it sent the chunk before.
        let copies = Replication::new(node, announced, plan);
        copies.finish(|| std::future::ready(Ok(()))).await?;
        answer.present = true;
        return Ok(answer);
    }
    node.check_capacity(announced.len).await?;
    // Opening and dropping a writer tells whether length and free space would do.
    let store = Arc::clone(&node.store);
    blocking(move || store.begin(announced.chunk, announced.len).map(drop)).await?;
    let now = node.clock.monotonic();
    let session = node
        .transfers()
        .announce(announced, plan, random_id()?, now)?;
    answer.session_id = session.as_bytes().to_vec();
    Ok(answer)
}

fn announced(request: &v1::PrepareChunkUploadRequest) -> Result<Announced, ProtocolError> {
    Ok(Announced {
        chunk: id("chunk_id", &request.chunk_id, ChunkId::from_slice)?,
        len: request.size,
        slot: optional_id("slot_id", &request.slot_id, SessionId::from_slice)?,
    })
}

/// Returns whether a chunk is here and reported for its slot. It is read only if this process has not
/// reported it before.
async fn is_present(node: &DataNode, call: &Call, announced: Announced) -> Result<bool, Fault> {
    let (chunk, slot) = (announced.chunk, announced.slot);
    if !node.is_stored(chunk).await? {
        return Ok(false);
    }
    if node.report_again(chunk, slot).await? {
        return Ok(true);
    }
    let _held = call.account().take(VERIFY_COST).await?;
    node.verify_and_report(chunk, slot).await
}

/// Receives one chunk.
pub(super) async fn receive(
    node: Arc<DataNode>,
    call: Call,
    sender: SenderKind,
    mut stream: Streaming<v1::ChunkFrame>,
    sink: Sink<v1::ChunkAck>,
) -> Result<(), Fault> {
    // The place comes first: an upload that waits for one has nothing in memory.
    let place = wait_for_place(&node, &call, sender, &sink).await?;
    let _receiving = node.counters.uploads.begin();
    let Some(first) = next_in_time(&place, &mut stream).await? else {
        return Err(Fault::new(FaultKind::Invalid, "a stream without frames"));
    };
    let session = id("session_id", &first.session_id, SessionId::from_slice)
        .map_err(ProtocolError::into_fault)?;
    let now = node.clock.monotonic();
    let (announced, plan) = node.transfers().upload(session, now)?;
    let mut copies = Replication::new(&node, announced, plan);
    copies.begin();
    let mut upload = Upload::begin(&node, session, announced, copies, sink, call);
    let received_bytes = match sender {
        SenderKind::Client => &node.counters.uploaded_bytes,
        SenderKind::DataNode => &node.counters.received_copy_bytes,
    };
    let mut message = Some(first);
    while let Some(frame) = message {
        let checked = upload.check(frame);
        let (frame, received) = checked.inspect_err(|_| node.counters.frames_refused.add(1))?;
        if let Received::Bytes(bytes) = &received {
            received_bytes.add(bytes.len() as u64);
        }
        upload.take(frame, received).await?;
        message = if upload.receiver.is_complete() {
            None
        } else {
            next_in_time(&place, &mut stream).await?
        };
    }
    upload.finish(&node).await
}

/// Waits for a place to write a chunk, and tells the sender from time to time that it must wait: a
/// client takes a silent server for dead.
async fn wait_for_place(
    node: &DataNode,
    call: &Call,
    sender: SenderKind,
    sink: &Sink<v1::ChunkAck>,
) -> Result<Place, Fault> {
    let started = node.clock.monotonic();
    let mut told = started;
    let taking = async {
        match sender {
            SenderKind::Client => node.places.take(&call.connection().uploads).await,
            SenderKind::DataNode => node.places.take_for_copy().await,
        }
    };
    let mut taking = std::pin::pin!(taking);
    loop {
        tokio::select! {
            biased;
            place = &mut taking => {
                return place.ok_or_else(|| Fault::new(FaultKind::Internal, "no more uploads"));
            }
            () = tokio::time::sleep(PRESSURE_INTERVAL) => {}
        }
        let now = node.clock.monotonic();
        if now.saturating_duration_since(started) >= PLACE_WAIT_MAX {
            let text = "too many chunks are being written; try again later";
            return Err(Fault::new(FaultKind::Unavailable, text));
        }
        node.places.make_room(now);
        if now.saturating_duration_since(told) >= TELL_INTERVAL {
            told = now;
            sink.send(waiting()).await?;
        }
    }
}

/// Returns an acknowledgement of no bytes and no session, which says that the chunk is being worked on.
fn waiting() -> v1::ChunkAck {
    v1::ChunkAck {
        success: true,
        message: "waiting for other chunks to be written".to_owned(),
        ..v1::ChunkAck::default()
    }
}

/// Waits for the disk, and tells the sender from time to time that it is waited for. A sender that has gone does
/// not end the work.
async fn while_telling<T>(sink: &Sink<v1::ChunkAck>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    for _ in 0..DISK_WAIT_MAX.as_secs() / TELL_INTERVAL.as_secs() {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(TELL_INTERVAL) => {}
        }
        if sink.send(waiting()).await.is_err() {
            break;
        }
    }
    work.await
}

/// Takes the next frame of a sender that is fast enough.
async fn next_in_time(
    place: &Place,
    stream: &mut Streaming<v1::ChunkFrame>,
) -> Result<Option<v1::ChunkFrame>, Fault> {
    place.waits(Instant::now());
    let message = tokio::select! {
        biased;
        message = next(stream) => message?,
        () = place.give_way.cancelled() => return Err(gave_way()),
    };
    let bytes = message.as_ref().map_or(0, |frame| frame.data.len() as u64);
    if place.received(bytes, Instant::now()).is_too_slow() {
        Err(too_slow())
    } else {
        Ok(message)
    }
}

fn gave_way() -> Fault {
    let text = format!(
        "the chunk came with less than {RATE_FAIR} bytes a second, and gave way to others that \
         wait; try again later"
    );
    Fault::new(FaultKind::Unavailable, text)
}

fn too_slow() -> Fault {
    let text = format!(
        "the chunk came with less than {RATE_MIN} bytes a second, or took longer than {} s",
        CHUNK_TIME_MAX.as_secs()
    );
    Fault::new(FaultKind::Unavailable, text)
}

/// An upload that is going on.
struct Upload {
    session: SessionId,
    announced: Announced,
    receiver: UploadReceiver,
    copies: Replication,
    sink: Sink<v1::ChunkAck>,
    call: Call,
    disk: mpsc::Sender<(Bytes, Arc<Held>)>,
    written: watch::Receiver<u64>,
    stored: tokio::task::JoinHandle<Result<StoredChunk, Fault>>,
}

impl Upload {
    fn begin(
        node: &DataNode,
        session: SessionId,
        announced: Announced,
        copies: Replication,
        sink: Sink<v1::ChunkAck>,
        call: Call,
    ) -> Self {
        let (disk, frames) = mpsc::channel(FRAMES_WAITING_MAX);
        let (progress, written) = watch::channel(0);
        let store = Arc::clone(&node.store);
        let writing = blocking(move || write(store.as_ref(), announced, frames, &progress));
        Self {
            session,
            announced,
            receiver: UploadReceiver::new(announced.len),
            copies,
            sink,
            call,
            disk,
            written,
            // It ends by itself when `disk` is dropped.
            stored: node.tasks.tracker.spawn(writing),
        }
    }

    /// Checks a frame. Returns it, and what in it is new.
    fn check(&mut self, message: v1::ChunkFrame) -> Result<(Frame, Received), Fault> {
        let frame = self.frame(message)?;
        let received = self.receiver.receive(frame.clone());
        Ok((frame, received.map_err(TransferError::into_fault)?))
    }

    /// Takes a frame that was checked, and acknowledges it.
    async fn take(&mut self, frame: Frame, received: Received) -> Result<(), Fault> {
        match received {
            Received::Repeated => {}
            Received::Bytes(bytes) => {
                // The message that it came in is not paid for any more once the next one is asked for.
                let held = Arc::new(self.call.account().take_more(bytes.len()).await?);
                if self.disk.send((bytes, Arc::clone(&held))).await.is_err() {
                    return Err(self.disk_fault().await);
                }
                self.copies
                    .forward(PaidFrame {
                        frame,
                        held: Some(held),
                    })
                    .await;
            }
        }
        if self.receiver.is_complete() {
            return Ok(());
        }
        self.receiver.wrote_up_to(*self.written.borrow());
        self.acknowledge().await?;
        while self.receiver.pace() == Pace::Wait {
            if while_telling(&self.sink, self.written.changed())
                .await
                .is_err()
            {
                return Err(self.disk_fault().await);
            }
            self.receiver.wrote_up_to(*self.written.borrow_and_update());
            if self.receiver.pace() == Pace::GoOn {
                self.acknowledge().await?;
            }
        }
        Ok(())
    }

    fn frame(&self, message: v1::ChunkFrame) -> Result<Frame, Fault> {
        let belongs = message.session_id == self.session.as_bytes()
            && (message.chunk_id.is_empty() || message.chunk_id == self.announced.chunk.as_bytes());
        if !belongs {
            let text = "a frame of another session or chunk";
            return Err(Fault::new(FaultKind::Invalid, text));
        }
        frames::frame(message).map_err(ProtocolError::into_fault)
    }

    async fn acknowledge(&self) -> Result<(), Fault> {
        self.sink.send(self.acknowledgement()).await
    }

    fn acknowledgement(&self) -> v1::ChunkAck {
        v1::ChunkAck {
            session_id: self.session.as_bytes().to_vec(),
            success: true,
            message: String::new(),
            bytes_received: self.receiver.bytes_received(),
            ready_for_next: self.receiver.pace() == Pace::GoOn,
            replicas: Vec::new(),
            is_final: false,
        }
    }

    /// Waits for the disk, sends the receipt, waits for the copies, and then sends the last acknowledgement.
    async fn finish(self, node: &DataNode) -> Result<(), Fault> {
        self.receiver.finish().map_err(TransferError::into_fault)?;
        let last = self.acknowledgement();
        drop(self.disk);
        let (sink, slot) = (&self.sink, self.announced.slot);
        let reported = async {
            let stored = joined(self.stored.await)?;
            node.report_stored(slot, &stored).await
        };
        while_telling(sink, reported).await?;
        let replicas = self.copies.finish(|| sink.send(waiting())).await?;
        node.transfers().stored(self.session);
        let last = v1::ChunkAck {
            ready_for_next: true,
            replicas,
            is_final: true,
            ..last
        };
        self.sink.send(last).await
    }

    /// Returns why the disk takes no more.
    async fn disk_fault(&mut self) -> Fault {
        match joined((&mut self.stored).await) {
            Err(fault) => fault,
            Ok(_) => Fault::new(FaultKind::Internal, "the disk ended before the chunk"),
        }
    }
}

pub(super) fn joined(
    ended: Result<Result<StoredChunk, Fault>, tokio::task::JoinError>,
) -> Result<StoredChunk, Fault> {
    ended.unwrap_or_else(|_| Err(Fault::new(FaultKind::Internal, "the server failed")))
}

/// Writes frames until there are no more, and commits the chunk if it is whole.
pub(super) fn write(
    store: &dyn ChunkStore,
    announced: Announced,
    mut frames: mpsc::Receiver<(Bytes, Arc<Held>)>,
    progress: &watch::Sender<u64>,
) -> Result<StoredChunk, ChunkStoreError> {
    let mut writer = store.begin(announced.chunk, announced.len)?;
    while let Some((frame, _held)) = frames.blocking_recv() {
        writer.write(&frame)?;
        progress.send_modify(|written| *written += frame.len() as u64);
    }
    writer.commit()
}
