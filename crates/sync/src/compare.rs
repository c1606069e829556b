//! What is the same and what differs, decided without looking at any file.

use std::cmp::Ordering;
use std::iter::Peekable;

use lfsfs_types::{Name, Record};

use crate::local::LocalEntry;

/// One name with what is there on either side.
#[derive(Debug)]
pub(crate) struct Pair<L> {
    pub(crate) name: Name,
    pub(crate) local: Option<L>,
    pub(crate) base: Option<Record>,
}

/// Joins two lists that are both in the order of their names.
pub(crate) fn pairs<L>(
    local: impl IntoIterator<Item = (Name, L)>,
    base: impl IntoIterator<Item = (Name, Record)>,
) -> impl Iterator<Item = Pair<L>> {
    let mut local = local.into_iter().peekable();
    let mut base = base.into_iter().peekable();
    std::iter::from_fn(move || next_pair(&mut local, &mut base))
}

fn next_pair<L>(
    local: &mut Peekable<impl Iterator<Item = (Name, L)>>,
    base: &mut Peekable<impl Iterator<Item = (Name, Record)>>,
) -> Option<Pair<L>> {
    let order = match (local.peek(), base.peek()) {
        (None, None) => return None,
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(local), Some(base)) => local.0.cmp(&base.0),
    };
    let local = if order.is_le() { local.next() } else { None };
    let base = if order.is_ge() { base.next() } else { None };
    let name = local
        .as_ref()
        .map(|(name, _)| name)
        .or(base.as_ref().map(|(name, _)| name))?
        .clone();
    Some(Pair {
        name,
        local: local.map(|(_, value)| value),
        base: base.map(|(_, record)| record),
    })
}

/// How a new record differs from the one in the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Not at all, or in the ctime alone.
    None,
    /// Only in the times of a directory.
    DirectoryTimes,
    /// In something that makes a version.
    Real,
}

pub(crate) fn difference(new: &Record, base: Option<&Record>) -> Difference {
    let Some(base) = base else {
        return Difference::Real;
    };
    if !new.same_state(base) || new.link != base.link {
        return Difference::Real;
    }
    match (new.mtime == base.mtime, new.kind.is_directory()) {
        (true, _) => Difference::None,
        (false, true) => Difference::DirectoryTimes,
        (false, false) => Difference::Real,
    }
}

/// The kind of list that [`pairs`] joins with a base.
pub(crate) type LocalEntries = Vec<LocalEntry>;

#[cfg(test)]
mod tests {
    use lfsfs_types::{DirId, Kind, Timestamp};

    use super::*;

    fn record(kind: Kind) -> Record {
        let time = Timestamp::default();
        let (mode, uid, gid) = (0o644, 0, 0);
        Record {
            kind,
            mode,
            uid,
            gid,
            mtime: time,
            ctime: time,
            sha256: None,
            link: None,
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn every_name_comes_once_in_order() {
        let name = |text: &str| Name::new(text.as_bytes()).expect("a name");
        let local = ["a", "b", "d"].map(|text| (name(text), ()));
        let base = ["b", "c", "e"].map(|text| (name(text), record(Kind::Fifo)));
        let seen: Vec<_> = pairs(local, base)
            .map(|pair| (pair.name, pair.local.is_some(), pair.base.is_some()))
            .collect();
        let expected = [
            ("a", true, false),
            ("b", true, true),
            ("c", false, true),
            ("d", true, false),
            ("e", false, true),
        ];
        assert_eq!(
            seen,
            expected.map(|(text, local, base)| (name(text), local, base))
        );
    }

    #[test]
    fn times_alone_differ_by_kind() {
        let later = Timestamp { secs: 1, nanos: 0 };
        let file = record(Kind::Fifo);
        let dir = record(Kind::Directory { dir: DirId(3) });
        assert_eq!(
            difference(
                &Record {
                    ctime: later,
                    ..file.clone()
                },
                Some(&file)
            ),
            Difference::None
        );
        assert_eq!(
            difference(
                &Record {
                    mtime: later,
                    ..file.clone()
                },
                Some(&file)
            ),
            Difference::Real
        );
        assert_eq!(
            difference(
                &Record {
                    mtime: later,
                    ..dir.clone()
                },
                Some(&dir)
            ),
            Difference::DirectoryTimes
        );
        assert_eq!(
            difference(
                &Record {
                    mode: 0,
                    ..dir.clone()
                },
                Some(&dir)
            ),
            Difference::Real
        );
        assert_eq!(difference(&file, None), Difference::Real);
    }
}
