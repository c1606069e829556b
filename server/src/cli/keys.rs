//! Every key of the configuration: its name in a file, its flag, its variable, its default.
//!
//! Nothing else lists the keys. The command line, what a file may have and `lfsfsd config` are made from
//! this table, and tests hold docs/configuration.md and dist/lfsfsd.toml against it.

use std::fmt;

use lfsfs_types::limits::{CHUNK_LEN_MAX, CHUNK_LEN_MIN};

use super::kinds::{Kind, NUMBER_MAX};
use crate::config::MEMORY_MIN;

/// What a process can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum RoleName {
    All,
    Coordinator,
    Datanode,
}

/// A key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in a file, and with `--` in front its flag.
    pub(super) name: &'static str,
    /// Its variable of the environment.
    pub(super) variable: &'static str,
    /// What stands for its value in the help.
    pub(super) value_name: &'static str,
    pub(super) kind: Kind,
    /// The roles that have it.
    pub(super) roles: &'static [RoleName],
    pub(super) unset: Unset,
    pub(super) help: &'static str,
}

/// What holds for a key that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unset {
    /// The server does not start.
    Refused,
    /// This value, as it could be written.
    Is(&'static str),
    /// As `Is`, with another value for each role.
    OfRole {
        all: &'static str,
        coordinator: &'static str,
    },
    /// 2, or the value of `replication` if that is less.
    TwoOfReplication,
    /// No value, which means this.
    Means(&'static str),
}

const EVERY: &[RoleName] = RoleName::EVERY;
const OF_METADATA: &[RoleName] = &[RoleName::All, RoleName::Coordinator];
const OF_CHUNKS: &[RoleName] = &[RoleName::All, RoleName::Datanode];

/// All keys, in the order in which people read them.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "data",
        variable: "LFSFSD_DATA",
        value_name: "DIR",
        kind: Kind::Directories,
        roles: EVERY,
        unset: Unset::Refused,
        help: "Directory that holds everything this server keeps; a datanode takes further ones, on \
               other disks, for chunks",
    },
    Key {
        name: "meta",
        variable: "LFSFSD_META",
        value_name: "ENGINE:DIR",
        kind: Kind::MetaPlace,
        roles: OF_METADATA,
        unset: Unset::Means("what the data directory has, else redb in it"),
        help: "Engine and directory of the metadata: redb:DIR or sled:DIR",
    },
    Key {
        name: "listen",
        variable: "LFSFSD_LISTEN",
        value_name: "ADDR",
        kind: Kind::SocketAddress,
        roles: EVERY,
        unset: Unset::Is("127.0.0.1:5051"),
        help: "Address to listen on; port 0 takes a free one",
    },
    Key {
        name: "insecure-listen",
        variable: "LFSFSD_INSECURE_LISTEN",
        value_name: "BOOL",
        kind: Kind::Switch,
        roles: EVERY,
        unset: Unset::Is("false"),
        help: "Listen on an address that other machines can reach, without TLS and tokens",
    },
    Key {
        name: "metrics",
        variable: "LFSFSD_METRICS",
        value_name: "ADDR",
        kind: Kind::SocketAddress,
        roles: EVERY,
        unset: Unset::Means("no metrics"),
        help: "Address to serve metrics for Prometheus on; port 0 takes a free one",
    },
    Key {
        name: "advertise",
        variable: "LFSFSD_ADVERTISE",
        value_name: "ADDR",
        kind: Kind::HostPort,
        roles: OF_CHUNKS,
        unset: Unset::Means("the address that is listened on"),
        help: "host:port under which clients reach this server",
    },
    Key {
        name: "coordinator",
        variable: "LFSFSD_COORDINATOR",
        value_name: "ADDR",
        kind: Kind::HostPort,
        roles: &[RoleName::Datanode],
        unset: Unset::Refused,
        help: "host:port of the coordinator",
    },
    Key {
        name: "zone",
        variable: "LFSFSD_ZONE",
        value_name: "NAME",
        kind: Kind::Zone,
        roles: OF_CHUNKS,
        unset: Unset::Is(""),
        help: "What fails together with this datanode, such as its rack",
    },
    Key {
        name: "capacity",
        variable: "LFSFSD_CAPACITY",
        value_name: "SIZE",
        kind: Kind::Size {
            min: 0,
            max: NUMBER_MAX,
        },
        roles: OF_CHUNKS,
        unset: Unset::Is("0"),
        help: "Bytes that chunks may take; 0 is what the disk has",
    },
    Key {
        name: "scrub-period",
        variable: "LFSFSD_SCRUB_PERIOD",
        value_name: "SECONDS",
        kind: Kind::Number {
            min: 1,
            max: 31_536_000,
        },
        roles: OF_CHUNKS,
        unset: Unset::Is("1209600"),
        help: "Seconds in which each chunk is read again, to find what the disk damaged",
    },
    Key {
        name: "reserve",
        variable: "LFSFSD_RESERVE",
        value_name: "SIZE",
        kind: Kind::Size {
            min: 0,
            max: NUMBER_MAX,
        },
        roles: EVERY,
        unset: Unset::Is("256MiB"),
        help: "Bytes of the disk that stay free: below them chunks are refused, below half of them \
               new versions too, and reads go on",
    },
    Key {
        name: "memory",
        variable: "LFSFSD_MEMORY",
        value_name: "SIZE",
        kind: Kind::Size {
            min: MEMORY_MIN,
            max: NUMBER_MAX,
        },
        roles: EVERY,
        unset: Unset::Is("512MiB"),
        help: "Bytes of memory that the server may take in all",
    },
    Key {
        name: "connections",
        variable: "LFSFSD_CONNECTIONS",
        value_name: "COUNT",
        kind: Kind::Number {
            min: 1,
            max: 100_000,
        },
        roles: EVERY,
        unset: Unset::Is("1024"),
        help: "Connections at the same time; with fewer of them each may send faster over a long way",
    },
    Key {
        name: "grace",
        variable: "LFSFSD_GRACE",
        value_name: "SECONDS",
        kind: Kind::Number {
            min: 0,
            max: 86_400,
        },
        roles: EVERY,
        unset: Unset::Is("10"),
        help: "Seconds that calls in flight may go on when the server stops",
    },
    Key {
        name: "log",
        variable: "LFSFSD_LOG_FILE",
        value_name: "FILE",
        kind: Kind::Path,
        roles: EVERY,
        unset: Unset::Means("standard error"),
        help: "Write the log to this file",
    },
    Key {
        name: "replication",
        variable: "LFSFSD_REPLICATION",
        value_name: "COUNT",
        kind: Kind::Number { min: 1, max: 16 },
        roles: OF_METADATA,
        unset: Unset::OfRole {
            all: "1",
            coordinator: "3",
        },
        help: "Copies that each chunk should have",
    },
    Key {
        name: "min-replicas",
        variable: "LFSFSD_MIN_REPLICAS",
        value_name: "COUNT",
        kind: Kind::Number { min: 1, max: 16 },
        roles: OF_METADATA,
        unset: Unset::TwoOfReplication,
        help: "Copies that a chunk must have before its upload is acknowledged",
    },
    Key {
        name: "placement",
        variable: "LFSFSD_PLACEMENT",
        value_name: "NAME",
        kind: Kind::Placement,
        roles: OF_METADATA,
        unset: Unset::Is("zone-aware"),
        help: "How datanodes are chosen for a chunk: least-used, weighted-random or zone-aware",
    },
    Key {
        name: "repair-after",
        variable: "LFSFSD_REPAIR_AFTER",
        value_name: "SECONDS",
        kind: Kind::Number {
            min: 1,
            max: 86_400,
        },
        roles: OF_METADATA,
        unset: Unset::Is("300"),
        help: "Seconds that a datanode may be silent before its chunks are copied to others",
    },
    Key {
        name: "repair-rate",
        variable: "LFSFSD_REPAIR_RATE",
        value_name: "SIZE",
        kind: Kind::Size {
            min: 1,
            max: NUMBER_MAX,
        },
        roles: OF_METADATA,
        unset: Unset::Is("200000000"),
        help: "Bytes a second that all repair together may move",
    },
    Key {
        name: "rebalance-above",
        variable: "LFSFSD_REBALANCE_ABOVE",
        value_name: "PERCENT",
        kind: Kind::Number { min: 1, max: 100 },
        roles: OF_METADATA,
        unset: Unset::Is("10"),
        help: "By how much the used parts of datanodes may differ before chunks move; 100 is never",
    },
    Key {
        name: "chunk-size",
        variable: "LFSFSD_CHUNK_SIZE",
        value_name: "SIZE",
        kind: Kind::Size {
            min: CHUNK_LEN_MIN,
            max: CHUNK_LEN_MAX,
        },
        roles: OF_METADATA,
        unset: Unset::Is("8MiB"),
        help: "Bytes that clients put into a chunk before they begin the next",
    },
    Key {
        name: "gc-every",
        variable: "LFSFSD_GC_EVERY",
        value_name: "SECONDS",
        kind: Kind::Number {
            min: 0,
            max: 31_536_000,
        },
        roles: OF_METADATA,
        unset: Unset::Is("3600"),
        help: "Seconds between two collections of garbage; 0 is never",
    },
    Key {
        name: "gc-grace",
        variable: "LFSFSD_GC_GRACE",
        value_name: "SECONDS",
        kind: Kind::Number {
            min: 0,
            max: 31_536_000,
        },
        roles: OF_METADATA,
        unset: Unset::Is("86400"),
        help: "Seconds that a collection of garbage leaves alone what was needed",
    },
    Key {
        name: "gc-keep",
        variable: "LFSFSD_GC_KEEP",
        value_name: "COUNT",
        kind: Kind::Number {
            min: 0,
            max: 1_000_000_000,
        },
        roles: OF_METADATA,
        unset: Unset::Is("0"),
        help: "Newest versions of each project that stay; 0 is all",
    },
    Key {
        name: "gc-older-than",
        variable: "LFSFSD_GC_OLDER_THAN",
        value_name: "SECONDS",
        kind: Kind::Number {
            min: 0,
            max: 3_153_600_000,
        },
        roles: OF_METADATA,
        unset: Unset::Is("0"),
        help: "Seconds after which a version expires that is not the newest any more; 0 is never",
    },
    Key {
        name: "deleted-kept",
        variable: "LFSFSD_DELETED_KEPT",
        value_name: "SECONDS",
        kind: Kind::Number {
            min: 0,
            max: 3_153_600_000,
        },
        roles: OF_METADATA,
        unset: Unset::Is("604800"),
        help: "Seconds in which a deleted project can be brought back; 0 is not at all",
    },
    Key {
        name: "gc-rate",
        variable: "LFSFSD_GC_RATE",
        value_name: "SIZE",
        kind: Kind::Size {
            min: 0,
            max: NUMBER_MAX,
        },
        roles: OF_METADATA,
        unset: Unset::Is("32MiB"),
        help: "Bytes a second that rewriting chunks may read and write; 0 is no rewriting",
    },
    Key {
        name: "development",
        variable: "LFSFSD_DEVELOPMENT",
        value_name: "BOOL",
        kind: Kind::Switch,
        roles: OF_METADATA,
        unset: Unset::Is("false"),
        help: "Let callers bring all projects back to earlier versions, and delete others: for tests",
    },
];

impl RoleName {
    pub(super) const EVERY: &[Self] = &[Self::All, Self::Coordinator, Self::Datanode];

    /// Returns the word for it on the command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Coordinator => "coordinator",
            Self::Datanode => "datanode",
        }
    }

    /// Returns the keys that it has.
    pub(super) fn keys(self) -> impl Iterator<Item = &'static Key> {
        KEYS.iter().filter(move |key| key.roles.contains(&self))
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lfsfsd {}", self.word())
    }
}

impl Key {
    /// Returns the key of a name in a file.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Returns its flag.
    pub(super) fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// Returns the roles that have it, as a sentence names them.
    pub(super) fn role_names(&self) -> String {
        let words: Vec<_> = self.roles.iter().map(ToString::to_string).collect();
        words.join(" and ")
    }

    /// Returns what holds if it is not set, for the help.
    pub(super) fn default_text(&self) -> String {
        match self.unset {
            Unset::Refused => "required".to_owned(),
            Unset::Is("") => "default: empty".to_owned(),
            Unset::Is(text) | Unset::Means(text) => format!("default: {text}"),
            Unset::OfRole { all, coordinator } => {
                format!("default: {coordinator}, for lfsfsd all {all}")
            }
            Unset::TwoOfReplication => "default: 2, at most --replication".to_owned(),
        }
    }
}

/// Returns the key whose name is most like `name`, if one is so like it that it may be meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let changes = |key: &Key| changes(name, key.name);
    let key = KEYS.iter().min_by_key(|key| changes(key))?;
    let changes_max = key.name.len() / 3;
    (changes(key) <= changes_max).then_some(key.name)
}

/// Returns how many letters have to be added, removed or replaced to make one word of the other.
fn changes(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // The changes from what was read of `from` to each beginning of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_name_and_a_variable_of_its_own() {
        for (at, key) in KEYS.iter().enumerate() {
            let others = &KEYS[..at];
            let is_new = |other: &Key| other.name != key.name && other.variable != key.variable;
            assert!(others.iter().all(is_new), "{}", key.name);
            let variable = format!("LFSFSD_{}", key.name.replace('-', "_").to_uppercase());
            assert!(key.variable.starts_with(&variable), "{}", key.variable);
            assert!(!key.roles.is_empty());
        }
    }

    #[test]
    fn each_default_is_a_value_that_its_key_can_have() {
        for key in KEYS {
            let defaults = match key.unset {
                Unset::Is(text) => vec![text],
                Unset::OfRole { all, coordinator } => vec![all, coordinator],
                Unset::Refused | Unset::TwoOfReplication | Unset::Means(_) => continue,
            };
            for text in defaults {
                assert!(key.kind.parse(text.as_ref()).is_some(), "{}", key.name);
            }
        }
    }

    #[test]
    fn what_was_mistyped_finds_its_key() {
        for (typed, key) in [
            ("memroy", "memory"),
            ("min_replicas", "min-replicas"),
            ("dta", "data"),
            ("replications", "replication"),
            ("Listen", "listen"),
        ] {
            assert_eq!(nearest(typed), Some(key), "{typed}");
        }
        for typed in ["", "x", "colour", "server", "é"] {
            assert_eq!(nearest(typed), None, "{typed}");
        }
    }

    #[test]
    fn changes_are_counted_both_ways() {
        for (from, to, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("abc", "adc", 1),
            ("abcd", "bcd", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(changes(from, to), expected, "{from} {to}");
            assert_eq!(changes(to, from), expected, "{to} {from}");
        }
    }
}
