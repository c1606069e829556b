//! What a queue keeps over restarts: how often files failed, which were set aside, and whether it is paused.
//!
//! A note that is wrong or lost costs an attempt too many or a pause too few, so a database that cannot be used is
//! emptied, and one that cannot be written is left alone.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lfsfs_common::full_text;
use lfsfs_meta_store::{Batch, KeyRange, MetaError, MetaStore, MetaStoreExt as _, SledStore};

use crate::uploader::FileId;

const PAUSED: &[u8] = b"p";
const FILE: u8 = b'f';
/// Rows of one batch, and of one scan.
const ROWS_AT_ONCE: usize = 500;

/// What is kept of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) file: FileId,
    pub(crate) tries: u32,
    /// Why it was set aside, if it was.
    pub(crate) failed: Option<String>,
}

/// The database, which is made when there is something to keep.
#[derive(Debug)]
pub(crate) struct Notes {
    dir: PathBuf,
    store: Option<SledStore>,
    /// Files that have a row.
    noted: HashSet<FileId>,
}

/// What a database had when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) is_paused: bool,
    pub(crate) notes: Vec<Note>,
}

impl Notes {
    /// Opens the database in `dir`, if there is one. Blocks.
    pub(crate) fn open(dir: &Path) -> (Self, Kept) {
        let mut notes = Self {
            dir: dir.to_owned(),
            store: None,
            noted: HashSet::new(),
        };
        if !dir.exists() {
            return (notes, Kept::default());
        }
        let kept = notes.read().unwrap_or_else(|error| {
            notes.empty(&error);
            Kept::default()
        });
        notes.noted = kept.notes.iter().map(|note| note.file).collect();
        (notes, kept)
    }

    /// Keeps what became of files; a note without tries takes the row of its file away. It is durable on return.
    pub(crate) fn keep(&mut self, notes: &[Note]) {
        let is_needed = |note: &&Note| note.tries > 0 || self.noted.contains(&note.file);
        let needed: Vec<Note> = notes.iter().filter(is_needed).cloned().collect();
        for part in needed.chunks(ROWS_AT_ONCE) {
            let mut batch = Batch::new();
            for note in part {
                if note.tries > 0 {
                    batch.put(key(note.file), encode(note));
                    self.noted.insert(note.file);
                } else {
                    batch.delete(key(note.file));
                    self.noted.remove(&note.file);
                }
            }
            self.apply(batch);
        }
    }

    /// Keeps whether the queue is paused. It is durable on return.
    pub(crate) fn keep_paused(&mut self, is_paused: bool) {
        let mut batch = Batch::new();
        if is_paused {
            batch.put(PAUSED, [1]);
        } else {
            batch.delete(PAUSED);
        }
        self.apply(batch);
    }

    fn read(&mut self) -> Result<Kept, MetaError> {
        let store = self.store()?;
        let is_paused = store.get(PAUSED)?.is_some();
        let mut notes = Vec::new();
        let mut range = KeyRange::prefix(&[FILE]);
        loop {
            let found = store.scan(range.clone(), ROWS_AT_ONCE)?;
            notes.extend(
                found
                    .rows
                    .iter()
                    .filter_map(|(key, value)| decode(key, value)),
            );
            match found.rows.last() {
                Some((last, _)) if found.more => range = range.beyond(last, false),
                _ => return Ok(Kept { is_paused, notes }),
            }
        }
    }

    fn apply(&mut self, batch: Batch) {
        let made = self.store().and_then(|store| {
            // It has no preconditions.
            let _ = store.apply(batch)?;
            store.flush()
        });
        if let Err(error) = made {
            tracing::warn!(
                error = full_text(&error),
                "what the upload queue keeps over restarts is not kept"
            );
            self.store = None;
        }
    }

    fn store(&mut self) -> Result<&SledStore, MetaError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => SledStore::open(&self.dir)?,
        };
        Ok(self.store.insert(store))
    }

    /// Begins with an empty database.
    fn empty(&mut self, error: &MetaError) {
        tracing::warn!(
            error = full_text(error),
            "what the upload queue kept cannot be read, it begins anew"
        );
        self.store = None;
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(error = full_text(&error), "it cannot be removed either");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn key(file: FileId) -> Vec<u8> {
    [&[FILE][..], &file.to_be_bytes()].concat()
}

/// Tries, and the reason of a file that was set aside behind a byte that says so.
fn encode(note: &Note) -> Vec<u8> {
    let tries = note.tries.to_be_bytes();
    match &note.failed {
        None => [&tries[..], &[0]].concat(),
        Some(reason) => [&tries[..], &[1], reason.as_bytes()].concat(),
    }
}

fn decode(key: &[u8], value: &[u8]) -> Option<Note> {
    let file = FileId::from_be_bytes(key.get(1..)?.try_into().ok()?);
    let (tries, rest) = value.split_first_chunk()?;
    let (is_failed, reason) = rest.split_first()?;
    let reason = String::from_utf8_lossy(reason).into_owned();
    Some(Note {
        file,
        tries: u32::from_be_bytes(*tries),
        failed: (*is_failed == 1).then_some(reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(file: FileId, tries: u32, failed: Option<&str>) -> Note {
        let failed = failed.map(str::to_owned);
        Note {
            file,
            tries,
            failed,
        }
    }

    #[test]
    fn what_was_kept_is_there_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("queue");
        let (mut notes, kept) = Notes::open(&place);
        assert_eq!(kept, Kept::default());
        notes.keep(&[note(1, 0, None)]);
        assert!(!place.exists(), "there was nothing to keep");
        notes.keep(&[
            note(1, 3, None),
            note(2, 1, Some("refused")),
            note(3, 1, None),
        ]);
        notes.keep(&[note(3, 0, None)]);
        notes.keep_paused(true);
        drop(notes);
        let (mut notes, kept) = Notes::open(&place);
        assert!(kept.is_paused);
        assert_eq!(kept.notes, [note(1, 3, None), note(2, 1, Some("refused"))]);
        notes.keep(&[note(1, 0, None)]);
        notes.keep_paused(false);
        drop(notes);
        let (_, kept) = Notes::open(&place);
        assert!(!kept.is_paused);
        assert_eq!(kept.notes, [note(2, 1, Some("refused"))]);
    }

    #[test]
    fn a_damaged_database_is_begun_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("queue");
        let (mut notes, _) = Notes::open(&place);
        notes.keep(&[note(1, 3, None)]);
        drop(notes);
        fs::write(place.join("format"), "another thing").expect("a file");
        let (mut notes, kept) = Notes::open(&place);
        assert_eq!(kept, Kept::default());
        notes.keep(&[note(4, 1, None)]);
        drop(notes);
        assert_eq!(Notes::open(&place).1.notes, [note(4, 1, None)]);
    }
}
