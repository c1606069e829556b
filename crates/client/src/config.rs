//! What a client must be told.

use std::time::Duration;

use lfsfs_proto::address::{self, AddressError};

/// How long a call may take for which the coordinator reads all metadata: minutes where there is much. A server that is
/// gone is noticed before.
pub(crate) const ALL_METADATA_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where the server is, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// host:port of the coordinator, or several such addresses of it, separated by `,` or `+`; without a
    /// port the default one is meant.
    pub address: String,
    /// How long resolving a source may take.
    pub open_timeout: Duration,
    /// How long a call for data may go without progress.
    pub progress_timeout: Duration,
    /// How long publishing may take.
    pub commit_timeout: Duration,
}

impl ClientConfig {
    /// Where a server listens by default.
    pub const ADDRESS_DEFAULT: &str = address::ADDRESS_DEFAULT;
    /// The port of [`Self::ADDRESS_DEFAULT`].
    pub const PORT_DEFAULT: u16 = address::PORT_DEFAULT;

    /// Returns the defaults for a server at `address`; [`Servers::new`](crate::Servers::new) checks it.
    #[must_use]
    pub fn new(address: impl AsRef<str>) -> Self {
        Self {
            address: address.as_ref().to_owned(),
            open_timeout: Duration::from_secs(5),
            progress_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(15 * 60),
        }
    }

    /// Returns the addresses of the coordinator, each as host:port.
    ///
    /// # Errors
    /// Fails if one is no address, or is given twice.
    pub fn addresses(&self) -> Result<Vec<String>, AddressError> {
        address::parse_list(&self.address)
    }
}
