//! Which contents are surely unknown: a Bloom filter in blocks of one cache line.
//!
//! An import asks for each new content whether it is there, and the row of none is. Ids are random, so each
//! look touches a page of its own. The filter answers most of these looks from memory. It has every content
//! that has a row: those of before are added by [`fill`](ContentFilter::fill), and until that is done it
//! knows nothing; new ones are added before their rows are written. A content that it takes for known
//! without reason costs one look.
//!
//! Source: F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lfsfs_types::ContentId;

/// Words of 64 bits in a block.
const BLOCK: usize = 8;
/// Bits that each content sets in its block.
const BITS: usize = 6;

/// Contents that may have a row.
#[derive(Debug)]
pub(crate) struct ContentFilter {
    words: Box<[AtomicU64]>,
    is_full: AtomicBool,
    /// How many contents were added; one that was added twice counts twice.
    count: AtomicU64,
}

/// Where the bits of a content are.
struct Bits {
    block: usize,
    hash: u64,
}

impl ContentFilter {
    /// Returns a filter of about so many bytes, which knows nothing yet. It is exact enough for a content in
    /// each byte and a half.
    pub(crate) fn new(bytes: usize) -> Self {
        let blocks = (bytes / (BLOCK * 8)).max(1);
        Self {
            words: (0..blocks * BLOCK).map(|_| AtomicU64::new(0)).collect(),
            is_full: AtomicBool::new(false),
            count: AtomicU64::new(0),
        }
    }

    /// Notes that a content has a row, or will have one.
    pub(crate) fn add(&self, content: ContentId) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let bits = self.bits(content);
        for (word, bit) in bits.positions() {
            self.words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Says that every content that has a row was added.
    pub(crate) fn fill(&self) {
        self.is_full.store(true, Ordering::Release);
    }

    /// Returns about how many contents there are.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns false if a content surely has no row.
    pub(crate) fn may_have(&self, content: ContentId) -> bool {
        if !self.is_full.load(Ordering::Acquire) {
            return true;
        }
        let bits = self.bits(content);
        let mut positions = bits.positions();
        positions.all(|(word, bit)| self.words[word].load(Ordering::Relaxed) & bit != 0)
    }

    fn bits(&self, content: ContentId) -> Bits {
        // An id is a hash: its bytes are as good as those of any other hash of it.
        let number = |at: usize| {
            let bytes = &content.as_bytes()[at..at + 8];
            bytes
                .iter()
                .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let blocks = (self.words.len() / BLOCK) as u64;
        let block = usize::try_from(number(8) % blocks).unwrap_or(0);
        Bits {
            block,
            hash: number(16),
        }
    }
}

impl Bits {
    /// Returns the words and the bits in them, by nine bits of the hash each.
    fn positions(&self) -> impl Iterator<Item = (usize, u64)> + use<> {
        let (block, hash) = (self.block, self.hash);
        (0..BITS).map(move |index| {
            let nine = hash >> (9 * index) & 511;
            let word = usize::try_from(nine / 64).unwrap_or(0);
            (block * BLOCK + word, 1 << (nine % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::content::Content;

    use super::*;

    fn id(number: u32) -> ContentId {
        Content::of_bytes(&number.to_be_bytes()).id
    }

    #[test]
    fn what_was_added_may_be_there_and_most_else_is_not() {
        let filter = ContentFilter::new(20_000);
        (0..10_000).for_each(|number| filter.add(id(number)));
        assert!(filter.may_have(id(10_001)), "it is not full yet");
        filter.fill();
        assert!((0..10_000).all(|number| filter.may_have(id(number))));
        let wrong = (10_000..20_000).filter(|number| filter.may_have(id(*number)));
        let wrong = wrong.count();
        assert!(wrong < 300, "{wrong} of 10,000 taken for known");
    }

    #[test]
    fn the_smallest_filter_works() {
        let filter = ContentFilter::new(0);
        filter.fill();
        assert!(!filter.may_have(id(1)));
        filter.add(id(1));
        assert!(filter.may_have(id(1)));
    }
}
