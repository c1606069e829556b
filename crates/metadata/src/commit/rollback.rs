//! Rolling back: the tree of an older version becomes the newest version.
//!
//! What differs is found from change rows. Directories and links that the newest version does not
//! have get their ids back.

use lfsfs_types::{Origin, ProjectId, VersionId, VersionNumber};

use super::{Begun, Change, CommitParams, Mode, Published};
use crate::changed::for_each_changed;
use crate::error::{MetadataError, Result};
use crate::exact::ExactVersion;
use crate::metadata::{Metadata, SCAN_PAGE};

/// What a rollback is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackParams {
    /// The project.
    pub project: ProjectId,
    /// The version whose tree the new one has.
    pub to: VersionNumber,
    /// The random id of the version to be; the same one again is answered with that version.
    pub version: VersionId,
    /// The author.
    pub author: String,
    /// The message: why it is made.
    pub message: String,
}

impl Metadata {
    /// Publishes a version that has the tree of an older one. It costs what differs.
    pub fn rollback(&self, params: &RollbackParams) -> Result<Published> {
        self.version(params.project, params.to)?;
        loop {
            match self.try_rollback(params) {
                // Another commit was published meanwhile.
                Err(MetadataError::Stale { .. }) => {}
                result => return result,
            }
        }
    }

    fn try_rollback(&self, params: &RollbackParams) -> Result<Published> {
        let head = self.head(params.project)?;
        let begun = self.begin_commit(CommitParams {
            project: params.project,
            base: ExactVersion {
                number: head.number,
                id: head.id,
            },
            version: params.version,
            origin: Origin::Rollback(params.to),
            author: params.author.clone(),
            message: params.message.clone(),
            force: false,
        })?;
        let mut session = match begun {
            Begun::AlreadyDone(record) => return Ok(Published::found(record)),
            Begun::Session(session) => session,
        };
        session.mode = Mode::Rollback(params.to);
        let older = self.view_unchecked(params.project, params.to);
        let newest = self.view_unchecked(params.project, head.number);
        let mut changes = Vec::new();
        for_each_changed(older, newest, |dir, name| {
            let state = older.state(dir, name.as_ref())?;
            // It may have come and gone since, with a directory that neither version has.
            if state == newest.state(dir, name.as_ref())? {
                return Ok(());
            }
            changes.push(Change { dir, name, state });
            if changes.len() >= SCAN_PAGE {
                session.stage(std::mem::take(&mut changes))?;
            }
            Ok(())
        })?;
        session.stage(changes)?;
        session.publish()
    }
}
