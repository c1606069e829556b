//! What a mount counts: requests of the kernel, what it fetched.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::mounted::Mounted;
use crate::namespace::eventually;

/// Counts by name: of opcodes, or of what a mount counts itself.
pub type Counts = BTreeMap<String, u64>;

/// Returns which requests the kernel sends while `body` runs, by opcode.
pub fn requests_of(mount: &Mounted<'_>, body: impl FnOnce()) -> Counts {
    let before = mount.requests();
    body();
    difference(&before, mount.requests())
}

/// Returns what `body` adds to the counters of a mount, those that stay the same left out.
pub fn counted(mount: &Mounted<'_>, body: impl FnOnce()) -> Counts {
    let before = mount.counters();
    body();
    difference(&before, mount.counters())
}

fn difference(before: &Counts, after: Counts) -> Counts {
    let more = after.into_iter().map(|(name, count)| {
        let before = before.get(&name).copied().unwrap_or(0);
        (name, count.saturating_sub(before))
    });
    more.filter(|(_, count)| *count > 0).collect()
}

/// Returns counts as a test states them.
pub fn counts(stated: &[(&str, u64)]) -> Counts {
    let stated = stated.iter();
    stated
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

/// Returns one count; what never happened is 0.
pub fn count(counts: &Counts, name: &str) -> u64 {
    counts.get(name).copied().unwrap_or(0)
}

/// What a mount fetched from servers, in counts and bytes.
pub fn fetched(mount: &Mounted<'_>) -> Counts {
    let counters = mount.counters().into_iter();
    let remote = counters.filter(|(name, count)| name.starts_with("remote_") && *count > 0);
    remote.collect()
}

/// Waits until everything that a mount has fetched is in the cache on disk.
pub fn wait_for_cache(mount: &Mounted<'_>) {
    let written = || count(&mount.counters(), "cache_bytes_written");
    let limit = Duration::from_secs(20);
    let settled = eventually(limit, || {
        let before = written();
        std::thread::sleep(Duration::from_millis(200));
        written() == before
    });
    assert!(settled, "the cache is still being written");
}
