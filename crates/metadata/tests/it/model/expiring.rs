//! Versions expire at random moments of a random history: those that stay read as before, by every call, and
//! differences between them are those of their trees.

use std::collections::BTreeSet;
use std::time::Duration;

use lfsfs_metadata::{ExpireParams, MetadataError, Retention};
use lfsfs_types::{ObjectPath, TagName, VersionNumber};

use super::{History, cases};
use crate::support::{assert_clean, in_memory};
use crate::tree::Tree;

/// A history of which versions expire.
struct Expiring {
    history: History,
    /// The versions that are there.
    there: BTreeSet<usize>,
    tagged: BTreeSet<usize>,
}

impl Expiring {
    fn commit(&mut self) {
        let there: Vec<_> = self.there.iter().copied().collect();
        let on = self.history.random.pick(&there).unwrap();
        match self.history.random.below(100) {
            0..15 => self.history.roll_back(on),
            15..40 => self.history.commit_on(on),
            _ => self.history.commit_on(self.history.trees.len() - 1),
        }
        self.there
            .extend(*there.last().unwrap() + 1..self.history.trees.len());
    }

    fn tag(&mut self) {
        let there: Vec<_> = self.there.iter().copied().collect();
        let version = self.history.random.pick(&there).unwrap();
        let name = TagName::new(&format!("t{version}")).unwrap();
        let number = VersionNumber(version as u64);
        let history = &self.history;
        let tagged = history
            .metadata
            .set_tag(history.project.id, &name, number, true);
        tagged.unwrap();
        self.tagged.insert(version);
    }

    fn expire(&mut self) {
        let random = &mut self.history.random;
        let retention = Retention {
            keep: Some(random.below(4) as u64),
            older_than: None,
            from: random
                .chance(20)
                .then(|| VersionNumber(random.below(6) as u64)),
            grace: Duration::ZERO,
        };
        let in_use = random.below(self.history.trees.len());
        let mut params = ExpireParams {
            project: self.history.project.id,
            retention,
            in_use: &|| BTreeSet::from([VersionNumber(in_use as u64)]),
            dry_run: true,
        };
        let planned = self.history.metadata.expire_versions(&params).unwrap();
        params.dry_run = false;
        let expired = self.history.metadata.expire_versions(&params).unwrap();
        assert_eq!(planned, expired, "a dry run tells something else");
        let mut left: Vec<_> = self.there.iter().copied().filter(|it| *it > 0).collect();
        left.truncate(
            left.len()
                .saturating_sub(retention.keep.unwrap().max(1) as usize),
        );
        left.retain(|it| retention.from.is_none_or(|from| *it as u64 >= from.0));
        left.retain(|it| *it != in_use && !self.tagged.contains(it));
        assert_eq!(expired.versions, left.len() as u64);
        left.iter().for_each(|it| {
            self.there.remove(it);
        });
    }

    fn check(&self) {
        let history = &self.history;
        for version in 0..history.trees.len() {
            let number = VersionNumber(version as u64);
            if self.there.contains(&version) {
                let found = Tree::read(&history.metadata, &history.project, number, 3);
                assert_eq!(found, history.trees[version], "version {version}");
                history.check_paths(number, &found);
                continue;
            }
            let read = history
                .metadata
                .lookup(history.project.id, number, &ObjectPath::ROOT);
            let is_expired = matches!(read, Err(MetadataError::ExpiredVersion { .. }));
            assert!(is_expired, "version {version}: {read:?}");
        }
        for from in &self.there {
            for to in &self.there {
                let trees = [*from, *to].map(|version| &history.trees[version]);
                let told = history.lines(*from, *to, super::Renames::Told);
                assert_eq!(
                    told,
                    super::difference(trees[0], trees[1]),
                    "{from} to {to}"
                );
                let told = history.lines(*from, *to, super::Renames::Expanded);
                assert_eq!(told, super::difference_of_paths(trees[0], trees[1]));
                history.check_changed_names(*from, *to);
            }
        }
        assert_clean(&history.metadata);
    }
}

#[test]
fn versions_that_stay_read_as_before() {
    for seed in cases(60) {
        let mut expiring = Expiring {
            history: History::new(in_memory(), 7_000_000 + seed),
            there: BTreeSet::from([0]),
            tagged: BTreeSet::new(),
        };
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..16 {
                expiring.commit();
                if expiring.history.random.chance(15) {
                    expiring.tag();
                }
                if expiring.history.random.chance(30) {
                    expiring.expire();
                    expiring.check();
                }
            }
        }));
        if let Err(panic) = told {
            println!("the history has seed {}", 7_000_000 + seed);
            std::panic::resume_unwind(panic);
        }
    }
}
