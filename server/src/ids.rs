//! Random ids of sessions, slots and versions.

use lfsfs_common::random::random_bytes;
use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_types::SessionId;

/// Draws an id that was never drawn before.
pub(crate) fn random_id() -> Result<SessionId, Fault> {
    random_bytes().map(SessionId).map_err(|error| {
        tracing::error!(%error, "no random bytes");
        Fault::new(FaultKind::Internal, "the server has no random bytes")
    })
}
