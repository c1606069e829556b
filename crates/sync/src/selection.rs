//! The part of a version that a directory is to have.

use std::collections::BTreeSet;

use lfsfs_types::{Name, ObjectPath};
use lfsfs_upload::IgnoredPaths;

use crate::filter::Filter;

/// Which paths of a version are written, and which paths of the directory may be removed: all, or those at
/// and below some paths, without what a filter excludes.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// Nothing is excluded without one.
    filter: Option<Filter>,
    /// All of the version if there are none.
    subpaths: BTreeSet<ObjectPath>,
}

/// What is looked at of a directory, and what becomes of the rest in the version.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) selection: Selection,
    pub(crate) rest: RestOfTree,
    pub(crate) ignored: IgnoredPaths,
}

/// What becomes of paths of a version that are not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestOfTree {
    /// The next version does not have them.
    Removed,
    /// They stay as they are.
    Kept,
}

/// What a selection says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to the selection.
    Taken,
    /// It lies above a path that does, and is only gone through.
    Above,
    /// It is not looked at.
    Skipped,
}

impl Selection {
    /// Selects some paths and all below them, or everything if there are none.
    pub(crate) fn new(filter: Filter, subpaths: impl IntoIterator<Item = ObjectPath>) -> Self {
        let subpaths: BTreeSet<_> = subpaths.into_iter().collect();
        let takes_all = subpaths.contains(&ObjectPath::ROOT);
        Self {
            filter: Some(filter),
            subpaths: if takes_all { BTreeSet::new() } else { subpaths },
        }
    }

    /// Returns true if something of a version may not belong to the selection.
    pub(crate) fn is_partial(&self) -> bool {
        !self.subpaths.is_empty() || self.filter.as_ref().is_some_and(Filter::has_patterns)
    }

    /// Returns true if the root belongs to the selection.
    pub(crate) fn takes_root(&self) -> bool {
        self.subpaths.is_empty()
    }

    /// Returns what is said of a path, whose last name is `name`.
    pub(crate) fn verdict(&self, path: &ObjectPath, name: &Name) -> Verdict {
        let is_excluded = |filter: &Filter| filter.excludes(path, name);
        if self.filter.as_ref().is_some_and(is_excluded) {
            return Verdict::Skipped;
        }
        if self.subpaths.is_empty() {
            return Verdict::Taken;
        }
        let is_at = |top: &ObjectPath| top == path || is_below(path, top);
        if self.subpaths.iter().any(is_at) {
            Verdict::Taken
        } else if self.subpaths.iter().any(|top| is_below(top, path)) {
            Verdict::Above
        } else {
            Verdict::Skipped
        }
    }

    /// Returns the selected paths below one that lies above them.
    pub(crate) fn tops_below<'s>(
        &'s self,
        path: &'s ObjectPath,
    ) -> impl Iterator<Item = &'s ObjectPath> + 's {
        self.subpaths.iter().filter(|top| is_below(top, path))
    }
}

/// Returns the part of each wanted path that lies at or below one of `subpaths`, or the first wanted path of which
/// nothing does. No path at all stands for all paths.
pub(crate) fn narrowed(
    subpaths: &[ObjectPath],
    wanted: &[ObjectPath],
) -> Result<Vec<ObjectPath>, ObjectPath> {
    if subpaths.is_empty() || wanted.is_empty() {
        return Ok([subpaths, wanted].concat());
    }
    let mut narrowed = Vec::new();
    for want in wanted {
        let before = narrowed.len();
        for subpath in subpaths {
            if want == subpath || is_below(want, subpath) {
                narrowed.push(want.clone());
            } else if is_below(subpath, want) {
                narrowed.push(subpath.clone());
            }
        }
        if narrowed.len() == before {
            return Err(want.clone());
        }
    }
    Ok(narrowed)
}

fn is_below(path: &ObjectPath, above: &ObjectPath) -> bool {
    let rest = path.as_bytes().strip_prefix(above.as_bytes());
    rest.is_some_and(|rest| above.is_root() || rest.first() == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ObjectPath {
        ObjectPath::new(text.as_bytes()).expect("a path")
    }

    fn verdicts<const N: usize>(selection: &Selection, paths: [&str; N]) -> [Verdict; N] {
        paths.map(|text| {
            let path = path(text);
            let (_, name) = path.split_last().expect("not the root");
            selection.verdict(&path, &name)
        })
    }

    #[test]
    fn all_is_taken_unless_something_is_said() {
        let all = Selection::default();
        assert!(all.takes_root());
        assert_eq!(verdicts(&all, ["a", ".lfsfs"]), [Verdict::Taken; 2]);
        let but_state = Selection::new(Filter::default(), [path("")]);
        assert!(but_state.takes_root());
        assert_eq!(
            verdicts(&but_state, ["a", ".lfsfs"]),
            [Verdict::Taken, Verdict::Skipped]
        );
    }

    #[test]
    fn wanted_paths_are_narrowed_to_what_is_there() {
        let paths = |texts: &[&str]| texts.iter().map(|text| path(text)).collect::<Vec<_>>();
        let narrow =
            |subpaths: &[&str], wanted: &[&str]| narrowed(&paths(subpaths), &paths(wanted));
        for (subpaths, wanted, expected) in [
            (&[][..], &[][..], &[][..]),
            (&[], &["a"], &["a"]),
            (&["a"], &[], &["a"]),
            (&["a", "b/c"], &["a/x", "b"], &["a/x", "b/c"]),
            (&["a"], &[""], &["a"]),
            (&[""], &["a"], &["a"]),
        ] {
            assert_eq!(narrow(subpaths, wanted), Ok(paths(expected)));
        }
        assert_eq!(narrow(&["a", "b"], &["a", "bc"]), Err(path("bc")));
    }

    #[test]
    fn a_subpath_is_taken_with_all_below_and_nothing_beside() {
        let filter = Filter::new(&["*.log".to_owned()]).expect("a pattern");
        let selection = Selection::new(filter, ["a/b", "c"].map(path));
        assert!(!selection.takes_root());
        let (taken, above, skipped) = (Verdict::Taken, Verdict::Above, Verdict::Skipped);
        let paths = ["a", "a/b", "a/b/c", "a/bc", "b", "c", "c/x.log", "cc"];
        let expected = [
            above, taken, taken, skipped, skipped, taken, skipped, skipped,
        ];
        assert_eq!(verdicts(&selection, paths), expected);
        let a = path("a");
        let tops: Vec<_> = selection.tops_below(&a).cloned().collect();
        assert_eq!(tops, [path("a/b")]);
    }
}
