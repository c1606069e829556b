//! `lfsfs switch`.

use std::net::SocketAddr;

use lfsfs_testkit::proxy::Proxy;
use lfsfs_tests::{World, in_namespace};

use crate::support::{read, typed_in, world, write};

/// app@v1 and app@v2, which has another `one`; v1 has the tag `stable`.
fn two_versions() -> World {
    let world = world();
    write(&world.path("tree"), "one", "newer");
    let _ = world.import(&world.path("tree"), "app");
    let _ = world.lfsfs(["tag", "app@v1", "stable"]).ok();
    world
}

#[test]
fn a_mount_shows_whatever_version_is_named() {
    in_namespace("switch::a_mount_shows_whatever_version_is_named", || {
        let world = two_versions();
        for mount in [world.mount("app", ""), world.mount_writable("app", "")] {
            let dir = mount.path();
            let path = dir.to_str().expect("UTF-8");
            let switch = |words: &[&str]| {
                let words: Vec<_> = ["switch"].iter().chain(words).copied().collect();
                typed_in(&world, dir, &words).ok()
            };
            assert_eq!(read(dir, "one"), "newer");
            assert_eq!(switch(&[path, "v1"]), "app@v1");
            assert_eq!(
                (read(dir, "one"), mount.source()),
                ("one".into(), "app@v1".into())
            );
            assert_eq!(switch(&["latest"]), "app@v2");
            assert_eq!(read(dir, "one"), "newer");
            assert_eq!(switch(&["stable"]), "app@v1");
            assert_eq!(switch(&["app@v2"]), "app@v2");
            assert_eq!(read(dir, "one"), "newer");
            let same = typed_in(&world, dir, &["switch", "v2", "--json"]).json();
            assert_eq!((&same["from"], &same["version"]), (&2.into(), &2.into()));
            mount.umount();
        }
    });
}

#[test]
fn uncommitted_changes_stay_where_they_are() {
    in_namespace("switch::uncommitted_changes_stay_where_they_are", || {
        let world = two_versions();
        let mount = world.mount_writable("app@v1", "");
        write(mount.path(), "two", "mine");
        let refused = typed_in(&world, mount.path(), &["switch", "v2"]);
        refused.fails(1, &["commit", "discard"]);
        assert_eq!(
            (mount.source(), mount.diff()),
            ("app@v1".into(), vec!["M two".into()])
        );
        assert_eq!(
            (read(mount.path(), "one"), read(mount.path(), "two")),
            ("one".into(), "mine".into())
        );
        mount.umount();
    });
}

#[test]
fn what_is_no_version_of_the_project_is_refused() {
    in_namespace(
        "switch::what_is_no_version_of_the_project_is_refused",
        || {
            let world = two_versions();
            let _ = world.import(&world.path("tree"), "other");
            let mount = world.mount("app@v1", "");
            let switch = |version: &str| typed_in(&world, mount.path(), &["switch", version]);
            switch("v9").fails(1, &["v9"]);
            switch("none").fails(1, &["none"]);
            let other = switch("other@v1");
            assert!(matches!(other.code(), Some(1 | 2)), "{other:?}");
            assert!(other.stderr().contains("other"), "{other:?}");
            let odd = switch("a b");
            assert_eq!(odd.code(), Some(2), "{odd:?}");
            assert_eq!(
                (mount.source(), read(mount.path(), "one")),
                ("app@v1".into(), "one".into())
            );
            let outside = world.make_dir("outside");
            typed_in(&world, &outside, &["switch", "v1"]).fails(1, &["not in a mount"]);
            mount.umount();
        },
    );
}

#[test]
fn a_mount_goes_on_with_its_server_at_a_new_address() {
    let name = "switch::a_mount_goes_on_with_its_server_at_a_new_address";
    in_namespace(name, || {
        let mut world = two_versions();
        let server = world.address().to_owned();
        let target: SocketAddr = server.parse().expect("an address");
        let proxy = Proxy::start(target).expect("a proxy");
        let old = proxy.address().to_string();
        world.set_address(&old);
        let mount = world.mount_writable("app@v1", "timeout=2");
        let path = mount.path().to_str().expect("UTF-8").to_owned();
        write(mount.path(), "two", "mine");
        drop(proxy);

        // Nothing is at the old address any more. The message says what to do.
        let lost = mount.verb(["commit"]);
        lost.fails(1, &[&old, "lfsfs switch --server ADDRESS", &path]);
        let here = typed_in(&world, mount.path(), &["switch", "--server", &server]);
        assert_eq!(here.ok(), "app@v1");
        assert!(here.stderr().contains(&server), "{here:?}");
        let status = mount.status();
        assert_eq!(status["version"]["server"], server.as_str());
        assert_eq!(mount.diff(), ["M two"]);
        let committed = mount.commit("from the new address");
        assert_eq!(committed["version"], 3);
        assert_eq!(read(mount.path(), "one"), "newer");

        // With a version, too.
        let both = ["switch", "--json", "--server", &server, &path, "v1"];
        let json = typed_in(&world, mount.path(), &both).json();
        assert_eq!((&json["from"], &json["version"]), (&3.into(), &1.into()));
        assert_eq!(json["server"], server.as_str());
        mount.umount();
    });
}

#[test]
fn another_server_is_no_new_address() {
    in_namespace("switch::another_server_is_no_new_address", || {
        let world = world();
        let other = two_versions();
        let mount = world.mount_writable("app", "");
        write(mount.path(), "two", "mine");
        let path = mount.path().to_str().expect("UTF-8").to_owned();
        let to = |address: &str| {
            typed_in(
                &world,
                mount.path(),
                &["switch", "--server", address, &path],
            )
        };
        to(other.address()).fails(1, &[other.address(), "another cluster", "app@v1"]);
        to("127.0.0.1:1").fails(1, &["127.0.0.1:1"]);
        let odd = to("no address");
        assert_eq!(odd.code(), Some(2), "{odd:?}");
        assert_eq!(mount.status()["version"]["server"], world.address());
        assert_eq!(mount.diff(), ["M two"]);
        assert_eq!(mount.commit("still the same server")["version"], 2);
        mount.umount();
    });
}

#[test]
fn commands_that_ask_a_mount_take_no_server() {
    in_namespace("switch::commands_that_ask_a_mount_take_no_server", || {
        let world = world();
        let mount = world.mount_writable("app", "");
        let path = mount.path().to_str().expect("UTF-8");
        let verbs = [
            &["status", path][..],
            &["stats", path],
            &["diff", path],
            &["commit", path],
            &["discard", path, "--yes"],
            &["restore", path, "--from", "v1"],
            &["umount", path],
            &["mounts"],
        ];
        for words in verbs {
            let words: Vec<_> = words
                .iter()
                .chain(&["--server", "10.0.0.9:1"])
                .copied()
                .collect();
            let refused = typed_in(&world, mount.path(), &words);
            refused.fails(2, &["--server", "lfsfs switch --server"]);
        }
        mount.umount();
    });
}
