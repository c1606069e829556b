//! Access lists that the kernel enforces: how they are set, removed and inherited.

use lfsfs_overlay::{NewAttributes, NewNode, Operation};
use lfsfs_types::{ACCESS_LIST, AccessList, DEFAULT_LIST, XattrName, XattrValue, inherited_list};

use crate::config::AccessLists;
use crate::error::{Interrupted, VfsError};
use crate::writable::Vfs;
use crate::writable::plan::Plan;
use crate::writable::request::NewMode;
use crate::writable::xattrs::{plan_removal, plan_value};

const SETGID: u16 = 0o2000;
const PERMISSIONS: u16 = 0o777;

/// Who sets an access list, as far as setgid depends on it: it goes where the caller is not in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListSetter {
    /// The caller may keep setgid of any file (CAP_FSETID).
    pub is_privileged: bool,
    /// The group of the caller.
    pub gid: u32,
}

/// What a new object has of the directory that it is made in.
pub(super) struct Inherited {
    pub(super) mode: u16,
    pub(super) lists: Vec<(XattrName, XattrValue)>,
}

impl Inherited {
    /// Nothing: the process alone says what the object may be used for.
    fn nothing(mode: NewMode) -> Self {
        Self {
            mode: mode.bits & !mode.umask,
            lists: Vec::new(),
        }
    }
}

impl Vfs {
    /// Sets an access list or a default list, where they are enforced. An access list sets the permission bits with
    /// it, and is not kept if it says no more than these.
    pub async fn set_list(
        &self,
        ino: u64,
        name: &[u8],
        value: &[u8],
        setter: ListSetter,
    ) -> Result<(), VfsError> {
        let list = AccessList::parse(value).ok_or(VfsError::Invalid)?;
        let name = list_name(name)?;
        self.change(|plan| {
            if name.as_bytes() == DEFAULT_LIST {
                if !plan.merged.object(ino)?.is_directory() {
                    return Err(VfsError::NotPermitted.into());
                }
                return plan_value(plan, ino, &name, value);
            }
            plan_mode(plan, ino, &list, setter)?;
            if list.is_minimal() {
                plan_list_removal(plan, ino, &name)
            } else {
                plan_value(plan, ino, &name, value)
            }
        })
        .await
    }

    /// Removes an access list or a default list; the permission bits stay. Without one nothing happens.
    pub(super) async fn remove_list(&self, ino: u64, name: &XattrName) -> Result<(), VfsError> {
        self.change(|plan| plan_list_removal(plan, ino, name)).await
    }

    /// Returns a list of an object, whole, where lists are enforced.
    pub(super) async fn enforced_list(
        &self,
        ino: u64,
        name: &[u8],
    ) -> Result<Option<XattrValue>, VfsError> {
        if self.access_lists() == AccessLists::Kept {
            return Ok(None);
        }
        match self.getxattr(ino, name).await {
            Ok(bytes) => Ok(Some(XattrValue::Inline(bytes[..].into()))),
            Err(VfsError::NoAttribute) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns what an object has of the default list of its directory. A symbolic link has nothing.
    pub(super) async fn inherited(
        &self,
        parent: u64,
        node: &NewNode,
        mode: NewMode,
    ) -> Result<Inherited, VfsError> {
        if matches!(node, NewNode::Symlink(_)) {
            return Ok(Inherited::nothing(mode));
        }
        let default = self.enforced_list(parent, DEFAULT_LIST).await?;
        let Some(XattrValue::Inline(default)) = default else {
            return Ok(Inherited::nothing(mode));
        };
        let Some(inherited) = inherited_list(&default, mode.bits) else {
            return Ok(Inherited::nothing(mode));
        };
        let mut lists = Vec::new();
        if let Some(access) = inherited.access {
            lists.push((list_name(ACCESS_LIST)?, XattrValue::Inline(access.into())));
        }
        if matches!(node, NewNode::Directory) {
            lists.push((list_name(DEFAULT_LIST)?, XattrValue::Inline(default)));
        }
        Ok(Inherited {
            mode: mode.bits & !PERMISSIONS | inherited.mode_bits,
            lists,
        })
    }
}

fn plan_list_removal(
    plan: &mut Plan<'_, '_>,
    ino: u64,
    name: &XattrName,
) -> Result<(), Interrupted> {
    match plan_removal(plan, ino, name) {
        Err(Interrupted::Failed(VfsError::NoAttribute)) => Ok(()),
        planned => planned,
    }
}

fn list_name(name: &[u8]) -> Result<XattrName, VfsError> {
    XattrName::new(name).map_err(|_| VfsError::Invalid)
}

/// Plans the mode that an access list gives, and that setgid goes where the caller is not in the group.
fn plan_mode(
    plan: &mut Plan<'_, '_>,
    ino: u64,
    list: &AccessList,
    setter: ListSetter,
) -> Result<(), Interrupted> {
    let object = plan.merged.object(ino)?;
    let before = object.recorded_mode();
    let mut mode = before & !PERMISSIONS | list.mode_bits();
    if !setter.is_privileged && setter.gid != object.attr().gid {
        mode &= !SETGID;
    }
    if mode != before {
        plan.copy_up(&object);
        let attributes = NewAttributes {
            mode: Some(u32::from(mode)),
            ..NewAttributes::default()
        };
        let time = plan.time;
        plan.push(Operation::SetAttributes {
            ino,
            attributes,
            time,
        });
    }
    Ok(())
}
