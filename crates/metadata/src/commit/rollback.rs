//! Rolling back: the tree of an older version becomes the newest version.
//!
//! What differs is found from change rows. Directories and links that the newest version does not
//! have get their ids back.

use lfsfs_types::{Origin, ProjectId, VersionId, VersionNumber};

use super::{Change, CommitParams, CommitSession, Mode, Published};
use crate::changed::for_each_changed;
use crate::error::Result;
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::view::View;

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
        let _reading = self.reading();
        let older = self.view(params.project, params.to)?;
        let commit = |base| CommitParams {
            project: params.project,
            base,
            version: params.version,
            origin: Origin::Rollback(params.to),
            author: params.author.clone(),
            message: params.message.clone(),
            force: false,
            ignore_times: false,
        };
        let mode = Mode::Rollback(params.to);
        self.publish_on_newest(params.project, mode, commit, |session, newest| {
            stage_differences(session, older, newest)
        })
    }
}

fn stage_differences(session: &mut CommitSession, older: View<'_>, newest: View<'_>) -> Result<()> {
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
    session.stage(changes)
}
