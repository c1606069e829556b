//! A kernel that keeps everything that it may keep, and remembers what it was told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::attr::Attr;
use crate::kernel::KernelCache;

/// What the kernel was told to drop.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Entry(u64, Vec<u8>),
    Attributes(u64),
    Data(u64),
}

/// What the kernel keeps.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// `None` for a name that does not exist.
    pub(crate) entries: HashMap<(u64, Vec<u8>), Option<u64>>,
    pub(crate) attributes: HashMap<u64, Attr>,
    pub(crate) pages: HashMap<u64, Vec<u8>>,
    /// Names and numbers.
    pub(crate) listings: HashMap<u64, BTreeMap<String, u64>>,
    pub(crate) lookups: HashMap<u64, u64>,
    told: Vec<Told>,
}

#[derive(Debug, Default)]
pub(crate) struct Kernel(Mutex<Kept>);

impl Kernel {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    pub(crate) fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut self.kept().told)
    }
}

impl KernelCache for Kernel {
    fn drop_entry(&self, parent: u64, name: &[u8]) {
        let mut kept = self.kept();
        kept.told.push(Told::Entry(parent, name.to_vec()));
        kept.entries.remove(&(parent, name.to_vec()));
    }

    fn drop_attributes(&self, ino: u64) {
        let mut kept = self.kept();
        kept.told.push(Told::Attributes(ino));
        kept.attributes.remove(&ino);
    }

    fn drop_data(&self, ino: u64) {
        let mut kept = self.kept();
        kept.told.push(Told::Data(ino));
        kept.attributes.remove(&ino);
        kept.pages.remove(&ino);
        kept.listings.remove(&ino);
    }
}
