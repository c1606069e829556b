//! `lfsfs put`: one file becomes a version.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use indicatif::{HumanBytes, ProgressBar};
use lfsfs_common::clock::{Clock as _, SystemClock};
use lfsfs_sync::{Phase, Progress, Put, PutError, PutOutcome, PutParams};
use lfsfs_types::{ProjectName, Timestamp};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::made::VersionArgs;
use crate::output::{JsonPath, Output, quoted};
use crate::progress;
use crate::source_path::SourcePath;

#[derive(Debug, Args)]
#[command(
    after_help = "The version has the file with its permissions and its time, and everything else as it \
    was; directories that are missing are made. A file of standard input has the time of the command, and \
    the permissions of the file that it replaces. A file that was put there just so makes no version. \
    Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs put ./app/one app:more/one -m \"one more\"\n  \
    tar -c ./app | lfsfs put - app:backup.tar"
)]
pub(crate) struct PutArgs {
    /// File to upload; - is standard input
    file: PathBuf,
    /// Project that gets the version, and the path of the file in it
    #[arg(value_name = "PROJECT:PATH")]
    to: OsString,
    #[command(flatten)]
    version: VersionArgs,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonPut {
    project: String,
    version: u64,
    #[serde(flatten)]
    path: JsonPath,
    size: u64,
    content: String,
    bytes_sent: u64,
    contents_sent: u64,
}

pub(crate) async fn run(server: ServerArgs, args: PutArgs) -> Result<(), CommandError> {
    let (project, path) = SourcePath::parse_next(&args.to)?;
    let params = PutParams {
        project: project.clone(),
        path: path.clone(),
        author: args.version.author(),
        message: args.version.message,
    };
    let put = Put::new(&server.client()?, params);
    let bar = watch(put.progress());
    let done = if args.file.as_os_str() == "-" {
        put.stream(io::stdin(), "standard input", now()).await
    } else {
        put.file(&args.file).await
    };
    bar.finish_and_clear();
    let outcome = done.map_err(|error| told(error, &project))?;
    let mut out = Output::new();
    if args.version.json {
        out.json(&json(&project, JsonPath::new(path.as_bytes()), &outcome))?;
    } else {
        out.line(format!("{project}@{}", outcome.version))?;
    }
    out.finish()
}

fn now() -> Timestamp {
    let now = SystemClock.wall_time();
    Timestamp {
        secs: now.seconds(),
        nanos: now.subsecond_nanoseconds(),
    }
}

fn told(error: PutError, project: &ProjectName) -> CommandError {
    match error {
        PutError::NoProject(error) => {
            CommandError::from(error).hint(format!("make it with: lfsfs project new {project}"))
        }
        PutError::LocalDirectory { .. } => CommandError::from(error).hint(format!(
            "a whole directory becomes a version with: lfsfs import DIR {project}"
        )),
        PutError::IsDirectory { ref path } => {
            let path = quoted(path.as_os_str().as_bytes());
            CommandError::from(error)
                .hint(format!("add the name of the file: {project}:{path}/NAME"))
        }
        PutError::NotDirectory { ref path } => {
            let path = quoted(path.as_os_str().as_bytes());
            CommandError::from(error)
                .hint(format!("see what it is with: lfsfs ls -l {project} {path}"))
        }
        error => error.into(),
    }
}

/// Draws the counters, on a terminal: as a bar where it is known how much there is to read.
fn watch(progress: Arc<Progress>) -> ProgressBar {
    let bar = progress::spinner();
    progress::watch(&bar, move |bar| {
        let figures = progress.figures();
        let read = match figures.expected {
            Some(expected) if expected.bytes > 0 => {
                // The file may have grown since.
                progress::become_bar(bar, expected.bytes.max(figures.bytes_read));
                bar.set_position(figures.bytes_read);
                String::new()
            }
            _ => format!("{} read, ", HumanBytes(figures.bytes_read)),
        };
        let what = match figures.phase {
            Phase::Cut | Phase::Read => "",
            Phase::Send => ", sending the rest",
            Phase::Publish | Phase::Show => ", publishing",
        };
        let sent = HumanBytes(figures.bytes_sent);
        bar.set_message(format!("{read}{sent} sent{what}"));
    });
    bar
}

fn json(project: &ProjectName, path: JsonPath, outcome: &PutOutcome) -> JsonPut {
    JsonPut {
        project: project.to_string(),
        version: outcome.version.0,
        path,
        size: outcome.size,
        content: outcome.content.to_string(),
        bytes_sent: outcome.figures.bytes_sent,
        contents_sent: outcome.figures.contents_sent,
    }
}
