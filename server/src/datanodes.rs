//! Connections to datanodes, of the coordinator and of other datanodes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lfsfs_proto::address::endpoint;
use lfsfs_proto::headers::Headers;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1::data_node_client::DataNodeClient;
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::process_key::Callers;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Time after which a silent connection is asked whether its other end is there, and to answer that.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Connections that are kept; addresses of nodes that are gone must not pile up.
const CONNECTIONS_MAX: usize = 1000;

/// A client of one datanode.
pub(crate) type Client = DataNodeClient<InterceptedService<Channel, Headers>>;

/// Connections that are made when first used, and made again when they broke.
#[derive(Debug)]
pub(crate) struct Datanodes {
    callers: Callers,
    channels: Mutex<HashMap<String, Channel>>,
}

impl Datanodes {
    pub(crate) fn new(callers: Callers) -> Self {
        Self {
            callers,
            channels: Mutex::default(),
        }
    }

    /// Returns a request with what its receiver checks.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        self.callers.request(message)
    }

    /// Returns a client of the datanode at host:port.
    pub(crate) fn client(&self, address: &str) -> Result<Client, Fault> {
        let channel = self.channel(address)?;
        Ok(DataNodeClient::with_interceptor(
            channel,
            Headers::default(),
        ))
    }

    fn channel(&self, address: &str) -> Result<Channel, Fault> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(address).map_err(|error| {
            let text = format!("{address:?} is no address of a datanode: {error}");
            Fault::new(FaultKind::Invalid, text)
        })?;
        let channel = endpoint
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .connect_lazy();
        if channels.len() >= CONNECTIONS_MAX {
            channels.clear();
        }
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// Waits for the answer of a datanode, but not for ever.
pub(crate) async fn within<T>(
    address: &str,
    limit: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Fault> {
    match timeout(limit, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) if status.details().is_empty() => {
            let text = format!("datanode {address} did not answer: {}", status.message());
            Err(Fault::new(FaultKind::Unavailable, text))
        }
        Ok(Err(status)) => Err(Fault::from_status(&status)),
        Err(_) => {
            let text = format!(
                "datanode {address} did not answer within {} s",
                limit.as_secs()
            );
            Err(Fault::new(FaultKind::Unavailable, text))
        }
    }
}

/// As [`within`], for an answer in one message.
pub(crate) async fn message_within<T>(
    address: &str,
    limit: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Fault> {
    Ok(within(address, limit, answer).await?.into_inner())
}
