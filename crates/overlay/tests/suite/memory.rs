//! What a change costs in memory, measured in a process of its own.

use std::env;
use std::fs;
use std::process::Command;

use lfsfs_overlay::{BaseObject, NewNode, Operation, Overlay};
use lfsfs_types::{ContentId, DirId, Kind};

use crate::common::{ROOT, copy_up_root, create, name, open, record, write};

const FILES: &str = "LFSFS_OVERLAY_TEST_FILES";
const NEW: u64 = 1_000_000;
const OLD: u64 = 2_000_000;
/// Files of one directory.
const PER_DIRECTORY: u64 = 50;
/// More than this would be too much for a file that is made: a million below 512 MB.
const NEW_BYTES_MAX: u64 = 512;
/// The same for one of the base that is changed, with all that the base says of it.
const CHANGED_BYTES_MAX: u64 = 1536;

/// Not a test of its own: what the measured process runs. Prints bytes for each new file, and for
/// each file of the base of which some bytes were written.
#[test]
fn measured_process() {
    let Some(files) = env::var(FILES).ok().and_then(|it| it.parse().ok()) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let overlay = open(dir.path());
    overlay.apply(&[copy_up_root().into()]).unwrap();
    let before = resident();
    (0..files).for_each(|file| make(&overlay, file));
    let made = resident();
    (0..files).for_each(|file| change(&overlay, file));
    let changed = resident();
    println!(
        "new {} changed {}",
        (made - before) / files,
        (changed - made) / files
    );
}

fn make(overlay: &Overlay, file: u64) {
    let directory = NEW * 10 + file / PER_DIRECTORY;
    if file.is_multiple_of(PER_DIRECTORY) {
        let name = format!("directory {directory}");
        let made = create(ROOT, &name, directory, NewNode::Directory);
        overlay.apply(&[made.into()]).unwrap();
    }
    let made = create(
        directory,
        &format!("file-{file}.js"),
        NEW + file,
        NewNode::File,
    );
    overlay.apply(&[made.into()]).unwrap();
    overlay.apply(&[write(NEW + file, 0, b"content")]).unwrap();
}

fn change(overlay: &Overlay, file: u64) {
    let content = ContentId([u8::try_from(file % 256).unwrap(); 32]);
    let base = BaseObject {
        directory: DirId(10 + file / PER_DIRECTORY),
        name: Some(name(&format!("file-{file}.js"))),
        record: record(Kind::File {
            size: 5000,
            content,
        }),
    };
    let (ino, base) = (OLD + file, base.into());
    overlay
        .apply(&[
            Operation::CopyUp { ino, base }.into(),
            write(ino, 7, b"here"),
        ])
        .unwrap();
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
    kibibytes.unwrap().parse::<u64>().unwrap() * 1024
}

/// Returns what a new and a changed file cost, with this many of each.
fn measure(files: u64) -> (u64, u64) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "memory::measured_process", "--nocapture"])
        .env(FILES, files.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace();
    let mut after = |word| {
        words.find(|it| *it == word).expect(&text);
        words.next().unwrap().parse().unwrap()
    };
    (after("new"), after("changed"))
}

#[track_caller]
fn assert_within_bounds(new: u64, changed: u64) {
    assert!(new < NEW_BYTES_MAX, "{new} bytes of a new file");
    assert!(
        changed < CHANGED_BYTES_MAX,
        "{changed} bytes of a changed file"
    );
}

#[test]
fn a_new_file_costs_less_than_half_a_kilobyte() {
    let (new, changed) = measure(10_000);
    println!("bytes of a new file {new}, of a changed one {changed}");
    assert_within_bounds(new, changed);
}

#[test]
#[ignore = "soak: figures for 100,000 files of each kind"]
fn figures_of_100_000_files() {
    let (new, changed) = measure(100_000);
    println!("bytes of a new file {new}, of a changed one {changed}");
    assert_within_bounds(new, changed);
}
