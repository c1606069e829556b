//! Calls that fail: each gets a fault and a line in the log, and many alike do not flood the log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use lfsfs_proto::status::{Fault, FaultKind};
use tonic::body::Body;
use tonic::codegen::http::Response;
use tonic::{Code, Status};

use crate::throttle::Throttle;

/// Kinds of lines that are told apart; there are fewer calls and codes than that.
const KINDS_MAX: usize = 512;

/// The lines that were logged lately.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// Held for moments; the throttles have locks of their own.
    lines: Mutex<HashMap<(String, Code), Throttle>>,
}

impl Refusals {
    /// Logs an answer that is a failure, and gives it a fault where the transport made it.
    pub(crate) fn explain(
        &self,
        response: Response<Body>,
        path: &str,
        peer: SocketAddr,
    ) -> Response<Body> {
        let Some(status) = Status::from_header_map(response.headers()) else {
            return response;
        };
        if status.code() == Code::Ok {
            return response;
        }
        let fault = fault_of(&status, path);
        let status = fault.clone().map_or(status, Status::from);
        self.log(&status, path, peer);
        match fault {
            Some(_) => status.into_http(),
            None => response,
        }
    }

    /// Logs a failure, unless its like was logged a moment ago.
    pub(crate) fn log(&self, status: &Status, path: &str, peer: SocketAddr) {
        let (code, reason) = (status.code(), status.message());
        tracing::debug!(%peer, path, ?code, reason, "a call failed");
        let is_trouble = match code {
            Code::InvalidArgument | Code::Unimplemented => false,
            Code::Unavailable | Code::ResourceExhausted | Code::Internal | Code::DataLoss => true,
            // What is not there, or there already, is an answer like others.
            _ => return,
        };
        let Some(more) = self.pass(path, code) else {
            return;
        };
        if is_trouble {
            tracing::warn!(%peer, path, ?code, more, reason, "refused a call");
        } else {
            tracing::info!(%peer, path, ?code, more, reason, "refused a call");
        }
    }

    /// Returns true if a call was logged that failed with this code.
    #[cfg(test)]
    pub(crate) fn has_logged(&self, code: Code) -> bool {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.keys().any(|(_, logged)| *logged == code)
    }

    fn pass(&self, path: &str, code: Code) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // All calls with made-up paths share one line.
        let path = match code {
            Code::Unimplemented => "",
            _ => path,
        };
        let key = (path.to_owned(), code);
        if lines.len() >= KINDS_MAX && !lines.contains_key(&key) {
            return None;
        }
        lines.entry(key).or_default().pass()
    }
}

/// Returns the fault of a failure that the transport found, which comes without one: a message that
/// cannot be read is the client's mistake, whatever the transport says.
fn fault_of(status: &Status, path: &str) -> Option<Fault> {
    if !status.details().is_empty() {
        return None;
    }
    let (kind, text) = match status.code() {
        Code::Internal | Code::OutOfRange => {
            let text = format!("the request cannot be read: {}", status.message());
            (FaultKind::Invalid, text)
        }
        Code::Unimplemented if status.message().is_empty() => {
            let text = format!("this server has no call {path}");
            (FaultKind::Unimplemented, text)
        }
        Code::Unimplemented => (FaultKind::Unimplemented, status.message().to_owned()),
        _ => return None,
    };
    Some(Fault::new(kind, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(status: Status) -> Status {
        let refusals = Refusals::default();
        let peer = "127.0.0.1:1".parse().unwrap();
        let response = refusals.explain(status.into_http(), "/lfsfs.v1.Fs/None", peer);
        Status::from_header_map(response.headers()).unwrap()
    }

    #[test]
    fn what_the_transport_cannot_read_is_the_clients_mistake() {
        for status in [Status::internal("no"), Status::out_of_range("no")] {
            let status = explained(status);
            assert_eq!(status.code(), Code::InvalidArgument);
            assert_eq!(Fault::from_status(&status).kind, FaultKind::Invalid);
            assert!(!status.details().is_empty());
        }
        let unknown = explained(Status::unimplemented(""));
        assert_eq!(unknown.code(), Code::Unimplemented);
        assert!(unknown.message().contains("/lfsfs.v1.Fs/None"));
    }

    #[test]
    fn a_failure_with_a_fault_stays_what_it_is() {
        let fault = Fault::new(FaultKind::Internal, "the disk failed");
        let status = explained(fault.clone().into());
        assert_eq!(Fault::from_status(&status), fault);
        assert_eq!(explained(Status::not_found("it")).code(), Code::NotFound);
    }
}
