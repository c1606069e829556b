//! Files that change while they are imported.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Run, World};

/// Runs `disturb` again and again while `work` goes on.
fn while_disturbed<T>(disturb: impl Fn(u32) + Sync, work: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !is_done.load(Ordering::Relaxed) {
                disturb(round);
                round += 1;
            }
        });
        // Also where the work fails, or the test would never end.
        let _done = StoreAtEnd(&is_done);
        work()
    })
}

struct StoreAtEnd<'a>(&'a AtomicBool);

impl Drop for StoreAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn import(world: &World, tree: &Path, options: &[&str]) -> Run {
    let words = ["import".as_ref(), tree.as_os_str(), "app".as_ref()];
    let options = options.iter().map(std::ffi::OsStr::new);
    world.lfsfs(words.into_iter().chain(options))
}

fn world_with_tree() -> (World, std::path::PathBuf) {
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::app(500).generate(&tree).expect("a tree");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    (world, tree)
}

#[test]
fn a_file_that_never_holds_still_is_named_and_can_be_left_out() {
    let (world, tree) = world_with_tree();
    let changing = tree.join("changing");
    // Large enough that a change falls into every attempt to read it.
    fs::write(&changing, vec![1; 64_000_000]).expect("a file");
    let file = File::options().write(true).open(&changing).expect("a file");
    let disturb = |round: u32| {
        file.write_all_at(&round.to_be_bytes(), 0).expect("a write");
        std::thread::sleep(Duration::from_millis(1));
    };
    while_disturbed(disturb, || {
        let refused = import(&world, &tree, &[]);
        refused.fails(
            1,
            &[
                "changing: it changed while it was read",
                "nothing was published",
            ],
        );
        assert_eq!(world.head("app"), 0);
        let rest = import(&world, &tree, &["--skip-unreadable"]);
        assert_eq!(rest.ok(), "app@v1");
        assert!(rest.stderr().contains("left out changing"), "{rest:?}");
    });
    let listed = world.lfsfs(["ls", "app"]).ok();
    assert!(!listed.lines().any(|name| name == "changing"), "{listed}");
}

#[test]
fn a_file_that_changes_now_and_then_is_imported_whole() {
    let (world, tree) = world_with_tree();
    let changing = tree.join("changing");
    fs::write(&changing, [0; 4_000]).expect("a file");
    let file = File::options().write(true).open(&changing).expect("a file");
    let disturb = |round: u32| {
        let byte = round.to_le_bytes()[0];
        file.write_all_at(&[byte; 4_000], 0).expect("a write");
        std::thread::sleep(Duration::from_millis(3));
    };
    while_disturbed(disturb, || {
        for _ in 0..3 {
            let _ = import(&world, &tree, &[]).ok();
            let run = world.lfsfs(["cat", "app", "changing"]);
            let bytes = run.stdout_bytes();
            assert_eq!(bytes.len(), 4_000, "{:?}", run.stderr());
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a torn file");
        }
    });
}

#[test]
fn what_appears_and_vanishes_does_not_stop_an_import() {
    let (world, tree) = world_with_tree();
    let busy = tree.join("busy");
    fs::create_dir(&busy).expect("a directory");
    let disturb = |round: u32| {
        let file = busy.join(format!("file-{}", round % 300));
        let dir = busy.join(format!("dir-{}", round % 300));
        if file.exists() {
            fs::remove_file(&file).expect("a file to remove");
            fs::remove_dir_all(&dir).expect("a directory to remove");
        } else {
            fs::create_dir(&dir).expect("a directory");
            fs::write(dir.join("below"), "below").expect("a file");
            fs::write(&file, "here").expect("a file");
        }
    };
    while_disturbed(disturb, || {
        for _ in 0..10 {
            let _ = import(&world, &tree, &[]).ok();
        }
    });
    let _ = import(&world, &tree, &[]).ok();
    lfsfs_tests::listing::assert_version_is_dir(&world, "app", &tree);
}
