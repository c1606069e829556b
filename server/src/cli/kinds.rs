//! What the value of a key can be, and what is said of one that it cannot be.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::PathBuf;

use lfsfs_cluster::Placement;
use lfsfs_common::size;
use lfsfs_proto::address::endpoint;

use crate::meta_place::MetaPlace;

/// TOML has no longer numbers.
pub(super) const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();
const ZONE_LEN_MAX: usize = 64;
const MIB: u64 = 1024 * 1024;

/// What the value of a key can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file or a directory.
    Path,
    /// Directories, one at least.
    Directories,
    /// An engine and its directory.
    MetaPlace,
    /// An address to listen on.
    SocketAddress,
    /// A server that others call.
    HostPort,
    /// On or off.
    Switch,
    /// Bytes, within limits.
    Size { min: u64, max: u64 },
    /// A whole number.
    Number { min: u64, max: u64 },
    /// How datanodes are chosen.
    Placement,
    /// The name of a zone, or nothing.
    Zone,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Path(PathBuf),
    Paths(Vec<PathBuf>),
    Number(u64),
    Switch(bool),
}

impl Kind {
    /// Takes a value from a flag or a variable. Returns none if the key cannot have it.
    pub(super) fn parse(self, text: &OsStr) -> Option<Value> {
        match self {
            Self::Path => return (!text.is_empty()).then(|| Value::Path(text.into())),
            Self::Directories => return self.parse_all(&[text]),
            _ => {}
        }
        let text = text.to_str()?;
        let as_text = |is_right: bool| is_right.then(|| Value::Text(text.to_owned()));
        match self {
            Self::Path | Self::Directories => None,
            Self::MetaPlace => as_text(text.parse::<MetaPlace>().is_ok()),
            Self::SocketAddress => as_text(text.parse::<SocketAddr>().is_ok()),
            Self::HostPort => as_text(is_host_port(text)),
            Self::Switch => text.parse().ok().map(Value::Switch),
            Self::Size { min, max } => number(size::parse(text), min, max),
            Self::Number { min, max } => number(text.parse().ok(), min, max),
            Self::Placement => as_text(text.parse::<Placement>().is_ok()),
            Self::Zone => as_text(is_zone(text)),
        }
    }

    /// Takes a value from several flags, or from the parts of a variable. Only directories can be several.
    pub(super) fn parse_all(self, texts: &[impl AsRef<OsStr>]) -> Option<Value> {
        if self != Self::Directories {
            return texts.last().and_then(|text| self.parse(text.as_ref()));
        }
        let paths = texts.iter().map(|text| PathBuf::from(text.as_ref()));
        let paths: Vec<_> = paths.collect();
        let is_right = !paths.is_empty() && paths.iter().all(|path| !path.as_os_str().is_empty());
        is_right.then_some(Value::Paths(paths))
    }

    /// Takes a value from a file. Returns none if the key cannot have it.
    pub(super) fn parse_toml(self, value: &toml::Value) -> Option<Value> {
        if let (Self::Directories, toml::Value::Array(values)) = (self, value) {
            let texts = values.iter().map(toml::Value::as_str);
            return self.parse_all(&texts.collect::<Option<Vec<_>>>()?);
        }
        let text = match (self, value) {
            (Self::Switch, toml::Value::Boolean(is_on)) => is_on.to_string(),
            (Self::Switch | Self::Number { .. }, toml::Value::String(_)) => return None,
            (Self::Size { .. } | Self::Number { .. }, toml::Value::Integer(number)) => {
                number.to_string()
            }
            (_, toml::Value::String(text)) => text.clone(),
            _ => return None,
        };
        self.parse(text.as_ref())
    }

    /// Returns what a value of this kind looks like.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Path => "a path".to_owned(),
            Self::Directories => "a directory, or several".to_owned(),
            Self::MetaPlace => "redb:DIR or sled:DIR".to_owned(),
            Self::SocketAddress => "an address and a port such as 127.0.0.1:5051".to_owned(),
            Self::HostPort => "HOST:PORT".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Size { min, max } => expected_size(min, max),
            Self::Number { min, max } => format!("a number from {min} to {max}"),
            Self::Placement => "least-used, weighted-random or zone-aware".to_owned(),
            Self::Zone => format!("at most {ZONE_LEN_MAX} letters, digits and signs of . _ -"),
        }
    }
}

fn expected_size(min: u64, max: u64) -> String {
    let text = |size: u64| match size.is_multiple_of(MIB) {
        true => format!("{}MiB", size / MIB),
        false => size.to_string(),
    };
    if max < NUMBER_MAX {
        return format!("a size from {} to {}", text(min), text(max));
    }
    let example = "a size such as 536870912 or 512MiB";
    match min {
        0 => example.to_owned(),
        min => format!("{example}, at least {}", text(min)),
    }
}

fn number(number: Option<u64>, min: u64, max: u64) -> Option<Value> {
    let number = number.filter(|number| (min..=max).contains(number));
    number.map(Value::Number)
}

fn is_host_port(text: &str) -> bool {
    let has_port = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    has_port && !text.contains('/') && endpoint(text).is_ok()
}

fn is_zone(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.len() <= ZONE_LEN_MAX && text.bytes().all(is_fit)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn parses(kind: Kind, text: &str) -> bool {
        kind.parse(text.as_ref()).is_some()
    }

    #[test]
    fn each_kind_takes_what_it_says_and_nothing_else() {
        let long = "z".repeat(ZONE_LEN_MAX + 1);
        let cases: [(Kind, &[&str], &[&str]); 10] = [
            (Kind::Path, &["/a b", "."], &[""]),
            (Kind::MetaPlace, &["redb:/a", "sled:b"], &["", "/a", "b:/a"]),
            (
                Kind::SocketAddress,
                &["127.0.0.1:0", "[::1]:5051"],
                &["", "localhost:5051", "127.0.0.1", "127.0.0.1:65536"],
            ),
            (
                Kind::HostPort,
                &["localhost:5051", "[::1]:5051", "10.0.0.5:1"],
                &[
                    "",
                    "localhost",
                    ":5051",
                    "a:b",
                    "a/b:5051",
                    "a b:5051",
                    "::1",
                ],
            ),
            (Kind::Switch, &["true", "false"], &["", "yes", "1", "True"]),
            (
                Kind::Size {
                    min: 1 << 20,
                    max: NUMBER_MAX,
                },
                &["1048576", "1MiB", "2TiB"],
                &["", "0", "1KiB", "-1", "1.5GiB", "9223372036854775808"],
            ),
            (
                Kind::Size {
                    min: 1 << 20,
                    max: 64 << 20,
                },
                &["1MiB", "67108864"],
                &["1048575", "65MiB"],
            ),
            (
                Kind::Number { min: 1, max: 16 },
                &["1", "16"],
                &["", "0", "17", "-1", "1KiB", "18446744073709551616"],
            ),
            (Kind::Placement, &["least-used"], &["", "random"]),
            (Kind::Zone, &["", "rack-1.b_C"], &["a b", "é", "a/b", &long]),
        ];
        for (kind, right, wrong) in cases {
            for text in right {
                assert!(parses(kind, text), "{kind:?} {text:?}");
            }
            for text in wrong {
                assert!(!parses(kind, text), "{kind:?} {text:?}");
            }
        }
    }

    #[test]
    fn the_types_of_a_file_are_those_of_its_keys() {
        let number = Kind::Number { min: 0, max: 9 };
        let size = Kind::Size {
            min: 0,
            max: NUMBER_MAX,
        };
        let cases = [
            (Kind::Switch, "true", true),
            (Kind::Switch, "'true'", false),
            (number, "3", true),
            (number, "'3'", false),
            (number, "3.0", false),
            (size, "1024", true),
            (size, "'1KiB'", true),
            (size, "-1", false),
            (size, "true", false),
            (Kind::Zone, "'5'", true),
            (Kind::Zone, "5", false),
            (Kind::Zone, "['a']", false),
            (Kind::Path, "'/a'", true),
            (Kind::Path, "{ a = 1 }", false),
            (Kind::Path, "2026-11-29", false),
            (Kind::Path, "['/a']", false),
            (Kind::Directories, "'/a'", true),
            (Kind::Directories, "['/a', '/b']", true),
            (Kind::Directories, "['/a', 1]", false),
            (Kind::Directories, "['/a', '']", false),
            (Kind::Directories, "[]", false),
        ];
        for (kind, text, is_right) in cases {
            let table: toml::Table = toml::from_str(&format!("x = {text}")).unwrap();
            let parsed = kind.parse_toml(&table["x"]);
            assert_eq!(parsed.is_some(), is_right, "{kind:?} {text}");
        }
    }

    #[test]
    fn a_path_need_not_be_text() {
        let path = OsStr::from_bytes(b"/\xff");
        assert_eq!(Kind::Path.parse(path), Some(Value::Path(path.into())));
        assert_eq!(Kind::Zone.parse(path), None);
    }
}
