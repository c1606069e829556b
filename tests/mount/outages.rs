//! Servers that are not there, not there any more, slow, or another server.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::proxy::Proxy;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{
    Mounted, Run, World, count, eventually, files, in_namespace, is_running, mount_table, read_all,
    wait_for_cache, walk,
};
use rustix::process::{Pid, Signal, kill_process};

/// `timeout=` of these mounts, and what a call may take with it.
const TIMEOUT: &str = "timeout=3";
const CALL_MAX: Duration = Duration::from_secs(6);
/// Opening gives up after 5 s; the rest is for a busy machine.
const OPEN_MAX: Duration = Duration::from_secs(9);
const FILE_LEN: usize = 100_000;

/// Bytes that no other seed has, that do not compress, and that no other file shares.
fn noise(seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(FILE_LEN).collect()
}

/// Makes `cached` and `fresh`, each with files of noise and a directory of its own.
fn make_tree(tree: &Path, seed: u32) {
    for (number, dir) in [(0, "cached"), (1, "fresh")] {
        let deep = tree.join(dir).join("deep");
        fs::create_dir_all(&deep).expect("a directory");
        for file in 0..30 {
            let bytes = noise(seed * 1_000 + number * 100 + file);
            fs::write(tree.join(dir).join(format!("file-{file}")), bytes).expect("a file");
        }
        fs::write(deep.join("last"), noise(seed * 1_000 + number * 100 + 99)).expect("a file");
    }
}

fn app(world: &World) -> PathBuf {
    let tree = world.path("tree");
    make_tree(&tree, 1);
    assert_eq!(world.import(&tree, "app"), "app@v1");
    tree
}

fn same(tree: &Path, shown: &Path) {
    let options = CompareOptions {
        root: false,
        directory_times: false,
        ..CompareOptions::default()
    };
    assert_same_trees(tree, shown, &options);
}

fn timed<T>(limit: Duration, body: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = body();
    assert!(start.elapsed() < limit, "it took {:?}", start.elapsed());
    result
}

fn refused(world: &World, source: &str, options: &str) -> Run {
    let dir = world.make_dir("refused");
    let run = timed(OPEN_MAX, || world.mount_at(source, &dir, options));
    assert!(mount_table(&dir).is_empty());
    assert_eq!(world.lfsfs(["mounts"]).ok(), "");
    run
}

#[test]
fn what_the_server_does_not_have_is_named() {
    in_namespace("outages::what_the_server_does_not_have_is_named", || {
        let world = World::new();
        let _ = app(&world);
        for (source, word) in [
            ("absent", "absent"),
            ("app@v7", "7"),
            ("app@stable", "stable"),
        ] {
            let _ = refused(&world, source, "ro").fails(1, &[source, word]);
        }
    });
}

#[test]
fn without_a_server_a_mount_says_what_to_start() {
    in_namespace(
        "outages::without_a_server_a_mount_says_what_to_start",
        || {
            let world = World::without_server();
            let words = ["no lfsfs server at 127.0.0.1:1", "lfsfsd all --data"];
            let _ = refused(&world, "app", "ro").fails(1, &words);
            // Retries are bounded too.
            let start = Instant::now();
            let _ = world
                .mount_at("app", &world.make_dir("m"), "ro,retry=1")
                .fails(1, &words);
            assert!(start.elapsed() > Duration::from_secs(4), "it tried twice");
            assert!(start.elapsed() < OPEN_MAX * 2);
        },
    );
}

#[test]
fn a_silent_server_is_given_up() {
    in_namespace("outages::a_silent_server_is_given_up", || {
        let mut world = World::new();
        let _ = app(&world);
        let proxy = proxy(&mut world);
        proxy.stall();
        let _ = refused(&world, "app@v1", "ro").fails(1, &["app@v1"]);
    });
}

#[test]
fn a_mount_that_retries_finds_a_server_that_comes_late() {
    in_namespace(
        "outages::a_mount_that_retries_finds_a_server_that_comes_late",
        || {
            let mut world = World::new();
            let tree = app(&world);
            world.stop_server();
            let dir = world.make_dir("m");
            let words = ["mount".as_ref(), "app@v1".as_ref(), dir.as_os_str()];
            let options = ["-o", "ro,retry=10"].map(std::ffi::OsStr::new);
            let mut mounting = world
                .command(words.into_iter().chain(options))
                .spawn()
                .expect("a process");
            std::thread::sleep(Duration::from_secs(2));
            world.start_server(&[]);
            assert!(mounting.wait().expect("it ends").success());
            same(&tree, &dir);
            let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
        },
    );
}

/// Puts a proxy between the client and the server.
fn proxy(world: &mut World) -> Proxy {
    let server: SocketAddr = world.address().parse().expect("an address");
    let proxy = Proxy::start(server).expect("a proxy");
    world.set_address(&proxy.address().to_string());
    proxy
}

/// Reads everything below `cached`, and waits until that is on disk.
fn warm_up(mount: &Mounted<'_>) {
    let cached = mount.path().join("cached");
    walk(&cached);
    read_all(&cached);
    wait_for_cache(mount);
}

/// Checks that each file of `fresh` is true or fails in time, and returns how many failed.
fn read_fresh(tree: &Path, shown: &Path) -> usize {
    let mut failed = 0;
    for file in files(&tree.join("fresh")) {
        let name = file.strip_prefix(tree).expect("it lies below");
        match timed(CALL_MAX, || fs::read(shown.join(name))) {
            Ok(bytes) => assert_eq!(bytes, fs::read(&file).expect("a file"), "{name:?}"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name:?}");
                failed += 1;
                // One after the other would take long, and they would all say the same.
                break;
            }
        }
    }
    failed
}

#[test]
fn while_the_server_is_down_the_cache_serves_and_the_rest_fails_in_time() {
    let name = "outages::while_the_server_is_down_the_cache_serves_and_the_rest_fails_in_time";
    in_namespace(name, || {
        let mut world = World::new();
        let tree = app(&world);
        let dir = world.make_dir("m");
        let first = world.make_dir("first");
        let options = format!("ro,{TIMEOUT}");
        let _ = world.mount_at("app@v1", &dir, &options).ok();
        let _ = world.mount_at("app@v1", &first, &options).ok();
        let cached = |dir: &Path| (walk(&dir.join("cached")), read_all(&dir.join("cached")));
        let _ = cached(&first);
        std::thread::sleep(Duration::from_secs(1));
        world.kill_server();

        // One has it in the kernel, the other only in the cache that both share.
        for shown in [&first, &dir] {
            timed(CALL_MAX, || {
                same(&tree.join("cached"), &shown.join("cached"));
            });
            assert_eq!(read_fresh(&tree, shown), 1, "no mount has fetched that");
            let listed = timed(CALL_MAX, || fs::read_dir(shown.join("fresh/deep")));
            let listed = listed.and_then(|mut entries| entries.next().transpose());
            assert_eq!(
                listed.expect_err("not known").raw_os_error(),
                Some(libc::EIO)
            );
        }
        let status = world.lfsfs(["status".as_ref(), dir.as_os_str()]).ok();
        assert!(status.contains("app@v1"));

        world.start_server(&[]);
        for shown in [&first, &dir] {
            recover(&tree, shown);
            let _ = world.lfsfs(["umount".as_ref(), shown.as_os_str()]).ok();
        }
    });
}

/// Waits until everything is shown, without mounting again.
fn recover(tree: &Path, shown: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while read_fresh(tree, shown) > 0 {
        assert!(Instant::now() < deadline, "it does not recover");
        std::thread::sleep(Duration::from_millis(100));
    }
    same(tree, shown);
}

#[test]
fn a_network_that_stalls_or_breaks_costs_errors_and_nothing_else() {
    let name = "outages::a_network_that_stalls_or_breaks_costs_errors_and_nothing_else";
    in_namespace(name, || {
        let mut world = World::new();
        let tree = app(&world);
        let proxy = proxy(&mut world);
        let mount = world.mount("app@v1", TIMEOUT);
        warm_up(&mount);

        proxy.stall();
        same(&tree.join("cached"), &mount.path().join("cached"));
        assert_eq!(read_fresh(&tree, mount.path()), 1);
        proxy.restore().expect("the proxy goes on");
        recover(&tree, mount.path());
        assert!(count(&mount.counters(), "read_errors") > 0);
        mount.umount();
    });
}

/// Starts a program that asks for what only the server has, and waits until it waits.
fn start_waiting(mount: &Mounted<'_>, program: &str, path: &Path) -> Child {
    let lookups = || count(&mount.requests(), "LOOKUP");
    let before = lookups();
    // Tests that were started in the background have SIGINT ignored, and so would the program.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", program]).arg(path);
    let child = command.spawn().expect("a program");
    let stat = format!("/proc/{}/stat", child.id());
    let sleeps = |stat: String| stat.contains(") D ") || stat.contains(") S ");
    let waits = || lookups() > before && fs::read_to_string(&stat).is_ok_and(sleeps);
    assert!(
        eventually(OPEN_MAX, waits),
        "it does not wait for the mount"
    );
    child
}

#[test]
fn a_program_that_waits_for_a_silent_server_can_be_killed() {
    let name = "outages::a_program_that_waits_for_a_silent_server_can_be_killed";
    in_namespace(name, || {
        let mut world = World::new();
        let _ = app(&world);
        let proxy = proxy(&mut world);
        // Far longer than the test may take.
        let mount = world.mount_writable("app@v1", "timeout=600");
        proxy.stall();
        let dir = mount.path().join("fresh");
        for (program, path) in [("ls", dir.clone()), ("touch", dir.join("new"))] {
            for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
                let mut child = start_waiting(&mount, program, &path);
                let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
                kill_process(pid.expect("a process id"), signal).expect("it can be signalled");
                let ends = || !is_running(child.id());
                assert!(eventually(OPEN_MAX, ends), "{program} {signal:?}");
                let _ = child.wait().expect("it ends");
            }
        }
        proxy.restore().expect("the proxy goes on");
        // The mount is as it was; nothing was made.
        assert_eq!(fs::read_dir(&dir).expect("a directory").count(), 31);
        mount.umount();
    });
}

#[test]
fn a_server_that_is_away_is_waited_for_once() {
    in_namespace("outages::a_server_that_is_away_is_waited_for_once", || {
        let mut world = World::new();
        let tree = app(&world);
        let proxy = proxy(&mut world);
        let mount = world.mount_writable("app@v1", TIMEOUT);
        proxy.stall();
        let fails = |path: &Path| {
            let error = fs::write(path, "new").expect_err("it is not known what is there");
            assert_eq!(error.raw_os_error(), Some(libc::EIO));
        };
        timed(CALL_MAX, || fails(&mount.path().join("fresh/first")));
        // Together less than they would take one after the other.
        timed(CALL_MAX, || {
            for number in 0..10 {
                fails(&mount.path().join(format!("fresh/deep/{number}")));
                fails(&mount.path().join(format!("cached/{number}")));
            }
        });
        let status = mount.verb(["status"]).ok();
        assert!(status.contains("has not answered for"), "{status}");
        assert!(status.contains("lfsfs switch --server"), "{status}");
        proxy.restore().expect("the proxy goes on");
        let is_back = || fs::write(mount.path().join("fresh/deep/new"), "new").is_ok();
        assert!(eventually(Duration::from_secs(20), is_back));
        assert!(!mount.verb(["status"]).ok().contains("has not answered"));
        assert_eq!(mount.diff(), ["A fresh/deep/new"]);
        let _ = mount.verb(["discard", "--yes"]).ok();
        recover(&tree, mount.path());
        mount.umount();
    });
}

#[test]
fn connections_that_break_in_the_middle_of_a_read_are_made_again() {
    let name = "outages::connections_that_break_in_the_middle_of_a_read_are_made_again";
    in_namespace(name, || {
        let mut world = World::new();
        let tree = app(&world);
        let proxy = proxy(&mut world);
        let mount = world.mount("app@v1", "timeout=20");
        let shown = mount.path();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| same(&tree, shown));
            for _ in 0..10 {
                std::thread::sleep(Duration::from_millis(20));
                proxy.close_connections();
            }
            reader.join().expect("everything could be read");
        });
        mount.umount();
    });
}

#[test]
fn a_mount_of_known_data_needs_no_slow_network() {
    in_namespace(
        "outages::a_mount_of_known_data_needs_no_slow_network",
        || {
            let mut world = World::new();
            let tree = app(&world);
            let proxy = proxy(&mut world);
            proxy.delay(Duration::from_millis(200));
            let first = world.mount("app@v1", "");
            walk(first.path());
            read_all(first.path());
            wait_for_cache(&first);
            first.umount();
            // Opening takes some round trips, everything else none.
            let second = world.mount("app@v1", "");
            timed(CALL_MAX, || same(&tree, second.path()));
            second.umount();
        },
    );
}

/// Stops the server, throws its data away, and starts one with another tree under the same names.
fn become_another_server(world: &mut World) -> PathBuf {
    world.kill_server();
    fs::remove_dir_all(world.data()).expect("the data can be removed");
    world.start_server(&[]);
    let other = world.path("other");
    make_tree(&other, 2);
    assert_eq!(world.import(&other, "app"), "app@v1");
    other
}

#[test]
fn another_servers_data_under_the_same_names_is_never_shown() {
    let name = "outages::another_servers_data_under_the_same_names_is_never_shown";
    in_namespace(name, || {
        let mut world = World::new();
        let tree = app(&world);
        let dir = world.make_dir("m");
        let options = format!("ro,{TIMEOUT}");
        let _ = world.mount_at("app@v1", &dir, &options).ok();
        walk(&dir.join("cached"));
        read_all(&dir.join("cached"));
        std::thread::sleep(Duration::from_secs(1));

        let other = become_another_server(&mut world);
        same(&tree.join("cached"), &dir.join("cached"));
        assert_own_or_error(&tree, &dir);

        // A new mount, with the same cache, shows the other tree and nothing of the first.
        let second = world.make_dir("second");
        let _ = world.mount_at("app@v1", &second, &options).ok();
        same(&other, &second);
        // And what it has fetched does not reach the first.
        assert_own_or_error(&tree, &dir);
        for dir in [&dir, &second] {
            let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
        }
    });
}

/// Each file is what the mounted version has, or an error.
fn assert_own_or_error(tree: &Path, shown: &Path) {
    for file in files(tree) {
        let name = file.strip_prefix(tree).expect("it lies below");
        let read = timed(CALL_MAX, || fs::read(shown.join(name)));
        let is_unknown = |error: &io::Error| {
            matches!(
                error.raw_os_error(),
                Some(libc::EIO | libc::ESTALE | libc::ENOENT)
            )
        };
        match read {
            Ok(bytes) => assert!(bytes == fs::read(&file).expect("a file"), "{name:?}"),
            Err(error) => assert!(is_unknown(&error), "{name:?}: {error}"),
        }
    }
}

#[test]
fn a_project_that_was_made_again_shows_nothing_of_the_old_one() {
    let name = "outages::a_project_that_was_made_again_shows_nothing_of_the_old_one";
    in_namespace(name, || {
        let mut world = World::new();
        let _ = app(&world);
        let first = world.mount("app@v1", "");
        warm_up(&first);
        first.umount();
        let other = become_another_server(&mut world);
        let second = world.mount("app@v1", "");
        same(&other, second.path());
        second.umount();
    });
}

#[test]
fn many_readers_wait_for_one_fetch_and_all_are_answered() {
    in_namespace(
        "outages::many_readers_wait_for_one_fetch_and_all_are_answered",
        || {
            let world = World::new();
            let tree = world.path("tree");
            TreeSpec::app(300).generate(&tree).expect("a tree");
            assert_eq!(world.import(&tree, "app"), "app@v1");
            let alone = world.mount("app@v1", "");
            read_all(alone.path());
            let bytes = count(&alone.counters(), "remote_bytes");
            alone.umount();
            fs::remove_dir_all(world.path("cache")).expect("the cache can be removed");

            let together = world.mount("app@v1", "");
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| same(&tree, together.path()));
                }
            });
            // Order decides how blocks around a read are fetched, so not to the byte.
            let fetched = count(&together.counters(), "remote_bytes");
            assert!(
                fetched < bytes + bytes / 4,
                "{fetched} together, {bytes} alone"
            );
            together.umount();
        },
    );
}
