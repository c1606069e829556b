//! What the verbs have in common that make a version with one call.

use clap::Args;
use lfsfs_client::{Made, NewVersion};
use lfsfs_common::random::random_bytes;
use lfsfs_types::{ProjectName, VersionId};
use serde::Serialize;

use crate::error::CommandError;
use crate::output::Output;
use crate::user;

/// What a version says of itself, and how it is printed.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Message of the version: why it is made
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub(crate) message: String,
    /// Author of the version (default: USER@HOST)
    #[arg(long)]
    author: Option<String>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl VersionArgs {
    /// Draws the random id of the version to be.
    pub(crate) fn new_version(&self) -> Result<NewVersion, CommandError> {
        Ok(NewVersion {
            id: VersionId(random_bytes()?),
            author: self.author(),
            message: self.message.clone(),
        })
    }

    /// Returns who makes it.
    pub(crate) fn author(&self) -> String {
        self.author.clone().unwrap_or_else(user::author)
    }
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonMade {
    project: String,
    version: u64,
    new: bool,
}

/// Prints which version is the newest now.
pub(crate) fn print_made(
    project: &ProjectName,
    made: Made,
    json: bool,
) -> Result<(), CommandError> {
    let mut out = Output::new();
    if json {
        out.json(&JsonMade {
            project: project.to_string(),
            version: made.version.0,
            new: made.is_new,
        })?;
    } else {
        out.line(format!("{project}@{}", made.version))?;
    }
    out.finish()
}
