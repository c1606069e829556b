//! The bytes of an overlay, kept for ever in `golden/`.
//!
//! Every later version must read these files, and write the same bytes from the same operations: who
//! breaks one of these tests breaks the overlays of users. A new format number gets new files beside
//! the old ones. With `LFSFS_WRITE_GOLDEN=1` files that are missing are written; one that is there is
//! never changed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lfsfs_overlay::{FileRange, NewNode, Operation, Overlay, OverlayOptions, SharedContent};
use lfsfs_types::{ContentId, VersionId, Writer};
use tempfile::TempDir;

use crate::bytes::assert_same;
use crate::common::{ROOT, copy_up_root, create, options, place, root, source, time, write};
use crate::every::make;

fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(format!("{name}.hex"))
}

fn read_golden(name: &str, today: &[u8]) -> Vec<u8> {
    let path = golden_path(name);
    if !path.exists() && std::env::var_os("LFSFS_WRITE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, to_hex(today)).unwrap();
    }
    from_hex(&fs::read_to_string(&path).unwrap())
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The `source` file of an overlay whose own id is not random.
fn source_file() -> Vec<u8> {
    let source = source();
    let mut writer = Writer::new();
    writer.u8(1).raw(source.project.as_bytes());
    writer
        .varint(source.base.number.0)
        .raw(source.base.id.as_bytes());
    writer.raw(&[9; 16]);
    let bytes = writer.finish();
    let checksum = crc32c::crc32c(&bytes).to_be_bytes();
    [bytes, checksum.to_vec()].concat()
}

/// A directory with an overlay of a fixed identity and nothing in it.
fn empty() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("format"), "lfsfs overlay 1\n").unwrap();
    fs::write(dir.path().join("source"), source_file()).unwrap();
    dir
}

fn open(dir: &Path) -> Overlay {
    let fixed = OverlayOptions {
        boot: Some([8; 16]),
        ..options()
    };
    Overlay::open(dir, &source(), &fixed).unwrap()
}

fn check(dir: &Path, file: &str, golden: &str) {
    let today = fs::read(dir.join(file)).unwrap();
    let kept = read_golden(golden, &today);
    assert!(kept == today, "{golden} is written otherwise");
}

#[test]
fn the_log_is_written_and_read_as_ever() {
    let made = empty();
    let overlay = open(made.path());
    make(&overlay);
    let state = overlay.state();
    drop(overlay);
    check(made.path(), "source", "overlay-source-1");
    check(made.path(), "00000001.log", "overlay-log-1");

    let kept = empty();
    let bytes = read_golden("overlay-log-1", &[]);
    fs::write(kept.path().join("00000001.log"), bytes).unwrap();
    assert_same(
        &open(kept.path()).state(),
        &state,
        "the log is read otherwise",
    );
}

#[test]
fn numbers_are_written_and_read_as_ever() {
    let made = empty();
    let overlay = open(made.path());
    let first = [(1, Some(10)), (2, Some(20)), (u64::MAX, Some(1 << 40))];
    let later = [(2, None), (3, Some(30))];
    let mut all: HashMap<u64, u64> = first.map(|(id, ino)| (id, ino.unwrap())).into();
    overlay.keep_numbers(&first, &all).unwrap();
    all.remove(&2);
    all.insert(3, 30);
    overlay.keep_numbers(&later, &all).unwrap();
    drop(overlay);
    check(made.path(), "numbers", "overlay-numbers-1");

    let kept = empty();
    let bytes = read_golden("overlay-numbers-1", &[]);
    fs::write(kept.path().join("numbers"), bytes).unwrap();
    let (_, numbers) = Overlay::open_with_numbers(kept.path(), &source(), &options()).unwrap();
    assert_eq!(numbers, all, "numbers are read otherwise");
}

#[test]
fn a_checkpoint_is_written_and_read_as_ever() {
    let made = empty();
    let overlay = open(made.path());
    make(&overlay);
    overlay.apply(&[write(32, 3, b"in the log")]).unwrap();
    overlay.seal(VersionId([6; 16])).unwrap();
    let after = create(ROOT, "after the seal", 40, NewNode::Directory);
    overlay.apply(&[after.into()]).unwrap();
    overlay.compact().unwrap();
    let state = overlay.state();
    drop(overlay);
    check(made.path(), "current", "overlay-current-1");
    check(made.path(), "00000002.checkpoint", "overlay-checkpoint-1");

    for (file, golden) in [
        ("current", "overlay-current-1"),
        ("00000002.checkpoint", "overlay-checkpoint-1"),
    ] {
        fs::write(made.path().join(file), read_golden(golden, &[])).unwrap();
    }
    assert_same(
        &open(made.path()).state(),
        &state,
        "the checkpoint is read otherwise",
    );
}

/// What an access time adds to both.
#[test]
fn access_times_are_written_and_read_as_ever() {
    let made = empty();
    let overlay = open(made.path());
    let file = create(ROOT, "file", 10, NewNode::File);
    let set = Operation::SetAccessTime {
        ino: 10,
        atime: time(-1),
        time: time(20),
    };
    let changes = [copy_up_root(), file, set].map(Into::into);
    overlay.apply(&changes).unwrap();
    let state = overlay.state();
    let attributes = &state.inode(10).unwrap().attributes;
    assert_eq!(
        (attributes.atime, attributes.ctime),
        (Some(time(-1)), time(20))
    );
    check(made.path(), "00000001.log", "overlay-log-access-time-1");
    drop(overlay);
    let overlay = open(made.path());
    assert_same(&overlay.state(), &state, "the log is read otherwise");

    overlay.compact().unwrap();
    drop(overlay);
    let checkpoint = fs::read_dir(made.path()).unwrap().find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.ends_with(".checkpoint").then_some(name)
    });
    let golden = "overlay-checkpoint-access-time-1";
    check(made.path(), &checkpoint.unwrap(), golden);
    let overlay = open(made.path());
    assert_same(&overlay.state(), &state, "the checkpoint is read otherwise");
}

/// What uploads add to both.
#[test]
fn uploads_are_written_and_read_as_ever() {
    let made = empty();
    let overlay = open(made.path());
    let content = ContentId([7; 32]);
    let uploaded = |ino| Operation::Uploaded { ino, content }.into();
    let file = |name, ino| create(ROOT, name, ino, NewNode::File).into();
    let changes = [copy_up_root().into(), file("a", 10), file("b", 11)];
    overlay.apply(&changes).unwrap();
    overlay.apply(&[write(10, 0, b"bytes")]).unwrap();
    overlay.apply(&[write(11, 0, b"others")]).unwrap();
    overlay.apply(&[uploaded(10), uploaded(11)]).unwrap();
    overlay.apply(&[write(11, 1, b"later")]).unwrap();
    let state = overlay.state();
    let uploads = [10, 11].map(|ino| state.inode(ino).unwrap().file().unwrap().uploaded());
    assert_eq!(uploads, [Some(content), None]);
    check(made.path(), "00000001.log", "overlay-log-uploads-1");
    drop(overlay);
    let overlay = open(made.path());
    assert_same(&overlay.state(), &state, "the log is read otherwise");
    overlay.compact().unwrap();
    // The bytes lie elsewhere now.
    let state = overlay.state();
    drop(overlay);
    let checkpoint = fs::read_dir(made.path()).unwrap().find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.ends_with(".checkpoint").then_some(name)
    });
    let golden = "overlay-checkpoint-uploads-1";
    check(made.path(), &checkpoint.unwrap(), golden);
    let overlay = open(made.path());
    assert_same(&overlay.state(), &state, "the checkpoint is read otherwise");
}

/// What shared bytes add to both.
#[test]
fn shared_bytes_are_written_and_read_as_ever() {
    let made = empty();
    let overlay = open(made.path());
    let file = |name, ino| create(ROOT, name, ino, NewNode::File).into();
    let changes = [copy_up_root().into(), file("a", 10), file("b", 11)];
    overlay.apply(&changes).unwrap();
    overlay.apply(&[write(10, 2, b"bytes in the log")]).unwrap();
    let range = |ino, offset, len| FileRange { ino, offset, len };
    let content = SharedContent {
        content: ContentId([7; 32]),
        size: 100,
        base: source().base,
    };
    let (time, mode) = (time(50), Some(0o755));
    let operations = [
        Operation::Share {
            from: range(10, 1, 9),
            ino: 11,
            at: 4,
            time,
            mode: None,
        },
        Operation::ShareContent {
            content,
            from: range(11, 30, 20),
            at: 40,
            time,
            mode,
        },
    ];
    overlay.apply(&operations.map(Into::into)).unwrap();
    let state = overlay.state();
    let (offset, extent) = state
        .inode(11)
        .unwrap()
        .file()
        .unwrap()
        .shared()
        .next()
        .unwrap();
    overlay.own(11, offset, extent, b"its own").unwrap();
    let state = overlay.state();
    check(made.path(), "00000001.log", "overlay-log-shared-1");
    drop(overlay);
    let overlay = open(made.path());
    assert_same(&overlay.state(), &state, "the log is read otherwise");
    overlay.compact().unwrap();
    let state = overlay.state();
    drop(overlay);
    let checkpoint = fs::read_dir(made.path()).unwrap().find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.ends_with(".checkpoint").then_some(name)
    });
    let golden = "overlay-checkpoint-shared-1";
    check(made.path(), &checkpoint.unwrap(), golden);
    let overlay = open(made.path());
    assert_same(&overlay.state(), &state, "the checkpoint is read otherwise");
}

/// What left-out names add to both.
#[test]
fn left_out_names_are_written_and_read_as_ever() {
    let made = empty();
    let overlay = open(made.path());
    let names = vec![place(ROOT, "left-out")];
    let [first, second] = [VersionId([5; 16]), VersionId([6; 16])];
    let switch = Operation::SwitchKeeping {
        base: source().base,
        names: names.clone(),
        directories: vec![(ROOT, root().into())],
    };
    let operations = [
        copy_up_root(),
        create(ROOT, "left-out", 10, NewNode::File),
        Operation::Draft { commit: first },
        Operation::LeaveOut {
            commit: first,
            names,
        },
        Operation::Begin { commit: first },
        Operation::Aborted { commit: first },
        switch,
        Operation::Draft { commit: second },
    ];
    overlay.apply(&operations.map(Into::into)).unwrap();
    let state = overlay.state();
    check(made.path(), "00000001.log", "overlay-log-left-out-1");
    overlay.compact().unwrap();
    drop(overlay);
    let checkpoint = fs::read_dir(made.path()).unwrap().find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.ends_with(".checkpoint").then_some(name)
    });
    let golden = "overlay-checkpoint-left-out-1";
    check(made.path(), &checkpoint.unwrap(), golden);
    // A draft is given up.
    let after = open(made.path()).state();
    assert!(state.has_draft() && after.sealed_commit().is_none());
    assert_eq!(after.inode(10), state.inode(10));
}
