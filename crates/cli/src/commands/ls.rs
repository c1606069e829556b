//! `lfsfs ls`: a directory of a version, without mounting it.

mod long;

use std::ffi::OsString;

use clap::{ArgAction, Args};
use lfsfs_remote::Snapshot;
use lfsfs_sync::{Coverage, Listings};
use lfsfs_types::{Kind, ObjectPath, Record};
use serde::Serialize;

use self::long::Long;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::lookup::{LastLink, find};
use crate::named::Named;
use crate::output::{self, JsonPath, Line, Output, Style, TimeStyle, quoted};

#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Lists what the version has; uncommitted changes of a mount are not in it. A \
    PATH may lead through symbolic links of the version.\n\n\
    Examples:\n  \
    lfsfs ls app                          the root of the newest version\n  \
    lfsfs ls app@v1:src                   a directory of an older one\n  \
    lfsfs ls app@v1 src -l                a directory of an older one, with modes, owners and times\n  \
    lfsfs ls /mnt/app/src -R              all below a directory of the version that a mount shows"
)]
pub(crate) struct LsArgs {
    /// Version (PROJECT, PROJECT@vN, PROJECT@TAG), with or without :PATH, or a path in a mount [default: .]
    #[arg(value_name = "SOURCE")]
    word: Option<OsString>,
    /// Path below that
    #[arg(default_value = "", hide_default_value = true)]
    path: OsString,
    /// Show mode, links, owner, group, size and time, too
    #[arg(short, long)]
    long: bool,
    /// Show sizes with a unit
    #[arg(short = 'h', long, requires = "long")]
    human: bool,
    /// Show owners as numbers
    #[arg(short, long, requires = "long")]
    numeric: bool,
    /// Show times in this style
    #[arg(
        long,
        value_name = "STYLE",
        value_enum,
        default_value_t,
        requires = "long"
    )]
    time: TimeStyle,
    /// List the directories below, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// End paths with NUL and do not quote them
    #[arg(short = 'z', long = "null")]
    nul: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
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
    let named = Named::find_place(&server, args.word.as_deref())?;
    let path = named.join(&args.path)?;
    let snapshot = named.snapshot().await?;
    // A link is what was asked for, unless something below it was.
    let (path, record) = find(&*named.client.remote, &snapshot, &path, LastLink::Keep).await?;
    let mut list = List::new(&args);
    if record.dir().is_some() {
        list.directory(&named, &snapshot, path, record).await?;
    } else {
        list.entries(&[(path, record)])?;
    }
    list.out.finish()
}

/// The output, and how it is to look.
struct List<'a> {
    args: &'a LsArgs,
    out: Output,
    long: Long,
}

impl<'a> List<'a> {
    fn new(args: &'a LsArgs) -> Self {
        Self {
            args,
            out: Output::new(),
            long: Long::new(args.human, args.numeric, args.time),
        }
    }

    /// Lists a directory, and those below it if that was asked for, in the order of the paths.
    async fn directory(
        &mut self,
        named: &Named,
        snapshot: &Snapshot,
        path: ObjectPath,
        record: Record,
    ) -> Result<(), CommandError> {
        let coverage = match self.args.recursive {
            true => Coverage::All,
            false => Coverage::Some,
        };
        let listings = Listings::new(&*named.client.remote, snapshot, coverage);
        // What is still to be listed, deepest and last first.
        let mut pending = vec![(path, record)];
        let mut is_top = true;
        while let Some((path, record)) = pending.pop() {
            if !is_top {
                self.entries(&[(path.clone(), record.clone())])?;
            }
            let Some(dir) = record.dir().filter(|_| is_top || self.args.recursive) else {
                continue;
            };
            let listing = listings.list(dir).await?;
            let entries = listing.entries.into_iter();
            let entries = entries.map(|(name, record)| Ok((path.join(&name)?, record)));
            let entries = entries.collect::<Result<Vec<_>, CommandError>>()?;
            self.long.fit(entries.iter().map(|(_, record)| record));
            pending.extend(entries.into_iter().rev());
            is_top = false;
        }
        Ok(())
    }

    fn entries(&mut self, entries: &[(ObjectPath, Record)]) -> Result<(), CommandError> {
        self.long.fit(entries.iter().map(|(_, record)| record));
        for (path, record) in entries {
            self.entry(path, record)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &ObjectPath, record: &Record) -> Result<(), CommandError> {
        if self.args.json {
            return self.out.json(&json(path, record));
        }
        let before = if self.args.long {
            self.long.columns(record)
        } else {
            String::new()
        };
        if self.args.nul {
            return self.out.nul(&before, path.as_bytes());
        }
        let line = Line::new().text(before);
        let line = line.styled(color(&record.kind), quoted(path.as_bytes()));
        self.out.line(match &record.kind {
            Kind::Symlink { target } if self.args.long => {
                line.text(format!(" -> {}", quoted(target)))
            }
            _ => line,
        })
    }
}

const fn color(kind: &Kind) -> Style {
    match kind {
        Kind::Directory { .. } => Style::Directory,
        Kind::Symlink { .. } => Style::Symlink,
        _ => Style::Plain,
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
        Kind::File { .. } => "file",
        Kind::Directory { .. } => "directory",
        Kind::Symlink { .. } => "symlink",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
        Kind::BlockDevice { .. } => "block device",
        Kind::CharDevice { .. } => "character device",
    }
}
