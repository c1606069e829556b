//! Which batches of listings there are, and which of them has a listing.
//!
//! Other processes add files and remove them. So a directory of batches is looked at again when a listing is not found
//! and the directory changed since; what is found and is gone by now is forgotten.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use lfsfs_common::durable::is_temp_file_name;
use lfsfs_types::ProjectId;

use crate::batch::{self, Slot};
use crate::chunk_file::Found;
use crate::layout::{Layout, ListingKey};

/// A directory that changed so short a time ago may change again without another time.
const CLOCK_STEP: Duration = Duration::from_millis(100);

/// The batches that this process knows.
#[derive(Debug, Default)]
pub(crate) struct Batches(Mutex<HashMap<ProjectId, Known>>);

/// Those of a project, the one that was of use last in front.
#[derive(Debug, Default)]
struct Known {
    batches: Vec<Batch>,
    /// When the directory changed last, as far as all that it had then is known.
    seen: Option<SystemTime>,
}

#[derive(Debug)]
struct Batch {
    path: PathBuf,
    /// In the order of directories and versions.
    slots: Vec<Slot>,
}

impl Batch {
    fn find(&self, key: &ListingKey) -> Option<Slot> {
        let wanted = (key.dir, key.version);
        let found = self
            .slots
            .binary_search_by_key(&wanted, |slot| (slot.dir, slot.version));
        found.ok().map(|at| self.slots[at])
    }
}

impl Batches {
    /// Returns the file that has a listing, and where. `damaged` counts files that make no sense, which are removed.
    pub(crate) fn find(
        &self,
        layout: &Layout,
        key: &ListingKey,
        damaged: impl Fn(&Path),
    ) -> Option<(PathBuf, Slot)> {
        let mut all = self.lock();
        let known = all.entry(key.project).or_default();
        known.find(key).or_else(|| {
            known.look_again(layout, &key.project, damaged);
            known.find(key)
        })
    }

    /// Notes a file that this process has written.
    pub(crate) fn add(&self, project: ProjectId, path: PathBuf, slots: Vec<Slot>) {
        let mut all = self.lock();
        let known = all.entry(project).or_default();
        known.batches.retain(|batch| batch.path != path);
        known.batches.insert(0, Batch { path, slots });
    }

    /// Forgets a file that is gone.
    pub(crate) fn forget(&self, project: &ProjectId, path: &Path) {
        if let Some(known) = self.lock().get_mut(project) {
            known.batches.retain(|batch| batch.path != path);
            known.seen = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Known>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Known {
    fn find(&mut self, key: &ListingKey) -> Option<(PathBuf, Slot)> {
        let mut batches = self.batches.iter().enumerate();
        let (at, slot) = batches.find_map(|(at, batch)| Some((at, batch.find(key)?)))?;
        self.batches.swap(0, at);
        Some((self.batches[0].path.clone(), slot))
    }

    fn look_again(&mut self, layout: &Layout, project: &ProjectId, damaged: impl Fn(&Path)) {
        let dir = layout.batches(project);
        let changed = fs::metadata(&dir).and_then(|metadata| metadata.modified());
        let Ok(changed) = changed else {
            self.batches.clear();
            return;
        };
        if self.seen == Some(changed) {
            return;
        }
        let age = SystemTime::now()
            .duration_since(changed)
            .unwrap_or_default();
        self.seen = (age > CLOCK_STEP).then_some(changed);
        let Ok(entries) = fs::read_dir(&dir) else {
            return;
        };
        let paths = entries
            .flatten()
            .filter(|entry| !is_temp_file_name(&entry.file_name()));
        let paths: Vec<PathBuf> = paths.map(|entry| entry.path()).collect();
        self.batches.retain(|batch| paths.contains(&batch.path));
        for path in paths {
            if self.batches.iter().any(|batch| batch.path == path) {
                continue;
            }
            match batch::read_index(&path, layout.name(&path)) {
                Ok(Found::Whole(slots)) => self.batches.push(Batch { path, slots }),
                Ok(Found::Damaged) => damaged(&path),
                Ok(Found::Absent) | Err(_) => {}
            }
        }
    }
}
