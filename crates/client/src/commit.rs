//! Metadata sessions: a base version, changes, one new version.

use lfsfs_proto::convert::{id, required};
use lfsfs_proto::v1;
use lfsfs_types::{
    DirId, Name, Origin, ProjectId, Record, SessionId, VersionId, VersionNumber, VersionRecord,
};
use tokio_stream::{Stream, StreamExt as _};

use crate::error::RemoteError;
use crate::grpc::GrpcRemote;

/// Changes that travel in one message.
const CHANGES_PER_MESSAGE: usize = 512;

/// One entry's new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The directory that has the entry.
    pub dir: DirId,
    /// Its name; `None`, in [`DirId::ABOVE_ROOT`], for the root's own record.
    pub name: Option<Name>,
    /// What it is now; `None` for a removal, which takes along everything below.
    pub state: Option<Record>,
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
}

/// A version that holds the changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version; the base if nothing had changed.
    pub version: VersionRecord,
    /// Rows that the server wrote for it.
    pub rows: u64,
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
    pub async fn commit(
        &self,
        session: SessionId,
        params: &SessionParams,
        changes: impl Stream<Item = Change> + Send + 'static,
    ) -> Result<Published, RemoteError> {
        let start = v1::commit_request::Part::Start(v1::CommitStart {
            session_id: session.as_bytes().to_vec(),
            origin: Some(params.origin.into()),
            author: params.author.clone(),
            message: params.message.clone(),
        });
        let start = tokio_stream::once(v1::CommitRequest { part: Some(start) });
        let batches = futures::StreamExt::chunks(changes, CHANGES_PER_MESSAGE).map(batch);
        let connections = &self.connections;
        let mut fs = connections.fs();
        let limit = connections.config.commit_timeout;
        let answer = connections
            .call("the commit", limit, fs.commit(start.chain(batches)))
            .await?;
        let answer = answer.into_inner();
        let version = required("version", answer.version)?.try_into()?;
        Ok(Published {
            version,
            rows: answer.rows,
        })
    }
}

fn batch(changes: Vec<Change>) -> v1::CommitRequest {
    let changes = changes.iter().map(|change| v1::Change {
        dir: change.dir.0,
        name: change
            .name
            .as_ref()
            .map(|name| name.as_bytes().to_vec())
            .unwrap_or_default(),
        record: change.state.as_ref().map(v1::Record::from),
    });
    let batch = v1::ChangeBatch {
        changes: changes.collect(),
    };
    v1::CommitRequest {
        part: Some(v1::commit_request::Part::Changes(batch)),
    }
}
