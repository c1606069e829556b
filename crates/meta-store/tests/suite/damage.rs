//! Damaged files: a store opens in a state that it really had, not older than the last flush, or
//! it says what is wrong. It never panics and never makes up, loses or mixes rows silently.
//!
//! A damage that sled takes for the end of what was written may cost batches that were never
//! flushed; whole ones, from the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lfsfs_meta_store::{Batch, Engine, KeyRange, MetaError, MetaStoreExt, OpenOptions, Write};

type State = BTreeMap<Vec<u8>, Vec<u8>>;

/// How many batches are flushed, and how many there are.
const FLUSHED: usize = 60;
const BATCHES: usize = 64;

/// Some rows that stay, some that change often and some that go again.
fn batch(number: usize) -> Batch {
    let mut batch = Batch::new();
    batch.put(*b"number", number.to_be_bytes());
    for part in 0..150 {
        let mixed = (number * 150 + part).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let key = format!("row {:05}", mixed % 5000);
        if mixed.is_multiple_of(7) {
            batch.delete(key);
        } else {
            batch.put(key, format!("{number} {part} ").repeat(1 + mixed % 20));
        }
    }
    if number % 16 == 5 {
        batch.put(*b"large", number.to_be_bytes().repeat(75_000));
    }
    batch
}

fn states() -> Vec<State> {
    let mut state = State::new();
    let mut states = vec![state.clone()];
    for number in 1..=BATCHES {
        apply_to(&mut state, &batch(number));
        states.push(state.clone());
    }
    states
}

fn apply_to(state: &mut State, batch: &Batch) {
    for write in batch.writes.clone() {
        match write {
            Write::Put(key, value) => _ = state.insert(key, value),
            Write::Delete(key) => _ = state.remove(&key),
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Fills a store over two openings; with `crash` the image is taken while the store is open.
fn make_image(engine: Engine, dir: &Path, crash: bool) -> PathBuf {
    let (live, image) = (dir.join("live"), dir.join("image"));
    let mut store = engine.open(&live).unwrap();
    for number in 1..=BATCHES {
        store.write(batch(number)).unwrap();
        if number == FLUSHED || number % 10 == 0 {
            store.flush().unwrap();
        }
        if number == 20 {
            drop(store);
            store = engine.open(&live).unwrap();
        }
    }
    if crash {
        copy_tree(&live, &image);
    } else {
        drop(store);
        copy_tree(&live, &image);
    }
    image
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
    Zero(usize),
    Remove,
}

/// Damages of a file of this length: everywhere in a short one, at many places of a long one.
fn damages(len: usize) -> Vec<Damage> {
    let spread = |count: usize| {
        let step = (len / count).max(1);
        (0..len)
            .step_by(step)
            .enumerate()
            .map(move |(index, at)| (at + index % step).min(len - 1))
    };
    let mut damages = vec![Damage::Remove];
    damages.extend(spread(20).map(|at| Damage::Flip(at, 1 << (at % 8))));
    damages.extend(spread(7).map(Damage::Cut));
    damages.extend(spread(7).map(Damage::Zero));
    damages
}

fn damage_file(path: &Path, damage: Damage) {
    let mut bytes = fs::read(path).unwrap();
    match damage {
        Damage::Flip(at, mask) => bytes[at] ^= mask,
        Damage::Cut(len) => bytes.truncate(len),
        Damage::Zero(at) => {
            let end = (at + 512).min(bytes.len());
            bytes[at..end].fill(0);
        }
        Damage::Remove => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

/// Where a store looks for damage, beside the rows that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    AtOpening,
    Beside,
}

/// Returns the state that the store shows, if it opens and reads without an error.
fn open_and_read(engine: Engine, dir: &Path, check: Check) -> Result<State, MetaError> {
    let store = match check {
        Check::AtOpening => engine.open(dir)?,
        Check::Beside => {
            let check_max = 0;
            let options = OpenOptions {
                check_max,
                ..OpenOptions::default()
            };
            let store = engine.open_with(dir, options)?;
            assert!(store.verify(&|| true)?, "the check did not end");
            store
        }
    };
    let state: State = store
        .scan_all(KeyRange::all(), 500)
        .collect::<Result<_, _>>()?;
    for number in 0..5000 {
        let key = format!("row {number:05}").into_bytes();
        assert_eq!(
            store.get(&key)?.as_ref(),
            state.get(&key),
            "lost to a lookup"
        );
    }
    Ok(state)
}

fn check_damages(engine: Engine, crash: bool, check: Check) {
    let dir = tempfile::tempdir().unwrap();
    let image = make_image(engine, dir.path(), crash);
    let states = states();
    let work = dir.path().join("work");
    copy_tree(&image, &work);
    let intact = open_and_read(engine, &work, check).unwrap();
    assert!(
        states[FLUSHED..].contains(&intact),
        "the image itself must be whole"
    );
    let (mut served, mut refused) = (0, 0);
    for file in files(&image) {
        let name = file.strip_prefix(&image).unwrap();
        for damage in damages(fs::read(&file).unwrap().len()) {
            fs::remove_dir_all(&work).unwrap();
            copy_tree(&image, &work);
            damage_file(&work.join(name), damage);
            match open_and_read(engine, &work, check) {
                Ok(state) => {
                    served += 1;
                    let known = states[FLUSHED..].contains(&state);
                    assert!(known, "wrong data: {} {damage:?}", name.display());
                }
                Err(error) => {
                    refused += 1;
                    let typed = error.is_corrupt() || matches!(error, MetaError::Format { .. });
                    assert!(typed, "{} {damage:?}: {error:?}", name.display());
                }
            }
        }
    }
    assert!(
        served > 0 && refused > 0,
        "{served} served the truth, {refused} refused: the damages must reach both sides"
    );
}

#[test]
fn a_damaged_store_of_redb_that_was_closed_tells_the_truth_or_fails() {
    check_damages(Engine::Redb, false, Check::AtOpening);
}

#[test]
fn a_damaged_store_of_redb_that_crashed_tells_the_truth_or_fails() {
    check_damages(Engine::Redb, true, Check::AtOpening);
}

#[test]
fn a_damaged_store_of_redb_is_found_beside_other_calls_too() {
    check_damages(Engine::Redb, false, Check::Beside);
    check_damages(Engine::Redb, true, Check::Beside);
}

#[test]
fn a_damaged_store_of_sled_that_was_closed_tells_the_truth_or_fails() {
    check_damages(Engine::Sled, false, Check::AtOpening);
}

#[test]
fn a_damaged_store_of_sled_that_crashed_tells_the_truth_or_fails() {
    check_damages(Engine::Sled, true, Check::AtOpening);
}

/// Pages as redb writes them.
const PAGE: usize = 4096;
/// How many pages of each earlier moment are tried.
const PAGES_TRIED: usize = 12;

/// Returns where two files have different pages.
fn pages_that_differ(left: &[u8], right: &[u8]) -> Vec<usize> {
    let pages = left.chunks_exact(PAGE).zip(right.chunks_exact(PAGE));
    let differ = pages.enumerate().filter(|(_, (left, right))| left != right);
    differ.map(|(number, _)| number * PAGE).collect()
}

/// Puts pages of earlier moments of a store into it, one at a time: writes that never came to the disk.
fn check_older_pages(moments: usize, check: Check, make: impl Fn(usize) -> Batch) {
    let dir = tempfile::tempdir().unwrap();
    let (live, work) = (dir.path().join("live"), dir.path().join("work"));
    let rows = |dir: &Path| dir.join("rows.redb");
    let store = Engine::Redb.open(&live).unwrap();
    let (mut wanted, mut older) = (State::new(), Vec::new());
    for number in 1..=moments {
        let batch = make(number);
        apply_to(&mut wanted, &batch);
        store.write(batch).unwrap();
        store.flush().unwrap();
        if number % (moments / 6) == 0 {
            older.push(fs::read(rows(&live)).unwrap());
        }
    }
    drop(store);
    let whole = fs::read(rows(&live)).unwrap();
    for older in older {
        let pages = pages_that_differ(&older, &whole);
        let step = pages.len().div_ceil(PAGES_TRIED).max(1);
        for at in pages.into_iter().step_by(step) {
            let mut bytes = whole.clone();
            bytes[at..at + PAGE].copy_from_slice(&older[at..at + PAGE]);
            copy_tree(&live, &work);
            fs::write(rows(&work), &bytes).unwrap();
            let read = open_and_read(Engine::Redb, &work, check);
            fs::remove_dir_all(&work).unwrap();
            match read {
                Ok(state) => assert!(state == wanted, "wrong data: the page at {at}"),
                Err(error) => assert!(error.is_corrupt(), "the page at {at}: {error}"),
            }
        }
    }
}

fn fill_then_change_one_row(number: usize) -> Batch {
    let mut batch = Batch::new();
    if number == 1 {
        for row in 0..900 {
            batch.put(format!("row {row:05}"), vec![7; 100]);
        }
    }
    batch.put(*b"row 00450", number.to_be_bytes());
    batch
}

#[test]
fn a_page_of_an_earlier_moment_is_found() {
    check_older_pages(60, Check::AtOpening, batch);
    check_older_pages(12, Check::AtOpening, fill_then_change_one_row);
}

#[test]
fn a_page_of_an_earlier_moment_is_found_beside_other_calls_too() {
    check_older_pages(60, Check::Beside, batch);
}

/// Such a page has the same keys, and each row of it is whole.
#[test]
fn a_page_of_the_same_rows_is_found_beside_other_calls_too() {
    check_older_pages(12, Check::Beside, fill_then_change_one_row);
}

#[test]
fn files_of_an_earlier_moment_are_refused() {
    for engine in Engine::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (live, older) = (dir.path().join("live"), dir.path().join("older"));
        let store = engine.open(&live).unwrap();
        store.write(batch(1)).unwrap();
        store.flush().unwrap();
        drop(store);
        copy_tree(&live, &older);
        let store = engine.open(&live).unwrap();
        store.write(batch(2)).unwrap();
        store.flush().unwrap();
        drop(store);
        // All but the file that names the last flushed batch.
        fs::copy(live.join("flushed"), older.join("flushed")).unwrap();
        let error = engine.open(&older).unwrap_err();
        assert!(error.is_corrupt(), "{error}");
        assert!(error.to_string().contains("was flushed"), "{error}");
    }
}
