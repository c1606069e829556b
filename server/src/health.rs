//! Whether a server serves, by the health protocol of gRPC: the service that answers, and the
//! client behind `lfsfsd health`.

use std::time::Duration;

use lfsfs_common::full_text;
use lfsfs_proto::address::endpoint;
use lfsfs_proto::v1::coordinator_server::SERVICE_NAME as COORDINATOR;
use lfsfs_proto::v1::data_node_server::SERVICE_NAME as DATA_NODE;
use lfsfs_proto::v1::fs_server::SERVICE_NAME as FS;
use tokio::time::timeout;
use tonic::service::RoutesBuilder;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::config::Role;
use crate::error::ServerError;

/// Asks a server whether it serves. Blocks the thread.
pub(crate) fn ask(address: &str, limit: Duration) -> Result<(), ServerError> {
    let not_serving = |reason: String| ServerError::NotServing {
        address: address.to_owned(),
        reason,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| not_serving(error.to_string()))?;
    let asking = async { timeout(limit, check(address)).await };
    match runtime.block_on(asking) {
        Ok(Ok(Answer::Serving)) => Ok(()),
        Ok(Ok(_)) => Err(not_serving("it answers that it does not".to_owned())),
        Ok(Err(reason)) => Err(not_serving(reason)),
        Err(_) => Err(not_serving(format!(
            "no answer within {} s",
            limit.as_secs()
        ))),
    }
}

async fn check(address: &str) -> Result<Answer, String> {
    let endpoint = endpoint(address).map_err(|error| full_text(&error))?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| full_text(&error))?;
    let request = HealthCheckRequest {
        service: WHOLE.to_owned(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    Ok(answer
        .map_err(|status| status.message().to_owned())?
        .into_inner()
        .status())
}

/// The name under which the health of the whole server is asked for.
const WHOLE: &str = "";

/// The health that the server reports: not serving, until the start is complete.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    reporter: HealthReporter,
    services: Vec<&'static str>,
}

impl Health {
    /// Adds the service that answers.
    pub(crate) fn add_to(routes: &mut RoutesBuilder, role: &Role) -> Self {
        let (reporter, service) = health_reporter();
        routes.add_service(service);
        let services = match role {
            Role::All => vec![WHOLE, FS, COORDINATOR, DATA_NODE],
            Role::Coordinator => vec![WHOLE, FS, COORDINATOR],
            Role::DataNode { .. } => vec![WHOLE, DATA_NODE],
        };
        Self { reporter, services }
    }

    /// Reports that all services can be called.
    pub(crate) async fn serves(&self) {
        self.tell(ServingStatus::Serving).await;
    }

    /// Reports that clients should call no more: the server is about to stop.
    pub(crate) async fn stops(&self) {
        self.tell(ServingStatus::NotServing).await;
    }

    async fn tell(&self, status: ServingStatus) {
        for service in &self.services {
            self.reporter.set_service_status(service, status).await;
        }
    }
}
