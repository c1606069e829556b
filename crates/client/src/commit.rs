//! Metadata sessions: a base version, changes, one new version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt as _};
use lfsfs_proto::convert::{id, required};
use lfsfs_proto::v1;
use lfsfs_proto::v1::commit_request::Part;
use lfsfs_types::{
    DirId, LinkId, Name, Origin, ProjectId, Record, SessionId, VersionId, VersionNumber,
    VersionRecord,
};
use prost::Message as _;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::RemoteError;
use crate::grpc::GrpcRemote;

/// Changes that travel in one message.
const CHANGES_PER_MESSAGE: usize = 512;
/// Bytes of changes after which a message ends, well below what a server takes.
const BATCH_LEN: usize = 1024 * 1024;
/// How long a commit may send nothing while its changes are still being found.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// One entry's new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The directory that has the entry.
    pub dir: DirId,
    /// Its name; `None`, in [`DirId::ABOVE_ROOT`], for the root's own record and for a link's.
    pub name: Option<Name>,
    /// What it is now; `None` for a removal, which takes along everything below.
    pub state: Option<Record>,
}

impl Change {
    /// The record of a hard link, for all its names that the session does not change by name: for
    /// clients that do not know them all.
    ///
    /// The base must have the link. All names get what is said of one, too, so this is needed only
    /// if no name can be told.
    #[must_use]
    pub fn of_all_names(record: Record) -> Self {
        Self {
            dir: DirId::ABOVE_ROOT,
            name: None,
            state: Some(record),
        }
    }
}

/// What a session is opened with.
#[derive(Debug, Clone)]
pub struct SessionParams {
    /// The project.
    pub project: ProjectId,
    /// The version that the changes were made on.
    pub base: (VersionNumber, VersionId),
    /// The random id that the new version will have. Repeating a session with the id of one whose
    /// answer was lost returns the version that it made.
    pub version: VersionId,
    /// How the version came to be.
    pub origin: Origin,
    /// Who makes it.
    pub author: String,
    /// Why.
    pub message: String,
    /// Whether the changes are made even where others changed the same since the base.
    pub force: bool,
    /// Whether [`Published`] tells the ids of what the session makes.
    pub want_ids: bool,
}

/// A version that holds the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version; the newest one if nothing had changed.
    pub version: VersionRecord,
    /// Rows that the server wrote for it.
    pub rows: u64,
    /// Whether others published versions since the base, so that it holds more than the changes.
    pub rebased: bool,
    /// The real id of each directory that the session made, by the session's, if it was asked for;
    /// empty if an earlier call had published the version, whose paths can be looked up.
    pub dirs: BTreeMap<DirId, DirId>,
    /// The same for hard links.
    pub links: BTreeMap<LinkId, LinkId>,
}

/// A session in which changes can be sent, or the version it made when it was opened before.
#[derive(Debug)]
pub enum Opened {
    /// Send the changes.
    Session(SessionId),
    /// They were published already.
    Published(VersionRecord),
}

impl GrpcRemote {
    /// Opens a metadata session.
    pub async fn open_session(&self, params: &SessionParams) -> Result<Opened, RemoteError> {
        let connections = &self.connections;
        let request = v1::OpenSessionRequest {
            project_id: params.project.as_bytes().to_vec(),
            base: params.base.0.0,
            base_id: params.base.1.as_bytes().to_vec(),
            version_id: params.version.as_bytes().to_vec(),
        };
        let mut fs = connections.fs();
        let limit = connections.config.progress_timeout;
        let answer = connections
            .call("a session", limit, fs.open_session(request))
            .await?;
        let answer = answer.into_inner();
        if let Some(version) = answer.published {
            return Ok(Opened::Published(version.try_into()?));
        }
        Ok(Opened::Session(id(
            "session_id",
            &answer.session_id,
            SessionId::from_slice,
        )?))
    }

    /// Streams the changes of a session and publishes them, all or nothing.
    ///
    /// Changes that conflict publish nothing, and can be sent once more in the same session, with
    /// force. Nothing is published unless `changes` ends: dropping the future before gives the session up.
    /// The deadline counts from the end of `changes`.
    pub async fn commit(
        &self,
        session: SessionId,
        params: &SessionParams,
        changes: impl Stream<Item = Change> + Send + 'static,
    ) -> Result<Published, RemoteError> {
        let (all_sent, sent) = oneshot::channel();
        let requests = requests(session, params, changes, all_sent);
        let connections = &self.connections;
        let mut fs = connections.fs();
        let answer = fs.commit(requests);
        tokio::pin!(answer);
        let limit = connections.config.commit_timeout;
        let answer = tokio::select! {
            answer = &mut answer => connections.call("the commit", limit, async { answer }).await?,
            Ok(()) = sent => connections.call("the commit", limit, answer).await?,
        };
        let answer = answer.into_inner();
        if let Some(conflicts) = answer.conflicts {
            return Err(RemoteError::Conflict {
                message: conflicts.message,
                paths: conflicts.paths,
                count: conflicts.count,
            });
        }
        let version = required("version", answer.version)?.try_into()?;
        Ok(Published {
            version,
            rows: answer.rows,
            rebased: answer.rebased,
            dirs: made(&answer.made_dirs, DirId),
            links: made(&answer.made_links, LinkId),
        })
    }
}

/// Returns real ids by those that the session gave.
fn made<T: Ord>(ids: &[v1::MadeId], id: fn(u64) -> T) -> BTreeMap<T, T> {
    let session = |made: u64| id(DirId::SESSION_FIRST.0.saturating_add(made));
    let pairs = ids.iter().map(|made| (session(made.made), id(made.id)));
    pairs.collect()
}

fn requests(
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
    use lfsfs_types::{Kind, Name, Record, Timestamp, Xattr, XattrName, XattrValue};

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
