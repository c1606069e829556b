//! How much there is to import, counted ahead of the import for its progress bar.
//!
//! The count is a guess: it reads no file, says nothing of what it cannot look at, and the tree may
//! change meanwhile.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use lfsfs_types::ObjectPath;
use lfsfs_upload::{Expected, IgnoredPaths, Progress};
use rustix::fs::{FileType, ResolveFlags};
use rustix::io::Errno;

use crate::filter::Filter;
use crate::ignored::Ignored;
use crate::local::{self, DirHandle, FileIdentity, LocalStat};

/// Ends a count when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct CountEnd(Arc<AtomicBool>);

impl Drop for CountEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A count that is about to start. It ends early when the import does.
#[derive(Debug)]
pub struct Counter {
    dir: PathBuf,
    filter: Arc<Filter>,
    ignored: IgnoredPaths,
    progress: Weak<Progress>,
    is_over: Arc<AtomicBool>,
}

impl Counter {
    pub(crate) fn new(
        dir: PathBuf,
        (filter, ignored): (Arc<Filter>, IgnoredPaths),
        progress: &Arc<Progress>,
        end: &CountEnd,
    ) -> Self {
        Self {
            dir,
            filter,
            ignored,
            progress: Arc::downgrade(progress),
            is_over: Arc::clone(&end.0),
        }
    }

    /// Counts, on a thread that may block, and tells the import's counters.
    pub fn run(self) {
        if let Ok(Some(expected)) = self.count()
            && let Some(progress) = self.progress.upgrade()
        {
            progress.expect(expected);
        }
    }

    fn count(&self) -> Result<Option<Expected>, Errno> {
        let root = local::open_root(&self.dir)?;
        let device = local::stat(&root)?.device;
        let mut expected = Expected {
            entries: 0,
            bytes: 0,
        };
        let mut linked = HashSet::new();
        // What the project ignores, and what the version has, is not known yet.
        let ignored = Ignored::of_project(self.ignored, &[], &ObjectPath::ROOT);
        let mut dirs = vec![(ObjectPath::ROOT, ignored)];
        while let Some((dir, above)) = dirs.pop() {
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (entries, ignored) = self.entries(&root, &dir, above);
            for (path, stat) in entries {
                expected.entries += 1;
                match stat.kind {
                    FileType::Directory if stat.device == device => {
                        dirs.push((path, ignored.clone()));
                    }
                    FileType::RegularFile => {
                        let len = bytes(&stat, &mut linked);
                        expected.bytes = expected.bytes.saturating_add(len);
                    }
                    _ => {}
                }
            }
        }
        Ok(Some(expected))
    }

    /// Returns what is in a directory, and what is ignored there.
    fn entries(
        &self,
        root: &DirHandle,
        dir: &ObjectPath,
        above: Ignored,
    ) -> (Vec<(ObjectPath, LocalStat)>, Ignored) {
        let read = local::open_below(root, dir, ResolveFlags::empty())
            .and_then(|handle| Ok((local::read_dir(&handle)?, handle)));
        let Ok((entries, handle)) = read else {
            return (Vec::new(), above);
        };
        let (ignored, _) = if dir.is_root() {
            above.in_root(&handle, &entries)
        } else {
            above.enter(dir, &handle, &entries)
        };
        let wanted = entries.into_iter().filter_map(|(name, stat)| {
            let (path, stat) = (dir.join(&name).ok()?, stat.ok()?);
            let is_wanted =
                !self.filter.excludes(&path, &name) && !ignored.leaves_out(&path, stat.kind, true);
            is_wanted.then_some((path, stat))
        });
        (wanted.collect(), ignored)
    }
}

/// Returns what is read of a file: of one with several names once.
fn bytes(stat: &LocalStat, linked: &mut HashSet<FileIdentity>) -> u64 {
    let is_counted = stat.nlink > 1 && !linked.insert(stat.identity());
    if is_counted { 0 } else { stat.size }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_file_that_will_be_read_counts_once() {
        let scratch = tempfile::tempdir().expect("a directory");
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir_all(at("a/b")).expect("directories");
        fs::write(at("a/b/one"), [0; 100]).expect("a file");
        fs::write(at("a/left-out"), [0; 1000]).expect("a file");
        fs::hard_link(at("a/b/one"), at("two")).expect("a link");
        fs::create_dir(at("a/build")).expect("a directory");
        fs::write(at("a/build/x"), [0; 1000]).expect("a file");
        fs::write(at("a/.lfsfsignore"), "build\n").expect("a file");
        let filter = Arc::new(Filter::new(&["left-*".to_owned()]).expect("patterns"));
        let left_out = (filter, IgnoredPaths::LeftOut);
        let (progress, end) = (Arc::new(Progress::default()), CountEnd::default());
        Counter::new(scratch.path().to_owned(), left_out, &progress, &end).run();
        let expected = Expected {
            entries: 5,
            bytes: 106,
        };
        assert_eq!(progress.figures().expected, Some(expected));
    }

    #[test]
    fn a_count_ends_with_its_import() {
        let scratch = tempfile::tempdir().expect("a directory");
        let filter = Arc::new(Filter::new(&[]).expect("patterns"));
        let (progress, end) = (Arc::new(Progress::default()), CountEnd::default());
        let left_out = (filter, IgnoredPaths::LeftOut);
        let counter = Counter::new(scratch.path().to_owned(), left_out, &progress, &end);
        drop(end);
        counter.run();
        assert_eq!(progress.figures().expected, None);
    }
}
