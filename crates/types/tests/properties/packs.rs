//! Pack listings and attributes.

use std::collections::BTreeMap;

use lfsfs_types::limits::PACK_ENTRIES_MAX;
use lfsfs_types::pack::{
    EntryAttributes, Owner, PackAttributes, PackEntry, PackError, PackKind, PackListing,
};
use lfsfs_types::{ContentId, ObjectPath};
use proptest::prelude::*;

use crate::values::{content_id, name, target, timestamp};
use crate::{check_canonical, check_format, mutations};

fn leaf() -> impl Strategy<Value = PackKind> {
    prop_oneof![
        (any::<u64>(), content_id()).prop_map(|(size, content)| PackKind::File { size, content }),
        target().prop_map(|target| PackKind::Symlink { target }),
        Just(PackKind::Directory),
    ]
}

/// Grows a tree: each entry goes into one of the directories that are there.
fn listing() -> impl Strategy<Value = PackListing> {
    let entry = (any::<prop::sample::Index>(), name(), leaf(), 0u32..=0o7777);
    prop::collection::vec(entry, 0..30).prop_map(|steps| {
        let mut tree = BTreeMap::new();
        let mut directories = vec![ObjectPath::ROOT];
        for (parent, name, kind, mode) in steps {
            let path = directories[parent.index(directories.len())].join(&name);
            let Ok(path) = path else { continue };
            if tree.contains_key(&path) {
                continue;
            }
            if kind == PackKind::Directory {
                directories.push(path.clone());
            }
            tree.insert(path.clone(), PackEntry { path, mode, kind });
        }
        PackListing::new(tree.into_values().collect()).expect("a tree")
    })
}

fn attributes() -> impl Strategy<Value = PackAttributes> {
    let owner = prop_oneof![any::<(u32, u32)>(), (0u32..3, 0u32..2)];
    let entry =
        (timestamp(), timestamp(), owner).prop_map(|(mtime, ctime, (uid, gid))| EntryAttributes {
            mtime,
            ctime,
            owner: Owner { uid, gid },
        });
    prop::collection::vec(entry, 0..40)
        .prop_map(|entries| PackAttributes::new(entries).expect("few enough"))
}

fn entry(path: &str, kind: PackKind) -> PackEntry {
    PackEntry {
        path: ObjectPath::new(path.as_bytes()).expect("a path"),
        mode: 0o755,
        kind,
    }
}

fn file() -> PackKind {
    PackKind::File {
        size: 0,
        content: ContentId::EMPTY,
    }
}

proptest! {
    #[test]
    fn listings_keep_their_format(listing in listing(), mutations in mutations()) {
        check_format(&listing, PackListing::encode, PackListing::decode, &mutations);
        for (position, entry) in listing.entries().iter().enumerate() {
            prop_assert_eq!(listing.find(&entry.path), Some(position));
        }
    }

    #[test]
    fn attributes_keep_their_format(attributes in attributes(), mutations in mutations()) {
        check_format(&attributes, PackAttributes::encode, PackAttributes::decode, &mutations);
    }

    #[test]
    fn arbitrary_bytes_are_no_trap(mut bytes in prop::collection::vec(0u8..20, 0..300)) {
        for _ in 0..2 {
            check_canonical(&bytes, PackListing::encode, PackListing::decode);
            check_canonical(&bytes, PackAttributes::encode, PackAttributes::decode);
            if let Some(first) = bytes.first_mut() {
                *first = 1;
            }
        }
    }
}

#[test]
fn what_is_no_tree_is_refused() {
    let path = |path: &str| ObjectPath::new(path.as_bytes()).expect("a path");
    let cases = [
        (
            vec![entry("b", file()), entry("a", file())],
            PackError::OutOfOrder { path: path("a") },
        ),
        (
            vec![entry("a", file()), entry("a", file())],
            PackError::OutOfOrder { path: path("a") },
        ),
        (
            vec![entry("a", file()), entry("a/b", file())],
            PackError::NoParent { path: path("a/b") },
        ),
        (
            vec![entry("a/b", file())],
            PackError::NoParent { path: path("a/b") },
        ),
        (vec![entry("", PackKind::Directory)], PackError::Root),
        (vec![entry("", file()), entry("a", file())], PackError::Root),
    ];
    for (entries, error) in cases {
        assert_eq!(PackListing::new(entries), Err(error));
    }
}

#[test]
fn bad_entries_are_refused() {
    let mut mode = entry("a", file());
    mode.mode = 0o10000;
    assert!(matches!(
        PackListing::new(vec![mode]),
        Err(PackError::Mode { .. })
    ));
    for target in [&b""[..], b"a\0b", &[b'x'; 4096]] {
        let target = target.into();
        let link = entry("a", PackKind::Symlink { target });
        assert!(matches!(
            PackListing::new(vec![link]),
            Err(PackError::Target { .. })
        ));
    }
}

#[test]
fn packs_are_bounded() {
    let many: Vec<_> = (0..=PACK_ENTRIES_MAX)
        .map(|number| entry(&format!("{number:06}"), PackKind::Directory))
        .collect();
    assert!(PackListing::new(many[..PACK_ENTRIES_MAX].to_vec()).is_ok());
    assert!(matches!(
        PackListing::new(many),
        Err(PackError::TooMany { .. })
    ));
    // A count of 2^63 with nothing behind it.
    let claimed = [1, 255, 255, 255, 255, 255, 255, 255, 255, 127];
    assert!(PackListing::decode(&claimed).is_err());
    assert!(PackAttributes::decode(&claimed).is_err());
}
