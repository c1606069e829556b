//! The layers of settings: files, the environment, the command line.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lfsfs_sync::directory_sync::{SettingsError, SettingsLayer};

use super::SettingsArgs;
use crate::error::CommandError;

const FILE: &str = "lfsfs-sync.toml";
const SYSTEM_FILE: &str = "/etc/lfsfs/sync.toml";
const PREFIX: &str = "LFSFS_SYNC_";
const FILE_VARIABLE: &str = "LFSFS_SYNC_CONFIG";
const ENVIRONMENT: &str = "LFSFS_ENV";
const ENVIRONMENTS: [&str; 3] = ["dev", "test", "prod"];

/// Reads all layers, the one that counts most last.
pub(super) fn read(args: &SettingsArgs) -> Result<Vec<SettingsLayer>, CommandError> {
    let instance = instance(args);
    let mut layers = Vec::new();
    if let Some(name) = environment()? {
        let beside = instance.as_deref().and_then(Path::parent);
        let file = beside
            .unwrap_or(Path::new(""))
            .join(format!("lfsfs-sync.{name}.toml"));
        layers.extend(read_file(&file, Need::IfThere)?);
    }
    if let Some(file) = instance {
        layers.extend(read_file(&file, Need::Always)?);
    }
    layers.push(checked(variables())?);
    layers.push(checked(typed(args)?)?);
    Ok(layers)
}

/// Whether a file must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    IfThere,
}

fn environment() -> Result<Option<String>, CommandError> {
    let Some(name) = env::var_os(ENVIRONMENT).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    match name.to_str().filter(|name| ENVIRONMENTS.contains(name)) {
        Some(name) => Ok(Some(name.to_owned())),
        None => Err(CommandError::usage(format!(
            "{ENVIRONMENT} is {}, and must be one of {}",
            name.display(),
            ENVIRONMENTS.join(", ")
        ))),
    }
}

fn instance(args: &SettingsArgs) -> Option<PathBuf> {
    let named = env::var_os(FILE_VARIABLE).filter(|file| !file.is_empty());
    let named = args.config.clone().or_else(|| named.map(PathBuf::from));
    let found = || {
        [FILE, SYSTEM_FILE]
            .map(PathBuf::from)
            .into_iter()
            .find(|file| file.exists())
    };
    // Who names directory and project needs no file.
    let is_typed = !args.dir.is_empty() && args.remote.is_some();
    named.or_else(|| if is_typed { None } else { found() })
}

fn read_file(file: &Path, need: Need) -> Result<Option<SettingsLayer>, CommandError> {
    let shown = file.display().to_string();
    match fs::read_to_string(file) {
        Ok(text) => checked(SettingsLayer::of_file(&shown, &text)).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound && need == Need::IfThere => Ok(None),
        Err(error) => Err(CommandError::usage(format!("cannot read {shown}: {error}"))),
    }
}

fn variables() -> Result<SettingsLayer, SettingsError> {
    let set = env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let key = name
            .strip_prefix(PREFIX)
            .filter(|_| name != FILE_VARIABLE)?;
        Some((key.to_lowercase(), value.to_string_lossy().into_owned()))
    });
    SettingsLayer::of_texts("environment", set.filter(|(_, value)| !value.is_empty()))
}

fn typed(args: &SettingsArgs) -> Result<Result<SettingsLayer, SettingsError>, CommandError> {
    let mut texts = Vec::new();
    for text in &args.set {
        let Some((key, value)) = text.split_once('=') else {
            return Err(CommandError::usage(format!(
                "--set {text}: it must be KEY=VALUE"
            )));
        };
        texts.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    let dirs: Result<Vec<String>, CommandError> =
        args.dir.iter().map(|dir| absolute(dir)).collect();
    let dirs = dirs?;
    if !dirs.is_empty() {
        texts.push(("sync_dirs".to_owned(), dirs.join(":")));
    }
    if let Some(remote) = &args.remote {
        texts.push(("remote_root".to_owned(), remote.clone()));
    }
    Ok(SettingsLayer::of_texts("command line", texts))
}

/// Returns a directory that was typed, which may be relative.
fn absolute(dir: &Path) -> Result<String, CommandError> {
    let found = std::path::absolute(dir)?;
    let text = found.to_str().filter(|text| !text.contains(':'));
    match text {
        Some(text) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err(CommandError::usage(format!(
            "--dir {}: it must be UTF-8 without \":\"; others can be named in a file of settings",
            dir.display()
        ))),
    }
}

fn checked(layer: Result<SettingsLayer, SettingsError>) -> Result<SettingsLayer, CommandError> {
    layer.map_err(|error| CommandError::usage(error.to_string()))
}
