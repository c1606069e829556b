//! What an update notes before it publishes: the file `sent` in the `.lfsfs` of a rebuilt directory.
//!
//! The random id of the version to be says later whether a process that was killed had published it.
//! docs/rebuild.md describes the bytes. Everything here is pure.

use serde::{Deserialize, Serialize};

use super::state::{JsonVersion, KnownVersion, Standing, json_version, known_version};
use lfsfs_types::VersionId;

/// The format that is written.
const FORMAT: u32 = 1;

/// A version that was about to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The version that the directory had. If it has another by now, what was noted says nothing.
    pub(crate) base: KnownVersion,
    /// The id of the version to be.
    pub(crate) id: VersionId,
    /// The version that it became, once the directory is brought to that.
    pub(crate) merging: Option<KnownVersion>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSent {
    format: u32,
    base: JsonVersion,
    id: String,
    merging: Option<JsonVersion>,
}

impl Sent {
    /// Returns the bytes of the file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(&JsonSent {
            format: FORMAT,
            base: json_version(&self.base),
            id: self.id.to_string(),
            merging: self.merging.as_ref().map(json_version),
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the bytes of a file, or says what is wrong with them.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let json: JsonSent = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if json.format != FORMAT {
            return Err(format!("format {} is not known", json.format));
        }
        let merging = json.merging.as_ref().map(known_version);
        Ok(Self {
            base: known_version(&json.base)?,
            id: VersionId::try_from_hex(&json.id).map_err(|error| error.to_string())?,
            merging: merging.transpose()?,
        })
    }

    /// Returns how far a directory is, for which an update noted this: one that was being brought to a version
    /// may have entries of two.
    pub(crate) fn standing(&self, standing: Standing) -> Standing {
        match (standing, self.merging) {
            (Standing::At(at), Some(merging)) if at == self.base => Standing::UnderWay {
                versions: vec![at, merging],
                replaces: false,
            },
            (standing, _) => standing,
        }
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::VersionNumber;

    use super::*;

    fn version(number: u64) -> KnownVersion {
        KnownVersion {
            number: VersionNumber(number),
            id: VersionId([7; 16]),
        }
    }

    fn sent(merging: Option<KnownVersion>) -> Sent {
        Sent {
            base: version(4),
            id: VersionId([8; 16]),
            merging,
        }
    }

    #[test]
    fn what_is_noted_goes_both_ways() {
        for merging in [None, Some(version(6))] {
            let sent = sent(merging);
            let bytes = sent.encode().expect("bytes");
            assert_eq!(Sent::decode(&bytes), Ok(sent));
            assert!(Sent::decode(&bytes[..bytes.len() / 2]).is_err());
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let bytes = sent(None).encode().expect("bytes");
        let expected = concat!(
            r#"{"format":1,"base":{"number":4,"id":"07070707070707070707070707070707"},"#,
            r#""id":"08080808080808080808080808080808","merging":null}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(bytes).expect("text"), expected);
        let other = expected.replace(r#""format":1"#, r#""format":2"#);
        assert!(Sent::decode(other.as_bytes()).is_err());
    }

    #[test]
    fn a_directory_that_was_being_merged_may_have_two_versions() {
        let both = Standing::UnderWay {
            versions: vec![version(4), version(6)],
            replaces: false,
        };
        let merging = sent(Some(version(6)));
        assert_eq!(merging.standing(Standing::At(version(4))), both);
        let later = Standing::At(version(5));
        assert_eq!(merging.standing(later.clone()), later);
        let at = Standing::At(version(4));
        assert_eq!(sent(None).standing(at.clone()), at);
    }
}
