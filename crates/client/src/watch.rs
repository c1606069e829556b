//! The new versions of a project, as they are published.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_proto::v1;
use lfsfs_remote::{RemoteError, Retry};
use lfsfs_types::{ProjectId, VersionId, VersionNumber, VersionRecord};
use tonic::Streaming;

use crate::connection::Connections;
use crate::fault::converted;

/// As good as no limit: the next version may come in a year. A connection that breaks is noticed by itself.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A watch of a project. Where the server goes away it goes on behind the last version that came.
#[derive(Debug)]
pub struct Watch {
    connections: Arc<Connections>,
    retry: Retry,
    project: ProjectId,
    last: (VersionNumber, VersionId),
    stream: Option<Streaming<v1::Version>>,
}

impl Watch {
    pub(crate) fn new(
        connections: Arc<Connections>,
        retry: Retry,
        project: ProjectId,
        after: (VersionNumber, VersionId),
    ) -> Self {
        Self {
            connections,
            retry,
            project,
            last: after,
            stream: None,
        }
    }

    /// Waits for the next version. None is left out, and none comes twice.
    pub async fn next(&mut self) -> Result<VersionRecord, RemoteError> {
        let retry = self.retry.clone();
        let mut tries = retry.tries();
        loop {
            match self.next_once().await {
                Ok(version) => {
                    self.last = (version.number, version.id);
                    return Ok(version);
                }
                Err(error) => {
                    self.stream = None;
                    if !error.is_retryable() || !tries.pause(&error).await {
                        return Err(tries.last(error));
                    }
                }
            }
        }
    }

    async fn next_once(&mut self) -> Result<VersionRecord, RemoteError> {
        let connections = Arc::clone(&self.connections);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open(&connections).await?,
        };
        let next = connections.call("the next version", FOREVER, stream.message());
        let version = next.await?.ok_or_else(|| RemoteError::Unavailable {
            address: connections.config.address.clone(),
            reason: "the server ended the watch".to_owned(),
        })?;
        self.stream = Some(stream);
        converted(version)
    }

    async fn open(&self, connections: &Connections) -> Result<Streaming<v1::Version>, RemoteError> {
        let (number, id) = self.last;
        let request = v1::WatchRequest {
            project_id: self.project.as_bytes().to_vec(),
            after: number.0,
            after_id: id.as_bytes().to_vec(),
        };
        let mut fs = connections.fs();
        let limit = connections.config.open_timeout;
        let answer = connections.call("the watch", limit, fs.watch(request));
        Ok(answer.await?.into_inner())
    }
}
