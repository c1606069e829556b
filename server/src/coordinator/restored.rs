//! What a coordinator says about metadata that is that of a backup.

use lfsfs_metadata::{Metadata, MetadataError, RestoredFrom};
use lfsfs_proto::v1;
use lfsfs_types::Timestamp;

/// Returns whether the metadata is that of a backup. The first start after the restore logs it.
pub(super) fn told_once(metadata: &Metadata) -> Result<Option<RestoredFrom>, MetadataError> {
    let restored = metadata.restored_from()?;
    if let Some(from) = restored
        && from.is_new
    {
        tracing::warn!(
            backup = time_text(from.backup),
            restored = time_text(from.restored),
            "the metadata was restored from a backup: versions that were published after it are gone, and \
             chunks that only they need are kept"
        );
        metadata.note_restore_seen()?;
    }
    Ok(restored)
}

/// Returns a time for people, in UTC.
pub(crate) fn time_text(time: Timestamp) -> String {
    let found = jiff::Timestamp::from_second(time.secs);
    found.map_or_else(|_| format!("{} s", time.secs), |found| found.to_string())
}

/// Returns what the wire says of a restore.
pub(super) fn message(from: RestoredFrom) -> v1::Restored {
    v1::Restored {
        backup_time: Some(from.backup.into()),
        restored_time: Some(from.restored.into()),
    }
}
