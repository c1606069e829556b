//! Pack patterns: which directories are the roots of packs.
//!
//! A pattern is a regular expression, found anywhere in the path of a directory, behind which stands a slash. Of a
//! path the directory nearest to the root that one pattern is found in is the root of the pack; what matches below it
//! makes no difference. So `node_modules/[^/]+/$` makes a pack of each package, with the packages that lie in it.

use regex::bytes::{RegexSet, RegexSetBuilder};
use thiserror::Error;

/// Most bytes of all compiled patterns: a short one with counted repetitions can ask for much more.
const SIZE_MAX: usize = 1 << 20;

/// Patterns that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it is not a regular expression, or a too large one: {0}")]
pub struct PatternError(String);

/// The pack patterns of a project.
#[derive(Debug, Clone, Default)]
pub struct PackPatterns(Option<RegexSet>);

impl PackPatterns {
    /// Compiles patterns; none match nothing.
    pub fn new(patterns: &[String]) -> Result<Self, PatternError> {
        if patterns.is_empty() {
            return Ok(Self::default());
        }
        let compiled = RegexSetBuilder::new(patterns).size_limit(SIZE_MAX).build();
        compiled
            .map(|set| Self(Some(set)))
            .map_err(|error| PatternError(error.to_string()))
    }

    /// Returns true if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns true if one is found in the path of a directory; `path` has no slash at its ends.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let Some(set) = self.0.as_ref().filter(|_| !path.is_empty()) else {
            return false;
        };
        let mut directory = path.to_vec();
        directory.push(b'/');
        set.is_match(&directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first directory of a path that is the root of a pack.
    fn root<'p>(patterns: &PackPatterns, path: &'p str) -> Option<&'p str> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        let ends = ends.chain([path.len()]);
        let mut above = ends.map(|end| &path[..end]);
        above.find(|path| patterns.matches(path.as_bytes()))
    }

    fn patterns(patterns: &[&str]) -> PackPatterns {
        let patterns: Vec<_> = patterns.iter().map(|it| (*it).to_owned()).collect();
        PackPatterns::new(&patterns).expect("good patterns")
    }

    #[test]
    fn the_directory_nearest_to_the_root_is_the_pack() {
        let all = patterns(&[r"(^|/)node_modules/([^@/][^/]*|@[^/]+/[^/]+)/$"]);
        for (path, expected) in [
            ("node_modules", None),
            ("node_modules/a", Some("node_modules/a")),
            ("node_modules/a/lib/b", Some("node_modules/a")),
            ("node_modules/a/node_modules/b/c", Some("node_modules/a")),
            ("node_modules/@scope", None),
            ("node_modules/@scope/a/b", Some("node_modules/@scope/a")),
            ("x/node_modules/a/b", Some("x/node_modules/a")),
            ("my_node_modules/a/b", None),
            ("src/a", None),
        ] {
            assert_eq!(root(&all, path), expected, "{path}");
        }
    }

    #[test]
    fn patterns_are_found_anywhere_in_a_path() {
        assert_eq!(
            root(&patterns(&["^pack1/.*/"]), "pack1/a/b"),
            Some("pack1/a")
        );
        assert_eq!(root(&patterns(&["^pack1/.*/"]), "x/pack1/a"), None);
        assert_eq!(root(&patterns(&["a/"]), "b/a/c"), Some("b/a"));
        assert_eq!(root(&patterns(&["a/"]), "ba/c"), Some("ba"));
        assert_eq!(root(&patterns(&["x", "a/"]), "b/a/c"), Some("b/a"));
        assert_eq!(root(&patterns(&[]), "b/a/c"), None);
        assert!(
            !patterns(&[".*"]).matches(b""),
            "the root of a project is no pack"
        );
    }

    #[test]
    fn what_is_no_regular_expression_is_refused() {
        for wrong in ["(", "a{1000000000}", "a{1000}{1000}"] {
            assert!(PackPatterns::new(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
