//! Strategies for the plain values that formats are made of.

use lfsfs_types::{ContentId, Name, ObjectPath, Sha256, Timestamp, XattrName};
use proptest::prelude::*;

pub(crate) fn content_id() -> impl Strategy<Value = ContentId> {
    any::<[u8; 32]>().prop_map(ContentId)
}

pub(crate) fn sha256() -> impl Strategy<Value = Sha256> {
    any::<[u8; 32]>().prop_map(Sha256)
}

pub(crate) fn timestamp() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0u32..1_000_000_000)
        .prop_map(|(secs, nanos)| Timestamp::new(secs, nanos).expect("below a second"))
}

pub(crate) fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..=255),
        "[a-z.]{1,3}".prop_map(String::into_bytes),
    ]
    .prop_filter_map("no name", |bytes| Name::new(&bytes).ok())
}

pub(crate) fn xattr_name() -> impl Strategy<Value = XattrName> {
    prop_oneof![
        prop::collection::vec(1u8.., 1..=255),
        "(user|trusted)[./]{0,2}[a-z/]{0,2}".prop_map(String::into_bytes),
        "[./]{1,3}".prop_map(String::into_bytes),
    ]
    .prop_map(|bytes| XattrName::new(&bytes).expect("a name"))
}

pub(crate) fn path() -> impl Strategy<Value = ObjectPath> {
    prop::collection::vec(name(), 0..6).prop_map(|names| {
        names.iter().fold(ObjectPath::ROOT, |path, name| {
            path.join(name).expect("short enough")
        })
    })
}

pub(crate) fn target() -> impl Strategy<Value = Box<[u8]>> {
    prop::collection::vec(1u8.., 1..300).prop_map(Vec::into_boxed_slice)
}
