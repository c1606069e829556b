//! `lfsfs put`, `get` and `rm` that are killed, interrupted, or lose their answer.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use lfsfs_tests::{Numbers, Proxied};
use rustix::process::Signal;

use crate::support::{get, names, put};

const LEN: usize = 12_000_000;
/// So many bytes a second let a file of [`LEN`] take its time.
const SLOW: u64 = 4_000_000;
const TIMEOUT: Duration = Duration::from_secs(60);

/// A project behind a proxy, and a file for it.
struct Scene {
    proxied: Proxied,
    file: PathBuf,
    dir: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let proxied = Proxied::new();
        let _ = proxied.world.lfsfs(["project", "new", "app"]).ok();
        let (file, dir) = (proxied.world.path("file"), proxied.world.make_dir("back"));
        fs::write(&file, Numbers(1).bytes(LEN)).expect("a file");
        Self { proxied, file, dir }
    }

    /// Starts a command that goes on trying while the server is away.
    fn start(&self, words: [&OsStr; 3]) -> Program {
        let mut command = self.proxied.world.command(words);
        command.env("LFSFS_RETRY_FOR", "30");
        Program::start(command).expect("lfsfs starts")
    }

    fn start_put(&self) -> Program {
        let to = OsStr::new("app:file");
        self.start(["put".as_ref(), self.file.as_os_str(), to])
    }

    fn start_get(&self, to: &Path) -> Program {
        self.start(["get".as_ref(), "app:file".as_ref(), to.as_os_str()])
    }

    /// Waits until the proxy has carried so many bytes more.
    fn wait_for_bytes(&self, program: &mut Program, count: u64) {
        let carried = || {
            let counters = self.proxied.proxy.counters();
            counters.up + counters.down
        };
        let before = carried();
        wait(program, || carried() >= before + count);
    }

    /// Asks the server itself, past the proxy.
    fn head(&self) -> u64 {
        let words = ["--server", self.proxied.server(), "project", "inspect"];
        let words = words.iter().chain(&["app", "--json"]);
        let told = self.proxied.world.lfsfs(words).json();
        told["head"].as_u64().expect("a number")
    }
}

/// Waits for something that comes while a program runs.
#[track_caller]
fn wait(program: &mut Program, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_there() {
        let ended = program.try_wait().expect("a process");
        assert!(ended.is_none(), "{}", program.output());
        assert!(Instant::now() < deadline, "{}", program.output());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_put_that_is_killed_in_the_middle_publishes_nothing() {
    let scene = Scene::new();
    scene.proxied.proxy.throttle(SLOW);
    let mut started = scene.start_put();
    scene.wait_for_bytes(&mut started, 5_000_000);
    let _ = started.kill().expect("a process can be killed");
    scene.proxied.proxy.restore().expect("a proxy");
    assert_eq!(scene.head(), 0);
    let world = &scene.proxied.world;
    assert!(world.lfsfs(["ls", "app"]).ok().is_empty());
    assert_eq!(put(world, &scene.file, "app:file").ok(), "app@v1");
    scene.proxied.check();
}

#[test]
fn a_get_that_is_killed_in_the_middle_leaves_the_old_file() {
    let scene = Scene::new();
    let world = &scene.proxied.world;
    let _ = put(world, &scene.file, "app:file").ok();
    let to = scene.dir.join("file");
    fs::write(&to, "old").expect("a file");
    scene.proxied.proxy.throttle(SLOW);
    let mut started = scene.start_get(&to);
    scene.wait_for_bytes(&mut started, 5_000_000);
    let _ = started.kill().expect("a process can be killed");
    scene.proxied.proxy.restore().expect("a proxy");
    assert_eq!(fs::read_to_string(&to).expect("a file"), "old");
    let _ = get(world, "app:file", &to).ok();
    assert!(fs::read(&to).expect("a file") == fs::read(&scene.file).expect("a file"));
}

#[test]
fn a_get_that_is_interrupted_leaves_nothing_behind() {
    let scene = Scene::new();
    let world = &scene.proxied.world;
    let _ = put(world, &scene.file, "app:file").ok();
    for old in [None, Some("old")] {
        let to = scene.dir.join("file");
        let there: &[&str] = match old {
            Some(old) => {
                fs::write(&to, old).expect("a file");
                &["file"]
            }
            None => &[],
        };
        scene.proxied.proxy.throttle(SLOW);
        let mut started = scene.start_get(&to);
        scene.wait_for_bytes(&mut started, 5_000_000);
        assert!(names(&scene.dir).len() > there.len(), "it is being made");
        started.signal(Signal::TERM).expect("a signal");
        let status = started.wait(TIMEOUT).expect("lfsfs ends");
        assert_eq!(status.code(), Some(1), "{}", started.output());
        assert_eq!(names(&scene.dir), there);
        if let Some(old) = old {
            assert_eq!(fs::read_to_string(&to).expect("a file"), old);
        }
    }
}

#[test]
fn a_get_whose_server_goes_away_leaves_nothing_behind() {
    let mut scene = Scene::new();
    let _ = put(&scene.proxied.world, &scene.file, "app:file").ok();
    scene.proxied.proxy.throttle(SLOW);
    let to = scene.dir.join("file");
    let words = ["get".as_ref(), OsStr::new("app:file"), to.as_os_str()];
    let mut started = Program::start(scene.proxied.world.command(words)).expect("lfsfs starts");
    scene.wait_for_bytes(&mut started, 5_000_000);
    scene.proxied.kill_server();
    let status = started.wait(TIMEOUT).expect("lfsfs ends");
    assert_eq!(status.code(), Some(1), "{}", started.output());
    assert_eq!(names(&scene.dir), [""; 0]);
}

/// Takes the answer away from a command that makes a version, and checks that it makes no other.
fn lose_the_answer(scene: &Scene, words: [&OsStr; 3], version: u64) {
    scene.proxied.proxy.delay(Duration::from_millis(1200));
    let mut started = scene.start(words);
    wait(&mut started, || scene.head() == version);
    // The answer has its way to go still.
    scene.proxied.proxy.cut();
    scene.proxied.proxy.restore().expect("a proxy");
    let status = started.wait(TIMEOUT).expect("lfsfs ends");
    let output = started.output();
    assert!(status.success(), "{output}");
    assert!(output.contains("trying again"), "{output}");
    assert!(output.contains(&format!("app@v{version}")), "{output}");
    assert_eq!(scene.head(), version);
}

#[test]
fn a_put_and_an_rm_whose_answers_are_lost_make_one_version_each() {
    let scene = Scene::new();
    fs::write(&scene.file, "text").expect("a file");
    // The bytes are there already, so that few calls are made while each takes long.
    assert_eq!(
        put(&scene.proxied.world, &scene.file, "app:other").ok(),
        "app@v1"
    );
    let file = OsStr::new("app:file");
    lose_the_answer(&scene, ["put".as_ref(), scene.file.as_os_str(), file], 2);
    lose_the_answer(&scene, ["rm".as_ref(), file, "-mgone".as_ref()], 3);
    let changed = scene.proxied.world.lfsfs(["diff", "app@v1", "app@v3"]);
    assert_eq!(changed.ok(), "");
    scene.proxied.check();
}

#[test]
fn a_put_goes_on_when_its_server_comes_back() {
    let mut scene = Scene::new();
    scene.proxied.proxy.throttle(SLOW);
    let mut started = scene.start_put();
    scene.wait_for_bytes(&mut started, 5_000_000);
    scene.proxied.kill_server();
    scene.proxied.start_server();
    let status = started.wait(TIMEOUT).expect("lfsfs ends");
    assert!(status.success(), "{}", started.output());
    let to = scene.dir.join("file");
    assert_eq!(get(&scene.proxied.world, "app:file", &to).ok(), "app@v1");
    assert!(fs::read(&to).expect("a file") == fs::read(&scene.file).expect("a file"));
    scene.proxied.check();
}
