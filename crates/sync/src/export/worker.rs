//! Workers: entries that are no directories are made, or changed to what they are in the version.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lfsfs_common::full_text;
use lfsfs_common::random::random_bytes;
use lfsfs_remote::RemoteError;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{ContentId, Kind, LinkId, Name, ObjectPath, Record, XattrValue};
use lfsfs_upload::describe_file;
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::apply::{Applier, ApplyError, NewFile, Owners};
use super::contents::{Contents, Loaded, Part, take};
use super::error::ExportError;
use super::progress::ExportProgress;
use super::shared::{Cached, SharedFiles};
use super::target::{Parent, Target, failed};
use crate::attributes::handle_path;
use crate::file_match::FileMatch;
use crate::local::{self, DirHandle, FileIdentity, LocalStat};
use crate::summary::Known;

/// Bytes of small files that are fetched together.
pub(crate) const BATCH_LEN: u64 = 8 * 1024 * 1024;
/// Zeros of this length, at a multiple of it, become a hole.
const HOLE_LEN: usize = 64 * 1024;

/// An entry to make.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) dir: ObjectPath,
    pub(crate) name: Name,
    pub(crate) record: Record,
    /// What is there now; never a directory.
    pub(crate) present: Option<LocalStat>,
    /// Whether the export has made the directory itself.
    pub(crate) is_dir_new: bool,
}

/// Whether other programs may look at the entries while the export makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A directory of the export's own, which it removes if it fails: entries are made in place.
    Fresh,
    /// A user's work tree: each entry is made beside its place and moved there when it is whole.
    Live,
    /// A user's directory that remembers that it is under way, so that the next export compares what a killed one
    /// left: as in a work tree where the directory was there before, in place where the export has made it.
    UnderWay,
}

/// What a caller wants noted of the files that are written.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Sees the path of each.
    pub(crate) file_match: Arc<FileMatch>,
    /// Which content each has.
    pub(crate) known: Option<Arc<Known>>,
}

/// What every worker needs.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) target: Target,
    pub(crate) manner: Manner,
    pub(crate) owners: Owners,
    pub(crate) contents: Arc<Contents>,
    pub(crate) progress: Arc<ExportProgress>,
    pub(crate) notes: Notes,
    /// Whole files of this machine.
    pub(crate) shared: Option<SharedFiles>,
    pub(crate) runtime: Handle,
    /// Files of the directory that were kept as names of a hard link.
    pub(crate) kept_links: Mutex<HashMap<FileIdentity, LinkId>>,
}

impl Workshop {
    /// Fails once the caller has stopped the export.
    pub(crate) fn go_on(&self) -> Result<(), ExportError> {
        if self.progress.is_stopped() {
            return Err(ExportError::Interrupted);
        }
        Ok(())
    }

    pub(crate) fn applier(&self) -> Applier<'_> {
        Applier {
            owners: self.owners,
            progress: &self.progress,
        }
    }

    /// Returns true if an entry is made beside its place, and moved there when it is whole.
    fn is_moved(&self, job: &Job) -> bool {
        match self.manner {
            Manner::Fresh => false,
            Manner::Live => true,
            Manner::UnderWay => !job.is_dir_new,
        }
    }

    /// Counts an entry that was made, or changed to what it is in the version.
    pub(crate) fn wrote(&self, path: &ObjectPath) {
        self.progress.written();
        self.notes.file_match.see(path.as_bytes());
    }

    /// Makes entries, or changes them to what they are in the version.
    pub(crate) fn process(&self, batch: Vec<Job>) -> Result<(), ExportError> {
        let mut parents = Parents::new(&self.target);
        let mut missing = Vec::new();
        for job in batch {
            self.go_on()?;
            if job.present.is_none() && self.shared.is_none() {
                missing.push(job);
                continue;
            }
            match parents
                .open(&job.dir)
                .and_then(|parent| Ok(self.keep(&parent.handle, &job)? || self.share(parent, &job)))
            {
                Ok(true) => {}
                Ok(false) => missing.push(job),
                Err(failure) => self.leave_out(&job, failure)?,
            }
        }
        let contents = self.load_together(&missing)?;
        for job in &missing {
            self.go_on()?;
            let made = parents
                .open(&job.dir)
                .and_then(|parent| self.make(parent, job, contents.as_ref()));
            if let Err(failure) = made {
                self.leave_out(job, failure)?;
            }
        }
        Ok(())
    }

    /// Returns what all of the jobs need, or nothing if some of it cannot be had: then each asks for
    /// itself.
    fn load_together(&self, jobs: &[Job]) -> Result<Option<Loaded>, ExportError> {
        let wanted: Vec<ContentId> = jobs.iter().flat_map(wanted).collect();
        match self.runtime.block_on(self.contents.load(&wanted)) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(failure) if failure.is_of_one_object() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Goes on without an entry if it alone is the reason of a failure.
    fn leave_out(&self, job: &Job, failure: ExportError) -> Result<(), ExportError> {
        let path = below(&job.dir, &job.name);
        self.progress.leave_out(&path, failure)
    }

    /// Keeps what is there if it is the same but for attributes. Returns false if it has to be made.
    fn keep(&self, parent: &DirHandle, job: &Job) -> Result<bool, ExportError> {
        let Some(stat) = &job.present else {
            return Ok(false);
        };
        let Job { name, record, .. } = job;
        let nlink = record.link.map_or(1, |link| u64::from(link.nlink));
        // A name more than it should have is one that must not change with it, unless it is one of the cache.
        let has_others = stat.nlink > nlink;
        if has_others && !self.may_link(record) || !is_same(parent, name, stat, &record.kind) {
            return Ok(false);
        }
        // Two files of the version may have been one name's twin of the other here.
        if let Some(link) = record.link.filter(|_| stat.nlink > 1) {
            let kept = self.kept_links.lock();
            let mut kept = kept.unwrap_or_else(PoisonError::into_inner);
            if *kept.entry(stat.identity()).or_insert(link.id) != link.id {
                return Ok(false);
            }
        }
        let applier = self.applier();
        let has_attributes = applier.has_attributes(parent, Some(name), stat, record);
        if has_others && !has_attributes {
            return Ok(false);
        }
        self.progress.bytes(record.size());
        if !has_attributes {
            let contents = self.xattr_contents(record)?;
            let path = job.dir.join(name)?;
            applier
                .apply(&handle_path(parent, Some(name)), record, &contents)
                .map_err(|error| error.of(&path))?;
            self.wrote(&path);
        } else if let (Some(known), Kind::File { content, .. }) = (&self.notes.known, &record.kind)
        {
            known.read(&below(&job.dir, name), stat, *content);
        }
        Ok(true)
    }

    /// Returns true if the names of a file may be those of trees that share it.
    fn may_link(&self, record: &Record) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.may_link(record))
    }

    /// Makes a file of one that the cache has. Returns false if it is to be fetched, for whatever reason.
    fn share(&self, parent: &Parent, job: &Job) -> bool {
        let shared = self.shared.as_ref();
        let Some(cached) = shared.and_then(|it| it.find(&job.record, self.applier())) else {
            return false;
        };
        let xattrs = self.xattr_contents(&job.record);
        let made = xattrs.and_then(|xattrs| self.put(parent, job, (&xattrs, Some(&cached))));
        match made {
            Ok(()) => self.progress.cached(),
            Err(failure) => {
                let path = below(&job.dir, &job.name);
                let (path, error) = (path.escape_ascii(), full_text(&failure));
                tracing::debug!(%path, error, "cannot share a file of the cache, fetching it");
                return false;
            }
        }
        self.progress.bytes(job.record.size());
        true
    }

    /// Notes a file that is in its place.
    fn note(&self, parent: &DirHandle, name: &Name, path: &ObjectPath, record: &Record) {
        if let (Some(known), Kind::File { content, .. }) = (&self.notes.known, &record.kind)
            && let Ok(Some(stat)) = local::stat_entry(parent, name)
        {
            known.made(path.as_bytes(), &stat, (*content, record.mtime));
        }
    }

    /// Loads the extended attributes that are contents.
    pub(crate) fn xattr_contents(&self, record: &Record) -> Result<Loaded, ExportError> {
        let wanted: Vec<ContentId> = xattr_ids(record).collect();
        self.runtime.block_on(self.contents.load(&wanted))
    }

    fn make(
        &self,
        parent: &Parent,
        job: &Job,
        contents: Option<&Loaded>,
    ) -> Result<(), ExportError> {
        let own;
        let contents = match contents {
            Some(contents) => contents,
            None => {
                let wanted: Vec<ContentId> = wanted(job).collect();
                own = self.runtime.block_on(self.contents.load(&wanted))?;
                &own
            }
        };
        self.put(parent, job, (contents, None))
    }

    /// Makes an entry in its place, or moves it there.
    fn put(&self, parent: &Parent, job: &Job, from: Source<'_>) -> Result<(), ExportError> {
        let path = job.dir.join(&job.name)?;
        let is_moved = self.is_moved(job);
        let (made_in, made_as) = if is_moved {
            (self.target.staging(parent), unused_name(&path)?)
        } else {
            (parent, job.name.clone())
        };
        let made = self.make_as(made_in, &made_as, &path, &job.record, from)?;
        if made == Made::Skipped {
            return Ok(());
        }
        if is_moved {
            let place = (&parent.handle, &job.name);
            let placed = move_over((&made_in.handle, &made_as), place, &path);
            // A rename between two names of one file leaves both.
            if placed.is_err() || matches!(from, (_, Some(Cached::HardLink(_)))) {
                take_back(&made_in.handle, &made_as);
            }
            placed?;
        }
        self.note(&parent.handle, &job.name, &path, &job.record);
        self.wrote(&path);
        Ok(())
    }

    /// Makes an entry under a name that is free. If that fails there is none, except that one
    /// without all of its attributes stays in a directory of our own.
    fn make_as(
        &self,
        parent: &Parent,
        name: &Name,
        path: &ObjectPath,
        record: &Record,
        (contents, cached): Source<'_>,
    ) -> Result<Made, ExportError> {
        let dir = &parent.handle;
        if let Some(Cached::HardLink(file)) = cached {
            let linked = fs::linkat(CWD, file, dir, name.as_bytes(), AtFlags::empty());
            return linked.map(|()| Made::Whole).map_err(failed("link", path));
        }
        let Kind::File { size, content } = record.kind else {
            return self.make_special(dir, name, path, record, contents);
        };
        let file = new_file(dir, name, record).map_err(failed("make", path))?;
        let filled = match cached {
            Some(Cached::Reflink(from)) => {
                fs::ioctl_ficlone(&file, from).map_err(failed("write", path))
            }
            _ => self.write(&file, (content, size), contents, path),
        };
        if let Err(failure) = filled {
            take_back(dir, name);
            return Err(failure);
        }
        let new = NewFile {
            file: &file,
            path: &handle_path(dir, Some(name)),
            may_inherit: parent.hands_down_xattrs,
        };
        let applied = self.applier().apply_to_new(new, record, contents);
        self.or_taken_back(applied, (dir, name), path)?;
        if let (Some(shared), None) = (&self.shared, cached) {
            shared.keep(&file, (dir, name), record);
        }
        Ok(Made::Whole)
    }

    /// Makes an entry that has no bytes.
    fn make_special(
        &self,
        dir: &DirHandle,
        name: &Name,
        path: &ObjectPath,
        record: &Record,
        contents: &Loaded,
    ) -> Result<Made, ExportError> {
        match make_node(dir, name, &record.kind) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS) if is_privileged(&record.kind) => {
                self.progress.skipped_special();
                return Ok(Made::Skipped);
            }
            Err(error) => return Err(failed("make", path)(error)),
        }
        let at = handle_path(dir, Some(name));
        let applied = self.applier().apply(&at, record, contents);
        self.or_taken_back(applied, (dir, name), path)?;
        Ok(Made::Whole)
    }

    /// Takes an entry back that did not get its attributes, except in a directory of our own.
    fn or_taken_back(
        &self,
        applied: Result<(), ApplyError>,
        (dir, name): (&DirHandle, &Name),
        path: &ObjectPath,
    ) -> Result<(), ExportError> {
        applied.map_err(|error| {
            if self.manner != Manner::Fresh {
                take_back(dir, name);
            }
            error.of(path)
        })
    }

    /// Fills a file.
    fn write(
        &self,
        file: &File,
        (content, size): (ContentId, u64),
        contents: &Loaded,
        path: &ObjectPath,
    ) -> Result<(), ExportError> {
        if size <= SMALL_CONTENT_LEN_MAX {
            let bytes = take(contents, &content)?;
            check_len(bytes.len() as u64, size, path)?;
            let end = write_at(file, 0, bytes).map_err(failed("write", path))?;
            self.progress.bytes(size);
            if end == size {
                return Ok(());
            }
        } else {
            self.write_pieces(file, (content, size), path)?;
        }
        // The end may be a hole, which nothing was written for.
        file.set_len(size).map_err(failed("write", path))
    }

    fn write_pieces(
        &self,
        file: &File,
        (content, size): (ContentId, u64),
        path: &ObjectPath,
    ) -> Result<(), ExportError> {
        let list = self.runtime.block_on(self.contents.pieces(content))?;
        check_len(list.total_len(), size, path)?;
        let mut offset = 0;
        let write = |part: Part<'_>| {
            self.go_on()?;
            if let Part::Bytes(bytes) = part {
                write_at(file, offset, bytes).map_err(failed("write", path))?;
            }
            offset += part.len();
            self.progress.bytes(part.len());
            Ok::<_, ExportError>(())
        };
        self.runtime
            .block_on(self.contents.each_piece(&list, write))?;
        check_len(offset, size, path)
    }
}

/// Contents that were loaded, and the file of the cache that has the bytes, if it is made of one.
type Source<'a> = (&'a Loaded, Option<&'a Cached>);

/// Whether an entry was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Whole,
    /// It may not be made here.
    Skipped,
}

/// Directories of jobs, opened one at a time: jobs of one directory come together.
struct Parents<'a> {
    target: &'a Target,
    current: Option<(ObjectPath, Parent)>,
}

impl<'a> Parents<'a> {
    fn new(target: &'a Target) -> Self {
        Self {
            target,
            current: None,
        }
    }

    fn open(&mut self, dir: &ObjectPath) -> Result<&Parent, ExportError> {
        let current = match self.current.take() {
            Some(current) if current.0 == *dir => current,
            _ => (dir.clone(), self.target.parent(dir)?),
        };
        Ok(&self.current.insert(current).1)
    }
}

/// Returns what has to be fetched before an entry is made; large files are fetched as they are
/// written.
fn wanted(job: &Job) -> impl Iterator<Item = ContentId> + '_ {
    let bytes = match job.record.kind {
        Kind::File { size, content } if size <= SMALL_CONTENT_LEN_MAX => Some(content),
        _ => None,
    };
    bytes.into_iter().chain(xattr_ids(&job.record))
}

pub(crate) fn xattr_ids(record: &Record) -> impl Iterator<Item = ContentId> + '_ {
    record.xattrs.iter().filter_map(|xattr| match xattr.value {
        XattrValue::Content { content, .. } => Some(content),
        XattrValue::Inline(_) => None,
    })
}

/// Returns true if what is there is of the same kind, with the same bytes, target or number.
/// Whatever cannot be read is made anew.
pub(crate) fn is_same(parent: &DirHandle, name: &Name, stat: &LocalStat, kind: &Kind) -> bool {
    match kind {
        Kind::File { size, content } => {
            let is_candidate = stat.kind == FileType::RegularFile && stat.size == *size;
            is_candidate
                && local::open_file(parent, name)
                    .is_ok_and(|file| describe_file(&file).is_ok_and(|found| found.id == *content))
        }
        Kind::Symlink { target } => {
            stat.kind == FileType::Symlink
                && local::read_link(parent, name).is_ok_and(|found| found == *target)
        }
        Kind::Fifo => stat.kind == FileType::Fifo,
        Kind::Socket => stat.kind == FileType::Socket,
        // Their numbers are not at hand, and they are made anew in no time.
        Kind::BlockDevice { .. } | Kind::CharDevice { .. } => false,
        Kind::Directory { .. } => false,
    }
}

/// Makes an empty file, which has its mode if the user's mask lets it. One with an access list gets that before others
/// may do anything with it.
fn new_file(parent: &DirHandle, name: &Name, record: &Record) -> Result<File, Errno> {
    // Readable, because it may be cloned.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = if record.xattrs.is_empty() {
        Mode::from_raw_mode(record.mode & 0o777)
    } else {
        Mode::RUSR | Mode::WUSR
    };
    fs::openat(parent, name.as_bytes(), flags, mode).map(File::from)
}

fn make_node(parent: &DirHandle, name: &Name, kind: &Kind) -> Result<(), Errno> {
    let (file_type, device) = match kind {
        Kind::Symlink { target } => return fs::symlinkat(&**target, parent, name.as_bytes()),
        Kind::Fifo => (FileType::Fifo, 0),
        Kind::Socket => (FileType::Socket, 0),
        Kind::BlockDevice { rdev } => (FileType::BlockDevice, *rdev),
        Kind::CharDevice { rdev } => (FileType::CharacterDevice, *rdev),
        Kind::File { .. } | Kind::Directory { .. } => return Err(Errno::INVAL),
    };
    let mode = Mode::RUSR | Mode::WUSR;
    fs::mknodat(parent, name.as_bytes(), file_type, mode, device)
}

const fn is_privileged(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Socket | Kind::BlockDevice { .. } | Kind::CharDevice { .. }
    )
}

/// Moves a whole entry to its place.
pub(crate) fn move_over(
    (from_dir, from): (&DirHandle, &Name),
    (to_dir, to): (&DirHandle, &Name),
    path: &ObjectPath,
) -> Result<(), ExportError> {
    fs::renameat(from_dir, from.as_bytes(), to_dir, to.as_bytes()).map_err(failed("replace", path))
}

/// Removes what was begun. The caller tells of the failure that came first, not of one here.
pub(crate) fn take_back(parent: &DirHandle, name: &Name) {
    let _ = fs::unlinkat(parent, name.as_bytes(), AtFlags::empty());
}

/// Returns the path of an entry, also where it is longer than a path can be.
pub(crate) fn below(dir: &ObjectPath, name: &Name) -> Vec<u8> {
    if dir.is_root() {
        return name.as_bytes().to_vec();
    }
    [dir.as_bytes(), b"/", name.as_bytes()].concat()
}

/// Returns a random name, which no entry has.
pub(crate) fn unused_name(path: &ObjectPath) -> Result<Name, ExportError> {
    let random = random_bytes().map_err(failed("name", path))?;
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = Name::new(format!(".lfsfs-{hex}").as_bytes());
    name.map_err(|_| ExportError::Stopped("a name is none"))
}

/// Writes bytes into an empty part of a file, leaving out what is a hole anyway. Returns the end of what was written.
pub(crate) fn write_at(file: &File, offset: u64, bytes: &[u8]) -> std::io::Result<u64> {
    let mut at = offset;
    let mut end = offset;
    let mut rest = bytes;
    while !rest.is_empty() {
        let to_boundary = HOLE_LEN - usize::try_from(at % HOLE_LEN as u64).unwrap_or(0);
        let (part, left) = rest.split_at(to_boundary.min(rest.len()));
        let is_hole = part.len() == HOLE_LEN && part.iter().all(|byte| *byte == 0);
        if !is_hole {
            file.write_all_at(part, at)?;
            end = at + part.len() as u64;
        }
        at += part.len() as u64;
        rest = left;
    }
    Ok(end)
}

/// A record whose size is not that of its content is damaged.
pub(crate) fn check_len(found: u64, expected: u64, path: &ObjectPath) -> Result<(), ExportError> {
    if found == expected {
        return Ok(());
    }
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes()));
    let problem = format!("{} has {found} bytes instead of {expected}", path.display());
    Err(RemoteError::Corrupt(problem).into())
}
