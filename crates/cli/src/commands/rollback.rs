//! `lfsfs rollback`: an earlier version becomes the newest again.

use std::ffi::OsString;

use clap::Args;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::made::{VersionArgs, print_made};
use crate::named::{Named, NamedKind};

#[derive(Debug, Args)]
#[command(
    after_help = "Makes a version that has the tree of an earlier one. The versions between stay, and so \
    a rollback can be rolled back. If the newest version has that tree already, no version is made. \
    Costs what differs. Prints PROJECT@vN, the newest version.\n\n\
    Examples:\n  \
    lfsfs rollback app@v2 -m \"v3 does not start\"\n  \
    lfsfs rollback app@stable             to what a tag names"
)]
pub(crate) struct RollbackArgs {
    /// Version to go back to: PROJECT@vN, PROJECT@TAG, or what a mount shows
    #[arg(value_name = "SOURCE")]
    word: OsString,
    #[command(flatten)]
    version: VersionArgs,
}

pub(crate) async fn run(server: ServerArgs, args: RollbackArgs) -> Result<(), CommandError> {
    let named = Named::find(&server, Some(&args.word))?;
    if named.kind == NamedKind::Project {
        let project = &named.source.project;
        return Err(CommandError::usage("no version to go back to is named")
            .hint(format!("name one: lfsfs rollback {project}@vN")));
    }
    let to = named.snapshot().await?;
    let project = &to.project.name;
    let version = args.version.new_version()?;
    let history = &named.client.history;
    let made = history
        .roll_back(project, to.version.number, &version)
        .await?;
    print_made(project, made, args.version.json)
}
