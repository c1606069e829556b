//! The byte form of the fields that log records are made of.
//!
//! Owns one implementation of [`Field`] for each type that can stand in a record, and the macro
//! that makes an enum of records from a list. docs/formats.md "Overlay log" has the tables.

use lfsfs_types::limits::{NAME_LEN_MAX, TARGET_LEN_MAX, XATTR_LEN_MAX, XATTR_NAME_LEN_MAX};
use lfsfs_types::{
    ContentId, DecodeError, DirId, LinkId, Name, Reader, Record, Timestamp, VersionId,
    VersionNumber, Writer, XattrName, XattrValue,
};

/// Longest encoded object record that is accepted: 1,024 attributes of the record's own limits.
const OBJECT_RECORD_LEN_MAX: usize = 2 * 1024 * 1024;

/// A value with one byte form.
pub(crate) trait Field: Sized {
    fn put(&self, writer: &mut Writer);
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Defines an enum of records whose byte form is the tag and then the fields in their order.
macro_rules! records {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident ($what:literal) {
            $( $(#[$doc:meta])* $tag:literal => $variant:ident { $( $(#[$field_doc:meta])* $field:ident : $type:ty ),* $(,)? } ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $visibility enum $name {
            $( $(#[$doc])* $variant { $( $(#[$field_doc])* $field: $type ),* } ),*
        }

        impl $name {
            /// Returns the byte form.
            #[must_use]
            $visibility fn encode(&self) -> Vec<u8> {
                let mut writer = lfsfs_types::Writer::new();
                match self {
                    $( Self::$variant { $( $field ),* } => {
                        writer.u8($tag);
                        $( $crate::field::Field::put($field, &mut writer); )*
                    } )*
                }
                writer.finish()
            }

            /// Decodes a record that fills `bytes`.
            $visibility fn decode(bytes: &[u8]) -> Result<Self, lfsfs_types::DecodeError> {
                let mut reader = lfsfs_types::Reader::new($what, bytes);
                let record = match reader.u8()? {
                    $( $tag => Self::$variant {
                        $( $field: $crate::field::Field::take(&mut reader)? ),*
                    }, )*
                    _ => return Err(reader.error("unknown record")),
                };
                reader.finish()?;
                Ok(record)
            }
        }
    };
}
pub(crate) use records;

/// Defines the byte form of a struct: its fields in their order.
macro_rules! struct_field {
    ($name:ty { $( $field:ident ),* $(,)? }) => {
        impl $crate::field::Field for $name {
            fn put(&self, writer: &mut lfsfs_types::Writer) {
                $( $crate::field::Field::put(&self.$field, writer); )*
            }

            fn take(
                reader: &mut lfsfs_types::Reader<'_>,
            ) -> Result<Self, lfsfs_types::DecodeError> {
                Ok(Self { $( $field: $crate::field::Field::take(reader)? ),* })
            }
        }
    };
}
pub(crate) use struct_field;

impl Field for u64 {
    fn put(&self, writer: &mut Writer) {
        writer.varint(*self);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.varint()
    }
}

impl Field for u32 {
    fn put(&self, writer: &mut Writer) {
        writer.varint(u64::from(*self));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.varint32()
    }
}

impl Field for bool {
    fn put(&self, writer: &mut Writer) {
        writer.u8(u8::from(*self));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(reader.error("neither 0 nor 1")),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, writer: &mut Writer) {
        self.is_some().put(writer);
        if let Some(value) = self {
            value.put(writer);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        bool::take(reader)?.then(|| T::take(reader)).transpose()
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, writer: &mut Writer) {
        writer.varint(self.len() as u64);
        self.iter().for_each(|value| value.put(writer));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.varint()?;
        // Every value has at least one byte, so a count cannot make us reserve more than was read.
        if count > reader.remaining() as u64 {
            return Err(reader.error("count above what is left"));
        }
        (0..count).map(|_| T::take(reader)).collect()
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, writer: &mut Writer) {
        self.0.put(writer);
        self.1.put(writer);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::take(reader)?, B::take(reader)?))
    }
}

impl<T: Field> Field for std::sync::Arc<T> {
    fn put(&self, writer: &mut Writer) {
        T::put(self, writer);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::take(reader).map(Self::new)
    }
}

impl Field for Timestamp {
    fn put(&self, writer: &mut Writer) {
        writer.signed(self.secs).varint(u64::from(self.nanos));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (secs, nanos) = (reader.signed()?, reader.varint32()?);
        Self::new(secs, nanos).ok_or_else(|| reader.error("nanoseconds above a second"))
    }
}

impl Field for Name {
    fn put(&self, writer: &mut Writer) {
        writer.bytes(self.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes(NAME_LEN_MAX)?;
        Self::new(bytes).map_err(|_| reader.error("no name of an entry"))
    }
}

impl Field for XattrName {
    fn put(&self, writer: &mut Writer) {
        writer.bytes(self.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes(XATTR_NAME_LEN_MAX)?;
        Self::new(bytes).map_err(|_| reader.error("no name of an attribute"))
    }
}

/// The target of a symbolic link.
impl Field for Box<[u8]> {
    fn put(&self, writer: &mut Writer) {
        writer.bytes(self);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bytes(TARGET_LEN_MAX).map(Into::into)
    }
}

impl Field for XattrValue {
    fn put(&self, writer: &mut Writer) {
        match self {
            Self::Inline(bytes) => writer.u8(1).bytes(bytes),
            Self::Content { content, len } => {
                writer.u8(2).raw(content.as_bytes()).varint(u64::from(*len))
            }
        };
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            1 => Ok(Self::Inline(reader.bytes(XATTR_LEN_MAX)?.into())),
            2 => Ok(Self::Content {
                content: ContentId(reader.array()?),
                len: reader.varint32()?,
            }),
            _ => Err(reader.error("unknown form of an attribute")),
        }
    }
}

impl Field for Record {
    fn put(&self, writer: &mut Writer) {
        writer.bytes(&self.encode());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::decode(reader.bytes(OBJECT_RECORD_LEN_MAX)?)
    }
}

impl Field for VersionId {
    fn put(&self, writer: &mut Writer) {
        writer.raw(self.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

impl Field for ContentId {
    fn put(&self, writer: &mut Writer) {
        writer.raw(self.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

macro_rules! number_field {
    ($($name:ident),*) => { $(
        impl Field for $name {
            fn put(&self, writer: &mut Writer) {
                writer.varint(self.0);
            }

            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.varint().map(Self)
            }
        }
    )* };
}
number_field!(DirId, LinkId, VersionNumber);
