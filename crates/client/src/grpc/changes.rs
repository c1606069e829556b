//! The changes of a commit on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use lfsfs_proto::v1;
use lfsfs_proto::v1::commit_request::Part;
use lfsfs_remote::{Change, SessionParams};
use lfsfs_types::SessionId;
use prost::Message as _;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Changes that travel in one message.
const CHANGES_PER_MESSAGE: usize = 512;
/// Bytes of changes after which a message ends, well below what a server takes.
const BATCH_LEN: usize = 1024 * 1024;
/// How long a commit may send nothing while its changes are still being found.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Returns the messages of a commit. `all_sent` hears of the end of the changes.
pub(super) fn requests(
    session: SessionId,
    params: &SessionParams,
    changes: impl Stream<Item = Change> + Send + 'static,
    all_sent: oneshot::Sender<()>,
) -> impl Stream<Item = v1::CommitRequest> + Send + 'static {
    let start = Part::Start(v1::CommitStart {
        session_id: session.as_bytes().to_vec(),
        origin: Some(params.origin.into()),
        author: params.author.clone(),
        message: params.message.clone(),
        force: params.force,
        ignore_times: params.ignore_times,
        want_ids: params.want_ids,
    });
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let batches = or_nothing(changes.ready_chunks(CHANGES_PER_MESSAGE)).flat_map(move |changes| {
        counted.fetch_add(changes.len() as u64, Ordering::Relaxed);
        stream::iter(batches(&changes))
    });
    let finish = stream::once(async move {
        // The other end is gone if the call has failed already.
        let _ = all_sent.send(());
        Part::Finish(v1::CommitFinish {
            changes: count.load(Ordering::Relaxed),
        })
    });
    let parts = stream::once(async { start }).chain(batches).chain(finish);
    parts.map(|part| v1::CommitRequest { part: Some(part) })
}

/// Sends an empty batch now and then: a server takes a stream that is silent for long for dead.
fn or_nothing(
    batches: impl Stream<Item = Vec<Change>> + Send + 'static,
) -> impl Stream<Item = Vec<Change>> + Send + 'static {
    let beat = tokio::time::interval_at(Instant::now() + SILENCE_MAX, SILENCE_MAX);
    let batches = tokio_stream::StreamExt::timeout_repeating(batches, beat);
    batches.map(Result::unwrap_or_default)
}

/// Returns messages that a server takes, whatever attributes the changes have. No changes are one
/// empty message.
fn batches(changes: &[Change]) -> Vec<Part> {
    let mut batches = vec![v1::ChangeBatch::default()];
    let mut len = 0;
    for change in changes.iter().map(change_message) {
        len += change.encoded_len();
        if len > BATCH_LEN
            && batches
                .last()
                .is_some_and(|batch| !batch.changes.is_empty())
        {
            batches.push(v1::ChangeBatch::default());
            len = change.encoded_len();
        }
        batches
            .last_mut()
            .expect("there is one")
            .changes
            .push(change);
    }
    batches.into_iter().map(Part::Changes).collect()
}

fn change_message(change: &Change) -> v1::Change {
    let name = change.name.as_ref().map(|name| name.as_bytes().to_vec());
    v1::Change {
        dir: change.dir.0,
        name: name.unwrap_or_default(),
        record: change.state.as_ref().map(v1::Record::from),
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::{DirId, Kind, Name, Record, Timestamp, Xattr, XattrName, XattrValue};

    use super::*;

    fn change(number: usize, attributes: usize) -> Change {
        let xattr = |n: usize| Xattr {
            name: XattrName::new(format!("user.{n:04}").as_bytes()).expect("a name"),
            value: XattrValue::Inline(vec![7; 1024].into()),
        };
        let record = Record {
            kind: Kind::Fifo,
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            ctime: Timestamp::default(),
            sha256: None,
            link: None,
            xattrs: (0..attributes).map(xattr).collect(),
        };
        Change {
            dir: DirId(1),
            name: Name::new(format!("{number}").as_bytes()).ok(),
            state: Some(record),
        }
    }

    #[test]
    fn changes_with_many_attributes_go_in_messages_that_a_server_takes() {
        let changes: Vec<_> = (0..100).map(|number| change(number, 100)).collect();
        let parts = batches(&changes);
        assert!(parts.len() > 5);
        let mut sent = 0;
        for part in parts {
            let Part::Changes(batch) = part else {
                unreachable!("changes")
            };
            assert!(batch.encoded_len() <= BATCH_LEN + 1024);
            sent += batch.changes.len();
        }
        assert_eq!(sent, 100);
        assert_eq!(batches(&[]).len(), 1, "silence is told");
        assert_eq!(batches(&[change(0, 1000)]).len(), 1, "one is never cut");
    }
}
