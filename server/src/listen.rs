//! Where a server listens, and how it and its clients reach it.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::{Role, ServerConfig};
use crate::error::ServerError;

/// Which addresses a server may listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenPolicy {
    /// Those of loopback: only programs of this machine can connect.
    LoopbackOnly,
    /// Any: programs of other machines can connect too, without TLS and tokens.
    Insecure,
}

/// Where a server listens.
#[derive(Debug)]
pub struct Listeners {
    /// For calls.
    pub calls: TcpListener,
    /// For metrics, if they are served.
    pub metrics: Option<TcpListener>,
}

impl From<TcpListener> for Listeners {
    /// Returns those of a server without metrics.
    fn from(calls: TcpListener) -> Self {
        let metrics = None;
        Self { calls, metrics }
    }
}

/// Listens on an address, if the policy allows it.
pub async fn bind(address: SocketAddr, policy: ListenPolicy) -> Result<TcpListener, ServerError> {
    check_policy(address, policy)?;
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServerError::Listen { address, source })
}

fn check_policy(address: SocketAddr, policy: ListenPolicy) -> Result<(), ServerError> {
    match policy {
        ListenPolicy::LoopbackOnly if !address.ip().is_loopback() => {
            Err(ServerError::NotLoopback { address })
        }
        ListenPolicy::LoopbackOnly | ListenPolicy::Insecure => Ok(()),
    }
}

/// Checks that a server may listen on its addresses, and that clients can be told one. Binds nothing.
pub(crate) fn check_addresses(
    config: &ServerConfig,
    address: SocketAddr,
    metrics: Option<SocketAddr>,
    policy: ListenPolicy,
) -> Result<(), ServerError> {
    check_policy(address, policy)?;
    if let Some(address) = metrics
        && check_policy(address, policy).is_err()
    {
        return Err(ServerError::MetricsNotLoopback { address });
    }
    match config.role {
        Role::Coordinator => Ok(()),
        Role::All | Role::DataNode { .. } => advertised(config, address).map(drop),
    }
}

/// Returns the address at which a process connects to itself.
pub(crate) fn local(address: SocketAddr) -> String {
    let ip = match address {
        SocketAddr::V4(_) if address.ip().is_unspecified() => "127.0.0.1".to_owned(),
        SocketAddr::V6(_) if address.ip().is_unspecified() => "[::1]".to_owned(),
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    format!("{ip}:{}", address.port())
}

/// Returns the address that the coordinator gives to clients.
pub(crate) fn advertised(
    config: &ServerConfig,
    address: SocketAddr,
) -> Result<String, ServerError> {
    match &config.advertise {
        Some(advertise) => Ok(advertise.clone()),
        None if address.ip().is_unspecified() => Err(ServerError::NoAdvertise { address }),
        None => Ok(address.to_string()),
    }
}
