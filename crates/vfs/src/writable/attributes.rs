//! Attributes: what stat shows, and how it is set.

use lfsfs_overlay::{NewAttributes, Operation};
use lfsfs_types::{ACCESS_LIST, Timestamp, XattrName, XattrValue};

use crate::access;
use crate::attr::{Attr, FileKind};
use crate::blocks;
use crate::config::AccessLists;
use crate::error::{Interrupted, VfsError};
use crate::merged::Object;
use crate::stack::Resolved;
use crate::writable::Vfs;
use crate::writable::plan::{Plan, check_range};
use crate::writable::request::{Privileges, SetAttr, SetTime};

const SETUID: u16 = 0o4000;
const SETGID: u16 = 0o2000;
const GROUP_EXEC: u16 = 0o010;
/// Capabilities that a file gives; they go whenever its content or owner changes, also if root changes it.
const CAPABILITY: &[u8] = b"security.capability";

impl Vfs {
    /// Returns the attributes of an inode.
    pub async fn getattr(&self, ino: u64) -> Result<Attr, VfsError> {
        match self.stack.resolve(ino).await? {
            Resolved::Base(view, found) => {
                let attr = Attr::of(ino, &found.record);
                Ok(blocks::of_found(view.base(), attr, &found))
            }
            Resolved::Upper(upper) => {
                let inode = upper.get()?.1;
                let attr = Attr::of_inode(ino, inode);
                Ok(blocks::of_inode(upper.base(), attr, inode))
            }
        }
    }

    /// Sets attributes, all or none, and returns what they are then.
    pub async fn setattr(&self, ino: u64, new: SetAttr) -> Result<Attr, VfsError> {
        let lists = self.access_lists();
        let list = match new.mode {
            Some(_) => self.enforced_list(ino, ACCESS_LIST).await?,
            None => None,
        };
        self.change(|plan| {
            let object = plan.merged.object(ino)?;
            let list = list.as_ref().or(object.access_list());
            plan_attributes(plan, &object, &new, (lists, list))
        })
        .await?;
        self.getattr(ino).await
    }
}

fn plan_attributes(
    plan: &mut Plan<'_, '_>,
    object: &Object<'_>,
    new: &SetAttr,
    (lists, list): (AccessLists, Option<&XattrValue>),
) -> Result<(), Interrupted> {
    let old = object.attr();
    let (ino, time) = (old.ino, new.ctime.unwrap_or(plan.time));
    let changes_owner = new.uid.is_some() || new.gid.is_some();
    let before = object.recorded_mode();
    let set = |mode: u16| match lists {
        AccessLists::Kept => access::recorded(mode, before, list),
        AccessLists::Enforced => mode,
    };
    let left = || mode_left(old.kind, before, new, changes_owner);
    let mode = new.mode.map(set).or_else(left);
    if let Some(size) = new.size {
        object.expect_file()?;
        check_range(size, 0)?;
        plan.copy_up(object);
        drop_capability(plan, object);
        let mode = mode.map(u32::from);
        plan.push(Operation::Truncate {
            ino,
            size,
            time,
            mode,
        });
    }
    let changes_times = new.mtime.is_some() || new.ctime.is_some();
    if changes_owner || new.mode.is_some() || changes_times {
        plan.copy_up(object);
        if changes_owner && new.size.is_none() {
            drop_capability(plan, object);
        }
        let attributes = NewAttributes {
            mode: mode.map(|mode| u32::from(mode & 0o7777)),
            uid: new.uid,
            gid: new.gid,
            mtime: new.mtime.map(|mtime| resolve(mtime, time)),
        };
        plan.push(Operation::SetAttributes {
            ino,
            attributes,
            time,
        });
    }
    if new.mode.is_some() {
        plan_access_list(plan, object, list, mode.unwrap_or(before));
    }
    plan_access_time(plan, object, new);
    Ok(())
}

/// Plans what a mode that was set makes of an access list. The object was copied up before.
fn plan_access_list(
    plan: &mut Plan<'_, '_>,
    object: &Object<'_>,
    list: Option<&XattrValue>,
    mode: u16,
) {
    let changed = list.and_then(|list| access::with_mode(list, mode));
    if let Some(value) = changed
        && let Ok(name) = XattrName::new(ACCESS_LIST)
    {
        let (ino, time) = (object.ino(), plan.time);
        plan.push(Operation::SetXattr {
            ino,
            name,
            value,
            time,
        });
    }
}

/// Plans what is the last access afterwards. Until it is set it is the mtime, so setting that alone must
/// leave it as it was.
fn plan_access_time(plan: &mut Plan<'_, '_>, object: &Object<'_>, new: &SetAttr) {
    let (old, time) = (object.attr(), new.ctime.unwrap_or(plan.time));
    let kept = new.mtime.map(|_| SetTime::At(old.atime));
    let Some(atime) = new.atime.or(kept).map(|atime| resolve(atime, time)) else {
        return;
    };
    plan.copy_up(object);
    plan.push(Operation::SetAccessTime {
        ino: old.ino,
        atime,
        time,
    });
}

/// Returns the mode that a change of owner or size leaves, if it is another one.
fn mode_left(kind: FileKind, mode: u16, new: &SetAttr, changes_owner: bool) -> Option<u16> {
    let cuts = new.size.is_some() && new.privileges == Privileges::Kill;
    let applies = cuts || (changes_owner && kind != FileKind::Directory);
    applies.then(|| without_privileges(mode)).flatten()
}

/// Returns the mode without setuid, and without the setgid that lets others run the file as its
/// group; `None` if it has neither. Setgid without the right to run is another thing (mandatory
/// locks) and stays.
fn without_privileges(mode: u16) -> Option<u16> {
    let mut left = mode & !SETUID;
    if mode & GROUP_EXEC != 0 {
        left &= !SETGID;
    }
    (left != mode).then_some(left)
}

/// Plans what a change of content does to privileges, and returns the mode to set with it.
pub(super) fn plan_privileges(
    plan: &mut Plan<'_, '_>,
    object: &Object<'_>,
    privileges: Privileges,
) -> Option<u32> {
    drop_capability(plan, object);
    match privileges {
        Privileges::Keep => None,
        Privileges::Kill => without_privileges(object.recorded_mode()).map(u32::from),
    }
}

fn drop_capability(plan: &mut Plan<'_, '_>, object: &Object<'_>) {
    let has_one = match object {
        Object::Upper { inode, .. } => {
            let mut names = inode.attributes.xattrs.keys();
            names.any(|name| name.as_bytes() == CAPABILITY)
        }
        Object::Base(found) => {
            let mut xattrs = found.object.record.xattrs.iter();
            xattrs.any(|xattr| xattr.name.as_bytes() == CAPABILITY)
        }
    };
    if has_one && let Ok(name) = XattrName::new(CAPABILITY) {
        let (ino, time) = (object.ino(), plan.time);
        plan.push(Operation::RemoveXattr { ino, name, time });
    }
}

fn resolve(time: SetTime, now: Timestamp) -> Timestamp {
    match time {
        SetTime::Now => now,
        // As local file systems do with times that they cannot keep.
        SetTime::At(time) => time.clamped(),
    }
}
