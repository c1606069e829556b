//! What a server is told when it starts. docs/configuration.md describes every setting.

use std::path::PathBuf;
use std::time::Duration;

/// Free bytes of the disk that stay free, unless told otherwise.
pub(crate) const RESERVE_DEFAULT: u64 = 256 * 1024 * 1024;

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Coordinator and one datanode.
    All,
    /// The coordinator alone.
    Coordinator,
    /// A datanode of the coordinator at this address, host:port.
    DataNode {
        /// host:port.
        coordinator: String,
    },
}

/// How a server runs.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// What it is.
    pub role: Role,
    /// Where it keeps everything.
    pub data: PathBuf,
    /// How much of the disk stays free.
    pub reserve: u64,
    /// host:port under which clients reach the datanode; none means the listener's address.
    pub advertise: Option<String>,
    /// How long calls in flight may go on after the server is told to stop.
    pub grace: Duration,
}

impl ServerConfig {
    /// Returns the configuration of `lfsfsd all` without options.
    pub fn all(data: impl Into<PathBuf>) -> Self {
        Self {
            role: Role::All,
            data: data.into(),
            reserve: RESERVE_DEFAULT,
            advertise: None,
            grace: Duration::from_secs(10),
        }
    }
}
