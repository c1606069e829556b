//! What goes wrong on the wire, as errors of the seam.

use lfsfs_proto::convert::ProtocolError;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_remote::RemoteError;
use lfsfs_transfer::TransferError;

/// An answer that may break a protocol.
pub(crate) trait Checked<T> {
    /// Returns the answer, or that it is damaged.
    fn checked(self) -> Result<T, RemoteError>;
}

impl<T> Checked<T> for Result<T, ProtocolError> {
    fn checked(self) -> Result<T, RemoteError> {
        self.map_err(|error| {
            RemoteError::Corrupt(format!("the server's answer breaks the protocol: {error}"))
        })
    }
}

impl<T> Checked<T> for Result<T, TransferError> {
    fn checked(self) -> Result<T, RemoteError> {
        self.map_err(|error| RemoteError::Corrupt(error.to_string()))
    }
}

/// Returns checked data of a message.
pub(crate) fn converted<M, T>(message: M) -> Result<T, RemoteError>
where
    T: TryFrom<M, Error = ProtocolError>,
{
    T::try_from(message).checked()
}

/// Says it of a datanode, unless that is in one process with the coordinator.
pub(crate) fn of_datanode(error: RemoteError, coordinator: &str) -> RemoteError {
    match error {
        RemoteError::NoServer { address } if address != coordinator => {
            RemoteError::NoDataNode { address }
        }
        error => error,
    }
}

/// Classifies a fault that the server at `address` sent.
pub(crate) fn from_fault(address: &str, fault: Fault) -> RemoteError {
    let Fault {
        kind,
        message,
        paths,
    } = fault;
    match kind {
        FaultKind::Invalid | FaultKind::Denied => RemoteError::Invalid(message),
        FaultKind::ProjectNotFound
        | FaultKind::VersionNotFound
        | FaultKind::PathNotFound
        | FaultKind::ChunkNotFound => RemoteError::NotFound(message),
        FaultKind::ContentNotFound => RemoteError::ContentsMissing(message),
        FaultKind::SessionNotFound => RemoteError::SessionLost(message),
        FaultKind::AlreadyExists => RemoteError::AlreadyExists(message),
        FaultKind::Conflict => RemoteError::Conflict {
            message,
            count: paths.len() as u64,
            paths,
        },
        FaultKind::Full => RemoteError::Full(message),
        FaultKind::Corrupt | FaultKind::HashMismatch => RemoteError::Corrupt(message),
        FaultKind::Unavailable => RemoteError::Unavailable {
            address: address.to_owned(),
            reason: message,
        },
        FaultKind::Unimplemented => RemoteError::Unimplemented(message),
        FaultKind::Incompatible => RemoteError::Incompatible(message),
        FaultKind::Internal | FaultKind::Unspecified => RemoteError::Internal(message),
    }
}
