//! What a word of the command line names: a version, or a path in a mount.
//!
//! One rule for all commands that read versions:
//! - a word with a slash in it, or that begins with a dot, is a path on this machine, which lies in
//!   a mount; it names the version that the mount shows, and the place in it;
//! - `vN`, `latest`, and `@` with a version or tag behind it are of the project of the mount that the
//!   command was typed in;
//! - every other word is a source: a project, with or without `@` and a version;
//! - where a place is asked for, a source may have `:` and a path behind it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use lfsfs_client::Client;
use lfsfs_remote::Snapshot;
use lfsfs_types::{ObjectPath, ProjectName, Source, SourceDirectory, VersionNumber, VersionRef};

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::mounted::{self, MountedPath};
use crate::output::quoted;
use crate::source_path::typed_path;

/// A version, a place in it, and the server to ask for both.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) client: Client,
    pub(crate) source: Source,
    /// The root, unless a path in a mount was named.
    pub(crate) path: ObjectPath,
    pub(crate) kind: NamedKind,
}

/// How it was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedKind {
    /// By a project alone.
    Project,
    /// By a version or tag.
    Version,
    /// By a path in a mount.
    Mount,
}

/// The form of a word.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Path,
    /// A version of the project at hand.
    Version(VersionRef),
    Source(Source),
}

impl Named {
    /// Finds what a word names; no word is the mount that the command was typed in.
    pub(crate) fn find(server: &ServerArgs, word: Option<&OsStr>) -> Result<Self, CommandError> {
        let Some(word) = word else {
            return Self::of_mount(server, Path::new(".")).map_err(|error| {
                error.hint("type the command in a mount, or name a version, such as app or app@v3")
            });
        };
        match Form::of(word)? {
            Form::Path => Self::of_mount(server, Path::new(word)),
            Form::Source(source) => Ok(Self {
                client: server.client()?,
                path: ObjectPath::ROOT,
                kind: if word.as_bytes().contains(&b'@') {
                    NamedKind::Version
                } else {
                    NamedKind::Project
                },
                source,
            }),
            Form::Version(version) => {
                let here = Self::of_mount(server, Path::new(".")).map_err(|error| {
                    let word = quoted(word.as_bytes());
                    error.hint(format!(
                        "outside of a mount name the project, too: app@{word}"
                    ))
                })?;
                Ok(here.with_version(version))
            }
        }
    }

    /// As [`Self::find`], where a word may be `SOURCE:PATH`, too.
    pub(crate) fn find_place(
        server: &ServerArgs,
        word: Option<&OsStr>,
    ) -> Result<Self, CommandError> {
        let Some(word) = word.filter(|word| begins_with_source(word)) else {
            return Self::find(server, word);
        };
        let SourceDirectory { source, path } = SourceDirectory::new(word.as_bytes())?;
        Ok(Self {
            client: server.client()?,
            source,
            path,
            kind: NamedKind::Version,
        })
    }

    /// As [`Self::find`], where the first of two words has named a project already.
    pub(crate) fn find_beside(
        &self,
        server: &ServerArgs,
        word: &OsStr,
    ) -> Result<Self, CommandError> {
        match Form::of(word)? {
            Form::Version(version) => Ok(Self {
                client: self.client.clone(),
                source: self.source.clone(),
                path: ObjectPath::ROOT,
                kind: NamedKind::Version,
            }
            .with_version(version)),
            Form::Path | Form::Source(_) => Self::find(server, Some(word)),
        }
    }

    fn of_mount(server: &ServerArgs, path: &Path) -> Result<Self, CommandError> {
        let MountedPath { mount, path } = mounted::locate(path)?;
        let shown = &mounted::served(&mount)?.version;
        if let Some(typed) = &server.typed {
            return Err(CommandError::usage(format!(
                "--server {typed} is not for a mount: that has its own server, {}",
                shown.server
            )));
        }
        // The root of the mount may be a directory of the version.
        let mut whole = ObjectPath::new(shown.path.as_bytes())?;
        for name in path.names() {
            whole = whole.join(&name)?;
        }
        let project = ProjectName::new(&shown.project);
        let project = project.map_err(|error| CommandError::failed(error.to_string()))?;
        Ok(Self {
            client: server.client_at(&shown.server)?,
            source: Source {
                project,
                version: VersionRef::Number(VersionNumber(shown.version)),
            },
            path: whole,
            kind: NamedKind::Mount,
        })
    }

    fn with_version(self, version: VersionRef) -> Self {
        Self {
            source: Source {
                version,
                ..self.source
            },
            path: ObjectPath::ROOT,
            kind: NamedKind::Version,
            ..self
        }
    }

    /// Asks the server for the version.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, CommandError> {
        self.client
            .remote
            .resolve_source(&self.source)
            .await
            .map_err(|error| {
                let is_absent = error.is_not_found();
                let error = CommandError::from(error);
                let project = self.source.project.as_str();
                if is_absent && self.kind == NamedKind::Project && Path::new(project).exists() {
                    error.hint(format!("a directory is written with a slash: ./{project}"))
                } else {
                    error
                }
            })
    }

    /// Returns a path below the place that was named.
    pub(crate) fn join(&self, below: &OsStr) -> Result<ObjectPath, CommandError> {
        let mut path = self.path.clone();
        for name in typed_path(below)?.names() {
            path = path.join(&name)?;
        }
        Ok(path)
    }
}

impl Form {
    fn of(word: &OsStr) -> Result<Self, CommandError> {
        let bytes = word.as_bytes();
        if is_path(word) {
            return Ok(Self::Path);
        }
        let text = word.to_str().ok_or_else(|| {
            CommandError::usage(format!(
                "{} names no version: it is not UTF-8",
                quoted(bytes)
            ))
        })?;
        let version = |text: &str| -> Result<VersionRef, CommandError> {
            text.parse()
                .map_err(|error: lfsfs_types::LabelError| CommandError::usage(error.to_string()))
        };
        match text.strip_prefix('@') {
            Some(text) => Ok(Self::Version(version(text)?)),
            None => match text.parse() {
                // A project of such a name is written with a version behind it.
                Ok(named @ (VersionRef::Latest | VersionRef::Number(_))) => {
                    Ok(Self::Version(named))
                }
                _ => Ok(Self::Source(text.parse()?)),
            },
        }
    }
}

/// Returns true for a word with a colon in it, and a source before that. A path of this machine that looks so is
/// written with `./`.
fn begins_with_source(word: &OsStr) -> bool {
    let mut parts = word.as_bytes().splitn(2, |byte| *byte == b':');
    let source = parts.next().and_then(|source| str::from_utf8(source).ok());
    parts.next().is_some() && source.is_some_and(|source| source.parse::<Source>().is_ok())
}

/// Returns true for a word that names a path on this machine, whether there is something or not.
pub(crate) fn is_path(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    bytes.contains(&b'/') || bytes.starts_with(b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(word: &str) -> Form {
        Form::of(OsStr::new(word)).expect(word)
    }

    #[test]
    fn a_colon_behind_a_source_begins_a_path_of_the_version() {
        for word in ["app:dir", "app@v3:a/b", "app@stable:a:b", "app:", "app:/a"] {
            assert!(begins_with_source(OsStr::new(word)), "{word}");
        }
        for word in [
            "app",
            "./app:dir",
            "a/b:c",
            "/mnt/app:dir",
            ":a",
            "a b:c",
            "..:a",
        ] {
            assert!(!begins_with_source(OsStr::new(word)), "{word}");
        }
    }

    #[test]
    fn the_form_of_a_word_says_what_it_names() {
        for path in [
            ".",
            "..",
            "./app",
            "/mnt/app",
            "src/main.js",
            "app/",
            ".git",
        ] {
            assert_eq!(form(path), Form::Path, "{path}");
        }
        let version = |text: &str| Form::Version(text.parse().expect("a version"));
        for (word, text) in [
            ("v3", "v3"),
            ("latest", "latest"),
            ("@v3", "v3"),
            ("@stable", "stable"),
        ] {
            assert_eq!(form(word), version(text), "{word}");
        }
        let source = |text: &str| Form::Source(text.parse().expect("a source"));
        for word in ["app", "app@v3", "v3@latest", "stable"] {
            assert_eq!(form(word), source(word), "{word}");
        }
        for word in ["a b", "@", "app@", "app@v99999999999999999999"] {
            let error = Form::of(OsStr::new(word)).expect_err(word);
            assert_eq!(error.exit_code(), 2, "{word}");
        }
    }
}
