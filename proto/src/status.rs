//! Failures on the wire: one typed [`Fault`] becomes a status, and a status becomes a fault again.

use prost::Message as _;
use tonic::{Code, Status};

use crate::convert::ProtocolError;
use crate::v1;
pub use crate::v1::FaultKind;

/// Most bytes of a message on the wire. A status travels as a header, percent-encoded, and 16 KiB of
/// headers are what transports take.
const MESSAGE_LEN_MAX: usize = 2048;

/// Why a call failed: a kind for programs, a message for people, and paths where it is about some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What programs go by.
    pub kind: FaultKind,
    /// What people read.
    pub message: String,
    /// The paths of a conflict.
    pub paths: Vec<Vec<u8>>,
}

impl Fault {
    /// Returns a fault without paths.
    #[must_use]
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            paths: Vec::new(),
        }
    }

    /// Reads a status that arrived. One without details, as transports and proxies make them, is
    /// classified by its code.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let details = v1::Fault::decode(status.details()).unwrap_or_default();
        let kind = match details.kind() {
            FaultKind::Unspecified => kind_of(status.code()),
            kind => kind,
        };
        Self {
            kind,
            message: status.message().to_owned(),
            paths: details.paths,
        }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let details = v1::Fault {
            kind: fault.kind.into(),
            paths: fault.paths,
        };
        Self::with_details(
            code_of(fault.kind),
            cut(fault.message),
            details.encode_to_vec().into(),
        )
    }
}

/// Cuts a message where it would make the status longer than transports take.
fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_LEN_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_LEN_MAX));
        message.push_str("...");
    }
    message
}

impl From<ProtocolError> for Status {
    fn from(error: ProtocolError) -> Self {
        Fault::new(FaultKind::Invalid, error.to_string()).into()
    }
}

const fn code_of(kind: FaultKind) -> Code {
    match kind {
        FaultKind::Invalid => Code::InvalidArgument,
        FaultKind::ProjectNotFound
        | FaultKind::VersionNotFound
        | FaultKind::PathNotFound
        | FaultKind::ContentNotFound
        | FaultKind::ChunkNotFound
        | FaultKind::SessionNotFound => Code::NotFound,
        FaultKind::AlreadyExists => Code::AlreadyExists,
        FaultKind::Conflict => Code::Aborted,
        FaultKind::Full => Code::ResourceExhausted,
        FaultKind::Corrupt | FaultKind::HashMismatch => Code::DataLoss,
        FaultKind::Unavailable => Code::Unavailable,
        FaultKind::Unimplemented | FaultKind::Incompatible => Code::Unimplemented,
        FaultKind::Denied => Code::PermissionDenied,
        FaultKind::Internal | FaultKind::Unspecified => Code::Internal,
    }
}

const fn kind_of(code: Code) -> FaultKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => FaultKind::Invalid,
        Code::AlreadyExists => FaultKind::AlreadyExists,
        Code::Aborted => FaultKind::Conflict,
        Code::DataLoss => FaultKind::Corrupt,
        // A message that is too long is refused with this code by the transport.
        Code::ResourceExhausted | Code::Internal => FaultKind::Internal,
        Code::Unimplemented => FaultKind::Unimplemented,
        Code::PermissionDenied => FaultKind::Denied,
        _ => FaultKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_wire() {
        for kind in (1..=17).filter_map(|number| FaultKind::try_from(number).ok()) {
            let fault = Fault {
                kind,
                message: "why".to_owned(),
                paths: vec![b"a/\xff".to_vec()],
            };
            assert_eq!(Fault::from_status(&Status::from(fault.clone())), fault);
        }
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let fault = Fault::new(
            FaultKind::Invalid,
            "x".to_owned() + &"\u{20ac}".repeat(9000),
        );
        let message = Fault::from_status(&Status::from(fault)).message;
        assert!(message.len() <= MESSAGE_LEN_MAX + 3 && message.ends_with("\u{20ac}..."));
    }

    #[test]
    fn a_status_of_a_stranger_is_classified() {
        let fault = Fault::from_status(&Status::unavailable("gone"));
        assert_eq!(fault.kind, FaultKind::Unavailable);
    }
}
