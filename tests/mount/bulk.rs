//! Listings in bulk: how few calls a tree takes, in a mount and in an export, and what a broken connection costs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::proxy::Proxy;
use lfsfs_tests::{Mounted, World, count, eventually, fetched, in_namespace, wait_for_cache, walk};

const TOPS: usize = 20;
const BELOW: usize = 200;

/// About 4,000 directories with an empty file in each.
fn tree(world: &World) -> PathBuf {
    let tree = world.path("tree");
    for top in 0..TOPS {
        for below in 0..BELOW {
            let dir = tree.join(format!("t{top:02}/d{below:03}"));
            fs::create_dir_all(&dir).expect("a directory");
            fs::write(dir.join("empty"), "").expect("a file");
        }
    }
    tree
}

/// Walks over a mount, and returns the calls for listings that it has made.
fn walked(mount: &Mounted<'_>, tree: &Path) -> u64 {
    let shown: BTreeSet<_> = names(mount.path());
    assert_eq!(shown, names(tree));
    count(&fetched(mount), "remote_listings")
}

fn names(dir: &Path) -> BTreeSet<PathBuf> {
    let found = walk(dir).into_iter();
    let below = |path: PathBuf| path.strip_prefix(dir).expect("it lies below").to_owned();
    found.map(|(path, _)| below(path)).collect()
}

/// Returns the calls for listings of a walk in a mount of its own, which is on disk at its end.
fn mounted(world: &World, source: &str, tree: &Path) -> u64 {
    let mount = world.mount(source, "ro");
    let calls = walked(&mount, tree);
    wait_for_cache(&mount);
    mount.umount();
    calls
}

fn proxy(world: &mut World) -> Proxy {
    let server: SocketAddr = world.address().parse().expect("an address");
    let proxy = Proxy::start(server).expect("a proxy");
    world.set_address(&proxy.address().to_string());
    proxy
}

fn options() -> CompareOptions {
    CompareOptions {
        root: false,
        ..CompareOptions::default()
    }
}

#[test]
fn a_tree_takes_a_few_calls_the_next_version_fewer_and_a_warm_cache_none() {
    let name = "bulk::a_tree_takes_a_few_calls_the_next_version_fewer_and_a_warm_cache_none";
    in_namespace(name, || {
        let world = World::new();
        let tree = tree(&world);
        assert_eq!(world.import(&tree, "app"), "app@v1");
        let first = mounted(&world, "app@v1", &tree);
        assert!((1..=10).contains(&first), "{first} calls");
        assert_eq!(mounted(&world, "app@v1", &tree), 0);
        fs::write(tree.join("t07/d100/more"), "more").expect("a file");
        assert_eq!(world.import(&tree, "app"), "app@v2");
        let second = mounted(&world, "app@v2", &tree);
        assert!((1..=3).contains(&second), "{second} calls");
        assert_eq!(mounted(&world, "app@v2", &tree), 0);
        let below = mounted(&world, "app@v2:t07", &tree.join("t07"));
        assert!(below <= 10, "{below} calls");
    });
}

#[test]
fn an_export_takes_one_call_for_all_listings() {
    in_namespace("bulk::an_export_takes_one_call_for_all_listings", || {
        let mut world = World::new();
        let tree = tree(&world);
        assert_eq!(world.import(&tree, "app"), "app@v1");
        let proxy = proxy(&mut world);
        for (source, from) in [("app", tree.clone()), ("app:t03", tree.join("t03"))] {
            let to = world.path(&source.replace(':', "-"));
            let before = proxy.counters().calls;
            let words = ["export".as_ref(), source.as_ref(), to.as_os_str()];
            let _ = world.lfsfs(words).ok();
            let calls = proxy.counters().calls - before;
            assert!(calls <= 12, "{source}: {calls} calls of any kind");
            assert_same_trees(&from, &to, &options());
        }
        let before = proxy.counters().calls;
        let again = world.import_json(&tree, "app", &[]);
        let calls = proxy.counters().calls - before;
        assert!(calls <= 20, "{calls} calls of any kind: {again}");
    });
}

#[test]
fn connections_that_break_in_the_middle_lose_nothing() {
    in_namespace(
        "bulk::connections_that_break_in_the_middle_lose_nothing",
        || {
            let mut world = World::new();
            let tree = tree(&world);
            assert_eq!(world.import(&tree, "app"), "app@v1");
            let proxy = proxy(&mut world);
            proxy.throttle(400_000);
            let mount = world.mount("app@v1", "ro");
            let exported = world.path("exported");
            std::thread::scope(|scope| {
                let walking = scope.spawn(|| walked(&mount, &tree));
                let exporting = scope.spawn(|| {
                    let to = exported.as_os_str();
                    // As users have it: without, the first call fails if its connection is one that breaks.
                    let patient = ["--retry-for", "30", "export", "app@v1"].map(OsStr::new);
                    world.lfsfs(patient.into_iter().chain([to])).ok()
                });
                for _ in 0..3 {
                    let before = proxy.counters().down;
                    let limit = Duration::from_secs(20);
                    let has_come = || proxy.counters().down > before + 60_000;
                    eventually(limit, || {
                        has_come() || (walking.is_finished() && exporting.is_finished())
                    });
                    proxy.close_connections();
                }
                proxy.restore().expect("it listens");
                let calls = walking.join().expect("the walk ends");
                assert!(calls >= 2, "{calls} calls");
                let _ = exporting.join().expect("the export ends");
            });
            assert_same_trees(&tree, mount.path(), &options());
            assert_same_trees(&tree, &exported, &options());
            mount.umount();
        },
    );
}

#[test]
fn a_directory_of_100_000_entries_comes_with_the_others() {
    let name = "bulk::a_directory_of_100_000_entries_comes_with_the_others";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.path("tree");
        for number in 0..20 {
            fs::create_dir_all(tree.join(format!("d{number}/below"))).expect("a directory");
        }
        let large = world.make_dir("tree/large");
        for number in 0..100_000 {
            fs::write(large.join(format!("f{number}")), "").expect("a file");
        }
        assert_eq!(world.import(&tree, "app"), "app@v1");
        let calls = mounted(&world, "app@v1", &tree);
        assert!((1..=40).contains(&calls), "{calls} calls");
        assert_eq!(mounted(&world, "app@v1", &tree), 0);
    });
}
