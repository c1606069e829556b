//! Where a server is called: host:port, without TLS.

use std::net::Ipv6Addr;

use thiserror::Error as ThisError;
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

/// What separates several addresses of a server. In the options of a mount a comma ends the option.
const SEPARATORS: [char; 2] = [',', '+'];

/// Why a text names no server.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum AddressError {
    /// There is no address before, between or behind separators.
    #[error("{typed:?} is not the address of a server: number {number} of its addresses is empty")]
    Empty {
        /// All that was typed.
        typed: String,
        /// Which one, from 1.
        number: usize,
    },
    /// A part is no address.
    #[error(
        "{part:?} is not the address of a server: expected HOST or HOST:PORT, several of them separated by commas"
    )]
    Malformed {
        /// That part.
        part: String,
    },
    /// What stands behind the host is no port.
    #[error(
        "{part:?} is not the address of a server: {port:?} is not a port, a number from 1 to 65535"
    )]
    Port {
        /// The address.
        part: String,
        /// What stands where its port should be.
        port: String,
    },
    /// Two parts are the same address.
    #[error("{address} is given twice as the address of a server; give each address once")]
    Twice {
        /// That address, with its port.
        address: String,
    },
}

/// Takes the addresses of one server as a user types them: hosts with or without ports, separated by `,` or
/// `+`. Returns each as host:port, in that order; at least one, and none twice.
///
/// # Errors
/// Fails if a part is no address, or the same one as a part before it.
pub fn parse_list(typed: &str) -> Result<Vec<String>, AddressError> {
    let mut addresses = Vec::new();
    for (number, part) in (1..).zip(typed.split(SEPARATORS)) {
        if part.is_empty() {
            let typed = typed.to_owned();
            return Err(AddressError::Empty { typed, number });
        }
        let address = checked(part)?;
        if addresses.contains(&address) {
            return Err(AddressError::Twice { address });
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Completes one address, if it is one.
fn checked(part: &str) -> Result<String, AddressError> {
    let malformed = || AddressError::Malformed {
        part: part.to_owned(),
    };
    let address = with_port(part);
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    if host.is_empty() || address.contains(['/', '@', '?', '#']) {
        return Err(malformed());
    }
    if !matches!(port.parse::<u16>(), Ok(1..)) {
        let (part, port) = (part.to_owned(), port.to_owned());
        return Err(AddressError::Port { part, port });
    }
    endpoint(&address).map_err(|_| malformed())?;
    Ok(address)
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
            assert_eq!(parse_list(typed).unwrap(), [address]);
        }
        assert_eq!(with_port("127.0.0.1"), ADDRESS_DEFAULT);
    }

    #[test]
    fn what_has_a_port_or_is_no_address_is_not_completed() {
        for typed in ["host:1", "[::1]:1", "", "host:", "http://host", "a:b:c"] {
            assert_eq!(with_port(typed), typed);
        }
    }

    #[test]
    fn several_addresses_are_separated_by_a_comma_or_a_plus() {
        let addresses = ["a:5051", "[::1]:7", "10.0.0.5:1"];
        assert_eq!(parse_list("a,[::1]:7,10.0.0.5:1").unwrap(), addresses);
        assert_eq!(parse_list("a+[::1]:7+10.0.0.5:1").unwrap(), addresses);
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        let empty = |number| move |error: &AddressError| matches!(error, AddressError::Empty { number: it, .. } if *it == number);
        for (typed, number) in [("", 1), (",a", 1), ("a,,b", 2), ("a+", 2)] {
            let error = parse_list(typed).unwrap_err();
            assert!(empty(number)(&error), "{typed}: {error}");
        }
        for typed in ["a:1,b:port", "b:port+a:1"] {
            let (part, port) = ("b:port".to_owned(), "port".to_owned());
            assert_eq!(parse_list(typed), Err(AddressError::Port { part, port }));
        }
        for port in ["b:0", "b:65536", "b:-1", "b:"] {
            let error = parse_list(&format!("a,{port}")).unwrap_err();
            assert!(matches!(&error, AddressError::Port { part, .. } if part == port));
        }
        for part in ["http://b:1", "no address", ":1", "u@b", "[b"] {
            let error = parse_list(&format!("a,{part}")).unwrap_err();
            assert!(error.to_string().contains(part), "{part}: {error}");
            assert!(matches!(error, AddressError::Malformed { .. }), "{error:?}");
        }
        let address = "a:5051".to_owned();
        assert_eq!(
            parse_list("a,b,a:5051"),
            Err(AddressError::Twice { address })
        );
    }
}
