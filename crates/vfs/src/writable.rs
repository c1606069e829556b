//! A version that can be written: the read-only core below, an overlay above.
//!
//! Every call is decided at one moment, by the overlay's state over the base's listings, and becomes
//! operations of the overlay in one write before it is acknowledged. What is needed of the base and
//! is not in memory is fetched first; then the call is decided anew. So no lock is held while
//! anything waits for the network, and an error has changed nothing.
//!
//! No call waits after it changed something, apart from fsync. A future may be dropped at any time:
//! the call then was made or was not, never half. A transport may poll one once where it received
//! the request, and start it anew in a task if it was not ready.
//!
//! The overlay is made by the first change. Until then this costs what the read-only core costs.
//!
//! Lock order: `known`, then the overlay's own, then the table of inodes. Calls that change names,
//! lookups and forgets take `known`; reads, getattr and changes of one object do not. A read works on
//! a view of the state and waits for no writer.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use lfsfs_common::PathError;
use lfsfs_common::clock::Clock;
use lfsfs_common::random::random_bytes;
use lfsfs_overlay::{Base, Change, Operation, Overlay, OverlayError, Source, State, View};
use lfsfs_types::Timestamp;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

use crate::attr::Attr;
use crate::error::VfsError;
use crate::vfs::{Entry, Vfs};

mod attributes;
mod content;
mod drain;
mod known;
mod namespace;
mod plan;
mod readdir;
mod rename;
mod request;
mod scene;
mod space;
mod switch;
mod xattrs;

pub use self::request::{
    Allocation, Existing, OverlayPlace, Owner, Privileges, RenameMode, SetAttr, SetTime,
    SpecialFile, XattrMode,
};

pub use self::switch::SwitchReport;

use self::drain::Drain;
use self::known::Known;
use self::plan::{Numbers, Plan};
use self::readdir::Orders;
use self::scene::{Held, Object, Scene, Stop, name_of};

/// How many forgotten orphans the overlay may still hold before they are dropped in one write.
const GONE_MAX: usize = 64;

/// One version of one project with changes.
///
/// Methods may be called from any number of tasks, inside a tokio runtime with time enabled.
/// Permissions are the kernel's to check; what a call says about the caller is taken as it is.
#[derive(Debug)]
pub struct WritableVfs {
    base: Arc<Vfs>,
    drain: Arc<Drain>,
    /// `None` for what cannot be written.
    place: Option<OverlayPlace>,
    clock: Arc<dyn Clock>,
    overlay: OnceCell<Arc<Overlay>>,
    /// The state while there is no overlay.
    untouched: State,
    known: Mutex<Known>,
    numbers: Numbers,
    orders: Orders,
}

impl WritableVfs {
    /// Opens a version with the changes of an earlier mount, if there are any at `place`.
    ///
    /// An overlay with changes of another version is refused; one that is in use too.
    pub async fn open(
        base: Vfs,
        place: OverlayPlace,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VfsError> {
        let has_changes = Overlay::exists(&place.dir);
        let vfs = Self::new(base, Some(place), clock)?;
        if has_changes {
            vfs.make_overlay().await?;
        }
        Ok(vfs)
    }

    /// Opens a version that nobody can change, whatever overlays there are. Changes fail with
    /// [`VfsError::ReadOnly`].
    pub fn read_only(base: Vfs, clock: Arc<dyn Clock>) -> Result<Self, VfsError> {
        Self::new(base, None, clock)
    }

    fn new(
        base: Vfs,
        place: Option<OverlayPlace>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VfsError> {
        let random = random_bytes().map_err(PathError::wrap("read", Path::new("/dev/urandom")));
        Ok(Self {
            untouched: State::new(source(&base).base),
            known: Mutex::default(),
            numbers: Numbers::from(random.map_err(OverlayError::from)?),
            orders: Orders::new(),
            overlay: OnceCell::new(),
            base: Arc::new(base),
            drain: Arc::default(),
            place,
            clock,
        })
    }

    /// Returns the read-only core below as it is now; a switch or a commit puts another in its place.
    #[must_use]
    pub fn base(&self) -> Arc<Vfs> {
        Arc::clone(&self.base)
    }

    /// Returns the overlay, if anything was ever changed.
    #[must_use]
    pub fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.overlay.get()
    }

    /// Looks up a name and counts one lookup of what it names.
    pub async fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, VfsError> {
        let name = name_of(name)?;
        let attempt = |held: &Held| {
            let mut known = self.lock_known();
            let state = self.state();
            let scene = self.scene(&state, held);
            let object = scene.find_known(&scene.directory(parent)?, &name)?;
            Ok(self.count(&mut known, &state, parent, &object))
        };
        let attr = self.with_listings(attempt).await?;
        Ok(Entry { attr })
    }

    /// Returns where a symbolic link points.
    pub async fn readlink(&self, ino: u64) -> Result<Bytes, VfsError> {
        match self.state().inode(ino).map(|inode| &inode.node) {
            Some(lfsfs_overlay::Node::Symlink(target)) => Ok(Bytes::copy_from_slice(target)),
            Some(_) => Err(VfsError::Invalid),
            None => self.base.readlink(ino).await,
        }
    }

    /// Takes back lookups of an inode. One without any is freed, and dropped if it has no name.
    ///
    /// Like a kernel, callers forget what is in a directory before the directory.
    pub fn forget(&self, ino: u64, nlookup: u64) {
        let mut known = self.lock_known();
        if known.forget(self.base.inodes(), ino, nlookup) {
            self.note_gone(&mut known, ino);
            if known.gone.len() >= GONE_MAX {
                self.drop_gone(&mut known);
            }
        }
    }

    /// Makes everything acknowledged so far survive a power loss: of this object, and all others.
    pub async fn fsync(&self, ino: u64) -> Result<(), VfsError> {
        if self.state().inode(ino).is_none() && self.base.inodes().place(ino).is_none() {
            return Err(VfsError::Stale);
        }
        self.syncfs().await
    }

    /// Makes everything acknowledged so far survive a power loss.
    pub async fn syncfs(&self) -> Result<(), VfsError> {
        let Some(overlay) = self.overlay.get().cloned() else {
            return Ok(());
        };
        self.drop_gone(&mut self.lock_known());
        in_background(move || overlay.sync()).await
    }

    /// Syncs if it is time to: to be called from a timer. Returns true if it synced.
    pub async fn sync_if_due(&self, now: Instant) -> Result<bool, VfsError> {
        match self.overlay.get().cloned() {
            Some(overlay) => in_background(move || overlay.sync_if_due(now)).await,
            None => Ok(false),
        }
    }

    fn now(&self) -> Timestamp {
        let now = self.clock.wall_time();
        Timestamp {
            secs: now.seconds(),
            nanos: now.subsecond_nanoseconds(),
        }
    }

    fn state(&self) -> State {
        let overlay = self.overlay.get();
        overlay.map_or_else(|| self.untouched.clone(), |it| it.state())
    }

    fn view(&self) -> Option<View> {
        self.overlay.get().map(|overlay| overlay.view())
    }

    fn scene<'a>(&'a self, state: &'a State, held: &'a Held) -> Scene<'a> {
        Scene {
            state,
            base: &self.base,
            held,
        }
    }

    fn lock_known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }

    async fn make_overlay(&self) -> Result<&Arc<Overlay>, VfsError> {
        let make = || async {
            let place = self.place.clone().ok_or(VfsError::ReadOnly)?;
            let source = source(&self.base);
            let open = move || Overlay::open(&place.dir, &source, &place.options);
            in_background(open).await.map(Arc::new)
        };
        self.overlay.get_or_try_init(make).await
    }

    /// Attempts until no listing is missing any more.
    async fn with_listings<R>(
        &self,
        attempt: impl Fn(&Held) -> Result<R, Stop>,
    ) -> Result<R, VfsError> {
        let mut held = Held::new();
        loop {
            match attempt(&held) {
                Ok(result) => return Ok(result),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Listing(dir)) => {
                    held.insert(dir, self.base.listing(dir).await?);
                }
            }
        }
    }

    /// Decides by the state as of now and makes the changes.
    async fn change<'d, R>(
        &self,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Stop>,
    ) -> Result<R, VfsError> {
        self.prepare(&decide).await?;
        self.with_listings(|held| self.attempt(held, &decide)).await
    }

    /// Makes the overlay, unless there is one, or the call fails or changes nothing.
    async fn prepare<'d, R>(
        &self,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Stop>,
    ) -> Result<(), VfsError> {
        if self.overlay.get().is_some() {
            return Ok(());
        }
        let try_out = |held: &Held| {
            let (_, changes) = self.decide(&self.untouched, held, &decide)?;
            Ok(!changes.is_empty())
        };
        if self.with_listings(try_out).await? {
            self.make_overlay().await?;
        }
        Ok(())
    }

    /// Decides and makes the changes, with the listings at hand.
    fn attempt<'d, R>(
        &self,
        held: &Held,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Stop>,
    ) -> Result<R, Stop> {
        match self.overlay.get() {
            Some(overlay) => overlay.transact(|state| self.decide(state, held, decide)),
            None => Ok(self.decide(&self.untouched, held, decide)?.0),
        }
    }

    fn decide<'d, R>(
        &self,
        state: &State,
        held: &Held,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Stop>,
    ) -> Result<(R, Vec<Change<'d>>), Stop> {
        let mut plan = Plan::new(self.scene(state, held), self.now(), &self.numbers);
        let result = decide(&mut plan)?;
        Ok((result, plan.into_changes()))
    }

    /// Counts one lookup of an entry that was found while `known` was locked.
    fn count(&self, known: &mut Known, state: &State, parent: u64, object: &Object<'_>) -> Attr {
        let found = match object {
            Object::Base(found) => found,
            Object::Upper { ino, .. } => {
                known.count(*ino);
                if object.is_directory() {
                    known.put(*ino, parent);
                }
                return object.attr();
            }
        };
        let taken = |ino| state.inode(ino).is_some();
        let ino = match &found.candidate {
            Some(candidate) => self.base.inodes().look_up_beside(candidate, &taken),
            None => found.ino,
        };
        Attr::of(ino, &found.object.record)
    }

    /// Notes that an inode which the kernel does not know is to be dropped, if it has no name.
    fn note_gone(&self, known: &mut Known, ino: u64) {
        if is_orphan(&self.state(), ino) {
            known.gone.insert(ino);
        }
    }

    /// Drops the orphans that nobody knows. What cannot be written now is dropped later, or at the
    /// next start.
    fn drop_gone(&self, known: &mut Known) {
        let Some(overlay) = self.overlay.get() else {
            return;
        };
        let gone = std::mem::take(&mut known.gone);
        let dropped = overlay.transact(|state| {
            let orphans = gone.iter().filter(|ino| is_orphan(state, **ino));
            let forget = |ino: &u64| Operation::Forget { ino: *ino }.into();
            Ok::<_, OverlayError>(((), orphans.map(forget).collect()))
        });
        if let Err(error) = dropped {
            tracing::debug!(%error, "removed files are dropped later");
            known.gone = gone;
        }
    }
}

/// Returns what an overlay of this version lies above.
fn source(base: &Vfs) -> Source {
    let snapshot = base.snapshot();
    Source {
        project: snapshot.project.id,
        base: Base {
            number: snapshot.version.number,
            id: snapshot.version.id,
        },
    }
}

/// Returns true for an inode of the overlay without names.
fn is_orphan(state: &State, ino: u64) -> bool {
    state
        .inode(ino)
        .is_some_and(lfsfs_overlay::Inode::is_orphan)
}

/// Does what waits for the local disk where it holds up nobody.
async fn in_background<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, OverlayError> + Send + 'static,
) -> Result<R, VfsError> {
    match spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        // The runtime ends, or the work panicked, which was told already.
        Err(_) => Err(VfsError::Stale),
    }
}
