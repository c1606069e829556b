//! Streaming answers: a task fills a bounded channel, and ends when the client goes or the server
//! stops. What waits in the channel is paid for until the connection has sent it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{FutureExt as _, Stream};
use lfsfs_common::request::carried;
use lfsfs_proto::status::{Fault, FaultKind};
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, Streaming};

use crate::budget::Held;
use crate::calls::Call;
use crate::refusals::Refusals;

/// A streaming answer.
#[derive(Debug)]
pub(crate) struct Answers<T> {
    receiver: mpsc::Receiver<Result<(T, Held), Status>>,
    call: Call,
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.receiver.poll_recv(context);
        let paid = |(answer, held)| {
            self.call.sending(held);
            answer
        };
        polled.map(|answer| answer.map(|answer| answer.map(paid)))
    }
}

/// How long either end of a stream may make no progress; then the server ends the stream.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);

/// How long a client may let answers wait while others wait for memory.
const SLOW_READER: Duration = Duration::from_secs(10);
/// Answers that wait for the client, at most.
const ANSWERS_WAITING_MAX: usize = 4;

/// The tasks of a server, and the tokens that end them.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    /// Cancelled when the grace time of calls in flight is over.
    pub(crate) abort: CancellationToken,
    /// Cancelled when that time begins: for calls that do not end by themselves.
    pub(crate) stop: CancellationToken,
    pub(crate) refusals: Arc<Refusals>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            abort: CancellationToken::new(),
            stop: CancellationToken::new(),
            refusals: Arc::default(),
        }
    }

    /// Runs `fill` beside the caller; the fault that it ends with is the last answer.
    pub(crate) fn answer<T, F>(&self, call: Call, fill: impl FnOnce(Sink<T>) -> F) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(ANSWERS_WAITING_MAX);
        let filling = fill(Sink {
            sender: sender.clone(),
            call: call.clone(),
        });
        let abort = self.abort.clone();
        let refusals = Arc::clone(&self.refusals);
        let told = call.clone();
        self.tracker.spawn(carried(async move {
            // Without this a stream that panics would look like one that has ended well.
            let filling = AssertUnwindSafe(filling).catch_unwind();
            let ended = tokio::select! {
                ended = filling => ended.unwrap_or_else(|_| Err(failed())),
                () = sender.closed() => return,
                () = abort.cancelled() => Err(stopping()),
            };
            if let Err(fault) = ended {
                told.log_failure(&refusals, &fault);
                let last = sender.send_timeout(Err(fault.into()), STALL_MAX);
                // A client that takes no answers does not hold up the end of the server.
                tokio::select! {
                    biased;
                    _ = last => {}
                    () = abort.cancelled() => {}
                }
            }
        }));
        Answers { receiver, call }
    }
}

/// Where the answers of a stream go.
#[derive(Debug, Clone)]
pub(crate) struct Sink<T> {
    sender: mpsc::Sender<Result<(T, Held), Status>>,
    call: Call,
}

impl<T: Message> Sink<T> {
    /// Gives back what the call holds: it waits for something that may take days.
    pub(crate) fn rest(&self) {
        self.call.rest();
    }

    /// Sends an answer, waiting for a slow client, but not for ever.
    pub(crate) async fn send(&self, answer: T) -> Result<(), Fault> {
        let bytes = 2 * answer.encoded_len();
        let held = self.call.account().take_more(bytes).await?;
        self.send_held(answer, held).await
    }

    /// Takes the memory of an answer that is not made yet.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Held, Fault> {
        self.call.account().take(bytes).await
    }

    /// Sends an answer whose memory was taken before.
    pub(crate) async fn send_held(&self, answer: T, held: Held) -> Result<(), Fault> {
        let _waiting = self.call.account().waits_for_reader(SLOW_READER);
        let sent = self
            .sender
            .send_timeout(Ok((answer, held)), STALL_MAX)
            .await;
        sent.map_err(|_| gone())
    }

    /// Like [`send`](Self::send), for the threads of [`blocking`](crate::blocking::blocking).
    pub(crate) fn blocking_send(&self, answer: T) -> Result<(), Fault> {
        Handle::current().block_on(self.send(answer))
    }
}

/// Takes the next message of a client's stream, waiting for a slow client, but not for ever; `None`
/// at its end.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Fault> {
    match tokio::time::timeout(STALL_MAX, stream.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(unreadable(&status)),
        Err(_) => Err(Fault::new(
            FaultKind::Unavailable,
            format!("nothing arrived for {} s", STALL_MAX.as_secs()),
        )),
    }
}

/// Takes the next question of a client that may keep its stream open as long as it lives.
pub(crate) async fn next_question<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Fault> {
    let message = stream.message().await;
    message.map_err(|status| unreadable(&status))
}

/// Returns why a client's stream cannot be read on. What the transport cannot decode comes without a
/// fault, and is the client's mistake.
fn unreadable(status: &Status) -> Fault {
    let fault = Fault::from_status(status);
    match status.code() {
        Code::Internal | Code::OutOfRange if status.details().is_empty() => {
            let text = format!("the request cannot be read: {}", fault.message);
            Fault::new(FaultKind::Invalid, text)
        }
        _ => fault,
    }
}

pub(crate) fn stopping() -> Fault {
    Fault::new(FaultKind::Unavailable, "the server is stopping")
}

fn failed() -> Fault {
    tracing::error!("a streaming answer panicked");
    Fault::new(FaultKind::Internal, "the server failed")
}

fn gone() -> Fault {
    Fault::new(FaultKind::Unavailable, "the client takes no answers")
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_panics_ends_with_a_fault() {
        let mut answers = Tasks::new().answer(Call::for_test(), |sink| async move {
            sink.send(1_u32).await?;
            if true {
                panic!("a mistake of ours");
            }
            Ok(())
        });
        assert_eq!(answers.next().await.unwrap().unwrap(), 1);
        let last = answers.next().await.unwrap().unwrap_err();
        assert_eq!(Fault::from_status(&last).kind, FaultKind::Internal);
        assert!(answers.next().await.is_none());
    }

    #[tokio::test]
    async fn a_task_ends_when_its_client_goes() {
        let tasks = Tasks::new();
        let answers: Answers<u32> = tasks.answer(Call::for_test(), |_| std::future::pending());
        drop(answers);
        tasks.tracker.close();
        tasks.tracker.wait().await;
    }

    #[tokio::test]
    async fn a_client_that_takes_no_answers_does_not_hold_up_the_end() {
        let tasks = Tasks::new();
        let answers = tasks.answer(Call::for_test(), |sink| async move {
            loop {
                sink.send(1_u32).await?;
            }
        });
        while answers.receiver.len() < ANSWERS_WAITING_MAX {
            tokio::task::yield_now().await;
        }
        tasks.abort.cancel();
        tasks.tracker.close();
        tasks.tracker.wait().await;
        drop(answers);
    }
}
