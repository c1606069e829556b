//! What goes with every request beside its message: the protocols that the caller speaks, and the id of
//! the request.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use lfsfs_common::request::RequestId;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::status::{Fault, FaultKind};

/// The header with the id of the request.
pub const REQUEST_HEADER: &str = "lfsfs-request";
/// The header with the protocols that the caller speaks.
pub const PROTOCOL_HEADER: &str = "lfsfs-protocol";

/// The protocols that a program speaks, and its version: `LEAST-NEWEST VERSION`, such as `1-3 0.4.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocols {
    /// The oldest one.
    pub least: u32,
    /// The newest one.
    pub newest: u32,
    /// The version of the program.
    pub program: Cow<'static, str>,
}

impl Protocols {
    /// Returns what this program speaks. It costs no allocation: each call of a server is checked.
    ///
    /// The newest number grows with each change of the protocol that the other side must know of; the
    /// least one follows when neighbouring releases need it no more.
    #[must_use]
    pub const fn own() -> Self {
        Self {
            least: 1,
            newest: 1,
            program: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
        }
    }

    /// Returns the newest protocol that both speak.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (newest >= self.least.max(other.least)).then_some(newest)
    }

    /// Checks that the caller of a request and this server understand each other. One that says nothing
    /// is no program of ours, and knows what it calls.
    pub fn check(&self, headers: &MetadataMap) -> Result<(), Fault> {
        let Some(value) = headers.get(PROTOCOL_HEADER) else {
            return Ok(());
        };
        let caller = value.to_str().ok().and_then(|text| text.parse().ok());
        let caller: Self = caller.ok_or_else(|| {
            let text = format!("the header {PROTOCOL_HEADER} is wrong: expected 1-2 0.1.0");
            Fault::new(FaultKind::Invalid, text)
        })?;
        match self.common(&caller) {
            Some(_) => Ok(()),
            None => Err(self.incompatible(&caller)),
        }
    }

    fn incompatible(&self, caller: &Self) -> Fault {
        let older = if caller.newest < self.least {
            "the client"
        } else {
            "the server"
        };
        let text = format!(
            "lfsfs {} of the client speaks protocols {} to {}, lfsfs {} of the server {} to {}: upgrade \
             {older}",
            caller.program, caller.least, caller.newest, self.program, self.least, self.newest,
        );
        Fault::new(FaultKind::Incompatible, text)
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} {}", self.least, self.newest, self.program)
    }
}

/// A text is not of the form `LEAST-NEWEST VERSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoProtocols;

impl FromStr for Protocols {
    type Err = NoProtocols;

    fn from_str(text: &str) -> Result<Self, NoProtocols> {
        let (numbers, program) = text.split_once(' ').ok_or(NoProtocols)?;
        let (least, newest) = numbers.split_once('-').ok_or(NoProtocols)?;
        let number = |text: &str| text.parse().map_err(|_| NoProtocols);
        let (least, newest) = (number(least)?, number(newest)?);
        if least > newest {
            return Err(NoProtocols);
        }
        Ok(Self {
            least,
            newest,
            program: Cow::Owned(program.to_owned()),
        })
    }
}

/// Returns the id that a request came with, or a new one.
#[must_use]
pub fn request_id(headers: &MetadataMap) -> RequestId {
    let header = headers.get(REQUEST_HEADER);
    let id = header.and_then(|value| RequestId::parse(value.to_str().ok()?));
    id.unwrap_or_else(RequestId::next)
}

/// Adds the headers to requests on their way out.
#[derive(Debug, Clone)]
pub struct Headers {
    protocols: MetadataValue<tonic::metadata::Ascii>,
}

impl Default for Headers {
    fn default() -> Self {
        let protocols = Protocols::own().to_string();
        Self {
            protocols: protocols.parse().expect("numbers and a version are ASCII"),
        }
    }
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let id = RequestId::current().unwrap_or_else(RequestId::next);
        let id = id
            .to_string()
            .parse()
            .expect("hexadecimal digits are ASCII");
        let headers = request.metadata_mut();
        headers.insert(REQUEST_HEADER, id);
        headers.insert(PROTOCOL_HEADER, self.protocols.clone());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocols(text: &str) -> Protocols {
        text.parse().expect(text)
    }

    fn headers(value: &str) -> MetadataMap {
        let mut headers = MetadataMap::new();
        headers.insert(PROTOCOL_HEADER, value.parse().expect("ASCII"));
        headers
    }

    #[test]
    fn neighbours_find_the_newest_protocol_that_both_speak() {
        let server = protocols("2-4 0.4.0");
        assert_eq!(server.common(&protocols("1-3 0.3.0")), Some(3));
        assert_eq!(server.common(&protocols("4-9 1.0.0")), Some(4));
        assert_eq!(server.common(&protocols("1-1 0.1.0")), None);
        assert_eq!(server.common(&protocols("5-6 0.5.0")), None);
    }

    #[test]
    fn programs_that_do_not_fit_are_told_which_one_to_upgrade() {
        let server = protocols("2-4 0.4.0");
        assert!(server.check(&MetadataMap::new()).is_ok());
        assert!(server.check(&headers("3-5 0.5.0")).is_ok());
        for (caller, older) in [("1-1 0.1.0", "the client"), ("5-6 0.6.0", "the server")] {
            let fault = server.check(&headers(caller)).expect_err(caller);
            assert_eq!(fault.kind, FaultKind::Incompatible);
            let program = protocols(caller).program;
            for word in [&*program, "0.4.0", older] {
                assert!(fault.message.contains(word), "{}", fault.message);
            }
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for wrong in [
            "",
            "1",
            "1-2",
            "2-1 0.1.0",
            "a-b 0.1.0",
            "1-99999999999 0.1.0",
        ] {
            let fault = Protocols::own().check(&headers(wrong)).expect_err(wrong);
            assert_eq!(fault.kind, FaultKind::Invalid, "{wrong}");
        }
    }

    #[test]
    fn a_request_has_the_id_of_what_it_is_made_for() {
        let id = RequestId::next();
        let request = id.within(|| Headers::default().call(Request::new(())));
        let request = request.expect("a request");
        assert_eq!(request_id(request.metadata()), id);
        assert!(Protocols::own().check(request.metadata()).is_ok());
    }
}
