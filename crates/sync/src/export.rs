//! A version becomes a directory: the way back of an import.
//!
//! [`Export`] walks a version from its listings, makes directories, and has everything else made by
//! workers that fetch contents together, verify them and write them. Into a directory of its own it
//! works in place and takes everything away if it fails (one damaged object is no failure). In a user's
//! work tree, where [`Export::restore`] works, each entry is made beside its place and moved there when
//! it is whole, and what is the same already stays untouched. [`Export::into_file`] writes one file alone,
//! and makes it durable.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use lfsfs_common::WorkerPool;
use lfsfs_remote::{RemoteRead, Snapshot};
use lfsfs_types::{Name, ObjectPath, Record};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use self::apply::Owners;
use self::contents::Contents;
use self::file::OneFile;
use self::listed::Lister;
use self::scope::Scope;
use self::shared::SharedFiles;
use self::target::{Target, is_marked};
use self::walk::{Rest, Walk, way_to};
use self::worker::Workshop;
use crate::listings::Listings;

use crate::local::DirHandle;

pub use self::error::{ExportError, InTheWay};
pub use self::progress::{ExportFigures, ExportProgress, LeftOut};
pub(crate) use self::worker::{Manner, Notes};

pub(crate) mod apply;
pub(crate) mod contents;
mod error;
mod file;
mod finish;
mod listed;
mod progress;
pub(crate) mod remove;
pub(crate) mod scope;
pub(crate) mod shared;
pub(crate) mod target;
#[cfg(test)]
mod tests;
mod walk;
pub(crate) mod worker;

/// Batches of entries that wait for a worker.
const BATCHES_QUEUED_MAX: usize = 2;

/// A version that is about to be written.
#[derive(Debug)]
pub struct Export {
    remote: Arc<dyn RemoteRead>,
    snapshot: Snapshot,
    progress: Arc<ExportProgress>,
    shared: Option<SharedFiles>,
}

/// Whether the directory was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Empty,
    Made,
}

impl Export {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(remote: Arc<dyn RemoteRead>, snapshot: Snapshot) -> Self {
        Self::with_progress(remote, snapshot, Arc::default())
    }

    /// As [`new`](Self::new), with counters that the caller has already.
    pub(crate) const fn with_progress(
        remote: Arc<dyn RemoteRead>,
        snapshot: Snapshot,
        progress: Arc<ExportProgress>,
    ) -> Self {
        Self {
            remote,
            snapshot,
            progress,
            shared: None,
        }
    }

    /// Files that this machine has whole are not fetched. The directory can share what `shared` says.
    pub(crate) fn sharing(self, shared: Option<SharedFiles>) -> Self {
        Self { shared, ..self }
    }

    /// Returns the counters to watch, and the way to stop, while the work goes on.
    #[must_use]
    pub fn progress(&self) -> Arc<ExportProgress> {
        Arc::clone(&self.progress)
    }

    /// Writes the whole version into a directory that is empty, or not there yet.
    ///
    /// If it fails, the directory is as it was before. An object that alone is damaged, or cannot be
    /// made in this place, is no failure: it is left out and counted. As long as the work goes on, a
    /// file in the directory marks it as unfinished.
    pub async fn into_dir(self, dir: &Path) -> Result<ExportFigures, ExportError> {
        let found = prepare(dir)?;
        let target = Target::open_marked(dir).inspect_err(|_| {
            if found == Found::Made {
                // The caller is told what failed first.
                let _ = fs::remove_dir(dir);
            }
        })?;
        let shop = self.workshop(target, Manner::Fresh, Notes::default());
        let all = Scope::default();
        match self.write(Arc::clone(&shop), all, None, Vec::new()).await {
            Ok(()) => Ok(self.progress.figures()),
            Err(failure) => Err(take_away(dir, found, &shop.target, failure)),
        }
    }

    /// Makes `path` below `dir` what it is in the version, file or directory, and removes what the
    /// version does not have below it. Directories above it that are missing are made as they are in
    /// the version.
    ///
    /// If it fails, each entry is what it was or what it is in the version. An object that alone is
    /// damaged stays what it was.
    pub async fn restore(
        self,
        dir: &Path,
        path: &ObjectPath,
    ) -> Result<ExportFigures, ExportError> {
        let (above, record) = way_to(&self.remote, &self.snapshot, path).await?;
        let shop = self.workshop(Target::open(dir)?, Manner::Live, Notes::default());
        let top = path.split_last().map(|(dir, name)| (dir, name, record));
        let made = match &top {
            Some((dir, _, _)) => make_way(&shop.target, dir, above)?,
            None => Vec::new(),
        };
        self.write(shop, Scope::default(), top, made).await?;
        Ok(self.progress.figures())
    }

    /// Makes a directory what a part of the version is; `scope` says which part, and what may differ, and `manner`
    /// whether what is new is made in `staging`, too, as all else is.
    ///
    /// If it fails, each entry is what it was or what it is in the version. An object that alone is
    /// damaged stays what it was.
    pub(crate) async fn rebuild(
        self,
        (dir, staging): (DirHandle, DirHandle),
        (scope, manner): (Scope, Manner),
        notes: Notes,
    ) -> Result<ExportFigures, ExportError> {
        let target = Target::with_staging(dir, staging);
        let shop = self.workshop(target, manner, notes);
        self.write(shop, scope, None, Vec::new()).await?;
        Ok(self.progress.figures())
    }

    /// Writes one file of the version, whose record this is, to a place of its own, with all that it has
    /// beside its bytes.
    ///
    /// It is made beside `to` and moved there when it is whole and durable. It replaces a regular file and
    /// nothing else. If the work fails, what was there is as it was.
    pub async fn into_file(
        self,
        path: &ObjectPath,
        record: Record,
        to: &Path,
    ) -> Result<ExportFigures, ExportError> {
        let file = self.one_file(path, record)?;
        let (to, runtime) = (to.to_owned(), Handle::current());
        let work = spawn_blocking(move || file.replace(&to, &runtime));
        work.await.map_err(panicked)??;
        Ok(self.progress.figures())
    }

    /// Gives the bytes of one file of the version, whose record this is, to `take`, in order. Each part was
    /// checked before it is given.
    pub async fn into_stream<E: From<ExportError>>(
        self,
        path: &ObjectPath,
        record: Record,
        take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.one_file(path, record)?.read(take).await
    }

    fn one_file(&self, path: &ObjectPath, record: Record) -> Result<OneFile, ExportError> {
        let (remote, project) = (Arc::clone(&self.remote), self.snapshot.project.id);
        let contents = Contents::new(remote, project);
        OneFile::new(contents, Arc::clone(&self.progress), path.clone(), record)
    }

    fn workshop(&self, target: Target, manner: Manner, notes: Notes) -> Arc<Workshop> {
        Arc::new(Workshop {
            target,
            manner,
            owners: Owners::of_this_process(),
            contents: Arc::new(Contents::new(
                Arc::clone(&self.remote),
                self.snapshot.project.id,
            )),
            progress: Arc::clone(&self.progress),
            notes,
            shared: self.shared.clone(),
            runtime: Handle::current(),
            kept_links: Mutex::default(),
        })
    }

    /// Writes the root of the version, or one entry of it, and gives directories that were made on
    /// the way to it their attributes.
    async fn write(
        &self,
        shop: Arc<Workshop>,
        scope: Scope,
        top: Option<(ObjectPath, Name, Record)>,
        made: Vec<(ObjectPath, Record)>,
    ) -> Result<(), ExportError> {
        let mut rest = self.run_walk(&shop, scope, top).await?;
        rest.directories.splice(0..0, made);
        spawn_blocking(move || finish::finish(&shop, &rest))
            .await
            .map_err(panicked)?
    }

    async fn run_walk(
        &self,
        shop: &Arc<Workshop>,
        scope: Scope,
        top: Option<(ObjectPath, Name, Record)>,
    ) -> Result<Rest, ExportError> {
        let pool = WorkerPool {
            workers: workers_count(),
            queued_max: BATCHES_QUEUED_MAX,
        };
        let (remote, snapshot) = (Arc::clone(&self.remote), self.snapshot.clone());
        let (walking, working) = (Arc::clone(shop), Arc::clone(shop));
        let walk = move |batches| {
            let listings = Listings::new(&*remote, &snapshot, scope.coverage());
            let lister = Lister {
                remote: &*remote,
                snapshot: &snapshot,
                listings: &listings,
                scope: &scope,
            };
            let walk = Walk::new(lister, &walking, batches);
            match top {
                None => walk.run(None, snapshot.root.clone()),
                Some((dir, name, record)) => walk.run(Some((&dir, &name)), record),
            }
        };
        pool.run(walk, move |batch| working.process(batch)).await
    }
}

/// Makes the directory unless it is there and empty.
fn prepare(dir: &Path) -> Result<Found, ExportError> {
    let failed = |source| ExportError::Directory {
        dir: dir.to_owned(),
        source,
    };
    match fs::create_dir(dir) {
        Ok(()) => return Ok(Found::Made),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let read = || fs::read_dir(dir).map_err(failed);
    if read()?.next().is_some() {
        return Err(ExportError::NotEmpty {
            dir: dir.to_owned(),
            is_unfinished: is_marked(read()?),
        });
    }
    Ok(Found::Empty)
}

/// Leaves a directory as it was found, and says so if that fails.
fn take_away(dir: &Path, found: Found, target: &Target, failure: ExportError) -> ExportError {
    let removed = target.clear().and_then(|()| match found {
        Found::Made => fs::remove_dir(dir),
        Found::Empty => Ok(()),
    });
    match removed {
        Ok(()) => failure,
        Err(source) => ExportError::LeftBehind {
            dir: dir.to_owned(),
            failure: Box::new(failure),
            source,
        },
    }
}

/// Makes the directories on the way to `path` that are missing. Returns those, with what they are in
/// the version.
fn make_way(
    target: &Target,
    path: &ObjectPath,
    above: Vec<Record>,
) -> Result<Vec<(ObjectPath, Record)>, ExportError> {
    let mut made = Vec::new();
    let mut dir = ObjectPath::ROOT;
    // The first record is the root's, which is always there.
    for (name, record) in path.names().zip(above.into_iter().skip(1)) {
        let handle = target.dir(&dir)?;
        dir = dir.join(&name)?;
        let present = crate::local::stat_entry(&handle, &name);
        if present.map_err(target::failed("look at", &dir))?.is_none() {
            target.make_dir(&handle, &dir, &name)?;
            made.push((dir.clone(), record));
        }
    }
    Ok(made)
}

fn panicked(_: tokio::task::JoinError) -> ExportError {
    ExportError::Stopped("a worker panicked")
}

/// More workers than cores, since each waits for the server now and then.
fn workers_count() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from) * 2
}
