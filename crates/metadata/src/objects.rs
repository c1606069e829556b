//! The surface of versioned objects: a version as a list of paths, and what two versions differ in as such lists.
//!
//! In this view a directory is there because something lies in it. Only an empty one is an object: its *marker*,
//! whose path ends with a slash. Everything else that is no directory is an object under its path. So the objects of
//! a version tell its whole tree, but for the attributes of directories that are not empty.
//!
//! All objects come in the order of their paths, as bytes. [`walk`] lists a version, at the cost of what it lists;
//! [`range`] compares two, at the cost of what differs.

mod range;
mod selection;
mod walk;

use std::ops::ControlFlow;

use lfsfs_types::{ObjectPath, ProjectId, Record, VersionNumber};

pub use self::selection::{ObjectQuery, QueryFault, Selection};
use crate::error::Result;
use crate::metadata::Metadata;

/// One object of a version, or a path at which there is none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedObject {
    /// From the root, without a slash before it; that of a marker ends with one.
    pub path: Vec<u8>,
    /// What it is; none if it was removed.
    pub record: Option<Record>,
}

/// Where objects go; it may break off.
pub type ObjectSink<'s> = &'s mut dyn FnMut(VersionedObject) -> ControlFlow<()>;

impl Metadata {
    /// Tells `sink` the objects that differ from version `from` to version `to`, in the order of their paths, until it
    /// breaks. From version 0 these are all objects of `to`. `from` is not above `to`.
    ///
    /// Times alone are no difference. A removal is not told of a path that is a directory in `to`: a marker of a
    /// directory that has objects now, and a file that became a directory.
    pub fn objects(
        &self,
        project: ProjectId,
        from: VersionNumber,
        to: VersionNumber,
        selection: &Selection,
        sink: ObjectSink<'_>,
    ) -> Result<ControlFlow<()>> {
        let _reading = self.reading();
        let to = self.view(project, to)?;
        if from == VersionNumber::ZERO {
            return walk::walk(to, selection, sink);
        }
        range::compare(self.view(project, from)?, to, selection, sink)
    }
}

/// Returns the path of the marker of a directory.
fn marker(path: &ObjectPath) -> Vec<u8> {
    let mut marker = path.as_bytes().to_vec();
    marker.push(b'/');
    marker
}
