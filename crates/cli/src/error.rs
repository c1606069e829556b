//! How a command fails: the message with a hint, the JSON object, and the exit code.

mod rebuild;
mod update;

use std::fmt;
use std::io;

use lfsfs_common::full_text;
use lfsfs_mount::{ControlError, ControlErrorKind, MountError};
use lfsfs_remote::{RemoteError, SubdirectoryError};
use lfsfs_sync::{ExportError, ImportError, Problem, PutError};
use lfsfs_types::{ObjectPath, PathError, SourceDirectoryError, SourceError};
use lfsfs_vfs::VfsError;
use rustix::io::Errno;
use serde::Serialize;

use crate::output::{JsonPath, quoted};
use crate::user;

/// What kind of failure it is; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command could not do what was asked.
    Failed,
    /// What was typed makes no sense.
    Usage,
    /// The changes of another user are in the way.
    Conflict,
    /// The reader of the output went away, which is no failure.
    BrokenPipe,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: Kind,
    message: String,
    /// Lines below the message.
    details: Vec<String>,
    hint: Option<String>,
    /// Belongs on stdout: the first paths of a conflict.
    pub(crate) paths: Vec<Vec<u8>>,
    /// How many paths the conflict has.
    paths_count: u64,
}

/// A failure in JSON.
#[derive(Debug, Serialize)]
pub(crate) struct JsonFailure<'a> {
    error: JsonError<'a>,
}

#[derive(Debug, Serialize)]
struct JsonError<'a> {
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    details: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<JsonPath>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_count: Option<u64>,
}

impl CommandError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Failed,
            message: message.into(),
            details: Vec::new(),
            hint: None,
            paths: Vec::new(),
            paths_count: 0,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage,
            ..Self::failed(message)
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the message alone.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Adds a line below the message.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Returns the failure of an action on several things: the only one as it is, or all told and
    /// counted.
    pub(crate) fn all(mut failures: Vec<Self>, what: &str) -> Result<(), Self> {
        if failures.len() <= 1 {
            return failures.pop().map_or(Ok(()), Err);
        }
        failures.iter().for_each(Self::tell);
        Err(Self::failed(format!("{} {what}", failures.len())))
    }

    pub(crate) const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::BrokenPipe => 0,
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Conflict => 3,
        }
    }
}

impl CommandError {
    /// Tells it on stderr. A line feed in a text from elsewhere makes no line.
    pub(crate) fn tell(&self) {
        self.lines().iter().for_each(|line| user::tell(line));
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("lfsfs: {}", self.message)];
        lines.extend(self.details.iter().map(|detail| format!("  {detail}")));
        lines.extend(self.hint.iter().map(|hint| format!("hint: {hint}")));
        lines
    }

    /// Returns what a command with `--json` writes when it fails.
    pub(crate) fn json(&self) -> JsonFailure<'_> {
        let is_conflict = self.kind == Kind::Conflict;
        let paths = || self.paths.iter().map(|path| JsonPath::new(path)).collect();
        JsonFailure {
            error: JsonError {
                kind: match self.kind {
                    Kind::Failed | Kind::BrokenPipe => "failed",
                    Kind::Usage => "usage",
                    Kind::Conflict => "conflict",
                },
                message: &self.message,
                details: &self.details,
                hint: self.hint.as_deref(),
                paths: is_conflict.then(paths),
                paths_count: is_conflict.then_some(self.paths_count),
            },
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                kind: Kind::BrokenPipe,
                ..Self::failed("")
            };
        }
        Self::failed(error.to_string())
    }
}

impl From<RemoteError> for CommandError {
    fn from(error: RemoteError) -> Self {
        let text = full_text(&error);
        match error {
            RemoteError::Conflict { paths, count, .. } => Self {
                kind: Kind::Conflict,
                paths,
                paths_count: count,
                ..Self::failed(text)
            },
            RemoteError::Invalid(_) => Self::usage(text),
            RemoteError::Full(_) => Self::failed(text).hint(
                "make room on the server's disk: lfsfs gc --dry-run says what could be removed",
            ),
            RemoteError::Corrupt(_) => Self::failed(text)
                .hint("on the server's machine, stop lfsfsd and run: lfsfsd check --data DIR"),
            RemoteError::SessionLost(_) | RemoteError::ContentsMissing(_) => {
                Self::failed(text).hint("run it again: what it stored is not sent a second time")
            }
            RemoteError::NoServer { .. }
            | RemoteError::NoDataNode { .. }
            | RemoteError::Deadline { .. }
            | RemoteError::Silent { .. }
            | RemoteError::Away { .. }
            | RemoteError::Unavailable { .. }
            | RemoteError::GaveUp { .. }
            | RemoteError::Incompatible(_)
            | RemoteError::NotFound(_)
            | RemoteError::AlreadyExists(_)
            | RemoteError::Unimplemented(_)
            | RemoteError::Internal(_) => Self::failed(text),
        }
    }
}

impl From<ImportError> for CommandError {
    fn from(error: ImportError) -> Self {
        let text = full_text(&error);
        match error {
            ImportError::Remote(error) => error.into(),
            ImportError::Problems { first, count } => problems(&first, count, "imported")
                .hint("make them readable, or import the rest with --skip-unreadable"),
            ImportError::Pattern(_) => Self::usage(text),
            ImportError::Machine { source, .. } => Self::failed(text).hint(machine_hint(&source)),
            ImportError::Directory { .. } | ImportError::Random(_) | ImportError::Stopped(_) => {
                Self::failed(text)
            }
        }
    }
}

/// Returns the failure of an import or an update of which `count` entries cannot be read, with the first of them.
fn problems(first: &[Problem], count: u64, done: &str) -> CommandError {
    let mut error = CommandError::failed(format!(
        "{count} entries cannot be {done}; nothing was published"
    ));
    for problem in first {
        error = error.detail(format!("{}: {}", quoted(&problem.path), problem.reason));
    }
    let unnamed = count.saturating_sub(first.len() as u64);
    if unnamed > 0 {
        error = error.detail(format!("and {unnamed} more"));
    }
    error
}

/// Says what to do about a failure of the machine.
fn machine_hint(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "let the program have more files open: ulimit -n",
        Some(Errno::NFILE) => "the machine has too many files open: sysctl fs.file-max",
        Some(Errno::NOMEM | Errno::NOBUFS) => "the machine has too little memory",
        _ => {
            "nothing was published; the disk or the file system fails there: repair it, or leave \
            the place out with --exclude"
        }
    }
}

impl From<ExportError> for CommandError {
    fn from(error: ExportError) -> Self {
        let text = full_text(&error);
        match error {
            ExportError::Remote(error) => error.into(),
            ExportError::NotEmpty {
                ref dir,
                is_unfinished: true,
            } => Self::failed(text).hint(format!(
                "what is in it is a part of a version, left by an export that was killed; remove {} \
                and export again",
                dir.display()
            )),
            ExportError::NotEmpty { .. } => {
                Self::failed(text).hint("export into a new directory, or into one in it")
            }
            ExportError::Directory { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Self::failed(text).hint("make the directory above it first")
            }
            // The text says all: the user can do nothing else about these.
            ExportError::Directory { .. }
            | ExportError::Entry { .. }
            | ExportError::InTheWay { .. }
            | ExportError::NotFile { .. }
            | ExportError::NotThere { .. }
            | ExportError::FirstName { .. }
            | ExportError::Path(_)
            | ExportError::Interrupted
            | ExportError::LeftBehind { .. }
            | ExportError::Stopped(_) => Self::failed(text),
        }
    }
}

impl From<PutError> for CommandError {
    fn from(error: PutError) -> Self {
        let text = full_text(&error);
        match error {
            PutError::Remote(error) | PutError::NoProject(error) => error.into(),
            PutError::NotRegular { .. } => Self::failed(text).hint(
                "put what comes out of it through standard input: lfsfs put - PROJECT:PATH < FILE",
            ),
            PutError::Changed { .. } => Self::failed(text)
                .hint("put it again when no program writes to it, or put a copy of it"),
            PutError::Open { .. }
            | PutError::LocalDirectory { .. }
            | PutError::Read { .. }
            | PutError::TooLarge { .. }
            | PutError::IsDirectory { .. }
            | PutError::NotDirectory { .. }
            | PutError::Random(_)
            | PutError::Stopped(_) => Self::failed(text),
        }
    }
}

impl From<MountError> for CommandError {
    fn from(error: MountError) -> Self {
        match error {
            MountError::Option(_)
            | MountError::Source(_)
            | MountError::WritableSubdirectory { .. }
            | MountError::FollowsNothing { .. } => Self::usage(error.full_text()),
            MountError::Unmount { .. } => Self::failed(error.full_text())
                .hint("if a program uses it, --lazy takes it from its directory all the same"),
            MountError::Control(error) => error.into(),
            MountError::Sink(error) => error.into(),
            error => Self::failed(error.full_text()),
        }
    }
}

impl From<ControlError> for CommandError {
    fn from(error: ControlError) -> Self {
        let kind = match error.kind {
            ControlErrorKind::Failed | ControlErrorKind::Busy => Kind::Failed,
            ControlErrorKind::Usage => Kind::Usage,
            ControlErrorKind::Conflict => Kind::Conflict,
        };
        let unnamed = error.paths_count.saturating_sub(error.paths.len() as u64);
        let message = match unnamed {
            0 => error.message,
            more => format!("{}; {more} paths more than are named", error.message),
        };
        Self {
            kind,
            hint: error.hint,
            paths: error.paths,
            paths_count: error.paths_count,
            ..Self::failed(message)
        }
    }
}

impl From<VfsError> for CommandError {
    fn from(error: VfsError) -> Self {
        Self::failed(full_text(&error))
    }
}

impl From<SourceError> for CommandError {
    fn from(error: SourceError) -> Self {
        Self::usage(full_text(&error))
    }
}

impl From<SourceDirectoryError> for CommandError {
    fn from(error: SourceDirectoryError) -> Self {
        let text = full_text(&error);
        match error {
            SourceDirectoryError::Source(error) => error.into(),
            SourceDirectoryError::NotText { .. }
            | SourceDirectoryError::NoPath { .. }
            | SourceDirectoryError::LeadingSlash { .. }
            | SourceDirectoryError::Name { .. }
            | SourceDirectoryError::Path { .. } => Self::usage(text)
                .hint("a directory of a version is written like this: app@v3:packages/web"),
        }
    }
}

impl From<SubdirectoryError> for CommandError {
    fn from(error: SubdirectoryError) -> Self {
        let text = error.to_string();
        match error {
            SubdirectoryError::Remote(error) => error.into(),
            SubdirectoryError::Missing { .. } | SubdirectoryError::NotDirectory { .. } => {
                Self::failed(text).hint("see what a version has with: lfsfs ls SOURCE [PATH]")
            }
        }
    }
}

impl From<PathError> for CommandError {
    fn from(error: PathError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        Self::from(io::Error::from(error))
    }
}

/// Returns the error for a path that is not in a version.
pub(crate) fn no_such_path(path: &ObjectPath) -> CommandError {
    CommandError::failed(format!(
        "there is no {} in this version",
        quoted(path.as_bytes())
    ))
    .hint("see what a version has with: lfsfs ls SOURCE [PATH]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_in_json_has_its_paths_and_their_number() {
        let error = CommandError::from(RemoteError::Conflict {
            message: "2 paths conflict".to_owned(),
            paths: vec![b"a".to_vec()],
            count: 2,
        });
        let json = serde_json::to_value(error.hint("look").json()).expect("JSON");
        let expected = serde_json::json!({"error": {
            "kind": "conflict",
            "message": "2 paths conflict",
            "hint": "look",
            "paths": [{"path": "a"}],
            "paths_count": 2,
        }});
        assert_eq!(json, expected);
    }

    #[test]
    fn other_failures_in_json_have_no_paths() {
        let error = CommandError::usage("no").detail("more");
        let json = serde_json::to_value(error.json()).expect("JSON");
        let expected =
            serde_json::json!({"error": {"kind": "usage", "message": "no", "details": ["more"]}});
        assert_eq!(json, expected);
    }
}
