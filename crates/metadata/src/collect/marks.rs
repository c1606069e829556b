//! The contents that rows name, in bounded memory: a Bloom filter for a part of all ids.
//!
//! An id that was marked is always found. One that was not is found by mistake now and then: then its content stays
//! until another collection, which begins from another number, so that it does not make the same mistakes.

use std::ops::Range;

use lfsfs_meta_store::KeyRange;
use lfsfs_types::ContentId;

/// Bits that each content sets.
const HASHES: u64 = 6;
/// Contents are marked in so many parts at most.
pub(super) const PARTS_MAX: u32 = 1 << 10;

/// A part of all ids: those whose first two bytes are in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part(pub(super) Range<u32>);

impl Part {
    /// The number of all beginnings.
    pub(crate) const ALL: u32 = 1 << 16;

    pub(crate) fn has(&self, content: ContentId) -> bool {
        let [first, second, ..] = *content.as_bytes();
        self.0
            .contains(&(u32::from(first) << 8 | u32::from(second)))
    }

    /// Returns the rows of a table that begin with an id of a content, for the ids of this part.
    pub(crate) fn rows_of(&self, table: u8) -> KeyRange {
        let (first, end) = self.bounds();
        let key = |content: ContentId| [&[table], content.as_bytes().as_slice()].concat();
        KeyRange {
            start: key(first),
            end: end.map(key).or(KeyRange::prefix(&[table]).end),
        }
    }

    /// Returns the first id, and the first one behind the last; none if there are none behind.
    fn bounds(&self) -> (ContentId, Option<ContentId>) {
        (
            first_id(self.0.start).unwrap_or(ContentId([0xff; 32])),
            first_id(self.0.end),
        )
    }
}

fn first_id(beginning: u32) -> Option<ContentId> {
    let beginning = u16::try_from(beginning).ok()?;
    let mut id = [0; 32];
    id[..2].copy_from_slice(&beginning.to_be_bytes());
    Some(ContentId(id))
}

/// Contents that are marked.
#[derive(Debug)]
pub(super) struct Marks {
    part: Part,
    words: Vec<u64>,
    /// Other in each collection.
    seed: u64,
}

impl Marks {
    /// Returns marks of about so many bytes for a part of all ids. They are exact enough for a content in each byte and
    /// a half.
    pub(super) fn new(part: Part, bytes: usize, seed: u64) -> Self {
        Self {
            part,
            words: vec![0; (bytes / 8).max(8)],
            seed,
        }
    }

    pub(super) fn mark(&mut self, content: ContentId) {
        if !self.part.has(content) {
            return;
        }
        for bit in self.bits(content) {
            self.words[bit.0] |= bit.1;
        }
    }

    pub(super) fn has(&self, content: ContentId) -> bool {
        self.bits(content)
            .all(|(word, bit)| self.words[word] & bit != 0)
    }

    /// Two numbers of the id give as many as are needed. Source: A. Kirsch, M. Mitzenmacher, "Less Hashing, Same
    /// Performance: Building a Better Bloom Filter", 2006.
    fn bits(&self, content: ContentId) -> impl Iterator<Item = (usize, u64)> + use<> {
        let number = |at: usize| {
            let bytes = &content.as_bytes()[at..at + 8];
            let number = bytes
                .iter()
                .fold(0_u64, |all, byte| all << 8 | u64::from(*byte));
            mixed(number ^ self.seed)
        };
        let (first, step) = (number(8), number(16) | 1);
        let bits = self.words.len() as u64 * 64;
        (0..HASHES).map(move |index| {
            let bit = first.wrapping_add(index.wrapping_mul(step)) % bits;
            (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
        })
    }
}

/// Spreads a number over all bits. Source: the finalizer of splitmix64.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Divides ids into parts so that the marks of each fit into so many bytes.
pub(crate) fn parts(ids: &Range<u32>, contents: u64, bytes: usize) -> Vec<Part> {
    let len = u64::from(ids.end.saturating_sub(ids.start));
    let wanted = contents.saturating_mul(len) / u64::from(Part::ALL) * 3 / 2;
    let count = wanted
        .div_ceil((bytes as u64).max(1))
        .clamp(1, u64::from(PARTS_MAX));
    let count = count.min(len.max(1));
    let bound = |index: u64| ids.start + u32::try_from(len * index / count).unwrap_or(Part::ALL);
    (0..count)
        .map(|index| Part(bound(index)..bound(index + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use lfsfs_types::content::Content;

    use super::*;

    fn id(number: u32) -> ContentId {
        Content::of_bytes(&number.to_be_bytes()).id
    }

    #[test]
    fn what_was_marked_is_found_and_most_else_is_not() {
        let mut marks = Marks::new(Part(0..Part::ALL), 15_000, 7);
        (0..10_000).for_each(|number| marks.mark(id(number)));
        assert!((0..10_000).all(|number| marks.has(id(number))));
        let wrong = |marks: &Marks| -> Vec<u32> {
            let others = 10_000..20_000;
            others.filter(|number| marks.has(id(*number))).collect()
        };
        let first = wrong(&marks);
        assert!(
            first.len() < 300,
            "{} of 10,000 taken for marked",
            first.len()
        );
        let mut again = Marks::new(Part(0..Part::ALL), 15_000, 8);
        (0..10_000).for_each(|number| again.mark(id(number)));
        let both = wrong(&again).into_iter().filter(|it| first.contains(it));
        assert!(both.count() < 30, "the same mistakes");
    }

    #[test]
    fn parts_cover_all_ids_once() {
        for (contents, bytes) in [(0, 1 << 20), (1_000_000, 1 << 20), (1 << 40, 1000)] {
            let parts = parts(&(0..Part::ALL), contents, bytes);
            for number in 0..1000 {
                let having = parts.iter().filter(|part| part.has(id(number)));
                assert_eq!(having.count(), 1, "{} parts", parts.len());
            }
            let last = parts.last().expect("one").bounds();
            assert_eq!(last.1, None);
            assert!(
                parts
                    .windows(2)
                    .all(|two| two[0].bounds().1 == Some(two[1].bounds().0))
            );
        }
        assert_eq!(parts(&(0..Part::ALL), 2_000_000, 1 << 20).len(), 3);
        assert_eq!(parts(&(10..11), 1 << 40, 1), [Part(10..11)]);
    }
}
