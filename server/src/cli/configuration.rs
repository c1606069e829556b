//! The configuration of one start: for each key of the role its value, and where that came from.
//!
//! A default gives way to the file, the file to the environment, and the environment to a flag. All of
//! them are checked before anything starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::args::{By, Given};
use super::config_error::ConfigError;
use super::file;
use super::keys::{Key, RoleName, Unset};
use super::kinds::Value;
use crate::ServerError;
use crate::config::{ClusterSettings, GarbageSettings, Role, ServerConfig};
use crate::listen::{ListenPolicy, check_addresses};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Default,
    File(PathBuf),
    Given(By),
}

/// A key of the role, with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: &'static Key,
    /// None where the key is not set and has no default.
    pub(super) value: Option<Value>,
    pub(super) origin: Origin,
}

/// All keys of a role.
#[derive(Debug, Clone)]
pub(super) struct Configuration {
    pub(super) role: RoleName,
    pub(super) entries: Vec<Entry>,
}

/// What a server is started with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) config: ServerConfig,
    pub(super) listen: SocketAddr,
    /// Where metrics are served, if they are.
    pub(super) metrics: Option<SocketAddr>,
    pub(super) policy: ListenPolicy,
    pub(super) log: Option<PathBuf>,
}

impl Entry {
    fn unset(key: &'static Key, role: RoleName) -> Self {
        let text = match key.unset {
            Unset::Is(text) => Some(text),
            Unset::OfRole { all, coordinator } => match role {
                RoleName::All => Some(all),
                RoleName::Coordinator | RoleName::Datanode => Some(coordinator),
            },
            Unset::Refused | Unset::TwoOfReplication | Unset::Means(_) => None,
        };
        Self {
            key,
            value: text.and_then(|text| key.kind.parse(text.as_ref())),
            origin: Origin::Default,
        }
    }

    /// Returns where the value came from, as a person reads it.
    pub(super) fn origin_text(&self) -> String {
        match &self.origin {
            Origin::Default => "default".to_owned(),
            Origin::File(path) => format!("file {}", path.display()),
            Origin::Given(By::Variable) => format!("environment {}", self.key.variable),
            Origin::Given(By::Flag) => format!("flag {}", self.key.flag()),
        }
    }
}

impl Configuration {
    /// Lays file, environment and flags over the defaults.
    pub(super) fn new(role: RoleName, given: Given) -> Result<Self, ConfigError> {
        let entries = role.keys().map(|key| Entry::unset(key, role)).collect();
        let mut configuration = Self { role, entries };
        if let Some(path) = given.file {
            for (key, value) in file::read(&path, role)? {
                configuration.set(key, value, Origin::File(path.clone()));
            }
        }
        for given in given.values {
            if let Some(value) = given.checked(role)? {
                configuration.set(given.key, value, Origin::Given(given.by));
            }
        }
        configuration.check_replicas()?;
        configuration.check_directories()?;
        match configuration.missing() {
            Some(key) => Err(ConfigError::Missing { key }),
            None => Ok(configuration),
        }
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        let entry = self.entries.iter_mut().find(|it| it.key.name == key.name);
        if let Some(entry) = entry {
            entry.value = Some(value);
            entry.origin = origin;
        }
    }

    /// Completes the least number of copies, which depends on their number.
    fn check_replicas(&mut self) -> Result<(), ConfigError> {
        let replication = self.number("replication").unwrap_or(1);
        let replication_from = self.origin_text("replication");
        let key = "min-replicas";
        let Some(entry) = self.entries.iter_mut().find(|it| it.key.name == key) else {
            return Ok(());
        };
        match entry.value {
            Some(Value::Number(min_replicas)) if min_replicas > replication => {
                Err(ConfigError::MoreThanReplication {
                    min_replicas,
                    min_replicas_from: entry.origin_text(),
                    replication,
                    replication_from,
                })
            }
            Some(_) => Ok(()),
            None => {
                entry.value = Some(Value::Number(replication.min(2)));
                Ok(())
            }
        }
    }

    fn check_directories(&self) -> Result<(), ConfigError> {
        let dirs = self.directories();
        let from = || self.origin_text("data");
        if self.role != RoleName::Datanode && dirs.len() > 1 {
            let (role, from) = (self.role, from());
            return Err(ConfigError::OneDirectory { role, from });
        }
        let twice = |dir: &&PathBuf| dirs.iter().filter(|it| it == dir).count() > 1;
        match dirs.iter().find(twice) {
            Some(dir) => Err(ConfigError::Twice {
                dir: dir.clone(),
                from: from(),
            }),
            None => Ok(()),
        }
    }

    fn missing(&self) -> Option<&'static Key> {
        let mut entries = self.entries.iter();
        let missing = entries.find(|it| it.value.is_none() && it.key.unset == Unset::Refused)?;
        Some(missing.key)
    }

    /// Returns what the server is started with. Fails if it cannot listen so, or clients cannot be told
    /// its address.
    pub(super) fn start(&self) -> Result<Start, ServerError> {
        let listen = self.parsed("listen").expect("listen has a default");
        let policy = match self.is_on("insecure-listen") {
            true => ListenPolicy::Insecure,
            false => ListenPolicy::LoopbackOnly,
        };
        let config = self.server_config();
        let metrics = self.parsed("metrics");
        check_addresses(&config, listen, metrics, policy)?;
        Ok(Start {
            config,
            listen,
            metrics,
            policy,
            log: self.path("log"),
        })
    }

    /// What the role does not have stays as it is without a configuration.
    fn server_config(&self) -> ServerConfig {
        let mut data = self.directories().iter().cloned();
        let unset = ServerConfig::all(data.next().expect("data is required"));
        ServerConfig {
            more_data: data.collect(),
            role: self.role(),
            meta: self.parsed("meta"),
            reserve: self.number("reserve").unwrap_or(unset.reserve),
            memory: self.number("memory").unwrap_or(unset.memory),
            connections: self.count("connections").unwrap_or(unset.connections),
            advertise: self.parsed("advertise"),
            grace: self.seconds("grace").unwrap_or(unset.grace),
            cluster: self.cluster(unset.cluster),
            garbage: self.garbage(unset.garbage),
            development: self.is_on("development"),
            ..unset
        }
    }

    fn is_on(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Switch(true)))
    }

    fn role(&self) -> Role {
        match self.role {
            RoleName::All => Role::All,
            RoleName::Coordinator => Role::Coordinator,
            RoleName::Datanode => Role::DataNode {
                coordinator: self.parsed("coordinator").expect("it is required"),
            },
        }
    }

    fn cluster(&self, unset: ClusterSettings) -> ClusterSettings {
        ClusterSettings {
            replication: self.count("replication").unwrap_or(unset.replication),
            min_replicas: self.count("min-replicas").unwrap_or(unset.min_replicas),
            placement: self.parsed("placement").unwrap_or(unset.placement),
            repair_after: self.seconds("repair-after").unwrap_or(unset.repair_after),
            repair_rate: self.number("repair-rate").unwrap_or(unset.repair_rate),
            rebalance_above: self
                .number("rebalance-above")
                .and_then(|percent| u8::try_from(percent).ok())
                .unwrap_or(unset.rebalance_above),
            chunk_size: self.number("chunk-size").unwrap_or(unset.chunk_size),
            zone: self.parsed("zone").unwrap_or(unset.zone),
            capacity: self.number("capacity").unwrap_or(unset.capacity),
            scrub_period: self.seconds("scrub-period").unwrap_or(unset.scrub_period),
        }
    }

    fn garbage(&self, unset: GarbageSettings) -> GarbageSettings {
        GarbageSettings {
            every: self.seconds("gc-every").unwrap_or(unset.every),
            grace: self.seconds("gc-grace").unwrap_or(unset.grace),
            keep: self.number("gc-keep").unwrap_or(unset.keep),
            older_than: self.seconds("gc-older-than").unwrap_or(unset.older_than),
            deleted_kept: self.seconds("deleted-kept").unwrap_or(unset.deleted_kept),
            rate: self.number("gc-rate").unwrap_or(unset.rate),
        }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key.name == name)
    }

    fn origin_text(&self, name: &str) -> String {
        self.entry(name)
            .map_or_else(String::new, Entry::origin_text)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.entry(name)?.value.as_ref()
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.value(name)? {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Path(_) | Value::Paths(_) | Value::Switch(_) => None,
        }
    }

    fn count(&self, name: &str) -> Option<u32> {
        u32::try_from(self.number(name)?).ok()
    }

    fn seconds(&self, name: &str) -> Option<Duration> {
        self.number(name).map(Duration::from_secs)
    }

    fn directories(&self) -> &[PathBuf] {
        match self.value("data") {
            Some(Value::Paths(paths)) => paths,
            _ => &[],
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        match self.value(name)? {
            Value::Path(path) => Some(path.clone()),
            Value::Text(_) | Value::Paths(_) | Value::Number(_) | Value::Switch(_) => None,
        }
    }

    /// Returns a text as what it says: its kind has checked that it does.
    fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        match self.value(name)? {
            Value::Text(text) => text.parse().ok(),
            Value::Path(_) | Value::Paths(_) | Value::Number(_) | Value::Switch(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
