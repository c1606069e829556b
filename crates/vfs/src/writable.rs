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
//! Lock order: `known`, then the ground, then the overlay's own, then the table of inodes. Calls that
//! change names, lookups and forgets take `known`; reads, getattr and changes of one object do not. A
//! read works on a view of the state and waits for no writer.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};
use std::time::Instant;

use bytes::Bytes;
use lfsfs_common::PathError;
use lfsfs_common::clock::Clock;
use lfsfs_common::random::random_bytes;
use lfsfs_common::tasks::Spawner;
use lfsfs_overlay::{Change, Operation, Overlay, OverlayError, State};
use lfsfs_types::{Name, Timestamp};

use crate::attr::Attr;
use crate::error::{Stop, VfsError};
use crate::inode::InodeTable;
use crate::vfs::{Entry, Vfs, target_of};

mod attributes;
mod changes;
pub(crate) mod content;
mod depth;
mod discard;
mod drain;
mod ground;
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

pub(crate) use self::changes::path_of;
pub use self::changes::{LocalChange, LocalLine};
pub use self::request::{
    Allocation, Existing, ModeEffect, OverlayPlace, Owner, Privileges, RenameMode, SetAttr,
    SetTime, Sought, SpecialFile, Written, XattrMode,
};

pub(crate) use self::switch::Landing;
pub use self::switch::SwitchReport;

use self::drain::Drain;
use self::ground::Ground;
use self::known::Known;
use self::plan::{Numbers, Plan};
use self::readdir::Orders;
use self::scene::{Held, Object, Scene, name_of};

/// How many forgotten orphans the overlay may still hold before they are dropped in one write, if no
/// timer comes first.
const GONE_MAX: usize = 64;

/// An overlay, and the numbers that committed objects had in earlier mounts of it.
type Opened = (Overlay, HashMap<u64, u64>);

/// One version of one project with changes.
///
/// Methods may be called from any number of tasks, inside a tokio runtime with time enabled.
/// Permissions are the kernel's to check; what a call says about the caller is taken as it is.
#[derive(Debug)]
pub struct WritableVfs {
    ground: RwLock<Arc<Ground>>,
    /// What the kernel knows of all bases.
    inodes: Arc<InodeTable>,
    drain: Arc<Drain>,
    /// Held by whoever switches, commits or discards.
    turn: tokio::sync::Mutex<()>,
    /// `None` for what cannot be written.
    place: Option<OverlayPlace>,
    clock: Arc<dyn Clock>,
    overlay: OnceLock<Arc<Overlay>>,
    /// Held by whoever makes the overlay; has one that was opened and that nobody waited for.
    making: Arc<tokio::sync::Mutex<Option<Opened>>>,
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
            known: Mutex::default(),
            numbers: Numbers::from(random.map_err(OverlayError::from)?),
            orders: Orders::new(),
            overlay: OnceLock::new(),
            making: Arc::default(),
            inodes: Arc::clone(base.inodes().table()),
            ground: RwLock::new(Arc::new(Ground::new(base))),
            drain: Arc::default(),
            turn: tokio::sync::Mutex::default(),
            place,
            clock,
        })
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
            self.expect_current(&held.ground)?;
            let moment = self.moment_above(&held.ground)?;
            let scene = scene(moment.state(), held);
            let object = scene.find_known(&scene.directory(parent)?, &name)?;
            self.count(&mut known, scene, (parent, &name, &object))
        };
        let attr = self.with_listings(attempt).await?;
        Ok(Entry { attr })
    }

    /// Returns where a symbolic link points.
    pub async fn readlink(&self, ino: u64) -> Result<Bytes, VfsError> {
        let (moment, found) = self.stand(ino).await?;
        match (found, moment.upper(ino).map(|it| &it.1.node)) {
            (Some(found), _) => target_of(&found),
            (None, Some(lfsfs_overlay::Node::Symlink(target))) => {
                Ok(Bytes::copy_from_slice(target))
            }
            (None, _) => Err(VfsError::Invalid),
        }
    }

    /// Takes back lookups of an inode. One without any is freed, and dropped if it has no name.
    ///
    /// Like a kernel, callers forget what is in a directory before the directory.
    pub fn forget(&self, ino: u64, nlookup: u64) {
        let mut known = self.lock_known();
        if known.forget(&self.inodes, ino, nlookup) {
            self.note_gone(&mut known, ino);
            if known.gone.len() >= GONE_MAX {
                self.drop_gone(&mut known);
            }
        }
    }

    /// Makes everything acknowledged so far survive a power loss: of this object, and all others.
    pub async fn fsync(&self, ino: u64) -> Result<(), VfsError> {
        if self.moment().upper(ino).is_none() && !self.inodes.knows(ino) {
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
        in_background(self.base().spawner(), move || overlay.sync()).await
    }

    /// Drops removed files that nobody has open any more, and syncs if it is time to: to be called from
    /// a timer. Returns true if it synced.
    pub async fn tidy_and_sync_if_due(&self, now: Instant) -> Result<bool, VfsError> {
        self.drop_gone(&mut self.lock_known());
        match self.overlay.get().cloned() {
            Some(overlay) => {
                in_background(self.base().spawner(), move || overlay.sync_if_due(now)).await
            }
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

    fn lock_known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }

    async fn make_overlay(&self) -> Result<(), VfsError> {
        let place = self.place.clone().ok_or(VfsError::ReadOnly)?;
        let mut made = Arc::clone(&self.making).lock_owned().await;
        if self.overlay.get().is_some() {
            return Ok(());
        }
        if made.is_none() {
            let source = self.ground().source();
            // Callers are dropped and come again. What one began must end before another begins:
            // two would wait for each other's lock on the directory.
            let open = move || {
                let open = Overlay::open_with_numbers;
                *made = Some(open(&place.dir, &source, &place.options)?);
                Ok(made)
            };
            made = in_background(self.base().spawner(), open).await?;
        }
        // The base may have been replaced while nobody knew of the overlay.
        let mut known = self.lock_known();
        if let Some((overlay, numbers)) = made.take() {
            let ground = self.ground();
            overlay.take_base(&ground.source())?;
            let base = depth::longest_of(&ground.base);
            known.note_longest(depth::longest_in(&overlay.state(), base));
            // An overlay that is made by a change has none; one that was there is opened before
            // anything is looked up.
            self.inodes.take_former(numbers);
            self.overlay.get_or_init(|| Arc::new(overlay));
        }
        Ok(())
    }

    /// Attempts until no listing is missing any more, and the base is the one that was looked at.
    async fn with_listings<R>(
        &self,
        attempt: impl Fn(&Held) -> Result<R, Stop>,
    ) -> Result<R, VfsError> {
        let mut held = Held::new(self.ground());
        loop {
            let loaded = match attempt(&held) {
                Ok(result) => return Ok(result),
                Err(Stop::Failed(error)) => return Err(error),
                Err(Stop::Listing(dir)) if self.is_current(&held.ground) => {
                    let listing = held.ground.base.listing(dir).await;
                    listing.map(|listing| held.listings.insert(dir, listing))
                }
                Err(Stop::Moved | Stop::Listing(_)) => {
                    held = Held::new(self.ground());
                    continue;
                }
            };
            // What a version that was left cannot give, the one that is there now may.
            if let Err(error) = loaded
                && self.is_current(&held.ground)
            {
                return Err(error);
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
            let (_, changes) = self.decide(&held.ground.untouched, held, &decide)?;
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
            Some(overlay) => {
                overlay.transact(|state| match state.base() == held.ground.untouched.base() {
                    true => self.decide(state, held, decide),
                    false => Err(Stop::Moved),
                })
            }
            None => Ok(self.decide(&held.ground.untouched, held, decide)?.0),
        }
    }

    fn decide<'d, R>(
        &self,
        state: &State,
        held: &Held,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Stop>,
    ) -> Result<(R, Vec<Change<'d>>), Stop> {
        let mut plan = Plan::new(scene(state, held), self.now(), &self.numbers);
        let result = decide(&mut plan)?;
        Ok((result, plan.into_changes()))
    }

    /// Counts one lookup of an entry that was found in `scene` while `known` was locked.
    fn count(
        &self,
        known: &mut Known,
        scene: Scene<'_>,
        (parent, name, object): (u64, &Name, &Object<'_>),
    ) -> Result<Attr, Stop> {
        let found = match object {
            Object::Base(found) => found,
            Object::Upper { ino, .. } => {
                known.count(*ino);
                if object.is_directory() {
                    known.put(*ino, parent, name);
                }
                return Ok(object.attr());
            }
        };
        let ino = match &found.candidate {
            Some(candidate) => {
                let taken = |ino| scene.state.inode(ino).is_some();
                scene.base().inodes().look_up(candidate, &taken)?
            }
            None => found.ino,
        };
        Ok(Attr::of(ino, &found.object.record))
    }

    /// Notes that an inode which the kernel does not know is to be dropped, if it has no name.
    fn note_gone(&self, known: &mut Known, ino: u64) {
        if is_orphan(self.moment().state(), ino) {
            known.gone.insert(ino);
        }
    }

    /// Drops the orphans that nobody knows. What cannot be written now is dropped later, or at the
    /// next start.
    fn drop_gone(&self, known: &mut Known) {
        let Some(overlay) = self.overlay.get().filter(|_| !known.gone.is_empty()) else {
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

fn scene<'a>(state: &'a State, held: &'a Held) -> Scene<'a> {
    Scene { state, held }
}

/// Returns true for an inode of the overlay without names.
fn is_orphan(state: &State, ino: u64) -> bool {
    state
        .inode(ino)
        .is_some_and(lfsfs_overlay::Inode::is_orphan)
}

/// Does what waits for the local disk on a thread that serves no request.
async fn in_background<R: Send + 'static>(
    spawner: &Spawner,
    work: impl FnOnce() -> Result<R, OverlayError> + Send + 'static,
) -> Result<R, VfsError> {
    match spawner.spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        // The runtime ends, or the work panicked, which was told already.
        Err(_) => Err(VfsError::Stale),
    }
}
