//! The seams to the kernel that shows a mount: what it keeps, and the write calls that it sends.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What the kernel keeps of a mount and can be told to drop.
///
/// Calls may block: the kernel waits for requests that are under way in the directory concerned. So
/// no caller holds a lock meanwhile, or is a thread that serves requests.
pub trait KernelCache: Send + Sync + Debug + 'static {
    /// Drops a name, also if what the kernel knows is that it does not exist.
    fn drop_entry(&self, parent: u64, name: &[u8]);

    /// Drops attributes alone.
    fn drop_attributes(&self, ino: u64);

    /// Drops attributes and pages; of a directory its cached listing.
    fn drop_data(&self, ino: u64);
}

/// Finds the moment at which a commit takes the changes: between write calls, not in one.
pub trait WriteBarrier: Send + Sync + Debug + 'static {
    /// Waits until the pages are here that the kernel was made to send.
    fn settle(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Returns when no write call is half made, and lets none go on until the result is dropped. Blocks.
    fn hold(&self) -> Box<dyn Hold>;
}

/// Holds write calls up until it is dropped.
pub trait Hold: Debug {}

/// What a commit needs of the kernel.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Is told what changed.
    pub cache: Arc<dyn KernelCache>,
    /// Holds writers up while the changes are taken.
    pub barrier: Arc<dyn WriteBarrier>,
}
