//! The walk over the directory, beside the newest version.

use std::path::Path;
use std::sync::Arc;

use lfsfs_common::JobQueue;
use lfsfs_remote::{RemoteRead, Snapshot};
use lfsfs_types::{DirId, Kind, Name, ObjectPath, Record};
use lfsfs_upload::{ContentBytes, IgnoreWarning, OFFER_LEN};
use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::runtime::Handle;

use crate::attributes::{read_xattrs, record};
use crate::compare::{Pair, pairs};
use crate::directories::FoundDir;
use crate::entry::Entry;
use crate::error::ImportError;
use crate::failure::Failure;
use crate::ignored::{Ignored, keep_warnings};
use crate::listings::{Coverage, Listings};
use crate::local::{self, DirHandle, LocalStat};
use crate::problems::Reason;
use crate::selection::{Picked, RestOfTree, Verdict};
use crate::worker::{FileJob, Workshop};

mod part;

/// Files of one batch.
const BATCH_FILES_MAX: usize = 1024;

/// What was left out on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Skipped {
    pub(crate) sockets: u64,
    pub(crate) mount_points: u64,
    pub(crate) excluded: u64,
    pub(crate) ignored: u64,
    pub(crate) ignore_warnings: Vec<IgnoreWarning>,
}

/// A directory whose entries are being looked at.
struct Frame {
    found: Arc<FoundDir>,
    dir: DirId,
    ignored: Ignored,
    pairs: Box<dyn Iterator<Item = Pair<Result<LocalStat, Errno>>>>,
}

/// The walk. It goes down in path order with a stack of its own, so that no depth is too much.
pub(crate) struct Walk<'a> {
    /// Those of the base.
    listings: Listings<'a>,
    pub(crate) base: &'a Snapshot,
    pub(crate) picked: &'a Picked,
    pub(crate) workshop: &'a Workshop,
    pub(crate) batches: JobQueue<Vec<FileJob>>,
    runtime: Handle,
    device: u64,
    next_dir: u64,
    batch: Vec<FileJob>,
    batch_len: u64,
    skipped: Skipped,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        remote: &'a dyn RemoteRead,
        base: &'a Snapshot,
        picked: &'a Picked,
        workshop: &'a Workshop,
        batches: JobQueue<Vec<FileJob>>,
    ) -> Self {
        let coverage = match picked.selection.takes_root() {
            true => Coverage::All,
            false => Coverage::Some,
        };
        Self {
            listings: Listings::new(remote, base, coverage),
            base,
            picked,
            workshop,
            batches,
            runtime: Handle::current(),
            device: 0,
            next_dir: DirId::SESSION_FIRST.0,
            batch: Vec::new(),
            batch_len: 0,
            skipped: Skipped::default(),
        }
    }

    /// Looks at everything below `root`, which is open already.
    pub(crate) fn run(mut self, root: DirHandle, path: &Path) -> Result<Skipped, ImportError> {
        let error = |source: rustix::io::Errno| ImportError::Directory {
            path: path.to_owned(),
            source: source.into(),
        };
        let stat = local::stat(&root).map_err(error)?;
        self.device = stat.device;
        if self.picked.selection.takes_root() {
            self.put_root(&root, &stat)?;
        }
        let entries = local::read_dir(&root).map_err(error)?;
        let patterns = &self.base.project.ignore_patterns;
        let above = Ignored::of_project(self.picked.ignored, patterns, &ObjectPath::ROOT);
        let (ignored, warnings) = above.in_root(&root, &entries);
        keep_warnings(&mut self.skipped.ignore_warnings, warnings);
        let directories = &self.workshop.directories;
        let found = directories.add(ObjectPath::ROOT, &stat, root);
        let root = (DirId::ROOT, true);
        let mut stack = vec![self.frame(found, root, ignored, entries)?];
        while let Some(frame) = stack.last_mut() {
            match frame.pairs.next() {
                None => drop(stack.pop()),
                Some(pair) => stack.extend(self.visit(stack.last(), pair)?),
            }
        }
        self.send_batch()?;
        Ok(self.skipped)
    }

    fn put_root(&mut self, root: &DirHandle, stat: &LocalStat) -> Result<(), ImportError> {
        let workshop = self.workshop;
        match read_xattrs(root, None) {
            Err(failure) => workshop.problems.report(b".", failure.of_entry(b".")?),
            Ok(xattrs) => {
                let kind = Kind::Directory { dir: DirId::ROOT };
                let (record, contents) = record(kind, stat, xattrs);
                workshop.contents.offer(&contents)?;
                let base = Some(&self.base.root);
                let record = workshop.fit.record(record, base);
                workshop
                    .changes
                    .put(DirId::ABOVE_ROOT, None, record, base)?;
            }
        }
        Ok(())
    }

    fn frame(
        &self,
        found: Arc<FoundDir>,
        (dir, is_in_base): (DirId, bool),
        ignored: Ignored,
        local: crate::compare::LocalEntries,
    ) -> Result<Frame, ImportError> {
        let base = if is_in_base {
            self.base_entries(dir)?
        } else {
            Vec::new()
        };
        Ok(Frame {
            found,
            dir,
            ignored,
            pairs: Box::new(pairs(local, base)),
        })
    }

    fn base_entries(&self, dir: DirId) -> Result<Vec<(Name, Record)>, ImportError> {
        if self.base.version.number.0 == 0 {
            return Ok(Vec::new());
        }
        let listing = self.listings.list(dir);
        Ok(self.runtime.block_on(listing)?.entries)
    }

    /// Looks at one name. Returns the directory to go down into, if it is one.
    fn visit(
        &mut self,
        frame: Option<&Frame>,
        pair: Pair<Result<LocalStat, Errno>>,
    ) -> Result<Option<Frame>, ImportError> {
        let Some(frame) = frame else { return Ok(None) };
        let path = match frame.found.path.join(&pair.name) {
            Ok(path) => path,
            Err(error) => {
                let long = [frame.found.path.as_bytes(), b"/", pair.name.as_bytes()].concat();
                self.workshop.problems.report(&long, Reason::Path(error));
                return Ok(None);
            }
        };
        let Pair { name, local, base } = pair;
        let local = match self.picked.selection.verdict(&path, &name) {
            Verdict::Taken => local,
            Verdict::Above => return self.above(frame, &path, &name, (local, base.as_ref())),
            Verdict::Skipped => {
                self.skipped.excluded += u64::from(local.is_some());
                if self.picked.rest == RestOfTree::Kept {
                    return Ok(None);
                }
                None
            }
        };
        let Some(stat) = local else {
            return self.remove(frame, &name, base.as_ref());
        };
        if let Ok(stat) = &stat
            && frame.ignored.leaves_out(&path, stat.kind, base.is_none())
        {
            self.skipped.ignored += 1;
            return Ok(None);
        }
        self.workshop.progress.entry();
        let found = stat
            .map_err(Failure::from)
            .and_then(|stat| self.visit_entry(frame, &path, &name, stat, base.as_ref()));
        match found {
            Ok(Visited::File(stat)) => self.add_file(frame, name, stat, base)?,
            Ok(Visited::Other(record, contents)) => {
                self.workshop.contents.offer(&contents)?;
                self.workshop
                    .changes
                    .put(frame.dir, Some(&name), record, base.as_ref())?;
            }
            Ok(Visited::Directory(directory)) => {
                return self
                    .enter(frame, &name, *directory, base.as_ref())
                    .map(Some);
            }
            Ok(Visited::Skipped) => return self.remove(frame, &name, base.as_ref()),
            Ok(Visited::LeftAlone) => {}
            Err(failure) => {
                let reason = failure.of_entry(path.as_bytes())?;
                if self.is_gone(frame, &path, &name)? {
                    return self.remove(frame, &name, base.as_ref());
                }
                self.workshop.problems.report(path.as_bytes(), reason);
            }
        }
        Ok(None)
    }

    /// Returns true if an entry was removed since: then it is not there.
    fn is_gone(&self, frame: &Frame, path: &ObjectPath, name: &Name) -> Result<bool, ImportError> {
        match self.workshop.directories.open(&frame.found) {
            Ok(handle) => Ok(local::is_gone(&handle, name)),
            Err(failure) => Ok(failure.of_entry(path.as_bytes())? == Reason::Gone),
        }
    }

    fn remove(
        &self,
        frame: &Frame,
        name: &Name,
        base: Option<&Record>,
    ) -> Result<Option<Frame>, ImportError> {
        if base.is_some_and(|base| !self.workshop.fit.leaves_out(base)) {
            self.workshop.changes.remove(frame.dir, name)?;
        }
        Ok(None)
    }

    fn visit_entry(
        &mut self,
        frame: &Frame,
        path: &ObjectPath,
        name: &Name,
        stat: LocalStat,
        base: Option<&Record>,
    ) -> Result<Visited, Failure> {
        if stat.kind == FileType::RegularFile {
            return Ok(Visited::File(stat));
        }
        let handle = self.workshop.directories.open(&frame.found)?;
        let kind = match stat.kind {
            FileType::Directory => {
                return self.visit_directory(&handle, (path, &frame.ignored), name, base);
            }
            FileType::Symlink => Kind::Symlink {
                target: local::read_link(&handle, name)?,
            },
            FileType::Fifo => Kind::Fifo,
            // One that a mount made and a commit kept stays what it is.
            FileType::Socket if base.is_some_and(|base| base.kind == Kind::Socket) => Kind::Socket,
            FileType::Socket => {
                self.skipped.sockets += 1;
                return Ok(Visited::Skipped);
            }
            device => self.device(device, base).ok_or(Reason::Device)?,
        };
        let xattrs = read_xattrs(&handle, Some(name))?;
        let (record, contents) = record(kind, &stat, xattrs);
        let record = self.workshop.fit.record(record, base);
        Ok(Visited::Other(record, contents))
    }

    fn visit_directory(
        &mut self,
        parent: &DirHandle,
        (path, above): (&ObjectPath, &Ignored),
        name: &Name,
        base: Option<&Record>,
    ) -> Result<Visited, Failure> {
        let handle = local::open_dir(parent, name)?;
        let stat = local::stat(&handle)?;
        let xattrs = read_xattrs(&handle, None)?;
        let entries = if stat.device == self.device {
            local::read_dir(&handle)?
        } else {
            self.skipped.mount_points += 1;
            if self.picked.rest == RestOfTree::Kept {
                tracing::info!(path = ?path, "another file system, left alone");
                return Ok(Visited::LeftAlone);
            }
            tracing::info!(path = ?path, "another file system, imported as an empty directory");
            Vec::new()
        };
        let (dir, is_in_base) = match base.map(|base| &base.kind) {
            Some(Kind::Directory { dir }) => (*dir, true),
            _ => (self.new_dir(), false),
        };
        let (record, contents) = record(Kind::Directory { dir }, &stat, xattrs);
        let record = self.workshop.fit.record(record, base);
        let (ignored, warnings) = above.enter(path, &handle, &entries);
        keep_warnings(&mut self.skipped.ignore_warnings, warnings);
        let found = self.workshop.directories.add(path.clone(), &stat, handle);
        Ok(Visited::Directory(Box::new(Directory {
            found,
            dir,
            is_in_base,
            ignored,
            entries,
            record,
            contents,
        })))
    }

    fn new_dir(&mut self) -> DirId {
        let dir = DirId(self.next_dir);
        self.next_dir += 1;
        dir
    }

    fn enter(
        &self,
        frame: &Frame,
        name: &Name,
        directory: Directory,
        base: Option<&Record>,
    ) -> Result<Frame, ImportError> {
        let Directory {
            found,
            dir,
            is_in_base,
            ignored,
            entries,
            record,
            contents,
        } = directory;
        self.workshop.contents.offer(&contents)?;
        self.workshop
            .changes
            .put(frame.dir, Some(name), record, base)?;
        self.frame(found, (dir, is_in_base), ignored, entries)
    }

    fn add_file(
        &mut self,
        frame: &Frame,
        name: Name,
        stat: LocalStat,
        base: Option<Record>,
    ) -> Result<(), ImportError> {
        let had_link = base.as_ref().is_some_and(|base| base.link.is_some());
        let entry = Entry {
            parent: Arc::clone(&frame.found),
            dir: frame.dir,
            name,
            base,
        };
        let mut group = None;
        if stat.nlink > 1 || had_link {
            let mut links = self
                .workshop
                .links
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            group = links.add(entry.clone(), stat);
            if group.is_none() {
                return Ok(());
            }
        }
        self.batch.push(FileJob { entry, group });
        self.batch_len = self.batch_len.saturating_add(stat.size);
        if self.batch_len >= OFFER_LEN || self.batch.len() >= BATCH_FILES_MAX {
            self.send_batch()?;
        }
        Ok(())
    }

    fn send_batch(&mut self) -> Result<(), ImportError> {
        self.batch_len = 0;
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.batches.push(batch)?)
    }
}

/// A directory that was opened.
struct Directory {
    found: Arc<FoundDir>,
    dir: DirId,
    is_in_base: bool,
    ignored: Ignored,
    entries: crate::compare::LocalEntries,
    record: Record,
    contents: Vec<ContentBytes>,
}

/// What an entry turned out to be.
enum Visited {
    /// A file: the worker that reads it makes its record.
    File(LocalStat),
    /// A directory to go down into.
    Directory(Box<Directory>),
    /// Anything else, with the contents of its extended attributes.
    Other(Record, Vec<ContentBytes>),
    /// Not for a version.
    Skipped,
    /// The version keeps what it has in its place.
    LeftAlone,
}
