//! Digests of trees: of all that a version is, and of what its author can know before it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use lfsfs_types::content::Content;
use lfsfs_types::{DirId, Kind, LinkId, ObjectPath, Record, Timestamp};

use crate::tree::Tree;

/// Returns the digest of everything in a tree.
pub(super) fn digest(tree: &Tree) -> String {
    of_text(&format!("{:?} {:?}", tree.root, tree.dirs))
}

/// Returns the digest of a tree without the ids of directories and links, which the metadata gives, and
/// without the times that do not make a version by themselves.
pub(super) fn looks_of(tree: &Tree) -> String {
    let names = tree.names();
    let mut links = BTreeMap::<LinkId, BTreeSet<&ObjectPath>>::new();
    for (path, record) in names.values() {
        if let Some(link) = record.link {
            links.entry(link.id).or_default().insert(path);
        }
    }
    let by_path: BTreeMap<_, _> = names
        .values()
        .map(|(path, record)| (path, record))
        .collect();
    let mut text = String::new();
    for (path, record) in by_path {
        let names = record.link.map(|link| &links[&link.id]);
        write!(text, "{path:?} {:?} {names:?}", plain(record)).unwrap();
    }
    of_text(&text)
}

fn of_text(text: &str) -> String {
    Content::of_bytes(text.as_bytes()).id.to_string()
}

/// A record as its author knows it.
fn plain(record: &Record) -> Record {
    let mut plain = Record {
        ctime: Timestamp::default(),
        link: None,
        ..record.clone()
    };
    if record.dir().is_some() {
        plain.kind = Kind::Directory { dir: DirId::ROOT };
        plain.mtime = Timestamp::default();
    }
    plain
}
