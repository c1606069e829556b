//! `lfsfs show`: one version, and what it changed.

use std::ffi::OsString;

use clap::Args;
use lfsfs_client::Client;
use lfsfs_remote::Snapshot;
use lfsfs_types::{Source, VersionRecord, VersionRef};

use super::diff::{DiffForm, Found, Patch};
use super::log::{JsonVersion, origin};
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::named::Named;
use crate::output::{Clock, Line, Output, Style, TimeStyle, counted};

#[derive(Debug, Args)]
#[command(
    after_help = "Shows the version and its message, and below them what it changed: the lines of \
    lfsfs diff against the version before it.\n\n\
    Examples:\n  \
    lfsfs show app                        the newest version\n  \
    lfsfs show app@v2 --stat              an older one, its changes counted\n  \
    lfsfs show app@v2 --patch             what it changed, line by line\n  \
    lfsfs show v2                         in a mount: a version of its project"
)]
pub(crate) struct ShowArgs {
    /// Version (PROJECT, PROJECT@vN, PROJECT@TAG), or a mount [default: that of this directory]
    #[arg(value_name = "SOURCE")]
    word: Option<OsString>,
    /// Show the time in this style
    #[arg(long, value_name = "STYLE", value_enum, default_value_t)]
    time: TimeStyle,
    #[command(flatten)]
    form: DiffForm,
}

pub(crate) async fn run(server: ServerArgs, args: ShowArgs) -> Result<(), CommandError> {
    let named = Named::find(&server, args.word.as_deref())?;
    let snapshot = named.snapshot().await?;
    let mut out = Output::new();
    print(&named.client, snapshot, &args.form, args.time, &mut out).await?;
    out.finish()
}

/// Shows a version, and what it changed.
pub(super) async fn print(
    client: &Client,
    snapshot: Snapshot,
    form: &DiffForm,
    time: TimeStyle,
    out: &mut Output,
) -> Result<(), CommandError> {
    let before = Source {
        project: snapshot.project.name.clone(),
        version: VersionRef::Number(snapshot.version.parent),
    };
    let before = client.remote.resolve_source(&before).await?;
    let mut found = Found::new(form);
    found.versions(client, &before, &snapshot, false).await?;
    if form.json {
        out.json(&JsonVersion::new(&snapshot.version))?;
    } else {
        let project = snapshot.project.name.as_str();
        lines(project, &snapshot.version, &Clock::new(time))
            .into_iter()
            .try_for_each(|line| out.line(line))?;
    }
    if form.patch {
        let patch = Patch::between(client.remote.clone(), before, snapshot)?;
        patch.write(found, out).await
    } else {
        found.write(form, out)
    }
}

fn lines(project: &str, version: &VersionRecord, clock: &Clock) -> Vec<Line> {
    let counts = version.counts;
    let name = format!("{project}@{}", version.number);
    let entries = counted(counts.objects, "entry").replace("entrys", "entries");
    let bytes = counted(counts.bytes, "byte");
    let mut lines = vec![
        Line::new().text("version  ").styled(Style::Version, name),
        format!("author   {}", version.author).into(),
        format!("time     {}", clock.show(version.time)).into(),
        format!("origin   {} on {}", origin(version.origin), version.base).into(),
        format!("holds    {entries}, {bytes}").into(),
        format!(
            "changed  +{} -{} ~{}",
            counts.added, counts.removed, counts.modified
        )
        .into(),
        "".into(),
    ];
    if !version.message.is_empty() {
        // Behind blanks no line of a message can be taken for one of this command.
        let message = version.message.split('\n');
        lines.extend(message.map(|line| Line::from(format!("    {line}").trim_end())));
        lines.push("".into());
    }
    lines
}
