//! Clones: each version of a random history becomes a version of another project, in any order.

use std::collections::BTreeMap;

use lfsfs_metadata::{CloneParams, ProjectSettings, Published};
use lfsfs_types::{
    DirId, Kind, LinkId, ObjectPath, Origin, ProjectName, Record, Timestamp, VersionId,
    VersionNumber,
};

use super::{History, cases, check_counts};
use crate::support::{assert_clean, in_memory, pack_patterns};
use crate::tree::{Tree, in_memory_at_the_edges};

/// What a tree is, whatever its ids are and without what alone makes no version (ctimes, and the times of
/// directories): each path with its record, and with the first path of its link.
fn shape(tree: &Tree) -> BTreeMap<ObjectPath, (Record, Option<ObjectPath>)> {
    let by_path: BTreeMap<_, _> = tree.names().into_values().collect();
    let mut first_names: BTreeMap<LinkId, ObjectPath> = BTreeMap::new();
    let of_path = |(path, mut record): (ObjectPath, Record)| {
        record.ctime = Timestamp::default();
        if record.dir().is_some() {
            record.kind = Kind::Directory { dir: DirId::ROOT };
            record.mtime = Timestamp::default();
        }
        let first = record.link.as_mut().map(|link| {
            let first = first_names.entry(link.id).or_insert_with(|| path.clone());
            link.id = LinkId(0);
            first.clone()
        });
        (path, (record, first))
    };
    by_path.into_iter().map(of_path).collect()
}

impl History {
    /// Clones each version, one after another in a random order, into one project.
    fn check_clones(&mut self) {
        let name = ProjectName::new("copy").unwrap();
        let settings = ProjectSettings {
            pack_patterns: pack_patterns(),
            ..ProjectSettings::default()
        };
        let copy = self.metadata.new_project(&name, settings).unwrap();
        let mut current = shape(&Tree::empty());
        for _ in 0..2 * self.trees.len() {
            let from = self.random.below(self.trees.len());
            let wanted = shape(&self.trees[from]);
            let params = CloneParams {
                project: copy.id,
                source: self.project.id,
                from: VersionNumber(from as u64),
                version: VersionId(self.random.id()),
                author: "me".to_owned(),
                message: String::new(),
            };
            let published = self.metadata.clone_version(&params).unwrap();
            let number = published.record.number;
            let found = Tree::read(&self.metadata, &copy, number, 7);
            assert_eq!(shape(&found), wanted, "version {from}");
            assert_eq!(published.is_new, wanted != current, "version {from}");
            if published.is_new {
                let origin = Origin::Clone(self.project.id, params.from);
                assert_eq!(published.record.origin, origin);
                check_counts(&published, &found);
                let again = self.metadata.clone_version(&params).unwrap();
                let expected = Published {
                    is_new: false,
                    dirs: BTreeMap::new(),
                    links: BTreeMap::new(),
                    ..published
                };
                assert_eq!(again, expected);
            }
            current = wanted;
        }
        assert_clean(&self.metadata);
    }
}

#[test]
fn versions_cloned_into_another_project_are_what_they_were() {
    for seed in cases(150) {
        History::new(in_memory(), 6_000_000 + seed)
            .run(8)
            .check_clones();
    }
}

#[test]
fn versions_at_the_edges_are_cloned_too() {
    for seed in cases(20) {
        let mut history = History::new(in_memory_at_the_edges(), 7_000_000 + seed);
        history.edges = true;
        history.run(6).check_clones();
    }
}
