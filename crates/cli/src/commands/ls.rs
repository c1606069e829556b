//! `lfsfs ls`: a directory of a version, without mounting it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

use clap::Args;
use lfsfs_client::{GrpcRemote, Remote as _, Snapshot};
use lfsfs_types::{Kind, ObjectPath, PackRoot, Record, Source};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{self, JsonPath, Output, PathStyle, quoted};

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Version: PROJECT, PROJECT@vN, PROJECT@latest or PROJECT@TAG
    source: String,
    /// Path in the version
    #[arg(default_value = "")]
    path: OsString,
    /// Show kind, mode, owner, size and time too
    #[arg(short, long)]
    long: bool,
    /// Go down into directories
    #[arg(short = 'R', long)]
    recursive: bool,
    /// End paths with NUL and do not quote them
    #[arg(short = 'z', long = "null")]
    nul: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// An object in JSON.
#[derive(Debug, Serialize)]
struct JsonObject {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    nlink: u32,
}

pub(crate) async fn run(server: ServerArgs, args: LsArgs) -> Result<(), CommandError> {
    let remote = server.remote()?;
    let source: Source = args.source.parse()?;
    let path = ObjectPath::new(args.path.as_bytes())?;
    let snapshot = remote.resolve_source(&source).await?;
    let record = if path.is_root() {
        snapshot.root.clone()
    } else {
        remote
            .lookup(snapshot.project.id, snapshot.version.number, &path)
            .await?
    };
    let mut out = Output::new();
    if record.dir().is_some() {
        list(&remote, &snapshot, path, &record, &args, &mut out).await?;
    } else {
        write(&mut out, &args, &path, &record)?;
    }
    out.finish()
}

async fn list(
    remote: &GrpcRemote,
    snapshot: &Snapshot,
    path: ObjectPath,
    record: &Record,
    args: &LsArgs,
    out: &mut Output,
) -> Result<(), CommandError> {
    let (project, version) = (snapshot.project.id, snapshot.version.number);
    // What is still to be listed, deepest and last first, so that paths come out in order.
    let mut pending = vec![(path, record.clone())];
    let mut is_top = true;
    while let Some((path, record)) = pending.pop() {
        if !is_top {
            write(out, args, &path, &record)?;
        }
        let Some(dir) = record.dir().filter(|_| is_top || args.recursive) else {
            continue;
        };
        let listing = remote.list_directory(project, version, dir).await?;
        for (name, record) in listing.entries.into_iter().rev() {
            pending.push((path.join(&name)?, record));
        }
        is_top = false;
    }
    Ok(())
}

fn write(
    out: &mut Output,
    args: &LsArgs,
    path: &ObjectPath,
    record: &Record,
) -> Result<(), CommandError> {
    if args.json {
        return out.json(&json(path, record));
    }
    let style = if args.nul {
        PathStyle::Nul
    } else {
        PathStyle::Lines
    };
    if !args.long {
        return out.path("", path.as_bytes(), style);
    }
    let before = format!(
        "{}{:04o} {:>6} {:>6} {:>12} {} ",
        letter(&record.kind),
        record.mode,
        record.uid,
        record.gid,
        record.size(),
        output::time(record.mtime),
    );
    match &record.kind {
        Kind::Symlink { target } if style == PathStyle::Lines => out.line(format!(
            "{before}{} -> {}",
            quoted(path.as_bytes()),
            quoted(target)
        )),
        _ => out.path(&before, path.as_bytes(), style),
    }
}

fn json(path: &ObjectPath, record: &Record) -> JsonObject {
    let (target, content) = match &record.kind {
        Kind::Symlink { target } => (Some(&**target), None),
        Kind::File { content, .. } => (None, Some(content.to_string())),
        _ => (None, None),
    };
    JsonObject {
        path: JsonPath::new(path.as_bytes()),
        kind: kind(&record.kind),
        mode: format!("{:04o}", record.mode),
        uid: record.uid,
        gid: record.gid,
        size: record.size(),
        mtime: output::time(record.mtime),
        target: target.map(|target| String::from_utf8_lossy(target).into_owned()),
        target_hex: target.and_then(output::hex_unless_text),
        content,
        nlink: record.link.map_or(1, |link| link.nlink),
    }
}

const fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::File { .. }
        | Kind::Pack {
            root: PackRoot::File,
            ..
        } => "file",
        Kind::Directory { .. }
        | Kind::Pack {
            root: PackRoot::Directory,
            ..
        } => "directory",
        Kind::Symlink { .. } => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::BlockDevice { .. } => "block device",
        Kind::CharDevice { .. } => "character device",
    }
}

const fn letter(kind: &Kind) -> char {
    match kind {
        Kind::File { .. }
        | Kind::Pack {
            root: PackRoot::File,
            ..
        } => '-',
        Kind::Directory { .. }
        | Kind::Pack {
            root: PackRoot::Directory,
            ..
        } => 'd',
        Kind::Symlink { .. } => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::BlockDevice { .. } => 'b',
        Kind::CharDevice { .. } => 'c',
    }
}
