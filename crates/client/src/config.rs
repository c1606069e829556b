//! What a client must be told.

use std::time::Duration;

use lfsfs_proto::address;

/// How long a call may take for which the coordinator reads all metadata: minutes where there is much. A server that is
/// gone is noticed before.
pub(crate) const ALL_METADATA_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where the server is, and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// host:port of the coordinator, as [`ClientConfig::new`] completes it.
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

    /// Returns the defaults for a server at `address`, which is a host with or without a port.
    #[must_use]
    pub fn new(address: impl AsRef<str>) -> Self {
        Self {
            address: address::with_port(address.as_ref()),
            open_timeout: Duration::from_secs(5),
            progress_timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(15 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_alone_gets_the_port_where_servers_listen() {
        for (typed, address) in [
            ("localhost", "localhost:5051"),
            ("10.0.0.5", "10.0.0.5:5051"),
            ("::1", "[::1]:5051"),
            ("[::1]", "[::1]:5051"),
        ] {
            assert_eq!(ClientConfig::new(typed).address, address);
        }
        let default = ClientConfig::ADDRESS_DEFAULT;
        assert_eq!(ClientConfig::new("127.0.0.1").address, default);
    }

    #[test]
    fn what_has_a_port_or_is_no_address_stays() {
        for typed in ["host:1", "[::1]:1", "", "host:", "http://host", "a:b:c"] {
            assert_eq!(ClientConfig::new(typed).address, typed);
        }
    }
}
