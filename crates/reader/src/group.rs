//! Contents that are resolved together.

use std::collections::BTreeSet;
use std::fmt::Debug;

use lfsfs_cache::PlacesKey;
use lfsfs_types::ContentId;

use crate::error::ReadError;

/// Contents that are resolved together, because the reader of one mostly reads the others: those of
/// the files of a directory, for example. It does not change.
pub trait Group: Debug + Send + Sync + 'static {
    /// Returns the name of the group. Equal names, equal contents.
    fn key(&self) -> GroupKey;

    /// Returns the contents, each once. Asked only if their places are not in memory or in the disk
    /// cache.
    fn contents(&self) -> Result<BTreeSet<ContentId>, ReadError>;
}

/// The name of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupKey {
    /// The places are kept in the disk cache under this name.
    Cached(PlacesKey),
    /// One content alone. Its place is kept in memory only.
    Alone(ContentId),
}

/// A content alone.
impl Group for ContentId {
    fn key(&self) -> GroupKey {
        GroupKey::Alone(*self)
    }

    fn contents(&self) -> Result<BTreeSet<ContentId>, ReadError> {
        Ok(BTreeSet::from([*self]))
    }
}
