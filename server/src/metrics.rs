//! Metrics: what a server tells Prometheus, on a port of its own. docs/metrics.md has each of them.
//!
//! The parts of a server count and tell their own figures (`figures`); here are those of the process and of what
//! every role has. Nothing here decides anything, and no call waits for it.

mod endpoint;
mod process;
mod server;

use std::convert::Infallible;
use std::sync::Arc;

use lfsfs_common::clock::Clock;
use lfsfs_proto::status::{Fault, FaultKind};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use self::process::ProcessFigures;
use self::server::ServerFigures;
use crate::budget::Budget;
use crate::config::ServerConfig;
use crate::connections::Connections;
use crate::coordinator::{Coordinator, CoordinatorFigures};
use crate::datanode::DataNode;
use crate::figures::{CallFigures, Lent, Own};
use crate::streams::Tasks;

/// What has the figures of a server.
#[derive(Debug)]
pub(crate) struct MetricsParts<'a> {
    pub(crate) config: &'a ServerConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) calls: Arc<CallFigures>,
    pub(crate) budget: Budget,
    pub(crate) connections: Arc<Connections>,
    pub(crate) coordinator: Option<Arc<Coordinator>>,
    pub(crate) datanode: Option<Arc<DataNode>>,
}

/// The metrics of a server.
#[derive(Debug)]
pub(crate) struct Metrics {
    exporter: Arc<Exporter>,
    coordinator: Option<Arc<CoordinatorFigures>>,
}

impl Metrics {
    /// Gathers the figures of a server.
    pub(crate) fn new(parts: MetricsParts<'_>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Own(ServerFigures::new(&parts))));
        registry.register_collector(Box::new(Own(ProcessFigures::new(parts.clock.as_ref()))));
        registry.register_collector(Box::new(Lent(parts.calls)));
        let coordinator = parts.coordinator.map(CoordinatorFigures::new).map(Arc::new);
        if let Some(figures) = &coordinator {
            registry.register_collector(Box::new(Lent(Arc::clone(figures))));
        }
        if let Some(datanode) = parts.datanode {
            registry.register_collector(Box::new(Lent(datanode)));
        }
        Self {
            exporter: Arc::new(Exporter { registry }),
            coordinator,
        }
    }

    /// Serves the metrics on a listener, if there is one, until it is dropped.
    pub(crate) async fn serve(self, listener: Option<TcpListener>, tasks: &Tasks) -> Infallible {
        let Some(listener) = listener else {
            return std::future::pending().await;
        };
        let counting = async {
            match self.coordinator {
                Some(figures) => figures.keep_counting().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = endpoint::serve(listener, self.exporter, tasks) => never,
            never = counting => never,
        }
    }
}

/// Writes all figures of a server.
#[derive(Debug)]
pub(crate) struct Exporter {
    registry: Registry,
}

impl Exporter {
    /// Returns the page that Prometheus reads. It waits for the locks of the figures and for the disk.
    fn page(&self) -> Result<String, Fault> {
        let mut page = String::new();
        match prometheus_text::encode(&mut page, &self.registry) {
            Ok(()) => Ok(page),
            Err(std::fmt::Error) => {
                let text = "the figures cannot be written";
                Err(Fault::new(FaultKind::Internal, text))
            }
        }
    }
}
