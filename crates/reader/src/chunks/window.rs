//! How much to fetch around a block that is missing, and when to fetch ahead. Pure.

use std::ops::Range;

use lfsfs_types::chunk::Footer;

/// Blocks that compress extremely well must not fill the memory.
const RAW_PER_STORED_MAX: u64 = 8;

/// Bounds of a window, in stored bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowLimits {
    pub(crate) first: u32,
    pub(crate) max: u32,
}

/// What was fetched last of one chunk.
#[derive(Debug)]
pub(crate) struct Window {
    len: u32,
    /// The block behind the last window: asking for it continues the sequence.
    next: u32,
    /// From this block on it is time to fetch the next window.
    ahead_from: u32,
}

impl Window {
    pub(crate) const fn new() -> Self {
        Self {
            len: 0,
            next: 0,
            ahead_from: u32::MAX,
        }
    }

    /// Returns the blocks to fetch for the block `index`, which is among them. It is followed, and
    /// unless blocks come in order preceded, by others as long as they are wanted.
    pub(crate) fn open(
        &mut self,
        footer: &Footer,
        index: u32,
        limits: WindowLimits,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Range<u32> {
        let is_sequence = self.len > 0 && index == self.next;
        self.len = if is_sequence {
            self.len.saturating_mul(2).min(limits.max)
        } else {
            limits.first.min(limits.max)
        };
        let len = u64::from(self.len);
        let mut load = Load::default();
        load.take(footer, index, u64::MAX);
        let mut range = index..index + 1;
        let ahead = if is_sequence { len } else { len - len / 4 };
        while is_wanted(range.end) && load.take(footer, range.end, ahead) {
            range.end += 1;
        }
        while !is_sequence
            && range.start > 0
            && is_wanted(range.start - 1)
            && load.take(footer, range.start - 1, len)
        {
            range.start -= 1;
        }
        self.next = range.end;
        self.ahead_from = if is_sequence {
            range.end - (range.end - range.start).div_ceil(2)
        } else {
            u32::MAX
        };
        range
    }

    /// Notes that a block was asked for. Returns the block at which the next window starts if it is
    /// time to fetch that.
    pub(crate) fn ahead(&mut self, index: u32) -> Option<u32> {
        self.is_time(index).then(|| {
            self.ahead_from = u32::MAX;
            self.next
        })
    }

    /// Returns true if asking for this block makes it time to fetch the next window.
    pub(crate) fn is_time(&self, index: u32) -> bool {
        (self.ahead_from..self.next).contains(&index)
    }
}

/// Bytes of the blocks that were taken so far.
#[derive(Default)]
struct Load {
    stored: u64,
    raw: u64,
}

impl Load {
    /// Takes a block if there is one and it fits into `stored_max`.
    fn take(&mut self, footer: &Footer, index: u32, stored_max: u64) -> bool {
        let Some(block) = footer.blocks().get(index as usize) else {
            return false;
        };
        let stored = self.stored + u64::from(block.stored_len);
        let raw = self.raw + u64::from(block.raw_len);
        if stored > stored_max || raw > stored_max.saturating_mul(RAW_PER_STORED_MAX) {
            return false;
        }
        (self.stored, self.raw) = (stored, raw);
        true
    }
}

#[cfg(test)]
mod tests {
    use lfsfs_types::chunk::ChunkBuilder;
    use lfsfs_types::content::small_content_id;

    use super::*;

    const KIB: u32 = 1024;
    const LIMITS: WindowLimits = WindowLimits {
        first: 512 * KIB,
        max: 1024 * KIB,
    };

    /// 32 blocks of 128 KiB that do not compress.
    fn footer() -> Footer {
        let mut builder = ChunkBuilder::new(8 << 20);
        let mut state = 1u64;
        for _ in 0..32 {
            let bytes: Vec<u8> = (0..128 * KIB)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    state.to_be_bytes()[0]
                })
                .collect();
            builder.add(small_content_id(&bytes), &bytes).unwrap();
        }
        builder.finish().footer
    }

    #[test]
    fn a_first_window_is_around_the_block() {
        let mut window = Window::new();
        assert_eq!(window.open(&footer(), 10, LIMITS, |_| true), 9..13);
        assert_eq!(window.ahead(12), None);
    }

    #[test]
    fn windows_grow_while_blocks_come_in_order_and_are_fetched_ahead() {
        let (footer, mut window) = (footer(), Window::new());
        assert_eq!(window.open(&footer, 0, LIMITS, |_| true), 0..3);
        assert_eq!(window.open(&footer, 3, LIMITS, |_| true), 3..11);
        assert_eq!(window.ahead(6), None);
        assert_eq!(window.ahead(7), Some(11));
        assert_eq!(window.ahead(8), None);
        assert_eq!(window.open(&footer, 11, LIMITS, |_| true), 11..19);
        assert_eq!(window.open(&footer, 2, LIMITS, |_| true), 1..5);
    }

    #[test]
    fn a_window_stops_at_what_is_not_wanted_and_at_the_ends() {
        let footer = footer();
        let range = Window::new().open(&footer, 10, LIMITS, |index| index != 9 && index != 12);
        assert_eq!(range, 10..12);
        assert_eq!(Window::new().open(&footer, 0, LIMITS, |_| true), 0..3);
        assert_eq!(Window::new().open(&footer, 31, LIMITS, |_| true), 28..32);
    }

    #[test]
    fn blocks_that_are_nothing_when_stored_still_count() {
        let mut builder = ChunkBuilder::new(8 << 20);
        for byte in 0..200 {
            let bytes = vec![byte; 128 << 10];
            builder.add(small_content_id(&bytes), &bytes).unwrap();
        }
        let footer = builder.finish().footer;
        let range = Window::new().open(&footer, 0, LIMITS, |_| true);
        assert!(
            range.len() * (128 << 10) <= 8 * LIMITS.first as usize,
            "{range:?}"
        );
    }
}
