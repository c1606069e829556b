//! What a user or a machine sets once: the server, and the author of versions.
//!
//! Each setting is taken from the first place that has it: the command line, the environment, the
//! user's file, the file of the machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, io};

use serde::Deserialize;

use crate::error::CommandError;

const SYSTEM_FILE: &str = "/etc/lfsfs/config.toml";
/// Below the user's directory of settings.
const USER_FILE: &str = "lfsfs/config.toml";

/// What is set outside of the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Address of the server.
    pub(crate) server: Option<String>,
    /// Author of versions.
    pub(crate) author: Option<String>,
    /// How long to go on trying while the server is away, in seconds.
    pub(crate) retry_for: Option<u64>,
}

/// Returns the settings, read at the first call.
pub(crate) fn settings() -> Result<&'static Settings, CommandError> {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings);
    }
    let loaded = load(|name| std::env::var_os(name), Path::new(SYSTEM_FILE))?;
    Ok(SETTINGS.get_or_init(|| loaded))
}

/// Returns the files of settings, the one that counts more first.
pub(crate) fn files() -> Vec<PathBuf> {
    files_of(|name| std::env::var_os(name), Path::new(SYSTEM_FILE))
}

fn files_of(variable: impl Fn(&str) -> Option<OsString>, system: &Path) -> Vec<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let of_user = set("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".config")));
    let of_user = of_user.map(|dir| dir.join(USER_FILE));
    of_user.into_iter().chain([system.to_owned()]).collect()
}

fn load(
    variable: impl Fn(&str) -> Option<OsString>,
    system: &Path,
) -> Result<Settings, CommandError> {
    let mut settings = Settings {
        server: text(&variable, "LFSFS_SERVER")?,
        author: text(&variable, "LFSFS_AUTHOR")?,
        retry_for: seconds(&variable, "LFSFS_RETRY_FOR")?,
    };
    for file in files_of(&variable, system) {
        let is_of_user = file != system;
        let Settings {
            server,
            author,
            retry_for,
        } = read(&file, is_of_user)?;
        settings.server = settings.server.or(server);
        settings.author = settings.author.or(author);
        settings.retry_for = settings.retry_for.or(retry_for);
    }
    Ok(settings)
}

/// Returns a variable; an empty one is as good as none.
fn text(
    variable: impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<String>, CommandError> {
    let value = variable(name).filter(|value| !value.is_empty());
    let text = value.map(OsString::into_string).transpose();
    text.map_err(|_| CommandError::usage(format!("{name} is not UTF-8")))
}

fn seconds(
    variable: impl Fn(&str) -> Option<OsString>,
    name: &str,
) -> Result<Option<u64>, CommandError> {
    let Some(text) = text(variable, name)? else {
        return Ok(None);
    };
    let seconds = text.parse();
    seconds
        .map(Some)
        .map_err(|_| CommandError::usage(format!("{name}={text} is not a number of seconds")))
}

/// Reads a file; one that is not there sets nothing. Nor does a user's one that may not be looked
/// at: after a change of user, HOME is often still the other user's.
fn read(file: &Path, is_of_user: bool) -> Result<Settings, CommandError> {
    let wrong = |reason: &dyn std::fmt::Display| {
        CommandError::usage(format!("{}: {reason}", file.display()))
            .hint("the settings are: server, author, retry_for; docs/cli.md has an example")
    };
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if is_absent(&error) => return Ok(Settings::default()),
        Err(error) if is_of_user && error.kind() == io::ErrorKind::PermissionDenied => {
            return Ok(Settings::default());
        }
        Err(error) => return Err(wrong(&error)),
    };
    toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text
            .bytes()
            .take(start)
            .filter(|byte| *byte == b'\n')
            .count()
            + 1;
        wrong(&format!("line {line}: {}", error.message()))
    })
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user's home and a file of the machine.
    struct Places {
        dir: tempfile::TempDir,
    }

    impl Places {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            fs::create_dir_all(dir.path().join(".config/lfsfs")).expect("a directory");
            Self { dir }
        }

        fn user(self, text: &str) -> Self {
            let file = self.dir.path().join(".config").join(USER_FILE);
            fs::write(file, text).expect("a file");
            self
        }

        fn system(self, text: &str) -> Self {
            fs::write(self.dir.path().join("system.toml"), text).expect("a file");
            self
        }

        fn load(&self, server: Option<&str>) -> Result<Settings, CommandError> {
            let variable = |name: &str| match name {
                "HOME" => Some(self.dir.path().into()),
                "LFSFS_SERVER" => server.map(Into::into),
                _ => None,
            };
            load(variable, &self.dir.path().join("system.toml"))
        }
    }

    #[test]
    fn each_setting_is_of_the_first_place_that_has_it() {
        let places = Places::new()
            .user("server = 'user:1'")
            .system("server = 'system:1'\nauthor = 'ci@fleet'");
        let settings = |server| places.load(server).expect("settings");
        assert_eq!(settings(Some("env:1")).server.as_deref(), Some("env:1"));
        assert_eq!(settings(None).server.as_deref(), Some("user:1"));
        assert_eq!(settings(Some("")).server.as_deref(), Some("user:1"));
        assert_eq!(settings(None).author.as_deref(), Some("ci@fleet"));
    }

    #[test]
    fn times_are_whole_seconds() {
        let load = |value: &str| {
            let variable = |name: &str| (name == "LFSFS_RETRY_FOR").then(|| value.into());
            load(variable, Path::new("/nonexistent"))
        };
        assert_eq!(load("0").expect("settings").retry_for, Some(0));
        for wrong in ["1s", "-1", "0.5"] {
            let error = load(wrong).expect_err(wrong);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("LFSFS_RETRY_FOR"), "{error}");
        }
        let of_file = Places::new().user("retry_for = 7").load(None);
        assert_eq!(of_file.expect("settings").retry_for, Some(7));
    }

    #[test]
    fn without_a_file_nothing_is_set() {
        assert_eq!(Places::new().load(None).expect("none"), Settings::default());
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named_with_its_place() {
        let error = |text| {
            let places = Places::new().user(text);
            let error = places.load(None).expect_err("it is wrong");
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        let unknown = error("# mine\nsever = 'x'");
        for word in [".config/lfsfs/config.toml", "line 2", "sever", "server"] {
            assert!(unknown.contains(word), "{word}: {unknown}");
        }
        assert!(error("server = 5051").contains("line 1"));
        assert!(error("server = ").contains("line 1"));
    }
}
