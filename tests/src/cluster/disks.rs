//! What is on the disks of a cluster, whatever its coordinator says.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lfsfs_testkit::chunks;
use lfsfs_testkit::process::Program;

use super::Cluster;
use crate::namespace::eventually;

impl Cluster {
    /// Removes everything that a datanode has kept, which must not run. It comes back as another node.
    ///
    /// # Panics
    /// Where that cannot be done.
    pub fn wipe_node(&self, number: usize) {
        fs::remove_dir_all(&self.nodes[number].data).expect("a directory can be removed");
    }

    /// Returns the files of the chunks that a datanode has.
    #[must_use]
    pub fn chunk_files(&self, number: usize) -> Vec<PathBuf> {
        chunks::files_in(&self.nodes[number].data)
    }

    /// Returns the files of chunks that a datanode is still receiving.
    #[must_use]
    pub fn half_chunks(&self, number: usize) -> Vec<PathBuf> {
        let dir = self.nodes[number].data.join("chunks/temp");
        let entries = fs::read_dir(dir).expect("a directory");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect()
    }

    /// Returns how many copies of each chunk are on the disks.
    #[must_use]
    pub fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for node in &self.nodes {
            for chunk in chunks::names_in(&node.data) {
                *copies.entry(chunk).or_default() += 1;
            }
        }
        copies
    }

    /// Waits until each chunk has so many copies on the disks.
    ///
    /// # Panics
    /// Where that takes longer than `limit`.
    #[track_caller]
    pub fn wait_for_copies(&self, count: usize, limit: Duration) {
        let has_all = || self.copies().values().all(|copies| *copies == count);
        assert!(
            eventually(limit, has_all),
            "{:?}; the coordinator wrote:\n{}",
            self.copies(),
            self.coordinator
                .as_ref()
                .map(Program::output)
                .unwrap_or_default()
        );
    }
}
