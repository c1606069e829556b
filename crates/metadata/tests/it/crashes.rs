//! Real processes that crash at random moments, by kill -9 or with the power of their disk: every
//! version that was acknowledged is there and whole.
//!
//! A child process publishes random versions and tells of each before it asks and after it was
//! answered ([`writer`]). Its end comes at an operation of the store, after some time or after some
//! versions. `LFSFS_CRASHES` sets how many crashes there are, `LFSFS_CRASHES_SEED` the first seed; a
//! failure names the seed of its history. The moments of some ends are up to the machine, so the same
//! seed may need several runs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use lfsfs_meta_store::Engine;
use lfsfs_metadata::{Metadata, Project, ProjectSettings};
use lfsfs_testkit::disk::LoopDisk;
use lfsfs_testkit::namespace::{NamespaceOptions, in_private_namespace_with};
use lfsfs_testkit::requirements::require_loop_devices;
use lfsfs_types::{DirId, ProjectName, VersionNumber};

use crate::support::{Random, assert_clean, commit_as, file, open, put, store_contents};
use crate::tree::Tree;

#[path = "crashes/looks.rs"]
mod looks;
#[path = "crashes/writer.rs"]
mod writer;

use looks::{digest, looks_of};

/// The projects that a child writes to, each from a thread of its own.
const PROJECTS: [&str; 2] = ["one", "two"];
/// How often one directory crashes: what it holds is compared after each crash, so it must stay small.
const CRASHES_PER_HISTORY: u64 = 10;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs as many crashes as are asked for, in several histories.
fn crash(default: u64, make: impl Fn(u64) -> History) {
    let first = number("LFSFS_CRASHES_SEED").unwrap_or(1);
    let crashes = number("LFSFS_CRASHES").unwrap_or(default);
    let (mut done, mut sum) = (0, Sum::default());
    for seed in first.. {
        let count = CRASHES_PER_HISTORY.min(crashes - done);
        if count == 0 {
            break;
        }
        let mut history = make(seed);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.run(count)));
        if let Err(panic) = ran {
            println!("the history has seed {seed}");
            std::panic::resume_unwind(panic);
        }
        done += count;
        sum.add(&history.sum);
    }
    println!("{done} crashes: {sum:?}");
    assert!(sum.acknowledged > done, "{sum:?}");
}

#[test]
fn killed_over_redb() {
    crash(20, |seed| History::killed(Engine::Redb, seed));
}

#[test]
fn killed_over_sled() {
    crash(10, |seed| History::killed(Engine::Sled, seed));
}

#[test]
fn without_power_over_redb() {
    lose_power("crashes::without_power_over_redb", 20);
}

#[test]
#[ignore = "soak: many crashes"]
fn killed_often_over_redb() {
    crash(8_000, |seed| {
        History::killed(Engine::Redb, 1_000_000 + seed)
    });
}

#[test]
#[ignore = "soak: many crashes"]
fn without_power_often_over_redb() {
    lose_power("crashes::without_power_often_over_redb", 2_000);
}

fn lose_power(test: &str, default: u64) {
    if require_loop_devices().is_err() {
        return;
    }
    let timeout = Duration::from_secs(2 * 3600);
    in_private_namespace_with(test, &NamespaceOptions { timeout }, || {
        crash(default, |seed| History::without_power(2_000_000 + seed));
    });
}

/// What came of many crashes.
#[derive(Debug, Default)]
struct Sum {
    /// Versions that the children had an answer for.
    acknowledged: u64,
    /// Versions that were there and had not been answered yet.
    unanswered: u64,
    /// Children that reached their end before it came.
    finished: u64,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.unanswered += other.unanswered;
        self.finished += other.finished;
    }
}

/// What is known of a version.
#[derive(Debug)]
struct Version {
    id: String,
    looks: String,
    /// The digest of its tree, once a process has read that.
    digest: Option<String>,
}

/// What the children said of one project.
#[derive(Debug, Default)]
struct Told {
    /// The versions from the first on.
    versions: Vec<Version>,
    /// The version that was asked for last, until there is an answer.
    asked: Option<Version>,
}

/// Where the store lies, and so how a crash comes.
enum Place {
    Directory(tempfile::TempDir),
    Disk(Box<LoopDisk>),
}

/// One store through many crashes.
struct History {
    engine: Engine,
    place: Place,
    random: Random,
    told: BTreeMap<&'static str, Told>,
    sum: Sum,
}

/// When the end of a child comes.
#[derive(Debug, Clone, Copy)]
enum End {
    /// At this operation of its store, which it counts itself.
    Operation(u64),
    /// So long after its start, which may be before it has opened the store.
    Time(Duration),
    /// So long after it said so many lines.
    Line(usize, Duration),
}

impl History {
    fn killed(engine: Engine, seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::new(engine, Place::Directory(dir), seed)
    }

    fn without_power(seed: u64) -> Self {
        let disk = LoopDisk::new(24 << 20).unwrap();
        Self::new(Engine::Redb, Place::Disk(Box::new(disk)), seed)
    }

    fn new(engine: Engine, place: Place, seed: u64) -> Self {
        let told = PROJECTS.map(|project| (project, Told::default()));
        Self {
            engine,
            place,
            random: Random(seed),
            told: told.into(),
            sum: Sum::default(),
        }
    }

    fn dir(&self) -> PathBuf {
        match &self.place {
            Place::Directory(dir) => dir.path().join("meta"),
            Place::Disk(disk) => disk.path().join("meta"),
        }
    }

    fn open(&self) -> Metadata {
        open(self.engine.open(&self.dir()).unwrap())
    }

    fn run(&mut self, crashes: u64) {
        let metadata = self.open();
        store_contents(&metadata);
        for project in PROJECTS {
            let name = ProjectName::new(project).unwrap();
            let settings = ProjectSettings::default();
            metadata.new_project(&name, settings).unwrap();
        }
        drop(metadata);
        for _ in 0..crashes {
            self.crash();
            let metadata = self.open();
            self.check(&metadata);
            self.go_on(&metadata);
        }
    }

    fn end(&mut self) -> End {
        let micros = |random: &mut Random, end| Duration::from_micros(random.below(end) as u64);
        let by_itself = matches!(self.place, Place::Directory(_));
        match self.random.below(10) {
            0..=4 if by_itself => End::Operation(1 + self.random.below(300) as u64),
            0..=1 => End::Time(micros(&mut self.random, 60_000)),
            _ => {
                let lines = 1 + self.random.below(40);
                End::Line(lines, micros(&mut self.random, 8_000))
            }
        }
    }

    /// Runs a child to its end, and notes what it said before.
    fn crash(&mut self) {
        let end = self.end();
        let mut child = self.spawn(end);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .filter_map(|line| Some(line.split_once("@ ")?.1.to_owned()));
        let mut said = Vec::new();
        match end {
            End::Operation(_) => {}
            End::Time(delay) => std::thread::sleep(delay),
            End::Line(count, delay) => {
                said.extend(lines.by_ref().take(count));
                std::thread::sleep(delay);
            }
        }
        let power = match &self.place {
            Place::Disk(disk) => {
                disk.shutdown_without_log().unwrap();
                true
            }
            Place::Directory(_) => false,
        };
        let killed = !matches!(end, End::Operation(_)) || power;
        if killed {
            child.0.kill().unwrap();
        }
        said.extend(lines);
        let status = child.0.wait().unwrap();
        assert_ended(status, power);
        self.sum.finished += u64::from(status.success());
        if let Place::Disk(disk) = &mut self.place {
            disk.remount().unwrap();
        }
        for line in said {
            self.note(&line, power);
        }
    }

    fn spawn(&mut self, end: End) -> Running {
        let at = match end {
            End::Operation(at) => at,
            _ => 0,
        };
        let config = writer::Config {
            engine: self.engine,
            seed: self.random.next(),
            at,
            batch_ops_max: [20, 60, usize::MAX, usize::MAX][self.random.below(4)],
        };
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "crashes::writer::child", "--nocapture"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if matches!(self.place, Place::Disk(_)) {
            // What a test says when its disk is gone tells nothing.
            command.stderr(Stdio::null());
        }
        config.pass_to(&mut command, &self.dir());
        Running(command.spawn().unwrap())
    }

    fn note(&mut self, line: &str, power: bool) {
        let words: Vec<_> = line.split(' ').collect();
        let told = self.told.get_mut(words[0]).unwrap();
        match words[1] {
            "ask" => told.asked = Some(Version::asked(words[2], words[3])),
            "done" => {
                told.versions.extend(told.asked.take());
                assert_eq!(words[2], told.versions.len().to_string(), "{line}");
                self.sum.acknowledged += 1;
            }
            "whole" => told.versions.last_mut().unwrap().digest = Some(words[2].to_owned()),
            "same" => told.asked = None,
            "failed" => assert!(power, "{line}"),
            _ => panic!("{line}"),
        }
    }

    /// Every version that was answered is there and whole, and at most the one that was asked for
    /// stands above them.
    fn check(&mut self, metadata: &Metadata) {
        assert_clean(metadata);
        for (name, told) in &mut self.told {
            let project = project(metadata, name);
            let head = project.head.number.0 as usize;
            let answered = told.versions.len();
            assert!(head >= answered, "{name}@v{answered} was answered: {head}");
            assert!(head <= answered + 1, "{name}@v{head} was not asked for");
            if head > answered {
                let asked = told.asked.take();
                told.versions
                    .push(asked.expect("a version that was asked for"));
                self.sum.unanswered += 1;
            }
            told.asked = None;
            for (at, version) in told.versions.iter_mut().enumerate() {
                let number = VersionNumber(at as u64 + 1);
                let record = metadata.version(project.id, number).unwrap();
                assert_eq!(record.id.to_string(), version.id, "{name}@{number}");
                version.check(&tree(metadata, &project, number));
            }
        }
    }

    /// The next commit works, and is a version like all others.
    fn go_on(&mut self, metadata: &Metadata) {
        for (name, told) in &mut self.told {
            let project = project(metadata, name);
            let id = self.random.id();
            let file = file(1 + (told.versions.len() % 2) as u8);
            let changes = vec![put(DirId::ROOT, &format!("after {}", id[0] % 2), file)];
            let published = commit_as(metadata, &project, id, changes).unwrap();
            let number = published.record.number;
            if published.is_new {
                let looks = looks_of(&tree(metadata, &project, number));
                let id = published.record.id.to_string();
                told.versions.push(Version::asked(&id, &looks));
            }
            assert_eq!(number.0 as usize, told.versions.len());
        }
    }
}

impl Version {
    fn asked(id: &str, looks: &str) -> Self {
        Self {
            id: id.to_owned(),
            looks: looks.to_owned(),
            digest: None,
        }
    }

    /// Compares the version with what it was; the first time, with what was asked for.
    fn check(&mut self, tree: &Tree) {
        assert_eq!(looks_of(tree), self.looks, "not what was asked for");
        let found = digest(tree);
        let known = self.digest.get_or_insert_with(|| found.clone());
        assert_eq!(&found, known, "not what it was");
    }
}

fn project(metadata: &Metadata, name: &str) -> Project {
    metadata.project(&ProjectName::new(name).unwrap()).unwrap()
}

fn tree(metadata: &Metadata, project: &Project, version: VersionNumber) -> Tree {
    Tree::read(metadata, project, version, 1000)
}

/// A child ends by the kill or, without a disk, by its own end; never by another signal.
fn assert_ended(status: ExitStatus, power: bool) {
    let by_kill = status.signal() == Some(9);
    let by_itself = status.code().is_some_and(|code| code == 0 || power);
    assert!(by_kill || by_itself, "{status}");
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a child finds its store.
fn dir_of_child() -> Option<PathBuf> {
    std::env::var_os(writer::DIR).map(|dir| Path::new(&dir).to_owned())
}
