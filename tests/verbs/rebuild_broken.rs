//! `lfsfs rebuild` that is killed, and directories that it leaves alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use lfsfs_testkit::requirements::require_root;
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::{Numbers, World, in_namespace};
use rustix::process::Signal;

use crate::rebuild::{assert_rebuilt, count, rebuild, world_with_two_versions};
use crate::rebuild_versions::versions_of_a_mount;
use crate::support::{names, read, world, write};

fn start(world: &World, source: &str, dir: &Path) -> Program {
    let words = ["rebuild".as_ref(), source.as_ref(), dir.as_os_str()];
    Program::start(world.command(words)).expect("lfsfs starts")
}

/// Kills a rebuild of `source` at a moment. Returns true if it was under way.
fn killed(world: &World, source: &str, dir: &Path, moment: Duration) -> bool {
    let mut program = start(world, source, dir);
    std::thread::sleep(moment);
    let _ = program.kill().expect("a process can be killed");
    let state = fs::read_to_string(dir.join(".lfsfs/state")).unwrap_or_default();
    state.contains(r#""version":null"#)
}

#[test]
fn what_was_killed_converges_and_keeps_what_the_user_made() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let (tree, second) = (world.path("tree"), world.path("second"));
    for (tree, seed) in [(&tree, 1), (&second, 2)] {
        let spec = TreeSpec {
            seed,
            ..TreeSpec::app(600)
        };
        let _ = spec.generate(tree).expect("a tree");
        fs::write(tree.join("large"), Numbers(seed).bytes(20_000_000)).expect("a file");
        let _ = mutate(tree, seed, 30).expect("changes");
        let _ = world.import(tree, "app");
    }
    let dir = world.path("dir");
    let began = Instant::now();
    let _ = rebuild(&world, "app@v1", &dir, &[]).ok();
    let whole = began.elapsed();
    let mut under_way = 0;
    for moment in 0..5 {
        write(&dir, "own", "mine");
        // Killed up, and killed again down; then it goes to either.
        under_way += u32::from(killed(&world, "app@v2", &dir, whole * moment / 5));
        under_way += u32::from(killed(&world, "app@v1", &dir, whole * (5 - moment) / 10));
        let (source, expected) = if moment % 2 == 0 {
            ("app@v2", &second)
        } else {
            ("app@v1", &tree)
        };
        let _ = rebuild(&world, source, &dir, &[]).ok();
        assert_eq!(read(&dir, "own"), "mine");
        fs::remove_file(dir.join("own")).expect("a file");
        // A file that came and went leaves its mark in the times of the root.
        let _ = rebuild(&world, source, &dir, &["--from-scratch"]).ok();
        assert_rebuilt(expected, &dir);
        assert_eq!(names(&dir.join(".lfsfs/staging")), [""; 0]);
        let other = if moment % 2 == 0 { "app@v1" } else { "app@v2" };
        let _ = rebuild(&world, other, &dir, &[]).ok();
    }
    assert!(under_way > 0, "no moment was in the middle");
}

/// Kills rebuilds to random versions at random moments, and now and then lets one come to its end.
fn kill_at_random(seed: u64, rounds: u64) {
    let (world, exported) = versions_of_a_mount(seed, 6);
    let dir = world.path("dir");
    let mut numbers = Numbers(seed);
    let mut under_way = 0;
    for _ in 0..rounds {
        for _ in 0..=numbers.below(3) {
            let source = format!("app@v{}", numbers.below(exported.len() as u64) + 1);
            let moment = Duration::from_millis(numbers.below(120));
            under_way += u32::from(killed(&world, &source, &dir, moment));
        }
        let version = usize::try_from(numbers.below(exported.len() as u64)).expect("a version");
        let _ = rebuild(&world, &format!("app@v{}", version + 1), &dir, &[]).ok();
        assert_rebuilt(&exported[version], &dir);
    }
    assert!(under_way > 0, "no moment was in the middle");
}

#[test]
#[ignore = "soak: many moments"]
fn what_was_killed_at_many_moments_converges() {
    let name = "rebuild_broken::what_was_killed_at_many_moments_converges";
    in_namespace(name, || (1..4).for_each(|seed| kill_at_random(seed, 40)));
}

#[test]
fn what_was_interrupted_in_its_first_version_converges() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::app(1_000).generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    fs::remove_dir_all(tree.join("node_modules")).expect("a directory");
    let _ = world.import(&tree, "app");
    let dir = world.path("dir");
    let mut program = start(&world, "app@v1", &dir);
    while !dir.join("node_modules").exists() && program.try_wait().expect("a process").is_none() {}
    let _ = program.kill().expect("a process can be killed");
    // What the killed one wrote of v1 and v2 does not have goes.
    let _ = rebuild(&world, "app@v2", &dir, &[]).ok();
    assert_rebuilt(&tree, &dir);
}

#[test]
fn what_a_signal_ends_is_finished_by_the_next_run() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::app(1_000).generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let dir = world.path("dir");
    let mut program = start(&world, "app", &dir);
    while !dir.join("node_modules").exists() && program.try_wait().expect("a process").is_none() {}
    let _ = program.signal(Signal::TERM);
    let status = program.wait(Duration::from_secs(30)).expect("lfsfs ends");
    // It may have been done before the signal came.
    assert!(status.success() || status.code() == Some(1), "{status}");
    assert_eq!(rebuild(&world, "app", &dir, &[]).ok(), "app@v1");
    assert_rebuilt(&tree, &dir);
}

#[test]
fn nothing_is_written_through_a_link() {
    let world = world_with_two_versions();
    let (dir, outside) = (world.path("dir"), world.make_dir("outside"));
    let _ = rebuild(&world, "app@v1", &dir, &[]).ok();
    fs::create_dir(outside.join("kept")).expect("a directory");
    write(&outside, "three", "outside");
    fs::remove_dir_all(dir.join("dir")).expect("a directory");
    symlink(&outside, dir.join("dir")).expect("a link");
    let _ = fs::remove_file(dir.join("one"));
    symlink(outside.join("three"), dir.join("one")).expect("a link");
    let _ = rebuild(&world, "app@v2", &dir, &[]).ok();
    assert_rebuilt(&world.path("tree"), &dir);
    assert_eq!(names(&outside), ["kept", "three"]);
    assert_eq!(read(&outside, "three"), "outside");
    // Nor through one in the place of the state.
    let other = world.make_dir("other");
    symlink(&outside, other.join(".lfsfs")).expect("a link");
    rebuild(&world, "app", &other, &[]).fails(1, &[".lfsfs"]);
    fs::remove_file(dir.join(".lfsfs/lock")).expect("a file");
    symlink(outside.join("made"), dir.join(".lfsfs/lock")).expect("a link");
    rebuild(&world, "app@v1", &dir, &[]).fails(1, &["lock"]);
    assert_eq!(names(&outside), ["kept", "three"]);
}

#[test]
fn wrong_directories_are_left_as_they_are() {
    let world = world();
    let tree = world.path("tree");
    let _ = world.import(&tree, "web");
    let mine = world.make_dir("mine");
    write(&mine, "mine", "mine");
    rebuild(&world, "app", &mine, &[]).fails(1, &["not empty", "--from-scratch"]);
    assert_eq!(names(&mine), ["mine"]);
    rebuild(&world, "app", &mine.join("mine"), &[]).fails(1, &["mine"]);
    rebuild(&world, "app", &mine.join("a/b"), &[]).fails(1, &["a/b", "above"]);
    let dir = world.path("dir");
    let _ = rebuild(&world, "app", &dir, &[]).ok();
    rebuild(&world, "web", &dir, &[]).fails(1, &["another project", "--from-scratch"]);
    for damage in ["", "{}", "{\"format\":1}"] {
        write(&dir, ".lfsfs/state", damage);
        rebuild(&world, "app", &dir, &[]).fails(1, &["damaged", "--from-scratch"]);
    }
    write(&dir, "own", "mine");
    for dir in [&dir, &mine] {
        // Without a terminal it cannot ask, and removes nothing.
        let before = names(dir);
        rebuild(&world, "web", dir, &["--from-scratch"]).fails(2, &["Remove everything", "--yes"]);
        assert_eq!(names(dir), before);
        let forced = rebuild(&world, "web", dir, &["--from-scratch", "--yes"]);
        assert_eq!(forced.ok(), "web@v1");
        assert_rebuilt(&tree, dir);
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let world = world();
    let dir = world.path("dir");
    rebuild(&world, "none", &dir, &[]).fails(1, &["none"]);
    rebuild(&world, "app@v9", &dir, &[]).fails(1, &["v9"]);
    rebuild(&world, "a b", &dir, &[]).fails(2, &["a b"]);
    rebuild(&world, "app", &dir, &["--subpath", "a/../b"]).fails(2, &[".."]);
    rebuild(&world, "app", &dir, &["--ignore", "["]).fails(2, &["["]);
    assert!(!dir.exists());
}

#[test]
fn a_version_with_something_in_the_place_of_the_state_is_refused() {
    let world = world();
    let file = world.path("file");
    fs::write(&file, "text").expect("a file");
    let _ = crate::support::put(&world, &file, "app:.lfsfs").ok();
    let dir = world.path("dir");
    rebuild(&world, "app@v2", &dir, &[]).fails(1, &[".lfsfs", "export"]);
    assert!(!dir.exists());
    let _ = rebuild(&world, "app@v1", &dir, &[]).ok();
    rebuild(&world, "app@v2", &dir, &[]).fails(1, &[".lfsfs"]);
    assert_eq!(count(&world, "app@v1", &dir, &[]), 0);
}

#[test]
fn lost_contents_are_listed_and_the_next_run_compares_everything() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("first"), vec![1; 300_000]).expect("a file");
    let _ = world.import(&tree, "app");
    let lost = lfsfs_testkit::chunks::files_in(world.data());
    fs::write(tree.join("second"), vec![2; 300_000]).expect("a file");
    let _ = world.import(&tree, "app");
    world.stop_server();
    for chunk in lost {
        fs::remove_file(chunk).expect("a chunk");
    }
    world.start_server(&[]);
    let dir = world.path("dir");
    let run = rebuild(&world, "app", &dir, &[]);
    let _ = run.fails(
        1,
        &["1 object of app@v2", "first: ", "the rest of it is in"],
    );
    assert_eq!(
        (run.stdout(), names(&dir)),
        (String::new(), vec![".lfsfs".to_owned(), "second".into()])
    );
    // Once the file is there, by whatever way, it is whole.
    fs::copy(tree.join("first"), dir.join("first")).expect("a copy");
    assert_eq!(rebuild(&world, "app", &dir, &[]).ok(), "app@v2");
    assert_eq!(count(&world, "app", &dir, &[]), 0);
}
