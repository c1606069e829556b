//! Kernel mode: the kernel's EROFS shows a version as fuse mode does, and nothing stays behind.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{
    Mounted, World, eventually, in_namespace, inode_numbers, is_running, mount_table, read_all,
    run, walk,
};
use rustix::process::{Pid, Signal, kill_process};

const KERNEL: &str = "mode=kernel";
const LIMIT: Duration = Duration::from_secs(30);

fn assert_mounted_like_the_source(spec: &TreeSpec) {
    let world = World::new();
    let tree = world.path("tree");
    spec.generate(&tree).expect("a tree");
    assert_shown(&world, &tree);
}

/// Imports a tree, mounts it in both modes and compares everything, also after the kernel has dropped all.
#[track_caller]
fn assert_shown(world: &World, tree: &Path) {
    let source = world.import(tree, "app");
    let kernel = world.mount(&source, KERNEL);
    assert_eq!(kernel.status()["served_by"], "kernel");
    assert_same_trees(tree, kernel.path(), &CompareOptions::default());
    drop_caches();
    assert_same_trees(tree, kernel.path(), &CompareOptions::default());
    let fuse = world.mount(&source, "mode=fuse");
    assert_same_trees(fuse.path(), kernel.path(), &CompareOptions::default());
    fuse.umount();
    kernel.umount();
}

fn drop_caches() {
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").expect("root may do that");
}

#[test]
fn a_small_tree() {
    in_namespace("kernel_mode::a_small_tree", || {
        assert_mounted_like_the_source(&TreeSpec::small());
    });
}

#[test]
fn every_odd_object() {
    in_namespace("kernel_mode::every_odd_object", || {
        assert_mounted_like_the_source(&TreeSpec::torture());
    });
}

#[test]
fn a_tree_like_an_application_of_twenty_thousand_files() {
    let name = "kernel_mode::a_tree_like_an_application_of_twenty_thousand_files";
    in_namespace(name, || {
        assert_mounted_like_the_source(&TreeSpec::app(20_000));
    });
}

/// Makes what lies at the borders of blocks and tables.
fn make_edges(tree: &Path) {
    for entries in [0, 1, 14, 15, 16, 31, 32, 63, 64, 255, 256, 5000] {
        let dir = tree.join(format!("with-{entries}"));
        fs::create_dir(&dir).expect("a directory");
        for number in 0..entries {
            let name = dir.join(format!("{}{number:05}", "x".repeat(number % 250)));
            fs::write(name, vec![b'a'; number]).expect("a file");
        }
    }
    for len in [1, 511, 512, 513, 4000, 4095] {
        symlink("t".repeat(len), tree.join(format!("link-{len}"))).expect("a link");
    }
    for len in [1, 4095, 4096, 4097, 8192, 1 << 20, (5 << 20) + 1] {
        fs::write(tree.join(format!("file-{len}")), vec![7; len]).expect("a file");
    }
    for name in ["!before-the-dots", "-", "...", "..a", ".a", "~"] {
        fs::write(tree.join(name), name).expect("a file");
    }
    let linked = tree.join("linked");
    fs::write(&linked, "linked").expect("a file");
    fs::hard_link(&linked, tree.join("with-1/linked")).expect("a link");
    // Longer than the place of a hard link.
    for number in 0..20 {
        let set = xattr::set(&linked, format!("user.attribute-{number}"), &[b'v'; 100]);
        set.expect("an attribute");
    }
    let value = vec![b'v'; 3000];
    xattr::set(tree.join("file-1"), "user.long", &value).expect("an attribute");
    xattr::set(tree.join("with-5000"), "user.long", &value).expect("an attribute");
}

#[test]
fn what_lies_at_the_borders_of_blocks_and_tables() {
    let name = "kernel_mode::what_lies_at_the_borders_of_blocks_and_tables";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        make_edges(&tree);
        assert_shown(&world, &tree);
    });
}

#[test]
fn inode_numbers_are_stable_and_new_content_has_a_new_one() {
    let name = "kernel_mode::inode_numbers_are_stable_and_new_content_has_a_new_one";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.path("tree");
        TreeSpec::app(2_000).generate(&tree).expect("a tree");
        world.import(&tree, "app");
        let numbers = |source: &str| {
            let mount = world.mount(source, KERNEL);
            let numbers = below(mount.path());
            let unique: std::collections::BTreeSet<_> = numbers.values().collect();
            assert!(
                unique.len() * 100 > numbers.len() * 99,
                "hard links alone share a number"
            );
            mount.umount();
            numbers
        };
        let first = numbers("app@v1");
        assert_eq!(first, numbers("app@v1"));
        let changed = lfsfs_tests::files(&tree).pop().expect("a file");
        fs::write(&changed, "something new").expect("a file");
        fs::write(tree.join("added"), "added").expect("a file");
        world.import(&tree, "app");
        let second = numbers("app@v2");
        let moved = first
            .iter()
            .filter(|(path, number)| second[*path] != **number);
        let moved: Vec<_> = moved.map(|(path, _)| path).collect();
        let changed = changed
            .strip_prefix(&tree)
            .expect("it lies below")
            .to_owned();
        assert!(moved.contains(&&changed), "{moved:?}");
        assert!(moved.len() <= 5, "{moved:?}");
    });
}

fn below(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let numbers = inode_numbers(dir).into_iter();
    numbers
        .map(|(path, number)| (path.strip_prefix(dir).unwrap_or(&path).to_owned(), number))
        .collect()
}

#[test]
fn people_recognise_the_mount_and_umount_takes_all_of_it_away() {
    let name = "kernel_mode::people_recognise_the_mount_and_umount_takes_all_of_it_away";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.path("tree");
        TreeSpec::small().generate(&tree).expect("a tree");
        world.import(&tree, "app");
        let mount = world.mount("app@v1", KERNEL);
        let table = fs::read_to_string("/proc/self/mountinfo").expect("a table");
        let ours: Vec<_> = table
            .lines()
            .filter(|line| line.contains("erofs") || line.contains("lfsfs"))
            .collect();
        let [line] = ours[..] else {
            panic!("the files of the image show: {table}");
        };
        assert!(line.contains(" - erofs app@v1 ro"), "{line}");
        let listed = world.lfsfs(["mounts"]).ok();
        assert!(
            listed.contains("app@v1  v1  ro") && listed.contains("served"),
            "{listed}"
        );
        let size = run(
            "df",
            [OsStr::new("--output=source,size"), mount.path().as_os_str()],
        )
        .ok();
        assert!(size.contains("app@v1"), "{size}");
        let pid = mount.pid();
        let _ = run("umount", [mount.path()]).ok();
        assert!(eventually(LIMIT, || !is_running(pid)));
        assert!(mount_table(mount.path()).is_empty());
        let sockets = fs::read_dir(world.path("run"))
            .expect("a directory")
            .count();
        assert_eq!(sockets, 0);
    });
}

#[test]
fn a_directory_of_a_version_and_the_options_of_how_it_is_shown() {
    let name = "kernel_mode::a_directory_of_a_version_and_the_options_of_how_it_is_shown";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        fs::create_dir_all(tree.join("a/b")).expect("directories");
        fs::write(tree.join("a/b/file"), "text").expect("a file");
        xattr::set(tree.join("a/b/file"), "user.one", b"1").expect("an attribute");
        world.import(&tree, "app");
        let mount = world.mount("app@v1:a/b", "mode=kernel,uid=7,gid=8,noxattr,noexec");
        let file = mount.path().join("file");
        assert_eq!(fs::read_to_string(&file).expect("a file"), "text");
        let shown = fs::metadata(&file).expect("a file");
        assert_eq!((shown.uid(), shown.gid()), (7, 8));
        assert_eq!(xattr::list(&file).expect("a list").count(), 0);
        let table = mount_table(mount.path()).concat();
        assert!(
            table.contains("noexec") && table.contains("app@v1:a/b"),
            "{table}"
        );
        mount.umount();
    });
}

#[test]
fn auto_takes_what_can_be_had_and_says_why() {
    in_namespace(
        "kernel_mode::auto_takes_what_can_be_had_and_says_why",
        || {
            let world = World::new();
            let tree = world.path("tree");
            TreeSpec::small().generate(&tree).expect("a tree");
            world.import(&tree, "app");
            let read = world.mount("app", "mode=auto");
            assert_eq!(read.status()["served_by"], "kernel");
            read.umount();
            let written = world.mount_writable("app", "mode=auto");
            assert_eq!(written.status()["served_by"], "fuse");
            assert_eq!(written.status()["why_fuse"], "the mount is writable");
            let lines = written.verb(["status"]).ok();
            assert!(
                lines.contains("served by  fuse: the mount is writable"),
                "{lines}"
            );
            written.umount();
            let dir = world.make_dir("refused");
            let said = world
                .mount_at("app", &dir, "rw,mode=kernel")
                .fails(1, &["the mount is writable"]);
            assert!(said.contains("fuse mode"), "{said}");
        },
    );
}

fn kill(mount: &Mounted<'_>) {
    let pid = mount.pid();
    let process = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process");
    kill_process(process, Signal::KILL).expect("it can be killed");
    assert!(eventually(LIMIT, || !is_running(pid)));
}

#[test]
fn a_killed_process_leaves_errors_and_the_next_mount_cleans_up() {
    let name = "kernel_mode::a_killed_process_leaves_errors_and_the_next_mount_cleans_up";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.path("tree");
        TreeSpec::app(500).generate(&tree).expect("a tree");
        world.import(&tree, "app");
        let mount = world.mount("app@v1", KERNEL);
        let first = lfsfs_tests::files(mount.path()).remove(0);
        let text = fs::read(&first).expect("a file");
        kill(&mount);
        assert_eq!(fs::read(&first).expect("it is in the cache"), text);
        drop_caches();
        let errors: Vec<io::Error> = walk_errors(mount.path());
        assert!(!errors.is_empty());
        let listed = world.lfsfs(["mounts"]).ok();
        assert!(listed.contains("dead"), "{listed}");
        // A mount replaces it, and umount takes it away.
        mount.mount("app@v1");
        assert_same_trees(&tree, mount.path(), &CompareOptions::default());
        assert_eq!(mount_table(mount.path()).len(), 1);
        kill(&mount);
        let _ = world
            .lfsfs([OsStr::new("umount"), mount.path().as_os_str()])
            .ok();
        assert!(mount_table(mount.path()).is_empty());
    });
}

/// Returns why files cannot be read.
fn walk_errors(dir: &Path) -> Vec<io::Error> {
    let mut errors = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
                Ok((path, kind)) if kind.is_dir() => pending.push(path),
                Ok((path, _)) => errors.extend(fs::read(path).err()),
                Err(error) => errors.push(error),
            }
        }
    }
    errors
}

#[test]
fn several_readers_see_the_same_while_the_kernel_drops_its_caches() {
    let name = "kernel_mode::several_readers_see_the_same_while_the_kernel_drops_its_caches";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.path("tree");
        TreeSpec::app(3_000).generate(&tree).expect("a tree");
        world.import(&tree, "app");
        let mount = world.mount("app@v1", KERNEL);
        let bytes = read_all(&tree);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        assert_eq!(read_all(mount.path()), bytes);
                        drop_caches();
                    }
                });
            }
        });
        assert_same_trees(&tree, mount.path(), &CompareOptions::default());
        mount.umount();
    });
}

#[test]
fn an_open_file_is_read_after_a_lazy_unmount_and_the_process_ends_with_it() {
    let name =
        "kernel_mode::an_open_file_is_read_after_a_lazy_unmount_and_the_process_ends_with_it";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        fs::write(tree.join("file"), "text").expect("a file");
        world.import(&tree, "app");
        let mount = world.mount("app@v1", KERNEL);
        let pid = mount.pid();
        let open = File::open(mount.path().join("file")).expect("a file");
        let said = mount.verb(["umount"]).fails(1, &["in use"]);
        assert!(said.contains("lazy"), "{said}");
        let _ = mount.verb(["umount", "--lazy"]).ok();
        assert_eq!(io::read_to_string(&open).expect("it can be read"), "text");
        assert!(is_running(pid));
        drop(open);
        assert!(eventually(LIMIT, || !is_running(pid)));
        assert_eq!(walk(mount.path()).len(), 0);
    });
}

/// Makes a version whose file says so.
#[track_caller]
fn publish(world: &World, tree: &Path, text: &str) {
    fs::write(tree.join("file"), text).expect("a file");
    world.import(tree, "app");
}

fn text_in(mount: &Mounted<'_>) -> String {
    fs::read_to_string(mount.path().join("file")).expect("a file")
}

#[test]
fn a_switch_is_seen_at_once_and_what_is_open_stays() {
    in_namespace(
        "kernel_mode::a_switch_is_seen_at_once_and_what_is_open_stays",
        || {
            let world = World::new();
            let tree = world.make_dir("tree");
            for text in ["one", "two", "three"] {
                publish(&world, &tree, text);
            }
            let mount = world.mount("app@v1", KERNEL);
            let pid = mount.pid();
            let open = File::open(mount.path().join("file")).expect("a file");
            mount.switch("v2");
            assert_eq!(text_in(&mount), "two");
            assert_eq!(io::read_to_string(&open).expect("it can be read"), "one");
            assert_eq!((mount.source().as_str(), mount.pid()), ("app@v2", pid));
            assert_eq!(mount_table(mount.path()).len(), 1);
            // By paths there is always one version or the other.
            thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    let end = Instant::now() + Duration::from_secs(2);
                    while Instant::now() < end {
                        let text = text_in(&mount);
                        assert!(text == "two" || text == "three", "{text}");
                    }
                });
                while !reader.is_finished() {
                    mount.switch("v3");
                    mount.switch("v2");
                }
            });
            drop(open);
            assert_eq!(sockets(&world), 1);
            // Sessions of versions that nothing uses any more have ended.
            let threads = || {
                fs::read_dir(format!("/proc/{pid}/task"))
                    .expect("a process")
                    .count()
            };
            assert!(
                eventually(LIMIT, || threads() < 30),
                "{} threads",
                threads()
            );
            mount.umount();
            assert!(eventually(LIMIT, || !is_running(pid)));
        },
    );
}

fn sockets(world: &World) -> usize {
    fs::read_dir(world.path("run"))
        .expect("a directory")
        .count()
}

#[test]
fn a_process_lives_as_long_as_a_file_of_a_version_before_is_open() {
    let name = "kernel_mode::a_process_lives_as_long_as_a_file_of_a_version_before_is_open";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.make_dir("tree");
        publish(&world, &tree, "one");
        publish(&world, &tree, "two");
        let mount = world.mount("app@v1", KERNEL);
        let pid = mount.pid();
        let open = File::open(mount.path().join("file")).expect("a file");
        mount.switch("v2");
        let _ = run("umount", [mount.path()]).ok();
        assert_eq!(io::read_to_string(&open).expect("it can be read"), "one");
        assert!(is_running(pid));
        drop(open);
        assert!(eventually(LIMIT, || !is_running(pid)));
    });
}

#[test]
fn a_switch_that_would_hide_another_mount_is_refused() {
    in_namespace(
        "kernel_mode::a_switch_that_would_hide_another_mount_is_refused",
        || {
            let world = World::new();
            let tree = world.make_dir("tree");
            fs::create_dir(tree.join("dir")).expect("a directory");
            publish(&world, &tree, "one");
            publish(&world, &tree, "two");
            let mount = world.mount("app@v1", KERNEL);
            let inside = mount.path().join("dir");
            let words = ["-t", "tmpfs", "tmpfs"].map(OsStr::new);
            let _ = run("mount", words.into_iter().chain([inside.as_os_str()])).ok();
            let switch = [
                OsStr::new("switch"),
                mount.path().as_os_str(),
                OsStr::new("v2"),
            ];
            let said = world.lfsfs(switch).fails(1, &["is mounted on or below"]);
            assert!(said.contains("unmount it"), "{said}");
            assert_eq!(
                (text_in(&mount).as_str(), mount.source().as_str()),
                ("one", "app@v1")
            );
            let _ = run("umount", [&inside]).ok();
            mount.switch("v2");
            assert_eq!(text_in(&mount), "two");
            mount.umount();
        },
    );
}

#[test]
fn it_follows_the_newest_version() {
    in_namespace("kernel_mode::it_follows_the_newest_version", || {
        let world = World::new();
        let tree = world.make_dir("tree");
        publish(&world, &tree, "one");
        let mount = world.mount("app", "mode=kernel,follow");
        for text in ["two", "three"] {
            publish(&world, &tree, text);
            assert!(eventually(LIMIT, || text_in(&mount) == text));
        }
        mount.umount();
    });
}
