//! Changes of a project: all of them are one version, or none is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lfsfs_remote::{Opened, Published, RemoteError, SessionParams};
use lfsfs_types::{DirId, Kind, Name, ObjectPath, Origin, Record, VersionId, VersionRecord};
use lfsfs_upload::{
    ChangeSink, ContentBytes, ContentSender, FileSource, OFFER_LEN, Progress, Publishing,
    ReadError, SendMode,
};

use super::*;
use crate::directory_sync::reconcile::{Change, above};
use crate::directory_sync::view::Done;
use crate::local;

/// How often a file that changes under the reader is read again.
const ATTEMPTS_MAX: u32 = 3;
/// Files that one worker takes at once.
const FILES_AT_ONCE: usize = 64;
/// Mode of the directories above the side that are made.
const MODE_DIRECTORY: u32 = 0o755;

/// What a path of the side becomes.
enum State {
    Removed,
    Is(Record),
}

/// The state of paths, in order.
type States = BTreeMap<ObjectPath, State>;

struct Applying<'a> {
    view: &'a ProjectView,
    work: &'a Work<'a>,
    sender: ContentSender,
    applied: Mutex<Applied>,
    states: Mutex<States>,
    next_dir: u64,
}

/// Does the work.
pub(super) fn apply(view: &ProjectView, work: &Work<'_>) -> Result<Applied, SyncError> {
    let progress: Arc<Progress> = Arc::default();
    let _in_runtime = view.runtime.enter();
    let remote = Arc::clone(&view.remote);
    let sender = ContentSender::new(
        remote,
        &view.snapshot.project,
        SendMode::Send,
        Arc::clone(&progress),
    );
    let mut applying = Applying {
        view,
        work,
        sender,
        applied: Mutex::default(),
        states: Mutex::default(),
        next_dir: DirId::SESSION_FIRST.0,
    };
    applying.plan()?;
    applying.read_files()?;
    applying.sender.finish()?;
    match applying.publish(progress) {
        Ok((version, is_alone)) => Ok(applying.end(&version, is_alone)),
        Err(SyncError::Remote(
            RemoteError::Conflict { .. }
            | RemoteError::SessionLost(_)
            | RemoteError::ContentsMissing(_),
        )) => Ok(Applied {
            is_outdated: true,
            ..Applied::default()
        }),
        Err(error) => Err(error),
    }
}

impl Applying<'_> {
    fn applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a file that changed since it was looked at.
    fn leave(&self, path: &ObjectPath, reason: impl Into<String>) {
        let mut applied = self.applied();
        applied.is_more = true;
        applied.leave(path, reason);
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, path: &ObjectPath, record: Record) {
        self.states().insert(path.clone(), State::Is(record));
    }

    /// Returns what the version has at a path of the side.
    fn present(&self, path: &ObjectPath) -> Result<Option<Record>, SyncError> {
        self.view.record(&self.view.absolute(path)?)
    }

    /// Works out what needs no file to be read.
    fn plan(&mut self) -> Result<(), SyncError> {
        for aside in self.work.aside {
            if let Some(record) = self.present(&aside.path)? {
                self.states().insert(aside.path.clone(), State::Removed);
                self.is(&aside.copy, alone(record));
            }
        }
        let changes = self.work.changes;
        for (path, change) in changes {
            match &change.to {
                None => {
                    self.states().insert(path.clone(), State::Removed);
                    self.applied().removed(path);
                }
                Some(Item::File(_)) => {}
                Some(item) => {
                    let record = self.record(path, item)?;
                    self.is(path, record);
                    self.done(path, item.clone(), None);
                }
            }
        }
        Ok(())
    }

    fn done(&self, path: &ObjectPath, item: Item, figures: Option<Figures>) {
        self.applied().done.push(Done {
            path: path.clone(),
            item: Some(item),
            figures: [None, figures],
        });
    }

    /// Returns the record of an item; of what is there already the owner and the attributes stay.
    fn record(&mut self, path: &ObjectPath, item: &Item) -> Result<Record, SyncError> {
        let present = self.present(path)?;
        let present_dir = present.as_ref().and_then(Record::dir);
        let (kind, mode) = match item {
            Item::Directory { mode } => {
                let dir = present_dir.unwrap_or_else(|| self.new_dir());
                (Kind::Directory { dir }, *mode)
            }
            Item::Symlink { target } => (
                Kind::Symlink {
                    target: target.clone(),
                },
                0o777,
            ),
            Item::File(file) => (kind_of(file), file.mode),
        };
        let is_same_kind = present
            .as_ref()
            .is_some_and(|it| std::mem::discriminant(&it.kind) == std::mem::discriminant(&kind));
        let mut record = match present.filter(|_| is_same_kind) {
            Some(present) => alone(present),
            None => own(kind.clone()),
        };
        record.kind = kind;
        record.mode = mode;
        if let Item::File(file) = item {
            record.mtime = file.mtime;
        }
        record.sha256 = None;
        Ok(record)
    }

    fn new_dir(&mut self) -> DirId {
        let dir = DirId(self.next_dir);
        self.next_dir += 1;
        dir
    }

    /// Reads files and sends what is new of them, several at once.
    fn read_files(&mut self) -> Result<(), SyncError> {
        let mut unread = Vec::new();
        for (path, change) in self.work.changes {
            let Some(Item::File(file)) = &change.to else {
                continue;
            };
            let record = self.record(path, &Item::File(*file))?;
            if self.is_stored(path, change) {
                self.work.progress.file(file.size);
                self.is(path, record);
                self.done(path, Item::File(*file), None);
            } else {
                unread.push((path, record));
            }
        }
        let batches = Mutex::new(unread.chunks(FILES_AT_ONCE));
        let next = || {
            batches
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next()
        };
        let this = &*self;
        let read = || -> Result<(), SyncError> {
            while let Some(batch) = next() {
                let mut offer = Vec::new();
                let mut len = 0;
                for (path, record) in batch {
                    let content = this.read_file(path, record.clone())?;
                    len += content
                        .as_ref()
                        .map_or(0, |content| content.bytes.len() as u64);
                    offer.extend(content);
                    if len >= OFFER_LEN {
                        len = 0;
                        this.sender.offer(&std::mem::take(&mut offer))?;
                    }
                }
                this.sender.offer(&offer)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..this.work.concurrency.max(1))
                .map(|_| scope.spawn(read))
                .collect();
            let ended = threads.into_iter().map(|thread| {
                let ended = thread.join();
                ended.unwrap_or(Err(SyncError::Stopped("a worker panicked")))
            });
            ended.fold(Ok(()), Result::and)
        })
    }

    /// Returns true if the version has the content already: at the same path, or at the one that it comes from.
    fn is_stored(&self, path: &ObjectPath, change: &Change) -> bool {
        let to = change.to.as_ref();
        let is_same = |item: &Option<Item>| {
            item.as_ref()
                .zip(to)
                .is_some_and(|(one, two)| one.has_bytes_of(two))
        };
        let origin = self.work.moves.get(path);
        let origin = origin.and_then(|origin| self.work.changes.get(origin));
        is_same(&change.from) || origin.is_some_and(|origin| is_same(&origin.from))
    }

    /// Returns the bytes of a small content, to be offered with others.
    fn read_file(
        &self,
        path: &ObjectPath,
        mut record: Record,
    ) -> Result<Option<ContentBytes>, SyncError> {
        self.work.progress.go_on()?;
        let opened = match self.work.source.open(path) {
            Ok(Some(file)) => file,
            Ok(None) => {
                return Err(SyncError::Stopped(
                    "a file of a project is sent to a project",
                ));
            }
            Err(SyncError::Machine { source, .. }) => {
                self.leave(path, source.to_string());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        for _ in 0..ATTEMPTS_MAX {
            use std::io::Seek as _;
            let mut file = &opened;
            let _ = file.rewind();
            let Ok(before) = local::stat(&opened) else {
                break;
            };
            let content = match self.sender.read(FileSource::new(&opened, before.size)) {
                Ok(content) => content,
                Err(ReadError::Upload(error)) => return Err(error.into()),
                Err(error) => {
                    self.leave(path, error.to_string());
                    return Ok(None);
                }
            };
            let Ok(after) = local::stat(&opened) else {
                break;
            };
            if !after.untouched_since(&before) || after.size != content.size {
                continue;
            }
            let file = FileItem {
                mode: after.mode,
                mtime: after.mtime,
                size: after.size,
                content: content.id,
            };
            record.kind = kind_of(&file);
            (record.mode, record.mtime) = (file.mode, file.mtime);
            if record.uid == UNKNOWN_OWNER {
                (record.uid, record.gid) = (after.uid, after.gid);
            }
            self.work.progress.pace(file.size)?;
            self.work.progress.file(file.size);
            self.is(path, record);
            self.done(path, Item::File(file), Some(Figures::of(&after)));
            return Ok(content.bytes);
        }
        self.leave(path, "it is being written");
        Ok(None)
    }

    /// Makes all of it a version. Tells whether no other version came in between.
    fn publish(&mut self, progress: Arc<Progress>) -> Result<(VersionRecord, bool), SyncError> {
        let params = self.session()?;
        let own = params.version;
        let remote = &self.view.remote;
        let runtime = &self.view.runtime;
        let session = match self.view.wait(remote.open_session(&params))?? {
            Opened::Session(session) => session,
            Opened::Published(version) => return Ok((version, false)),
        };
        let (sink, stream) = lfsfs_upload::channel(progress);
        let publishing = Publishing::start(Arc::clone(remote), session, params, stream);
        let sent = self.send(&sink).and_then(|()| Ok(sink.end()?));
        match sent {
            Ok(()) => {}
            Err(SyncError::Stopped(what)) => {
                let failure = runtime.block_on(publishing.failure());
                return Err(failure.map_or(SyncError::Stopped(what), SyncError::Remote));
            }
            Err(error) => return Err(error),
        }
        let published = runtime.block_on(publishing.finish())?;
        let Published {
            version, rebased, ..
        } = published;
        // Another version may have the same changes, and more.
        let is_own =
            version.id == own && version.number == self.view.snapshot.version.number.next();
        let is_unchanged = version.id == self.view.snapshot.version.id;
        let is_alone = !rebased && (is_own || is_unchanged);
        Ok((version, is_alone))
    }

    fn session(&self) -> Result<SessionParams, SyncError> {
        let drawn = random_bytes().map_err(|source| SyncError::Machine {
            action: "draw random bytes from",
            path: "/dev/urandom".into(),
            source,
        })?;
        let snapshot = &self.view.snapshot;
        Ok(SessionParams {
            project: snapshot.project.id,
            base: (snapshot.version.number, snapshot.version.id),
            version: VersionId(drawn),
            origin: Origin::Commit,
            author: self.view.author.clone(),
            message: self.work.message.to_owned(),
            force: false,
            ignore_times: false,
            want_ids: false,
        })
    }

    fn send(&mut self, sink: &ChangeSink) -> Result<(), SyncError> {
        let root = self.make_base(sink)?;
        let mut dirs: HashMap<ObjectPath, Option<DirId>> = HashMap::new();
        dirs.insert(ObjectPath::ROOT, Some(root));
        let states = std::mem::take(&mut *self.states());
        // A directory comes before what is in it.
        for (path, state) in &states {
            let Some((parent, name)) = path.split_last() else {
                continue;
            };
            let dir = self.dir(&parent, &states, &mut dirs)?;
            let present = self.present(path)?;
            match (dir, state) {
                // It goes with the directory.
                (None, State::Removed) => {}
                (Some(dir), State::Removed) => {
                    if present.is_some() {
                        sink.remove(dir, &name)?;
                    }
                }
                (Some(dir), State::Is(record)) => {
                    let is_new_dir = dir.is_session();
                    let mut record = record.clone();
                    if record.uid == UNKNOWN_OWNER {
                        let user = rustix::process::geteuid().as_raw();
                        (record.uid, record.gid) = (user, rustix::process::getegid().as_raw());
                    }
                    let present = present.filter(|_| !is_new_dir);
                    sink.put(dir, Some(&name), record, present.as_ref())?;
                }
                (None, State::Is(_)) => return Err(SyncError::Stopped("a directory is missing")),
            }
        }
        Ok(())
    }

    /// Returns the directory at a path once the changes are made; none if it is gone.
    fn dir(
        &self,
        path: &ObjectPath,
        states: &States,
        dirs: &mut HashMap<ObjectPath, Option<DirId>>,
    ) -> Result<Option<DirId>, SyncError> {
        if let Some(known) = dirs.get(path) {
            return Ok(*known);
        }
        let dir = match states.get(path) {
            Some(State::Is(record)) => record.dir(),
            Some(State::Removed) => None,
            None => {
                let parent = above(path).next().unwrap_or(ObjectPath::ROOT);
                match self.dir(&parent, states, dirs)? {
                    Some(parent) if !parent.is_session() => {
                        self.present(path)?.and_then(|it| it.dir())
                    }
                    _ => None,
                }
            }
        };
        dirs.insert(path.clone(), dir);
        Ok(dir)
    }

    /// Returns the directory that is synced; it is made, with those above it, if it is not there.
    fn make_base(&mut self, sink: &ChangeSink) -> Result<DirId, SyncError> {
        let mut at = self.view.snapshot.root.dir().unwrap_or(DirId::ROOT);
        let mut path = ObjectPath::ROOT;
        let base = self.view.base.clone();
        for name in base.names() {
            path = path
                .join(&name)
                .map_err(|error| RemoteError::Invalid(error.to_string()))?;
            let found = self.view.record(&path)?;
            at = match found.map(|record| record.dir()) {
                Some(Some(dir)) => dir,
                Some(None) => {
                    let text = lfsfs_types::path_text(path.as_bytes().split(|byte| *byte == b'/'));
                    let problem = format!("{text} is no directory in the project");
                    return Err(RemoteError::Invalid(problem).into());
                }
                None => self.make_directory(sink, at, &name)?,
            };
        }
        Ok(at)
    }

    fn make_directory(
        &mut self,
        sink: &ChangeSink,
        at: DirId,
        name: &Name,
    ) -> Result<DirId, SyncError> {
        let dir = self.new_dir();
        let mut record = own(Kind::Directory { dir });
        record.mode = MODE_DIRECTORY;
        (record.uid, record.gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        sink.put(at, Some(name), record, None)?;
        Ok(dir)
    }

    fn end(self, version: &VersionRecord, is_alone: bool) -> Applied {
        let mut applied = self.applied.into_inner();
        let applied = applied
            .as_mut()
            .unwrap_or_else(|poisoned| poisoned.get_mut());
        let mut applied = std::mem::take(applied);
        let project = &self.view.snapshot.project;
        applied.name = Some(format!("{}@{}", project.name, version.number));
        // Otherwise others changed something, too, and the next pass asks what.
        applied.mark = is_alone.then(|| mark_of(project.id, (version.number, version.id)));
        applied
    }
}

/// Stands for the owner of the file until that is read.
const UNKNOWN_OWNER: u32 = u32::MAX;

fn own(kind: Kind) -> Record {
    let mut record = Record::plain(kind, 0);
    (record.uid, record.gid) = (UNKNOWN_OWNER, UNKNOWN_OWNER);
    let now = lfsfs_common::clock::WallTime::from(std::time::SystemTime::now());
    record.mtime = lfsfs_types::Timestamp {
        secs: now.seconds(),
        nanos: now.subsecond_nanoseconds(),
    };
    record.ctime = record.mtime;
    record
}

/// Returns a record that is no name of a hard link any more.
fn alone(mut record: Record) -> Record {
    record.link = None;
    record
}

fn kind_of(file: &FileItem) -> Kind {
    Kind::File {
        size: file.size,
        content: file.content,
    }
}
