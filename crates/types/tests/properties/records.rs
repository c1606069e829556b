//! Object records and version records.

use lfsfs_types::limits::{XATTR_INLINE_LEN_MAX, XATTR_LEN_MAX};
use lfsfs_types::{
    Aspect, DirId, Kind, Link, LinkId, Origin, ProjectId, Record, VersionCounts, VersionId,
    VersionNumber, VersionRecord, Xattr, XattrValue,
};
use proptest::prelude::*;

use crate::values::{content_id, sha256, target, timestamp, xattr_name};
use crate::{check_canonical, check_format, mutations};

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (any::<u64>(), content_id()).prop_map(|(size, content)| Kind::File { size, content }),
        any::<u64>().prop_map(|dir| Kind::Directory { dir: DirId(dir) }),
        target().prop_map(|target| Kind::Symlink { target }),
        Just(Kind::Fifo),
        Just(Kind::Socket),
        any::<u64>().prop_map(|rdev| Kind::BlockDevice { rdev }),
        any::<u64>().prop_map(|rdev| Kind::CharDevice { rdev }),
    ]
}

fn xattrs() -> impl Strategy<Value = Vec<Xattr>> {
    let large = u32::try_from(XATTR_INLINE_LEN_MAX + 1).expect("small")
        ..=u32::try_from(XATTR_LEN_MAX).expect("small");
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|it| XattrValue::Inline(it.into())),
        (content_id(), large).prop_map(|(content, len)| XattrValue::Content { content, len }),
    ];
    prop::collection::btree_map(xattr_name(), value, 0..4).prop_map(|map| {
        map.into_iter()
            .map(|(name, value)| Xattr { name, value })
            .collect()
    })
}

prop_compose! {
    fn record()(
        kind in kind(),
        mode in 0u32..=0o7777,
        (uid, gid) in any::<(u32, u32)>(),
        (mtime, ctime) in (timestamp(), timestamp()),
        sha256 in prop::option::of(sha256()),
        link in prop::option::of(any::<(u64, u32)>()),
        xattrs in xattrs(),
    ) -> Record {
        let link = link.map(|(id, nlink)| Link { id: LinkId(id), nlink });
        Record { kind, mode, uid, gid, mtime, ctime, sha256, link, xattrs }
    }
}

/// Returns `one`, with those aspects taken from `other` that `taken` says. The kind is taken with the
/// first aspect of [`Aspect::ALL`] and the link with [`Aspect::Link`], as a whole.
fn mixed(one: &Record, other: &Record, taken: &[bool]) -> Record {
    let is_taken = |aspect: Aspect| {
        let place = Aspect::ALL.iter().position(|it| *it == aspect);
        place.is_some_and(|place| taken[place])
    };
    let from = |aspect| if is_taken(aspect) { other } else { one };
    Record {
        kind: from(Aspect::Directory).kind.clone(),
        mode: from(Aspect::Mode).mode,
        uid: from(Aspect::Owner).uid,
        gid: from(Aspect::Owner).gid,
        mtime: from(Aspect::Mtime).mtime,
        ctime: from(Aspect::Ctime).ctime,
        sha256: from(Aspect::Sha256).sha256,
        link: from(Aspect::Link).link,
        xattrs: from(Aspect::Xattrs).xattrs.clone(),
    }
}

/// Returns what of a record an aspect is, as one text.
fn part(record: &Record, aspect: Aspect) -> String {
    match aspect {
        Aspect::Directory => format!("{:?}", record.dir()),
        Aspect::Content => {
            let mut kind = record.kind.clone();
            if let Kind::Directory { dir } = &mut kind {
                *dir = DirId(0);
            }
            format!("{kind:?}")
        }
        Aspect::Mode => format!("{}", record.mode),
        Aspect::Owner => format!("{} {}", record.uid, record.gid),
        Aspect::Xattrs => format!("{:?}", record.xattrs),
        Aspect::Mtime => format!("{:?}", record.mtime),
        Aspect::Ctime => format!("{:?}", record.ctime),
        Aspect::Link => format!("{:?}", record.link.map(|link| link.id)),
        Aspect::LinkCount => format!("{:?}", record.link.map(|link| link.nlink)),
        Aspect::Sha256 => format!("{:?}", record.sha256),
    }
}

fn origin() -> impl Strategy<Value = Origin> {
    let number = || any::<u64>().prop_map(VersionNumber);
    prop_oneof![
        Just(Origin::Import),
        Just(Origin::Commit),
        Just(Origin::Put),
        number().prop_map(Origin::Rollback),
        (any::<[u8; 16]>(), number())
            .prop_map(|(project, number)| Origin::Clone(ProjectId(project), number)),
    ]
}

prop_compose! {
    fn version_record()(
        (number, parent, base) in any::<(u64, u64, u64)>(),
        id in any::<[u8; 16]>(),
        origin in origin(),
        time in timestamp(),
        author in ".{0,60}",
        message in ".{0,200}",
        counts in any::<[u64; 5]>(),
        path_len in any::<Option<u32>>(),
    ) -> VersionRecord {
        let [objects, bytes, added, removed, modified] = counts;
        VersionRecord {
            number: VersionNumber(number),
            id: VersionId(id),
            parent: VersionNumber(parent),
            base: VersionNumber(base),
            origin,
            time,
            author,
            message,
            counts: VersionCounts { objects, bytes, added, removed, modified, path_len },
        }
    }
}

proptest! {
    #[test]
    fn object_records_keep_their_format(record in record(), mutations in mutations()) {
        check_format(&record, Record::encode, Record::decode, &mutations);
    }

    #[test]
    fn records_differ_in_an_aspect_if_that_part_of_them_differs(
        one in record(),
        other in record(),
        taken in prop::collection::vec(any::<bool>(), Aspect::ALL.len()),
    ) {
        let mixed = mixed(&one, &other, &taken);
        let differences = one.differences(&mixed);
        prop_assert_eq!(differences, mixed.differences(&one));
        prop_assert_eq!(differences.is_empty(), one == mixed);
        for aspect in Aspect::ALL {
            let is_other = part(&one, aspect) != part(&mixed, aspect);
            prop_assert_eq!(differences.has(aspect), is_other, "{:?}", aspect);
        }
    }

    #[test]
    fn version_records_keep_their_format(record in version_record(), mutations in mutations()) {
        check_format(&record, VersionRecord::encode, VersionRecord::decode, &mutations);
    }

    #[test]
    fn arbitrary_bytes_are_no_trap(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_canonical(&bytes, Record::encode, Record::decode);
        check_canonical(&bytes, VersionRecord::encode, VersionRecord::decode);
        for format in 1..=2 {
            if let Some(first) = bytes.first_mut() {
                *first = format;
            }
            check_canonical(&bytes, Record::encode, Record::decode);
            check_canonical(&bytes, VersionRecord::encode, VersionRecord::decode);
        }
    }
}

#[test]
fn a_short_attribute_has_one_form_only() {
    let xattr = |len: usize| Record {
        kind: Kind::Fifo,
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Default::default(),
        ctime: Default::default(),
        sha256: None,
        link: None,
        xattrs: vec![Xattr {
            name: lfsfs_types::XattrName::new(b"user.a").expect("a name"),
            value: XattrValue::Content {
                content: lfsfs_types::ContentId::EMPTY,
                len: u32::try_from(len).expect("small"),
            },
        }],
    };
    for (len, is_ok) in [
        (XATTR_INLINE_LEN_MAX, false),
        (XATTR_INLINE_LEN_MAX + 1, true),
        (XATTR_LEN_MAX, true),
        (XATTR_LEN_MAX + 1, false),
    ] {
        let decoded = Record::decode(&xattr(len).encode());
        assert_eq!(decoded.is_ok(), is_ok, "{len}: {decoded:?}");
    }
}
