//! `SOURCE:PATH`: a directory of a version is exported and rebuilt.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::requirements::require_root;
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::{Mounted, Numbers, Run, World, in_namespace};

use crate::rebuild::{assert_rebuilt, count, rebuild};
use crate::support::{names, read, write};

pub(crate) fn export(world: &World, source: &str, dir: &Path) -> Run {
    world.lfsfs(["export".as_ref(), source.as_ref(), dir.as_os_str()])
}

/// Versions of a project in which directories come, go, move and become something else:
/// - v1 has `web/app/src`, `web/link` to `app`, and `other`;
/// - v2 has another `web/app/src/one`, and more beside it;
/// - in v3 `web/app` has moved to `moved`, and `web/app` is a new directory;
/// - in v4 `web/app` is a file;
/// - v5 has no `web`;
/// - v6 has `web/app` as in v3 with what came out of `other`.
pub(crate) fn world_of_moves() -> World {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir_all(tree.join("web/app/src/deep")).expect("directories");
    fs::create_dir_all(tree.join("other/below")).expect("directories");
    for name in ["web/app/src/one", "web/app/src/deep/two", "web/app/top"] {
        write(&tree, name, name);
    }
    write(&tree, "other/three", "three");
    write(&tree, "other/below/four", "four");
    symlink("app", tree.join("web/link")).expect("a link");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    let mount = world.mount_writable("app", "");
    let at = |name: &str| mount.path().join(name);
    let rename = |from: &str, to: &str| rustix::fs::rename(at(from), at(to)).expect(to);
    write(mount.path(), "web/app/src/one", "changed");
    write(mount.path(), "web/app/src/more", "more");
    write(mount.path(), "web/beside", "not in it");
    let _ = mount.verb(["commit"]).ok();
    rename("web/app", "moved");
    fs::create_dir_all(at("web/app/src/deep")).expect("directories");
    write(mount.path(), "web/app/src/one", "of another directory");
    let _ = mount.verb(["commit"]).ok();
    fs::remove_dir_all(at("web/app")).expect("a directory");
    write(mount.path(), "web/app", "a file now");
    let _ = mount.verb(["commit"]).ok();
    fs::remove_dir_all(at("web")).expect("a directory");
    let _ = mount.verb(["commit"]).ok();
    fs::create_dir(at("web")).expect("a directory");
    rename("moved", "web/app");
    rename("other/below", "web/app/src/below");
    rename("web/app/src/deep", "deep");
    let _ = mount.verb(["commit"]).ok();
    mount.umount();
    assert_eq!(world.head("app"), 6);
    world
}

/// Returns each version exported to a directory of its own.
pub(crate) fn exported(world: &World) -> Vec<PathBuf> {
    let whole = |version: u64| {
        let dir = world.path(&format!("whole-{version}"));
        let _ = export(world, &format!("app@v{version}"), &dir).ok();
        dir
    };
    (1..=world.head("app")).map(whole).collect()
}

/// Other names of a hard-linked file may lie outside.
pub(crate) fn options_of_part() -> CompareOptions {
    CompareOptions {
        hard_links: false,
        file_link_counts: false,
        ..CompareOptions::default()
    }
}

/// Goes from version to version in one directory that has `path` of each. Where a version has no such directory
/// nothing changes.
fn follow(world: &World, path: &str, whole: &[PathBuf], versions: &[usize]) {
    let dir = world.path("dir");
    let mut has: Option<PathBuf> = None;
    for version in versions {
        let source = format!("app@v{version}:{path}");
        let run = rebuild(world, &source, &dir, &[]);
        if !is_plain_directory(&whole[version - 1], path) {
            run.fails(1, &[path, "has no directory"]);
            match &has {
                Some(has) => assert_rebuilt(has, &dir),
                None => assert!(!dir.exists()),
            }
            continue;
        }
        assert_eq!(run.ok(), format!("app@v{version}"));
        let part = world.path(&format!("part-{version}"));
        if !part.exists() {
            assert_eq!(
                export(world, &source, &part).ok(),
                format!("app@v{version}")
            );
            let of_whole = whole[version - 1].join(path);
            assert_same_trees(&of_whole, &part, &options_of_part());
        }
        assert_rebuilt(&part, &dir);
        assert_eq!(count(world, &source, &dir, &[]), 0, "{source}");
        has = Some(part);
    }
}

/// Returns true for a directory without links on the way to it.
pub(crate) fn is_plain_directory(whole: &Path, path: &str) -> bool {
    let mut at = whole.to_owned();
    path.split('/').all(|name| {
        at.push(name);
        at.symlink_metadata().is_ok_and(|found| found.is_dir())
    })
}

#[test]
fn a_directory_of_a_version_is_exported() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir_all(tree.join("a:b/c")).expect("directories");
    write(&tree, "a:b/c/file", "bytes");
    write(&tree, "beside", "beside");
    let _ = TreeSpec::small()
        .generate(&tree.join("a:b/small"))
        .expect("a tree");
    let _ = world.import(&tree, "app");
    for (number, path) in ["a:b", "a:b/c", "a:b/small", "a:b/c/"].iter().enumerate() {
        let dir = world.path(&format!("part-{number}"));
        assert_eq!(export(&world, &format!("app:{path}"), &dir).ok(), "app@v1");
        assert_same_trees(&tree.join(path), &dir, &CompareOptions::default());
    }
}

#[test]
fn a_directory_of_a_version_is_listed() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir_all(tree.join("a/b:c")).expect("directories");
    write(&tree, "a/b:c/file", "bytes");
    write(&tree, "a/beside", "beside");
    let _ = world.import(&tree, "app");
    let listed = |words: &[&str]| world.lfsfs(words.iter().copied()).ok();
    for words in [
        &["ls", "app:a/b:c"][..],
        &["ls", "app@v1:a/b:c/"],
        &["ls", "app@v1:a", "b:c"],
    ] {
        assert!(listed(words).contains("file"), "{words:?}");
        assert!(!listed(words).contains("beside"), "{words:?}");
    }
    assert_eq!(listed(&["cat", "app:a/b:c/file"]), "bytes");
    assert_eq!(listed(&["cat", "app@v1:a", "b:c/file"]), "bytes");
    world.lfsfs(["ls", "app:a/none"]).fails(1, &["a/none"]);
    world.lfsfs(["ls", "app:../a"]).fails(2, &["\"../a\""]);
    world.lfsfs(["tag", "app:a", "stable"]).fails(2, &["app:a"]);
}

#[test]
fn what_is_no_directory_of_the_version_is_an_error_and_nothing_is_made() {
    in_namespace(
        "subdirectories::what_is_no_directory_of_the_version_is_an_error_and_nothing_is_made",
        || {
            let world = world_of_moves();
            let dir = world.path("dir");
            for (source, code, words) in [
                (
                    "app@v1:none",
                    1,
                    &["v1", "\"none\"", "there is no \"none\""][..],
                ),
                ("app@v1:web/none/x", 1, &["there is no \"web/none\""]),
                ("app@v1:web/app/top", 1, &["\"web/app/top\" is a file"]),
                ("app@v4:web/app/src", 1, &["\"web/app\" is a file"]),
                ("app@v1:web/link", 1, &["\"web/link\" is a symbolic link"]),
                (
                    "app@v1:web/link/src",
                    1,
                    &["\"web/link\" is a symbolic link"],
                ),
                ("app@v5:web", 1, &["there is no \"web\""]),
                ("app@v1:", 2, &["no path behind its colon"]),
                ("app@v1:/web", 2, &["\"/web\"", "begins with a slash"]),
                ("app@v1:web/../web", 2, &["\"web/../web\"", "'.' or '..'"]),
                ("app@v1:web//app", 2, &["\"web//app\"", "empty"]),
                ("app@v9:web", 1, &["v9"]),
                ("a b:web", 2, &["a b"]),
            ] {
                export(&world, source, &dir).fails(code, words);
                rebuild(&world, source, &dir, &[]).fails(code, words);
                assert!(!dir.exists(), "{source}");
            }
        },
    );
}

#[test]
fn a_directory_is_rebuilt_up_and_down_whatever_became_of_it() {
    in_namespace(
        "subdirectories::a_directory_is_rebuilt_up_and_down_whatever_became_of_it",
        || {
            let world = world_of_moves();
            let whole = exported(&world);
            let versions = [4, 1, 2, 1, 3, 1, 4, 2, 5, 6, 2, 3, 6, 3, 2, 6, 1];
            follow(&world, "web/app", &whole, &versions);
            let _ = rebuild(&world, "app@v1", &world.path("dir"), &[])
                .fails(1, &["it has the directory \"web/app\" of the version"]);
        },
    );
}

#[test]
fn a_directory_below_one_that_moved_is_rebuilt() {
    in_namespace(
        "subdirectories::a_directory_below_one_that_moved_is_rebuilt",
        || {
            let world = world_of_moves();
            let whole = exported(&world);
            follow(
                &world,
                "web/app/src",
                &whole,
                &[1, 6, 2, 3, 4, 6, 1, 2, 6, 3],
            );
        },
    );
}

#[test]
fn what_the_user_has_changed_elsewhere_stays() {
    in_namespace(
        "subdirectories::what_the_user_has_changed_elsewhere_stays",
        || {
            let world = world_of_moves();
            let dir = world.path("dir");
            let _ = rebuild(&world, "app@v1:web/app", &dir, &[]).ok();
            write(&dir, "mine", "mine");
            write(&dir, "top", "changed here");
            let _ = rebuild(&world, "app@v2:web/app/", &dir, &[]).ok();
            assert_eq!(names(&dir), [".lfsfs", "mine", "src", "top"]);
            assert_eq!(read(&dir, "top"), "changed here");
            assert_eq!(read(&dir, "src/one"), "changed");
            let fsdiff = world.lfsfs(["fsdiff".as_ref(), dir.as_os_str()]).ok();
            let mut lines: Vec<_> = fsdiff
                .lines()
                .filter(|line| line.ends_with("mine") || line.ends_with("top"))
                .collect();
            lines.sort_unstable();
            assert_eq!(lines, ["A mine", "M top"], "{fsdiff}");
            let _ = rebuild(&world, "app@v2:web/app", &dir, &["--from-scratch"]).ok();
            assert_rebuilt(&exported(&world)[1].join("web/app"), &dir);
        },
    );
}

#[test]
fn a_rebuilt_directory_keeps_its_path() {
    in_namespace("subdirectories::a_rebuilt_directory_keeps_its_path", || {
        let world = world_of_moves();
        let (dir, whole) = (world.path("dir"), world.path("whole"));
        let _ = rebuild(&world, "app@v1:web", &dir, &[]).ok();
        let _ = rebuild(&world, "app@v1", &whole, &[]).ok();
        let before = fs::read(dir.join(".lfsfs/state")).expect("a state");
        for source in ["app@v2:web/app", "app@v2:other", "app@v2"] {
            let refused = rebuild(&world, source, &dir, &[]);
            refused.fails(
                1,
                &["it has the directory \"web\" of the version", "hint: "],
            );
        }
        let refused = rebuild(&world, "app@v2:web", &whole, &[]);
        refused.fails(1, &["it has the whole version"]);
        let asked = rebuild(&world, "app@v2:web/app", &dir, &["--from-scratch"]);
        asked.fails(2, &["it has the directory \"web\""]);
        assert_eq!(fs::read(dir.join(".lfsfs/state")).expect("a state"), before);
        assert_eq!(names(&dir), [".lfsfs", "app", "link"]);
        // Subpaths are paths of the directory.
        let part = world.path("part");
        let _ = rebuild(&world, "app@v2:web", &part, &["--subpath", "app/src"]).ok();
        assert_eq!(names(&part), [".lfsfs", "app"]);
        assert_eq!(names(&part.join("app")), ["src"]);
        let taken = rebuild(&world, "app@v2:web/app", &dir, &["--from-scratch", "--yes"]);
        assert_eq!(taken.ok(), "app@v2");
        assert_eq!(names(&dir), [".lfsfs", "src", "top"]);
    });
}

#[test]
fn a_rebuilt_subdirectory_is_not_sent() {
    in_namespace("subdirectories::a_rebuilt_subdirectory_is_not_sent", || {
        let world = world_of_moves();
        let dir = world.path("dir");
        let _ = rebuild(&world, "app@v1:web", &dir, &[]).ok();
        write(&dir, "app/top", "changed");
        let update = world.lfsfs(["update".as_ref(), dir.as_os_str()]);
        update.fails(1, &["has the directory \"web\" of a version", "hint: "]);
        assert_eq!(world.head("app"), 6);
        assert_eq!(read(&dir, "app/top"), "changed");
    });
}

#[test]
fn random_changes_are_followed_in_a_directory() {
    in_namespace(
        "subdirectories::random_changes_are_followed_in_a_directory",
        || follow_random_changes(1, 6, 14),
    );
}

#[test]
#[ignore = "soak: many trees"]
fn random_changes_in_many_trees_are_followed() {
    in_namespace(
        "subdirectories::random_changes_in_many_trees_are_followed",
        || (2..6).for_each(|seed| follow_random_changes(seed, 6, 20)),
    );
}

/// Returns a world with versions that were made in a mount, where directories keep their identity: `in` and `out`
/// change at random, and directories move from one to the other.
pub(crate) fn world_of_random_moves(seed: u64, versions: u64) -> World {
    let world = World::new();
    let tree = world.make_dir("tree");
    for (number, name) in ["in", "out"].iter().enumerate() {
        let spec = TreeSpec {
            seed: seed * 10 + number as u64,
            ..TreeSpec::small()
        };
        let _ = spec.generate(&tree.join(name)).expect("a tree");
    }
    let _ = world.import(&tree, "app");
    let mount = world.mount_writable("app", "");
    let mut numbers = Numbers(seed);
    for version in 2..=versions {
        for name in ["in", "out"] {
            let _ = mutate(&mount.path().join(name), seed * 1_000 + version, 15).expect("changes");
        }
        exchange(&mount, &mut numbers);
        let _ = mount.verb(["commit"]).ok();
    }
    mount.umount();
    world
}

/// Moves a few directories from `in` to `out` and back, and now and then exchanges the two.
fn exchange(mount: &Mounted<'_>, numbers: &mut Numbers) {
    for (from, to) in [("in", "out"), ("out", "in")] {
        let dirs: Vec<_> = fs::read_dir(mount.path().join(from))
            .expect("a directory")
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.file_type().expect("a kind").is_dir())
            .map(|entry| entry.file_name())
            .collect();
        if dirs.is_empty() {
            continue;
        }
        let chosen = usize::try_from(numbers.below(dirs.len() as u64)).expect("an index");
        let (old, new) = (
            mount.path().join(from).join(&dirs[chosen]),
            mount.path().join(to).join(&dirs[chosen]),
        );
        if new.symlink_metadata().is_err() {
            rustix::fs::rename(old, new).expect("a move");
        }
    }
    if numbers.below(3) == 0 {
        let at = |name: &str| mount.path().join(name);
        for (old, new) in [("in", "x"), ("out", "in"), ("x", "out")] {
            rustix::fs::rename(at(old), at(new)).expect("a move");
        }
    }
}

fn follow_random_changes(seed: u64, versions: u64, steps: usize) {
    let world = world_of_random_moves(seed, versions);
    let whole = exported(&world);
    let mut numbers = Numbers(seed);
    let head = whole.len() as u64;
    let mut version = || usize::try_from(numbers.below(head) + 1).expect("a version");
    let walk: Vec<usize> = (0..steps).map(|_| version()).collect();
    follow(&world, "in", &whole, &walk);
}
