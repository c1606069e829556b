//! A coordinator and its datanodes over gRPC.

mod changes;
mod messages;
mod read;
mod send_chunk;
mod write;

use std::sync::Arc;

use lfsfs_remote::RemoteError;

use crate::config::ClientConfig;
use crate::connection::Connections;
use crate::versions::SeenVersions;

pub(crate) use self::messages::{project, project_name};

/// A coordinator and its datanodes, reached over gRPC. Each call is made once: see
/// [`Retrying`](lfsfs_remote::Retrying).
///
/// Cheap to share; connections are made when first used. Must be made on a tokio runtime.
#[derive(Debug, Clone)]
pub struct GrpcRemote {
    pub(crate) connections: Arc<Connections>,
    versions: Arc<SeenVersions>,
}

impl GrpcRemote {
    /// Checks the configuration; nothing is sent yet.
    pub fn new(config: ClientConfig) -> Result<Self, RemoteError> {
        Ok(Self {
            connections: Arc::new(Connections::new(config)?),
            versions: Arc::default(),
        })
    }

    /// Returns the address of the coordinator.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.connections.config.address
    }
}
