//! Extended attributes.

use bytes::Bytes;
use lfsfs_overlay::{Inode, Operation};
use lfsfs_types::limits::{XATTR_LEN_MAX, XATTR_NAMES_LEN_MAX, XATTRS_MAX};
use lfsfs_types::{XattrName, XattrNameError, XattrNamespace, XattrValue, nodeid};

use crate::config::AccessLists;
use crate::error::{Interrupted, VfsError};
use crate::merged::Object;
use crate::overlay_file::{BelowRange, not_below, read_below};
use crate::stack::Resolved;
use crate::writable::Vfs;
use crate::writable::plan::Plan;
use crate::writable::request::XattrMode;
use crate::xattr;

impl Vfs {
    /// Returns the value of an extended attribute.
    pub async fn getxattr(&self, ino: u64, name: &[u8]) -> Result<Bytes, VfsError> {
        let upper = match self.stack.resolve(ino).await? {
            Resolved::Upper(upper) => upper,
            Resolved::Base(view, found) => return view.base().xattr_found(ino, &found, name).await,
        };
        let base = upper.base();
        if ino == nodeid::ROOT && name == xattr::VERSION {
            return Ok(xattr::version(base.snapshot()));
        }
        let (_, inode) = upper.get()?;
        let name = XattrName::new(name).map_err(|_| VfsError::NoAttribute)?;
        match inode.attributes.xattrs.get(&name) {
            None => Err(xattr::absent(name.as_bytes())),
            Some(XattrValue::Inline(bytes)) => Ok(Bytes::copy_from_slice(bytes)),
            Some(XattrValue::Content { content, len }) => {
                let below = inode.base.as_deref().ok_or_else(not_below)?;
                let len = u64::from(*len);
                let range = BelowRange {
                    content: *content,
                    size: len,
                    offset: 0,
                    len,
                };
                read_below(base, below, range).await
            }
        }
    }

    /// Returns the names of an inode's extended attributes, each with a NUL behind it.
    pub async fn listxattr(&self, ino: u64) -> Result<Bytes, VfsError> {
        match self.stack.resolve(ino).await? {
            Resolved::Base(_, found) => Ok(xattr::names(&found.record)),
            Resolved::Upper(upper) => Ok(names(upper.get()?.1)),
        }
    }

    /// Sets an extended attribute: up to 64 KiB, 1,024 of an object and 64 KiB of names.
    pub async fn setxattr(
        &self,
        ino: u64,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> Result<(), VfsError> {
        if value.len() > XATTR_LEN_MAX {
            return Err(VfsError::AttributeTooLarge);
        }
        let name = checked(ino, name)?;
        check_namespace(&name)?;
        self.change(|plan| {
            let object = plan.merged.object(ino)?;
            match (mode, Attributes::of(&object, &name).has_name) {
                (XattrMode::Create, true) => Err(VfsError::Exists.into()),
                (XattrMode::Replace, false) => Err(VfsError::NoAttribute.into()),
                _ => plan_value(plan, ino, &name, value),
            }
        })
        .await
    }

    /// Removes an extended attribute. One with a name that no program can set goes too: earlier versions
    /// have such.
    pub async fn removexattr(&self, ino: u64, name: &[u8]) -> Result<(), VfsError> {
        let name = checked(ino, name)?;
        match (name.namespace(), self.access_lists()) {
            (Ok(XattrNamespace::AccessList), AccessLists::Enforced) => {
                self.remove_list(ino, &name).await
            }
            (Ok(XattrNamespace::AccessList), AccessLists::Kept) => Err(ACCESS_LIST),
            _ => self.change(|plan| plan_removal(plan, ino, &name)).await,
        }
    }
}

/// Plans that an object has a value.
pub(super) fn plan_value(
    plan: &mut Plan<'_, '_>,
    ino: u64,
    name: &XattrName,
    value: &[u8],
) -> Result<(), Interrupted> {
    let object = plan.merged.object(ino)?;
    Attributes::of(&object, name).check_room(name)?;
    let value = XattrValue::Inline(value.into());
    // As on ext4: what is so already is no change, not even of the ctime.
    if value_of(&object, name) == Some(&value) {
        return Ok(());
    }
    plan.copy_up(&object);
    let (name, time) = (name.clone(), plan.time);
    plan.push(Operation::SetXattr {
        ino,
        name,
        value,
        time,
    });
    Ok(())
}

/// Plans that an object has no value any more. Without one that is an error.
pub(super) fn plan_removal(
    plan: &mut Plan<'_, '_>,
    ino: u64,
    name: &XattrName,
) -> Result<(), Interrupted> {
    let object = plan.merged.object(ino)?;
    if !Attributes::of(&object, name).has_name {
        return Err(xattr::absent(name.as_bytes()).into());
    }
    plan.copy_up(&object);
    let (name, time) = (name.clone(), plan.time);
    plan.push(Operation::RemoveXattr { ino, name, time });
    Ok(())
}

/// The attributes of an object, as far as setting one asks.
struct Attributes {
    has_name: bool,
    count: usize,
    names_len: usize,
}

impl Attributes {
    fn of(object: &Object<'_>, name: &XattrName) -> Self {
        let mut found = Self {
            has_name: false,
            count: 0,
            names_len: 0,
        };
        let add = |it: &XattrName| {
            found.has_name |= it == name;
            found.count += 1;
            found.names_len += it.as_bytes().len() + 1;
        };
        match object {
            Object::Upper { inode, .. } => inode.attributes.xattrs.keys().for_each(add),
            Object::Base(base) => {
                let xattrs = base.object.record.xattrs.iter();
                xattrs.map(|xattr| &xattr.name).for_each(add);
            }
        }
        found
    }

    fn check_room(&self, name: &XattrName) -> Result<(), VfsError> {
        let names_len = self.names_len + name.as_bytes().len() + 1;
        let fits = self.count < XATTRS_MAX && names_len <= XATTR_NAMES_LEN_MAX;
        if self.has_name || fits {
            Ok(())
        } else {
            Err(VfsError::NoSpace)
        }
    }
}

/// Returns the value of an attribute that an object has.
fn value_of<'a>(object: &'a Object<'_>, name: &XattrName) -> Option<&'a XattrValue> {
    match object {
        Object::Upper { inode, .. } => inode.attributes.xattrs.get(name),
        Object::Base(base) => {
            let mut xattrs = base.object.record.xattrs.iter();
            let found = xattrs.find(|xattr| xattr.name == *name);
            found.map(|xattr| &xattr.value)
        }
    }
}

/// Where access lists are not enforced, it must not seem that they were set.
const ACCESS_LIST: VfsError = VfsError::Unsupported {
    what: "an access list",
};

/// Checks the name of an attribute that is to be changed.
fn checked(ino: u64, name: &[u8]) -> Result<XattrName, VfsError> {
    if ino == nodeid::ROOT && name == xattr::VERSION {
        return Err(VfsError::NotPermitted);
    }
    XattrName::new(name).map_err(|error| match error {
        XattrNameError::TooLong { .. } => VfsError::AttributeNameTooLong,
        _ => VfsError::Invalid,
    })
}

/// Checks that the name of an attribute that is to be set has a namespace. Whether the caller may use
/// that is the kernel's to check.
fn check_namespace(name: &XattrName) -> Result<(), VfsError> {
    match name.namespace() {
        Ok(XattrNamespace::AccessList) => Err(ACCESS_LIST),
        Ok(_) => Ok(()),
        Err(error) => Err(xattr::without_namespace(error)),
    }
}

fn names(inode: &Inode) -> Bytes {
    let mut names = Vec::new();
    for name in inode.attributes.xattrs.keys() {
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    names.into()
}
