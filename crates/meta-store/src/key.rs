//! The order-preserving codec for keys: the order of the bytes is the order of the fields.
//!
//! A key is a sequence of fields, written by a [`KeyBuilder`] and read back by a [`KeyReader`] with
//! the same calls in the same order. No field's encoding is the beginning of another value's of the
//! same kind, so a key sorts by its first field, then by its second, and so on, and the builder's
//! bytes after some fields are the prefix of exactly the keys that have these fields.
//!
//! | field | bytes |
//! |---|---|
//! | tag | 1 |
//! | number | 8, big endian |
//! | inverted number | 8, big endian, all bits flipped: the largest comes first |
//! | fixed bytes | as they are |
//! | name | its bytes and a NUL, which no name contains |
//! | raw bytes | as they are, up to the end of the key |

use crate::MetaError;

/// What ends a name.
const NAME_END: u8 = 0;

/// Writes a key field by field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyBuilder {
    bytes: Vec<u8>,
}

impl KeyBuilder {
    /// Begins a key with the tag that says which kind it is.
    pub fn new(tag: u8) -> Self {
        Self { bytes: vec![tag] }
    }

    /// Adds a one-byte field.
    #[must_use]
    pub fn tag(mut self, tag: u8) -> Self {
        self.bytes.push(tag);
        self
    }

    /// Adds a number, the smallest first.
    #[must_use]
    pub fn number(mut self, number: u64) -> Self {
        self.bytes.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// Adds a number, the largest first.
    #[must_use]
    pub fn inverted(self, number: u64) -> Self {
        self.number(!number)
    }

    /// Adds bytes whose count the kind of key determines, such as an id.
    #[must_use]
    pub fn fixed<const LEN: usize>(mut self, bytes: &[u8; LEN]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Adds a name, behind which further fields may follow.
    ///
    /// # Panics
    ///
    /// If the name contains a NUL. The code that took the name from outside must have checked that.
    #[must_use]
    pub fn name(mut self, name: &[u8]) -> Self {
        assert!(!name.contains(&NAME_END), "a name never contains NUL");
        self.bytes.extend_from_slice(name);
        self.bytes.push(NAME_END);
        self
    }

    /// Ends the key with bytes of any count and content.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Vec<u8> {
        self.bytes.extend_from_slice(bytes);
        self.bytes
    }

    /// Returns the key, or the prefix of all keys that begin with these fields.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        self.bytes
    }
}

impl From<KeyBuilder> for Vec<u8> {
    fn from(builder: KeyBuilder) -> Self {
        builder.build()
    }
}

/// Reads a key field by field; a key that is not of the expected form is [`MetaError::Corrupt`].
#[derive(Debug, Clone)]
pub struct KeyReader<'a> {
    key: &'a [u8],
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    /// Begins to read at the start of `key`, its first tag included.
    pub fn new(key: &'a [u8]) -> Self {
        Self { key, rest: key }
    }

    /// Reads a one-byte field.
    pub fn tag(&mut self) -> Result<u8, MetaError> {
        let [tag] = self.fixed()?;
        Ok(tag)
    }

    /// Reads a one-byte field that must be `tag`.
    pub fn expect_tag(&mut self, tag: u8) -> Result<(), MetaError> {
        let found = self.tag()?;
        if found == tag {
            Ok(())
        } else {
            Err(self.corrupt(format!("tag {found} in the key where {tag} belongs")))
        }
    }

    /// Reads a number.
    pub fn number(&mut self) -> Result<u64, MetaError> {
        Ok(u64::from_be_bytes(self.fixed()?))
    }

    /// Reads a number that was written inverted.
    pub fn inverted(&mut self) -> Result<u64, MetaError> {
        Ok(!self.number()?)
    }

    /// Reads bytes of a known count.
    pub fn fixed<const LEN: usize>(&mut self) -> Result<[u8; LEN], MetaError> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(self.corrupt("key too short"));
        };
        self.rest = rest;
        Ok(*bytes)
    }

    /// Reads a name.
    pub fn name(&mut self) -> Result<&'a [u8], MetaError> {
        let Some(len) = self.rest.iter().position(|byte| *byte == NAME_END) else {
            return Err(self.corrupt("name without end in the key"));
        };
        let name = &self.rest[..len];
        self.rest = &self.rest[len + 1..];
        Ok(name)
    }

    /// Returns all bytes that were not read yet.
    pub fn raw(self) -> &'a [u8] {
        self.rest
    }

    /// Fails if there are bytes that were not read.
    pub fn finish(self) -> Result<(), MetaError> {
        match self.rest.len() {
            0 => Ok(()),
            len => Err(self.corrupt(format!("{len} bytes too many in the key"))),
        }
    }

    fn corrupt(&self, what: impl Into<String>) -> MetaError {
        MetaError::corrupt(what, self.key)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::*;

    /// Fields in the order in which they are written; it compares as the key must.
    type Fields = (u8, Vec<u8>, u64, Reverse<u64>, [u8; 4], Vec<u8>);

    /// Values that collide often, so that later fields decide.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..3_u64, (u64::MAX - 2)..=u64::MAX, any::<u64>()]
    }

    fn bytes(lowest: u8) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            Just(lowest),
            Just(lowest + 1),
            Just(u8::MAX),
            lowest..=u8::MAX
        ];
        prop::collection::vec(byte, 0..4)
    }

    fn fields() -> impl Strategy<Value = Fields> {
        let fixed = prop_oneof![Just([0; 4]), Just([u8::MAX; 4]), any::<[u8; 4]>()];
        (
            0..3_u8,
            bytes(1),
            number(),
            number().prop_map(Reverse),
            fixed,
            bytes(0),
        )
    }

    fn encode((tag, name, number, Reverse(inverted), fixed, raw): &Fields) -> Vec<u8> {
        let key = KeyBuilder::new(*tag)
            .name(name)
            .number(*number)
            .inverted(*inverted);
        key.fixed(fixed).raw(raw)
    }

    fn decode(key: &[u8]) -> Result<Fields, MetaError> {
        let mut reader = KeyReader::new(key);
        let tag = reader.tag()?;
        let name = reader.name()?.to_vec();
        let number = reader.number()?;
        let inverted = Reverse(reader.inverted()?);
        Ok((
            tag,
            name,
            number,
            inverted,
            reader.fixed()?,
            reader.raw().to_vec(),
        ))
    }

    proptest! {
        #[test]
        fn round_trip_and_order_hold(left in fields(), right in fields()) {
            let (left_key, right_key) = (encode(&left), encode(&right));
            prop_assert_eq!(&decode(&left_key).unwrap(), &left);
            prop_assert_eq!(left_key.cmp(&right_key), left.cmp(&right));
        }

        #[test]
        fn prefix_matches_exactly_the_keys_with_its_fields(left in fields(), right in fields()) {
            let prefix = KeyBuilder::new(left.0).name(&left.1).build();
            let same = (left.0, &left.1) == (right.0, &right.1);
            prop_assert_eq!(encode(&right).starts_with(&prefix), same);
        }

        #[test]
        fn any_bytes_decode_or_fail_with_their_key(key in bytes(0)) {
            if let Err(error) = decode(&key) {
                let MetaError::Corrupt { key: named, .. } = error else {
                    panic!("not typed as corrupt: {error}");
                };
                prop_assert_eq!(named, key);
            }
        }
    }

    #[test]
    fn a_name_sorts_before_its_extensions_whatever_follows() {
        let short = KeyBuilder::new(1).name(b"a").number(u64::MAX).build();
        let long = KeyBuilder::new(1).name(b"a\x01").number(0).build();
        assert!(short < long);
    }

    #[test]
    fn wrong_forms_are_typed_errors() {
        let key = KeyBuilder::new(7).number(1).build();
        assert!(KeyReader::new(&key).expect_tag(8).is_err());
        assert!(KeyReader::new(&key).finish().is_err());
        assert!(KeyReader::new(b"\x07abc").fixed::<16>().is_err());
        assert!(KeyReader::new(b"abc").name().is_err());
    }
}
