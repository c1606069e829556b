//! The seam to the kernel that shows a mount: what it keeps, and the write calls it sends.

use std::fmt::Debug;

/// What the kernel keeps of a mount and can be told to drop, and whom it can hold up.
///
/// Calls may block: the kernel waits for requests that are under way in the directory concerned. So
/// nobody makes one while holding a lock, and never from a thread that serves requests.
pub trait KernelCache: Send + Sync + Debug + 'static {
    /// Drops a name, also if what the kernel knows is that it does not exist.
    fn drop_entry(&self, parent: u64, name: &[u8]);

    /// Drops attributes alone.
    fn drop_attributes(&self, ino: u64);

    /// Drops attributes and pages; of a directory its cached listing.
    fn drop_data(&self, ino: u64);

    /// Returns at a moment at which no write call is half made, which lasts until the result is dropped.
    fn hold_writes(&self) -> Box<dyn Hold>;
}

/// Holds write calls up until it is dropped.
pub trait Hold: Debug {}

/// Nothing is held up where all calls are made at once.
impl Hold for () {}
