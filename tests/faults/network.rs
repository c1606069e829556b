//! Connections that flip bits, break and stall.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use lfsfs_testkit::proxy::{Direction, Proxy};
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Numbers, Proxied, Resident};

use crate::support::start_import;

/// A proxied world with a project, and a tree of one file for it.
struct Scene {
    proxied: Proxied,
    tree: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let proxied = Proxied::new();
        let _ = proxied.world.lfsfs(["project", "new", "app"]).ok();
        let tree = proxied.world.make_dir("tree");
        Self { proxied, tree }
    }

    fn write(&self, seed: u64, len: usize) {
        fs::write(self.tree.join("file"), Numbers(seed).bytes(len)).expect("a file");
    }

    /// Starts an import that takes seconds, and returns it when it has sent a part.
    fn slow_import(&self, bytes_per_second: u64) -> Program {
        let Proxied { world, proxy, .. } = &self.proxied;
        self.write(1, 20_000_000);
        proxy.throttle(bytes_per_second);
        let before = proxy.counters().up;
        let mut import = start_import(world, &self.tree, "app");
        while proxy.counters().up < before + 6_000_000 {
            assert!(
                import.try_wait().expect("a process").is_none(),
                "{}",
                import.output()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        import
    }
}

/// Bits flip in the middle of what is sent, where a chunk's frames are.
fn flip_bits_of_uploads(count: u64) {
    let scene = Scene::new();
    let Proxied { world, proxy, .. } = &scene.proxied;
    let tree = &scene.tree;
    let len = 4_000_000;
    let mut refused = 0;
    for number in 1..=count {
        scene.write(number, len);
        let after = 100_000 + Numbers(number).below(len as u64 - 200_000);
        proxy.flip_bit(
            Direction::Up,
            after,
            u8::try_from(number % 8).expect("a bit"),
        );
        let head = world.head("app");
        let words = ["import".as_ref(), tree.as_os_str(), OsStr::new("app")];
        let run = world.lfsfs(words);
        if run.code() == Some(0) {
            assert_version_is_dir(world, "app", tree);
        } else {
            refused += 1;
            let complaint = run.fails(1, &["lfsfs: "]);
            assert!(complaint.len() < 500, "{complaint}");
            assert_eq!(world.head("app"), head, "a version of a refused import");
        }
        proxy.restore().expect("a proxy");
        let _ = world.import(tree, "app");
        assert_version_is_dir(world, "app", tree);
    }
    assert!(refused > 0, "no flip reached a frame");
    scene.proxied.check();
}

#[test]
fn flipped_bits_of_an_upload_are_never_stored() {
    flip_bits_of_uploads(12);
}

#[test]
#[ignore = "soak: many bits"]
fn many_flipped_bits_of_an_upload_are_never_stored() {
    flip_bits_of_uploads(300);
}

fn flip_bits_of_downloads(count: u64) {
    let scene = Scene::new();
    let Proxied { world, proxy, .. } = &scene.proxied;
    let tree = &scene.tree;
    let len = 4_000_000;
    scene.write(1, len);
    let _ = world.import(tree, "app");
    let expected = fs::read(tree.join("file")).expect("the file");
    let mut refused = 0;
    for number in 1..=count {
        let after = 100_000 + Numbers(number).below(len as u64 - 200_000);
        proxy.flip_bit(
            Direction::Down,
            after,
            u8::try_from(number % 8).expect("a bit"),
        );
        let run = world.lfsfs(["cat", "app", "file"]);
        let bytes = run.stdout_bytes();
        // What came before the damage may be there already; nothing else may.
        assert!(expected.starts_with(bytes), "wrong bytes, bit {after}");
        if run.code() == Some(0) {
            assert_eq!(bytes.len(), len);
        } else {
            refused += 1;
            let _ = run.fails(1, &["lfsfs: "]);
        }
        proxy.restore().expect("a proxy");
    }
    let again = world.lfsfs(["cat", "app", "file"]);
    assert_eq!(
        again.stdout_bytes().len(),
        len,
        "{refused} were refused: {}",
        again.stderr()
    );
}

#[test]
fn flipped_bits_of_a_download_are_never_served() {
    flip_bits_of_downloads(12);
}

#[test]
#[ignore = "soak: many bits"]
fn many_flipped_bits_of_a_download_are_never_served() {
    flip_bits_of_downloads(300);
}

/// Starts a slow import, lets `fail` happen in the middle of it, and checks that it ends in time
/// with an error, that nothing was published, and that the next import finishes.
fn assert_ends_in_time(fail: impl FnOnce(&Proxy), limit: Duration) {
    let scene = Scene::new();
    let Proxied { world, proxy, .. } = &scene.proxied;
    let tree = &scene.tree;
    let mut import = scene.slow_import(4_000_000);
    fail(proxy);
    let start = Instant::now();
    let status = import
        .wait(limit)
        .expect("an import ends when its connection does");
    assert_eq!(status.code(), Some(1), "{}", import.output());
    assert!(
        import.output().contains("lfsfs server at"),
        "{}",
        import.output()
    );
    assert!(start.elapsed() < limit);
    proxy.restore().expect("a proxy");
    assert_eq!(world.head("app"), 0);
    assert_eq!(world.import(tree, "app"), "app@v1");
    assert_version_is_dir(world, "app", tree);
    scene.proxied.check();
}

#[test]
fn a_connection_that_is_cut_ends_an_import() {
    assert_ends_in_time(Proxy::cut, Duration::from_secs(10));
}

#[test]
fn connections_that_close_once_end_an_import_or_not() {
    let scene = Scene::new();
    let Proxied { world, proxy, .. } = &scene.proxied;
    let tree = &scene.tree;
    let mut import = scene.slow_import(8_000_000);
    proxy.close_connections();
    let status = import
        .wait(Duration::from_secs(30))
        .expect("an import ends");
    assert!(matches!(status.code(), Some(0 | 1)), "{}", import.output());
    proxy.restore().expect("a proxy");
    let _ = world.import(tree, "app");
    assert_version_is_dir(world, "app@v1", tree);
    scene.proxied.check();
}

#[test]
fn a_connection_that_stalls_ends_an_import_at_its_deadline() {
    // 30 s without progress, and a little for a busy machine.
    assert_ends_in_time(Proxy::stall, Duration::from_secs(40));
}

/// Waits for the end of a program, and returns the most memory that it was seen to have.
#[track_caller]
fn peak_at_end(mut program: Program) -> u64 {
    let mut peak = 0;
    loop {
        let status = program.try_wait().expect("a process");
        if let Some(status) = status {
            assert!(status.success(), "{status}: {}", program.output());
            return peak;
        }
        // One that ends just now has none.
        peak = peak.max(Resident::of_running(&program).map_or(0, |resident| resident.peak));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A sender whose receiver is slow waits for it, and so does a receiver whose reader is: neither keeps the bytes.
#[test]
fn a_slow_connection_takes_no_memory_on_either_end() {
    const LEN: usize = 160_000_000;
    const MEMORY_MAX: u64 = 200 << 20;
    let mut scene = Scene::new();
    scene.write(1, LEN);
    scene.proxied.proxy.throttle(40_000_000);
    let imported = peak_at_end(start_import(&scene.proxied.world, &scene.tree, "app"));
    let mut words = vec![OsStr::new("export"), OsStr::new("app")];
    let out = scene.proxied.world.path("out");
    words.push(out.as_os_str());
    let export = Program::start(scene.proxied.world.command(words)).expect("lfsfs starts");
    let exported = peak_at_end(export);
    assert!(fs::read(out.join("file")).expect("a file") == Numbers(1).bytes(LEN));
    let server = Resident::of(scene.proxied.world.server()).peak;
    let peaks = [imported, exported, server];
    assert!(peaks.iter().all(|peak| *peak < MEMORY_MAX), "{peaks:?}");
}
