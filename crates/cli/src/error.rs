//! How a command fails: what is told to the user, with a hint, and the exit code.

use std::error::Error;
use std::fmt;
use std::io;

use lfsfs_client::RemoteError;
use lfsfs_mount::{ControlError, ControlErrorKind, MountError};
use lfsfs_sync::{ExportError, ImportError};
use lfsfs_types::{ObjectPath, PathError, SourceError};
use lfsfs_vfs::VfsError;
use rustix::io::Errno;

use crate::output::quoted;
use crate::user;

/// What kind of failure it is; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command could not do what was asked.
    Failed,
    /// What was typed makes no sense.
    Usage,
    /// Somebody else's changes are in the way.
    Conflict,
    /// Nobody reads the output any more, which is no failure.
    BrokenPipe,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) kind: Kind,
    message: String,
    hint: Option<String>,
    /// Belongs on stdout: the paths of a conflict.
    pub(crate) paths: Vec<Vec<u8>>,
}

impl CommandError {
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Failed,
            message: message.into(),
            hint: None,
            paths: Vec::new(),
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

    /// Returns the failure of an action on several things: the only one as it is, or all told and
    /// counted.
    pub(crate) fn all(mut failures: Vec<Self>, what: &str) -> Result<(), Self> {
        if failures.len() <= 1 {
            return failures.pop().map_or(Ok(()), Err);
        }
        failures
            .iter()
            .for_each(|failure| user::tell(&failure.to_string()));
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

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lfsfs: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Joins an error and its causes, leaving out causes that only repeat.
pub(crate) fn full_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
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
            RemoteError::Conflict { paths, .. } => Self {
                kind: Kind::Conflict,
                paths,
                ..Self::failed(text)
            },
            RemoteError::Invalid(_) => Self::usage(text),
            RemoteError::Full(_) => {
                Self::failed(text).hint("free some space on the server's disk, or add a bigger one")
            }
            RemoteError::Corrupt(_) => Self::failed(text)
                .hint("on the server's machine, stop lfsfsd and run: lfsfsd check --data DIR"),
            _ => Self::failed(text),
        }
    }
}

impl From<ImportError> for CommandError {
    fn from(error: ImportError) -> Self {
        let ImportError::Problems { first, count } = error else {
            return match error {
                ImportError::Remote(error) => error.into(),
                ImportError::Pattern { .. } => Self::usage(full_text(&error)),
                ImportError::Machine { ref source, .. } => {
                    let hint = machine_hint(source);
                    Self::failed(full_text(&error)).hint(hint)
                }
                error => Self::failed(full_text(&error)),
            };
        };
        let mut message = format!("{count} entries cannot be imported; nothing was published");
        for problem in &first {
            message.push_str(&format!(
                "\n  {}: {}",
                quoted(&problem.path),
                problem.reason
            ));
        }
        if count > first.len() as u64 {
            message.push_str(&format!("\n  and {} more", count - first.len() as u64));
        }
        Self::failed(message).hint("make them readable, or import the rest with --skip-unreadable")
    }
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
            _ => Self::failed(text),
        }
    }
}

impl From<MountError> for CommandError {
    fn from(error: MountError) -> Self {
        match error {
            MountError::Option(_) | MountError::Source(_) => Self::usage(error.full_text()),
            MountError::Unmount { .. } => Self::failed(error.full_text())
                .hint("if somebody uses it, --lazy takes it from its directory all the same"),
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
            message,
            hint: error.hint,
            paths: error.paths,
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
        Self::usage(error.to_string())
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
}
