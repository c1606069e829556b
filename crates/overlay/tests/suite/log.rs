//! What a damaged, foreign or busy log does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lfsfs_overlay::{NewNode, Overlay, OverlayError, OverlayOptions, ProjectBase};
use lfsfs_types::{ProjectId, VersionNumber};

use crate::common::{ROOT, create, open, options, read, source, try_read, with_file, write};

fn segment(dir: &Path) -> PathBuf {
    dir.join("00000001.log")
}

fn error_of(dir: &Path, source: &ProjectBase, options: &OverlayOptions) -> OverlayError {
    Overlay::open(dir, source, options).unwrap_err()
}

#[test]
fn a_log_cut_anywhere_in_its_last_records_keeps_everything_before() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = with_file(dir.path());
    let mut ends = Vec::new();
    for number in 0..4_u8 {
        overlay
            .apply(&[write(2, u64::from(number) * 20, &[number + 1; 20])])
            .unwrap();
        ends.push(fs::metadata(segment(dir.path())).unwrap().len());
    }
    drop(overlay);
    let whole = fs::read(segment(dir.path())).unwrap();
    for len in ends[0]..=ends[3] {
        let cut = tempfile::tempdir().unwrap();
        for file in ["format", "source"] {
            fs::copy(dir.path().join(file), cut.path().join(file)).unwrap();
        }
        fs::write(segment(cut.path()), &whole[..usize::try_from(len).unwrap()]).unwrap();
        let overlay = open(cut.path());
        let kept = ends.iter().filter(|end| **end <= len).count();
        let expected: Vec<u8> = whole_content(kept);
        assert_eq!(read(&overlay, 2), expected, "cut at {len}");
        // The log goes on, and is whole the next time.
        overlay.apply(&[write(2, 0, b"again")]).unwrap();
        drop(overlay);
        assert_eq!(&read(&open(cut.path()), 2)[..5], b"again", "cut at {len}");
    }
}

fn whole_content(records: usize) -> Vec<u8> {
    (0..records)
        .flat_map(|number| vec![u8::try_from(number).unwrap() + 1; 20])
        .collect()
}

#[test]
fn a_flipped_bit_before_the_end_is_an_error_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = with_file(dir.path());
    let start = fs::metadata(segment(dir.path())).unwrap().len();
    overlay.apply(&[write(2, 0, &[1; 30])]).unwrap();
    let end = fs::metadata(segment(dir.path())).unwrap().len();
    overlay.apply(&[write(2, 30, &[2; 30])]).unwrap();
    drop(overlay);
    let whole = fs::read(segment(dir.path())).unwrap();
    for byte in start..end {
        let mut bad = whole.clone();
        bad[usize::try_from(byte).unwrap()] ^= 4;
        fs::write(segment(dir.path()), &bad).unwrap();
        match error_of(dir.path(), &source(), &options()) {
            OverlayError::Damaged { path, position, .. } => {
                assert_eq!(
                    (path, position),
                    (segment(dir.path()), start),
                    "byte {byte}"
                );
            }
            error => panic!("byte {byte}: {error}"),
        }
        assert_eq!(
            fs::read(segment(dir.path())).unwrap(),
            bad,
            "nothing may be cut off"
        );
    }
}

#[test]
fn a_bit_that_flips_while_the_overlay_is_open_is_an_error_to_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = with_file(dir.path());
    overlay.apply(&[write(2, 0, &[1; 30])]).unwrap();
    let mut bytes = fs::read(segment(dir.path())).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(segment(dir.path()), bytes).unwrap();
    assert!(matches!(
        try_read(&overlay, 2),
        Err(OverlayError::Damaged { .. })
    ));
}

#[test]
fn after_a_power_loss_only_what_was_synced_must_be_whole() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = with_file(dir.path());
    overlay.apply(&[write(2, 0, &[1; 30])]).unwrap();
    let synced = fs::metadata(segment(dir.path())).unwrap().len();
    overlay.sync().unwrap();
    overlay.apply(&[write(2, 30, &[2; 30])]).unwrap();
    let unsynced = fs::metadata(segment(dir.path())).unwrap().len();
    overlay.apply(&[write(2, 60, &[3; 30])]).unwrap();
    drop(overlay);
    let booted = OverlayOptions {
        boot: Some([9; 16]),
        ..options()
    };
    let whole = fs::read(segment(dir.path())).unwrap();
    let flip = |at: u64| {
        let mut bad = whole.clone();
        bad[usize::try_from(at).unwrap() - 1] ^= 1;
        fs::write(segment(dir.path()), bad).unwrap();
    };
    flip(synced);
    let error = error_of(dir.path(), &source(), &booted);
    assert!(matches!(error, OverlayError::Damaged { .. }), "{error}");
    flip(unsynced);
    let overlay = Overlay::open(dir.path(), &source(), &booted).unwrap();
    assert_eq!(read(&overlay, 2), [1; 30]);
}

#[test]
fn others_logs_are_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = with_file(dir.path());
    assert!(matches!(
        error_of(dir.path(), &source(), &options()),
        OverlayError::InUse { .. }
    ));
    drop(overlay);
    let other = ProjectBase {
        project: ProjectId([9; 16]),
        ..source()
    };
    let error = error_of(dir.path(), &other, &options());
    assert!(matches!(error, OverlayError::OtherProject { .. }));
    let mut other = source();
    other.base.number = VersionNumber(8);
    let error = error_of(dir.path(), &other, &options());
    assert!(error.to_string().contains("commit or discard"), "{error}");
    fs::write(dir.path().join("format"), "lfsfs overlay 2\n").unwrap();
    let error = error_of(dir.path(), &source(), &options());
    assert!(matches!(error, OverlayError::OtherFormat { .. }));
    let text = error.to_string();
    assert!(
        text.contains("lfsfs overlay 2") && text.contains("use the program that made it"),
        "{text}"
    );
}

#[test]
fn an_opener_waits_for_the_lock_and_names_the_overlay_that_stays_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = with_file(dir.path());
    let waiting = |millis| OverlayOptions {
        lock_wait: Duration::from_millis(millis),
        ..options()
    };
    let start = Instant::now();
    let error = error_of(dir.path(), &source(), &waiting(150));
    assert!(start.elapsed() >= Duration::from_millis(150));
    let path = dir.path().display().to_string();
    assert!(error.to_string().contains(&path), "{error}");
    let opened = std::thread::scope(|scope| {
        let open = scope.spawn(|| Overlay::open(dir.path(), &source(), &waiting(60_000)));
        std::thread::sleep(Duration::from_millis(100));
        drop(overlay);
        open.join().unwrap()
    });
    assert_eq!(opened.unwrap().state().changes_len(), 1);
}

#[test]
fn an_overlay_without_changes_takes_another_base() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let mut other = source();
    other.base.number = VersionNumber(8);
    let overlay = Overlay::open(dir.path(), &other, &options()).unwrap();
    assert_eq!(overlay.state().base(), other.base);
}

#[test]
fn compaction_gives_space_back_and_old_views_stay_readable() {
    let dir = tempfile::tempdir().unwrap();
    let small = OverlayOptions {
        segment_len_max: 64 * 1024,
        ..options()
    };
    drop(with_file(dir.path()));
    let overlay = Overlay::open(dir.path(), &source(), &small).unwrap();
    for round in 0..100_u8 {
        overlay.apply(&[write(2, 0, &[round; 10_000])]).unwrap();
    }
    overlay
        .apply(&[create(ROOT, "other", 3, NewNode::File).into()])
        .unwrap();
    let (view, before) = (overlay.view(), overlay.stats().unwrap());
    let report = overlay.compact().unwrap();
    let after = overlay.stats().unwrap();
    assert!(report.segments_removed > 10, "{report:?}");
    assert!(
        after.segment_bytes < before.segment_bytes / 10,
        "{before:?} {after:?}"
    );
    assert_eq!(
        crate::base::read(&view, 2, |_| Vec::new()).unwrap(),
        [99; 10_000]
    );
    drop(overlay);
    assert_eq!(read(&open(dir.path()), 2), [99; 10_000]);
}

/// Roughly how much an append costs; prints, asserts nothing.
#[test]
#[ignore = "soak: figures only"]
fn appends_per_second() {
    let dir = tempfile::tempdir().unwrap();
    let overlay = with_file(dir.path());
    let data = [7; 4096];
    let count = 50_000_u64;
    let start = std::time::Instant::now();
    for at in 0..count {
        overlay.apply(&[write(2, at * 4096, &data)]).unwrap();
    }
    let writes = count * 1000 / u64::try_from(start.elapsed().as_millis()).unwrap();
    let start = std::time::Instant::now();
    for ino in 0..count {
        let file = create(ROOT, &format!("file {ino}"), 100 + ino, NewNode::File);
        overlay.apply(&[file.into()]).unwrap();
    }
    let creates = count * 1000 / u64::try_from(start.elapsed().as_millis()).unwrap();
    println!("writes of 4 KiB: {writes}/s, creates: {creates}/s");
    let start = std::time::Instant::now();
    let report = overlay.compact().unwrap();
    println!("compaction: {:?} {report:?}", start.elapsed());
    drop(overlay);
    let start = std::time::Instant::now();
    open(dir.path());
    println!("open: {:?}", start.elapsed());
}

#[test]
fn changes_keep_to_a_limit_and_what_takes_nothing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    drop(with_file(dir.path()));
    let limited = OverlayOptions {
        size_max: Some(1_000),
        ..options()
    };
    let overlay = Overlay::open(dir.path(), &source(), &limited).unwrap();
    let room = overlay.room().unwrap();
    assert!((300..900).contains(&room), "objects count: {room}");
    overlay.apply(&[write(2, 0, &[1; 300])]).unwrap();
    assert_eq!(overlay.room(), Some(room - 300));

    let too_long = overlay.apply(&[write(2, 100, &[2; 900])]).unwrap_err();
    assert!(
        matches!(too_long, OverlayError::SizeLimit { len_max: 1_000 }),
        "{too_long}"
    );
    assert_eq!(read(&overlay, 2), [1; 300], "nothing of it was written");
    overlay.apply(&[write(2, 0, &[3; 300])]).unwrap();
    assert_eq!(read(&overlay, 2), [3; 300], "other bytes in the same place");
    drop(overlay);

    // A limit below what is there refuses more, and nothing else.
    let limited = OverlayOptions {
        size_max: Some(1),
        ..options()
    };
    let overlay = Overlay::open(dir.path(), &source(), &limited).unwrap();
    assert_eq!(overlay.room(), Some(0));
    let more = overlay.apply(&[create(ROOT, "b", 3, NewNode::File).into()]);
    assert!(matches!(more, Err(OverlayError::SizeLimit { .. })));
    assert_eq!(read(&overlay, 2), [3; 300]);
}
