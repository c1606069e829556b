//! Budgets and time limits of one mounted version.

use std::time::Duration;

use lfsfs_reader::ReaderConfig;

/// Whether access lists are enforced, by the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AccessLists {
    /// They are kept. The mode that is shown grants nothing that they deny, and no program can set them.
    #[default]
    Kept,
    /// The kernel checks them. The mode is shown as it is recorded, and programs set them.
    Enforced,
}

/// What a mount may use: a [`crate::Vfs`] with all the base versions that it shows one after the other.
#[derive(Debug, Clone, Copy)]
pub struct VfsConfig {
    /// How long an operation waits without progress before it fails.
    pub timeout: Duration,
    /// How long opening waits for the root to answer.
    pub open_timeout: Duration,
    /// Bytes of listings kept in memory.
    pub listings_len_max: usize,
    /// Listings that may be fetched at once.
    pub listings_fetches_max: usize,
    /// Listings that a stream may bring ahead of those who use them; 0: each is asked for by itself.
    pub listings_ahead_max: usize,
    /// Whether access lists are enforced.
    pub access_lists: AccessLists,
    /// What reading contents may use.
    pub reader: ReaderConfig,
}

impl Default for VfsConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            open_timeout: Duration::from_secs(5),
            listings_len_max: 32 << 20,
            listings_fetches_max: 128,
            listings_ahead_max: 20_000,
            access_lists: AccessLists::Kept,
            reader: ReaderConfig::default(),
        }
    }
}
