//! The new versions of a project, as they are published.

use std::time::Duration;

use lfsfs_proto::v1;
use lfsfs_remote::{Call, RemoteError, Retry};
use lfsfs_types::{ProjectId, VersionId, VersionNumber, VersionRecord};
use tonic::Streaming;

use crate::fault::converted;
use crate::grpc::OneServer;
use crate::servers::Servers;

/// As good as no limit: the next version may come in a year. A connection that breaks is noticed by itself.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A watch of a project. Where the server goes away it goes on behind the last version that came.
#[derive(Debug)]
pub struct Watch {
    servers: Servers,
    retry: Retry,
    project: ProjectId,
    last: (VersionNumber, VersionId),
    /// The stream of versions, and whose it is.
    stream: Option<(OneServer, Streaming<v1::Version>)>,
}

impl Watch {
    pub(crate) fn new(
        servers: Servers,
        retry: Retry,
        project: ProjectId,
        after: (VersionNumber, VersionId),
    ) -> Self {
        Self {
            servers,
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
        let (server, mut stream) = match self.stream.take() {
            Some(stream) => stream,
            None => self.open().await?,
        };
        let connections = &server.connections;
        let next = connections.call("the next version", FOREVER, stream.message());
        let version = next.await?.ok_or_else(|| RemoteError::Unavailable {
            address: server.address().to_owned(),
            reason: "the server ended the watch".to_owned(),
        })?;
        self.stream = Some((server, stream));
        converted(version)
    }

    async fn open(&self) -> Result<(OneServer, Streaming<v1::Version>), RemoteError> {
        let (number, id) = self.last;
        let request = v1::WatchRequest {
            project_id: self.project.as_bytes().to_vec(),
            after: number.0,
            after_id: id.as_bytes().to_vec(),
        };
        let limit = self.servers.config().open_timeout;
        let ask = |server: OneServer| {
            let request = request.clone();
            async move {
                let mut fs = server.connections.fs();
                let answer = server
                    .connections
                    .call("the watch", limit, fs.watch(request));
                let stream = answer.await?.into_inner();
                Ok((server, stream))
            }
        };
        self.servers.ask(Call::Watch, ask).await
    }
}
