//! Access lists: what modes and lists make of each other.
//!
//! Where the kernel does not enforce lists it checks the mode that it is shown. So what a list denies to
//! one user is denied to the whole class of users that he would fall into without it. The recorded mode,
//! whose group bits are the mask of the list, stays what it is.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use lfsfs_types::{AccessList, XattrName, XattrNamespace, XattrValue, access_list_with_mode};

/// Returns the mode to show for a recorded one.
pub(crate) fn shown(mode: u16, list: Option<&XattrValue>) -> u16 {
    let Some(list) = list else { return mode };
    let list = match list {
        XattrValue::Inline(list) => AccessList::parse(list),
        // It has more than a hundred entries, and is not at hand.
        XattrValue::Content { .. } => None,
    };
    // What cannot be read is there to deny something, whatever it says.
    let left = list.map_or(0, |list| list.class_bits());
    mode & (0o7700 | left)
}

/// Returns the mode to record where a caller sets one: what he sets as it is shown stays as it is
/// recorded.
pub(crate) fn recorded(set: u16, before: u16, list: Option<&XattrValue>) -> u16 {
    let shown = shown(before, list);
    let kept = [0o070, 0o007]
        .into_iter()
        .filter(|class| (set ^ shown) & class == 0);
    kept.fold(set, |mode, class| mode & !class | before & class)
}

/// Returns the list after the mode was set, as local file systems do it: the group bits are the mask.
/// `None` if it is the same.
pub(crate) fn with_mode(list: &XattrValue, mode: u16) -> Option<XattrValue> {
    let XattrValue::Inline(list) = list else {
        return None;
    };
    access_list_with_mode(list, mode).map(|changed| XattrValue::Inline(changed.into()))
}

/// Returns a number that differs where the access lists of two objects do; 0 without any.
pub(crate) fn mark<'a>(xattrs: impl Iterator<Item = (&'a XattrName, &'a XattrValue)>) -> u64 {
    let mut lists = xattrs
        .filter(|(name, _)| name.namespace() == Ok(XattrNamespace::AccessList))
        .peekable();
    if lists.peek().is_none() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    lists.for_each(|list| list.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `u::rw,u:1234:rw,g::---,m::mask,o::other`
    fn list(mask: u8, other: u8) -> XattrValue {
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, rights) in [(1, 6), (2, 6), (4, 0), (0x10, mask), (0x20, other)] {
            bytes.extend([tag, 0, rights, 0, 255, 255, 255, 255]);
        }
        XattrValue::Inline(bytes.into())
    }

    #[test]
    fn what_a_list_denies_is_not_shown_as_allowed() {
        assert_eq!(shown(0o6660, Some(&list(6, 0))), 0o6600);
        assert_eq!(shown(0o6775, None), 0o6775);
    }

    #[test]
    fn what_is_no_list_denies_all_but_the_owner() {
        for bytes in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01"] {
            let list = XattrValue::Inline(bytes.into());
            assert_eq!(shown(0o4755, Some(&list)), 0o4700, "{bytes:?}");
            assert_eq!(with_mode(&list, 0o644), None);
        }
    }

    #[test]
    fn a_mode_that_is_set_as_it_is_shown_changes_no_mask() {
        let (list, before) = (list(6, 0), 0o660);
        assert_eq!(shown(before, Some(&list)), 0o600);
        assert_eq!(recorded(0o700, before, Some(&list)), 0o760, "chmod u+x");
        assert_eq!(recorded(0o600, before, Some(&list)), before);
        assert_eq!(
            recorded(0o640, before, Some(&list)),
            0o640,
            "the mask is set"
        );
        assert_eq!(shown(0o640, Some(&list)), 0o600, "and grants nothing");
        assert_eq!(recorded(0o640, 0o666, None), 0o640);
    }

    #[test]
    fn the_list_follows_the_mode() {
        assert_eq!(with_mode(&list(6, 0), 0o660), None);
        assert_eq!(with_mode(&list(6, 0), 0o644), Some(list(4, 4)));
    }
}
