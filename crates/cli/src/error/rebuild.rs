//! How a rebuild fails.

use std::io::ErrorKind;

use lfsfs_common::full_text;
use lfsfs_sync::{RebuildError, Refusal};

use super::CommandError;

/// Says what to do about a directory that is left as it is.
const fn refusal_hint(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotEmpty => {
            "rebuild into a new directory; --from-scratch takes this one and removes everything that is not \
            in the version"
        }
        Refusal::Replaces(_) => "to remove everything that is not in the version, add --yes",
        Refusal::NotRebuilt => "make such a directory with: lfsfs rebuild SOURCE DIR",
        Refusal::Unfinished => "finish it with: lfsfs rebuild SOURCE DIR",
        Refusal::OtherProject => {
            "rebuild into another directory; --from-scratch takes this one and removes everything that is \
            not in the version"
        }
        Refusal::OtherSubdirectory { .. } => {
            "name the same path as before, or rebuild into another directory; --from-scratch takes this one and \
            removes everything that is not in what was named"
        }
        Refusal::OtherPart => {
            "give the same options as before; --from-scratch takes others, and removes what the version does \
            not have of that part"
        }
        Refusal::Damaged(_) | Refusal::VersionGone(_) => {
            "--from-scratch compares every file, and removes everything that is not in the version"
        }
    }
}

impl From<RebuildError> for CommandError {
    fn from(error: RebuildError) -> Self {
        let text = full_text(&error);
        match error {
            RebuildError::Pattern(_) => Self::usage(text),
            RebuildError::Refused { refusal, .. } => {
                Self::failed(text).hint(refusal_hint(&refusal))
            }
            RebuildError::Reserved => {
                Self::failed(text).hint("write it with export, or commit a version without it")
            }
            RebuildError::HardLinksOfRoot { .. } => Self::usage(text)
                .hint("use --link reflink, or run it as the user who reads the directory"),
            RebuildError::Place { ref source, .. } if source.kind() == ErrorKind::NotFound => {
                Self::failed(text).hint("make the directory above it first")
            }
            RebuildError::Busy { .. } | RebuildError::Place { .. } | RebuildError::Stopped(_) => {
                Self::failed(text)
            }
            RebuildError::Export(error) => error.into(),
            RebuildError::Subdirectory(error) => error.into(),
            RebuildError::Remote(error) => error.into(),
        }
    }
}
