//! Names that an import looks at.

use std::sync::Arc;

use lfsfs_types::{DirId, Name, Record};

use crate::directories::FoundDir;

/// A name in a directory of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) parent: Arc<FoundDir>,
    pub(crate) dir: DirId,
    pub(crate) name: Name,
    pub(crate) base: Option<Record>,
}

impl Entry {
    /// Returns the path below the imported directory.
    pub(crate) fn path(&self) -> Vec<u8> {
        let (parent, name) = (self.parent.path.as_bytes(), self.name.as_bytes());
        if parent.is_empty() {
            return name.to_vec();
        }
        [parent, b"/", name].concat()
    }
}
