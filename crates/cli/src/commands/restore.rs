//! `lfsfs restore`: a path of a mount is what it was in another version.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use lfsfs_mount::{
    AnswerSink, ChangeItem, ControlProgress, ControlRequest, Counted, Mount, MountStatus, call_with,
};
use lfsfs_remote::{RemoteRead, Snapshot};
use lfsfs_sync::Export;
use lfsfs_types::{ObjectPath, Source};
use serde::Serialize;

use super::export::{JsonLeftOut, all_or, json_left_out, tell_what_was_skipped, watched};
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::mounted::{MountedPath, locate, served_writable};
use crate::output::{Output, counted, quoted};
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "PATH, a file or a directory, becomes what it was in that version; what the \
    version does not have below PATH is removed. The result is an uncommitted change: see it with \
    diff, then commit or discard it. Where uncommitted changes at PATH would be lost, restore asks \
    before; without a terminal it needs --yes.\n\n\
    Examples:\n  \
    lfsfs restore src/main.js --from v41\n  \
    lfsfs restore /mnt/app/config --from stable"
)]
pub(crate) struct RestoreArgs {
    /// Path in a writable mount; it may have been removed
    path: PathBuf,
    /// Version of the same project: vN, latest, a tag, or PROJECT@ and one of them
    #[arg(long, value_name = "VERSION")]
    from: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonRestore {
    project: String,
    version: u64,
    written: u64,
    removed: u64,
    left_out: u64,
    first_left_out: Vec<JsonLeftOut>,
}

pub(crate) async fn run(server: ServerArgs, args: RestoreArgs) -> Result<(), CommandError> {
    let MountedPath { mount, path } = locate(&args.path)?;
    let status = served_writable(&mount)?;
    if mount.entry.root != Path::new("/") {
        let dir = mount.entry.dir.display();
        return Err(
            CommandError::usage(format!("{dir} shows only a part of a mount"))
                .hint(format!("restore in the mount itself: {}", status.dir)),
        );
    }
    let remote = server.client_at(&status.version.server)?.remote;
    let snapshot = resolve(&*remote, status, &args.from).await?;
    let lost = changes_below(&mount, &path)?;
    if lost > 0 {
        let shown = quoted(args.path.as_os_str().as_bytes());
        let lost = counted(lost, "uncommitted change");
        let question = format!("restore {shown}? Its {lost} would be lost.");
        user::confirm(&question, args.yes)?;
    }
    let (project, version) = (snapshot.project.name.to_string(), snapshot.version.number);
    let export = Export::new(remote, snapshot);
    let progress = export.progress();
    let work = export.restore(&mount.entry.dir, &path);
    let figures = watched(Arc::clone(&progress), None, work).await??;
    tell_what_was_skipped(&figures);
    let (whole, first) = (format!("{project}@{version}"), progress.first_left_out());
    let mut out = Output::new();
    if args.json {
        out.json(&JsonRestore {
            project,
            version: version.0,
            written: figures.written,
            removed: figures.removed,
            left_out: figures.left_out,
            first_left_out: json_left_out(&first),
        })?;
    } else {
        let (written, removed) = (figures.written, figures.removed);
        out.line(format!(
            "{written} written, {removed} removed, as in {whole}"
        ))?;
    }
    out.finish()?;
    all_or(figures.left_out, &first, |count| {
        format!("{count} of {whole} could not be written and stayed as before")
    })
}

/// Finds the version, which must be one of the mounted project.
async fn resolve(
    remote: &dyn RemoteRead,
    status: &MountStatus,
    from: &str,
) -> Result<Snapshot, CommandError> {
    let snapshot = remote.resolve_source(&source(status, from)?).await?;
    if snapshot.project.id.to_string() == status.version.project_id {
        return Ok(snapshot);
    }
    let (other, mounted) = (&snapshot.project.name, &status.version.project);
    Err(CommandError::usage(format!(
        "{other} is not the project that is mounted, which is {mounted}"
    )))
}

fn source(status: &MountStatus, from: &str) -> Result<Source, CommandError> {
    let whole = if from.contains('@') {
        from.to_owned()
    } else {
        format!("{}@{from}", status.version.project)
    };
    Ok(whole.parse()?)
}

/// Counts what is not committed at a path and below it.
fn changes_below(mount: &Mount, path: &ObjectPath) -> Result<u64, CommandError> {
    let mut below = Below { path, count: 0 };
    let _: Counted = call_with(mount, &ControlRequest::Changes, &mut below)?;
    Ok(below.count)
}

struct Below<'a> {
    path: &'a ObjectPath,
    count: u64,
}

impl AnswerSink for Below<'_> {
    type Item = ChangeItem;

    fn progress(&mut self, _progress: ControlProgress) {}

    fn item(&mut self, item: ChangeItem) -> std::io::Result<()> {
        let top = Path::new(OsStr::from_bytes(self.path.as_bytes()));
        let is_below = Path::new(OsStr::from_bytes(&item.path)).starts_with(top);
        // What was removed is brought back, and nothing is lost by that.
        let is_gone = item.kind == lfsfs_mount::ChangeKind::Removed;
        self.count += u64::from(is_below && !is_gone);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_mount::ChangeKind;

    use super::*;

    #[test]
    fn only_what_would_be_lost_is_counted() {
        let path = ObjectPath::new(b"a/b").expect("a path");
        let mut below = Below {
            path: &path,
            count: 0,
        };
        let mut add = |kind, path: &[u8]| {
            let item = ChangeItem {
                kind,
                path: path.to_vec(),
                old: None,
            };
            below.item(item).expect("an item");
        };
        add(ChangeKind::Modified, b"a/b");
        add(ChangeKind::Added, b"a/b/c");
        add(ChangeKind::Removed, b"a/b/d");
        add(ChangeKind::Modified, b"a/bc");
        add(ChangeKind::Times, b"a");
        assert_eq!(below.count, 2);
    }
}
