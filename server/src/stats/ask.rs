//! Asks a server for its figures, page by page.

use std::error::Error;
use std::io;
use std::time::Duration;

use lfsfs_common::full_text;
use lfsfs_proto::address::endpoint;
use lfsfs_proto::headers::Headers;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_client::CoordinatorClient;
use lfsfs_proto::v1::fs_client::FsClient;
use lfsfs_types::ClusterId;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;

use super::Stats;
use crate::error::ServerError;

/// Asks a server; each answer may take `limit`. Blocks the thread.
pub(super) fn ask(address: &str, limit: Duration) -> Result<Stats, ServerError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| ServerError::System {
        act: "start a runtime",
        source,
    })?;
    runtime.block_on(Asking { address, limit }.ask())
}

/// A server that is being asked.
#[derive(Debug, Clone, Copy)]
struct Asking<'a> {
    address: &'a str,
    limit: Duration,
}

impl Asking<'_> {
    async fn ask(self) -> Result<Stats, ServerError> {
        let channel = self.connect().await?;
        let first = self.page(&channel, String::new()).await?;
        let mut more = first.more;
        let mut stats = self.stats(first);
        while more && let Some(last) = stats.projects.last() {
            let page = self.page(&channel, last.name.clone()).await?;
            more = page.more && !page.projects.is_empty();
            stats.projects.extend(page.projects);
        }
        Ok(stats)
    }

    async fn connect(self) -> Result<Channel, ServerError> {
        let endpoint = endpoint(self.address).map_err(|error| self.failed(full_text(&error)))?;
        match self.within(endpoint.connect()).await? {
            Ok(channel) => Ok(channel),
            Err(error) if is_refused(&error) => Err(ServerError::NoServer {
                address: self.address.to_owned(),
            }),
            Err(error) => Err(self.failed(full_text(&error))),
        }
    }

    async fn page(
        self,
        channel: &Channel,
        after: String,
    ) -> Result<v1::GetStatsResponse, ServerError> {
        let client = CoordinatorClient::with_interceptor(channel.clone(), Headers::default());
        let mut client = client;
        let request = v1::GetStatsRequest { after, limit: 0 };
        match self.within(client.get_stats(request)).await? {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.refused(channel, &status).await),
        }
    }

    /// Says why a server did not answer. One that does not know the call is asked for its version.
    async fn refused(self, channel: &Channel, status: &Status) -> ServerError {
        let fault = Fault::from_status(status);
        if fault.kind != FaultKind::Unimplemented {
            return self.failed(fault.message);
        }
        let mut fs = FsClient::with_interceptor(channel.clone(), Headers::default());
        let cluster = self.within(fs.get_cluster(v1::GetClusterRequest {})).await;
        let address = self.address.to_owned();
        match cluster {
            Ok(Ok(answer)) => ServerError::OldServer {
                address,
                version: answer.into_inner().server_version,
            },
            _ => ServerError::NoCoordinator { address },
        }
    }

    async fn within<T>(self, answer: impl Future<Output = T>) -> Result<T, ServerError> {
        let seconds = self.limit.as_secs();
        let late = |_| self.failed(format!("no answer within {seconds} s"));
        timeout(self.limit, answer).await.map_err(late)
    }

    fn failed(self, reason: String) -> ServerError {
        ServerError::NoFigures {
            address: self.address.to_owned(),
            reason,
        }
    }

    fn stats(self, answer: v1::GetStatsResponse) -> Stats {
        let cluster = ClusterId::from_slice(&answer.cluster_id);
        Stats {
            address: self.address.to_owned(),
            cluster: cluster.map_or_else(String::new, |cluster| cluster.to_string()),
            version: answer.server_version,
            uptime_secs: answer.uptime_secs,
            engine: answer.engine.unwrap_or_default(),
            nodes: answer.nodes,
            projects: answer.projects,
        }
    }
}

/// Returns true if no process listens at the address.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let refused = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(refused) {
            return true;
        }
        cause = error.source();
    }
    false
}
