//! Which callers may make the calls that only a server's own parts make.
//!
//! A process with both coordinator and datanode draws a key when it starts: the caller sends it,
//! the receiver checks it. That a call comes from this machine says nothing: every user of it can
//! connect.

use lfsfs_common::random::random_bytes;
use lfsfs_proto::status::{Fault, FaultKind};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use crate::error::ServerError;

/// The metadata field in which the key travels.
const FIELD: &str = "lfsfs-process-key";

/// A random value that only this process knows.
#[derive(Clone)]
pub(crate) struct ProcessKey(MetadataValue<Ascii>);

impl std::fmt::Debug for ProcessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcessKey")
    }
}

impl ProcessKey {
    /// Draws a key.
    pub(crate) fn draw() -> Result<Self, ServerError> {
        let bytes = random_bytes().map_err(|source| ServerError::System {
            act: "draw the key of the process",
            source,
        })?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut value = MetadataValue::try_from(hex).expect("hexadecimal digits are ASCII");
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// Adds the key to a request of this process.
    pub(crate) fn add_to<T>(&self, request: &mut Request<T>) {
        request.metadata_mut().insert(FIELD, self.0.clone());
    }

    fn is_in<T>(&self, request: &Request<T>) -> bool {
        let Some(found) = request.metadata().get(FIELD) else {
            return false;
        };
        let (found, own) = (found.as_bytes(), self.0.as_bytes());
        // Every byte is looked at, so that the time tells nothing about the key.
        let differ = found
            .iter()
            .zip(own)
            .fold(0, |differ, (a, b)| differ | (a ^ b));
        found.len() == own.len() && differ == 0
    }
}

/// Which callers may make such calls.
#[derive(Debug, Clone)]
pub(crate) enum Callers {
    /// Coordinator and datanode are processes of their own.
    Network,
    /// This process alone.
    Process(ProcessKey),
}

impl Callers {
    /// Refuses a call that does not come from this process.
    pub(crate) fn check<T>(&self, request: &Request<T>) -> Result<(), Fault> {
        match self {
            Self::Process(key) if !key.is_in(request) => {
                let text = "this server makes this call itself and takes it from no other process";
                Err(Fault::new(FaultKind::Denied, text))
            }
            _ => Ok(()),
        }
    }

    /// Returns a request with what its receiver checks.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Self::Process(key) = self {
            key.add_to(&mut request);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_with_the_key_of_the_process_are_taken() {
        let own = Callers::Process(ProcessKey::draw().unwrap());
        let other = Callers::Process(ProcessKey::draw().unwrap());
        assert!(own.check(&own.request(())).is_ok());
        for request in [Request::new(()), other.request(())] {
            assert_eq!(own.check(&request).unwrap_err().kind, FaultKind::Denied);
        }
        let mut cut = own.request(());
        cut.metadata_mut()
            .insert(FIELD, MetadataValue::from_static(""));
        assert!(own.check(&cut).is_err());
        assert!(Callers::Network.check(&Request::new(())).is_ok());
    }
}
