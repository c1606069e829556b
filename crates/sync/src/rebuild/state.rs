//! What a rebuilt directory remembers of itself: the file `state` in its `.lfsfs`.
//!
//! docs/rebuild.md describes the bytes. Everything here is pure.

use lfsfs_types::{ClusterId, ObjectPath, ProjectId, VersionId, VersionNumber};
use serde::{Deserialize, Serialize};

/// The format of a directory that has a version, or subpaths of one, at their own paths.
const FORMAT_WHOLE: u32 = 1;
/// The format of a directory that has a subdirectory as its root. Programs that do not know it refuse it.
const FORMAT_SUBDIRECTORY: u32 = 2;

/// A version that a directory has, or may have entries of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KnownVersion {
    pub(crate) number: VersionNumber,
    /// A restored backup may have another version of the same number.
    pub(crate) id: VersionId,
}

/// Which part of which project a directory has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) cluster: ClusterId,
    pub(crate) project: ProjectId,
    /// The directory of the version that is the root here; the other paths are below it.
    pub(crate) subdirectory: ObjectPath,
    /// Patterns of what is left alone, in order.
    pub(crate) ignore: Vec<String>,
    /// The paths that it has, in order; all if there are none.
    pub(crate) subpaths: Vec<ObjectPath>,
}

impl Part {
    /// Brings patterns and paths into their order.
    pub(crate) fn new(
        (cluster, project): (ClusterId, ProjectId),
        subdirectory: ObjectPath,
        mut ignore: Vec<String>,
        mut subpaths: Vec<ObjectPath>,
    ) -> Self {
        ignore.sort();
        ignore.dedup();
        subpaths.sort();
        subpaths.dedup();
        Self {
            cluster,
            project,
            subdirectory,
            ignore,
            subpaths,
        }
    }
}

/// How far a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has this version.
    At(KnownVersion),
    /// It was being changed, and may have entries of these versions; and others, which are to be removed, if
    /// it replaces what was there.
    UnderWay {
        versions: Vec<KnownVersion>,
        replaces: bool,
    },
}

/// All that a directory remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) part: Part,
    pub(crate) standing: Standing,
}

/// The state as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonState {
    format: u32,
    cluster: String,
    project: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subdirectory_hex: Option<String>,
    ignore: Vec<String>,
    subpaths_hex: Vec<String>,
    version: Option<JsonVersion>,
    under_way: Option<JsonUnderWay>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonVersion {
    number: u64,
    id: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonUnderWay {
    versions: Vec<JsonVersion>,
    replaces: bool,
}

impl State {
    /// Returns the bytes of the file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let (version, under_way) = match &self.standing {
            Standing::At(version) => (Some(json_version(version)), None),
            Standing::UnderWay { versions, replaces } => {
                let under_way = JsonUnderWay {
                    versions: versions.iter().map(json_version).collect(),
                    replaces: *replaces,
                };
                (None, Some(under_way))
            }
        };
        let Part {
            cluster,
            project,
            subdirectory,
            ignore,
            subpaths,
        } = &self.part;
        let subdirectory = (!subdirectory.is_root()).then(|| hex(subdirectory.as_bytes()));
        let mut bytes = serde_json::to_vec(&JsonState {
            format: match subdirectory {
                None => FORMAT_WHOLE,
                Some(_) => FORMAT_SUBDIRECTORY,
            },
            cluster: cluster.to_string(),
            project: project.to_string(),
            subdirectory_hex: subdirectory,
            ignore: ignore.clone(),
            subpaths_hex: subpaths.iter().map(|path| hex(path.as_bytes())).collect(),
            version,
            under_way,
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the bytes of a file, or says what is wrong with them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let json: JsonState = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let subdirectory = match (json.format, json.subdirectory_hex) {
            (FORMAT_WHOLE, None) => ObjectPath::ROOT,
            (FORMAT_SUBDIRECTORY, Some(text)) => path(&text)?,
            (FORMAT_WHOLE | FORMAT_SUBDIRECTORY, _) => {
                return Err(format!("it is not of format {}", json.format));
            }
            (format, _) => return Err(format!("format {format} is not known")),
        };
        let cluster = ClusterId::try_from_hex(&json.cluster).map_err(|error| error.to_string())?;
        let project = ProjectId::try_from_hex(&json.project).map_err(|error| error.to_string())?;
        let subpaths = json.subpaths_hex.iter().map(|text| path(text));
        let subpaths: Vec<_> = subpaths.collect::<Result<_, _>>()?;
        let standing = match (json.version, json.under_way) {
            (Some(version), None) => Standing::At(known_version(&version)?),
            (None, Some(JsonUnderWay { versions, replaces })) => {
                let versions = versions.iter().map(known_version);
                Standing::UnderWay {
                    versions: versions.collect::<Result<_, _>>()?,
                    replaces,
                }
            }
            _ => return Err("it has no version, or two".to_owned()),
        };
        let part = Part::new((cluster, project), subdirectory, json.ignore, subpaths);
        Ok(Self { part, standing })
    }
}

pub(super) fn json_version(version: &KnownVersion) -> JsonVersion {
    JsonVersion {
        number: version.number.0,
        id: version.id.to_string(),
    }
}

pub(super) fn known_version(json: &JsonVersion) -> Result<KnownVersion, String> {
    Ok(KnownVersion {
        number: VersionNumber(json.number),
        id: VersionId::try_from_hex(&json.id).map_err(|error| error.to_string())?,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn path(text: &str) -> Result<ObjectPath, String> {
    let byte = |at| {
        text.get(at..at + 2)
            .and_then(|it| u8::from_str_radix(it, 16).ok())
    };
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    let bytes = bytes.ok_or_else(|| format!("{text:?} is not hexadecimal"))?;
    ObjectPath::new(&bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u64) -> KnownVersion {
        KnownVersion {
            number: VersionNumber(number),
            id: VersionId([7; 16]),
        }
    }

    fn state(standing: Standing) -> State {
        let paths = [&b"b"[..], b"a/\xff", b"b"].map(|it| ObjectPath::new(it).expect("a path"));
        let ignore = ["*.log".to_owned()].to_vec();
        let ids = (ClusterId([1; 16]), ProjectId([2; 16]));
        State {
            part: Part::new(ids, ObjectPath::ROOT, ignore, paths.to_vec()),
            standing,
        }
    }

    fn of_subdirectory(state: State) -> State {
        let subdirectory = ObjectPath::new(b"a/\xff:").expect("a path");
        State {
            part: Part {
                subdirectory,
                ..state.part
            },
            ..state
        }
    }

    #[test]
    fn a_state_goes_both_ways() {
        let under_way = Standing::UnderWay {
            versions: vec![version(1), version(9)],
            replaces: true,
        };
        for standing in [Standing::At(version(42)), under_way] {
            let state = state(standing);
            for state in [of_subdirectory(state.clone()), state] {
                let bytes = state.encode().expect("bytes");
                assert_eq!(State::decode(&bytes), Ok(state));
            }
        }
    }

    #[test]
    fn the_state_of_a_subdirectory_is_one_that_older_programs_refuse() {
        let state = of_subdirectory(state(Standing::At(version(42))));
        let bytes = state.encode().expect("bytes");
        let text = String::from_utf8(bytes).expect("text");
        let expected = concat!(
            r#"{"format":2,"cluster":"01010101010101010101010101010101","#,
            r#""project":"02020202020202020202020202020202","subdirectory_hex":"612fff3a","#,
            r#""ignore":["*.log"],"subpaths_hex":["612fff","62"],"version":{"number":42,"#,
            r#""id":"07070707070707070707070707070707"},"under_way":null}"#,
            "\n"
        );
        assert_eq!(text, expected);
        for (old, new) in [
            (r#""format":2"#, r#""format":1"#),
            (r#""format":2"#, r#""format":3"#),
            (r#""subdirectory_hex":"612fff3a","#, ""),
            (r#"612fff3a"#, r#"2e2e"#),
        ] {
            let damaged = text.replacen(old, new, 1);
            assert!(State::decode(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let bytes = state(Standing::At(version(42))).encode().expect("bytes");
        let expected = concat!(
            r#"{"format":1,"cluster":"01010101010101010101010101010101","#,
            r#""project":"02020202020202020202020202020202","ignore":["*.log"],"#,
            r#""subpaths_hex":["612fff","62"],"version":{"number":42,"#,
            r#""id":"07070707070707070707070707070707"},"under_way":null}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(bytes).expect("text"), expected);
    }

    #[test]
    fn what_is_damaged_is_refused() {
        let bytes = state(Standing::At(version(42))).encode().expect("bytes");
        let text = String::from_utf8(bytes).expect("text");
        assert!(State::decode(b"").is_err());
        assert!(State::decode(&text.as_bytes()[..text.len() / 2]).is_err());
        for (old, new) in [
            (r#""format":1"#, r#""format":2"#),
            (
                r#""under_way":null"#,
                r#""under_way":{"versions":[],"replaces":false}"#,
            ),
            ("0101", "01x1"),
            ("612fff", "612e2e2fff2"),
            ("612fff", "2e2e"),
            (r#""ignore""#, r#""other""#),
        ] {
            assert!(text.contains(old), "{old}");
            let damaged = text.replacen(old, new, 1);
            assert!(State::decode(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }
}
