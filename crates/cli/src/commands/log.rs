//! `lfsfs log`: the versions of a project, or those that changed a path of it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use clap::Args;
use lfsfs_types::{ObjectPath, Origin, VersionRecord};
use serde::Serialize;

use super::project::name;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{self, Output};

#[derive(Debug, Args)]
#[command(
    after_help = "With PATH: the versions that made, removed or changed what is there or below \
    it.\n\n\
    Examples:\n  \
    lfsfs log app -n 10\n  \
    lfsfs log app src/main.js"
)]
pub(crate) struct LogArgs {
    /// Name of the project
    project: String,
    /// Path in the project, from its root
    #[arg(default_value = "", hide_default_value = true)]
    path: OsString,
    /// Show at most this many versions
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value_t = 0,
        hide_default_value = true
    )]
    limit: u32,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A version in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct JsonVersion {
    version: u64,
    id: String,
    parent: u64,
    base: u64,
    origin: String,
    time: String,
    author: String,
    message: String,
    objects: u64,
    bytes: u64,
    added: u64,
    removed: u64,
    modified: u64,
}

impl JsonVersion {
    pub(crate) fn new(version: &VersionRecord) -> Self {
        Self {
            version: version.number.0,
            id: version.id.to_string(),
            parent: version.parent.0,
            base: version.base.0,
            origin: origin(version.origin),
            time: output::time(version.time),
            author: version.author.clone(),
            message: version.message.clone(),
            objects: version.counts.objects,
            bytes: version.counts.bytes,
            added: version.counts.added,
            removed: version.counts.removed,
            modified: version.counts.modified,
        }
    }
}

fn origin(origin: Origin) -> String {
    match origin {
        Origin::Import => "import".to_owned(),
        Origin::Commit => "commit".to_owned(),
        Origin::Put => "put".to_owned(),
        Origin::Rollback(version) => format!("rollback of {version}"),
        Origin::Clone(project, version) => format!("clone of {project}@{version}"),
    }
}

pub(crate) async fn run(server: ServerArgs, args: LogArgs) -> Result<(), CommandError> {
    let path = ObjectPath::new(args.path.as_bytes())?;
    let versions = server
        .remote()?
        .log_of_path(&name(&args.project)?, &path, args.limit)
        .await?;
    let mut out = Output::new();
    for version in &versions {
        if args.json {
            out.json(&JsonVersion::new(version))?;
        } else {
            write_version(&mut out, version)?;
        }
    }
    out.finish()
}

fn write_version(out: &mut Output, version: &VersionRecord) -> Result<(), CommandError> {
    let counts = version.counts;
    let time = output::time(version.time);
    let first_line = version.message.lines().next().unwrap_or_default();
    let line = format!(
        "{:<6} {time}  {}  {}  +{} -{} ~{}  {first_line}",
        version.number.to_string(),
        version.author,
        origin(version.origin),
        counts.added,
        counts.removed,
        counts.modified,
    );
    out.line(line.trim_end())
}
