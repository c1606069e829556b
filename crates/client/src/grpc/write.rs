//! The writing half over gRPC.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use lfsfs_proto::convert::{id, ids, required};
use lfsfs_proto::v1;
use lfsfs_remote::{Change, Opened, Published, RemoteError, RemoteWrite, SessionParams};
use lfsfs_types::content::PieceList;
use lfsfs_types::limits::{CONTENTS_PER_MESSAGE_MAX, PIECES_INLINE_MAX};
use lfsfs_types::{ChunkId, ContentId, DirId, LinkId, ProjectId, SessionId};
use tokio::sync::oneshot;

use super::OneServer;
use super::changes::requests;
use super::send_chunk::send_chunk;
use crate::fault::{Checked as _, converted};

#[async_trait]
impl RemoteWrite for OneServer {
    async fn find_missing(
        &self,
        project: ProjectId,
        contents: &[ContentId],
    ) -> Result<Vec<ContentId>, RemoteError> {
        let connections = &self.connections;
        let limit = connections.config.progress_timeout;
        let mut missing = Vec::new();
        for part in unique(contents).chunks(CONTENTS_PER_MESSAGE_MAX) {
            let request = v1::FindMissingRequest {
                project_id: project.as_bytes().to_vec(),
                contents: part.iter().map(|id| id.as_bytes().to_vec()).collect(),
            };
            let mut fs = connections.fs();
            let answer = connections
                .call("missing contents", limit, fs.find_missing(request))
                .await?;
            missing.extend(
                ids(
                    "missing",
                    &answer.into_inner().missing,
                    ContentId::from_slice,
                )
                .checked()?,
            );
        }
        Ok(missing)
    }

    async fn put_pieces(
        &self,
        project: ProjectId,
        content: ContentId,
        pieces: &PieceList,
    ) -> Result<(), RemoteError> {
        let requests: Vec<_> = pieces
            .pieces()
            .chunks(PIECES_INLINE_MAX)
            .map(|part| v1::PutPiecesRequest {
                project_id: project.as_bytes().to_vec(),
                content: content.as_bytes().to_vec(),
                pieces: part.iter().map(v1::Piece::from).collect(),
            })
            .collect();
        let connections = &self.connections;
        let mut fs = connections.fs();
        let limit = connections.config.progress_timeout;
        let answer = fs.put_pieces(stream::iter(requests));
        connections.call("a large content", limit, answer).await?;
        Ok(())
    }

    async fn store_chunk(
        &self,
        project: ProjectId,
        chunk: ChunkId,
        bytes: Bytes,
    ) -> Result<u64, RemoteError> {
        send_chunk(&self.connections, project, chunk, bytes).await
    }

    async fn open_session(&self, params: &SessionParams) -> Result<Opened, RemoteError> {
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
            return Ok(Opened::Published(converted(version)?));
        }
        Ok(Opened::Session(
            id("session_id", &answer.session_id, SessionId::from_slice).checked()?,
        ))
    }

    async fn commit(
        &self,
        session: SessionId,
        params: &SessionParams,
        changes: BoxStream<'static, Change>,
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
        let published = published(answer.into_inner())?;
        let version = &published.version;
        self.versions
            .note(params.project, version.number, version.id);
        Ok(published)
    }
}

fn published(answer: v1::CommitResponse) -> Result<Published, RemoteError> {
    if let Some(conflicts) = answer.conflicts {
        return Err(RemoteError::Conflict {
            message: conflicts.message,
            paths: conflicts.paths,
            count: conflicts.count,
        });
    }
    Ok(Published {
        version: converted(required("version", answer.version).checked()?)?,
        rows: answer.rows,
        rebased: answer.rebased,
        dirs: made(&answer.made_dirs, DirId),
        links: made(&answer.made_links, LinkId),
    })
}

/// Returns real ids by those that the session gave.
fn made<T: Ord>(ids: &[v1::MadeId], id: fn(u64) -> T) -> BTreeMap<T, T> {
    let session = |made: u64| id(DirId::SESSION_FIRST.0.saturating_add(made));
    let pairs = ids.iter().map(|made| (session(made.made), id(made.id)));
    pairs.collect()
}

/// Forgets duplicates, so that a repeated question costs nothing.
pub(super) fn unique(contents: &[ContentId]) -> Vec<ContentId> {
    let mut seen = HashSet::new();
    let mut unique = contents.to_vec();
    unique.retain(|content| seen.insert(*content));
    unique
}
