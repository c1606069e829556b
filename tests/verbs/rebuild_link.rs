//! `lfsfs rebuild --link`: files come from the cache of the machine, and no write in a directory changes that.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use lfsfs_testkit::chunks;
use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::requirements::{require_loop_devices, require_program, require_root};
use lfsfs_tests::{Numbers, Run, World, in_namespace};
use serde_json::Value;

use crate::rebuild::{assert_rebuilt, rebuild};
use crate::support::{read, write};

const LARGE_LEN: usize = 20_000_000;

/// A world with app@v1: four files, an empty one, and no bytes twice.
fn world() -> World {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir(tree.join("dir")).expect("a directory");
    for name in ["one", "two", "dir/three"] {
        write(&tree, name, name);
    }
    write(&tree, "empty", "");
    fs::write(tree.join("large"), Numbers(5).bytes(LARGE_LEN)).expect("a file");
    let _ = world.import(&tree, "app");
    world
}

/// A disk with the cache of a machine on it.
struct Disk<'a> {
    world: &'a World,
    disk: LoopDisk,
}

impl Disk<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn lfsfs(&self, words: &[&OsStr]) -> Run {
        let mut command = self.world.command(words);
        command.env("LFSFS_CACHE_DIR", self.path("cache"));
        Run::of(command)
    }

    fn rebuild(&self, name: &str, link: &str) -> Run {
        let dir = self.path(name);
        let words = ["rebuild".as_ref(), "app".as_ref(), dir.as_os_str()];
        let options = ["--link", link, "--json"].map(OsStr::new);
        self.lfsfs(&[&words[..], &options].concat())
    }

    /// Rebuilds a new directory, which must be the tree. Returns how many files came from the cache.
    fn cached(&self, name: &str) -> u64 {
        let json = self.rebuild(name, "reflink").json();
        assert_rebuilt(&self.world.path("tree"), &self.path(name));
        json["cached_count"].as_u64().expect("a count")
    }

    fn files_in_cache(&self) -> Vec<PathBuf> {
        let files = lfsfs_tests::files(&self.path("cache/files"));
        files
            .into_iter()
            .filter(|file| !file.is_symlink())
            .collect()
    }
}

fn append(file: &Path, text: &str) {
    let file = OpenOptions::new().append(true).open(file);
    let written = file.expect("a file").write_all(text.as_bytes());
    written.expect("bytes");
}

#[test]
fn files_share_blocks_with_the_cache() {
    if require_loop_devices().is_err() || require_program("mkfs.xfs").is_err() {
        return;
    }
    in_namespace("rebuild_link::files_share_blocks_with_the_cache", || {
        let world = world();
        let disk = LoopDisk::with_reflinks().expect("a disk");
        let disk = Disk {
            world: &world,
            disk,
        };
        assert_eq!(disk.cached("first"), 0);
        assert_eq!(disk.files_in_cache().len(), 4);
        let before = disk.disk.available().expect("space");
        assert_eq!(disk.cached("second"), 4);
        let taken = before - disk.disk.available().expect("space");
        assert!(taken < LARGE_LEN as u64 / 4, "{taken} bytes");

        // What is written in a directory stays there, also if root does it.
        append(&disk.path("second/one"), "mine");
        append(&disk.path("first/large"), "mine");
        assert_eq!(disk.cached("third"), 4);

        // Without its chunks, the server has nothing to give.
        for chunk in chunks::files_in(world.data()) {
            fs::remove_file(chunk).expect("a chunk");
        }
        assert_eq!(disk.cached("fourth"), 4);
        assert_ne!(disk.rebuild("copied", "copy").code(), Some(0));
    });
}

#[test]
fn a_damaged_file_of_the_cache_is_fetched_again() {
    if require_loop_devices().is_err() || require_program("mkfs.xfs").is_err() {
        return;
    }
    let name = "rebuild_link::a_damaged_file_of_the_cache_is_fetched_again";
    in_namespace(name, || {
        let world = world();
        let disk = LoopDisk::with_reflinks().expect("a disk");
        let disk = Disk {
            world: &world,
            disk,
        };
        assert_eq!(disk.cached("first"), 0);
        for (number, file) in disk.files_in_cache().iter().enumerate() {
            let metadata = file.metadata().expect("attributes");
            append(file, "damage");
            // Size and time say nothing.
            let opened = OpenOptions::new().write(true).open(file).expect("a file");
            if number > 0 {
                opened.set_len(metadata.len()).expect("a length");
                let flipped = if number % 2 == 0 { "?" } else { "!" };
                write_first(file, flipped);
            }
            let time = metadata.modified().expect("a time");
            opened.set_modified(time).expect("a time");
        }
        assert_eq!(disk.cached("second"), 0);
        assert_eq!(disk.cached("third"), 4);
        fs::remove_file(&disk.files_in_cache()[0]).expect("a file");
        assert_eq!(disk.cached("fourth"), 3);

        let cache = |words: &[&str]| -> Value {
            let words: Vec<_> = words.iter().map(OsStr::new).collect();
            disk.lfsfs(&words).json()
        };
        let status = cache(&["cache", "status", "--json"]);
        let stores = status["stores"].as_array().expect("stores");
        let files = stores.iter().find(|it| it["name"] == "files");
        let files = files.expect("a store");
        assert_eq!(files["files"], 4, "{status}");
        assert!(
            files["bytes"].as_u64() >= Some(LARGE_LEN as u64),
            "{status}"
        );
        // The large file is what was used least recently of all that is too large.
        let pruned = cache(&["cache", "prune", "--size", "1M", "--json"]);
        assert!(pruned["left_bytes"].as_u64() <= Some(1_000_000), "{pruned}");
        assert!(disk.cached("fifth") < 4);
        let _ = cache(&["cache", "clear", "--json"]);
        assert!(disk.files_in_cache().is_empty());
        assert_eq!(disk.cached("sixth"), 0);
    });
}

fn write_first(file: &Path, text: &str) {
    use std::os::unix::fs::FileExt as _;
    let file = OpenOptions::new().write(true).open(file).expect("a file");
    file.write_all_at(text.as_bytes(), 0).expect("a byte");
}

#[test]
fn a_file_system_without_reflinks_gets_copies_and_the_user_is_told() {
    if require_loop_devices().is_err() {
        return;
    }
    let name = "rebuild_link::a_file_system_without_reflinks_gets_copies_and_the_user_is_told";
    in_namespace(name, || {
        let world = world();
        let disk = LoopDisk::new(128 << 20).expect("a disk");
        let disk = Disk {
            world: &world,
            disk,
        };
        let run = disk.rebuild("first", "reflink");
        let told = run.stderr();
        assert_eq!(
            told.matches("not shared with the cache").count(),
            1,
            "{told}"
        );
        assert_eq!(run.json()["cached_count"], 0);
        assert_eq!(disk.cached("second"), 0);
        assert!(disk.files_in_cache().is_empty());
        assert_eq!(disk.rebuild("third", "copy").stderr(), "");
    });
}

/// A user without rights, with a cache of its own.
struct User<'a> {
    world: &'a World,
    home: PathBuf,
}

impl User<'_> {
    fn run(&self, words: &[&OsStr]) -> Run {
        let ours = self.world.command_for_any_user(words);
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=4711", "--regid=4711", "--clear-groups"])
            .arg(ours.get_program())
            .args(ours.get_args());
        for (name, value) in ours.get_envs() {
            command.env(name, value.expect("a value"));
        }
        command.env("LFSFS_CACHE_DIR", self.home.join("cache"));
        Run::of(command)
    }

    fn rebuild(&self, name: &str, options: &[&str]) -> Value {
        let dir = self.home.join(name);
        let words = ["rebuild".as_ref(), "app".as_ref(), dir.as_os_str()];
        let options = options.iter().map(OsStr::new).chain(["--json".as_ref()]);
        let words: Vec<_> = words.into_iter().chain(options).collect();
        self.run(&words).json()
    }

    fn cached(&self, name: &str) -> u64 {
        let json = self.rebuild(name, &["--link", "hard"]);
        json["cached_count"].as_u64().expect("a count")
    }
}

#[test]
fn only_what_no_user_may_write_is_a_name_of_a_file_of_the_cache() {
    if require_root().is_err() || require_program("setpriv").is_err() {
        return;
    }
    let world = world();
    let tree = world.path("tree");
    let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
    for (name, bits) in [("one", 0o444), ("large", 0o555), ("two", 0o464)] {
        mode(&tree.join(name), bits).expect("a mode");
    }
    fs::hard_link(tree.join("one"), tree.join("again")).expect("a name");
    fs::copy(tree.join("one"), tree.join("four")).expect("a copy");
    fs::remove_file(tree.join("again")).expect("a name");
    let _ = world.import(&tree, "app");
    let home = world.make_dir("home");
    chown(&home, Some(4711), Some(4711)).expect("an owner");
    mode(home.parent().expect("a parent"), 0o755).expect("a mode");
    let user = User {
        world: &world,
        home: home.clone(),
    };
    let inode = |name: &str| fs::metadata(home.join(name)).expect(name).ino();

    // `one`, `large` and `four`, which has the bytes of `one` and another time.
    assert_eq!((user.cached("first"), user.cached("second")), (0, 3));
    for name in ["one", "large"] {
        assert_eq!(
            inode(&format!("first/{name}")),
            inode(&format!("second/{name}"))
        );
    }
    assert_ne!(inode("first/two"), inode("second/two"));
    let scratch = ["--link", "hard", "--from-scratch"];
    assert_eq!(user.rebuild("second", &scratch)["count"], 0);

    // The owner of a directory can give itself the right to write; then the cache has that file no more.
    let file = home.join("first/one");
    mode(&file, 0o644).expect("a mode");
    append(&file, "mine");
    assert_eq!(user.cached("third"), 2);
    assert_eq!(read(&home, "third/one"), "one");
    assert_eq!(user.cached("fourth"), 3);
    let time = fs::metadata(tree.join("one")).and_then(|it| it.modified());
    let file = home.join("fourth/one");
    mode(&file, 0o644).expect("a mode");
    fs::write(&file, "ONE").expect("bytes");
    let opened = OpenOptions::new().write(true).open(&file).expect("a file");
    opened.set_modified(time.expect("a time")).expect("a time");
    mode(&file, 0o444).expect("a mode");
    assert_eq!(user.cached("fifth"), 2);
    assert_eq!(read(&home, "fifth/one"), "one");
    assert_eq!(user.rebuild("fourth", &scratch)["count"], 1);
    assert_eq!(read(&home, "fourth/one"), "one");
    assert_eq!(inode("fourth/one"), inode("fifth/one"));

    // Further names are no change, and a rebuild without them makes files of its own.
    let fifth = home.join("fifth");
    assert_eq!(user.run(&["fsdiff".as_ref(), fifth.as_os_str()]).ok(), "");
    let update = user.run(&["update".as_ref(), fifth.as_os_str()]);
    assert_eq!(update.ok(), "app@v2");
    let _ = user.rebuild("fifth", &["--from-scratch"]);
    assert_eq!(fs::metadata(fifth.join("one")).expect("a file").nlink(), 1);
}

#[test]
fn root_gets_no_names_of_files_of_the_cache() {
    if require_root().is_err() {
        return;
    }
    let world = world();
    let dir = world.path("dir");
    let refused = rebuild(&world, "app", &dir, &["--link", "hard"]);
    refused.fails(2, &["root can write to read-only files", "--link reflink"]);
    assert!(!dir.exists());
}
