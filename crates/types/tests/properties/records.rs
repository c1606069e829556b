//! Object records and version records.

use lfsfs_types::limits::{XATTR_INLINE_LEN_MAX, XATTR_LEN_MAX};
use lfsfs_types::{
    DirId, Kind, Link, LinkId, Origin, PackRoot, ProjectId, Record, VersionCounts, VersionId,
    VersionNumber, VersionRecord, Xattr, XattrValue,
};
use proptest::prelude::*;

use crate::values::{content_id, sha256, target, timestamp, xattr_name};
use crate::{check_canonical, check_format, mutations};

fn kind() -> impl Strategy<Value = Kind> {
    let root = prop_oneof![Just(PackRoot::Directory), Just(PackRoot::File)];
    prop_oneof![
        (any::<u64>(), content_id()).prop_map(|(size, content)| Kind::File { size, content }),
        any::<u64>().prop_map(|dir| Kind::Directory { dir: DirId(dir) }),
        target().prop_map(|target| Kind::Symlink { target }),
        (content_id(), content_id(), root, any::<u64>()).prop_map(
            |(listing, attributes, root, dir)| Kind::Pack {
                listing,
                attributes,
                root,
                dir: DirId(dir)
            }
        ),
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
