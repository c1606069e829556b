//! The state and the log together: what a writable mount uses.
//!
//! A change is written to the log, and only then shown and acknowledged. So what a reader sees is in the
//! log, and a write that fails has changed nothing. `append.rs` says how.
//!
//! Lock order: `compacting`, `syncing`, `writer`, `shown`. `shown` is held for moments only; no lock
//! but `compacting` and `syncing` is held while the disk is synced.

mod append;
mod compact;
mod space;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lfsfs_common::flock::FileLock;
use lfsfs_types::{ContentId, DirId, LinkId, VersionId};

use crate::Map;
use crate::base::{Base, ProjectBase};
use crate::changes::Changes;
use crate::durability::Durability;
use crate::error::{ApplyError, OverlayError};
use crate::extent::{Extent, Location};
use crate::inode::BaseObject;
use crate::log::files::{self, Identity};
use crate::log::record::DATA_LEN_MAX;
use crate::log::replay::{self, Replayed};
use crate::log::segment::Segment;
use crate::log::writer::{LogParams, LogWriter};
use crate::numbers::{NumberFile, NumberRow};
use crate::operation::{Change, EntryName, Operation};
use crate::state::State;
use crate::touched::Touched;

pub use compact::CompactionReport;

/// How long unsynced changes may stay so.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);
/// Most names of one record; each has up to 255 bytes.
const NAMES_OF_RECORD_MAX: usize = 10_000;

/// How to open an overlay.
#[derive(Debug, Clone)]
pub struct OverlayOptions {
    /// What a crash may cost.
    pub durability: Durability,
    /// How long to wait for a process that has the overlay open.
    pub lock_wait: Duration,
    /// The length at which a segment of the log is left for a new one.
    pub segment_len_max: u64,
    /// How many bytes the changes may take; no limit but the disk without one.
    pub size_max: Option<u64>,
    /// The id of the machine's boot, if not that of the running system (for tests of power loss).
    pub boot: Option<[u8; 16]>,
}

impl Default for OverlayOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            lock_wait: Duration::from_secs(10),
            segment_len_max: 64 * 1024 * 1024,
            size_max: None,
            boot: None,
        }
    }
}

/// A state with the files that hold its data; a clone is O(1) and never changes.
#[derive(Debug, Clone)]
pub struct View {
    state: State,
    segments: Map<u32, Arc<Segment>>,
}

/// What a commit took: the state at the seal, unchanged by whatever follows.
#[derive(Debug, Clone)]
pub struct Sealed {
    commit: VersionId,
    is_draft: bool,
    view: View,
}

/// The ids that a commit gave to new objects of the seal, by their inodes.
#[derive(Debug, Clone, Default)]
pub struct CommitIds {
    /// Every new directory's.
    pub directories: Vec<(u64, DirId)>,
    /// Those of files with several names.
    pub links: Vec<(u64, LinkId)>,
}

/// How large an overlay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlayStats {
    /// Bytes of all log segments.
    pub segment_bytes: u64,
    /// How many segments there are.
    pub segments: usize,
    /// Bytes of file content that the state refers to.
    pub content_bytes: u64,
    /// Inodes in memory.
    pub inodes: usize,
    /// Records that were not synced.
    pub unsynced_records: u64,
}

/// An open overlay; one process has it at a time.
#[derive(Debug)]
pub struct Overlay {
    dir: PathBuf,
    identity: Identity,
    size_max: Option<u64>,
    compacting: Mutex<()>,
    syncing: Mutex<Option<Instant>>,
    writer: Mutex<LogWriter>,
    shown: Mutex<Arc<View>>,
    numbers: Mutex<NumberFile>,
    touched: Touched,
    /// Whether several files may have the same bytes of the log.
    may_share: AtomicBool,
    // Released last.
    _lock: FileLock,
}

impl Overlay {
    /// Returns true if there is an overlay in `dir`.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        files::exists(dir)
    }

    /// Opens the overlay in `dir`, or makes an empty one there.
    ///
    /// Blocks: it waits for the lock and reads the log. An overlay without changes takes the base of
    /// `source`; one with changes of another base is refused.
    pub fn open(
        dir: &Path,
        source: &ProjectBase,
        options: &OverlayOptions,
    ) -> Result<Self, OverlayError> {
        Ok(Self::open_with_numbers(dir, source, options)?.0)
    }

    /// Like [`open`](Self::open), and returns by which numbers earlier mounts showed what they had
    /// committed, where that is another than the one that follows from the object.
    pub fn open_with_numbers(
        dir: &Path,
        source: &ProjectBase,
        options: &OverlayOptions,
    ) -> Result<(Self, HashMap<u64, u64>), OverlayError> {
        let lock = files::lock(dir, options.lock_wait)?;
        let identity = files::open_or_create(dir, source)?;
        if identity.source.project != source.project {
            let project = identity.source.project;
            return Err(OverlayError::OtherProject {
                path: dir.to_owned(),
                project,
            });
        }
        let boot = options.boot.unwrap_or_else(files::boot_id);
        let replayed = replay::replay(dir, &identity, boot, options.durability)?;
        let Replayed {
            state,
            segments,
            unsynced,
            next_number,
            next_sequence,
        } = replayed;
        let writer = LogWriter::new(LogParams {
            dir: dir.to_owned(),
            overlay: identity.overlay,
            boot,
            durability: options.durability,
            segment_len_max: options.segment_len_max,
            next_number,
            next_sequence,
            unsynced,
        });
        let (number_file, numbers) = NumberFile::open(dir, identity.overlay);
        let overlay = Self {
            dir: dir.to_owned(),
            identity,
            size_max: options.size_max,
            compacting: Mutex::new(()),
            syncing: Mutex::new(None),
            writer: Mutex::new(writer),
            shown: Mutex::new(Arc::new(View { state, segments })),
            numbers: Mutex::new(number_file),
            touched: Touched::default(),
            may_share: AtomicBool::new(true),
            _lock: lock,
        };
        overlay.give_up_draft()?;
        overlay.take_base(source)?;
        Ok((overlay, numbers))
    }

    /// Makes the base that was asked for the overlay's, if it has no changes of another one.
    pub fn take_base(&self, source: &ProjectBase) -> Result<(), OverlayError> {
        let state = self.state();
        if state.base() == source.base {
            return Ok(());
        }
        if !state.is_unchanged() || state.sealed.is_some() {
            return Err(OverlayError::OtherBase {
                path: self.dir.clone(),
                found: state.base(),
                asked: *source,
            });
        }
        self.apply(&[Operation::Switch { base: source.base }.into()])
    }

    /// Returns the state as of now, with the means to read its data.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.shown())
    }

    /// Returns the state as of now.
    #[must_use]
    pub fn state(&self) -> State {
        self.shown().state.clone()
    }

    /// Returns what the overlay was first made above. Its base now is the state's.
    #[must_use]
    pub fn first_source(&self) -> ProjectBase {
        self.identity.source
    }

    /// Makes changes, all or none for each reader, in one write. After kill -9 in the middle a
    /// first part of them may be there.
    pub fn apply(&self, changes: &[Change<'_>]) -> Result<(), OverlayError> {
        self.transact(|_| Ok::<_, OverlayError>(((), changes.to_vec())))
    }

    /// Decides by the state and makes the changes before it can be another one.
    pub fn transact<'a, R, E: From<OverlayError>>(
        &self,
        decide: impl FnOnce(&State) -> Result<(R, Vec<Change<'a>>), E>,
    ) -> Result<R, E> {
        let mut writer = self.lock_writer();
        let view = self.view();
        let (result, changes) = decide(&view.state)?;
        self.check_room(&view.state, &changes)?;
        if writer.begun && view.state.surely_takes(&changes) {
            self.append_in_place(&mut writer, view, &changes)?;
        } else if !changes.is_empty() {
            self.append(&mut writer, view, &changes, |_, _| Ok::<_, E>(()))?;
        }
        Ok(result)
    }

    /// Like [`transact`](Self::transact), but makes the changes only if `accept` likes what comes of
    /// them; it sees the state before and after.
    fn transact_if<'a, R, E: From<OverlayError>>(
        &self,
        decide: impl FnOnce(&State) -> Result<Vec<Change<'a>>, E>,
        accept: impl FnOnce(&State, &State) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut writer = self.lock_writer();
        let view = self.view();
        let changes = decide(&view.state)?;
        self.append(&mut writer, view, &changes, accept)
    }

    /// Makes everything acknowledged so far survive a power loss. Blocks on the disk; others go on.
    pub fn sync(&self) -> Result<(), OverlayError> {
        let _one_at_a_time = self.lock_syncing();
        self.sync_now()
    }

    /// Syncs if there is something unsynced and the last sync was five seconds before `now`: to be
    /// called from a timer. Returns true if it synced.
    pub fn sync_if_due(&self, now: Instant) -> Result<bool, OverlayError> {
        let mut last = self.lock_syncing();
        let due = last.is_some_and(|last| now.saturating_duration_since(last) >= SYNC_INTERVAL);
        if last.is_some() && !due {
            return Ok(false);
        }
        *last = Some(now);
        if !due || self.lock_writer().sync_work()?.is_none() {
            return Ok(false);
        }
        self.sync_now()?;
        Ok(true)
    }

    fn sync_now(&self) -> Result<(), OverlayError> {
        let Some(work) = self.lock_writer().sync_work()? else {
            return Ok(());
        };
        let done = work.run(&self.dir);
        let mut writer = self.lock_writer();
        match &done {
            Ok(()) => writer.synced(&work),
            Err(_) => writer.sync_failed(),
        }
        done
    }

    /// Takes the changes so far for the commit that will be the version with this id.
    ///
    /// Costs one log record; writers go on at once.
    pub fn seal(&self, commit: VersionId) -> Result<Sealed, OverlayError> {
        let seal = Operation::Seal { commit };
        self.transact(|_| Ok::<_, OverlayError>(((), vec![seal.into()])))?;
        self.sealed()
            .ok_or_else(|| ApplyError::NotSealed { commit }.into())
    }

    /// Takes the changes so far as [`seal`](Self::seal) does, for a commit that begins with [`begin`](Self::begin).
    /// A draft that a crash left is given up when the overlay is opened.
    pub fn draft(&self, commit: VersionId) -> Result<Sealed, OverlayError> {
        self.apply(&[Operation::Draft { commit }.into()])?;
        self.sealed()
            .ok_or_else(|| ApplyError::NotSealed { commit }.into())
    }

    /// Begins the commit of a draft without the new objects under some names, which stay in the overlay.
    pub fn begin(&self, commit: VersionId, left_out: &[EntryName]) -> Result<Sealed, OverlayError> {
        let leave_out = left_out.chunks(NAMES_OF_RECORD_MAX).map(|names| {
            let names = names.to_vec();
            Operation::LeaveOut { commit, names }.into()
        });
        let begin = Change::from(Operation::Begin { commit });
        let changes: Vec<_> = leave_out.chain([begin]).collect();
        self.apply(&changes)?;
        self.sealed()
            .ok_or_else(|| ApplyError::NotSealed { commit }.into())
    }

    /// Gives a draft up, if there is one.
    pub fn give_up_draft(&self) -> Result<(), OverlayError> {
        self.transact(|state| {
            let draft = state.sealed_commit().filter(|_| state.has_draft());
            let changes = draft.map(|commit| Operation::Aborted { commit }.into());
            Ok(((), changes.into_iter().collect()))
        })
    }

    /// Returns the seal of the commit under way: after a crash, the one to repeat or give up.
    #[must_use]
    pub fn sealed(&self) -> Option<Sealed> {
        let now = self.view();
        let layer = now.state.sealed.as_ref()?;
        let view = View {
            state: layer.state.clone(),
            segments: now.segments.clone(),
        };
        Some(Sealed {
            commit: layer.commit,
            is_draft: layer.is_draft,
            view,
        })
    }

    /// Ends a commit: what it led to is the base, and what the seal held is dropped unless it changed
    /// since. `mapped` tells what those became that changed ([`State::changed_since_seal`]),
    /// `directories` the ids of the new ones; `accept` sees the state before and after, and nothing
    /// happens if it fails. Survives a power loss once [`sync`](Self::sync) returned.
    pub fn committed<R, E: From<OverlayError>>(
        &self,
        commit: VersionId,
        base: Base,
        directories: &[(u64, DirId)],
        mapped: impl FnOnce(&State) -> Result<Vec<(u64, BaseObject)>, E>,
        accept: impl FnOnce(&State, &State) -> Result<R, E>,
    ) -> Result<R, E> {
        let decide = |state: &State| {
            let mapped = mapped(state)?.into_iter().map(|(ino, base)| {
                let base = Arc::new(base);
                Change::from(Operation::Mapped { ino, base })
            });
            let committed = Operation::Committed {
                commit,
                base,
                directories: directories.to_vec(),
            };
            Ok(mapped.chain([committed.into()]).collect())
        };
        self.transact_if(decide, accept)
    }

    /// Takes another version as the base of an overlay without changes, if `accept` likes what comes
    /// of it.
    pub fn switch<R, E: From<OverlayError>>(
        &self,
        base: Base,
        accept: impl FnOnce(&State, &State) -> Result<R, E>,
    ) -> Result<R, E> {
        let switch = Operation::Switch { base };
        self.transact_if(|_| Ok(vec![switch.into()]), accept)
    }

    /// Like [`switch`](Self::switch) for an overlay without changes but the new objects under some names, which
    /// stay. `directories` tells what those become that the names are in.
    pub fn switch_keeping<R, E: From<OverlayError>>(
        &self,
        base: Base,
        names: &[EntryName],
        directories: Vec<(u64, BaseObject)>,
        accept: impl FnOnce(&State, &State) -> Result<R, E>,
    ) -> Result<R, E> {
        let directories = directories.into_iter();
        let switch = Operation::SwitchKeeping {
            base,
            names: names.to_vec(),
            directories: directories
                .map(|(ino, object)| (ino, Arc::new(object)))
                .collect(),
        };
        self.transact_if(|_| Ok(vec![switch.into()]), accept)
    }

    /// Notes from now on which files are written to, for [`take_touched`](Self::take_touched).
    pub fn watch_files(&self) {
        self.touched.watch();
    }

    /// Returns the files that were written to since the last call, by their inodes.
    pub fn take_touched(&self) -> BTreeSet<u64> {
        self.touched.take()
    }

    /// Marks files as uploaded whose bytes the remote has as `view` shows them. Returns those that are marked now; the
    /// others were written to since, or are gone.
    pub fn mark_uploaded(
        &self,
        view: &View,
        files: &[(u64, ContentId)],
    ) -> Result<Vec<u64>, OverlayError> {
        self.transact(|state| {
            let same = |(ino, _): &&(u64, ContentId)| {
                let (then, now) = (view.state.inode(*ino), state.inode(*ino));
                then.zip(now)
                    .is_some_and(|(then, now)| now.has_bytes_of(then))
            };
            let same: Vec<_> = files.iter().filter(same).copied().collect();
            let mark = |(ino, content)| Operation::Uploaded { ino, content }.into();
            let inodes = same.iter().map(|(ino, _)| *ino).collect();
            Ok((inodes, same.into_iter().map(mark).collect()))
        })
    }

    /// Gives a file bytes of its own in the place of those of a content that it has as a part of that: at
    /// `offset`, as `extent` had them. Nothing happens if it has others by now.
    pub fn own(
        &self,
        ino: u64,
        offset: u64,
        extent: &Extent,
        data: &[u8],
    ) -> Result<(), OverlayError> {
        self.transact(|state| {
            let file = state.inode(ino).and_then(|inode| inode.file());
            let same = file.and_then(|file| file.extent_at(offset)) == Some(extent);
            let parts = data.chunks(DATA_LEN_MAX).take_while(|_| same);
            let offsets = (offset..).step_by(DATA_LEN_MAX);
            let own = |(offset, data)| Change {
                operation: Operation::Own { ino, offset },
                data,
            };
            Ok(((), offsets.zip(parts).map(own).collect()))
        })
    }

    /// Gives a commit up; all changes stay.
    pub fn aborted(&self, commit: VersionId) -> Result<(), OverlayError> {
        self.apply(&[Operation::Aborted { commit }.into()])
    }

    /// Keeps by which numbers objects are shown, for later mounts: rows to add, and all that counts
    /// with them. A power loss may cost them.
    pub fn keep_numbers(
        &self,
        rows: &[NumberRow],
        all: &HashMap<u64, u64>,
    ) -> Result<(), OverlayError> {
        let mut numbers = self.numbers.lock().expect("no holder of this lock panics");
        numbers.add(rows, all).map_err(OverlayError::of_write)
    }

    /// Returns how large the overlay is.
    pub fn stats(&self) -> Result<OverlayStats, OverlayError> {
        let view = self.view();
        let lens = view.segments.values().map(|segment| segment.len());
        let segment_bytes = lens.sum::<Result<u64, _>>()?;
        let writer = self.lock_writer();
        Ok(OverlayStats {
            segment_bytes,
            segments: view.segments.size(),
            content_bytes: view.state.log_bytes,
            inodes: view.state.inodes.size(),
            unsynced_records: (writer.next_sequence - 1).saturating_sub(writer.synced),
        })
    }

    fn lock_writer(&self) -> MutexGuard<'_, LogWriter> {
        self.writer.lock().expect("no holder of this lock panics")
    }

    fn lock_syncing(&self) -> MutexGuard<'_, Option<Instant>> {
        self.syncing.lock().expect("no holder of this lock panics")
    }

    fn shown(&self) -> MutexGuard<'_, Arc<View>> {
        self.shown.lock().expect("no holder of this lock panics")
    }
}

impl View {
    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns the view of a state without the new objects under some names.
    pub fn without(&self, names: &[EntryName]) -> Result<Self, OverlayError> {
        Ok(Self {
            state: self.state.without(names)?,
            segments: self.segments.clone(),
        })
    }

    /// Returns `len` bytes that lie in the log from `location` on, as a [`Piece`](crate::Piece)
    /// names them.
    ///
    /// The whole record is read and its checksum verified, as at the start of the process.
    pub fn read(&self, location: Location, len: usize) -> Result<Vec<u8>, OverlayError> {
        match self.segments.get(&location.segment) {
            Some(segment) => segment.read(location, len),
            None => Err(OverlayError::Damaged {
                path: format!("{:08}.log", location.segment).into(),
                position: u64::from(location.record),
                problem: crate::error::Damage::Missing,
            }),
        }
    }
}

impl Sealed {
    /// Returns the random id of the version to be.
    #[must_use]
    pub fn commit(&self) -> VersionId {
        self.commit
    }

    /// Returns true if nothing was told of it to the server.
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.is_draft
    }

    /// Returns the version that the changes were made on.
    #[must_use]
    pub fn base(&self) -> Base {
        self.view.state.base
    }

    /// Returns the state at the seal.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Returns what differs from the base, new directories before what is in them. Costs what
    /// changed.
    #[must_use]
    pub fn changes(&self) -> Changes<'_> {
        self.view.state.changes()
    }
}
