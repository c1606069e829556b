//! Why a configuration is refused.

use std::path::PathBuf;

use lfsfs_common::PathError;

use super::keys::{Key, RoleName};

/// Why a configuration is refused. Each names the place where the operator can change it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] PathError),
    /// The file is longer than any configuration.
    #[error("{} is no configuration: it has more than {len_max} bytes", file.display())]
    TooLong { file: PathBuf, len_max: u64 },
    /// The file is not written as TOML is.
    #[error("{place}: {reason}")]
    Syntax { place: Place, reason: String },
    /// No role has the key.
    #[error("{place}: there is no key {name:?}; {}", advice(*nearest))]
    UnknownKey {
        place: Place,
        name: String,
        nearest: Option<&'static str>,
    },
    /// Other roles have the key.
    #[error("{place}: {name} is for {}, not for {role}", key.role_names())]
    OtherRole {
        place: Place,
        /// The key as it stands there.
        name: String,
        key: &'static Key,
        role: RoleName,
    },
    /// The key cannot have the value.
    #[error("{place}: {given} cannot be: expected {}", key.kind.expected())]
    Value {
        place: Place,
        /// Key and value as they stand there.
        given: String,
        key: &'static Key,
    },
    /// A key without a default is not set.
    #[error(
        "{} is not set: give --{}, {}, or {} in the file of --config", key.name, key.name,
        key.variable, key.name
    )]
    Missing { key: &'static Key },
    /// The role keeps everything in one directory.
    #[error("data names several directories ({from}): {role} has one, a datanode may have more")]
    OneDirectory { role: RoleName, from: String },
    /// A directory is named more than once.
    #[error("data names {} more than once ({from})", dir.display())]
    Twice { dir: PathBuf, from: String },
    /// More copies are asked for than are made.
    #[error(
        "min-replicas is {min_replicas} ({min_replicas_from}), and replication {replication} \
         ({replication_from}): expected at most as many"
    )]
    MoreThanReplication {
        min_replicas: u64,
        min_replicas_from: String,
        replication: u64,
        replication_from: String,
    },
}

/// Where something wrong was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a line of a file.
    Line { file: PathBuf, line: usize },
    /// In the environment.
    Environment,
    /// On the command line.
    CommandLine,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{}: line {line}", file.display()),
            Self::Environment => f.write_str("environment"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

fn advice(nearest: Option<&str>) -> String {
    match nearest {
        Some(name) => format!("did you mean {name}?"),
        None => "lfsfsd config shows all keys".to_owned(),
    }
}
