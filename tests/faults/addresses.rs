//! A server at two addresses: two proxies before one coordinator, of which one breaks.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use lfsfs_testkit::proxy::Proxy;
use lfsfs_tests::listing::{assert_same_listing, listing_of_dir};
use lfsfs_tests::{Mounted, Numbers, Run, World, eventually, files, in_namespace};

/// Shorter than [`RETRY_FOR`]: what waited until a command gives up is seen.
const COMMAND_MAX: Duration = Duration::from_secs(20);
const RETRY_FOR: &str = "30";
/// What a read of a mount may take, on a machine that has other work, though an address was killed.
const READ_MAX: Duration = Duration::from_secs(2);
const DIRECTORIES: u64 = 150;

/// A server whose metadata clients reach by two proxies; contents they get past these. `app@v1` is a tree of many
/// directories.
struct Scene {
    world: World,
    proxies: [Proxy; 2],
    tree: PathBuf,
}

impl Scene {
    fn new() -> Self {
        Self::of(World::new(), 3_000)
    }

    /// As [`new`](Self::new), with each file in a chunk of its own: to read one takes a call, though the listings of
    /// all directories come by one.
    fn of_chunks() -> Self {
        let arguments = ["--chunk-size", "1MiB"];
        Self::of(World::with_server_arguments(&arguments), 1_040_000)
    }

    fn of(mut world: World, file_len: usize) -> Self {
        let server = world.address().parse().expect("an address");
        let proxies = [(); 2].map(|()| Proxy::start(server).expect("a proxy"));
        let tree = world.make_dir("tree");
        make_tree(&tree, 1, file_len);
        assert_eq!(world.import(&tree, "app"), "app@v1");
        world.set_address(
            &proxies
                .each_ref()
                .map(|it| it.address().to_string())
                .join(","),
        );
        Self {
            world,
            proxies,
            tree,
        }
    }

    /// Makes each call take longer, so that there is a middle in which an address can break.
    fn slow_down(&self, millis: u64) {
        let delay = Duration::from_millis(millis);
        self.proxies.iter().for_each(|proxy| proxy.delay(delay));
    }

    fn calls(&self) -> [u64; 2] {
        self.proxies.each_ref().map(|proxy| proxy.counters().calls)
    }

    fn start(&self, words: &[&OsStr], retry_for: &str) -> Program {
        let mut command = self.world.command(words);
        command.env("LFSFS_RETRY_FOR", retry_for);
        Program::start(command).expect("lfsfs starts")
    }

    /// Checks what a version has, without delays.
    fn assert_exported(&self, source: &str, tree: &Path) {
        let restored = |proxy: &Proxy| proxy.restore().expect("the port of the proxy");
        self.proxies.iter().for_each(restored);
        let dir = self.world.path("checked");
        let words = ["export".as_ref(), source.as_ref(), dir.as_os_str()];
        let _ = self.world.lfsfs(words).ok();
        assert_same_listing(&listing_of_dir(&dir), &listing_of_dir(tree));
    }

    /// Kills an address once that many further calls went over it, and waits until the program ends well.
    fn kill_in_the_middle(&self, killed: usize, calls: u64, mut program: Program) {
        let start = Instant::now();
        let before = self.calls()[killed];
        let is_so_far = || self.calls()[killed] >= before + calls;
        assert!(eventually(COMMAND_MAX, is_so_far), "{}", program.output());
        let ended = program.try_wait().expect("a process");
        assert!(ended.is_none(), "it is too fast: {}", program.output());
        self.proxies[killed].cut();
        let status = program.wait(COMMAND_MAX).expect("it ends");
        assert!(status.success(), "{status}: {}", program.output());
        assert!(start.elapsed() < COMMAND_MAX, "{:?}", start.elapsed());
    }
}

/// Makes many directories, each with a file of its own, and large files, so that there are several chunks.
fn make_tree(tree: &Path, seed: u64, file_len: usize) {
    for number in 0..DIRECTORIES {
        let dir = tree.join(format!("dir-{number:03}"));
        fs::create_dir_all(&dir).expect("a directory");
        let bytes = Numbers(seed * 1_000 + number).bytes(file_len);
        fs::write(dir.join("file"), bytes).expect("a file");
    }
    for number in 0..6 {
        let bytes = Numbers(seed * 1_000 + 500 + number).bytes(4_000_000);
        fs::write(tree.join(format!("large-{number}")), bytes).expect("a file");
    }
}

/// Reads what lies in a range of the directories of a mount, and returns how long the slowest took.
fn read(scene: &Scene, mount: &Mounted<'_>, directories: std::ops::Range<u64>) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in directories {
        let name = format!("dir-{number:03}");
        let start = Instant::now();
        let shown = files(&mount.path().join(&name));
        assert_eq!(shown.len(), 1, "{name}");
        let bytes = fs::read(&shown[0]).expect("it is read");
        slowest = slowest.max(start.elapsed());
        let file = scene.tree.join(name).join("file");
        assert!(bytes == fs::read(file).expect("a file"), "{shown:?}");
    }
    slowest
}

fn export_words(dir: &Path) -> [&OsStr; 3] {
    ["export".as_ref(), "app@v1".as_ref(), dir.as_os_str()]
}

#[test]
fn calls_go_over_both() {
    let scene = Scene::new();
    let before = scene.calls();
    let dir = scene.world.path("exported");
    let _ = scene.world.lfsfs(export_words(&dir)).ok();
    assert_same_listing(&listing_of_dir(&dir), &listing_of_dir(&scene.tree));
    let after = scene.calls();
    let [first, second] = [0, 1].map(|at| after[at] - before[at]);
    assert!(first.abs_diff(second) <= 1 && first > 1, "{first} {second}");
    assert!(
        scene
            .proxies
            .iter()
            .all(|it| it.counters().connections == 1)
    );
}

#[test]
fn the_first_of_several_tells_figures() {
    let scene = Scene::new();
    let mut stats = scene.world.lfsfsd(["stats", "--json"]);
    stats.env("LFSFS_SERVER", scene.world.address());
    let told = Run::of(stats).json();
    let first = scene.proxies[0].address().to_string();
    assert_eq!(told["server"]["address"], first, "{told}");
}

#[test]
fn an_import_goes_on_when_either_is_killed() {
    for killed in [0, 1] {
        let scene = Scene::new();
        scene.slow_down(5);
        let tree = scene.world.make_dir("next");
        make_tree(&tree, 2, 3_000);
        let words = ["import".as_ref(), tree.as_os_str(), "app".as_ref()];
        let import = scene.start(&words, RETRY_FOR);
        scene.kill_in_the_middle(killed, 4, import);
        scene.assert_exported("app@v2", &tree);
        assert_eq!(scene.world.head("app"), 2, "one version");
    }
}

#[test]
fn an_export_goes_on_without_trying_again_when_one_is_killed() {
    let scene = Scene::new();
    scene.slow_down(20);
    let dir = scene.world.path("exported");
    // With 0 a call that fails is not made again: another address is not another try.
    let export = scene.start(&export_words(&dir), "0");
    scene.kill_in_the_middle(0, 2, export);
    assert_same_listing(&listing_of_dir(&dir), &listing_of_dir(&scene.tree));
}

#[test]
fn a_mount_goes_on_when_one_is_killed_and_uses_it_again() {
    let name = "addresses::a_mount_goes_on_when_one_is_killed_and_uses_it_again";
    in_namespace(name, || {
        let scene = Scene::of_chunks();
        let mount = scene.world.mount("app@v1", "");
        let told = mount.status()["version"]["server"].clone();
        assert_eq!(told, scene.world.address());
        read(&scene, &mount, 0..10);
        assert!(
            scene.calls().iter().all(|calls| *calls > 3),
            "{:?}",
            scene.calls()
        );

        scene.proxies[0].cut();
        let slowest = read(&scene, &mount, 10..40);
        assert!(slowest < READ_MAX, "{slowest:?}");

        scene.proxies[0].restore().expect("the port of the proxy");
        let before = scene.calls()[0];
        let mut next = 40;
        // It is probed beside the reads, at growing intervals.
        while scene.calls()[0] < before + 5 {
            assert!(next < DIRECTORIES, "it is not used again");
            read(&scene, &mount, next..next + 1);
            next += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        mount.umount();
    });
}

#[test]
fn a_dead_connection_is_noticed_and_its_address_left_out() {
    let name = "addresses::a_dead_connection_is_noticed_and_its_address_left_out";
    in_namespace(name, || {
        let scene = Scene::new();
        let mount = scene.world.mount("app@v1", "");
        read(&scene, &mount, 0..5);
        // As if the network was gone: no connection is closed, and nothing is answered.
        scene.proxies[1].stall();
        // The pings of the connection need 8 s, the deadline of a call 30.
        let slowest = read(&scene, &mount, 5..9);
        assert!(slowest < Duration::from_secs(12), "{slowest:?}");
        let slowest = read(&scene, &mount, 9..30);
        assert!(
            slowest < READ_MAX,
            "it is asked though it is left out: {slowest:?}"
        );
        // One that begins while an address is dead has time for the other one.
        (0..2).for_each(|_| scene.world.mount("app@v1", "").umount());
        scene.proxies[1].restore().expect("the proxy");
        mount.umount();
    });
}

#[test]
fn where_both_are_down_both_are_named() {
    let scene = Scene::new();
    scene.proxies.iter().for_each(Proxy::cut);
    let told = format!("no lfsfs server at {}; start one", scene.world.address());
    for words in [
        &["log", "app"][..],
        &["ls", "app"],
        &["project", "new", "b"],
    ] {
        let start = Instant::now();
        let _ = scene.world.lfsfs(words).fails(1, &[&told]);
        assert!(start.elapsed() < Duration::from_secs(3), "{words:?}");
    }
    scene.proxies[1].restore().expect("the port of the proxy");
    let _ = scene.world.lfsfs(["project", "new", "b"]).ok();
    scene.proxies[0].restore().expect("the port of the proxy");
    scene.proxies[1].cut();
    let _ = scene.world.lfsfs(["project", "new", "c"]).ok();
}

#[test]
fn the_address_that_is_none_is_named() {
    let mut world = World::without_server();
    for (server, words) in [
        ("a,,b", &["number 2", "empty"][..]),
        ("a:1,b:port", &["\"b:port\"", "\"port\"", "65535"]),
        ("a,http://b", &["\"http://b\"", "HOST:PORT"]),
        ("a,b,a:5051", &["a:5051", "twice"]),
    ] {
        world.set_address(server);
        let _ = world.lfsfs(["ls", "app"]).fails(2, words);
        let dir = world.make_dir("m");
        let _ = world.mount_at("app", &dir, "ro").fails(1, words);
    }
}
