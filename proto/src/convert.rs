//! Conversions between messages and domain types.
//!
//! `From` makes a message and cannot fail. `TryFrom` checks one that arrived: every id has its
//! length, every name is one, every number is in range. Nothing behind this module checks again.

mod object;
mod place;
mod version;

pub use object::{name, optional_name, timestamp};
use thiserror::Error;

/// A message that breaks a rule of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has a value that it cannot have.
    #[error("{field} is wrong: {reason}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl ProtocolError {
    /// Returns the error for a field and anything that says what is wrong with it.
    pub fn invalid(field: &'static str, reason: impl ToString) -> Self {
        Self::Invalid {
            field,
            reason: reason.to_string(),
        }
    }
}

/// Takes a field that must be there.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, ProtocolError> {
    value.ok_or(ProtocolError::Missing(field))
}

/// Takes an id of fixed length: `id("project_id", &bytes, ProjectId::from_slice)`.
pub fn id<T>(
    field: &'static str,
    bytes: &[u8],
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T, ProtocolError> {
    parse(bytes).ok_or_else(|| ProtocolError::invalid(field, format!("{} bytes", bytes.len())))
}

/// Takes an id that may be absent, which is told by no bytes.
pub fn optional_id<T>(
    field: &'static str,
    bytes: &[u8],
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, ProtocolError> {
    match bytes {
        [] => Ok(None),
        bytes => id(field, bytes, parse).map(Some),
    }
}

/// Takes a list of ids.
pub fn ids<T>(
    field: &'static str,
    list: &[Vec<u8>],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, ProtocolError> {
    list.iter().map(|bytes| id(field, bytes, &parse)).collect()
}
