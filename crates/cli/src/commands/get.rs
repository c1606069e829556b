//! `lfsfs get`: one file of a version, without mounting it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use lfsfs_client::Client;
use lfsfs_remote::{RemoteRead, Snapshot};
use lfsfs_sync::{Export, ExportError, ExportFigures, InTheWay};
use lfsfs_types::{Kind, ObjectPath, Record, VersionCounts};
use serde::Serialize;

use super::export::{tell_what_was_skipped, watched};
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::lookup::{LastLink, find};
use crate::output::{JsonPath, Output, quoted};
use crate::source_path::SourcePath;

#[derive(Debug, Args)]
#[command(
    after_help = "FILE gets the bytes (verified), the permissions, the time and the extended attributes; \
    and the owner if root runs it. It replaces a regular file and nothing else. The new file is made beside \
    it and moved there when it is whole and on the disk: if the command fails, FILE is as it was. \
    PATH may be, or lead through, a symbolic link of the version. Prints PROJECT@vN, unless FILE is -.\n\n\
    Examples:\n  \
    lfsfs get app:src/main.js ./main.js\n  \
    lfsfs get app@v42:one - | wc -c"
)]
pub(crate) struct GetArgs {
    /// Version (PROJECT, PROJECT@vN, PROJECT@latest, PROJECT@TAG), and the path of the file in it
    #[arg(value_name = "SOURCE:PATH")]
    from: OsString,
    /// File to write; - is standard output
    file: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonGet {
    project: String,
    version: u64,
    #[serde(flatten)]
    path: JsonPath,
    size: u64,
    skipped_xattrs: u64,
    skipped_owners: u64,
}

/// A file of a version.
struct Found {
    snapshot: Snapshot,
    path: ObjectPath,
    record: Record,
}

pub(crate) async fn run(server: ServerArgs, args: GetArgs) -> Result<(), CommandError> {
    let from = SourcePath::parse(&args.from)?;
    let to_stdout = args.file.as_os_str() == "-";
    check(&args, to_stdout)?;
    let client = server.client()?;
    let found = look_up(&client, &from).await?;
    let remote = client.remote.clone();
    let export = Export::new(remote, found.snapshot.clone());
    if to_stdout {
        return write_out(export, found).await;
    }
    let figures = write_file(export, &found, &args.file).await?;
    tell_what_was_skipped(&figures);
    let Snapshot {
        project, version, ..
    } = &found.snapshot;
    let mut out = Output::new();
    if args.json {
        out.json(&JsonGet {
            project: project.name.to_string(),
            version: version.number.0,
            path: JsonPath::new(found.path.as_bytes()),
            size: found.record.size(),
            skipped_xattrs: figures.skipped_xattrs,
            skipped_owners: figures.skipped_owners,
        })?;
    } else {
        out.line(format!("{}@{}", project.name, version.number))?;
    }
    out.finish()
}

/// Finds what makes no sense before a server is asked.
fn check(args: &GetArgs, to_stdout: bool) -> Result<(), CommandError> {
    if to_stdout && args.json {
        let text = "the bytes of the file go to standard output: --json has no use here";
        return Err(CommandError::usage(text));
    }
    let file = args.file.as_os_str().as_bytes();
    if file.is_empty() || file.ends_with(b"/") {
        let text = format!("{} is no path of a file", quoted(file));
        return Err(CommandError::usage(text).hint("add the name of the file"));
    }
    Ok(())
}

async fn look_up(client: &Client, from: &SourcePath) -> Result<Found, CommandError> {
    let source = &from.source;
    let snapshot = client.remote.resolve_source(source).await;
    let snapshot = snapshot.map_err(|error| {
        let is_absent = error.is_not_found();
        let error = CommandError::from(error);
        if is_absent {
            error.hint(
                "see what there is with: lfsfs project list, lfsfs log PROJECT, lfsfs tag PROJECT",
            )
        } else {
            error
        }
    })?;
    let remote: &dyn RemoteRead = &*client.remote;
    let (path, record) = find(remote, &snapshot, &from.path, LastLink::Follow).await?;
    let shown = quoted(path.as_bytes());
    match &record.kind {
        Kind::File { .. } => Ok(Found {
            snapshot,
            path,
            record,
        }),
        Kind::Directory { .. } => Err(CommandError::failed(format!("{shown} is a directory"))
            .hint(format!(
                "a whole version becomes a directory with: lfsfs export {source} DIR"
            ))),
        _ => Err(CommandError::failed(format!(
            "{shown} is not a regular file"
        ))),
    }
}

async fn write_out(export: Export, found: Found) -> Result<(), CommandError> {
    let mut out = Output::new();
    let take = |bytes: &[u8]| out.bytes(bytes);
    export.into_stream(&found.path, found.record, take).await?;
    out.finish()
}

async fn write_file(
    export: Export,
    found: &Found,
    file: &Path,
) -> Result<ExportFigures, CommandError> {
    let progress = export.progress();
    let expected = VersionCounts {
        objects: 1,
        bytes: found.record.size(),
        ..VersionCounts::default()
    };
    let work = export.into_file(&found.path, found.record.clone(), file);
    watched(progress, Some(expected), work).await?.map_err(told)
}

fn told(error: ExportError) -> CommandError {
    match &error {
        ExportError::InTheWay {
            found: InTheWay::Directory,
            path,
        } => {
            let path = path.display();
            let hint = format!("name the file in it: {path}/NAME");
            CommandError::from(error).hint(hint)
        }
        ExportError::InTheWay { .. } => CommandError::from(error)
            .hint("write to it through standard output: lfsfs get SOURCE:PATH - > FILE"),
        ExportError::Directory { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            CommandError::from(error).hint("make the directory first")
        }
        _ => error.into(),
    }
}
