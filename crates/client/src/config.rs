//! What a client must be told.

use std::time::Duration;

/// Where the server is, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// host:port of the coordinator.
    pub address: String,
    /// How long resolving a source may take.
    pub open_timeout: Duration,
    /// How long a call for data may go without progress.
    pub progress_timeout: Duration,
    /// How long publishing may take.
    pub commit_timeout: Duration,
    /// How long a read goes on trying while the server is away. Zero gives up at once.
    pub patience: Duration,
}

impl ClientConfig {
    /// Where a server listens if nobody says otherwise.
    pub const ADDRESS_DEFAULT: &str = "127.0.0.1:5051";

    /// Returns the defaults for a server at `address`.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            open_timeout: Duration::from_secs(5),
            progress_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(15 * 60),
            patience: Duration::ZERO,
        }
    }
}
