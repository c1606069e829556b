//! The verbs that work on the changes of a mount: told, discarded, committed, and the switch to
//! another version.
//!
//! Those that change what the mount shows run one at a time. The kernel is told by the core, from
//! threads that serve no request.

use std::sync::Arc;

use lfsfs_client::RemoteError;
use lfsfs_types::{ObjectPath, Source, VersionRef};
use lfsfs_vfs::{KernelCache, LocalChange, LocalLine, VfsError};
use tokio::sync::MutexGuard;

use super::messages::{Answer, ChangeItem, ChangeKind, ControlError, ControlErrorKind, Counted};
use super::socket::Answers;
use super::verbs::Control;
use crate::error::full_text;
use crate::options::Access;

impl Control {
    /// Tells what differs from the version below, in the order of the paths.
    pub(super) async fn tell_changes(
        &self,
        answers: &mut Answers,
    ) -> Result<Counted, ControlError> {
        let changes = answers.telling(Default::default, self.vfs.changes()).await;
        let changes = changes.map_err(of_vfs)?;
        for change in &changes {
            let item = serde_json::to_value(item(change)).map_err(unsent)?;
            answers
                .send_part(&Answer::Item(item))
                .await
                .map_err(unsent)?;
        }
        let count = changes.len() as u64;
        Ok(Counted { count })
    }

    /// Takes the right to change what the mount shows.
    pub(super) fn begin_change(&self) -> Result<MutexGuard<'_, ()>, ControlError> {
        self.changing.try_lock().map_err(|_| {
            ControlError::new(
                ControlErrorKind::Busy,
                "another commit, switch or discard of this mount is under way",
            )
            .hint("wait for its end and try again")
        })
    }

    fn expect_writable(&self) -> Result<(), ControlError> {
        match self.fixed.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(ControlError::failed(
                "the mount is read-only: there are no changes",
            )
            .hint("mount it again without -o ro to change it")),
        }
    }
}

fn item(change: &LocalChange) -> ChangeItem {
    let bytes = |path: &ObjectPath| path.as_bytes().to_vec();
    ChangeItem {
        kind: match change.line {
            LocalLine::Added => ChangeKind::Added,
            LocalLine::Removed => ChangeKind::Removed,
            LocalLine::Modified => ChangeKind::Modified,
            LocalLine::Times => ChangeKind::Times,
            LocalLine::Renamed => ChangeKind::Renamed,
        },
        path: bytes(&change.path),
        old: change.old.as_ref().map(bytes),
    }
}

fn of_vfs(error: VfsError) -> ControlError {
    let text = full_text(&error);
    match error {
        VfsError::HasChanges { count } => {
            ControlError::failed(format!("there are {count} uncommitted changes"))
                .hint("make them a version with lfsfs commit, or drop them with lfsfs discard")
        }
        _ => ControlError::failed(text),
    }
}

fn unsent(error: impl std::error::Error) -> ControlError {
    ControlError::failed(format!("cannot send the answer: {error}"))
}
