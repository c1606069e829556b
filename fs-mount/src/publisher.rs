//! What is known of the version that a mount publishes later: its record on the disk, and how far it is.
//!
//! It decides nothing: the verbs change it, under the exclusive section of the mount.

use std::path::Path;

use lfsfs_common::PathError;
use lfsfs_common::full_text;
use lfsfs_types::VersionId;
use tokio::sync::{Notify, watch};
use tracing::{error, warn};

use crate::control::{ControlError, PublishingStatus};
use crate::publication::{Publication, PublicationFile};

/// Most paths of a conflict that are kept.
const PATHS_KEPT_MAX: usize = 1_000;

/// The version that is published later, if there is one.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// None where nothing can be committed.
    file: Option<PublicationFile>,
    standing: watch::Sender<Option<Standing>>,
    /// Wakes who waits for another attempt.
    pub(crate) hurry: Notify,
    /// Whether no attempt goes on now: the mount is about to end.
    rests: watch::Sender<bool>,
}

/// How far a publication is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) publication: Publication,
    /// Attempts that failed.
    pub(crate) tries: u32,
    /// Why the last of them failed.
    pub(crate) reason: Option<String>,
}

/// While it lives, no attempt goes on.
#[derive(Debug)]
pub(crate) struct Rest<'a>(&'a Publisher);

impl Standing {
    fn new(publication: Publication) -> Self {
        Self {
            publication,
            tries: 0,
            reason: None,
        }
    }

    /// Returns true if it may become a version yet.
    pub(crate) const fn is_pending(&self) -> bool {
        self.publication.refused.is_none()
    }
}

impl Publisher {
    /// Takes up what an earlier process of the mount left. `sealed` is the seal that the overlay has. Blocks.
    pub(crate) fn open(overlay: Option<&Path>, sealed: Option<VersionId>) -> Self {
        let file = overlay.map(PublicationFile::of);
        let left = file.as_ref().and_then(|file| left_behind(file, sealed));
        Self {
            file,
            standing: watch::Sender::new(left.map(Standing::new)),
            hurry: Notify::new(),
            rests: watch::Sender::new(false),
        }
    }

    /// Returns how far it is.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.standing.borrow().clone()
    }

    /// Returns what may become a version yet.
    pub(crate) fn pending(&self) -> Option<Standing> {
        self.standing().filter(Standing::is_pending)
    }

    /// Returns what a status says of it. `now` is in seconds since 1970.
    pub(crate) fn status(&self, now: u64) -> Option<PublishingStatus> {
        let Standing {
            publication,
            tries,
            reason,
        } = self.standing()?;
        Some(PublishingStatus {
            version_id: publication.version.to_string(),
            author: publication.author,
            message: publication.message,
            seconds: now.saturating_sub(publication.asked),
            tries,
            reason,
            refused: publication.refused,
        })
    }

    /// Waits until there is something to publish.
    pub(crate) async fn until_pending(&self) {
        self.until(|standing| standing.as_ref().is_some_and(Standing::is_pending))
            .await;
    }

    /// Waits until nothing is left to publish.
    pub(crate) async fn until_settled(&self) {
        self.until(|standing| !standing.as_ref().is_some_and(Standing::is_pending))
            .await;
    }

    async fn until(&self, is_so: impl FnMut(&Option<Standing>) -> bool) {
        // It fails only if the sender is gone, which is this one.
        let _ = self.standing.subscribe().wait_for(is_so).await;
    }

    /// Lets no attempt go on until the result is dropped.
    pub(crate) fn rest(&self) -> Rest<'_> {
        self.rests.send_replace(true);
        Rest(self)
    }

    /// Waits until attempts may go on, or may not.
    pub(crate) async fn until_resting(&self, is_resting: bool) {
        let _ = self
            .rests
            .subscribe()
            .wait_for(|rests| *rests == is_resting)
            .await;
    }

    /// Keeps the record of a version that is about to be promised; the one before is gone. Blocks.
    pub(crate) fn note(&self, publication: &Publication) -> Result<(), PathError> {
        self.file
            .as_ref()
            .map_or(Ok(()), |file| file.write(publication))
    }

    /// Takes back what was noted and not promised. Blocks.
    pub(crate) fn take_back(&self) {
        let kept = self.standing();
        let done = match (&self.file, kept) {
            (None, _) => Ok(()),
            (Some(file), Some(standing)) => file.write(&standing.publication),
            (Some(file), None) => file.remove(),
        };
        report(done);
    }

    /// Begins to publish what was noted and is sealed.
    pub(crate) fn promised(&self, publication: Publication) {
        self.standing.send_replace(Some(Standing::new(publication)));
    }

    /// Forgets what is a version now, or was refused and is not of interest any more. Blocks.
    pub(crate) fn forget(&self) {
        if self.standing.borrow().is_none() {
            return;
        }
        report(self.file.as_ref().map_or(Ok(()), PublicationFile::remove));
        self.standing.send_replace(None);
    }

    /// Keeps why there is no version. The seal must be there still. Blocks.
    pub(crate) fn refused(&self, why: &ControlError) {
        let Some(mut standing) = self.standing() else {
            return;
        };
        let mut why = why.clone();
        why.paths.truncate(PATHS_KEPT_MAX);
        standing.publication.refused = Some(why);
        report(self.note(&standing.publication));
        self.standing.send_replace(Some(standing));
    }

    /// Notes that an attempt failed that another one follows.
    pub(crate) fn failed(&self, reason: &str) {
        self.standing.send_modify(|standing| {
            if let Some(standing) = standing {
                standing.tries = standing.tries.saturating_add(1);
                standing.reason = Some(reason.to_owned());
            }
        });
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.rests.send_replace(false);
    }
}

/// Returns the publication that an earlier process left, if it means anything still.
fn left_behind(file: &PublicationFile, sealed: Option<VersionId>) -> Option<Publication> {
    let publication = file.read().unwrap_or_else(|error| {
        warn!(
            error = full_text(&error),
            "the version that was to be published is finished by the next commit"
        );
        None
    })?;
    if sealed == Some(publication.version) {
        // What was refused may have been noted before its changes were given back.
        let refused = None;
        return Some(Publication {
            refused,
            ..publication
        });
    }
    if publication.refused.is_some() {
        return Some(publication);
    }
    // It is a version, or never was promised.
    report(file.remove());
    None
}

fn report(done: Result<(), PathError>) {
    if let Err(error) = done {
        error!(
            error = full_text(&error),
            "the record of the version that is published later cannot be written"
        );
    }
}
