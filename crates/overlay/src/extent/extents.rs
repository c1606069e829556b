//! The extents of one file, by their offsets.

use crate::Map;
use crate::extent::Extent;

/// Extents in the order of their offsets. Most files are written once and have one, which lies in the file
/// itself: a tree of one entry takes two allocations.
#[derive(Debug, Clone, Default)]
pub(super) struct Extents {
    /// The only one.
    one: Option<(u64, Extent)>,
    /// All of them once there were several.
    several: Map<u64, Extent>,
}

impl Extents {
    pub(super) fn is_empty(&self) -> bool {
        self.one.is_none() && self.several.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Extent)> {
        let one = self.one.iter().map(|(offset, extent)| (*offset, extent));
        one.chain(
            self.several
                .iter()
                .map(|(offset, extent)| (*offset, extent)),
        )
    }

    pub(super) fn get(&self, offset: u64) -> Option<&Extent> {
        match &self.one {
            Some((at, extent)) if *at == offset => Some(extent),
            Some(_) => None,
            None => self.several.get(&offset),
        }
    }

    pub(super) fn get_mut(&mut self, offset: u64) -> Option<&mut Extent> {
        match &mut self.one {
            Some((at, extent)) if *at == offset => Some(extent),
            Some(_) => None,
            None => self.several.get_mut(&offset),
        }
    }

    /// Returns the last one that begins before `offset`.
    pub(super) fn last_before(&self, offset: u64) -> Option<(u64, &Extent)> {
        match &self.one {
            Some((at, extent)) => (*at < offset).then_some((*at, extent)),
            None => {
                let last = self.several.range(..offset).next_back();
                last.map(|(at, extent)| (*at, extent))
            }
        }
    }

    /// Returns those that begin from `start` on and before `end`.
    pub(super) fn from(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, &Extent)> {
        let one = self.one.iter().map(|(offset, extent)| (*offset, extent));
        let one = one.filter(move |(offset, _)| (start..end).contains(offset));
        // A range that ends before it begins is none, and not to be asked for.
        let several = (start < end).then(|| self.several.range(start..end));
        let several = several.into_iter().flatten();
        one.chain(several.map(|(offset, extent)| (*offset, extent)))
    }

    pub(super) fn insert_mut(&mut self, offset: u64, extent: Extent) {
        match self.one.take() {
            None if self.several.is_empty() => self.one = Some((offset, extent)),
            Some((at, _)) if at == offset => self.one = Some((offset, extent)),
            one => {
                if let Some((at, first)) = one {
                    self.several.insert_mut(at, first);
                }
                self.several.insert_mut(offset, extent);
            }
        }
    }

    pub(super) fn remove_mut(&mut self, offset: u64) {
        match &self.one {
            Some((at, _)) if *at == offset => self.one = None,
            Some(_) => {}
            None => {
                self.several.remove_mut(&offset);
            }
        }
    }
}

impl PartialEq for Extents {
    /// How they are kept depends on how many there once were, and does not count.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Extents {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::extent::ExtentSource;

    fn extent(written: u64) -> Extent {
        Extent {
            len: 1,
            source: ExtentSource::Zeros,
            written,
        }
    }

    #[test]
    fn they_are_those_of_a_plain_map_through_none_one_and_several() {
        let (mut extents, mut plain) = (Extents::default(), BTreeMap::new());
        for step in 0..400_u64 {
            let offset = step * 7919 % 5;
            // Often none and one, now and then several.
            if step * 31 % 7 < 3 {
                extents.insert_mut(offset, extent(step));
                plain.insert(offset, extent(step));
            } else {
                extents.remove_mut(offset);
                plain.remove(&offset);
            }
            if let Some(extent) = extents.get_mut(2) {
                extent.len += 1;
            }
            if let Some(extent) = plain.get_mut(&2) {
                extent.len += 1;
            }
            let all = plain.iter().map(|(at, extent)| (*at, extent));
            assert!(extents.iter().eq(all), "step {step}");
            assert_eq!(extents.is_empty(), plain.is_empty());
            for at in 0..6 {
                assert_eq!(extents.get(at), plain.get(&at));
                let last = plain.range(..at).next_back();
                assert_eq!(extents.last_before(at), last.map(|(at, it)| (*at, it)));
                let from = plain.range(at..5).map(|(at, extent)| (*at, extent));
                assert!(extents.from(at, 5).eq(from));
            }
            assert_eq!(extents.from(3, 3).count(), 0);
            assert_eq!(extents.from(3, 2).count(), 0);
        }
    }
}
