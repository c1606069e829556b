//! `lfsfs rebuild` from every version to every other one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::requirements::{require_program, require_root};
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::{Numbers, Run, World, in_namespace};

use crate::rebuild::{assert_rebuilt, count, rebuild};
use crate::support::{names, world_of_changes, write};

/// Returns each version exported to a directory of its own.
fn exported(world: &World, versions: u64) -> Vec<PathBuf> {
    let export = |version: u64| {
        let dir = world.path(&format!("exported-{version}"));
        let source = format!("app@v{version}");
        let words = ["export".as_ref(), source.as_ref(), dir.as_os_str()];
        let _ = world.lfsfs(words).ok();
        dir
    };
    (1..=versions).map(export).collect()
}

/// Goes from version to version in one directory and checks each.
fn follow(world: &World, exported: &[PathBuf], versions: impl IntoIterator<Item = usize>) {
    let dir = world.path("dir");
    for version in versions {
        let source = format!("app@v{version}");
        assert_eq!(rebuild(world, &source, &dir, &[]).ok(), source);
        assert_rebuilt(&exported[version - 1], &dir);
        assert_eq!(count(world, &source, &dir, &[]), 0, "{source}");
    }
}

/// What can be at one place.
const KINDS: [&str; 6] = ["nothing", "file", "large", "directory", "symlink", "link"];

fn make(tree: &Path, place: &str, kind: &str) {
    let at = tree.join(place);
    match kind {
        "file" => fs::write(at, place).expect("a file"),
        "large" => fs::write(at, Numbers(7).bytes(3_000_000)).expect("a file"),
        "directory" => {
            fs::create_dir_all(at.join("below")).expect("directories");
            write(&at, "below/deep", place);
            symlink("below", at.join("inner")).expect("a link");
        }
        "symlink" => symlink("linked", at).expect("a link"),
        "link" => fs::hard_link(tree.join("linked"), at).expect("a name"),
        _ => {}
    }
}

/// Version n has at the place of each pair what that says at n: a place for each change of a kind into another.
fn world_of_kinds() -> (World, u64) {
    let world = World::new();
    let pairs: Vec<_> = KINDS
        .iter()
        .flat_map(|from| KINDS.map(|to| (*from, to)))
        .collect();
    let (old, new) = (world.path("old"), world.path("new"));
    for (tree, is_new) in [(&old, false), (&new, true)] {
        fs::create_dir(tree).expect("a directory");
        write(tree, "linked", "linked");
        for (from, to) in &pairs {
            make(
                tree,
                &format!("{from}-{to}"),
                if is_new { to } else { from },
            );
        }
    }
    for tree in [&old, &new, &world.make_dir("none")] {
        let _ = world.import(tree, "app");
    }
    (world, 3)
}

#[test]
fn any_kind_replaces_any_kind_up_and_down() {
    if require_root().is_err() {
        return;
    }
    let (world, versions) = world_of_kinds();
    follow(&world, &exported(&world, versions), [1, 2, 1, 3, 2, 3, 1]);
}

#[test]
fn random_changes_are_followed_from_any_version_to_any() {
    if require_root().is_err() {
        return;
    }
    let (world, _) = world_of_changes(6, 40);
    let exported = exported(&world, world.head("app"));
    follow(&world, &exported, [1, 2, 3, 6, 1, 5, 4, 2, 6, 3, 1]);
}

#[test]
fn names_of_one_file_stay_one_file() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir(tree.join("dir")).expect("a directory");
    write(&tree, "dir/first", "bytes");
    let name = |old: &str, new: &str| fs::hard_link(tree.join(old), tree.join(new)).expect(new);
    let import = || world.import(&tree, "app");
    name("dir/first", "second");
    let _ = import();
    // A name goes and another comes: the count is the same, and `second` is not touched.
    name("second", "third");
    fs::remove_file(tree.join("dir/first")).expect("a name");
    let _ = import();
    name("second", "dir/fourth");
    let _ = import();
    fs::remove_file(tree.join("second")).expect("a name");
    fs::copy(tree.join("third"), tree.join("second")).expect("a copy");
    let _ = import();
    write(&tree, "third", "other bytes");
    let _ = import();
    let exported = exported(&world, 5);
    follow(&world, &exported, [1, 2, 1, 3, 2, 4, 3, 5, 1, 4, 2, 5]);
    let inode = |name: &str| {
        fs::metadata(world.path("dir").join(name))
            .expect(name)
            .ino()
    };
    assert_eq!(inode("third"), inode("dir/fourth"));
}

#[test]
fn directories_that_were_moved_are_followed() {
    in_namespace(
        "rebuild_versions::directories_that_were_moved_are_followed",
        || {
            let world = World::new();
            let tree = world.make_dir("tree");
            for dir in ["a/deep/er", "b/deep", "c"] {
                fs::create_dir_all(tree.join(dir)).expect("directories");
            }
            for file in ["a/deep/er/one", "a/two", "b/deep/three", "c/four"] {
                write(&tree, file, file);
            }
            let _ = world.import(&tree, "app");
            let mount = world.mount_writable("app", "");
            let at = |name: &str| mount.path().join(name);
            let rename = |from: &str, to: &str| rustix::fs::rename(at(from), at(to)).expect(to);
            // Two directories change places.
            rename("a", "x");
            rename("b", "a");
            rename("x", "b");
            let _ = mount.verb(["commit"]).ok();
            rename("b", "c/b");
            write(mount.path(), "c/b/two", "changed");
            write(mount.path(), "a/deep/new", "new");
            let _ = mount.verb(["commit"]).ok();
            rename("c/b/deep", "deep");
            fs::remove_dir_all(at("c")).expect("a directory");
            write(mount.path(), "c", "a file now");
            let _ = mount.verb(["commit"]).ok();
            mount.umount();
            follow(&world, &exported(&world, 4), [1, 2, 1, 3, 1, 4, 2, 3, 4, 1]);
        },
    );
}

/// Makes versions by random changes in a mount, where directories keep their identity. Returns each of them
/// exported.
pub(crate) fn versions_of_a_mount(seed: u64, versions: u64) -> (World, Vec<PathBuf>) {
    let world = World::new();
    let tree = world.path("tree");
    let spec = TreeSpec {
        seed,
        ..TreeSpec::small()
    };
    let _ = spec.generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let mount = world.mount_writable("app", "");
    for version in 2..=versions {
        let _ = mutate(mount.path(), seed * 1_000 + version, 30).expect("changes");
        let _ = mount.verb(["commit"]).ok();
    }
    mount.umount();
    let exported = exported(&world, world.head("app"));
    (world, exported)
}

fn follow_a_mount(seed: u64, versions: u64, steps: usize) {
    let (world, exported) = versions_of_a_mount(seed, versions);
    let mut numbers = Numbers(seed);
    let head = exported.len() as u64;
    let mut version = || usize::try_from(numbers.below(head) + 1).expect("a version");
    let walk: Vec<usize> = (0..steps).map(|_| version()).collect();
    follow(&world, &exported, walk.iter().copied());
    follow_a_part(&world, &exported, &walk);
}

/// Goes from version to version in a directory that has a part of each, and checks that and that there is
/// nothing else.
fn follow_a_part(world: &World, exported: &[PathBuf], walk: &[usize]) {
    let (dir, parts) = (world.path("part"), ["hard-links", "node_modules"]);
    let options = ["--subpath", parts[0], "--subpath", parts[1]];
    // Other names of a file may lie outside.
    let options_of_part = CompareOptions {
        hard_links: false,
        file_link_counts: false,
        ..CompareOptions::default()
    };
    for version in walk {
        let _ = rebuild(world, &format!("app@v{version}"), &dir, &options).ok();
        let whole = &exported[version - 1];
        let is_there = |part: &&str| whole.join(part).symlink_metadata().is_ok();
        let expected: Vec<_> = parts.into_iter().filter(is_there).collect();
        for part in &expected {
            if whole.join(part).is_dir() {
                assert_same_trees(&whole.join(part), &dir.join(part), &options_of_part);
            }
        }
        assert_eq!(names(&dir), [&[".lfsfs"], &expected[..]].concat());
    }
}

#[test]
fn random_changes_in_a_mount_are_followed() {
    in_namespace(
        "rebuild_versions::random_changes_in_a_mount_are_followed",
        || {
            follow_a_mount(1, 5, 12);
        },
    );
}

#[test]
#[ignore = "soak: many trees"]
fn random_changes_in_many_mounts_are_followed() {
    in_namespace(
        "rebuild_versions::random_changes_in_many_mounts_are_followed",
        || {
            (2..12).for_each(|seed| follow_a_mount(seed, 8, 40));
        },
    );
}

#[test]
fn attributes_alone_are_changed_in_place() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir(tree.join("dir")).expect("a directory");
    write(&tree, "dir/file", "bytes");
    let _ = world.import(&tree, "app");
    let mode = |name: &str, mode| {
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    mode("dir/file", 0o600);
    mode("dir", 0o700);
    xattr::set(tree.join("dir"), "user.note", b"text").expect("an attribute");
    std::os::unix::fs::chown(tree.join("dir/file"), Some(7), Some(8)).expect("an owner");
    let _ = world.import(&tree, "app");
    let exported = exported(&world, 2);
    follow(&world, &exported, [1]);
    let file = world.path("dir/dir/file");
    let inode = fs::metadata(&file).expect("a file").ino();
    follow(&world, &exported, [2, 1, 2]);
    assert_eq!(fs::metadata(&file).expect("a file").ino(), inode);
}

#[test]
fn a_user_changes_directories_that_are_read_only() {
    if require_root().is_err() || require_program("setpriv").is_err() {
        return;
    }
    let world = World::new();
    let tree = world.make_dir("tree");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    };
    fs::create_dir_all(tree.join("shut/deep")).expect("directories");
    write(&tree, "shut/deep/one", "one");
    mode(&tree.join("shut"), 0o555);
    mode(&tree.join("shut/deep"), 0o500);
    mode(&tree, 0o555);
    let _ = world.import(&tree, "app");
    write(&tree, "three", "three");
    write(&tree, "shut/deep/two", "two");
    fs::remove_file(tree.join("shut/deep/one")).expect("a file");
    let _ = world.import(&tree, "app");
    let home = world.make_dir("home");
    std::os::unix::fs::chown(&home, Some(4711), Some(4711)).expect("an owner");
    mode(world.path("home").parent().expect("a parent"), 0o755);
    let dir = home.join("dir");
    for source in ["app@v1", "app@v2"] {
        let words = ["rebuild".as_ref(), source.as_ref(), dir.as_os_str()];
        let command = world.command_for_any_user(words);
        let mut user = std::process::Command::new("setpriv");
        user.args(["--reuid", "4711", "--regid", "4711", "--clear-groups"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            user.env(name, value.expect("a value"));
        }
        assert_eq!(Run::of(user).ok(), source);
    }
    let bits = |name: &str| fs::metadata(dir.join(name)).expect(name).mode() & 0o7777;
    assert_eq!((bits("shut"), bits("shut/deep")), (0o555, 0o500));
    assert!(dir.join("three").exists() && bits("") == 0o555);
    assert!(dir.join("shut/deep/two").exists() && !dir.join("shut/deep/one").exists());
}
