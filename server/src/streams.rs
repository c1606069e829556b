//! Streaming answers: a task fills a bounded channel, and ends when the client goes or the server
//! stops.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use lfsfs_proto::status::{Fault, FaultKind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

/// A streaming answer.
pub(crate) type Answers<T> = ReceiverStream<Result<T, Status>>;

/// How long either end of a stream may make no progress.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);

/// Answers that wait for the client, at most.
const ANSWERS_WAITING_MAX: usize = 8;

/// The tasks of a server, and the word for them to end.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    pub(crate) tracker: TaskTracker,
    /// Cancelled when calls in flight have no more time.
    pub(crate) abort: CancellationToken,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            abort: CancellationToken::new(),
        }
    }

    /// Runs `fill` beside the caller; the fault that it ends with is the last answer.
    pub(crate) fn answer<T, F>(&self, fill: impl FnOnce(Sink<T>) -> F) -> Answers<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(ANSWERS_WAITING_MAX);
        let filling = fill(Sink {
            sender: sender.clone(),
        });
        let abort = self.abort.clone();
        self.tracker.spawn(async move {
            // Without this a stream that panics would look like one that has ended well.
            let filling = AssertUnwindSafe(filling).catch_unwind();
            let ended = tokio::select! {
                ended = filling => ended.unwrap_or_else(|_| Err(failed())),
                () = sender.closed() => return,
                () = abort.cancelled() => Err(stopping()),
            };
            if let Err(fault) = ended {
                // Nobody is there to be told if this fails.
                let last = sender.send_timeout(Err(fault.into()), STALL_MAX);
                drop(last.await);
            }
        });
        ReceiverStream::new(receiver)
    }
}

/// Where the answers of a stream go.
#[derive(Debug, Clone)]
pub(crate) struct Sink<T> {
    sender: mpsc::Sender<Result<T, Status>>,
}

impl<T> Sink<T> {
    /// Sends an answer, waiting for a slow client, but not for ever.
    pub(crate) async fn send(&self, answer: T) -> Result<(), Fault> {
        let sent = self.sender.send_timeout(Ok(answer), STALL_MAX).await;
        sent.map_err(|_| gone())
    }

    /// Like [`send`](Self::send), for threads that may block.
    pub(crate) fn blocking_send(&self, answer: T) -> Result<(), Fault> {
        self.sender.blocking_send(Ok(answer)).map_err(|_| gone())
    }
}

/// Takes the next message of a client's stream, which may let us wait, but not for ever; `None` at
/// its end.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Fault> {
    match tokio::time::timeout(STALL_MAX, stream.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(Fault::from_status(&status)),
        Err(_) => Err(Fault::new(
            FaultKind::Unavailable,
            format!("nothing arrived for {} s", STALL_MAX.as_secs()),
        )),
    }
}

/// Takes the next question of a client that may keep its stream open as long as it lives.
pub(crate) async fn next_question<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Fault> {
    let message = stream.message().await;
    message.map_err(|status| Fault::from_status(&status))
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
        let mut answers = Tasks::new().answer(|sink| async move {
            sink.send(1).await?;
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
        let answers: Answers<u8> = tasks.answer(|_| std::future::pending());
        drop(answers);
        tasks.tracker.close();
        tasks.tracker.wait().await;
    }
}
