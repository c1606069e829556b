//! The server is killed in the middle of what users do, and is back 10 s later.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Numbers, Proxied, eventually, in_namespace};

/// How long the server is away.
const AWAY: Duration = Duration::from_secs(10);
/// How much later each byte arrives, so that every command is in its middle when the server goes.
const DELAY: Duration = Duration::from_millis(250);
/// From the start of the import, which has most to do, to that of the others.
const IMPORT_FIRST: Duration = Duration::from_millis(1_500);
/// From the start of the others to the end of the server: more than one answer, less than three.
const BEFORE_KILL: Duration = Duration::from_millis(800);
const TIMEOUT: Duration = Duration::from_secs(120);
/// Commands that connect themselves, and not by way of a mount.
const COMMANDS: u64 = 4;

/// A project of two versions, mounts of it, and a tree to import.
struct Setup {
    proxied: Proxied,
    /// The tree that is app@v2.
    tree: PathBuf,
    /// What is to become the first version of another project.
    other: PathBuf,
    /// Mounted for writing, with changes.
    changed: PathBuf,
    /// Mounted for reading, of version 2.
    followed: PathBuf,
}

impl Setup {
    fn new() -> Self {
        let proxied = Proxied::new();
        let world = &proxied.world;
        let tree = world.path("tree");
        let _ = TreeSpec::app(300).generate(&tree).expect("a tree");
        fs::write(tree.join("cold"), Numbers(7).bytes(3_000_000)).expect("a file");
        let _ = world.import(&tree, "app");
        let _ = mutate(&tree, 1, 40).expect("changes");
        let _ = world.import(&tree, "app");
        let other = world.path("other");
        let _ = TreeSpec::app(200).generate(&other).expect("a tree");
        fs::write(other.join("large"), Numbers(8).bytes(5_000_000)).expect("a file");
        let _ = world.lfsfs(["project", "new", "other"]).ok();
        let (changed, followed) = (world.make_dir("changed"), world.make_dir("followed"));
        let _ = world.mount_at("app@v2", &changed, "rw").ok();
        let _ = world.mount_at("app@v2", &followed, "ro").ok();
        for number in 0..50 {
            let bytes = Numbers(number + 1).bytes(20_000);
            fs::write(changed.join(format!("new-{number}")), bytes).expect("a file");
        }
        Self {
            proxied,
            tree,
            other,
            changed,
            followed,
        }
    }

    fn start(&self, retry_for: &str, words: &[&OsStr]) -> Program {
        let mut command = self.proxied.world.command(words);
        command.env("LFSFS_RETRY_FOR", retry_for);
        Program::start(command).expect("lfsfs starts")
    }

    fn export_dir(&self) -> PathBuf {
        self.proxied.world.path("exported")
    }

    /// Starts everything that needs the server. What each does is its first word.
    fn start_all(&self, retry_for: &str) -> Vec<(&'static str, Program)> {
        let connections = || self.proxied.proxy.counters().connections;
        let before = connections();
        let os = |path: &'_ Path| path.as_os_str().to_owned();
        let (other, changed, followed) = (os(&self.other), os(&self.changed), os(&self.followed));
        let exported = os(&self.export_dir());
        let word = OsStr::new;
        let import = self.start(retry_for, &[word("import"), &other, word("other")]);
        sleep(IMPORT_FIRST);
        let mut programs = vec![("import", import)];
        let commands: [(&'static str, Vec<&OsStr>); 5] = [
            ("export", vec![word("export"), word("app@v1"), &exported]),
            ("commit", vec![word("commit"), &changed]),
            ("switch", vec![word("switch"), &followed, word("v1")]),
            ("diff", vec![word("diff"), word("app@v1"), word("app@v2")]),
            ("cat", vec![word("cat"), word("app@v2"), word("cold")]),
        ];
        for (name, words) in commands {
            programs.push((name, self.start(retry_for, &words)));
        }
        // One that has no connection yet takes the server for one that was never there.
        let are_connected = || connections() >= before + COMMANDS;
        assert!(eventually(TIMEOUT, are_connected), "they connect");
        programs
    }

    /// Reads a file that was never read, through the mount that is for reading.
    fn start_read(&self) -> Program {
        let mut read = Command::new("sha256sum");
        read.arg(self.changed.join("cold"));
        Program::start(read).expect("a program")
    }

    fn end(self) {
        let world = &self.proxied.world;
        for dir in [&self.changed, &self.followed] {
            let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
        }
        self.proxied.check();
    }
}

#[track_caller]
fn assert_all_are_under_way(programs: &mut [(&'static str, Program)]) {
    for (name, program) in programs {
        let ended = program.try_wait().expect("a process");
        assert!(ended.is_none(), "{name} is done: {}", program.output());
    }
}

#[test]
fn what_the_server_was_killed_in_finishes_when_it_is_back() {
    in_namespace(
        "away::what_the_server_was_killed_in_finishes_when_it_is_back",
        || {
            let mut setup = Setup::new();
            let expected = setup.proxied.world.lfsfs(["diff", "app@v1", "app@v2"]).ok();
            setup.proxied.proxy.delay(DELAY);
            let mut programs = setup.start_all("30");
            let read = setup.start_read();
            sleep(BEFORE_KILL);
            programs.push(("read", read));
            assert_all_are_under_way(&mut programs);
            setup.proxied.kill_server();
            sleep(AWAY);
            assert_all_are_under_way(&mut programs);
            setup.proxied.start_server();
            for (name, program) in &mut programs {
                let status = program.wait(TIMEOUT).expect("it ends");
                let output = program.output();
                assert!(status.success(), "{name}: {output}");
                let warnings = output.matches("trying again").count();
                let has_line = *name != "read";
                assert_eq!(warnings, usize::from(has_line), "{name}: {output}");
            }
            let diff = programs.iter().find(|it| it.0 == "diff").expect("a diff");
            assert!(diff.1.output().contains(&expected), "{}", diff.1.output());
            assert_results(&setup);
            setup.end();
        },
    );
}

/// Everything is what it would be without the interruption, and there is one version of each.
fn assert_results(setup: &Setup) {
    let world = &setup.proxied.world;
    assert_eq!(world.head("other"), 1);
    assert_version_is_dir(world, "other@v1", &setup.other);
    assert_eq!(world.head("app"), 3);
    assert_version_is_dir(world, "app@v3", &setup.changed);
    assert_version_is_dir(world, "app@v1", &setup.export_dir());
    assert_version_is_dir(world, "app@v1", &setup.followed);
    assert_version_is_dir(world, "app@v2", &setup.tree);
}

#[test]
fn without_retries_each_fails_at_once_and_can_be_repeated() {
    in_namespace(
        "away::without_retries_each_fails_at_once_and_can_be_repeated",
        || {
            let mut setup = Setup::new();
            setup.proxied.proxy.delay(DELAY);
            let mut programs = setup.start_all("0");
            sleep(BEFORE_KILL);
            assert_all_are_under_way(&mut programs);
            let start = Instant::now();
            setup.proxied.kill_server();
            for (name, program) in &mut programs {
                let status = program.wait(TIMEOUT).expect("it ends");
                let output = program.output();
                assert_eq!(status.code(), Some(1), "{name}: {output}");
                assert!(output.contains("server at"), "{name}: {output}");
                assert!(!output.contains("trying again"), "{name}: {output}");
            }
            assert!(start.elapsed() < AWAY, "{:?}", start.elapsed());
            setup.proxied.start_server();
            for (name, mut program) in setup.start_all("0") {
                let status = program.wait(TIMEOUT).expect("it ends");
                assert!(status.success(), "{name}: {}", program.output());
            }
            assert_results(&setup);
            setup.end();
        },
    );
}
