//! Translates typed errors into the faults that clients get. It is the only such translation.

use lfsfs_chunk_store::ChunkStoreError;
use lfsfs_common::full_text;
use lfsfs_meta_store::{BackupError, MetaError};
use lfsfs_metadata::{MetadataError, RestoreError};
use lfsfs_proto::convert::ProtocolError;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_reader::ReadError;
use lfsfs_remote::RemoteError;
use lfsfs_transfer::TransferError;
use lfsfs_types::ObjectPath;

use crate::blocking::IntoFault;

/// Most bytes of paths in a fault: a status travels as a header, and transports refuse long ones.
const PATHS_LEN_MAX: usize = 4096;

impl IntoFault for Fault {
    fn into_fault(self) -> Fault {
        self
    }
}

impl IntoFault for ProtocolError {
    fn into_fault(self) -> Fault {
        Fault::new(FaultKind::Invalid, self.to_string())
    }
}

impl IntoFault for MetadataError {
    fn into_fault(self) -> Fault {
        let paths = if let Self::Conflicts { paths, .. } = &self {
            first_paths(paths)
        } else {
            Vec::new()
        };
        let mut fault = Fault::new(kind_of_metadata(&self), full_text(&self));
        fault.paths = paths;
        logged(fault)
    }
}

impl IntoFault for RestoreError {
    fn into_fault(self) -> Fault {
        let kind = match &self {
            Self::Backup(BackupError::Store(MetaError::NoSnapshot { .. })) => {
                FaultKind::Unimplemented
            }
            Self::Backup(BackupError::Store(error)) => kind_of_store(error),
            Self::Backup(_) | Self::NoCluster | Self::OtherCluster { .. } => FaultKind::Internal,
            Self::Metadata(error) => kind_of_metadata(error),
        };
        logged(Fault::new(kind, full_text(&self)))
    }
}

impl IntoFault for ReadError {
    fn into_fault(self) -> Fault {
        let kind = match &self {
            Self::Timeout { .. } => FaultKind::Unavailable,
            Self::Remote { source, .. } => kind_of_remote(source),
        };
        logged(Fault::new(kind, full_text(&self)))
    }
}

impl IntoFault for ChunkStoreError {
    fn into_fault(self) -> Fault {
        logged(Fault::new(kind_of_chunk_store(&self), full_text(&self)))
    }
}

impl IntoFault for TransferError {
    fn into_fault(self) -> Fault {
        let kind = match self {
            Self::Checksum { .. } => FaultKind::HashMismatch,
            Self::Cut { .. } => FaultKind::Unavailable,
            Self::FrameTooLong { .. }
            | Self::EmptyFrame { .. }
            | Self::OutOfOrder { .. }
            | Self::TooLong { .. }
            | Self::WrongFinal { .. }
            | Self::WrongAck { .. } => FaultKind::Invalid,
        };
        Fault::new(kind, self.to_string())
    }
}

fn kind_of_metadata(error: &MetadataError) -> FaultKind {
    use MetadataError as E;
    match error {
        E::Store(error) => kind_of_store(error),
        E::ProjectExists { .. } | E::TagExists { .. } => FaultKind::AlreadyExists,
        E::UnknownProject { .. } | E::UnknownProjectId { .. } | E::UnknownDeleted { .. } => {
            FaultKind::ProjectNotFound
        }
        E::UnknownVersion { .. }
        | E::AbsentVersion { .. }
        | E::GoneVersion { .. }
        | E::ExpiredVersion { .. }
        | E::UnknownTag { .. } => FaultKind::VersionNotFound,
        E::UnknownDirectory { .. } => FaultKind::PathNotFound,
        E::Stale { .. } | E::Conflicts { .. } => FaultKind::Conflict,
        E::Busy { .. } | E::LeaseLost { .. } => FaultKind::Unavailable,
        E::MissingContents { .. } => FaultKind::ContentNotFound,
        E::InvalidSettings { .. }
        | E::WrongCursor { .. }
        | E::AmbiguousDeleted { .. }
        | E::InvalidVersionId { .. }
        | E::TextTooLong { .. }
        | E::TextForbidden { .. }
        | E::Refused { .. }
        | E::ObjectRefused { .. }
        | E::InvalidPieces { .. }
        | E::InvalidReceipt { .. }
        | E::InvalidOrigin { .. }
        | E::ChunkInUse { .. }
        | E::UnknownPieces { .. }
        | E::UnknownNode { .. }
        | E::InvalidAddress
        | E::InvalidZone
        | E::PathTooLong { .. } => FaultKind::Invalid,
        E::Random(_) | E::Layout { .. } => FaultKind::Internal,
    }
}

fn kind_of_store(error: &MetaError) -> FaultKind {
    match error {
        MetaError::Full { .. } => FaultKind::Full,
        MetaError::Corrupt { .. } | MetaError::CorruptStore { .. } => FaultKind::Corrupt,
        MetaError::Locked { .. } => FaultKind::Unavailable,
        MetaError::Io { .. } if error.is_retryable() => FaultKind::Unavailable,
        MetaError::Io { .. }
        | MetaError::Format { .. }
        | MetaError::TooLarge { .. }
        | MetaError::EmptyKey
        | MetaError::NoSnapshot { .. }
        | MetaError::Stopped { .. } => FaultKind::Internal,
    }
}

/// The remote is this coordinator's own: what its datanodes cannot give is not there.
fn kind_of_remote(error: &RemoteError) -> FaultKind {
    use RemoteError as E;
    match error {
        E::NoServer { .. }
        | E::NoDataNode { .. }
        | E::Deadline { .. }
        | E::Silent { .. }
        | E::Away { .. }
        | E::Unavailable { .. }
        | E::GaveUp { .. }
        | E::SessionLost(_) => FaultKind::Unavailable,
        E::NotFound(_) | E::ContentsMissing(_) => FaultKind::ContentNotFound,
        E::Full(_) => FaultKind::Full,
        E::Corrupt(_) => FaultKind::Corrupt,
        E::Incompatible(_)
        | E::AlreadyExists(_)
        | E::Invalid(_)
        | E::Conflict { .. }
        | E::Unimplemented(_)
        | E::Internal(_) => FaultKind::Internal,
    }
}

fn kind_of_chunk_store(error: &ChunkStoreError) -> FaultKind {
    use ChunkStoreError as E;
    match error {
        E::NotFound { .. } => FaultKind::ChunkNotFound,
        E::Length { .. } | E::WrongLength { .. } | E::Range { .. } => FaultKind::Invalid,
        E::Rejected { .. } => FaultKind::HashMismatch,
        E::Full { .. } => FaultKind::Full,
        E::Damaged { .. } => FaultKind::Corrupt,
        E::Io(_) if error.is_full() => FaultKind::Full,
        E::Io(_) if error.is_retryable() => FaultKind::Unavailable,
        E::Io(_) | E::Format { .. } | E::OldFormat { .. } => FaultKind::Internal,
    }
}

/// Returns as many of the paths as fit the details of a status; the message has their number.
fn first_paths(paths: &[ObjectPath]) -> Vec<Vec<u8>> {
    let mut len = 0;
    let fitting = paths.iter().take_while(|path| {
        len += path.as_bytes().len();
        len <= PATHS_LEN_MAX
    });
    fitting.map(|path| path.as_bytes().to_vec()).collect()
}

/// Logs errors that the operator must look at. A mistake of a client is not logged here: the
/// client's user sees it.
fn logged(fault: Fault) -> Fault {
    if matches!(fault.kind, FaultKind::Internal | FaultKind::Corrupt) {
        tracing::error!(kind = ?fault.kind, reason = fault.message, "a request failed");
    }
    fault
}

#[cfg(test)]
mod tests {
    use lfsfs_types::VersionNumber;

    use super::*;

    #[test]
    fn a_conflict_tells_as_many_paths_as_fit() {
        let path = |number: usize| ObjectPath::new(format!("path/{number:05}").as_bytes());
        let paths: Vec<_> = (0..1000).map(|number| path(number).unwrap()).collect();
        let conflict = |count: usize| MetadataError::Conflicts {
            base: VersionNumber(1),
            head: VersionNumber(2),
            paths: paths[..count].to_vec(),
            count: count as u64,
        };
        let few = conflict(2).into_fault();
        assert_eq!(few.kind, FaultKind::Conflict);
        assert_eq!(few.paths, [b"path/00000", b"path/00001"]);
        let many = conflict(1000).into_fault();
        assert_eq!(many.paths.len(), PATHS_LEN_MAX / 10);
        assert!(many.message.contains("1000"), "{}", many.message);
    }
}
