//! Pages of content devices in the kernel: more of them than it asked for, and none for longer than they are needed.
//!
//! EROFS copies what it reads of a device into the pages of its own files. So the pages of the device are given back
//! some seconds after they were read; else every content would be in memory twice.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use lfsfs_erofs::BLOCK_LEN;
use tokio::time::sleep;

use super::content::ranges;
use super::{ImageKernel, VersionImage};

/// A request for less than this is of a program that reads small files in any order. Then as much around it is stored.
const AROUND: u64 = 128 << 10;
/// How often pages are given back: those that were read before the last time.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(5);

/// What the kernel may have of the content devices.
#[derive(Debug, Default)]
pub(super) struct ContentPages(Mutex<PagesState>);

#[derive(Debug, Default)]
struct PagesState {
    /// Bytes, counted over all devices, that were read since pages were given back last; and before that.
    read: Vec<Range<u64>>,
    read_before: Vec<Range<u64>>,
    /// Stretches of [`AROUND`] that were stored, by their number.
    stored: HashSet<u64>,
}

impl ContentPages {
    /// Notes a read. Returns the bytes around it that are to be stored.
    pub(super) fn note(&self, read: &Range<u64>) -> Option<Range<u64>> {
        let mut state = self.state();
        state.add(read.clone());
        if read.end - read.start >= AROUND {
            return None;
        }
        let stretch = read.start / AROUND;
        let around = stretch * AROUND..(stretch + 1) * AROUND;
        if !state.stored.insert(stretch) {
            return None;
        }
        state.add(around.clone());
        Some(around)
    }

    /// Returns what is to be given back now.
    fn give_back(&self) -> Vec<Range<u64>> {
        let mut state = self.state();
        let read = std::mem::take(&mut state.read);
        let before = std::mem::replace(&mut state.read_before, read);
        for range in &before {
            for stretch in range.start / AROUND..range.end.div_ceil(AROUND) {
                state.stored.remove(&stretch);
            }
        }
        before
    }

    /// No method panics between two changes of it.
    fn state(&self) -> MutexGuard<'_, PagesState> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl PagesState {
    fn add(&mut self, range: Range<u64>) {
        match self.read.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.read.push(range),
        }
    }
}

impl VersionImage {
    /// Notes that the kernel read some bytes of the devices, and stores those around if they were few.
    pub(super) fn note_content_read(self: &Arc<Self>, read: &Range<u64>) {
        let Some(around) = self.pages.note(read) else {
            return;
        };
        let image = Arc::clone(self);
        let store = async move { image.store_content(around).await };
        // The mount tracks the task.
        drop(self.version.spawner().spawn(store));
    }

    async fn store_content(&self, bytes: Range<u64>) {
        let given = self.places().content_end() * BLOCK_LEN as u64;
        let bytes = bytes.start..bytes.end.min(given);
        // All of it lies in one device, which has a whole number of such stretches.
        let Some((file, place)) = ranges(blocks_of(&bytes)).pop() else {
            return;
        };
        let Ok(len) = u32::try_from(bytes.end - bytes.start) else {
            return;
        };
        // A program that asks for what cannot be read gets the error.
        let Ok(content) = self.read_devices(bytes.start, len).await else {
            return;
        };
        let store = move |kernel: &dyn ImageKernel| kernel.store_pages(file, place.start, &content);
        self.tell_kernel(store).await;
    }

    /// Gives pages back, as long as the image lives.
    pub(super) async fn keep_giving_back(image: Weak<Self>) {
        loop {
            sleep(GIVE_BACK_EVERY).await;
            let Some(image) = image.upgrade() else {
                return;
            };
            let old = image.pages.give_back();
            let drops = old.iter().flat_map(|bytes| ranges(blocks_of(bytes)));
            image.drop_pages(drops.collect()).await;
        }
    }
}

/// Returns the blocks of bytes, both counted over all devices.
fn blocks_of(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / BLOCK_LEN as u64..bytes.end.div_ceil(BLOCK_LEN as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn around_a_small_read_is_stored_once() {
        let pages = ContentPages::default();
        assert_eq!(pages.note(&(4096..8192)), Some(0..AROUND));
        assert_eq!(pages.note(&(8192..12288)), None);
        assert_eq!(pages.note(&(AROUND..2 * AROUND)), None, "it is not small");
    }

    #[test]
    fn pages_are_given_back_the_second_time_and_may_be_stored_again() {
        let pages = ContentPages::default();
        assert!(pages.note(&(0..4096)).is_some());
        pages.note(&(AROUND..2 * AROUND));
        assert!(pages.give_back().is_empty());
        let given = pages.give_back();
        let bytes: u64 = given.iter().map(|range| range.end - range.start).sum();
        assert!(bytes >= 2 * AROUND, "{given:?}");
        assert!(pages.note(&(0..4096)).is_some());
    }
}
