//! A compaction that ends after any of its steps, or fails in one, loses nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lfsfs_overlay::{FileRange, NewNode, Operation, Overlay, OverlayOptions, State};
use tempfile::TempDir;

use crate::common::{ROOT, create, options, read, source, time, with_file, write};

type Files = BTreeMap<String, Vec<u8>>;

fn small() -> OverlayOptions {
    OverlayOptions {
        segment_len_max: 4096,
        ..options()
    }
}

fn reopen(dir: &Path) -> Overlay {
    Overlay::open(dir, &source(), &small()).unwrap()
}

fn files(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

fn put(files: &Files) -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// What must be there whatever happened: the changes and the content of two files.
fn contents(overlay: &Overlay) -> (Vec<u8>, Vec<u8>, usize) {
    (
        read(overlay, 2),
        read(overlay, 3),
        overlay.state().changes_len(),
    )
}

/// Overwrites one file so that most of the log is dead, and a little of another one in between.
fn fill(overlay: &Overlay, round: u8) {
    for at in 0..40_u8 {
        overlay
            .apply(&[write(2, 0, &[at.wrapping_add(round); 700])])
            .unwrap();
        if at % 8 == 0 {
            let offset = u64::from(round) * 100 + u64::from(at);
            overlay.apply(&[write(3, offset, &[at; 8])]).unwrap();
        }
    }
}

/// Returns every directory that a compaction may leave between the two, in its order of steps.
fn images(before: &Files, after: &Files) -> Vec<(String, Files)> {
    let is_new = |name: &&String| !before.contains_key(*name);
    let mut image = before.clone();
    // Appends come first: what was moved, and new segments.
    for (name, bytes) in after.iter().filter(|it| it.0.ends_with(".log")) {
        image.insert(name.clone(), bytes.clone());
    }
    let mut images = vec![("segments".to_owned(), image.clone())];
    let checkpoint = after
        .keys()
        .filter(is_new)
        .find(|name| name.ends_with(".checkpoint"))
        .unwrap();
    let bytes = &after[checkpoint];
    for len in (0..bytes.len()).step_by(7) {
        image.insert(checkpoint.clone(), bytes[..len].to_vec());
        images.push((format!("{len} bytes of the checkpoint"), image.clone()));
    }
    image.insert(checkpoint.clone(), bytes.clone());
    images.push(("checkpoint".to_owned(), image.clone()));
    image.insert("current".to_owned(), after["current"].clone());
    images.push(("current".to_owned(), image.clone()));
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        image.remove(name);
        images.push((format!("{name} removed"), image.clone()));
    }
    images
}

#[test]
fn a_compaction_that_ends_after_any_step_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(with_file(dir.path()));
    let overlay = reopen(dir.path());
    let other = create(ROOT, "other", 3, NewNode::File);
    overlay.apply(&[other.into()]).unwrap();
    drop(overlay);
    // The second time there is a checkpoint already.
    for round in 0..2 {
        let overlay = reopen(dir.path());
        fill(&overlay, round);
        let expected = contents(&overlay);
        let before = files(dir.path());
        let report = overlay.compact().unwrap();
        assert!(
            report.moved_bytes > 0 && report.segments_removed > 0,
            "{report:?}"
        );
        drop(overlay);
        let images = images(&before, &files(dir.path()));
        assert!(images.len() > 10);
        for (step, image) in images {
            check_image(&image, &expected, &format!("round {round}: {step}"));
        }
    }
}

fn check_image(image: &Files, expected: &(Vec<u8>, Vec<u8>, usize), step: &str) {
    let dir = put(image);
    let overlay = reopen(dir.path());
    assert!(contents(&overlay) == *expected, "{step}");
    // It goes on: more changes, another compaction, another start.
    overlay.apply(&[write(3, 5000, b"more")]).unwrap();
    overlay.compact().unwrap();
    let state: State = overlay.state();
    drop(overlay);
    let overlay = reopen(dir.path());
    assert!(overlay.state() == state, "{step}, again");
    assert_eq!(&read(&overlay, 3)[5000..], b"more", "{step}");
}

#[test]
fn a_compaction_that_fails_in_a_step_changes_nothing_and_works_later() {
    let dir = tempfile::tempdir().unwrap();
    drop(with_file(dir.path()));
    let overlay = reopen(dir.path());
    let other = create(ROOT, "other", 3, NewNode::File);
    overlay.apply(&[other.into()]).unwrap();
    fill(&overlay, 0);
    let expected = contents(&overlay);
    // Whatever numbers come next, a checkpoint of that name cannot be made.
    let obstacles: Vec<_> = (1..100)
        .map(|number| dir.path().join(format!("{number:08}.checkpoint")))
        .collect();
    obstacles
        .iter()
        .for_each(|path| fs::write(path, "").unwrap());
    overlay.compact().unwrap_err();
    assert!(contents(&overlay) == expected, "no checkpoint");
    obstacles
        .iter()
        .for_each(|path| fs::remove_file(path).unwrap_or(()));

    let current = dir.path().join("current");
    fs::create_dir(&current).unwrap();
    fs::write(current.join("in the way"), "").unwrap();
    overlay.compact().unwrap_err();
    assert!(contents(&overlay) == expected, "not made current");
    overlay.apply(&[write(3, 5000, b"more")]).unwrap();
    fs::remove_dir_all(&current).unwrap();

    let state = overlay.state();
    drop(overlay);
    let overlay = reopen(dir.path());
    assert!(overlay.state() == state, "the leftovers were swept");
    assert!(overlay.compact().unwrap().segments_removed > 0);
    assert_eq!(&read(&overlay, 3)[5000..], b"more");
}

/// Makes a file, inode `to`, that shares a range of another one.
fn share(overlay: &Overlay, (from, offset, len): (u64, u64, u64), to: u64) {
    let file = create(ROOT, &format!("file {to}"), to, NewNode::File);
    let share = Operation::Share {
        from: FileRange {
            ino: from,
            offset,
            len,
        },
        ino: to,
        at: 0,
        time: time(20),
        mode: None,
    };
    overlay.apply(&[file.into(), share.into()]).unwrap();
}

#[test]
fn shared_bytes_are_moved_once_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(with_file(dir.path()));
    let overlay = reopen(dir.path());
    let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
    overlay.apply(&[write(2, 0, &bytes)]).unwrap();
    // All of it, parts that lie in each other, and one beyond the end of those.
    let parts = [(0, 1000), (100, 500), (200, 100), (600, 400)];
    for (to, (offset, len)) in (10..).zip(parts) {
        share(&overlay, (2, offset, len), to);
    }
    let used = overlay.stats().unwrap().content_bytes;
    assert_eq!(
        used,
        1000 + 1000 + 500 + 100 + 400,
        "each file's are counted"
    );
    // The one that had them first goes on without them, and the segments around them are dead.
    for round in 0..40 {
        overlay.apply(&[write(2, 0, &[round; 1000])]).unwrap();
    }
    let check = |overlay: &Overlay| {
        for (to, (offset, len)) in (10..).zip(parts) {
            let range = usize::try_from(offset).unwrap()..usize::try_from(offset + len).unwrap();
            assert_eq!(read(overlay, to), bytes[range]);
        }
    };
    let report = overlay.compact().unwrap();
    assert!(report.segments_removed > 5, "{report:?}");
    assert!(report.moved_bytes <= 2000, "{report:?}");
    check(&overlay);
    drop(overlay);
    let overlay = reopen(dir.path());
    check(&overlay);
    // It is the same after a second one, which has nothing to move.
    assert_eq!(overlay.compact().unwrap().moved_bytes, 0);
    check(&overlay);
}
