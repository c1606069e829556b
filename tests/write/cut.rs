//! The moment that a commit takes while programs write: whole calls of each, in their order.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_tests::{Mounted, in_namespace, in_namespace_for};

use crate::support::{mount_newest_possible, world_with_app};

/// How a call puts a number into a file.
#[derive(Debug, Clone, Copy)]
enum Call {
    /// One block of this length, over the one that is there.
    Replace(usize),
    /// One record of this length, at the end.
    Append(usize),
}

impl Call {
    fn open(self, path: &Path) -> File {
        let mut options = File::options();
        let options = match self {
            Self::Replace(_) => options.write(true),
            Self::Append(_) => options.append(true),
        };
        options.open(path).expect("a file")
    }

    /// The bytes of one call.
    fn bytes(self, number: u64) -> Vec<u8> {
        let (Self::Replace(len) | Self::Append(len)) = self;
        number.to_be_bytes().repeat(len / 8)
    }

    /// Returns the last number in a file, which must have whole calls only.
    #[track_caller]
    fn last_number(self, path: &Path) -> u64 {
        let bytes = fs::read(path).expect("a file of a writer");
        match self {
            Self::Replace(_) => {
                let first = bytes.first_chunk().map_or(0, |it| u64::from_be_bytes(*it));
                let is_whole = bytes == self.bytes(first);
                assert!(is_whole, "{}: a part of call {first}", path.display());
                first
            }
            Self::Append(len) => {
                let records = bytes.chunks(len);
                let last = records.len() as u64 - 1;
                let is_whole = records
                    .zip(0..)
                    .all(|(it, number)| it == self.bytes(number));
                assert!(is_whole, "{}: a part of call {last}", path.display());
                last
            }
        }
    }
}

/// Programs that each write the next number to one file and then to another, until told to stop.
struct Writers {
    call: Call,
    dir: PathBuf,
    stop: AtomicBool,
    writes: AtomicU64,
}

impl Writers {
    const COUNT: usize = 8;

    fn new(call: Call, dir: &Path) -> Self {
        for path in (0..Self::COUNT).flat_map(|writer| Self::files(dir, writer)) {
            fs::write(path, call.bytes(0)).expect("a file");
        }
        Self {
            call,
            dir: dir.to_owned(),
            stop: AtomicBool::new(false),
            writes: AtomicU64::new(0),
        }
    }

    fn files(dir: &Path, writer: usize) -> [PathBuf; 2] {
        ["a", "b"].map(|which| dir.join(format!("writer-{writer}-{which}")))
    }

    /// Returns the last number that was written.
    fn run(&self, writer: usize) -> u64 {
        let files = Self::files(&self.dir, writer).map(|path| self.call.open(&path));
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let bytes = self.call.bytes(number);
            for file in &files {
                let written = match self.call {
                    Call::Replace(_) => file.write_at(&bytes, 0),
                    Call::Append(_) => std::io::Write::write(&mut &*file, &bytes),
                };
                assert_eq!(written.expect("a write"), bytes.len());
            }
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        number
    }

    /// Commits while all write. Returns the last number of each.
    fn run_with_commits(&self, mount: &Mounted<'_>, commits: u64) -> Vec<u64> {
        std::thread::scope(|scope| {
            let start = |writer| scope.spawn(move || self.run(writer));
            let started: Vec<_> = (0..Self::COUNT).map(start).collect();
            for number in 0..commits {
                let before = self.writes.load(Ordering::Relaxed);
                let commit = mount.commit("a cut");
                assert_eq!(commit["version"], number + 2, "{commit}");
                while self.writes.load(Ordering::Relaxed) < before + 20 {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            self.stop.store(true, Ordering::Relaxed);
            let ended = started.into_iter().map(|it| it.join().expect("a writer"));
            ended.collect()
        })
    }

    /// Checks that a directory is how everything was at one moment. Returns the numbers.
    #[track_caller]
    fn assert_cut(&self, dir: &Path) -> Vec<u64> {
        let number = |writer| {
            let [a, b] = Self::files(dir, writer).map(|path| self.call.last_number(&path));
            assert!(a == b || a == b + 1, "writer {writer}: {a}, then {b}");
            b
        };
        (0..Self::COUNT).map(number).collect()
    }
}

fn commit_while_writing(call: Call, options: &str, commits: u64) {
    let (world, _) = world_with_app(50);
    let mount = world.mount_writable("app@v1", options);
    let writers = Writers::new(call, mount.path());
    let last = writers.run_with_commits(&mount, commits);
    mount.commit("the rest");
    let mut before = vec![0; Writers::COUNT];
    for version in 2..=commits + 2 {
        let shown = world.mount(&format!("app@v{version}"), "");
        let numbers = writers.assert_cut(shown.path());
        let is_later = numbers
            .iter()
            .zip(&before)
            .all(|(now, before)| now >= before);
        assert!(is_later, "v{version}: {numbers:?} after {before:?}");
        before = numbers;
        shown.umount();
    }
    assert_eq!(before, last, "what came last is in the last commit");
    mount.umount();
}

/// One request of the kernel each.
const BLOCK: Call = Call::Replace(32 * 1024);
/// Several requests: the kernel sends 1 MiB at most in one.
const LARGE_BLOCK: Call = Call::Replace(3 * 1024 * 1024 + 40);
/// Two requests where a record lies on two pages.
const RECORD: Call = Call::Append(1_000);

#[test]
fn eight_writers_go_on_and_each_version_is_one_moment() {
    let name = "cut::eight_writers_go_on_and_each_version_is_one_moment";
    in_namespace(name, || commit_while_writing(BLOCK, "", 5));
}

#[test]
fn no_version_has_a_part_of_a_large_block() {
    let name = "cut::no_version_has_a_part_of_a_large_block";
    in_namespace(name, || commit_while_writing(LARGE_BLOCK, "", 3));
}

#[test]
fn no_version_has_a_part_of_a_record() {
    let name = "cut::no_version_has_a_part_of_a_record";
    in_namespace(name, || commit_while_writing(RECORD, "", 10));
}

#[test]
fn no_version_has_a_part_of_what_the_kernel_gathers() {
    let name = "cut::no_version_has_a_part_of_what_the_kernel_gathers";
    in_namespace(name, || commit_while_writing(BLOCK, "writeback", 5));
}

/// A hold needs the locks of two files that a rename needs too.
#[test]
fn who_replaces_files_is_in_no_commits_way() {
    let name = "cut::who_replaces_files_is_in_no_commits_way";
    in_namespace(name, || {
        let (world, _) = world_with_app(50);
        let mount = world.mount_writable("app@v1", "");
        let stop = AtomicBool::new(false);
        let replace = |writer: usize| {
            let [new, file] = Writers::files(mount.path(), writer);
            let numbers = (0..).take_while(|_| !stop.load(Ordering::Relaxed));
            for number in numbers {
                fs::write(&new, BLOCK.bytes(number)).expect("a file");
                rustix::fs::rename(&new, &file).expect("a file to replace");
            }
        };
        std::thread::scope(|scope| {
            for writer in 0..Writers::COUNT {
                scope.spawn(move || replace(writer));
            }
            for _ in 0..10 {
                mount.commit("a cut");
            }
            stop.store(true, Ordering::Relaxed);
        });
        for version in 2..=world.head("app") {
            let shown = world.mount(&format!("app@v{version}"), "");
            let files = (0..Writers::COUNT).map(|it| Writers::files(shown.path(), it)[1].clone());
            for file in files.filter(|it| it.exists()) {
                BLOCK.last_number(&file);
            }
            shown.umount();
        }
        mount.umount();
    });
}

/// A program that waits for a killed process gets an error: nothing keeps its device open.
#[test]
fn a_mount_that_is_killed_in_a_commit_leaves_no_program_waiting() {
    let name = "cut::a_mount_that_is_killed_in_a_commit_leaves_no_program_waiting";
    in_namespace(name, || {
        let (world, _) = world_with_app(50);
        let mount = world.mount_writable("app@v1", "");
        for moment in 0..8 {
            let write_to_the_end = |path: &Path| {
                let file = LARGE_BLOCK.open(path);
                let bytes = LARGE_BLOCK.bytes(moment);
                while file.write_at(&bytes, 0).is_ok() {}
            };
            Writers::new(LARGE_BLOCK, mount.path());
            std::thread::scope(|scope| {
                for writer in 0..Writers::COUNT {
                    let [path, _] = Writers::files(mount.path(), writer);
                    scope.spawn(move || write_to_the_end(&path));
                }
                let words = ["commit".as_ref(), mount.path().as_os_str()];
                let mut commit = Program::start(world.command(words)).expect("lfsfs starts");
                std::thread::sleep(Duration::from_millis(5 * moment));
                mount.kill();
                commit.wait(Duration::from_secs(60)).expect("it ends");
            });
            mount_newest_possible(&world, mount.path(), "rw");
            mount.commit("what was written");
        }
        mount.umount();
    });
}

#[test]
#[ignore = "soak: many commits"]
fn eight_writers_go_on_over_a_hundred_commits() {
    let name = "cut::eight_writers_go_on_over_a_hundred_commits";
    in_namespace_for(name, Duration::from_secs(3_600), || {
        for call in [BLOCK, LARGE_BLOCK, RECORD] {
            commit_while_writing(call, "", 100);
        }
    });
}
