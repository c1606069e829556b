//! `lfsfs log`: the versions of a project, or those that changed a path of it.

use std::ffi::OsString;

use clap::Args;
use lfsfs_types::{Origin, VersionRecord, VersionRef};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::named::Named;
use crate::output::{self, Clock, Line, Output, Style, TimeStyle};

#[derive(Debug, Args)]
#[command(
    after_help = "Columns: version, time, author, origin, entries added (+), removed (-) and \
    modified (~), first line of the message. Of a version: that one and those before it. Of a PATH: \
    the versions that made, removed or changed what is there or below it.\n\n\
    Examples:\n  \
    lfsfs log app -n 10                   the ten newest versions of a project\n  \
    lfsfs log app src/main.js             those that changed a file\n  \
    lfsfs log /mnt/app/src --oneline      those that changed a directory of a mount"
)]
pub(crate) struct LogArgs {
    /// Project, version, or a path in a mount [default: the mount of this directory]
    #[arg(value_name = "SOURCE")]
    word: Option<OsString>,
    /// Path below that
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
    /// Show the version and the first line of the message alone
    #[arg(long, conflicts_with = "json")]
    oneline: bool,
    /// Show times in this style
    #[arg(long, value_name = "STYLE", value_enum, default_value_t)]
    time: TimeStyle,
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

pub(crate) fn origin(origin: Origin) -> String {
    match origin {
        Origin::Import => "import".to_owned(),
        Origin::Commit => "commit".to_owned(),
        Origin::Put => "put".to_owned(),
        Origin::Rollback(version) => format!("rollback of {version}"),
        Origin::Clone(project, version) => format!("clone of {project}@{version}"),
    }
}

pub(crate) async fn run(server: ServerArgs, args: LogArgs) -> Result<(), CommandError> {
    let named = Named::find(&server, args.word.as_deref())?;
    let path = named.join(&args.path)?;
    let snapshot = named.snapshot().await?;
    let up_to = match named.source.version {
        VersionRef::Latest => None,
        _ => Some(snapshot.version.number),
    };
    let versions = named
        .client
        .admin
        .log_of_path(snapshot.project.id, &path, up_to, args.limit)
        .await?;
    let mut out = Output::new();
    if args.json {
        versions
            .iter()
            .try_for_each(|version| out.json(&JsonVersion::new(version)))?;
    } else {
        let rows: Vec<_> = versions.iter().map(|version| row(version, &args)).collect();
        let widths = widths(&rows);
        rows.iter()
            .try_for_each(|row| out.line(line(row, &widths)))?;
    }
    out.finish()
}

/// Returns the columns of a version.
fn row(version: &VersionRecord, args: &LogArgs) -> Vec<String> {
    let number = version.number.to_string();
    let first_line = version.message.lines().next().unwrap_or_default();
    if args.oneline {
        return vec![number, first_line.to_owned()];
    }
    let counts = version.counts;
    vec![
        number,
        Clock::new(args.time).show(version.time),
        version.author.clone(),
        origin(version.origin),
        format!("+{} -{} ~{}", counts.added, counts.removed, counts.modified),
        first_line.to_owned(),
    ]
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |row: &Vec<String>, column: usize| output::safe(&row[column]).chars().count();
    (0..columns)
        .map(|column| rows.iter().map(|row| width(row, column)).max().unwrap_or(0))
        .collect()
}

fn line(row: &[String], widths: &[usize]) -> Line {
    let (number, rest) = row
        .split_first()
        .map_or(("", row), |(a, b)| (a.as_str(), b));
    // Made safe here, so that what is escaped is counted as it is shown.
    let padded = |(field, width): (&String, &usize)| format!("  {:<width$}", output::safe(field));
    let text: String = rest.iter().zip(&widths[1..]).map(padded).collect();
    let number = format!("{number:<width$}", width = widths[0]);
    match text.trim_end() {
        "" => Line::new().styled(Style::Version, number.trim_end()),
        text => Line::new().styled(Style::Version, number).text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let row = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect();
        let rows: Vec<Vec<String>> = vec![
            row(&["v10", "me@host", "a\x1bb"]),
            row(&["v9", "alice@host", ""]),
        ];
        let widths = widths(&rows);
        assert_eq!(widths, [3, 10, 6]);
        let lines: Vec<_> = rows.iter().map(|row| line(row, &widths).plain()).collect();
        assert_eq!(lines, ["v10  me@host     a\\033b", "v9   alice@host"]);
    }
}
