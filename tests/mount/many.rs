//! Many mounts at once: two versions, one cache, each of them on its own.

use std::collections::BTreeSet;
use std::fs;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{
    Mounted, World, count, files, in_namespace, is_running, read_all, wait_for_cache, walk,
};

const MOUNTS: usize = 20;

/// Two versions of a tree: the second has another `changed` and a new file.
struct TwoVersions {
    world: World,
    sources: [String; 2],
}

impl TwoVersions {
    fn new(files: usize) -> Self {
        let world = World::new();
        let old = world.path("old");
        TreeSpec::app(files).generate(&old).expect("a tree");
        fs::write(old.join("changed"), "before").expect("a file");
        let first = world.import(&old, "app");
        let new = world.path("new");
        TreeSpec::app(files).generate(&new).expect("a tree");
        fs::write(new.join("changed"), "afterwards").expect("a file");
        fs::write(new.join("added"), "added").expect("a file");
        let second = world.import(&new, "app");
        let sources = [first, second];
        Self { world, sources }
    }

    fn mount_all(&self) -> Vec<Mounted<'_>> {
        let numbers = 0..MOUNTS;
        let mount = |number: usize| self.world.mount(&self.sources[number % 2], "");
        numbers.map(mount).collect()
    }

    fn assert_right(&self, number: usize, mount: &Mounted<'_>) {
        let tree = self.world.path(["old", "new"][number % 2]);
        let options = CompareOptions {
            // What differs from the first version is the objects; a mount of either shows them.
            directory_times: false,
            ..CompareOptions::default()
        };
        assert_same_trees(&tree, mount.path(), &options);
    }
}

fn remote_bytes(mount: &Mounted<'_>) -> u64 {
    count(&mount.counters(), "remote_bytes")
}

#[test]
fn twenty_mounts_of_two_versions_fetch_every_byte_once() {
    in_namespace(
        "many::twenty_mounts_of_two_versions_fetch_every_byte_once",
        || {
            let versions = TwoVersions::new(300);
            let mounts = versions.mount_all();
            walk(mounts[0].path());
            let tree_len = read_all(mounts[0].path());
            wait_for_cache(&mounts[0]);
            let first = remote_bytes(&mounts[0]);
            assert!(first > 0);

            versions.assert_right(1, &mounts[1]);
            wait_for_cache(&mounts[1]);
            let second = remote_bytes(&mounts[1]);
            // Two small files, their container and its index.
            assert!(second < tree_len / 10, "{second} of {tree_len} bytes again");

            for (number, mount) in mounts.iter().enumerate() {
                versions.assert_right(number, mount);
                let expected = [first, second].get(number).copied().unwrap_or(0);
                assert_eq!(remote_bytes(mount), expected, "mount {number}");
            }
            mounts.into_iter().for_each(Mounted::umount);
        },
    );
}

#[test]
fn mounts_that_start_cold_together_all_show_the_truth() {
    in_namespace(
        "many::mounts_that_start_cold_together_all_show_the_truth",
        || {
            let versions = TwoVersions::new(100);
            let mounts = versions.mount_all();
            let versions = &versions;
            std::thread::scope(|scope| {
                for (number, mount) in mounts.iter().enumerate() {
                    scope.spawn(move || versions.assert_right(number, mount));
                }
            });
            mounts.into_iter().for_each(Mounted::umount);
        },
    );
}

#[test]
fn every_mount_is_listed_and_ends_alone() {
    in_namespace("many::every_mount_is_listed_and_ends_alone", || {
        let versions = TwoVersions::new(20);
        let world = &versions.world;
        let mut mounts = versions.mount_all();
        let listed = |world: &World| {
            let listed = world.lfsfs(["mounts", "--json"]).ok();
            let lines = listed.lines().map(|line| {
                let mount: serde_json::Value = serde_json::from_str(line).expect("JSON");
                let word = |key: &str| mount[key].as_str().expect("text").to_owned();
                assert_eq!(word("state"), "served");
                (word("path"), word("source"), mount["pid"].as_u64())
            });
            lines.collect::<BTreeSet<_>>()
        };
        let all = listed(world);
        assert_eq!(all.len(), MOUNTS);
        let pids: BTreeSet<_> = all.iter().map(|(_, _, pid)| pid).collect();
        assert_eq!(pids.len(), MOUNTS, "a process each: {all:?}");
        for source in &versions.sources {
            let of_source = all.iter().filter(|(_, listed, _)| listed == source);
            assert_eq!(of_source.count(), MOUNTS / 2, "{all:?}");
        }

        let other_pids: Vec<_> = mounts[1..].iter().map(Mounted::pid).collect();
        mounts.remove(0).umount();
        assert_eq!(listed(world).len(), MOUNTS - 1);
        assert!(other_pids.into_iter().all(is_running));
        for mount in &mounts {
            assert!(!files(mount.path()).is_empty());
        }
        let _ = world.lfsfs(["umount", "--all"]).ok();
        assert_eq!(world.lfsfs(["mounts"]).ok(), "");
    });
}
