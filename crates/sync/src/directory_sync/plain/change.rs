//! Changes of a plain directory.
//!
//! Nothing is replaced or removed that is not what the plan says: each entry is looked at before, and again when it is out
//! of its place. One that another program changed in between goes back, and the path is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use lfsfs_types::{Name, ObjectPath};
use rustix::fs::{self, AtFlags, FileType, Mode, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::super::error::SyncError;
use super::super::item::{Figures, FileItem, Item};
use super::super::reconcile::{Change, above};
use super::super::store::Agreed;
use super::super::view::{Applied, Done, Wanted, Work};
use super::{PlainView, errno, machine, make_file, unused_name};
use crate::export::worker::write_at;
use crate::local::{self, DirHandle, LocalStat, is_of_the_machine};

/// Bytes that are fetched together, and files.
const BATCH_LEN: u64 = 8 * 1024 * 1024;
const BATCH_FILES_MAX: usize = 256;
/// Bytes that are read at once.
const READ_LEN: usize = 128 * 1024;

/// Why a path is left.
enum Left {
    /// For this reason.
    Reason(String),
    /// Another program changed it meanwhile.
    Changed,
    /// The machine failed, and so would the next path.
    Failed(SyncError),
}

impl From<Errno> for Left {
    fn from(error: Errno) -> Self {
        if is_of_the_machine(error) {
            let path = std::path::PathBuf::from(crate::filter::STATE_DIR);
            return Self::Failed(machine("write to the directory of", path)(error));
        }
        Self::Reason(match error {
            Errno::NOTEMPTY => "it has entries that are not synced".to_owned(),
            Errno::EXIST => {
                "its name is taken: another program made it, or the file system takes it for another name".to_owned()
            }
            error => io::Error::from(error).to_string(),
        })
    }
}

impl From<SyncError> for Left {
    fn from(error: SyncError) -> Self {
        Self::Failed(error)
    }
}

const fn changed() -> Left {
    Left::Changed
}

/// The work on one directory.
struct Applying<'a> {
    view: &'a PlainView,
    work: &'a Work<'a>,
    applied: Mutex<Applied>,
    /// Paths that are left, so that nothing below them is done.
    blocked: Mutex<BTreeSet<ObjectPath>>,
    /// Files that were taken out of their places, by where they come to.
    moved: BTreeMap<ObjectPath, (Name, LocalStat)>,
}

/// Does the work.
pub(super) fn apply(view: &PlainView, work: &Work<'_>) -> Result<Applied, SyncError> {
    let mut applying = Applying {
        view,
        work,
        applied: Mutex::default(),
        blocked: Mutex::default(),
        moved: BTreeMap::new(),
    };
    applying.set_aside()?;
    applying.take_out()?;
    applying.remove()?;
    applying.make_directories()?;
    applying.make_files()?;
    applying.finish_directories()?;
    let applied = applying.applied.into_inner();
    Ok(applied.unwrap_or_else(PoisonError::into_inner))
}

impl Applying<'_> {
    fn applied(&self) -> std::sync::MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what came of a path.
    fn end<T>(&self, path: &ObjectPath, done: Result<T, Left>) -> Result<Option<T>, SyncError> {
        self.work.progress.go_on()?;
        match done {
            Ok(done) => Ok(Some(done)),
            Err(left) => {
                let reason = match left {
                    Left::Failed(error) => return Err(error),
                    Left::Reason(reason) => reason,
                    Left::Changed => {
                        self.applied().is_more = true;
                        "it was changed meanwhile; the next pass looks again".to_owned()
                    }
                };
                self.applied().leave(path, reason);
                let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
                blocked.insert(path.clone());
                Ok(None)
            }
        }
    }

    fn is_blocked(&self, path: &ObjectPath) -> bool {
        let blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        !blocked.is_empty()
            && (blocked.contains(path) || above(path).any(|it| blocked.contains(&it)))
    }

    /// Returns the changes that can be done still, a directory before what is in it.
    fn changes(&self) -> impl DoubleEndedIterator<Item = (&ObjectPath, &Change)> {
        let changes = self.work.changes.iter();
        changes.filter(|(path, _)| !self.is_blocked(path))
    }

    fn set_aside(&self) -> Result<(), SyncError> {
        for aside in self.work.aside {
            let moved = self.move_aside(&aside.path, &aside.copy, &aside.item);
            if self.end(&aside.path, moved)?.is_none() {
                let reason = "what is at its path could not be moved".to_owned();
                let _ = self.end::<()>(&aside.copy, Err(Left::Reason(reason)))?;
            }
        }
        Ok(())
    }

    fn move_aside(&self, path: &ObjectPath, copy: &ObjectPath, item: &Item) -> Result<(), Left> {
        let (from_dir, from) = self.view.parent(path)?;
        let (to_dir, to) = self.view.parent(copy)?;
        let _ = self.check(path, item)?;
        Ok(fs::renameat_with(
            &from_dir,
            from.as_bytes(),
            &to_dir,
            to.as_bytes(),
            RenameFlags::NOREPLACE,
        )?)
    }

    /// Takes files that move out of their places.
    fn take_out(&mut self) -> Result<(), SyncError> {
        let mut moved = BTreeMap::new();
        for (to, from) in self.work.moves {
            let item = self.work.changes.get(from).and_then(|it| it.from.as_ref());
            let Some(item) = item.filter(|_| !self.is_blocked(from)) else {
                continue;
            };
            let out = self.take(from, item);
            if let Some(out) = self.end(from, out)? {
                moved.insert(to.clone(), out);
            }
        }
        self.moved = moved;
        Ok(())
    }

    /// Takes what is at a path into the staging directory, if it is what it should be.
    fn take(&self, path: &ObjectPath, item: &Item) -> Result<(Name, LocalStat), Left> {
        let (parent, name) = self.view.parent(path)?;
        let before = self.check(path, item)?;
        let staged = unused_name()?;
        let staging = &self.view.staging;
        fs::renameat(&parent, name.as_bytes(), staging, staged.as_bytes())?;
        let after = local::stat_entry(staging, &staged)?;
        match after.filter(|after| is_same(after, &before)) {
            Some(after) => Ok((staged, after)),
            None => {
                self.put_back(&staged, (&parent, &name))?;
                Err(changed())
            }
        }
    }

    /// Gives an entry of the staging directory its place back.
    fn put_back(&self, staged: &Name, (parent, name): (&DirHandle, &Name)) -> Result<(), Errno> {
        let staging = &self.view.staging;
        let flags = RenameFlags::NOREPLACE;
        fs::renameat_with(staging, staged.as_bytes(), parent, name.as_bytes(), flags)
    }

    fn remove(&self) -> Result<(), SyncError> {
        let taken: BTreeSet<&ObjectPath> = self
            .work
            .moves
            .iter()
            .filter(|(to, _)| self.moved.contains_key(to))
            .map(|(_, from)| from)
            .collect();
        for (path, change) in self.changes().rev() {
            let Some(from) = &change.from else { continue };
            let is_replaced = match &change.to {
                None => true,
                Some(to) => from.is_directory() != to.is_directory(),
            };
            if !is_replaced {
                continue;
            }
            let removed = if taken.contains(path) {
                Ok(())
            } else if from.is_directory() {
                self.remove_directory(path)
            } else {
                self.take(path, from)
                    .and_then(|(staged, _)| Ok(self.discard(&staged)?))
            };
            if self.end(path, removed)?.is_some() && change.to.is_none() {
                self.applied().removed(path);
            }
        }
        Ok(())
    }

    fn remove_directory(&self, path: &ObjectPath) -> Result<(), Left> {
        let (parent, name) = self.view.parent(path)?;
        Ok(fs::unlinkat(&parent, name.as_bytes(), AtFlags::REMOVEDIR)?)
    }

    fn discard(&self, staged: &Name) -> Result<(), Errno> {
        fs::unlinkat(&self.view.staging, staged.as_bytes(), AtFlags::empty())
    }

    fn discard_all(&self, made: &[(Name, File)]) {
        for (name, _) in made {
            let _ = self.discard(name);
        }
    }

    fn make_directories(&self) -> Result<(), SyncError> {
        for (path, change) in self.changes() {
            let is_made = !change.from.as_ref().is_some_and(Item::is_directory);
            if change.to.as_ref().is_some_and(Item::is_directory) && is_made {
                let made = self.view.parent(path).map_err(Left::from);
                let made = made.and_then(|(parent, name)| {
                    Ok(fs::mkdirat(&parent, name.as_bytes(), Mode::RWXU)?)
                });
                let _ = self.end(path, made)?;
            }
        }
        Ok(())
    }

    /// Gives directories their modes when all is in them.
    fn finish_directories(&self) -> Result<(), SyncError> {
        for (path, change) in self.changes().rev() {
            if let Some(to @ Item::Directory { mode }) = &change.to {
                let set = self.view.directory(path).map_err(Left::from);
                let set = set.and_then(|dir| Ok(fs::fchmod(&dir, Mode::from_raw_mode(*mode))?));
                if self.end(path, set)?.is_some() {
                    let item = Some(to.clone());
                    self.done(path, item, [None; 2]);
                }
            }
        }
        Ok(())
    }

    fn done(&self, path: &ObjectPath, item: Option<Item>, figures: [Option<Figures>; 2]) {
        let path = path.clone();
        self.applied().done.push(Done {
            path,
            item,
            figures,
        });
    }

    fn make_files(&self) -> Result<(), SyncError> {
        let mut fetched = Vec::new();
        for (path, change) in self.changes() {
            match (&change.from, &change.to) {
                (_, None | Some(Item::Directory { .. })) => {}
                (from, Some(Item::Symlink { target })) => {
                    let made = self.make_link(path, from.as_ref(), target);
                    if self.end(path, made)?.is_some() {
                        self.done(path, change.to.clone(), [None; 2]);
                    }
                }
                (Some(from @ Item::File(old)), Some(to @ Item::File(new)))
                    if from.has_bytes_of(to) =>
                {
                    let set = self.set_attributes(path, old, new);
                    if self.end(path, set)?.is_some() {
                        self.done(path, change.to.clone(), [None; 2]);
                    }
                }
                (from, Some(Item::File(file))) => match self.moved.get(path) {
                    Some((staged, stat)) => {
                        let placed = self.place_moved(path, from.as_ref(), (staged, stat), file);
                        self.end_file(path, file, placed)?;
                    }
                    None => fetched.push((path, from.as_ref(), *file)),
                },
            }
        }
        self.fetch(&fetched)
    }

    fn end_file(
        &self,
        path: &ObjectPath,
        file: &FileItem,
        placed: Result<Option<Figures>, Left>,
    ) -> Result<(), SyncError> {
        if let Some(figures) = self.end(path, placed)? {
            self.work.progress.file(file.size);
            self.done(path, Some(Item::File(*file)), [figures, None]);
        }
        Ok(())
    }

    /// Fetches files, several batches at once.
    fn fetch(&self, files: &[(&ObjectPath, Option<&Item>, FileItem)]) -> Result<(), SyncError> {
        let batches = Mutex::new(batches(files).into_iter());
        let next = || {
            batches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next()
        };
        let work = || -> Result<(), SyncError> {
            while let Some(batch) = next() {
                self.fetch_batch(batch)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let count = self.work.concurrency.min(files.len());
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let mut first = Ok(());
            for thread in threads {
                let ended = thread.join();
                let ended = ended.unwrap_or(Err(SyncError::Stopped("a worker panicked")));
                if first.is_ok() {
                    first = ended;
                }
            }
            first
        })
    }

    fn fetch_batch(
        &self,
        batch: &[(&ObjectPath, Option<&Item>, FileItem)],
    ) -> Result<(), SyncError> {
        let mut made = Vec::with_capacity(batch.len());
        for _ in batch {
            let name = unused_name().map_err(|error| self.machine(error))?;
            let file = make_file(&self.view.staging, &name).map_err(|error| self.machine(error))?;
            made.push((name, file));
        }
        let wanted = batch.iter().map(|(path, _, file)| Wanted {
            path: (*path).clone(),
            file: *file,
        });
        let wanted: Vec<Wanted> = wanted.collect();
        let fetched = self
            .work
            .source
            .download(&wanted, &mut |at, offset, bytes| {
                let written = write_at(&made[at].1, offset, bytes);
                written
                    .map(drop)
                    .map_err(|error| self.machine(errno(error)))
            });
        let fetched = match fetched {
            Err(SyncError::Remote(error)) if is_of_a_content(&error) && batch.len() > 1 => {
                self.discard_all(&made);
                // One file is damaged on the far side; the others are not.
                return batch.chunks(1).try_for_each(|one| self.fetch_batch(one));
            }
            Err(SyncError::Remote(error)) if is_of_a_content(&error) => {
                self.discard_all(&made);
                let left: Result<(), Left> = Err(Left::Reason(error.to_string()));
                return self.end(batch[0].0, left).map(drop);
            }
            fetched => fetched,
        };
        if let Err(error) = fetched {
            self.discard_all(&made);
            return Err(error);
        }
        for ((path, from, file), (name, made)) in batch.iter().zip(&made) {
            let placed = self.place_new(path, *from, (name, made), file);
            if placed.is_err() {
                let _ = self.discard(name);
            }
            self.end_file(path, file, placed)?;
        }
        Ok(())
    }

    fn machine(&self, error: Errno) -> SyncError {
        machine("write to", self.view.dir.join(crate::filter::STATE_DIR))(error)
    }

    fn place_new(
        &self,
        path: &ObjectPath,
        from: Option<&Item>,
        (name, made): (&Name, &File),
        file: &FileItem,
    ) -> Result<Option<Figures>, Left> {
        fs::ftruncate(made, file.size)?;
        if local::stat(made)?.size != file.size {
            return Err(changed());
        }
        give_attributes(made, file)?;
        let stat = local::stat(made)?;
        self.place(path, from, (name, &stat), file)
    }

    fn place_moved(
        &self,
        path: &ObjectPath,
        from: Option<&Item>,
        (staged, stat): (&Name, &LocalStat),
        file: &FileItem,
    ) -> Result<Option<Figures>, Left> {
        let staging = &self.view.staging;
        let handle = local::open_file(staging, staged)?;
        give_attributes(&handle, file)?;
        let stat = LocalStat {
            mode: file.mode,
            mtime: file.mtime,
            ..*stat
        };
        let placed = self.place(path, from, (staged, &stat), file);
        if placed.is_err() {
            // The far side has its bytes, too.
            let _ = self.discard(staged);
        }
        placed
    }

    /// Gives a staged entry its place. Returns what stat shows of it, if a later write would show.
    fn place(
        &self,
        path: &ObjectPath,
        from: Option<&Item>,
        (staged, stat): (&Name, &LocalStat),
        file: &FileItem,
    ) -> Result<Option<Figures>, Left> {
        let (parent, name) = self.view.parent(path)?;
        self.swap_in(path, from, staged, (&parent, &name))?;
        let now = local::stat_entry(&parent, &name)?;
        let now = now.filter(|now| is_same(now, stat) && file.mtime < self.view.began);
        Ok(now.map(|now| Figures::of(&now)))
    }

    fn swap_in(
        &self,
        path: &ObjectPath,
        from: Option<&Item>,
        staged: &Name,
        (parent, name): (&DirHandle, &Name),
    ) -> Result<(), Left> {
        let staging = &self.view.staging;
        let rename =
            |flags| fs::renameat_with(staging, staged.as_bytes(), parent, name.as_bytes(), flags);
        // What was a directory was removed before.
        let Some(from) = from.filter(|from| !from.is_directory()) else {
            return match rename(RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS) => {
                    if local::stat_entry(parent, name)?.is_some() {
                        return Err(Errno::EXIST.into());
                    }
                    Ok(rename(RenameFlags::empty())?)
                }
                renamed => Ok(renamed?),
            };
        };
        let before = self.check(path, from)?;
        match rename(RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS) => return Ok(rename(RenameFlags::empty())?),
            renamed => renamed?,
        }
        let out = local::stat_entry(staging, staged)?;
        if out.is_some_and(|out| is_same(&out, &before)) {
            return Ok(self.discard(staged)?);
        }
        // Another program wrote in between: what it wrote goes back.
        rename(RenameFlags::EXCHANGE)?;
        Err(changed())
    }

    fn make_link(&self, path: &ObjectPath, from: Option<&Item>, target: &[u8]) -> Result<(), Left> {
        let (parent, name) = self.view.parent(path)?;
        let staged = unused_name()?;
        fs::symlinkat(target, &self.view.staging, staged.as_bytes())?;
        let placed = self.swap_in(path, from, &staged, (&parent, &name));
        if placed.is_err() {
            let _ = self.discard(&staged);
        }
        placed
    }

    fn set_attributes(
        &self,
        path: &ObjectPath,
        old: &FileItem,
        new: &FileItem,
    ) -> Result<(), Left> {
        let (parent, name) = self.view.parent(path)?;
        let _ = self.check(path, &Item::File(*old))?;
        let file = local::open_file(&parent, &name)?;
        Ok(give_attributes(&file, new)?)
    }

    /// Fails if something else is at a path than the plan says. Returns what stat shows.
    fn check(&self, path: &ObjectPath, item: &Item) -> Result<LocalStat, Left> {
        let (parent, name) = self.view.parent(path)?;
        let stat = local::stat_entry(&parent, &name)?.ok_or_else(changed)?;
        let is_right = match (item, stat.kind) {
            (Item::File(file), FileType::RegularFile) => return self.check_file(path, file, stat),
            (Item::Symlink { target }, FileType::Symlink) => {
                local::read_link(&parent, &name)? == *target
            }
            (Item::Directory { .. }, FileType::Directory) => true,
            _ => false,
        };
        if is_right { Ok(stat) } else { Err(changed()) }
    }

    fn check_file(
        &self,
        path: &ObjectPath,
        file: &FileItem,
        stat: LocalStat,
    ) -> Result<LocalStat, Left> {
        let agreed = (self.work.agreed)(path).map_err(SyncError::from)?;
        if agreed.is_some_and(|agreed| is_known(&agreed, file, &stat)) {
            return Ok(stat);
        }
        match self.view.hash(path)? {
            Some((found, stat)) if found == *file => Ok(stat),
            Some((found, stat)) if found.content == file.content && stat.mtime == file.mtime => {
                Ok(stat)
            }
            _ => Err(changed()),
        }
    }
}

/// Returns true if stat shows a file that was agreed with this content, on either side: no two have the same figures.
fn is_known(agreed: &Agreed, file: &FileItem, stat: &LocalStat) -> bool {
    let is_content = agreed
        .item
        .file()
        .is_some_and(|it| it.content == file.content);
    is_content && agreed.figures.contains(&Some(Figures::of(stat)))
}

/// Returns true if no program has written to an entry that was moved.
fn is_same(now: &LocalStat, before: &LocalStat) -> bool {
    let of = |stat: &LocalStat| (stat.kind, stat.inode, stat.size, stat.mtime);
    of(now) == of(before)
}

/// Returns true if the far side does not have the bytes that it should have: the next file may be whole.
const fn is_of_a_content(error: &lfsfs_remote::RemoteError) -> bool {
    use lfsfs_remote::RemoteError;
    matches!(error, RemoteError::Corrupt(_) | RemoteError::NotFound(_))
}

/// Gives a file that is open the mode and the time of an item.
fn give_attributes(open: &File, file: &FileItem) -> Result<(), Errno> {
    fs::fchmod(open, Mode::from_raw_mode(file.mode))?;
    fs::futimens(open, &times(file))
}

fn times(file: &FileItem) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: file.mtime.secs,
            tv_nsec: i64::from(file.mtime.nanos),
        },
    }
}

type ToFetch<'a> = (&'a ObjectPath, Option<&'a Item>, FileItem);

/// Divides files into batches that are fetched together.
fn batches<'s, 'a>(files: &'s [ToFetch<'a>]) -> Vec<&'s [ToFetch<'a>]> {
    let (mut batches, mut rest) = (Vec::new(), files);
    while !rest.is_empty() {
        let mut len = 0;
        let fits = rest.iter().take_while(|(_, _, file)| {
            len += file.size;
            len <= BATCH_LEN
        });
        let count = fits.count().clamp(1, BATCH_FILES_MAX);
        let (batch, left) = rest.split_at(count);
        batches.push(batch);
        rest = left;
    }
    batches
}

/// Reads a file from its start to its end.
pub(super) fn each_part<E>(
    file: &File,
    mut take: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> io::Result<Result<(), E>> {
    let mut bytes = vec![0; READ_LEN];
    let mut offset = 0;
    loop {
        let read = match file.read_at(&mut bytes, offset) {
            Ok(0) => return Ok(Ok(())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if let Err(error) = take(offset, &bytes[..read]) {
            return Ok(Err(error));
        }
        offset += read as u64;
    }
}
