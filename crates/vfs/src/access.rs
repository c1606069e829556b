//! Access lists, as far as permission bits can stand for them.
//!
//! Nothing here enforces a list: the kernel checks the mode that it is shown. So what a list denies to
//! anybody is denied to the whole class of users that he would fall into without it. The recorded mode,
//! whose group bits are the mask of the list, stays what it is.

use lfsfs_types::XattrValue;

/// The attribute that holds a list.
pub(crate) const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

const VERSION: [u8; 4] = [2, 0, 0, 0];
const ENTRY_LEN: usize = 8;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const ALL: u16 = 0o7;

/// Returns the mode to show for a recorded one.
pub(crate) fn shown(mode: u16, list: Option<&XattrValue>) -> u16 {
    let Some(list) = list else { return mode };
    let (group, other) = match list {
        XattrValue::Inline(list) => allowed(list),
        // It has more than a hundred entries, and is not at hand.
        XattrValue::Content { .. } => (0, 0),
    };
    mode & (0o7700 | group << 3 | other)
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
    entries(list).filter(|it| has_mask(it))?;
    let mut changed = list.clone();
    for entry in changed[VERSION.len()..].chunks_exact_mut(ENTRY_LEN) {
        let bits = match half(entry, 0) {
            USER_OBJ => mode >> 6,
            MASK => mode >> 3,
            OTHER => mode,
            _ => continue,
        };
        entry[2..4].copy_from_slice(&(bits & ALL).to_le_bytes());
    }
    (changed != *list).then_some(XattrValue::Inline(changed))
}

/// Returns the bits that the list leaves to a file's group and to others.
fn allowed(list: &[u8]) -> (u16, u16) {
    let Some(entries) = entries(list) else {
        // Whatever it says, it is there to deny something.
        return (0, 0);
    };
    if !has_mask(&entries) {
        return (ALL, ALL);
    }
    let of = |wanted: &[u16]| {
        let found = entries.iter().filter(|(tag, _)| wanted.contains(tag));
        found.fold(ALL, |bits, (_, permissions)| bits & permissions)
    };
    let mask = of(&[MASK]);
    // Who is in the group has what the group has, whatever other groups he is in.
    (
        of(&[GROUP_OBJ, USER]) & mask,
        of(&[USER, GROUP]) & mask_of(&entries, mask),
    )
}

/// Returns what the mask leaves to those who are named; all if nobody is.
fn mask_of(entries: &[(u16, u16)], mask: u16) -> u16 {
    let is_named = |(tag, _): &(u16, u16)| matches!(*tag, USER | GROUP);
    if entries.iter().any(is_named) {
        mask
    } else {
        ALL
    }
}

fn has_mask(entries: &[(u16, u16)]) -> bool {
    entries.iter().any(|(tag, _)| *tag == MASK)
}

/// Returns tags and permissions; `None` for what is no list.
fn entries(list: &[u8]) -> Option<Vec<(u16, u16)>> {
    let entries = list.strip_prefix(&VERSION)?;
    let is_whole = entries.len().is_multiple_of(ENTRY_LEN);
    let entries = entries.chunks_exact(ENTRY_LEN);
    is_whole.then(|| {
        entries
            .map(|entry| (half(entry, 0), half(entry, 2) & ALL))
            .collect()
    })
}

fn half(entry: &[u8], at: usize) -> u16 {
    u16::from(entry[at]) | u16::from(entry[at + 1]) << 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16)]) -> XattrValue {
        let mut bytes = VERSION.to_vec();
        for (tag, permissions) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(permissions.to_le_bytes());
            bytes.extend(u32::MAX.to_le_bytes());
        }
        XattrValue::Inline(bytes.into())
    }

    /// `u::rw,u:1234:user,g::group,m::mask,o::other`, with the mode that a local file system shows.
    fn named(user: u16, group: u16, mask: u16, other: u16) -> (XattrValue, u16) {
        let entries = [
            (USER_OBJ, 6),
            (USER, user),
            (GROUP_OBJ, group),
            (MASK, mask),
            (OTHER, other),
        ];
        (list(&entries), 0o600 | mask << 3 | other)
    }

    #[test]
    fn what_a_list_denies_is_not_shown_as_allowed() {
        for (list, mode, expected) in [
            // The group has nothing, although the mask has.
            (named(6, 0, 6, 0), 0o660, 0o600),
            (named(6, 4, 6, 4), 0o664, 0o644),
            (named(7, 7, 4, 4), 0o644, 0o644),
            // One user is denied, so all are who could be he.
            (named(0, 4, 4, 4), 0o644, 0o600),
            (named(4, 6, 6, 6), 0o666, 0o644),
        ] {
            assert_eq!(list.1, mode);
            assert_eq!(shown(mode, Some(&list.0)), expected, "{mode:o}");
        }
        // Another group with less than others have.
        let list = list(&[
            (USER_OBJ, 6),
            (GROUP_OBJ, 4),
            (GROUP, 0),
            (MASK, 4),
            (OTHER, 4),
        ]);
        assert_eq!(shown(0o644, Some(&list)), 0o640);
    }

    #[test]
    fn without_a_list_or_with_one_that_says_no_more_the_mode_is_shown() {
        assert_eq!(shown(0o6775, None), 0o6775);
        let minimal = list(&[(USER_OBJ, 7), (GROUP_OBJ, 7), (OTHER, 5)]);
        assert_eq!(shown(0o6775, Some(&minimal)), 0o6775);
        let unnamed = list(&[(USER_OBJ, 7), (GROUP_OBJ, 5), (MASK, 4), (OTHER, 7)]);
        assert_eq!(shown(0o747, Some(&unnamed)), 0o747);
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
        let (list, before) = named(6, 0, 6, 0);
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
        let (before, _) = named(6, 0, 6, 0);
        assert_eq!(with_mode(&before, 0o660), None);
        let (after, _) = named(6, 0, 4, 4);
        assert_eq!(with_mode(&before, 0o644), Some(after));
    }
}
