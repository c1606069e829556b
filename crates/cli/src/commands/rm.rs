//! `lfsfs rm`: a version without one file.

use std::ffi::OsString;

use clap::Args;
use lfsfs_remote::RemoteRead;
use lfsfs_types::{ObjectPath, ProjectName, Source, VersionRef};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::lookup::{LastLink, find};
use crate::made::VersionArgs;
use crate::output::{JsonPath, Output, quoted};
use crate::source_path::SourcePath;

#[derive(Debug, Args)]
#[command(
    after_help = "Makes a version without the file. Earlier versions keep it. A symbolic link is removed \
    itself, and not what it leads to. Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs rm app:two -m \"not used\"\n  \
    lfsfs get app@v42:two ./two           an earlier version has it still"
)]
pub(crate) struct RmArgs {
    /// Project that gets the version, and the path of the file in it
    #[arg(value_name = "PROJECT:PATH")]
    file: OsString,
    #[command(flatten)]
    version: VersionArgs,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonRm {
    project: String,
    version: u64,
    #[serde(flatten)]
    path: JsonPath,
}

pub(crate) async fn run(server: ServerArgs, args: RmArgs) -> Result<(), CommandError> {
    let (project, path) = SourcePath::parse_next(&args.file)?;
    let client = server.client()?;
    let path = look_up(&*client.remote, &project, &path).await?;
    let version = args.version.new_version()?;
    let version = client.files.delete(&project, &path, &version).await?;
    let mut out = Output::new();
    if args.version.json {
        out.json(&JsonRm {
            project: project.to_string(),
            version: version.0,
            path: JsonPath::new(path.as_bytes()),
        })?;
    } else {
        out.line(format!("{project}@{version}"))?;
    }
    out.finish()
}

/// Returns the path of the file without links, once it is known that there is one.
async fn look_up(
    remote: &dyn RemoteRead,
    project: &ProjectName,
    path: &ObjectPath,
) -> Result<ObjectPath, CommandError> {
    let source = Source {
        project: project.clone(),
        version: VersionRef::Latest,
    };
    let snapshot = remote.resolve_source(&source).await.map_err(|error| {
        let is_absent = error.is_not_found();
        let error = CommandError::from(error);
        if is_absent {
            error.hint("see what there is with: lfsfs project list")
        } else {
            error
        }
    })?;
    let (path, record) = find(remote, &snapshot, path, LastLink::Keep).await?;
    if record.kind.is_directory() {
        let path = quoted(path.as_bytes());
        return Err(
            CommandError::failed(format!("{path} is a directory; rm removes one file")).hint(
                "remove a directory in a mount of the project, and commit that: lfsfs mount, lfsfs commit",
            ),
        );
    }
    Ok(path)
}
