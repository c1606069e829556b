//! A coordinator and its datanodes over gRPC, by one address.

mod changes;
mod messages;
mod read;
mod send_chunk;
mod tree;
mod write;

use std::sync::Arc;

use crate::ahead::ListingsAhead;
use crate::connection::Connections;
use crate::versions::SeenVersions;

pub(crate) use self::messages::{project, project_name};

/// A coordinator at one of its addresses, and its datanodes, reached over gRPC. Each call is made once: see
/// [`Servers`](crate::Servers) and [`Retrying`](lfsfs_remote::Retrying).
///
/// Cheap to share; connections are made when first used.
#[derive(Debug, Clone)]
pub(crate) struct OneServer {
    pub(crate) connections: Arc<Connections>,
    versions: Arc<SeenVersions>,
    ahead: Arc<ListingsAhead>,
}

impl OneServer {
    pub(crate) fn new(connections: Connections, versions: &Arc<SeenVersions>) -> Self {
        Self {
            connections: Arc::new(connections),
            versions: Arc::clone(versions),
            ahead: Arc::default(),
        }
    }

    /// Returns the address at which the coordinator is asked.
    pub(crate) fn address(&self) -> &str {
        &self.connections.config.address
    }
}
