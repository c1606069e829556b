//! How directories are synced: keys, the layers that set them, and what is checked.
//!
//! Pure: the caller reads files and the environment. The last layer that has a key counts.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use lfsfs_common::size;
use lfsfs_types::{ObjectPath, ProjectName};
use lfsfs_upload::IgnoreScope;
use thiserror::Error;
use toml::Value;

use super::pass::FarPlace;
use super::reconcile::{ConflictRule, Direction};

/// A key.
#[derive(Debug)]
pub struct SettingsKey {
    /// Its name in a file.
    pub name: &'static str,
    /// What holds if no layer has it, as a file would say it; `None` if one must.
    pub default: Option<&'static str>,
    /// What it means.
    pub help: &'static str,
}

const fn key(name: &'static str, default: Option<&'static str>, help: &'static str) -> SettingsKey {
    SettingsKey {
        name,
        default,
        help,
    }
}

/// All keys, in the order in which people read them.
pub const SETTINGS_KEYS: &[SettingsKey] = &[
    key(
        "sync_dirs",
        None,
        "directories that are synced, each under its own name below remote_root",
    ),
    key(
        "remote_root",
        None,
        "PROJECT, PROJECT:PATH, or an absolute directory",
    ),
    key("enabled", Some("true"), "whether anything is done"),
    key("direction", Some("\"both\""), "push, pull or both"),
    key(
        "conflict",
        Some("\"both\""),
        "which is taken where both sides changed the same: ours, theirs or both",
    ),
    key(
        "poll_interval",
        Some("60"),
        "seconds between two looks at everything, 1 to 86,400",
    ),
    key(
        "watch",
        Some("true"),
        "whether events of the operating system begin a pass",
    ),
    key(
        "debounce_ms",
        Some("2000"),
        "milliseconds without a change before a file is synced, 50 to 60,000",
    ),
    key(
        "ignore",
        Some("[]"),
        "lines of gitignore(5): new paths that are not synced",
    ),
    key(
        "concurrency",
        Some("4"),
        "files that are sent or written at once, 1 to 64",
    ),
    key(
        "bandwidth",
        Some("\"0\""),
        "bytes a second, such as \"5M\"; 0 is no limit",
    ),
    key(
        "host",
        Some("\"\""),
        "name of this machine in conflict names; empty is its host name",
    ),
];

/// Where values come from.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingsLayer {
    /// How it is called: a file, the environment, the command line.
    pub origin: String,
    /// Its values.
    pub values: BTreeMap<String, Value>,
}

/// A value, and the layer that it is from.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The key.
    pub key: &'static str,
    /// The value, as a file would say it.
    pub value: String,
    /// The layer.
    pub origin: String,
}

/// Settings that were checked.
#[derive(Debug, Clone)]
pub struct SyncSettings {
    /// Roots.
    pub sync_dirs: Vec<PathBuf>,
    /// As it was written.
    pub remote_root: String,
    /// What it means.
    pub remote: RemoteRoot,
    /// Whether anything is done.
    pub is_enabled: bool,
    /// Which way changes go.
    pub direction: Direction,
    /// What becomes of conflicts.
    pub rule: ConflictRule,
    /// Time between two looks at everything.
    pub poll_interval: Duration,
    /// Whether events of the operating system begin a pass.
    pub is_watching: bool,
    /// Time without a change before a file is synced.
    pub debounce: Duration,
    /// Lines of gitignore(5).
    pub ignore: Vec<String>,
    /// Files at once.
    pub concurrency: usize,
    /// Bytes a second.
    pub bandwidth: Option<u64>,
    /// Name of this machine in conflict names.
    pub host: String,
    /// Each key, and where its value is from.
    pub origins: Vec<Origin>,
}

/// What roots are kept in step with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteRoot {
    /// A directory of a project.
    Project(ProjectName, ObjectPath),
    /// A plain directory.
    Directory(PathBuf),
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// A file is no TOML.
    #[error("{origin} is not TOML: {problem}")]
    Toml {
        /// The file.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no such key.
    #[error(
        "{origin} has a key {key:?}, which there is not; there are {}",
        names()
    )]
    UnknownKey {
        /// The layer.
        origin: String,
        /// What stands there.
        key: String,
    },
    /// A value cannot be used.
    #[error("{key} = {value} ({origin}): {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What stands there.
        value: String,
        /// The layer.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// A key has no value.
    #[error("{key} is not set: {help}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it means.
        help: &'static str,
    },
}

fn names() -> String {
    let names: Vec<_> = SETTINGS_KEYS.iter().map(|key| key.name).collect();
    names.join(", ")
}

impl SettingsLayer {
    /// Reads the text of a file.
    pub fn of_file(origin: &str, text: &str) -> Result<Self, SettingsError> {
        let values: BTreeMap<String, Value> =
            toml::from_str(text).map_err(|error| SettingsError::Toml {
                origin: origin.to_owned(),
                problem: error.message().to_owned(),
            })?;
        let layer = Self {
            origin: origin.to_owned(),
            values,
        };
        layer.check().map(|()| layer)
    }

    /// Takes variables of the environment or flags: a text that is a value of TOML, or one without its quotes; a list is
    /// parted by colons.
    pub fn of_texts(
        origin: &str,
        texts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsError> {
        let values = texts.into_iter().map(|(key, text)| {
            let value = value_of_text(&key, &text);
            (key, value)
        });
        let layer = Self {
            origin: origin.to_owned(),
            values: values.collect(),
        };
        layer.check().map(|()| layer)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let is_known = |key: &String| SETTINGS_KEYS.iter().any(|it| it.name == *key);
        match self.values.keys().find(|key| !is_known(key)) {
            None => Ok(()),
            Some(key) => Err(SettingsError::UnknownKey {
                origin: self.origin.clone(),
                key: key.clone(),
            }),
        }
    }
}

fn value_of_text(key: &str, text: &str) -> Value {
    match key {
        "sync_dirs" | "ignore" => {
            let parts = text.split(':').filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        "enabled" | "watch" => match text {
            "true" | "1" => Value::Boolean(true),
            "false" | "0" => Value::Boolean(false),
            other => Value::String(other.to_owned()),
        },
        "poll_interval" | "debounce_ms" | "concurrency" => {
            let number = text.parse().map(Value::Integer);
            number.unwrap_or_else(|_| Value::String(text.to_owned()))
        }
        _ => Value::String(text.to_owned()),
    }
}

/// Values of all keys, each with its layer.
struct Merged<'a>(BTreeMap<&'static str, (Value, &'a str)>);

impl SyncSettings {
    /// Joins layers, the one that counts most last, and checks them.
    pub fn new(layers: &[SettingsLayer], host: &str) -> Result<Self, SettingsError> {
        let merged = Merged::of(layers)?;
        let remote_root = merged.text("remote_root")?;
        let settings = Self {
            sync_dirs: merged.directories()?,
            remote: merged.remote(&remote_root)?,
            remote_root,
            is_enabled: merged.switch("enabled")?,
            direction: merged.choice(
                "direction",
                &[
                    ("push", Direction::Push),
                    ("pull", Direction::Pull),
                    ("both", Direction::Both),
                ],
            )?,
            rule: merged.choice(
                "conflict",
                &[
                    ("ours", ConflictRule::Ours),
                    ("theirs", ConflictRule::Theirs),
                    ("both", ConflictRule::Both),
                ],
            )?,
            poll_interval: Duration::from_secs(merged.number("poll_interval", 1, 86_400)?),
            is_watching: merged.switch("watch")?,
            debounce: Duration::from_millis(merged.number("debounce_ms", 50, 60_000)?),
            ignore: merged.patterns()?,
            concurrency: usize::try_from(merged.number("concurrency", 1, 64)?).unwrap_or(1),
            bandwidth: merged.bandwidth()?,
            host: merged.host(host)?,
            origins: merged.origins(),
        };
        merged.check_remote(&settings)?;
        Ok(settings)
    }

    /// Returns what a root is kept in step with, and how that is written.
    #[must_use]
    pub fn far_of(&self, dir: &Path) -> (FarPlace, String) {
        let name = dir.file_name().unwrap_or_default();
        let text = name.to_string_lossy();
        match &self.remote {
            RemoteRoot::Directory(root) => {
                let place = root.join(name);
                let text = place.display().to_string();
                (FarPlace::Directory(place), text)
            }
            RemoteRoot::Project(project, path) => {
                use std::os::unix::ffi::OsStrExt as _;
                let base = [path.as_bytes(), b"/", name.as_bytes()].concat();
                // That it fits was checked.
                let base = ObjectPath::new(&base).unwrap_or_default();
                let above = match path.is_root() {
                    true => String::new(),
                    false => format!("{}/", String::from_utf8_lossy(path.as_bytes())),
                };
                let project = project.clone();
                let written = format!("{project}:{above}{text}");
                (FarPlace::Project { project, base }, written)
            }
        }
    }
}

impl<'a> Merged<'a> {
    fn of(layers: &'a [SettingsLayer]) -> Result<Self, SettingsError> {
        let mut merged = BTreeMap::new();
        for key in SETTINGS_KEYS {
            let set = layers.iter().rev();
            let set = set.filter_map(|layer| Some((layer.values.get(key.name)?, &*layer.origin)));
            let set = set.map(|(value, origin)| (value.clone(), origin)).next();
            let value = match (set, key.default) {
                (Some(set), _) => set,
                (None, Some(default)) => (default_value(default), "default"),
                (None, None) => {
                    return Err(SettingsError::Missing {
                        key: key.name,
                        help: key.help,
                    });
                }
            };
            let _ = merged.insert(key.name, value);
        }
        Ok(Self(merged))
    }

    fn wrong<T>(&self, key: &'static str, problem: impl fmt::Display) -> Result<T, SettingsError> {
        let (value, origin) = &self.0[key];
        Err(SettingsError::Value {
            key,
            value: shown(value),
            origin: (*origin).to_owned(),
            problem: problem.to_string(),
        })
    }

    fn text(&self, key: &'static str) -> Result<String, SettingsError> {
        match &self.0[key].0 {
            Value::String(text) => Ok(text.clone()),
            _ => self.wrong(key, "it must be a text in quotes"),
        }
    }

    fn switch(&self, key: &'static str) -> Result<bool, SettingsError> {
        match &self.0[key].0 {
            Value::Boolean(is) => Ok(*is),
            _ => self.wrong(key, "it must be true or false"),
        }
    }

    fn number(&self, key: &'static str, min: u64, max: u64) -> Result<u64, SettingsError> {
        let number = match &self.0[key].0 {
            Value::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(number),
            None => self.wrong(
                key,
                format!("it must be a whole number from {min} to {max}"),
            ),
        }
    }

    fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, SettingsError> {
        let text = self.text(key)?;
        match choices.iter().find(|(name, _)| *name == text) {
            Some((_, choice)) => Ok(*choice),
            None => {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                self.wrong(key, format!("it must be one of {}", names.join(", ")))
            }
        }
    }

    fn list(&self, key: &'static str) -> Result<Vec<String>, SettingsError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let list = self.0[key].0.as_array();
        let list = list.and_then(|list| list.iter().map(text).collect());
        match list {
            Some(list) => Ok(list),
            None => self.wrong(key, "it must be a list of texts, such as [\"a\", \"b\"]"),
        }
    }

    fn patterns(&self) -> Result<Vec<String>, SettingsError> {
        let patterns = self.list("ignore")?;
        match IgnoreScope::of_project(&patterns, &ObjectPath::ROOT) {
            Ok(_) => Ok(patterns),
            Err(error) => self.wrong("ignore", error),
        }
    }

    fn bandwidth(&self) -> Result<Option<u64>, SettingsError> {
        let text = self.text("bandwidth")?;
        match size::parse(&text) {
            Some(0) => Ok(None),
            Some(bytes) if bytes >= 1024 => Ok(Some(bytes)),
            _ => self.wrong(
                "bandwidth",
                "it must be 0, or a size of 1K or more, such as \"5M\"",
            ),
        }
    }

    fn host(&self, found: &str) -> Result<String, SettingsError> {
        let set = self.text("host")?;
        let host = if set.is_empty() { found } else { &set };
        let is_valid = !host.is_empty()
            && host.len() <= 64
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        match is_valid {
            true => Ok(host.to_owned()),
            false if set.is_empty() => Ok("host".to_owned()),
            false => self.wrong(
                "host",
                "it must be 1 to 64 letters, digits, dots, dashes or underscores",
            ),
        }
    }

    fn directories(&self) -> Result<Vec<PathBuf>, SettingsError> {
        let key = "sync_dirs";
        let dirs: Vec<PathBuf> = self.list(key)?.into_iter().map(PathBuf::from).collect();
        if dirs.is_empty() {
            return self.wrong(key, "it must have a directory");
        }
        for dir in &dirs {
            let shown = dir.display();
            let is_plain =
                |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
            if !dir.is_absolute() || !dir.components().all(is_plain) {
                return self.wrong(key, format!("{shown} must be absolute, without \"..\""));
            }
            if dir
                .file_name()
                .is_none_or(|name| name == crate::filter::STATE_DIR)
            {
                return self.wrong(key, format!("{shown} has no name of its own"));
            }
        }
        for (at, one) in dirs.iter().enumerate() {
            for two in &dirs[at + 1..] {
                if one.starts_with(two) || two.starts_with(one) {
                    let (one, two) = (one.display(), two.display());
                    return self.wrong(key, format!("one of {one} and {two} lies in the other"));
                }
                if one.file_name() == two.file_name() {
                    let (one, two) = (one.display(), two.display());
                    return self.wrong(key, format!("{one} and {two} have the same name"));
                }
            }
        }
        Ok(dirs)
    }

    fn remote(&self, text: &str) -> Result<RemoteRoot, SettingsError> {
        let key = "remote_root";
        if text.starts_with('/') {
            let dir = PathBuf::from(text);
            let is_plain =
                |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
            return match dir.components().all(is_plain) {
                true => Ok(RemoteRoot::Directory(dir)),
                false => self.wrong(key, "a directory must not have \"..\""),
            };
        }
        let (project, path) = text.split_once(':').unwrap_or((text, ""));
        if project.contains('@') {
            return self.wrong(key, "a version never changes: name the project alone");
        }
        let project = match ProjectName::new(project) {
            Ok(project) => project,
            Err(error) => return self.wrong(key, error),
        };
        match ObjectPath::new(path.as_bytes()) {
            Ok(path) => Ok(RemoteRoot::Project(project, path)),
            Err(error) => self.wrong(key, error),
        }
    }

    /// A root must not lie in what it is synced with.
    fn check_remote(&self, settings: &SyncSettings) -> Result<(), SettingsError> {
        for dir in &settings.sync_dirs {
            if let (FarPlace::Directory(far), _) = settings.far_of(dir)
                && (far.starts_with(dir) || dir.starts_with(&far))
            {
                let shown = dir.display();
                return self.wrong(
                    "remote_root",
                    format!("{shown} would be synced with itself"),
                );
            }
            use std::os::unix::ffi::OsStrExt as _;
            if let RemoteRoot::Project(_, path) = &settings.remote {
                let name = dir.file_name().unwrap_or_default();
                let base = [path.as_bytes(), b"/", name.as_bytes()].concat();
                if let Err(error) = ObjectPath::new(&base) {
                    return self.wrong("remote_root", error);
                }
            }
        }
        let wrong_rule = match (settings.direction, settings.rule) {
            (Direction::Push, ConflictRule::Theirs) => {
                Some("with direction push the far side cannot be taken")
            }
            (Direction::Pull, ConflictRule::Ours) => {
                Some("with direction pull the root cannot be taken")
            }
            _ => None,
        };
        wrong_rule.map_or(Ok(()), |problem| self.wrong("conflict", problem))
    }

    fn origins(&self) -> Vec<Origin> {
        let origin = |key: &SettingsKey| {
            let (value, origin) = &self.0[key.name];
            Origin {
                key: key.name,
                value: shown(value),
                origin: (*origin).to_owned(),
            }
        };
        SETTINGS_KEYS.iter().map(origin).collect()
    }
}

fn default_value(text: &str) -> Value {
    let parsed: Result<BTreeMap<String, Value>, _> = toml::from_str(&format!("value = {text}"));
    let mut parsed = parsed.unwrap_or_default();
    parsed
        .remove("value")
        .unwrap_or_else(|| Value::String(String::new()))
}

/// Returns a value as a file would say it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(is) => is.to_string(),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(shown).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Table(_) => "a table".to_owned(),
        Value::Datetime(_) => "a date".to_owned(),
    }
}
