//! `lfsfs update` that is killed, fails, or loses its answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use lfsfs_testkit::requirements::require_root;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Numbers, Proxied, World};
use rustix::fs::{FlockOperation, flock};

use crate::rebuild::{assert_rebuilt, rebuild};
use crate::support::{names, read, write};
use crate::update::{assert_is_version, mutate_rebuilt, rebuilt, update};

const TIMEOUT: Duration = Duration::from_secs(60);

fn start(world: &World, dir: &Path) -> Program {
    let mut command = world.command(["update".as_ref(), dir.as_os_str()]);
    command.env("LFSFS_RETRY_FOR", "30");
    Program::start(command).expect("lfsfs starts")
}

/// A rebuilt directory whose server is reached through a proxy.
fn proxied() -> (Proxied, PathBuf) {
    let proxied = Proxied::new();
    let world = &proxied.world;
    let tree = world.make_dir("tree");
    fs::create_dir(tree.join("dir")).expect("a directory");
    for name in ["one", "two", "dir/three"] {
        write(&tree, name, name);
    }
    let _ = world.import(&tree, "app");
    let dir = world.path("dir");
    let _ = rebuild(world, "app", &dir, &[]).ok();
    (proxied, dir)
}

/// Asks the server itself, past the proxy.
fn head(proxied: &Proxied) -> u64 {
    let words = [
        "--server",
        proxied.server(),
        "project",
        "inspect",
        "app",
        "--json",
    ];
    let told = proxied.world.lfsfs(words).json();
    told["head"].as_u64().expect("a number")
}

/// Starts an update and kills it after the server has published, before the answer is there.
fn kill_after_it_was_published(proxied: &Proxied, dir: &Path, version: u64) {
    proxied.proxy.delay(Duration::from_millis(1_200));
    let mut started = start(&proxied.world, dir);
    let deadline = Instant::now() + TIMEOUT;
    while head(proxied) < version {
        assert!(Instant::now() < deadline, "{}", started.output());
    }
    let _ = started.kill().expect("a process can be killed");
    proxied.proxy.restore().expect("a proxy");
    let state = fs::read_to_string(dir.join(".lfsfs/state")).expect("the state");
    assert!(
        !state.contains(&format!(r#""number":{version}"#)),
        "{state}"
    );
}

fn change(dir: &Path) {
    write(dir, "one", "mine");
    fs::remove_file(dir.join("two")).expect("a file");
    // What two commits make of a link is not the same: the version must be found.
    fs::hard_link(dir.join("one"), dir.join("name")).expect("a name");
}

#[test]
fn one_that_was_killed_after_it_was_published_makes_no_second_version() {
    let (proxied, dir) = proxied();
    let world = &proxied.world;
    change(&dir);
    kill_after_it_was_published(&proxied, &dir, 2);
    assert_eq!(update(world, &dir, &[]).ok(), "app@v2");
    assert_is_version(world, "app@v2", &dir);
    assert_eq!(update(world, &dir, &[]).ok(), "app@v2");
    write(&dir, "one", "mine again");
    kill_after_it_was_published(&proxied, &dir, 3);
    // What was changed since is a version of its own, and no conflict.
    write(&dir, "one", "and again");
    assert_eq!(update(world, &dir, &[]).ok(), "app@v4");
    assert_is_version(world, "app@v4", &dir);
    proxied.check();
}

#[test]
fn one_that_was_killed_gets_what_others_published() {
    let (proxied, dir) = proxied();
    let world = &proxied.world;
    let theirs = world.path("theirs");
    let _ = rebuild(world, "app", &theirs, &[]).ok();
    write(&theirs, "dir/three", "theirs");
    write(&theirs, "dir/new", "theirs");
    assert_eq!(update(world, &theirs, &[]).ok(), "app@v2");
    change(&dir);
    kill_after_it_was_published(&proxied, &dir, 3);
    assert_eq!(read(&dir, "dir/three"), "dir/three");
    write(&theirs, "dir/later", "theirs");
    assert_eq!(update(world, &theirs, &[]).ok(), "app@v4");
    assert_eq!(update(world, &dir, &[]).ok(), "app@v3");
    assert_is_version(world, "app@v3", &dir);
    // A rebuild of one that was killed needs no update before.
    write(&dir, "one", "mine again");
    kill_after_it_was_published(&proxied, &dir, 5);
    let _ = rebuild(world, "app", &dir, &[]).ok();
    assert_is_version(world, "app@v5", &dir);
    assert_eq!(update(world, &dir, &[]).ok(), "app@v5");
}

/// Has others publish a large file, and kills an update while it writes that. Returns the version of the update.
fn kill_while_it_merges(proxied: &Proxied, [dir, theirs]: [&Path; 2], seed: u64) -> u64 {
    let world = &proxied.world;
    write(theirs, "dir/three", &format!("theirs {seed}"));
    fs::create_dir_all(theirs.join(format!("new-{seed}"))).expect("a directory");
    let large = theirs.join(format!("new-{seed}/large"));
    fs::write(large, Numbers(seed).bytes(12_000_000)).expect("a file");
    let _ = update(world, theirs, &[]).ok();
    write(dir, "one", &format!("mine {seed}"));
    proxied.proxy.throttle(4_000_000);
    let mut started = start(world, dir);
    let deadline = Instant::now() + TIMEOUT;
    let sent = || fs::read_to_string(dir.join(".lfsfs/sent")).unwrap_or_default();
    while !(sent().contains(r#""merging":{"#) && dir.join(format!("new-{seed}")).exists()) {
        assert!(Instant::now() < deadline, "{}", started.output());
        assert!(
            started.try_wait().expect("a process").is_none(),
            "{}",
            started.output()
        );
    }
    let _ = started.kill().expect("a process can be killed");
    proxied.proxy.restore().expect("a proxy");
    world.head("app")
}

#[test]
fn one_that_was_killed_while_it_merged_goes_on() {
    let (proxied, dir) = proxied();
    let world = &proxied.world;
    let theirs = world.path("theirs");
    let _ = rebuild(world, "app", &theirs, &[]).ok();
    assert_eq!(kill_while_it_merges(&proxied, [&dir, &theirs], 1), 3);
    let fsdiff = world.lfsfs(["fsdiff".as_ref(), dir.as_os_str()]);
    fsdiff.fails(1, &["did not come to its end"]);
    // What is changed meanwhile is neither lost nor in the way.
    write(&dir, "two", "mine");
    write(&dir, "one", "mine again");
    assert_eq!(update(world, &dir, &[]).ok(), "app@v4");
    assert_is_version(world, "app@v4", &dir);
    let _ = rebuild(world, "app", &theirs, &[]).ok();
    assert_eq!(kill_while_it_merges(&proxied, [&dir, &theirs], 2), 6);
    // The next one is killed, too, and a rebuild compares everything.
    let mut started = start(world, &dir);
    let _ = started.kill().expect("a process can be killed");
    for source in ["app@v4", "app@v6"] {
        let _ = rebuild(world, source, &dir, &[]).ok();
        assert_is_version(world, source, &dir);
    }
    assert_eq!(update(world, &dir, &[]).ok(), "app@v6");
    proxied.check();
}

#[test]
fn an_answer_that_is_lost_makes_one_version() {
    let (proxied, dir) = proxied();
    change(&dir);
    proxied.proxy.delay(Duration::from_millis(1_200));
    let mut started = start(&proxied.world, &dir);
    let deadline = Instant::now() + TIMEOUT;
    while head(&proxied) < 2 {
        assert!(Instant::now() < deadline, "{}", started.output());
    }
    proxied.proxy.cut();
    proxied.proxy.restore().expect("a proxy");
    let status = started.wait(TIMEOUT).expect("lfsfs ends");
    assert!(status.success(), "{}", started.output());
    assert!(started.output().contains("app@v2"), "{}", started.output());
    assert_is_version(&proxied.world, "app@v2", &dir);
    assert_eq!(head(&proxied), 2);
}

#[test]
fn one_that_failed_forgets_nothing() {
    let (mut world, dir) = rebuilt(&[]);
    write(&dir, "one", "mine");
    write(&dir, "dir/new", "mine");
    let before = fs::read(dir.join(".lfsfs/summary")).expect("the summary");
    world.stop_server();
    update(&world, &dir, &[]).fails(1, &["no lfsfs server"]);
    assert_eq!(
        fs::read(dir.join(".lfsfs/summary")).expect("the summary"),
        before
    );
    world.start_server(&[]);
    // One whose server goes away while it sends.
    fs::write(dir.join("large"), Numbers(1).bytes(30_000_000)).expect("a file");
    let mut command = world.command(["update".as_ref(), dir.as_os_str()]);
    command.env("LFSFS_RETRY_FOR", "0");
    let mut started = Program::start(command).expect("lfsfs starts");
    std::thread::sleep(Duration::from_millis(100));
    world.kill_server();
    let status = started.wait(TIMEOUT).expect("lfsfs ends");
    world.start_server(&[]);
    let version = if status.success() { "app@v2" } else { "app@v1" };
    assert_eq!(
        format!("app@v{}", world.head("app")),
        version,
        "{}",
        started.output()
    );
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v2");
    assert_is_version(&world, "app@v2", &dir);
}

#[test]
fn one_that_is_killed_at_any_moment_converges() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::app(200).generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let dirs = ["mine", "theirs"].map(|name| world.path(name));
    let [mine, theirs] = &dirs;
    for dir in &dirs {
        fs::create_dir_all(dir).expect("a directory");
        let _ = rebuild(&world, "app", dir, &[]).ok();
        write(dir, "shared", "shared");
        let _ = update(&world, dir, &[]).ok();
    }
    for round in 0..5_u64 {
        // Each changes files of its own, so that there is no conflict.
        for (dir, name) in [(mine, "mine"), (theirs, "theirs")] {
            let own = dir.join(format!("own-{name}-{round}"));
            let spec = TreeSpec {
                seed: round,
                ..TreeSpec::small()
            };
            let _ = spec.generate(&own).expect("a tree");
        }
        let _ = update(&world, theirs, &[]).ok();
        let mut started = start(&world, mine);
        std::thread::sleep(Duration::from_millis(90 * round));
        let _ = started.kill().expect("a process can be killed");
        let source = update(&world, mine, &[]).ok();
        assert_is_version(&world, &source, mine);
        assert_eq!(update(&world, mine, &[]).ok(), source);
        assert!(names(&mine.join(".lfsfs/staging")).is_empty());
        // It begins each round with the version that it has, and the other one with its own.
        let versions = world.head("app");
        assert!(versions <= 3 + 2 * (round + 1), "{versions} versions");
    }
}

#[test]
fn one_directory_is_not_updated_twice_at_a_time() {
    let (world, dir) = rebuilt(&[]);
    write(&dir, "one", "mine");
    // What another process does that works in it.
    let lock = fs::File::open(dir.join(".lfsfs/lock")).expect("the lock");
    flock(&lock, FlockOperation::LockExclusive).expect("a lock");
    let busy = "another process rebuilds or updates";
    update(&world, &dir, &[]).fails(1, &[busy]);
    rebuild(&world, "app", &dir, &[]).fails(1, &[busy]);
    drop(lock);
    assert_eq!(update(&world, &dir, &[]).ok(), "app@v2");
}

#[test]
fn random_changes_survive_kills() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let (tree, dir) = (world.path("tree"), world.path("dir"));
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let _ = rebuild(&world, "app", &dir, &[]).ok();
    let mut numbers = Numbers(5);
    let fresh = world.path("expected");
    for round in 0..6 {
        mutate_rebuilt(&world, &dir, round, 12);
        let mut started = start(&world, &dir);
        std::thread::sleep(Duration::from_millis(numbers.below(150)));
        let _ = started.kill().expect("a process can be killed");
        mutate_rebuilt(&world, &dir, 100 + round, 3);
        let source = update(&world, &dir, &[]).ok();
        let _ = rebuild(&world, &source, &fresh, &[]).ok();
        assert_rebuilt(&fresh, &dir);
    }
}
