//! The same histories in projects that keep directories in packs, whose patterns change now and then.

use lfsfs_metadata::MadeParams;
use lfsfs_types::VersionId;

use super::{History, cases, run_pair, run_pair_at_the_edges};
use crate::support::{in_memory, with_packs};
use crate::tree::Tree;

/// Patterns that projects have: for everything, for some names, for what lies deeper, for nothing.
const PATTERNS: [&[&str]; 6] = [
    &[".*"],
    &["^a/", "^b/$"],
    &["/[^/]+/$"],
    &["(^|/)c/[^/]+/$"],
    &["b"],
    &[],
];

fn patterns(seed: u64) -> &'static [&'static str] {
    PATTERNS[(seed % PATTERNS.len() as u64) as usize]
}

impl History {
    /// Lets the newest version be kept in other packs: it shows what it did.
    pub(super) fn repack(&mut self) {
        let name = self.project.name.clone();
        let patterns: Vec<_> = patterns(self.random.next())
            .iter()
            .map(|it| (*it).to_owned())
            .collect();
        let set = self.metadata.set_project(&name, |settings| {
            settings.pack_patterns.clone_from(&patterns);
        });
        set.unwrap();
        let params = MadeParams {
            project: self.project.id,
            version: VersionId(self.random.id()),
            author: String::new(),
            message: String::new(),
        };
        let before = self.trees.last().unwrap().clone();
        let repacked = self.metadata.repack(&params).unwrap();
        let number = repacked.record.number;
        let found = Tree::read(&self.metadata, &self.project, number, 3);
        assert_eq!(found, before, "kept by {patterns:?}");
        if repacked.is_new {
            assert_eq!(
                repacked.record.counts.objects,
                self.metadata
                    .version(self.project.id, number)
                    .unwrap()
                    .counts
                    .objects
            );
            self.trees.push(before);
        }
        let again = MadeParams {
            version: VersionId(self.random.id()),
            ..params
        };
        let again = self.metadata.repack(&again).unwrap();
        assert!(!again.is_new, "all is kept so already");
    }
}

#[test]
fn random_histories_with_packs() {
    for seed in cases(150) {
        with_packs(patterns(seed), || {
            let mut history = History::new(in_memory(), 20_000_000 + seed);
            history.repacks = seed % 2 == 0;
            history.run(12);
        });
    }
}

#[test]
fn random_pairs_of_concurrent_commits_with_packs() {
    for seed in cases(150) {
        with_packs(patterns(seed), || run_pair(22_000_000 + seed));
    }
}

#[test]
fn random_pairs_at_the_edges_with_packs() {
    for seed in cases(60) {
        with_packs(patterns(seed), || run_pair_at_the_edges(24_000_000 + seed));
    }
}

#[test]
fn random_pairs_that_are_repacked() {
    for seed in cases(150) {
        with_packs(patterns(seed), || {
            let mut history = History::new(in_memory(), 26_000_000 + seed);
            (history.stale, history.repacks) = (true, true);
            history.run(12);
        });
    }
}
