//! What a user names to mount or list: `project`, `project@latest`, `project@v42`, `project@TAG`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::id::VersionNumber;
use crate::name::{LabelError, ProjectName, TagName};

/// Which version of a project is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionRef {
    /// The newest one.
    Latest,
    /// One by its number.
    Number(VersionNumber),
    /// The one that a tag names.
    Tag(TagName),
}

/// A project and one of its versions, as a user types it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The project's name.
    pub project: ProjectName,
    /// The version.
    pub version: VersionRef,
}

/// A text that is no source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} names no version: expected project, project@latest, project@v42 or project@TAG")]
pub struct SourceError {
    text: String,
    #[source]
    source: LabelError,
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let (project, version) = text.split_once('@').unwrap_or((text, "latest"));
        let error = |source| SourceError {
            text: text.chars().take(200).collect(),
            source,
        };
        let project = ProjectName::new(project).map_err(error)?;
        let version = version.parse().map_err(error)?;
        Ok(Self { project, version })
    }
}

impl FromStr for VersionRef {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let number = text
            .strip_prefix('v')
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        match number.and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(Self::Number(VersionNumber(number))),
            None => TagName::new(text).map(Self::Tag),
        }
    }
}

impl fmt::Display for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Tag(tag) => write!(f, "{tag}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.project, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_goes_both_ways() {
        for text in ["app@latest", "app@v0", "app@v42", "app@release-1"] {
            assert_eq!(text.parse::<Source>().expect(text).to_string(), text);
        }
        assert_eq!(
            "app".parse::<Source>().expect("app").version,
            VersionRef::Latest
        );
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for text in [
            "",
            "@v1",
            "app@",
            "app@v1@v2",
            "a/b@v1",
            "app@v99999999999999999999999",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
