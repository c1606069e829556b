//! kill -9 of the server at moments spread over an import: a version is whole or not there.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lfsfs_testkit::chunks;
use lfsfs_testkit::process::Program;
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::listing::{
    Listing, assert_same_listing, assert_version_is_dir, listing_of_dir, listing_of_version,
};
use lfsfs_tests::{Numbers, World};

use crate::support::start_import;

const TIMEOUT: Duration = Duration::from_secs(60);

/// How the tree changes between two imports, and so where an import spends its time.
#[derive(Debug, Clone, Copy)]
enum Changes {
    /// New bytes: in uploads.
    Bytes,
    /// Many new entries without bytes: in staging and publishing.
    Entries,
}

impl Changes {
    fn make(self, tree: &Path, round: u64) {
        let _ = mutate(tree, round, 20).expect("changes");
        let dir = tree.join("round");
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("a directory to remove");
        }
        fs::create_dir(&dir).expect("a directory");
        let (count, len) = match self {
            Self::Bytes => (40, 300_000),
            Self::Entries => (1_500, 0),
        };
        for number in 0..count {
            let bytes = Numbers(round * 100_000 + number + 1).bytes(len);
            fs::write(dir.join(format!("{round}-{number}")), bytes).expect("a file");
        }
    }
}

/// A project that is imported again and again, and its newest version.
struct Project {
    world: World,
    version: u64,
    listing: Listing,
}

impl Project {
    fn source(&self) -> String {
        format!("app@v{}", self.version)
    }

    /// Kills the server during an import, and returns what is there after it was started again.
    fn kill_during_import(&mut self, tree: &Path, delay: Duration) {
        let mut import = start_import(&self.world, tree, "app");
        std::thread::sleep(delay);
        self.world.kill_server();
        let status = import
            .wait(TIMEOUT)
            .expect("an import ends when its server does");
        assert_told_what_happened(&import, status.code());
        self.world.assert_check_is_clean();
        self.world.start_server(&[]);
        let wanted = listing_of_dir(tree);
        let head = self.world.head("app");
        assert!(head == self.version || head == self.version + 1, "v{head}");
        if head > self.version {
            assert_same_listing(&listing_of_version(&self.world, "app"), &wanted);
        } else {
            assert!(
                !status.success(),
                "an import said that it was done: {}",
                import.output()
            );
        }
        // The version before is untouched whatever happened to the next.
        assert_same_listing(
            &listing_of_version(&self.world, &self.source()),
            &self.listing,
        );
        (self.version, self.listing) = (self.version + 1, wanted);
    }
}

fn assert_told_what_happened(import: &Program, code: Option<i32>) {
    let text = import.output();
    assert!(matches!(code, Some(0 | 1)), "{code:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
}

fn kill_at_moments(changes: Changes, moments: u32) {
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::app(100).generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let listing = listing_of_version(&world, "app");
    let mut project = Project {
        world,
        version: 1,
        listing,
    };
    changes.make(&tree, 1);
    let start = Instant::now();
    assert_eq!(project.world.import(&tree, "app"), "app@v2");
    // World::import asks one question before; that is a small part.
    let whole = start.elapsed();
    (project.version, project.listing) = (2, listing_of_dir(&tree));
    for moment in 0..moments {
        changes.make(&tree, 2 + u64::from(moment));
        project.kill_during_import(&tree, whole * moment / moments);
        let finished = project.world.import(&tree, "app");
        assert_eq!(finished, project.source(), "moment {moment}");
        assert_same_listing(&listing_of_version(&project.world, "app"), &project.listing);
    }
    assert_version_is_dir(&project.world, "app", &tree);
    project.world.stop_server();
    project.world.assert_check_is_clean();
}

#[test]
fn at_ten_moments_of_an_import_of_new_bytes() {
    kill_at_moments(Changes::Bytes, 10);
}

#[test]
fn at_ten_moments_of_an_import_of_new_entries() {
    kill_at_moments(Changes::Entries, 10);
}

#[test]
#[ignore = "soak: many moments"]
fn at_two_hundred_moments_of_an_import_of_new_bytes() {
    kill_at_moments(Changes::Bytes, 200);
}

#[test]
#[ignore = "soak: many moments"]
fn at_two_hundred_moments_of_an_import_of_new_entries() {
    kill_at_moments(Changes::Entries, 200);
}

#[test]
fn what_arrived_before_is_not_sent_again() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    for number in 0..8 {
        let bytes = Numbers(number + 1).bytes(10_000_000);
        fs::write(tree.join(format!("file-{number}")), bytes).expect("a file");
    }
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let mut import = start_import(&world, &tree, "app");
    // Each of four workers may have a chunk whose arrival the coordinator has not noted yet.
    while chunks::files_in(world.data()).len() < 6 {
        assert!(
            import.try_wait().expect("a process").is_none(),
            "{}",
            import.output()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    world.kill_server();
    let _ = import
        .wait(TIMEOUT)
        .expect("an import ends when its server does");
    world.start_server(&[]);
    let report = world.import_json(&tree, "app", &[]);
    let sent = report["bytes_sent"].as_u64().expect("a number");
    assert!(sent < 72_000_000, "{report}");
    assert_version_is_dir(&world, "app@v1", &tree);
}
