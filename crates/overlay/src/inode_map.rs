//! Maps and sets of inodes by their numbers.
//!
//! New inodes get numbers one after the other, so neighbours in number are used together. They lie together
//! in pages: a page is one allocation and one node of the tree above it, where a tree of single inodes has
//! two allocations for each and touches as many places of memory as it has levels. A clone is O(1) and shares
//! all pages; a change copies the page that it is in if it is shared.

use std::sync::Arc;

use crate::Map;
use crate::inode::Inode;

/// Numbers of one page.
const PAGE_LEN: u64 = 32;
/// Numbers of one word of a set.
const WORD_LEN: u64 = 64;

/// Inodes by their numbers, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InodeMap {
    /// Pages by their number; none is empty. Each is in the order of the numbers.
    pages: Map<u64, Arc<Vec<(u64, Inode)>>>,
    len: usize,
}

impl InodeMap {
    pub(crate) fn size(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, ino: &u64) -> Option<&Inode> {
        let page = self.pages.get(&(ino / PAGE_LEN))?;
        let at = position(page, *ino).ok()?;
        page.get(at).map(|(_, inode)| inode)
    }

    pub(crate) fn get_mut(&mut self, ino: &u64) -> Option<&mut Inode> {
        let (page, at) = self.page_with(*ino)?;
        page.get_mut(at).map(|(_, inode)| inode)
    }

    pub(crate) fn insert_mut(&mut self, ino: u64, inode: Inode) {
        let Some(page) = self.pages.get_mut(&(ino / PAGE_LEN)) else {
            self.len += 1;
            let page = Arc::new(vec![(ino, inode)]);
            self.pages.insert_mut(ino / PAGE_LEN, page);
            return;
        };
        let page = Arc::make_mut(page);
        match position(page, ino) {
            Ok(at) => page[at].1 = inode,
            Err(at) => {
                page.insert(at, (ino, inode));
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove_mut(&mut self, ino: &u64) -> Option<Inode> {
        let (page, at) = self.page_with(*ino)?;
        let (_, inode) = page.remove(at);
        let is_last = page.is_empty();
        self.len -= 1;
        if is_last {
            self.pages.remove_mut(&(ino / PAGE_LEN));
        }
        Some(inode)
    }

    /// Returns the page of an inode, to be changed, and where it is there. What is not there copies no page.
    fn page_with(&mut self, ino: u64) -> Option<(&mut Vec<(u64, Inode)>, usize)> {
        let number = ino / PAGE_LEN;
        let at = position(self.pages.get(&number)?, ino).ok()?;
        Some((Arc::make_mut(self.pages.get_mut(&number)?), at))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&u64, &Inode)> {
        let inodes = self.pages.values().flat_map(|page| page.iter());
        inodes.map(|(ino, inode)| (ino, inode))
    }
}

fn position(page: &[(u64, Inode)], ino: u64) -> Result<usize, usize> {
    page.binary_search_by_key(&ino, |(ino, _)| *ino)
}

/// Numbers of inodes, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct InodeSet {
    /// Words by their number, a bit for each inode; none is zero.
    words: Map<u64, u64>,
}

impl InodeSet {
    pub(crate) fn contains(&self, ino: &u64) -> bool {
        let word = self.words.get(&(ino / WORD_LEN));
        word.is_some_and(|word| word & bit(*ino) != 0)
    }

    pub(crate) fn insert_mut(&mut self, ino: u64) {
        match self.words.get_mut(&(ino / WORD_LEN)) {
            Some(word) => *word |= bit(ino),
            None => self.words.insert_mut(ino / WORD_LEN, bit(ino)),
        }
    }

    pub(crate) fn remove_mut(&mut self, ino: &u64) {
        if !self.contains(ino) {
            return;
        }
        let number = ino / WORD_LEN;
        let Some(word) = self.words.get_mut(&number) else {
            return;
        };
        *word &= !bit(*ino);
        if *word == 0 {
            self.words.remove_mut(&number);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().flat_map(|(number, word)| {
            let numbers = (0..WORD_LEN).map(move |at| number * WORD_LEN + at);
            numbers.filter(move |ino| word & bit(*ino) != 0)
        })
    }
}

fn bit(ino: u64) -> u64 {
    1 << (ino % WORD_LEN)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use lfsfs_types::{DirId, Kind, Record};

    use super::*;
    use crate::inode::BaseObject;

    fn inode(generation: u64) -> Inode {
        let base = BaseObject {
            directory: DirId(1),
            name: None,
            record: Record::plain(Kind::Fifo, 0o600),
        };
        Inode::of_base(Arc::new(base), generation)
    }

    /// Numbers of which some are neighbours and some are far from all others, and whether they come or go.
    fn steps() -> impl Iterator<Item = (u64, bool)> {
        (0..2000_u64).map(|step| {
            let near = 1_000_000 + step * 7919 % 150;
            let ino = if step.is_multiple_of(3) {
                near.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            } else {
                near
            };
            (ino, step % 500 < 280)
        })
    }

    #[test]
    fn a_map_is_a_plain_one_and_its_clones_stay() {
        let (mut map, mut plain) = (InodeMap::default(), BTreeMap::new());
        for (generation, (ino, adds)) in (0..).zip(steps()) {
            let (before, expected) = (map.clone(), plain.clone());
            if adds {
                map.insert_mut(ino, inode(generation));
                plain.insert(ino, inode(generation));
            } else {
                assert_eq!(map.remove_mut(&ino), plain.remove(&ino));
            }
            if let Some(inode) = map.get_mut(&1_000_007) {
                inode.generation += 1;
            }
            if let Some(inode) = plain.get_mut(&1_000_007) {
                inode.generation += 1;
            }
            assert!(map.iter().eq(&plain) && before.iter().eq(&expected));
            assert_eq!(map.get(&ino), plain.get(&ino));
            assert_eq!(map.size(), plain.len());
        }
    }

    #[test]
    fn a_set_is_a_plain_one() {
        let (mut set, mut plain) = (InodeSet::default(), BTreeSet::new());
        for (ino, adds) in steps() {
            if adds {
                set.insert_mut(ino);
                plain.insert(ino);
            } else {
                set.remove_mut(&ino);
                plain.remove(&ino);
            }
            assert!(set.iter().eq(plain.iter().copied()));
            assert_eq!(set.contains(&ino), plain.contains(&ino));
        }
    }
}
