//! Flags and variables of the configuration: clap's view of the table of keys.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::config_error::{ConfigError, Place};
use super::keys::{KEYS, Key, RoleName};
use super::kinds::{Kind, Value};

/// The flag that names the file. It is no key: a file cannot name another one.
const FILE: &str = "config";

/// What flags and variables say.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The file to read.
    pub(super) file: Option<PathBuf>,
    pub(super) values: Vec<GivenValue>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct GivenValue {
    pub(super) key: &'static Key,
    /// Several where the flag stands there several times, or the variable lists several.
    texts: Vec<OsString>,
    pub(super) by: By,
}

/// How a value was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Variable,
    Flag,
}

/// Adds the flags of these roles to a command.
pub(super) fn with_flags(command: Command, roles: &[RoleName]) -> Command {
    let file = Arg::new(FILE)
        .long(FILE)
        .value_name("FILE")
        .env("LFSFSD_CONFIG")
        .value_parser(value_parser!(OsString))
        .help("File with values for these flags, by their names; variables and flags win over it");
    command.arg(file).args(keys_of(roles).map(flag))
}

fn keys_of(roles: &[RoleName]) -> impl Iterator<Item = &'static Key> {
    let is_theirs = |key: &&Key| key.roles.iter().any(|role| roles.contains(role));
    KEYS.iter().filter(is_theirs)
}

/// Values are taken as they are, and checked where those of a file are: clap would not say that a wrong
/// one came from the environment.
fn flag(key: &'static Key) -> Arg {
    let arg = Arg::new(key.name)
        .long(key.name)
        .value_name(key.value_name)
        .env(key.variable)
        .value_parser(value_parser!(OsString))
        .help(format!("{} [{}]", key.help, key.default_text()));
    match key.kind {
        Kind::Directories => arg.action(ArgAction::Append),
        // `--insecure-listen` alone, and with `=false` against what a file says.
        Kind::Switch => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        _ => arg,
    }
}

impl Given {
    /// Returns what was given to a command that has the flags of these roles.
    pub(super) fn of(matches: &ArgMatches, roles: &[RoleName]) -> Self {
        let file = given(matches, FILE).and_then(|(mut paths, _)| Some(paths.pop()?.into()));
        let value = |key: &'static Key| {
            let (mut texts, by) = given(matches, key.name)?;
            if (key.kind, by) == (Kind::Directories, By::Variable) {
                let split = texts.iter().flat_map(std::env::split_paths);
                texts = split.map(PathBuf::into_os_string).collect();
            }
            Some(GivenValue { key, texts, by })
        };
        let values = keys_of(roles).filter_map(value).collect();
        Self { file, values }
    }
}

/// Returns what a flag or its variable says. An empty variable is as good as none.
fn given(matches: &ArgMatches, id: &str) -> Option<(Vec<OsString>, By)> {
    let texts: Vec<OsString> = matches.get_many(id)?.cloned().collect();
    let is_empty = texts.iter().all(|text| text.is_empty());
    match matches.value_source(id)? {
        ValueSource::CommandLine => Some((texts, By::Flag)),
        ValueSource::EnvVariable if !is_empty => Some((texts, By::Variable)),
        _ => None,
    }
}

impl GivenValue {
    /// Returns the value, or none if it is a variable of a key that the role does not have: servers of
    /// several roles may share an environment.
    pub(super) fn checked(&self, role: RoleName) -> Result<Option<Value>, ConfigError> {
        let key = self.key;
        match key.roles.contains(&role) {
            true => self.parsed().map(Some),
            false if self.by == By::Flag => Err(ConfigError::OtherRole {
                place: Place::CommandLine,
                name: key.flag(),
                key,
                role,
            }),
            false => Ok(None),
        }
    }

    fn parsed(&self) -> Result<Value, ConfigError> {
        let key = self.key;
        let texts = self.texts.iter().map(|text| text.display().to_string());
        let text = texts.collect::<Vec<_>>().join(" ");
        let (place, given) = match self.by {
            By::Flag => (Place::CommandLine, format!("{} {text}", key.flag())),
            By::Variable => (Place::Environment, format!("{}={text}", key.variable)),
        };
        let parsed = key.kind.parse_all(&self.texts);
        parsed.ok_or(ConfigError::Value { place, given, key })
    }
}
