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

/// The kind of list that [`pairs`] joins with a base.
pub(crate) type LocalEntries = Vec<LocalEntry>;

#[cfg(test)]
mod tests {
    use lfsfs_types::{Kind, Timestamp};

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
}
