//! Which content the files of a rebuilt directory have, remembered so that they are not read again.
//!
//! An entry says: the file at this path had this content when stat showed these figures. That stays true
//! whatever version the directory has, so a summary is never wrong, only of less use than another. What a
//! write could change without a trace in the figures is not noted. docs/rebuild.md describes the bytes.
//! Everything here is pure.

use std::sync::{Mutex, PoisonError};

use lfsfs_types::{ContentId, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::local::LocalStat;

const MAGIC: &[u8; 8] = b"lfsfssum";
/// The format that is written.
const FORMAT: u32 = 1;
const KEY_LEN: usize = 16;
const ENTRY_LEN: usize = KEY_LEN + 8 + 8 + 12 + 12 + 32;
const HEAD_LEN: usize = 8 + 4 + 8;
const SUM_LEN: usize = 32;

/// The start of the SHA-256 of a path: entries have one length.
type PathKey = [u8; KEY_LEN];

/// What stat tells of a file that changes with every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Figures {
    inode: u64,
    size: u64,
    mtime: Timestamp,
    ctime: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    path: PathKey,
    figures: Figures,
    content: ContentId,
}

/// What is known of the files of a directory, in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary(Vec<Entry>);

/// Whether a run has looked at all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// What it did not note is not there, or not known.
    Everywhere,
    /// What was known of the other files stays known.
    AtAPart,
}

impl Figures {
    const fn of(stat: &LocalStat) -> Self {
        Self {
            inode: stat.inode,
            size: stat.size,
            mtime: stat.mtime,
            ctime: stat.ctime,
        }
    }
}

impl Summary {
    /// Returns the content of the file at a path, if stat shows what it showed when that was noted.
    fn find(&self, path: &[u8], stat: &LocalStat) -> Option<ContentId> {
        let key = key(path);
        let found = self.0.binary_search_by_key(&key, |entry| entry.path);
        let entry = &self.0[found.ok()?];
        (entry.figures == Figures::of(stat)).then_some(entry.content)
    }

    fn of(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| entry.path);
        entries.dedup_by_key(|entry| entry.path);
        Self(entries)
    }

    /// Returns the bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LEN + self.0.len() * ENTRY_LEN + SUM_LEN);
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend((self.0.len() as u64).to_le_bytes());
        for Entry {
            path,
            figures,
            content,
        } in &self.0
        {
            bytes.extend(path);
            bytes.extend(figures.inode.to_le_bytes());
            bytes.extend(figures.size.to_le_bytes());
            for time in [figures.mtime, figures.ctime] {
                bytes.extend(time.secs.to_le_bytes());
                bytes.extend(time.nanos.to_le_bytes());
            }
            bytes.extend(content.0);
        }
        let sum = Sha256::digest(&bytes);
        bytes.extend(sum);
        bytes
    }

    /// Reads the bytes of a file, or `None` where they are damaged or of another format: then nothing is known.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_LEN)?)?;
        let (head, entries) = body.split_at_checked(HEAD_LEN)?;
        if Sha256::digest(body)[..] != *sum || !entries.len().is_multiple_of(ENTRY_LEN) {
            return None;
        }
        let count = (entries.len() / ENTRY_LEN) as u64;
        let expected = [&MAGIC[..], &FORMAT.to_le_bytes(), &count.to_le_bytes()];
        if head != expected.concat() {
            return None;
        }
        let entries = entries.chunks_exact(ENTRY_LEN).map(entry);
        let entries: Vec<Entry> = entries.collect::<Option<_>>()?;
        let is_ordered = entries.is_sorted_by(|a, b| a.path < b.path);
        is_ordered.then_some(Self(entries))
    }
}

fn entry(mut bytes: &[u8]) -> Option<Entry> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (first, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(*first)
    }
    let bytes = &mut bytes;
    let time = |bytes: &mut &[u8]| {
        Some(Timestamp {
            secs: i64::from_le_bytes(take(bytes)?),
            nanos: u32::from_le_bytes(take(bytes)?),
        })
    };
    Some(Entry {
        path: take(bytes)?,
        figures: Figures {
            inode: u64::from_le_bytes(take(bytes)?),
            size: u64::from_le_bytes(take(bytes)?),
            mtime: time(bytes)?,
            ctime: time(bytes)?,
        },
        content: ContentId(take(bytes)?),
    })
}

fn key(path: &[u8]) -> PathKey {
    let sum = Sha256::digest(path);
    let mut key = PathKey::default();
    key.copy_from_slice(&sum[..KEY_LEN]);
    key
}

/// The summary that a directory has, and the one that it gets.
#[derive(Debug)]
pub(crate) struct Known {
    old: Summary,
    /// When this run began, by the clock of the file system.
    began: Timestamp,
    noted: Mutex<Vec<Entry>>,
}

impl Known {
    /// `began` is a time that the file system gave to a file before this run looks at the first one.
    pub(crate) fn new(old: Summary, began: Timestamp) -> Self {
        Self {
            old,
            began,
            noted: Mutex::default(),
        }
    }

    /// Returns the content of the file at a path, if that is known without reading it. Then it stays known.
    pub(crate) fn content(&self, path: &[u8], stat: &LocalStat) -> Option<ContentId> {
        let content = self.old.find(path, stat)?;
        self.push(path, stat, content);
        Some(content)
    }

    /// Notes a file that was read, and is not touched since stat showed this.
    ///
    /// One that was changed at the moment at which this run began or later is not noted: a write within the
    /// same tick of the clock would leave the figures as they are.
    pub(crate) fn read(&self, path: &[u8], stat: &LocalStat, content: ContentId) {
        if stat.mtime < self.began && stat.ctime < self.began {
            self.push(path, stat, content);
        }
    }

    /// Notes a file that this run made with a time of the past, `mtime`. Any write since has given it another.
    pub(crate) fn made(
        &self,
        path: &[u8],
        stat: &LocalStat,
        (content, mtime): (ContentId, Timestamp),
    ) {
        if stat.mtime == mtime && mtime < self.began {
            self.push(path, stat, content);
        }
    }

    /// Returns what is known now, if that is more, or less, than was known before.
    pub(crate) fn summary(&self, looked: Looked) -> Option<Summary> {
        let mut noted = self.noted();
        let mut entries = std::mem::take(&mut *noted);
        drop(noted);
        if looked == Looked::AtAPart {
            // The order of equal keys stays, and the first of them is kept.
            entries.extend(&self.old.0);
        }
        let new = Summary::of(entries);
        (new != self.old).then_some(new)
    }

    fn push(&self, path: &[u8], stat: &LocalStat, content: ContentId) {
        let (path, figures) = (key(path), Figures::of(stat));
        self.noted().push(Entry {
            path,
            figures,
            content,
        });
    }

    fn noted(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::FileType;

    use super::*;

    const fn at(secs: i64) -> Timestamp {
        Timestamp { secs, nanos: 5 }
    }

    fn stat(mtime: i64, ctime: i64) -> LocalStat {
        LocalStat {
            kind: FileType::RegularFile,
            device: 1,
            inode: 7,
            nlink: 1,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 3,
            mtime: at(mtime),
            ctime: at(ctime),
        }
    }

    const CONTENT: ContentId = ContentId([9; 32]);

    fn noted(path: &[u8], stat: &LocalStat) -> Summary {
        let known = Known::new(Summary::default(), at(100));
        known.read(path, stat, CONTENT);
        known.summary(Looked::Everywhere).unwrap_or_default()
    }

    #[test]
    fn a_file_is_known_as_long_as_stat_shows_the_same() {
        let summary = noted(b"a/b", &stat(1, 2));
        assert_eq!(summary.find(b"a/b", &stat(1, 2)), Some(CONTENT));
        assert_eq!(summary.find(b"a/c", &stat(1, 2)), None);
        let others: [fn(&mut LocalStat); 4] = [
            |it| it.inode = 8,
            |it| it.size = 4,
            |it| it.mtime.nanos = 6,
            // What a program does that writes and gives the old time back.
            |it| it.ctime.nanos = 6,
        ];
        for other in others {
            let mut found = stat(1, 2);
            other(&mut found);
            assert_eq!(summary.find(b"a/b", &found), None);
        }
    }

    #[test]
    fn what_was_changed_when_the_run_had_begun_is_not_noted() {
        for (mtime, ctime, is_noted) in [
            (99, 99, true),
            (100, 99, false),
            (99, 100, false),
            (200, 99, false),
        ] {
            let stat = stat(mtime, ctime);
            let summary = noted(b"a", &stat);
            assert_eq!(
                summary.find(b"a", &stat).is_some(),
                is_noted,
                "{mtime} {ctime}"
            );
        }
    }

    #[test]
    fn what_was_made_is_noted_if_it_has_the_time_that_it_was_given() {
        for (mtime, given, is_noted) in [(50, 50, true), (101, 50, false), (150, 150, false)] {
            let known = Known::new(Summary::default(), at(100));
            let stat = stat(mtime, 101);
            known.made(b"a", &stat, (CONTENT, at(given)));
            let summary = known.summary(Looked::Everywhere).unwrap_or_default();
            assert_eq!(summary.find(b"a", &stat).is_some(), is_noted, "{mtime}");
        }
    }

    #[test]
    fn what_was_not_looked_at_stays_known() {
        let old = noted(b"a", &stat(1, 2));
        let known = Known::new(old.clone(), at(200));
        assert_eq!(known.content(b"a", &stat(1, 2)), Some(CONTENT));
        assert_eq!(known.summary(Looked::Everywhere), None);
        let known = Known::new(old.clone(), at(200));
        known.read(b"b", &stat(3, 4), CONTENT);
        let both = known.summary(Looked::AtAPart).expect("another summary");
        assert!(both.find(b"a", &stat(1, 2)).is_some() && both.find(b"b", &stat(3, 4)).is_some());
        let known = Known::new(old, at(200));
        known.read(b"a", &stat(3, 4), CONTENT);
        let newer = known.summary(Looked::AtAPart).expect("another summary");
        assert!(newer.find(b"a", &stat(3, 4)).is_some());
        let none = Known::new(newer, at(300)).summary(Looked::Everywhere);
        assert_eq!(none, Some(Summary::default()));
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let bytes = noted(b"a", &stat(1, -2)).encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = [
            "6c6673667373756d",
            "01000000",
            "0100000000000000",
            "ca978112ca1bbdcafac231b39a23dc4d",
            "0700000000000000",
            "0300000000000000",
            "010000000000000005000000",
            "feffffffffffffff05000000",
        ];
        let expected = expected.concat() + &"09".repeat(32);
        assert_eq!(hex[..expected.len()], expected);
        assert_eq!(bytes.len(), HEAD_LEN + ENTRY_LEN + SUM_LEN);
    }

    #[test]
    fn what_is_damaged_says_nothing() {
        let summary = noted(b"a", &stat(1, 2));
        let bytes = summary.encode();
        assert_eq!(Summary::decode(&bytes), Some(summary));
        for at in 0..bytes.len() {
            assert_eq!(Summary::decode(&bytes[..at]), None);
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Summary::decode(&damaged), None, "byte {at}");
        }
        let mut twice = summary_bytes(&bytes);
        twice.extend(Sha256::digest(&twice));
        assert_eq!(Summary::decode(&twice), None, "two entries of one path");
    }

    /// Returns a summary with its one entry twice, without the sum.
    fn summary_bytes(bytes: &[u8]) -> Vec<u8> {
        let mut twice = bytes[..HEAD_LEN + ENTRY_LEN].to_vec();
        twice.extend(&bytes[HEAD_LEN..HEAD_LEN + ENTRY_LEN]);
        twice[12..20].copy_from_slice(&2_u64.to_le_bytes());
        twice
    }
}
