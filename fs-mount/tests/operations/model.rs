//! Random requests of the in-memory transport and the same system calls on a local directory: equal
//! answers, equal error numbers, and equal trees after each, through remounts.
//!
//! `LFSFS_MODEL_CASES` sets how many sequences are tried. A sequence that fails is made shorter and
//! printed. Owners and devices need root; without it there is nothing to compare.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rustix::io::Errno;

mod base;
mod local;
mod ours;

use self::local::Local;
use self::ours::Ours;

const CASES_DEFAULT: u32 = 300;

/// One call. Paths are relative to the root.
#[derive(Debug, Clone)]
enum Step {
    Create(String, u16, bool),
    Mkdir(String, u16),
    Symlink(String),
    Mknod(String, Special),
    Link(String, String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, Rename),
    Write(String, u64, u32),
    Read(String, u64, u32),
    Truncate(String, u64),
    Fallocate(String, u64, u64, Fallocate),
    Copy(String, u64, String, u64, u32),
    Chmod(String, u16),
    Chown(String, Option<u32>, Option<u32>),
    Utimes(String, i64),
    SetXattr(String, usize, u8, Xattr),
    RemoveXattr(String, usize),
    Xattrs(String),
    Readlink(String),
    Open(String, usize),
    HandleWrite(usize, u64, u32),
    HandleRead(usize, u64, u32),
    HandleTruncate(usize, u64),
    HandleStat(usize),
    Close(usize),
    Sync,
    Remount,
}

#[derive(Debug, Clone, Copy)]
enum Special {
    Fifo,
    Socket,
    Null,
}

#[derive(Debug, Clone, Copy)]
enum Rename {
    Replace,
    NoReplace,
    Exchange,
}

#[derive(Debug, Clone, Copy)]
enum Fallocate {
    Extend,
    KeepSize,
    PunchHole,
    ZeroRange,
    ZeroRangeKeepSize,
}

#[derive(Debug, Clone, Copy)]
enum Xattr {
    Set,
    Create,
    Replace,
}

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Done,
    Bytes(Vec<u8>),
    Names(Vec<(String, Vec<u8>)>),
    /// Size, names, mode.
    Stat(u64, u32, u16),
}

type Outcome = Result<Value, Errno>;

/// What is seen of an object by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// Numbers differ, but an object must keep its own.
    ino: u64,
    kind: char,
    mode: u16,
    uid: u32,
    gid: u32,
    /// 0 for directories.
    size: u64,
    /// 1 for directories.
    nlink: u32,
    rdev: u32,
    mtime: (i64, u32),
    ctime: (i64, u32),
}

type Tree = BTreeMap<String, Seen>;

/// Times below this were set by a test; others come from a clock.
const CLOCK_FROM: i64 = 1_500_000_000;

/// What of an object can be compared: clocks differ, so of their times only whether they changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparable {
    seen: Seen,
    /// The same object as before had this path.
    was_here: bool,
    mtime_changed: Option<bool>,
    ctime_changed: Option<bool>,
}

fn comparable(before: &Tree, now: &Tree) -> BTreeMap<String, Comparable> {
    let by_number: BTreeMap<u64, &Seen> = before.values().map(|seen| (seen.ino, seen)).collect();
    let compare = |(path, seen): (&String, &Seen)| {
        let old = by_number.get(&seen.ino);
        let mut plain = seen.clone();
        (plain.ino, plain.ctime) = (0, (0, 0));
        if plain.mtime.0 >= CLOCK_FROM {
            plain.mtime = (CLOCK_FROM, 0);
        }
        let comparable = Comparable {
            seen: plain,
            was_here: before.get(path).is_some_and(|old| old.ino == seen.ino),
            mtime_changed: old.map(|old| old.mtime != seen.mtime),
            ctime_changed: old.map(|old| old.ctime != seen.ctime),
        };
        (path.clone(), comparable)
    };
    now.iter().map(compare).collect()
}

/// Returns what differs by path: ours, then the local one.
fn differences<T: PartialEq + Clone>(
    ours: &BTreeMap<String, T>,
    local: &BTreeMap<String, T>,
) -> BTreeMap<String, (Option<T>, Option<T>)> {
    let paths = ours.keys().chain(local.keys());
    let pairs = paths.map(|path| {
        (
            path.clone(),
            (ours.get(path).cloned(), local.get(path).cloned()),
        )
    });
    pairs.filter(|(_, (ours, local))| ours != local).collect()
}

fn path() -> impl Strategy<Value = String> {
    let part = || prop_oneof![Just("a"), Just("b"), Just("c"), Just("d")];
    prop_oneof![
        4 => part().prop_map(str::to_owned),
        5 => (part(), part()).prop_map(|(a, b)| format!("{a}/{b}")),
        2 => (part(), part(), part()).prop_map(|(a, b, c)| format!("{a}/{b}/{c}")),
    ]
}

fn mode() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0..0o1000_u16, 1 => 0..0o10000_u16]
}

fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..5000_u64, 1 => 0..4_000_000_u64]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..5000_u32, 1 => 0..400_000_u32]
}

fn names() -> impl Strategy<Value = Step> {
    let special = prop_oneof![
        Just(Special::Fifo),
        Just(Special::Socket),
        Just(Special::Null)
    ];
    let rename = prop_oneof![
        6 => Just(Rename::Replace),
        1 => Just(Rename::NoReplace),
        2 => Just(Rename::Exchange)
    ];
    prop_oneof![
        4 => (path(), mode(), any::<bool>()).prop_map(|(a, b, c)| Step::Create(a, b, c)),
        5 => (path(), mode()).prop_map(|(a, b)| Step::Mkdir(a, b)),
        2 => path().prop_map(Step::Symlink),
        1 => (path(), special).prop_map(|(a, b)| Step::Mknod(a, b)),
        4 => (path(), path()).prop_map(|(a, b)| Step::Link(a, b)),
        5 => path().prop_map(Step::Unlink),
        5 => path().prop_map(Step::Rmdir),
        12 => (path(), path(), rename).prop_map(|(a, b, c)| Step::Rename(a, b, c)),
    ]
}

fn contents() -> impl Strategy<Value = Step> {
    let fallocate = prop_oneof![
        Just(Fallocate::Extend),
        Just(Fallocate::KeepSize),
        Just(Fallocate::PunchHole),
        Just(Fallocate::ZeroRange),
        Just(Fallocate::ZeroRangeKeepSize)
    ];
    let range = || (path(), offset(), length());
    prop_oneof![
        6 => range().prop_map(|(a, b, c)| Step::Write(a, b, c)),
        4 => range().prop_map(|(a, b, c)| Step::Read(a, b, c)),
        4 => (path(), offset()).prop_map(|(a, b)| Step::Truncate(a, b)),
        3 => (range(), fallocate)
            .prop_map(|((a, b, c), d)| Step::Fallocate(a, b, u64::from(c), d)),
        4 => (range(), path(), offset())
            .prop_map(|((a, b, len), c, d)| Step::Copy(a, b, c, d, len)),
        1 => path().prop_map(Step::Readlink),
    ]
}

fn attributes() -> impl Strategy<Value = Step> {
    let id = || prop::option::of(0..3_u32);
    let xattr =
        prop_oneof![3 => Just(Xattr::Set), 1 => Just(Xattr::Create), 1 => Just(Xattr::Replace)];
    prop_oneof![
        3 => (path(), mode()).prop_map(|(a, b)| Step::Chmod(a, b)),
        3 => (path(), id(), id()).prop_map(|(a, b, c)| Step::Chown(a, b, c)),
        2 => (path(), 0..1_000_000_i64).prop_map(|(a, b)| Step::Utimes(a, b)),
        3 => (path(), 0..3_usize, any::<u8>(), xattr)
            .prop_map(|(a, b, c, d)| Step::SetXattr(a, b, c, d)),
        1 => (path(), 0..3_usize).prop_map(|(a, b)| Step::RemoveXattr(a, b)),
        1 => path().prop_map(Step::Xattrs),
    ]
}

fn handles() -> impl Strategy<Value = Step> {
    let range = || (0..3_usize, offset(), length());
    prop_oneof![
        5 => (path(), 0..3_usize).prop_map(|(a, b)| Step::Open(a, b)),
        3 => range().prop_map(|(a, b, c)| Step::HandleWrite(a, b, c)),
        3 => range().prop_map(|(a, b, c)| Step::HandleRead(a, b, c)),
        2 => (0..3_usize, offset()).prop_map(|(a, b)| Step::HandleTruncate(a, b)),
        2 => (0..3_usize).prop_map(Step::HandleStat),
        1 => (0..3_usize).prop_map(Step::Close),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => names(),
        6 => contents(),
        4 => attributes(),
        4 => handles(),
        1 => prop_oneof![Just(Step::Sync), Just(Step::Remount)],
    ]
}

fn run(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut local = Local::new();
        let mut ours = Ours::new().await;
        let (mut local_before, mut ours_before) = (local.tree(), ours.tree().await);
        for (index, step) in steps.iter().enumerate() {
            let seed = index as u64;
            let (expected, answer) = (local.step(step, seed), ours.step(step, seed).await);
            assert_eq!(
                answer, expected,
                "step {index}, {step:?}: ours, then the local one"
            );
            let (local_now, ours_now) = (local.tree(), ours.tree().await);
            let expected = comparable(&local_before, &local_now);
            let found = comparable(&ours_before, &ours_now);
            let different = differences(&found, &expected);
            assert!(
                different.is_empty(),
                "step {index}, {step:?}: {different:?}"
            );
            (local_before, ours_before) = (local_now, ours_now);
        }
        for step in [Step::Remount, Step::Sync] {
            ours.step(&step, 0).await.unwrap();
            let tree = ours.tree().await;
            assert_eq!(tree, ours_before, "a remount changed the tree");
            for (path, seen) in tree.iter().filter(|it| it.1.kind == 'f') {
                let whole = u32::try_from(seen.size).unwrap();
                let read = Step::Read(path.clone(), 0, whole);
                assert_eq!(
                    ours.step(&read, 0).await,
                    local.step(&read, 0),
                    "content of {path}"
                );
                let list = Step::Xattrs(path.clone());
                assert_eq!(
                    ours.step(&list, 0).await,
                    local.step(&list, 0),
                    "attributes of {path}"
                );
            }
        }
    });
}

#[test]
fn a_writable_version_does_what_a_local_directory_does() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: owners and devices need root");
        return;
    }
    let cases = std::env::var("LFSFS_MODEL_CASES").ok();
    let cases = cases.map_or(CASES_DEFAULT, |it| {
        it.parse().expect("LFSFS_MODEL_CASES is a number")
    });
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..50))| run(&steps));
}
