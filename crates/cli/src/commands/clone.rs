//! `lfsfs clone`: a version of one project becomes the newest version of another.

use std::ffi::OsString;

use clap::Args;
use lfsfs_client::CloneOrder;
use lfsfs_types::ProjectName;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::made::{VersionArgs, print_made};
use crate::named::Named;

#[derive(Debug, Args)]
#[command(
    after_help = "Makes a version of PROJECT that has the tree of SOURCE. What PROJECT had stays in its earlier \
    versions. No bytes are copied: both projects use the same contents. If the newest version has that \
    tree already, no version is made. Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs clone app@v2 trial --create     a new project that begins with this version\n  \
    lfsfs clone app trial                 bring it to the newest version of app"
)]
pub(crate) struct CloneArgs {
    /// Version to clone: PROJECT (its newest), PROJECT@vN, PROJECT@TAG, or a mount
    #[arg(value_name = "SOURCE")]
    word: OsString,
    /// Project that gets the version
    #[arg(value_name = "PROJECT")]
    project: String,
    /// Make the project if it does not exist, with the settings of the source's
    #[arg(long)]
    create: bool,
    #[command(flatten)]
    version: VersionArgs,
}

pub(crate) async fn run(server: ServerArgs, args: CloneArgs) -> Result<(), CommandError> {
    let project = ProjectName::new(&args.project);
    let project = project.map_err(|error| CommandError::usage(error.to_string()))?;
    let named = Named::find(&server, Some(&args.word))?;
    let from = named.snapshot().await?;
    if from.project.name == project {
        return Err(
            CommandError::usage(format!("{project} is the project of the source")).hint(format!(
                "make an earlier version the newest with: lfsfs rollback {project}@vN"
            )),
        );
    }
    let order = CloneOrder {
        source: from.project.name,
        from: from.version.number,
        project,
        create: args.create,
    };
    let version = args.version.new_version()?;
    let made = named.client.history.clone_version(&order, &version).await;
    let made = made.map_err(|error| {
        let is_absent = error.is_not_found() && !order.create;
        let error = CommandError::from(error);
        match is_absent {
            true => error.hint("clone with --create, to make the project"),
            false => error,
        }
    })?;
    print_made(&order.project, made, args.version.json)
}
