//! Where a server is called: host:port, without TLS.

use tonic::transport::{Endpoint, Error};

/// Returns the endpoint of a server at host:port. Nothing is sent yet.
///
/// # Errors
/// Fails if the text is not an address.
pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
    Endpoint::from_shared(format!("http://{address}"))
}
