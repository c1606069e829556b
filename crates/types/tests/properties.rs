//! Properties that every format has: what is encoded is decoded again, equal values have equal
//! bytes, and whatever bytes come, decoding them ends in a value or an error.

#[path = "properties/chunks.rs"]
mod chunks;
#[path = "properties/contents.rs"]
mod contents;
#[path = "properties/packs.rs"]
mod packs;
#[path = "support/random.rs"]
mod random;
#[path = "properties/records.rs"]
mod records;
#[path = "properties/texts.rs"]
mod texts;
#[path = "properties/values.rs"]
mod values;

use std::fmt::Debug;

use lfsfs_types::DecodeError;
use proptest::prelude::*;

/// A change to encoded bytes, such as disks and wires and enemies make.
#[derive(Debug, Clone)]
pub(crate) enum Mutation {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, u8),
}

pub(crate) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let one = prop_oneof![
        (any::<prop::sample::Index>(), 1u8..).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        any::<prop::sample::Index>().prop_map(Mutation::Cut),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, it)| Mutation::Insert(at, it)),
    ];
    prop::collection::vec(one, 1..4)
}

pub(crate) fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        match mutation {
            Mutation::Flip(at, bits) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Mutation::Cut(at) if !bytes.is_empty() => bytes.truncate(at.index(bytes.len())),
            Mutation::Insert(at, byte) => bytes.insert(at.index(bytes.len() + 1), *byte),
            _ => {}
        }
    }
}

/// Checks that `value` survives its format, and that no change of its bytes decodes to it too.
pub(crate) fn check_format<T: Debug + PartialEq>(
    value: &T,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
    mutations: &[Mutation],
) {
    let bytes = encode(value);
    assert_eq!(decode(&bytes).as_ref(), Ok(value));
    let mut mutated = bytes.clone();
    mutate(&mut mutated, mutations);
    check_canonical(&mutated, &encode, &decode);
}

/// Checks that `bytes`, if they decode at all, are the one encoding of their value.
pub(crate) fn check_canonical<T: Debug + PartialEq>(
    bytes: &[u8],
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    if let Ok(value) = decode(bytes) {
        assert_eq!(encode(&value), bytes, "two encodings of {value:?}");
    }
}
