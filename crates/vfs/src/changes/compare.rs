//! Whether an object of the overlay differs from a record of the base.

use std::sync::Arc;

use lfsfs_overlay::{Attributes, Inode, Node};
use lfsfs_types::content::small_content_id;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{Aspect, ContentId, Kind, Record, Xattr, XattrValue};

use crate::changes::Comparison;
use crate::error::VfsError;
use crate::overlay_file::OverlayFile;

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
        let differences = before.differences(&with_attributes(before, &after.attributes));
        let same = !differences.has_any(&[Aspect::Mode, Aspect::Owner, Aspect::Xattrs])
            && self.same_kind(&before.kind, after).await?;
        // Other times of a directory make no version, and no line tells of the ctime or of a link.
        let same_time = !differences.has(Aspect::Mtime) || after.directory().is_some();
        Ok(if !same {
            Difference::State
        } else if same_time {
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
            (Kind::Directory { .. }, Node::Directory(_))
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
        let changed = OverlayFile {
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

/// Returns a record with the attributes of an object of the overlay. What it holds is left as it was:
/// whether that differs may have to be read, so it is looked at last.
fn with_attributes(before: &Record, attributes: &Attributes) -> Record {
    let xattrs = attributes.xattrs.iter();
    let xattrs = xattrs.map(|(name, value)| Xattr {
        name: name.clone(),
        value: match value {
            XattrValue::Inline(bytes) => XattrValue::of(bytes),
            XattrValue::Content { .. } => value.clone(),
        },
    });
    Record {
        mode: attributes.mode,
        uid: attributes.uid,
        gid: attributes.gid,
        mtime: attributes.mtime,
        xattrs: xattrs.collect(),
        kind: before.kind.clone(),
        ..*before
    }
}
