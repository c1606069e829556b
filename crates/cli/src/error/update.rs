//! How an update fails.

use lfsfs_common::full_text;
use lfsfs_sync::{ImportError, RebuildError, Refusal, UpdateError};

use super::{CommandError, problems};

impl From<UpdateError> for CommandError {
    fn from(error: UpdateError) -> Self {
        let text = full_text(&error);
        match error {
            UpdateError::Outside { .. } => {
                Self::usage(text).hint("--subpath takes paths as the version has them, such as src/lib")
            }
            UpdateError::Subdirectory { .. } => Self::failed(text).hint(
                "what was changed here goes into a directory that has the whole version (lfsfs rebuild PROJECT DIR), \
                or into a writable mount of it; lfsfs fsdiff lists it",
            ),
            UpdateError::Rebuild(RebuildError::Refused {
                refusal: Refusal::Damaged(_) | Refusal::VersionGone(_) | Refusal::OtherProject,
                ..
            }) => Self::failed(text).hint(
                "ask the server that it came from, with --server; or rebuild another directory, put there what was \
                changed here, and update that one",
            ),
            UpdateError::Rebuild(error) => error.into(),
            UpdateError::Send(ImportError::Problems { first, count }) => {
                problems(&first, count, "sent").hint("make them readable, or send the rest with --skip-unreadable")
            }
            UpdateError::Send(ImportError::Machine { .. }) => Self::failed(text)
                .hint("nothing was published; see what fails there, and run it again"),
            UpdateError::Send(error) => error.into(),
            UpdateError::Merge { .. } => {
                Self::failed(text).hint("run it again: it begins with bringing the directory to that version")
            }
        }
    }
}
