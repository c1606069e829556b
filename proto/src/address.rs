//! Where a server is called: host:port, without TLS.

use std::net::Ipv6Addr;

use tonic::transport::{Endpoint, Error};

/// Where a server listens by default.
pub const ADDRESS_DEFAULT: &str = "127.0.0.1:5051";
/// The port of [`ADDRESS_DEFAULT`].
pub const PORT_DEFAULT: u16 = 5051;

/// Returns the endpoint of a server at host:port. Nothing is sent yet.
///
/// # Errors
/// Fails if the text is not an address.
pub fn endpoint(address: &str) -> Result<Endpoint, Error> {
    Endpoint::from_shared(format!("http://{address}"))
}

/// Completes an address as a user types it, a host with or without a port. What is no address stays
/// as it is: the connection says what is wrong with it.
#[must_use]
pub fn with_port(address: &str) -> String {
    let port = PORT_DEFAULT;
    let colons = address.bytes().filter(|byte| *byte == b':').count();
    match address.strip_prefix('[') {
        Some(rest) if rest.ends_with(']') => format!("{address}:{port}"),
        Some(_) => address.to_owned(),
        None if address.is_empty() || colons == 1 => address.to_owned(),
        None if colons == 0 => format!("{address}:{port}"),
        None => match address.parse::<Ipv6Addr>() {
            Ok(host) => format!("[{host}]:{port}"),
            Err(_) => address.to_owned(),
        },
    }
}
