//! The configuration file: TOML with one value for each key.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use lfsfs_common::PathError;
use toml::Spanned;

use super::config_error::{ConfigError, Place};
use super::keys::{Key, RoleName, nearest};
use super::kinds::Value;

/// A configuration has some kilobytes. What is longer is another file, or a device without an end.
const LEN_MAX: u64 = 1024 * 1024;
/// So much of a wrong value is repeated.
const SHOWN_MAX: usize = 60;

/// Reads a file and checks all of it. Returns the keys that it sets.
pub(super) fn read(path: &Path, role: RoleName) -> Result<Vec<(&'static Key, Value)>, ConfigError> {
    let text = read_text(path)?;
    let file = ConfigFile { path, text: &text };
    let mut set = Vec::new();
    for (name, value) in file.lines()? {
        set.push(file.check(&name, &value, role)?);
    }
    Ok(set)
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = File::open(path)?;
        file.take(LEN_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(PathError::wrap("read", path))?;
    if bytes.len() as u64 > LEN_MAX {
        return Err(ConfigError::TooLong {
            file: path.to_owned(),
            len_max: LEN_MAX,
        });
    }
    let text = String::from_utf8(bytes).map_err(|error| ConfigError::Syntax {
        place: line_of(path, error.as_bytes(), error.utf8_error().valid_up_to()),
        reason: "not UTF-8".to_owned(),
    })?;
    Ok(text)
}

/// The place of the byte at `at`.
fn line_of(path: &Path, bytes: &[u8], at: usize) -> Place {
    let before = bytes.iter().take(at);
    Place::Line {
        file: path.to_owned(),
        line: before.filter(|byte| **byte == b'\n').count() + 1,
    }
}

/// A file and its text.
#[derive(Debug, Clone, Copy)]
struct ConfigFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl ConfigFile<'_> {
    /// Returns the names in the file with their values, in the order of the file.
    fn lines(&self) -> Result<Vec<(String, Spanned<toml::Value>)>, ConfigError> {
        let lines: BTreeMap<String, Spanned<toml::Value>> =
            toml::from_str(self.text).map_err(|error: toml::de::Error| {
                let start = error.span().map_or(0, |span| span.start);
                ConfigError::Syntax {
                    place: self.place(start),
                    reason: error.message().to_owned(),
                }
            })?;
        let mut lines: Vec<_> = lines.into_iter().collect();
        lines.sort_by_key(|(_, value)| value.span().start);
        Ok(lines)
    }

    fn check(
        &self,
        name: &str,
        value: &Spanned<toml::Value>,
        role: RoleName,
    ) -> Result<(&'static Key, Value), ConfigError> {
        let place = self.place(value.span().start);
        let name = name.to_owned();
        let Some(key) = Key::find(&name) else {
            let nearest = nearest(&name);
            return Err(ConfigError::UnknownKey {
                place,
                name,
                nearest,
            });
        };
        if !key.roles.contains(&role) {
            return Err(ConfigError::OtherRole {
                place,
                name,
                key,
                role,
            });
        }
        let given = || format!("{name} = {}", self.shown(value.span()));
        let parsed = key.kind.parse_toml(value.get_ref());
        let parsed = parsed.ok_or_else(|| ConfigError::Value {
            place,
            given: given(),
            key,
        })?;
        Ok((key, parsed))
    }

    fn place(&self, at: usize) -> Place {
        line_of(self.path, self.text.as_bytes(), at)
    }

    /// Returns a value as it stands in the file, the beginning of a long one.
    fn shown(&self, span: Range<usize>) -> String {
        let value = self.text.get(span).unwrap_or_default();
        let line = value.lines().next().unwrap_or_default();
        let shown: String = line.chars().take(SHOWN_MAX).collect();
        match shown.len() < value.len() {
            true => format!("{shown}..."),
            false => shown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Reads a file with this text for a role.
    fn read_as(role: RoleName, text: &[u8]) -> Result<Vec<(&'static str, Value)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lfsfsd.toml");
        fs::write(&path, text).unwrap();
        let set = read(&path, role).map_err(|error| {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            text
        })?;
        Ok(set
            .into_iter()
            .map(|(key, value)| (key.name, value))
            .collect())
    }

    fn refused(role: RoleName, text: &str, words: &[&str]) {
        let complaint = read_as(role, text.as_bytes()).unwrap_err();
        for word in words {
            assert!(complaint.contains(word), "{word:?} in {complaint:?}");
        }
    }

    #[test]
    fn a_file_sets_the_keys_that_it_has() {
        let text = "# mine\nmemory = '1GiB'\ninsecure-listen = true\ngrace = 3\nzone = \"a\"";
        let set = read_as(RoleName::All, text.as_bytes()).unwrap();
        let expected = [
            ("memory", Value::Number(1 << 30)),
            ("insecure-listen", Value::Switch(true)),
            ("grace", Value::Number(3)),
            ("zone", Value::Text("a".to_owned())),
        ];
        assert_eq!(set, expected);
        assert_eq!(read_as(RoleName::All, b""), Ok(vec![]));
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_one() {
        let unknown = "grace = 1\n\nmin_replicas = 2";
        refused(
            RoleName::All,
            unknown,
            &["line 3", "\"min_replicas\"", "did you mean min-replicas?"],
        );
        let other = "colour = 'red'";
        refused(
            RoleName::All,
            other,
            &["line 1", "\"colour\"", "lfsfsd config"],
        );
        refused(RoleName::All, "[cluster]\nzone = 'a'", &["\"cluster\""]);
        // The first line that is wrong is told, whatever its key.
        refused(RoleName::All, "zzz = 1\naaa = 1", &["\"zzz\""]);
    }

    #[test]
    fn a_key_of_another_role_is_refused_with_its_roles() {
        let text = "coordinator = '127.0.0.1:5051'";
        refused(
            RoleName::All,
            text,
            &[
                "line 1",
                "coordinator is for lfsfsd datanode, not for lfsfsd all",
            ],
        );
        refused(
            RoleName::Coordinator,
            "zone = 'a'",
            &["zone is for lfsfsd all and lfsfsd datanode"],
        );
        assert!(read_as(RoleName::Datanode, text.as_bytes()).is_ok());
    }

    #[test]
    fn a_wrong_value_is_refused_with_what_is_expected() {
        for (text, words) in [
            ("memory = 12", ["memory = 12 ", "at least 256MiB"]),
            (
                "grace = '10'",
                ["grace = '10' ", "a number from 0 to 86400"],
            ),
            ("zone = 7", ["zone = 7 ", "at most 64 letters"]),
            ("log = []", ["log = [] ", "a path"]),
            (
                "placement = 'far'",
                ["placement = 'far' ", "weighted-random"],
            ),
            ("data = '''\na\nb'''\nzone = 7", ["line 4", "zone = 7 "]),
        ] {
            refused(RoleName::All, text, &words);
        }
        let long = format!("zone = '{}'", "é".repeat(70));
        refused(RoleName::All, &long, &["é... cannot be"]);
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        refused(
            RoleName::All,
            "grace = 1\ngrace = 2",
            &["line 2: duplicate key"],
        );
        refused(RoleName::All, "grace = 1\nzone", &["line 2"]);
        let complaint = read_as(RoleName::All, b"grace = 1\nzone = '\xff'").unwrap_err();
        assert!(complaint.contains("line 2: not UTF-8"), "{complaint}");
        let endless = b"#".repeat(1024 * 1024 + 1);
        let complaint = read_as(RoleName::All, &endless).unwrap_err();
        assert!(complaint.contains("no configuration"), "{complaint}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("absent.toml"), dir.path().to_owned()] {
            let error = read(&path, RoleName::All).unwrap_err();
            assert!(matches!(error, ConfigError::Read(_)), "{error}");
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
        }
    }
}
