//! Whether an object of the overlay differs from a record of the base.

use std::sync::Arc;

use lfsfs_overlay::{Attributes, Inode, Node};
use lfsfs_types::content::small_content_id;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{ContentId, Kind, Record, XattrValue};

use crate::changed_file::ChangedFile;
use crate::changes::Comparison;
use crate::error::VfsError;

/// How much two states of one place differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// In nothing that a line tells.
    None,
    /// In the time of the last change of what is no directory.
    Times,
    /// In anything else.
    State,
}

impl Comparison<'_> {
    pub(super) async fn difference(
        &self,
        before: &Record,
        after: &Inode,
    ) -> Result<Difference, VfsError> {
        let attributes = &after.attributes;
        let owner = (attributes.mode, attributes.uid, attributes.gid);
        let same = owner == (before.mode, before.uid, before.gid)
            && same_xattrs(before, attributes)
            && self.same_kind(&before.kind, after).await?;
        Ok(if !same {
            Difference::State
        } else if attributes.mtime == before.mtime || after.directory().is_some() {
            Difference::None
        } else {
            Difference::Times
        })
    }

    async fn same_kind(&self, before: &Kind, after: &Inode) -> Result<bool, VfsError> {
        Ok(match (before, &after.node) {
            (Kind::File { size, content }, Node::File(file)) => {
                *size == file.size() && self.same_content(*content, after).await?
            }
            (Kind::Directory { .. } | Kind::Pack { .. }, Node::Directory(_))
            | (Kind::Fifo, Node::Fifo)
            | (Kind::Socket, Node::Socket) => true,
            (Kind::Symlink { target }, Node::Symlink(now)) => **target == **now,
            (Kind::BlockDevice { rdev }, Node::BlockDevice(now))
            | (Kind::CharDevice { rdev }, Node::CharDevice(now)) => rdev == now,
            _ => false,
        })
    }

    /// Returns true if a file has this content. Long ones are not read: written is changed.
    async fn same_content(&self, content: ContentId, after: &Inode) -> Result<bool, VfsError> {
        let Some(file) = after.file() else {
            return Ok(false);
        };
        if file.is_base() && content_below(after) == Some(content) {
            return Ok(true);
        }
        if file.size() > SMALL_CONTENT_LEN_MAX {
            return Ok(false);
        }
        let changed = ChangedFile {
            base: self.base,
            view: self.view,
            inode: after,
        };
        match changed.read(0, file.size()).await {
            Ok(bytes) => Ok(small_content_id(&bytes) == content),
            // What was written can be told all the same, and must be: the user may want to discard it.
            Err(error) if error.is_corrupt() || error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns the content that an object has in its base.
fn content_below(inode: &Inode) -> Option<ContentId> {
    let base: &Arc<_> = inode.base.as_ref()?;
    match base.record.kind {
        Kind::File { content, .. } => Some(content),
        _ => None,
    }
}

fn same_xattrs(before: &Record, after: &Attributes) -> bool {
    let same = |value: &XattrValue, now: &XattrValue| match (value, now) {
        (XattrValue::Content { content, len }, XattrValue::Inline(bytes)) => {
            *len as usize == bytes.len() && small_content_id(bytes) == *content
        }
        (value, now) => value == now,
    };
    before.xattrs.len() == after.xattrs.size()
        && before.xattrs.iter().all(|xattr| {
            let now = after.xattrs.get(&xattr.name);
            now.is_some_and(|now| same(&xattr.value, now))
        })
}
