//! The places at which two versions may differ, as a tree to be walked beside a version.

use std::collections::{BTreeMap, HashMap};

use lfsfs_remote::ChangedName;
use lfsfs_types::{Name, ObjectPath};

/// What a name in a directory has to do with the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// What has the name may differ.
    Changed,
    /// Both versions have the same directory there, and something below it may differ.
    OnTheWay,
}

/// The changed places of the two versions, in memory until the walk has ended.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    names: HashMap<ObjectPath, BTreeMap<Name, Mark>>,
    has_root: bool,
}

impl Changes {
    /// Takes the changed names of two versions: places of either may differ in the other.
    pub(crate) fn new(changed: impl IntoIterator<Item = ChangedName>) -> Self {
        let mut changes = Self::default();
        for ChangedName { old, new, .. } in changed {
            let is_moved = old != new;
            if let Some(old) = old.filter(|_| is_moved) {
                changes.add(&old);
            }
            if let Some(new) = new {
                changes.add(&new);
            }
        }
        changes
    }

    fn add(&mut self, path: &ObjectPath) {
        let Some((mut dir, name)) = path.split_last() else {
            self.has_root = true;
            return;
        };
        let names = self.names.entry(dir.clone()).or_default();
        let is_new_dir = names.is_empty();
        names.insert(name, Mark::Changed);
        let mut goes_on = is_new_dir;
        while goes_on && let Some((above, name)) = dir.split_last() {
            let names = self.names.entry(above.clone()).or_default();
            goes_on = names.is_empty();
            names.entry(name).or_insert(Mark::OnTheWay);
            dir = above;
        }
    }

    /// Returns true if no place may differ.
    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty() && !self.has_root
    }

    /// Returns true if the root's own record may differ.
    pub(crate) const fn has_root(&self) -> bool {
        self.has_root
    }

    /// Returns the names of a directory to look at, in their order.
    pub(crate) fn in_dir(&self, dir: &ObjectPath) -> impl Iterator<Item = (&Name, Mark)> {
        let names = self.names.get(dir).into_iter().flatten();
        names.map(|(name, mark)| (name, *mark))
    }

    /// Returns what a name has to do with the changes, if anything.
    pub(crate) fn mark(&self, dir: &ObjectPath, name: &Name) -> Option<Mark> {
        self.names.get(dir)?.get(name).copied()
    }

    /// Returns true if an entry of a directory may differ: then its own times may.
    pub(crate) fn touch(&self, dir: &ObjectPath) -> bool {
        self.in_dir(dir).any(|(_, mark)| mark == Mark::Changed)
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::DirId;

    use super::*;

    fn path(text: &str) -> ObjectPath {
        ObjectPath::new(text.as_bytes()).expect("a path")
    }

    fn changed(old: Option<&str>, new: Option<&str>) -> ChangedName {
        ChangedName {
            dir: DirId::ROOT,
            name: None,
            old: old.map(path),
            new: new.map(path),
        }
    }

    fn marks(changes: &Changes, dir: &str) -> Vec<(String, Mark)> {
        let text = |name: &Name| String::from_utf8_lossy(name.as_bytes()).into_owned();
        let dir = path(dir);
        let names = changes.in_dir(&dir).map(|it| (text(it.0), it.1));
        names.collect()
    }

    #[test]
    fn every_changed_place_has_a_way_to_it() {
        let changes = Changes::new([
            changed(Some("a/b/c"), Some("a/b/c")),
            changed(None, Some("a/b/d")),
            changed(Some("a/x"), Some("z")),
        ]);
        let mark = |name: &str, mark| (name.to_owned(), mark);
        let (changed, on_the_way) = (Mark::Changed, Mark::OnTheWay);
        assert_eq!(
            marks(&changes, ""),
            [mark("a", on_the_way), mark("z", changed)]
        );
        assert_eq!(
            marks(&changes, "a"),
            [mark("b", on_the_way), mark("x", changed)]
        );
        assert_eq!(
            marks(&changes, "a/b"),
            [mark("c", changed), mark("d", changed)]
        );
        assert!(changes.touch(&path("a")) && changes.touch(&path("")));
        assert!(!changes.touch(&path("z")) && !changes.has_root());
    }

    #[test]
    fn a_changed_directory_stays_one_when_something_below_it_changed() {
        for paths in [["a", "a/b"], ["a/b", "a"]] {
            let changes = Changes::new(paths.map(|text| changed(Some(text), Some(text))));
            assert_eq!(marks(&changes, ""), [("a".to_owned(), Mark::Changed)]);
            assert_eq!(marks(&changes, "a"), [("b".to_owned(), Mark::Changed)]);
        }
        assert!(Changes::new([changed(Some(""), Some(""))]).has_root());
    }
}
