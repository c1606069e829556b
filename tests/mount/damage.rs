//! The cache on disk: damaged, deleted, too small, on a full disk. What is shown stays true.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::requirements::require_loop_devices;
use lfsfs_testkit::tree::{Features, LargeFile, TreeSpec};
use lfsfs_tests::{
    Counts, Mounted, World, count, eventually, fetched, files, in_namespace, read_all,
    wait_for_cache, walk,
};

/// All kinds of files that a cache has.
const KINDS: [&str; 5] = ["batches", "chunks", "listings", "places", "versions"];

fn app(world: &World) -> PathBuf {
    let tree = world.path("tree");
    let features = Features {
        xattrs: true,
        large_file: Some(LargeFile {
            bytes: 5_000_000,
            compressible: false,
        }),
        ..TreeSpec::small().features
    };
    let spec = TreeSpec {
        features,
        ..TreeSpec::small()
    };
    spec.generate(&tree).expect("a tree");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    tree
}

fn options() -> CompareOptions {
    CompareOptions {
        root: false,
        ..CompareOptions::default()
    }
}

/// A way to damage a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// One bit, at so many thousandths of the length.
    Flip(u64),
    /// All bits of every hundredth byte.
    FlipMany,
    /// Cut, to so many thousandths of the length.
    Cut(u64),
    /// Every byte is zero.
    Zero,
    /// Something else behind the end.
    Append,
    /// Another file of its kind is there instead.
    Swap,
}

const DAMAGES: [Damage; 10] = [
    Damage::Flip(0),
    Damage::Flip(500),
    Damage::Flip(999),
    Damage::FlipMany,
    Damage::Cut(0),
    Damage::Cut(500),
    Damage::Cut(999),
    Damage::Zero,
    Damage::Append,
    Damage::Swap,
];

/// Damages every file of one kind, and returns how many there were.
fn damage(cache: &Path, kind: &str, damage: Damage) -> usize {
    let found = cache_files(&cache.join(kind));
    if let (Damage::Swap, [first, .., last]) = (damage, &found[..]) {
        let bytes = fs::read(first).expect("a file");
        fs::copy(last, first).expect("a copy");
        fs::write(last, bytes).expect("a file");
        return found.len();
    }
    for path in &found {
        match damage_one(path, damage) {
            // A mount that writes at the same time has its temporary files here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            changed => changed.expect("a file of the cache can be changed"),
        }
    }
    found.len()
}

/// Returns the files below a directory of the cache. A mount that writes at the same time has
/// temporary files there, which are gone at the next look.
fn cache_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            match path.symlink_metadata() {
                Ok(metadata) if metadata.is_dir() => todo.push(path),
                Ok(_) => found.push(path),
                Err(_) => {}
            }
        }
    }
    found.sort();
    found
}

fn damage_one(path: &Path, damage: Damage) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let at = |thousandths: u64| len * thousandths / 1_000;
    match damage {
        Damage::Flip(thousandths) if len > 0 => flip(&mut file, at(thousandths), 1),
        Damage::FlipMany => (0..len)
            .step_by(100)
            .try_for_each(|at| flip(&mut file, at, 255)),
        Damage::Cut(thousandths) => file.set_len(at(thousandths)),
        Damage::Zero => {
            file.set_len(0)?;
            file.set_len(len)
        }
        Damage::Append => {
            file.seek(SeekFrom::End(0))?;
            file.write_all(&[0xA5; 100])
        }
        Damage::Flip(_) | Damage::Swap => Ok(()),
    }
}

fn flip(file: &mut fs::File, at: u64, bits: u8) -> io::Result<()> {
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&[byte[0] ^ bits])
}

/// Fills the cache, and ends the mount that did.
fn fill(world: &World) {
    let mount = world.mount("app@v1", "");
    walk(mount.path());
    read_all(mount.path());
    wait_for_cache(&mount);
    mount.umount();
}

#[test]
fn damage_between_mounts_is_found_and_fetched_again() {
    in_namespace(
        "damage::damage_between_mounts_is_found_and_fetched_again",
        || {
            let world = World::new();
            let tree = app(&world);
            fill(&world);
            for kind in KINDS {
                for how in DAMAGES {
                    let damaged = damage(&world.path("cache"), kind, how);
                    assert!(damaged > 0, "there is nothing of {kind}");
                    let mount = world.mount("app@v1", "");
                    assert_same_trees(&tree, mount.path(), &options());
                    wait_for_cache(&mount);
                    mount.umount();
                }
            }
            // What was fetched again is whole: the next mount needs no server for it.
            let mount = world.mount("app@v1", "");
            assert_same_trees(&tree, mount.path(), &options());
            assert_eq!(fetched(&mount), Counts::new());
            mount.umount();
        },
    );
}

#[test]
#[ignore = "soak: damages the cache at a hundred places, one after the other"]
fn damage_at_many_places_is_found_and_fetched_again() {
    in_namespace(
        "damage::damage_at_many_places_is_found_and_fetched_again",
        || {
            let world = World::new();
            let tree = app(&world);
            fill(&world);
            for place in (0..1_000).step_by(10) {
                let how = if place % 20 == 0 {
                    Damage::Flip(place)
                } else {
                    Damage::Cut(place)
                };
                for kind in KINDS {
                    damage(&world.path("cache"), kind, how);
                }
                let mount = world.mount("app@v1", "");
                assert_same_trees(&tree, mount.path(), &options());
                wait_for_cache(&mount);
                mount.umount();
            }
        },
    );
}

#[test]
fn damage_while_mounted_and_without_a_server_is_an_error_and_never_shown() {
    let name = "damage::damage_while_mounted_and_without_a_server_is_an_error_and_never_shown";
    in_namespace(name, || {
        let mut world = World::new();
        let tree = app(&world);
        fill(&world);
        let dir = world.make_dir("m");
        let _ = world.mount_at("app@v1", &dir, "ro,timeout=1").ok();
        walk(&dir);
        damage(&world.path("cache"), "chunks", Damage::FlipMany);
        world.kill_server();

        let mut failed = 0;
        for file in files(&tree).iter().take(20) {
            let name = file.strip_prefix(&tree).expect("it lies below");
            match fs::read(dir.join(name)) {
                Ok(bytes) => assert!(bytes == fs::read(file).expect("a file"), "{name:?}"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name:?}");
                    failed += 1;
                }
            }
        }
        assert!(failed > 0, "something was damaged");
        world.start_server(&[]);
        // A mount that took its server as away asks every 2 s whether it is back.
        let all_read = || files(&dir).iter().all(|path| fs::read(path).is_ok());
        assert!(eventually(Duration::from_secs(30), all_read));
        assert_same_trees(&tree, &dir, &options());
        let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
    });
}

#[test]
fn a_cache_that_is_damaged_while_mounted_is_fetched_again() {
    in_namespace(
        "damage::a_cache_that_is_damaged_while_mounted_is_fetched_again",
        || {
            let world = World::new();
            let tree = app(&world);
            fill(&world);
            for kind in KINDS {
                for how in [Damage::FlipMany, Damage::Cut(500)] {
                    let mount = world.mount("app@v1", "");
                    // Something is in use already when it happens.
                    let some = &files(mount.path())[..10];
                    some.iter().for_each(|path| drop(fs::read(path)));
                    damage(&world.path("cache"), kind, how);
                    assert_same_trees(&tree, mount.path(), &options());
                    wait_for_cache(&mount);
                    mount.umount();
                }
            }
        },
    );
}

#[test]
fn a_cache_that_is_deleted_while_mounted_is_made_again() {
    in_namespace(
        "damage::a_cache_that_is_deleted_while_mounted_is_made_again",
        || {
            let world = World::new();
            let tree = app(&world);
            let first = world.mount("app@v1", "");
            let some = &files(first.path())[..50];
            some.iter().for_each(|path| drop(fs::read(path)));
            // What is being written at the moment may come again while it is deleted.
            let delete = || fs::remove_dir_all(world.path("cache")).is_ok();
            assert!(eventually(Duration::from_secs(10), delete));
            assert_same_trees(&tree, first.path(), &options());
            first.umount();
            fill(&world);

            let second = world.mount("app@v1", "");
            assert_same_trees(&tree, second.path(), &options());
            assert_eq!(
                count(&second.counters(), "remote_bytes"),
                0,
                "it stores again"
            );
            second.umount();
        },
    );
}

#[test]
fn a_cache_of_another_format_is_not_believed() {
    in_namespace("damage::a_cache_of_another_format_is_not_believed", || {
        let world = World::new();
        let tree = app(&world);
        fill(&world);
        fs::write(world.path("cache/format"), "999\n").expect("a file");
        let mount = world.mount("app@v1", "");
        assert_same_trees(&tree, mount.path(), &options());
        assert!(count(&mount.counters(), "remote_bytes") > 0, "it was wiped");
        mount.umount();
    });
}

/// Returns how many bytes the cache takes on disk.
fn size_on_disk(cache: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let kinds = KINDS.iter().flat_map(|kind| files(&cache.join(kind)));
    let sizes = kinds.filter_map(|path| path.metadata().ok());
    sizes.map(|metadata| metadata.blocks() * 512).sum()
}

#[test]
fn a_cache_that_is_too_small_stays_small_and_true() {
    in_namespace(
        "damage::a_cache_that_is_too_small_stays_small_and_true",
        || {
            const LIMIT: u64 = 2 << 20;
            let world = World::new();
            let tree = world.path("tree");
            let features = Features {
                large_file: Some(LargeFile {
                    bytes: 20_000_000,
                    compressible: false,
                }),
                ..Features::none()
            };
            let spec = TreeSpec {
                features,
                ..TreeSpec::app(1_000)
            };
            spec.generate(&tree).expect("a tree");
            assert_eq!(world.import(&tree, "app"), "app@v1");
            let mounts: Vec<Mounted<'_>> = (0..2)
                .map(|_| world.mount("app@v1", "cache-size=2M"))
                .collect();
            std::thread::scope(|scope| {
                for mount in mounts.iter().chain(&mounts) {
                    scope.spawn(|| assert_same_trees(&tree, mount.path(), &options()));
                }
            });
            mounts.iter().for_each(wait_for_cache);
            let evicted = |mount| count(&Mounted::counters(mount), "cache_evicted");
            assert!(mounts.iter().map(evicted).sum::<u64>() > 0);
            mounts.into_iter().for_each(Mounted::umount);
            let size = size_on_disk(&world.path("cache"));
            assert!(size <= LIMIT * 2, "{size} bytes");
        },
    );
}

#[test]
fn a_full_disk_under_the_cache_is_served_without_caching() {
    if require_loop_devices().is_err() {
        return;
    }
    in_namespace(
        "damage::a_full_disk_under_the_cache_is_served_without_caching",
        || {
            let world = World::new();
            let tree = app(&world);
            let disk = LoopDisk::new(16 << 20).expect("a disk");
            let cache = disk.path().join("cache");
            fs::create_dir(&cache).expect("a directory");
            disk.fill_up(0).expect("it fills up");
            let options_of_mount = format!("cache={},cache-size=1G", cache.display());
            let mount = world.mount("app@v1", &options_of_mount);
            assert_same_trees(&tree, mount.path(), &options());
            std::thread::sleep(Duration::from_millis(500));
            assert!(count(&mount.counters(), "cache_write_errors") > 0);
            let log = world.lfsfs([
                "status".as_ref(),
                "--json".as_ref(),
                mount.path().as_os_str(),
            ]);
            let log = log.json()["log"].as_str().expect("a path").to_owned();
            let told = fs::read_to_string(log).expect("a log");
            assert_eq!(
                told.matches("cannot write to the cache").count(),
                1,
                "{told}"
            );

            // With room again it stores again.
            disk.free().expect("room");
            mount.umount();
            let mount = world.mount("app@v1", &options_of_mount);
            assert_same_trees(&tree, mount.path(), &options());
            wait_for_cache(&mount);
            assert!(count(&mount.counters(), "cache_bytes_written") > 0);
            mount.umount();
            drop(disk);
        },
    );
}

#[test]
fn a_cache_that_cannot_be_is_told_or_done_without() {
    in_namespace(
        "damage::a_cache_that_cannot_be_is_told_or_done_without",
        || {
            let world = World::new();
            let tree = app(&world);
            let file = world.path("file");
            fs::write(&file, "text").expect("a file");
            let dir = world.make_dir("m");
            let with_file = format!("ro,cache={}", file.display());
            let _ = world
                .mount_at("app@v1", &dir, &with_file)
                .fails(1, &["not a directory"]);
            // No process can make a directory in /proc.
            let mount = world.mount("app@v1", "cache=/proc/cache");
            assert_same_trees(&tree, mount.path(), &options());
            mount.umount();
        },
    );
}
