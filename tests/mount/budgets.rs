//! How often the kernel asks, by opcode: the budgets of a mount.

use std::fs;
use std::path::Path;

use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{
    Counts, Mounted, World, count, counted, counts, fetched, files, in_namespace, paths, read_all,
    requests_of, run, wait_for_cache, walk,
};

/// The kernel reads ahead with requests that grow up to this, so a file that fits is one READ
/// wherever its end lies.
const ONE_READ_LEN: u64 = 64 * 1024;

const PASSES_MAX: usize = 3;

/// What a tree costs when everything in it is looked at for the first time.
struct Budget {
    directories: u64,
    symlinks: u64,
    small_files: u64,
    large_reads_max: u64,
}

impl Budget {
    fn of(tree: &Path) -> Self {
        let found = paths(tree);
        let directories = found.iter().filter(|(_, metadata)| metadata.is_dir());
        let symlinks = found.iter().filter(|(_, metadata)| metadata.is_symlink());
        let mut budget = Self {
            directories: 1 + directories.count() as u64,
            symlinks: symlinks.count() as u64,
            small_files: 0,
            large_reads_max: 0,
        };
        let mut seen = std::collections::HashSet::new();
        for (_, metadata) in found.iter().filter(|(_, metadata)| metadata.is_file()) {
            use std::os::unix::fs::MetadataExt as _;
            // Names of one file share its pages.
            match metadata.len() {
                _ if !seen.insert(metadata.ino()) => {}
                0 => {}
                1..=ONE_READ_LEN => budget.small_files += 1,
                len => budget.large_reads_max += 2 + len.div_ceil(ONE_READ_LEN),
            }
        }
        budget
    }

    fn assert_first_walk(&self, requests: &Counts) {
        // A directory is read to its end, which is a request of its own; OPENDIR is asked once.
        let expected = [
            ("OPENDIR", 1),
            ("READDIRPLUS", 2 * self.directories),
            ("READLINK", self.symlinks),
        ];
        let expected: Counts = counts(&expected);
        // Directories of more entries than one answer holds take more than two.
        let more = count(requests, "READDIRPLUS").saturating_sub(2 * self.directories);
        assert!(more <= self.directories / 10, "{requests:?}");
        let mut requests = requests.clone();
        requests.insert("READDIRPLUS".to_owned(), 2 * self.directories);
        assert_eq!(requests, expected);
    }

    fn assert_first_read(&self, requests: &Counts) {
        let reads = count(requests, "READ");
        let allowed = self.small_files..=self.small_files + self.large_reads_max;
        assert!(allowed.contains(&reads), "{reads} not in {allowed:?}");
        let mut others = requests.clone();
        others.remove("READ");
        assert_eq!(others, counts(&[("FLUSH", 1), ("OPEN", 1)]));
    }
}

/// Returns the cheapest of some passes: whatever the kernel keeps it may also drop, when other
/// programs of the machine need memory.
fn requests_when_warm(mount: &Mounted<'_>, pass: impl Fn()) -> Counts {
    let passes = (0..PASSES_MAX).map(|_| requests_of(mount, &pass));
    let cheapest = passes.min_by_key(|requests| requests.values().sum::<u64>());
    cheapest.expect("there is a pass")
}

fn app(world: &World, files: usize) -> String {
    let tree = world.path("tree");
    let spec = TreeSpec {
        files,
        ..TreeSpec::small()
    };
    spec.generate(&tree).expect("a tree");
    world.import(&tree, "app")
}

#[test]
fn a_first_pass_is_stated_and_a_second_sends_nothing() {
    in_namespace(
        "budgets::a_first_pass_is_stated_and_a_second_sends_nothing",
        || {
            let world = World::new();
            let source = app(&world, 2_000);
            let budget = Budget::of(&world.path("tree"));
            let mounts = (0..PASSES_MAX).map(|_| world.mount(&source, "ro"));
            let measured = mounts.map(|mount| (first_pass(&mount), mount));
            let undisturbed = |pass: &FirstPass| pass.iter().all(|it| count(it, "FORGET") == 0);
            let mut measured = measured.filter(|(pass, _)| undisturbed(pass));
            let ([first_walk, first_read], mount) = measured.next().expect("a kernel at rest");
            budget.assert_first_walk(&first_walk);
            budget.assert_first_read(&first_read);

            let dir = mount.path();
            let pass = || {
                walk(dir);
                read_all(dir);
            };
            assert_eq!(requests_when_warm(&mount, pass), Counts::new());
            mount.umount();
        },
    );
}

/// The requests of the first walk, and of the first time at which everything is read.
type FirstPass = [Counts; 2];

/// Looks at everything in a mount for the first time. What the kernel forgets meanwhile, because another program
/// has it drop its caches, it asks for again.
fn first_pass(mount: &Mounted<'_>) -> FirstPass {
    let dir = mount.path();
    let first_walk = requests_of(mount, || drop(walk(dir)));
    let first_read = requests_of(mount, || {
        read_all(dir);
    });
    [first_walk, first_read]
}

#[test]
fn names_that_do_not_exist_are_asked_once() {
    in_namespace("budgets::names_that_do_not_exist_are_asked_once", || {
        let world = World::new();
        let source = app(&world, 50);
        let mount = world.mount(&source, "ro");
        let look = || {
            for number in 0..10 {
                let path = mount.path().join(format!("absent-{number}"));
                let error = fs::metadata(path).expect_err("it is not there");
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
            }
        };
        assert_eq!(requests_of(&mount, look), counts(&[("LOOKUP", 10)]));
        assert_eq!(requests_of(&mount, look), Counts::new());
        mount.umount();
    });
}

fn long_listing(dir: &Path) {
    let listed = run("ls", ["-lR".as_ref(), dir.as_os_str()]).ok();
    assert!(listed.lines().count() > 100);
}

#[test]
fn a_long_listing_asks_for_xattrs_unless_there_are_none() {
    in_namespace(
        "budgets::a_long_listing_asks_for_xattrs_unless_there_are_none",
        || {
            let world = World::new();
            let source = app(&world, 200);
            let with = world.mount(&source, "ro");
            let without = world.mount(&source, "ro,noxattr");
            for mount in [&with, &without] {
                long_listing(mount.path());
                read_all(mount.path());
            }

            let asked = requests_when_warm(&with, || long_listing(with.path()));
            let objects = 1 + paths(with.path()).len() as u64;
            let xattr = count(&asked, "GETXATTR") + count(&asked, "LISTXATTR");
            assert_eq!(xattr, asked.values().sum::<u64>(), "{asked:?}");
            assert!(xattr <= 3 * objects, "{asked:?} for {objects} objects");

            let pass = || {
                long_listing(without.path());
                for path in files(without.path()) {
                    let error = xattr::get(&path, "user.any").expect_err("there are none");
                    assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP));
                }
            };
            assert_eq!(requests_when_warm(&without, pass), Counts::new());
            with.umount();
            without.umount();
        },
    );
}

#[test]
fn a_remount_with_a_warm_disk_cache_fetches_nothing() {
    in_namespace(
        "budgets::a_remount_with_a_warm_disk_cache_fetches_nothing",
        || {
            let world = World::new();
            let source = app(&world, 500);
            let first = world.mount(&source, "ro");
            walk(first.path());
            let read = counted(&first, || {
                read_all(first.path());
            });
            assert!(count(&read, "remote_bytes") > 0, "{read:?}");
            wait_for_cache(&first);
            first.umount();

            let second = world.mount(&source, "ro");
            walk(second.path());
            read_all(second.path());
            assert_eq!(fetched(&second), Counts::new());
            second.umount();
        },
    );
}

#[test]
fn mounting_and_a_first_listing_cost_the_same_whatever_the_size() {
    let name = "budgets::mounting_and_a_first_listing_cost_the_same_whatever_the_size";
    in_namespace(name, || {
        let world = World::new();
        let cost = |project: &str, files: usize| {
            let tree = world.path(project);
            TreeSpec::app(files).generate(&tree).expect("a tree");
            let source = world.import(&tree, project);
            let mount = world.mount(&source, "ro");
            let mounted = (mount.requests(), fetched(&mount));
            let listed = requests_of(&mount, || {
                assert!(fs::read_dir(mount.path()).expect("the root").count() > 2);
            });
            let cost = (mounted, listed, fetched(&mount));
            mount.umount();
            cost
        };
        let small = cost("small", 50);
        assert_eq!(small.0.1, Counts::new(), "mounting fetches no listing");
        assert_eq!(small.2, counts(&[("remote_listings", 1)]));
        assert_eq!(cost("large", 5_000), small);
    });
}

#[test]
fn asking_for_free_space_asks_no_server() {
    in_namespace("budgets::asking_for_free_space_asks_no_server", || {
        let mut world = World::new();
        let source = app(&world, 50);
        let dir = world.make_dir("m");
        let _ = world.mount_at(&source, &dir, "ro,timeout=3").ok();
        world.kill_server();
        let df = run("df", ["--output=avail,itotal".as_ref(), dir.as_os_str()]).ok();
        let numbers: Vec<_> = df
            .lines()
            .last()
            .expect("a line")
            .split_whitespace()
            .collect();
        assert_eq!(numbers[0], "0", "a read-only version has no room: {df}");
        assert!(numbers[1].parse::<u64>().expect("a number") > 50, "{df}");
        let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
    });
}
