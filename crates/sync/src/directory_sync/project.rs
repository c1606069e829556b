//! A directory of a project as a side.

mod change;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lfsfs_common::random::random_bytes;
use lfsfs_remote::{Remote, RemoteError, RemoteRead, Snapshot, VersionRange};
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use lfsfs_types::{
    ContentId, DirId, Kind, Name, ObjectPath, Reader, Record, Source, VersionId, VersionNumber,
    VersionRef, Writer,
};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::error::SyncError;
use super::item::{Figures, FileItem, Item};
use super::view::{
    Applied, Completed, Entry, Listed, Mark, Since, SyncProgress, TakeBytes, View, Wanted, Work,
};
use crate::export::ExportError;
use crate::export::contents::{Contents, Part, take};
use crate::filter::STATE_DIR;
use crate::local::LocalStat;

/// The format of a mark.
const FORMAT: u8 = 1;
/// How long a pass that waits for the server does not see that it is to end.
const STOP_SEEN_WITHIN: Duration = Duration::from_millis(200);
/// Listings that are kept while a pass goes on.
const LISTINGS_MAX: usize = 4096;

type Entries = Arc<Vec<(Name, Record)>>;

/// A version of a project.
pub(crate) struct ProjectView {
    remote: Arc<dyn Remote>,
    runtime: Handle,
    snapshot: Snapshot,
    /// The directory that is synced.
    base: ObjectPath,
    author: String,
    contents: Contents,
    progress: Arc<SyncProgress>,
    listings: Mutex<HashMap<DirId, Entries>>,
}

impl fmt::Debug for ProjectView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectView")
            .field("version", &self.snapshot.version.number)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// Where a far side in a project is.
#[derive(Debug, Clone)]
pub(crate) struct ProjectPlace {
    pub(crate) project: lfsfs_types::ProjectName,
    /// The directory that is synced.
    pub(crate) base: ObjectPath,
    pub(crate) author: String,
}

impl ProjectView {
    /// Finds the newest version of a project. Must be called on a thread of a runtime that may block.
    pub(crate) fn open(
        remote: Arc<dyn Remote>,
        place: &ProjectPlace,
        progress: Arc<SyncProgress>,
    ) -> Result<Self, SyncError> {
        let runtime = Handle::current();
        let source = Source {
            project: place.project.clone(),
            version: VersionRef::Latest,
        };
        let snapshot = wait(&runtime, &progress, remote.resolve_source(&source))??;
        let read: Arc<dyn RemoteRead> = Arc::clone(&remote) as Arc<dyn RemoteRead>;
        Ok(Self {
            contents: Contents::new(read, snapshot.project.id),
            remote,
            runtime,
            snapshot,
            base: place.base.clone(),
            progress,
            author: place.author.clone(),
            listings: Mutex::default(),
        })
    }

    /// Returns the version that is looked at.
    pub(crate) fn version(&self) -> (VersionNumber, VersionId) {
        (self.snapshot.version.number, self.snapshot.version.id)
    }

    pub(crate) fn project(&self) -> lfsfs_types::ProjectId {
        self.snapshot.project.id
    }

    fn entries(&self, dir: DirId) -> Result<Entries, SyncError> {
        if let Some(found) = self.listings().get(&dir) {
            return Ok(Arc::clone(found));
        }
        let (project, version) = (self.snapshot.project.id, self.snapshot.version.number);
        if version.0 == 0 {
            return Ok(Entries::default());
        }
        let listing = self.remote.list_directory(project, version, dir);
        let entries = Arc::new(self.wait(listing)??.entries);
        let mut listings = self.listings();
        if listings.len() >= LISTINGS_MAX {
            listings.clear();
        }
        listings.insert(dir, Arc::clone(&entries));
        Ok(entries)
    }

    fn listings(&self) -> std::sync::MutexGuard<'_, HashMap<DirId, Entries>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an answer, unless the pass is to end.
    fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, SyncError> {
        wait(&self.runtime, &self.progress, answer)
    }

    /// Returns the record at a path from the root of the project.
    fn record(&self, path: &ObjectPath) -> Result<Option<Record>, SyncError> {
        let mut found = self.snapshot.root.clone();
        for name in path.names() {
            let Some(dir) = found.dir() else {
                return Ok(None);
            };
            let entries = self.entries(dir)?;
            let at = entries.binary_search_by(|(entry, _)| entry.cmp(&name));
            let Ok(at) = at else { return Ok(None) };
            found = entries[at].1.clone();
        }
        Ok(Some(found))
    }

    /// Returns a path of the side as one of the project.
    fn absolute(&self, path: &ObjectPath) -> Result<ObjectPath, SyncError> {
        path.names().try_fold(self.base.clone(), |path, name| {
            path.join(&name)
                .map_err(|error| RemoteError::Invalid(error.to_string()).into())
        })
    }

    /// Returns a path of the project as one of the side, if it is in that.
    fn relative(&self, path: &ObjectPath) -> Option<ObjectPath> {
        if self.base.is_root() {
            return Some(path.clone());
        }
        let rest = path.as_bytes().strip_prefix(self.base.as_bytes())?;
        let rest = match rest.first() {
            None => rest,
            Some(b'/') => &rest[1..],
            Some(_) => return None,
        };
        ObjectPath::new(rest).ok()
    }

    fn decode(&self, mark: &Mark) -> Option<VersionNumber> {
        let mut reader = Reader::new("mark of a project", mark);
        reader.format(FORMAT).ok()?;
        let project: [u8; 16] = reader.array().ok()?;
        let number = VersionNumber(reader.varint().ok()?);
        let id = VersionId(reader.array().ok()?);
        reader.finish().ok()?;
        if project != self.snapshot.project.id.0 || number > self.snapshot.version.number {
            return None;
        }
        let found = self.remote.snapshot(self.snapshot.project.id, number);
        // One that has expired, or is another one by now, tells nothing.
        let found = self.wait(found).ok()?.ok()?;
        (found.version.id == id).then_some(number)
    }

    fn changed(&self, from: VersionNumber) -> Result<Since, SyncError> {
        let (mut paths, mut trees) = (BTreeSet::new(), BTreeSet::new());
        let to = self.snapshot.version.number;
        let range = VersionRange { from, to };
        let project = self.snapshot.project.id;
        let changed = self.wait(self.remote.changed_names(project, range))??;
        for name in changed {
            let is_moved = name.old.is_some() && name.new.is_some() && name.old != name.new;
            for path in [name.old, name.new].into_iter().flatten() {
                match self.relative(&path) {
                    Some(path) if path.is_root() => {}
                    Some(path) if is_moved => drop(trees.insert(path)),
                    Some(path) => drop(paths.insert(path)),
                    // A directory above the side may have come or gone, with all of it.
                    None if super::reconcile::above(&self.base).any(|it| it == path) => {
                        return Ok(Since::Everywhere);
                    }
                    None => {}
                }
            }
        }
        Ok(Since::At { paths, trees })
    }
}

fn wait<T>(
    runtime: &Handle,
    progress: &SyncProgress,
    answer: impl Future<Output = T>,
) -> Result<T, SyncError> {
    runtime.block_on(async {
        let mut answer = std::pin::pin!(answer);
        loop {
            if let Ok(answer) = timeout(STOP_SEEN_WITHIN, &mut answer).await {
                return Ok(answer);
            }
            progress.go_on()?;
        }
    })
}

/// Returns what a record is as an item.
fn item(record: &Record) -> Option<Item> {
    match &record.kind {
        Kind::Directory { .. } => Some(Item::Directory { mode: record.mode }),
        Kind::File { size, content } => Some(Item::File(FileItem {
            mode: record.mode,
            mtime: record.mtime,
            size: *size,
            content: *content,
        })),
        Kind::Symlink { target } => Some(Item::Symlink {
            target: target.clone(),
        }),
        _ => None,
    }
}

fn entry(record: &Record) -> Entry {
    item(record).map_or(Entry::Other, Entry::Item)
}

/// Returns the mark of a version.
fn mark_of(project: lfsfs_types::ProjectId, (number, id): (VersionNumber, VersionId)) -> Mark {
    let mut writer = Writer::new();
    writer
        .u8(FORMAT)
        .raw(&project.0)
        .varint(number.0)
        .raw(&id.0);
    writer.finish()
}

impl View for ProjectView {
    fn identity(&self) -> String {
        format!("{}:{}", self.snapshot.cluster, self.snapshot.project.id)
    }

    fn has_root(&self) -> Result<bool, SyncError> {
        let found = self.record(&self.base)?;
        Ok(found.is_some_and(|record| record.kind.is_directory()))
    }

    fn mark(&self) -> Option<Mark> {
        Some(mark_of(self.snapshot.project.id, self.version()))
    }

    fn since(&self, mark: &Mark) -> Result<Since, SyncError> {
        match self.decode(mark) {
            Some(from) => self.changed(from),
            None => Ok(Since::Everywhere),
        }
    }

    fn list(&self, dir: &ObjectPath) -> Result<Listed, SyncError> {
        let found = self.record(&self.absolute(dir)?)?;
        let Some(id) = found.and_then(|record| record.dir()) else {
            // A side that is not there yet has nothing.
            return Ok(match dir.is_root() {
                true => Listed::Entries(Vec::new()),
                false => Listed::Gone,
            });
        };
        let entries = self.entries(id)?;
        let entries = entries
            .iter()
            .filter(|(name, _)| !dir.is_root() || name.as_bytes() != STATE_DIR.as_bytes());
        let entries = entries.map(|(name, record)| (name.clone(), entry(record)));
        Ok(Listed::Entries(entries.collect()))
    }

    fn look(&self, path: &ObjectPath) -> Result<Option<Entry>, SyncError> {
        let found = self.record(&self.absolute(path)?)?;
        Ok(found.as_ref().map(entry))
    }

    fn complete(
        &self,
        _: &ObjectPath,
        _: &LocalStat,
        _: Option<&FileItem>,
    ) -> Result<Completed, SyncError> {
        Err(SyncError::Stopped(
            "a project tells the content of each file",
        ))
    }

    fn open(&self, _: &ObjectPath) -> Result<Option<File>, SyncError> {
        Ok(None)
    }

    fn download(&self, wanted: &[Wanted], take_bytes: &mut TakeBytes<'_>) -> Result<(), SyncError> {
        let small =
            |wanted: &&Wanted| wanted.file.size <= SMALL_CONTENT_LEN_MAX && wanted.file.size > 0;
        let ids: BTreeSet<ContentId> = wanted
            .iter()
            .filter(small)
            .map(|it| it.file.content)
            .collect();
        let ids: Vec<ContentId> = ids.into_iter().collect();
        let loaded = self.wait(self.contents.load(&ids))??;
        for (at, wanted) in wanted.iter().enumerate() {
            let FileItem { size, content, .. } = wanted.file;
            if size == 0 {
                continue;
            }
            if size <= SMALL_CONTENT_LEN_MAX {
                take_bytes(at, 0, take(&loaded, &content)?)?;
                continue;
            }
            self.wait(async {
                let list = self.contents.pieces(content).await?;
                let mut offset = 0;
                let part = |part: Part<'_>| {
                    if let Part::Bytes(bytes) = part {
                        take_bytes(at, offset, bytes)?;
                    }
                    offset += part.len();
                    Ok::<_, Failure>(())
                };
                self.contents.each_piece(&list, part).await
            })??;
        }
        Ok(())
    }

    fn apply(&self, work: &Work<'_>) -> Result<Applied, SyncError> {
        change::apply(self, work)
    }

    fn sync(&self) -> Result<(), SyncError> {
        // What was published is durable.
        Ok(())
    }
}

/// Why a large content did not come.
struct Failure(SyncError);

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self(error)
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self(error.into())
    }
}

impl From<Failure> for SyncError {
    fn from(failure: Failure) -> Self {
        failure.0
    }
}
