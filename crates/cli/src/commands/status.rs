//! `lfsfs status`: what a mount shows, and how it is.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use lfsfs_mount::{
    AnswerSink, ControlError, ControlProgress, ControlRequest, Counted, FollowStatus, IgnoredItem,
    MountStatus, PublishingStatus, VersionInfo, call_with, find_mount,
};

use super::diff::write_changes;
use crate::error::CommandError;
use crate::mounted::{locate, places, served, source};
use crate::output::{Line, Output, counted, quoted};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lfsfs status /mnt/app\n  \
    lfsfs status --ignored                new paths that no commit takes\n  \
    lfsfs status -s                       the changes of the mount of this directory")]
pub(crate) struct StatusArgs {
    /// A path in the mount
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Show the uncommitted changes alone, a line each, as lfsfs diff does
    #[arg(short, long, conflicts_with = "json")]
    short: bool,
    /// Show the new paths that no commit takes, a line each that begins with !; with --short behind the changes
    #[arg(long, conflicts_with = "json")]
    ignored: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatusArgs) -> Result<(), CommandError> {
    if args.short {
        write_changes(&args.path)?;
    }
    if args.ignored {
        return write_ignored(&args.path);
    }
    if args.short {
        return Ok(());
    }
    let mount = find_mount(&args.path, &places()?)?;
    let status = served(&mount)?;
    let mut out = Output::new();
    if args.json {
        out.json(status)?;
        return out.finish();
    }
    for (what, text) in lines(status) {
        out.line(format!("{what:<9}  {text}"))?;
    }
    out.finish()
}

/// Writes the paths that no commit takes, as git does: a directory has a slash at its end.
fn write_ignored(path: &Path) -> Result<(), CommandError> {
    let mount = locate(path)?.mount;
    served(&mount)?;
    let mut found = IgnoredPaths(Vec::new());
    let _: Counted = call_with(&mount, &ControlRequest::Ignored, &mut found)?;
    let mut out = Output::new();
    for mut item in found.0 {
        if item.is_directory {
            item.path.push(b'/');
        }
        out.line(Line::new().text("! ").text(quoted(&item.path)))?;
    }
    out.finish()
}

/// What was told of the ignored paths.
struct IgnoredPaths(Vec<IgnoredItem>);

impl AnswerSink for IgnoredPaths {
    type Item = IgnoredItem;

    fn progress(&mut self, _progress: ControlProgress) {}

    fn item(&mut self, item: IgnoredItem) -> io::Result<()> {
        self.0.push(item);
        Ok(())
    }
}

/// Returns the version that a mount shows, with the directory of it that is its root.
fn shown(version: &VersionInfo) -> String {
    match version.path.as_str() {
        "" => source(version),
        path => format!("{}:{path}", source(version)),
    }
}

fn lines(status: &MountStatus) -> Vec<(&'static str, String)> {
    let version = &status.version;
    let mut lines = vec![
        ("directory", status.dir.clone()),
        ("source", status.source.clone()),
        ("version", shown(version)),
        ("project", version.project_id.clone()),
        ("mode", status.mode.clone()),
        ("served by", served_by(status)),
    ];
    if let Some(overlay) = &status.overlay {
        lines.push(("changes", status.changes.to_string()));
        if status.ignored > 0 {
            lines.push(("ignored", status.ignored.to_string()));
        }
        lines.push(("overlay", overlay.display().to_string()));
    }
    if status.has_unfinished_commit {
        let text = "begun, its outcome is not known: commit again to finish it";
        lines.push(("commit", text.to_owned()));
    }
    lines.extend(status.follow.as_ref().map(follow_line));
    lines.extend(publishing_lines(status));
    let log = status.log.as_ref();
    let log = log.map_or_else(|| "stderr".to_owned(), |log| log.display().to_string());
    let server = match status.server_away_seconds {
        None => version.server.clone(),
        Some(seconds) => format!(
            "{}, which has not answered for {seconds} s; if it has a new address: \
             lfsfs switch --server ADDRESS {}",
            version.server, status.dir
        ),
    };
    lines.extend([
        ("server", server),
        ("cache", status.cache.display().to_string()),
        ("log", log),
        ("pid", status.pid.to_string()),
    ]);
    lines
}

/// Returns what serves it, and why not the kernel.
fn served_by(status: &MountStatus) -> String {
    let why = status.why_fuse.iter().map(|why| format!(": {why}"));
    let why: String = why.collect();
    format!("{}{why}", status.served_by)
}

fn follow_line(follow: &FollowStatus) -> (&'static str, String) {
    let text = match &follow.failure {
        None => follow.source.clone(),
        Some(error) => {
            let hint = error.hint.iter().map(|hint| format!("; {hint}"));
            let hint: String = hint.collect();
            format!("{}, not yet: {}{hint}", follow.source, error.message)
        }
    };
    ("follows", text)
}

/// Returns what is said of a version that is published later.
fn publishing_lines(status: &MountStatus) -> Vec<(&'static str, String)> {
    let Some(publishing) = &status.publishing else {
        return Vec::new();
    };
    let PublishingStatus {
        seconds,
        tries,
        reason,
        refused,
        ..
    } = publishing;
    let Some(error) = refused else {
        let mut text = format!("a version is on its way, asked for {seconds} s ago");
        if let Some(reason) = reason {
            text += &format!(
                "; {} failed, the last: {reason}",
                counted(u64::from(*tries), "attempt")
            );
        }
        return vec![("publish", text)];
    };
    let hint = refused_hint(Path::new(&status.dir));
    let text = format!("{}; {hint}", refused_text(error));
    let paths = error.paths.iter();
    let paths = paths.map(|path| ("conflict", quoted(path).to_string()));
    [("publish", text)].into_iter().chain(paths).collect()
}

/// Says that a version was refused.
pub(crate) fn refused_text(error: &ControlError) -> String {
    format!(
        "the version that was to be published later was refused: {}",
        error.message
    )
}

/// Says what to do about a version that was refused.
pub(crate) fn refused_hint(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "nothing was lost, its changes are uncommitted again; commit them with lfsfs commit {dir}, put them on top with \
         --force, or drop them with lfsfs discard"
    )
}

#[cfg(test)]
mod tests {
    use lfsfs_mount::mountinfo::Device;

    use super::*;

    fn status() -> MountStatus {
        MountStatus {
            source: "app".to_owned(),
            dir: "/mnt/app".to_owned(),
            device: Device { major: 0, minor: 9 },
            pid: 7,
            mode: "rw".to_owned(),
            served_by: "fuse".to_owned(),
            why_fuse: None,
            version: VersionInfo {
                project: "app".to_owned(),
                version: 3,
                ..VersionInfo::default()
            },
            changes: 2,
            ignored: 0,
            has_unfinished_commit: false,
            publishing: None,
            follow: None,
            server_away_seconds: None,
            overlay: Some("/var/lib/lfsfs/overlays/x".into()),
            cache: "/var/cache/lfsfs".into(),
            log: None,
        }
    }

    fn line(status: &MountStatus, what: &str) -> Option<String> {
        let found = lines(status).into_iter().find(|(name, _)| *name == what);
        found.map(|(_, text)| text)
    }

    #[test]
    fn only_what_is_there_is_shown() {
        let writable = status();
        assert_eq!(line(&writable, "version").as_deref(), Some("app@v3"));
        assert_eq!(line(&writable, "changes").as_deref(), Some("2"));
        assert_eq!(line(&writable, "commit"), None);
        assert_eq!(line(&writable, "served by").as_deref(), Some("fuse"));
        let mut of_directory = status();
        of_directory.version.path = "a/b".to_owned();
        assert_eq!(
            line(&of_directory, "version").as_deref(),
            Some("app@v3:a/b")
        );
        let away = MountStatus {
            server_away_seconds: Some(40),
            ..status()
        };
        let text = line(&away, "server").expect("a line");
        assert!(
            text.contains("40 s; ") && text.ends_with("lfsfs switch --server ADDRESS /mnt/app")
        );
        let read_only = MountStatus {
            overlay: None,
            has_unfinished_commit: true,
            ..status()
        };
        assert_eq!(line(&read_only, "changes"), None);
        assert!(line(&read_only, "commit").is_some());
    }
}
