//! Several clerks keep ledgers: from mounts, from plain directories and with single files, while garbage is collected
//! and old versions are read.
//!
//! A ledger has a sum, and an account for each clerk. A clerk adds one to both and publishes them together. The sum is
//! the same file for all of them, so of two clerks that began at one version one has to be told of a conflict. It says
//! who was the last, since the same change on both sides is no conflict. A history is serialisable if every version adds
//! up, and no addition is lost if the last one has all that were acknowledged.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lfsfs_tests::{Mounted, Run, World, in_namespace_for};

use crate::model::number_of_environment;
use crate::support::write;

/// The ledger that four clerks share, and the one of two. The first is in a package, whose entries are one listing.
const LEDGERS: [Ledger; 2] = [
    Ledger {
        project: "busy",
        dir: "node_modules/ledger",
        clerks: 4,
    },
    Ledger {
        project: "quiet",
        dir: "ledger",
        clerks: 2,
    },
];
/// So many of the newest versions stay: a collection may remove the version that a clerk works on.
const KEEP: &str = "3";

#[derive(Debug, Clone, Copy)]
struct Ledger {
    project: &'static str,
    dir: &'static str,
    clerks: usize,
}

impl Ledger {
    fn path(self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn account(self, clerk: usize) -> String {
        self.path(&format!("account-{clerk}"))
    }

    fn accounts(self) -> impl Iterator<Item = String> {
        (0..self.clerks).map(move |clerk| self.account(clerk))
    }

    fn sum(self) -> String {
        self.path("sum")
    }

    /// Imports the first version, in which everything is zero.
    fn open(self, world: &World) {
        let tree = world.make_dir(&format!("first-{}", self.project));
        for path in self.accounts().chain([self.sum()]) {
            write(&tree.join(path), "0");
        }
        let _ = world.lfsfs(["project", "new", self.project]).ok();
        let _ = world.import(&tree, self.project);
    }

    /// Returns the sum of a version, if it has not expired, after a look at whether the version adds up.
    #[track_caller]
    fn audit(self, world: &World, version: u64) -> Option<u64> {
        let source = format!("{}@v{version}", self.project);
        let read = |path: String| {
            let run = world.lfsfs(["cat", &source, &path]);
            is_done_or(&run, 1, &["has expired"]).then(|| number(&run.stdout()))
        };
        let accounts: Vec<Option<u64>> = self.accounts().map(read).collect();
        let (accounts, sum) = (
            accounts.into_iter().sum::<Option<u64>>()?,
            read(self.sum())?,
        );
        assert_eq!(accounts, sum, "{source}");
        Some(sum)
    }

    /// Adds one to the sum and to an account, in a directory that has both.
    fn add(self, dir: &Path, clerk: usize) {
        for path in [self.sum(), self.account(clerk)] {
            let path = dir.join(path);
            let text = std::fs::read_to_string(&path).expect("a number");
            let text = format!("{} of {clerk}", number(&text) + 1);
            std::fs::write(path, text).expect("a file");
        }
    }
}

/// Returns the number that a text begins with.
fn number(text: &str) -> u64 {
    let first = text.split_whitespace().next().expect("a word");
    first.parse().expect("a number")
}

/// Returns true if a command succeeded, and false if it failed as it may.
#[track_caller]
fn is_done_or(run: &Run, code: i32, words: &[&str]) -> bool {
    if run.code() == Some(0) {
        return true;
    }
    let is_expected = run.code() == Some(code);
    let is_told = words.iter().any(|word| run.stderr().contains(word));
    assert!(is_expected && (is_told || words.is_empty()), "{run:?}");
    false
}

/// What a clerk works in.
enum Desk<'a> {
    Mount(Mounted<'a>),
    Directory(&'a World, PathBuf),
}

impl<'a> Desk<'a> {
    /// Clerks with even numbers have a mount, the others a plain directory.
    fn new(world: &'a World, ledger: Ledger, clerk: usize) -> Self {
        if clerk.is_multiple_of(2) {
            return Self::Mount(world.mount_writable(ledger.project, ""));
        }
        let dir = world.path(&format!("desk-{}-{clerk}", ledger.project));
        Self::Directory(world, dir)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Mount(mount) => mount.path(),
            Self::Directory(_, dir) => dir,
        }
    }

    /// Has the newest version, and nothing else.
    fn clear(&self, ledger: Ledger) {
        match self {
            Self::Mount(mount) => {
                let _ = mount.verb(["discard", "--yes"]).ok();
                mount.switch("latest");
            }
            Self::Directory(world, dir) => {
                let dir = dir.to_str().expect("UTF-8");
                let words = ["rebuild", ledger.project, dir, "--from-scratch", "--yes"];
                let _ = world.lfsfs(words).ok();
            }
        }
    }

    /// Returns false if the clerk has to begin again.
    fn publish(&self) -> bool {
        match self {
            Self::Mount(mount) => is_done_or(&mount.verb(["commit", "-m", "one more"]), 3, &[]),
            Self::Directory(world, dir) => {
                let run = world.lfsfs(["update".as_ref(), dir.as_os_str()]);
                let has_lost_its_base = run.code() == Some(1);
                match has_lost_its_base {
                    true => is_done_or(&run, 1, &["expired", "not the version", "does not have"]),
                    false => is_done_or(&run, 3, &[]),
                }
            }
        }
    }
}

/// One clerk's work: so many additions that were acknowledged.
fn work(world: &World, ledger: Ledger, clerk: usize, additions: u64, conflicts: &AtomicU64) {
    let desk = Desk::new(world, ledger, clerk);
    let mut left = additions;
    while left > 0 {
        desk.clear(ledger);
        ledger.add(desk.path(), clerk);
        if desk.publish() {
            left -= 1;
        } else {
            conflicts.fetch_add(1, Ordering::Relaxed);
        }
    }
    if let Desk::Mount(mount) = desk {
        mount.umount();
    }
}

fn audit_all(world: &World, is_over: &AtomicBool) {
    let mut turn = 0;
    while !is_over.load(Ordering::Relaxed) {
        for ledger in LEDGERS {
            let newest = world.head(ledger.project);
            turn += 1;
            let _ = ledger.audit(world, newest.saturating_sub(turn % 4).max(1));
        }
    }
}

fn collect(world: &World, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        let _ = world.lfsfs(["gc", "--keep", KEEP, "--grace", "0s"]).ok();
    }
}

/// Runs all clerks, each for so many additions, and checks what they leave.
fn round(world: &World, additions: u64, before: u64) {
    let (is_over, conflicts) = (AtomicBool::new(false), AtomicU64::new(0));
    let conflicts = &conflicts;
    std::thread::scope(|scope| {
        let others = [
            scope.spawn(|| audit_all(&world.another(), &is_over)),
            scope.spawn(|| collect(&world.another(), &is_over)),
        ];
        let clerks = LEDGERS.iter().flat_map(|ledger| {
            (0..ledger.clerks).map(move |clerk| {
                scope.spawn(move || {
                    work(&world.another(), *ledger, clerk, additions, conflicts);
                })
            })
        });
        let clerks: Vec<_> = clerks.collect();
        while clerks.iter().any(|clerk| !clerk.is_finished())
            && others.iter().all(|other| !other.is_finished())
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    for ledger in LEDGERS {
        let head = world.head(ledger.project);
        let sum = ledger.audit(world, head).expect("the newest version");
        let clerks = ledger.clerks as u64;
        assert_eq!(sum, (before + additions) * clerks, "{}", ledger.project);
        // One version for each addition, and none for what was told as a conflict.
        assert_eq!(head, 1 + sum, "{}", ledger.project);
    }
    let fsck = world.lfsfs(["fsck"]);
    assert_eq!(fsck.code(), Some(0), "{fsck:?}");
    assert!(
        conflicts.load(Ordering::Relaxed) > 0,
        "no clerk met another"
    );
}

fn run(rounds: u64, additions: u64) {
    let mut world = World::new();
    for ledger in LEDGERS {
        ledger.open(&world);
    }
    for done in 0..rounds {
        round(&world, additions, done * additions);
    }
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn every_version_adds_up_and_no_addition_is_lost() {
    let name = "ledger::every_version_adds_up_and_no_addition_is_lost";
    in_namespace_for(name, Duration::from_secs(180), || run(2, 4));
}

#[test]
#[ignore = "soak: many rounds"]
fn every_version_adds_up_over_many_rounds() {
    let name = "ledger::every_version_adds_up_over_many_rounds";
    in_namespace_for(name, Duration::from_secs(14_400), || {
        run(number_of_environment("LFSFS_MODEL_CASES", 20), 25);
    });
}
