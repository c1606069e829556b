//! The listings of a version told one after the other are those that it has, from wherever they are told.

use std::collections::BTreeMap;

use lfsfs_metadata::{Metadata, MetadataError, Project, TreeParams};
use lfsfs_types::{DirId, Name, Record, VersionId, VersionNumber};

use super::Tree;

type Told = Vec<(DirId, BTreeMap<Name, Record>, VersionId)>;

/// Larger trees are not gone through once more.
const DIRS_MAX: usize = 300;

fn params(project: &Project, version: VersionNumber, top: DirId) -> TreeParams {
    TreeParams {
        project: project.id,
        version,
        exact: Vec::new(),
        top,
        after: None,
        since: None,
    }
}

fn told(metadata: &Metadata, params: TreeParams) -> Told {
    let mut walk = metadata.begin_tree(params).unwrap();
    let mut told = Told::new();
    let mut more = false;
    while let Some(part) = metadata.continue_tree(&mut walk).unwrap() {
        if !more {
            told.push((part.dir, BTreeMap::new(), part.listing_version));
        }
        let (dir, entries, _) = told.last_mut().unwrap();
        assert_eq!(*dir, part.dir, "a directory goes on");
        assert!(part.entries.is_sorted_by(|a, b| a.0 < b.0));
        assert!(
            entries.last_key_value().map(|last| last.0) < part.entries.first().map(|it| &it.0)
                || part.entries.is_empty()
        );
        entries.extend(part.entries);
        more = part.more;
    }
    assert!(!more);
    told
}

impl Tree {
    /// Returns a directory and those below it, in the order in which they are told.
    fn below(&self, top: DirId) -> Vec<DirId> {
        let mut dirs = Vec::new();
        let mut pending = vec![top];
        while let Some(dir) = pending.pop() {
            pending.extend(self.dirs[&dir].values().rev().filter_map(Record::dir));
            dirs.push(dir);
        }
        dirs
    }

    /// Checks what the walk tells of the version that this tree is.
    pub(super) fn assert_told(
        &self,
        metadata: &Metadata,
        project: &Project,
        version: VersionNumber,
    ) {
        if self.dirs.len() > DIRS_MAX {
            return;
        }
        let whole = told(metadata, params(project, version, DirId::ROOT));
        let order = self.below(DirId::ROOT);
        assert_eq!(whole.iter().map(|it| it.0).collect::<Vec<_>>(), order);
        for (dir, entries, _) in &whole {
            assert_eq!(entries, &self.dirs[dir], "{dir}");
        }
        for at in [0, order.len() / 3, order.len() - 1] {
            let rest = TreeParams {
                after: Some(order[at]),
                ..params(project, version, DirId::ROOT)
            };
            assert_eq!(
                told(metadata, rest),
                whole[at + 1..],
                "behind {}",
                order[at]
            );
        }
        let top = order[order.len() / 2];
        let below = told(metadata, params(project, version, top));
        assert_eq!(
            below.iter().map(|it| it.0).collect::<Vec<_>>(),
            self.below(top)
        );
        if top != DirId::ROOT {
            let wrong = TreeParams {
                after: Some(DirId::ROOT),
                ..params(project, version, top)
            };
            let refused = metadata.begin_tree(wrong).unwrap_err();
            assert!(
                matches!(refused, MetadataError::WrongCursor { .. }),
                "{refused}"
            );
        }
        assert_differences(metadata, project, version, &whole, top);
    }
}

/// Checks what the walk tells a reader that has the version before.
fn assert_differences(
    metadata: &Metadata,
    project: &Project,
    version: VersionNumber,
    whole: &Told,
    top: DirId,
) {
    let since = VersionNumber(version.0.saturating_sub(1));
    if since.0 == 0 || metadata.version(project.id, since).is_err() {
        return;
    }
    let before = told(metadata, params(project, since, DirId::ROOT));
    let before: BTreeMap<_, _> = before.into_iter().map(|it| (it.0, (it.1, it.2))).collect();
    let differing = TreeParams {
        since: Some(since),
        ..params(project, version, DirId::ROOT)
    };
    let differing = told(metadata, differing);
    assert!(differing.is_sorted_by(|a, b| a.0 < b.0));
    let told_dirs: Vec<_> = differing.iter().map(|it| it.0).collect();
    let mut expected = Vec::new();
    for (dir, entries, listing_version) in whole {
        match before.get(dir) {
            Some(old) if old.1 == *listing_version => assert_eq!(old.0, *entries),
            _ => expected.push(*dir),
        }
    }
    expected.sort_unstable();
    assert_eq!(told_dirs, expected, "{since} to {version}");
    for one in &differing {
        assert!(whole.contains(one));
    }
    if let Some((first, rest)) = told_dirs.split_first() {
        let rest_of = TreeParams {
            since: Some(since),
            after: Some(*first),
            ..params(project, version, DirId::ROOT)
        };
        let behind = told(metadata, rest_of);
        assert_eq!(behind.iter().map(|it| it.0).collect::<Vec<_>>(), rest);
    }
    let in_top = TreeParams {
        since: Some(since),
        ..params(project, version, top)
    };
    for (dir, ..) in told(metadata, in_top) {
        assert!(told_dirs.contains(&dir), "{dir} in {top}");
    }
}
