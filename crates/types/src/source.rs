//! What a user names to mount or list: `project`, `project@latest`, `project@v42`, `project@TAG`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::id::VersionNumber;
use crate::name::{LabelError, ProjectName, TagName, looks_like_number};

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
#[error("{text:?} names no version (PROJECT, PROJECT@latest, PROJECT@vN or PROJECT@TAG)")]
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
        if looks_like_number(text) {
            let number = text[1..].parse();
            return number
                .map(|number| Self::Number(VersionNumber(number)))
                .map_err(|_| LabelError::number_too_large(text));
        }
        TagName::new(text).map(Self::Tag)
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

    #[test]
    fn the_reason_is_the_source_of_the_error() {
        let reason = |text: &str| {
            let error = text.parse::<Source>().expect_err(text);
            std::error::Error::source(&error)
                .expect("a reason")
                .to_string()
        };
        assert!(reason("app@v99999999999999999999999").ends_with("the number is too large"));
        assert!(reason("a b").contains("cannot name a project: it holds ' '"));
        assert!(reason("app@").contains("cannot name a tag: it is empty"));
    }
}
