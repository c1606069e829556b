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
//! Lock order: `known`, then the base of the stack, then the overlay's own, then the table of inodes.
//! Calls that change names, lookups and forgets take `known`; reads, getattr and changes of one object do
//! not. A read works on a view of the state and waits for no writer.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use lfsfs_common::PathError;
use lfsfs_common::clock::Clock;
use lfsfs_common::random::random_bytes;
use lfsfs_common::tasks::Tasks;
use lfsfs_overlay::{Base, Change, Inode, Node, Operation, Overlay, OverlayError, State};
use lfsfs_types::Timestamp;

use crate::attr::Attr;
use crate::base::{BaseVersion, Entry, target_of};
use crate::blocking::blocking;
use crate::blocks;
use crate::changes::{LocalChange, changes_of};
use crate::config::AccessLists;
use crate::error::{Interrupted, VfsError};
use crate::ignored::{IgnoredPath, ignored_of};
use crate::inode::InodeTable;
use crate::merged::{Fetched, MergedView, NamedObject, Object, name_of};
use crate::stack::{ReadView, Resolved, Stack};
use crate::verb_error::ChangesError;

mod access_lists;
mod attributes;
mod content;
mod depth;
mod discard;
mod drain;
mod exclusive;
mod holes;
mod known;
mod namespace;
mod order;
mod plan;
mod readdir;
mod rename;
mod request;
mod sharing;
mod space;
mod switch;
mod xattrs;

pub use self::request::{
    Allocation, Existing, ModeEffect, NewMode, OverlayPlace, Owner, Privileges, RenameMode,
    SetAttr, SetTime, Sought, SpecialFile, Written, XattrMode,
};

pub use self::access_lists::ListSetter;
pub use self::exclusive::Exclusive;
pub use self::sharing::{Copied, CopyRange};
pub(crate) use self::switch::PublishedCommit;
pub use self::switch::{PreparedSwitch, SwitchReport};

use self::drain::Drain;
use self::known::Known;
use self::order::Orders;
use self::plan::{Numbers, Plan};

/// How many forgotten orphans the overlay may still hold before they are dropped in one write, if no
/// timer comes first.
const GONE_MAX: usize = 64;

pub(crate) const SYNC: &str = "the sync of the overlay";

/// An overlay, and the numbers that committed objects had in earlier mounts of it.
type Opened = (Overlay, HashMap<u64, u64>);

/// One version of one project with changes.
///
/// Methods may be called from any number of tasks, inside a tokio runtime with time enabled.
/// Permissions are the kernel's to check; what a call says about the caller is taken as it is.
#[derive(Debug)]
pub struct Vfs {
    stack: Stack,
    /// What the kernel knows of all bases.
    inodes: Arc<InodeTable>,
    drain: Arc<Drain>,
    /// Locked by the one switch, commit or discard that is under way.
    exclusive: tokio::sync::Mutex<()>,
    /// `None` for what cannot be written.
    place: Option<OverlayPlace>,
    clock: Arc<dyn Clock>,
    /// Locked while the overlay is made; has one that was opened for a caller that was dropped.
    making: Arc<tokio::sync::Mutex<Option<Opened>>>,
    known: Mutex<Known>,
    numbers: Numbers,
    orders: Orders,
    /// The base of which it is known that no file has a part of a content of an earlier one.
    owned: Mutex<Option<Base>>,
    access_lists: AccessLists,
}

impl Vfs {
    /// Opens a version with the changes of an earlier mount, if there are any at `place`.
    ///
    /// An overlay with changes of another version is refused; one that is in use too.
    pub async fn open(
        base: BaseVersion,
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

    /// Opens a version that cannot be changed, whatever overlays there are. Changes fail with
    /// [`VfsError::ReadOnly`].
    pub fn read_only(base: BaseVersion, clock: Arc<dyn Clock>) -> Result<Self, VfsError> {
        Self::new(base, None, clock)
    }

    fn new(
        base: BaseVersion,
        place: Option<OverlayPlace>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VfsError> {
        let random = random_bytes().map_err(PathError::wrap("read", Path::new("/dev/urandom")));
        Ok(Self {
            known: Mutex::default(),
            numbers: Numbers::from(random.map_err(OverlayError::from)?),
            orders: Orders::new(),
            owned: Mutex::default(),
            access_lists: base.access_lists(),
            making: Arc::default(),
            inodes: Arc::clone(base.inodes().table()),
            stack: Stack::new(base),
            drain: Arc::default(),
            exclusive: tokio::sync::Mutex::default(),
            place,
            clock,
        })
    }

    /// Returns the version below as it is now; a switch or a commit puts another in its place.
    #[must_use]
    pub fn base(&self) -> Arc<BaseVersion> {
        Arc::clone(&self.stack.pin().base)
    }

    /// Returns whether access lists are enforced.
    #[must_use]
    pub fn access_lists(&self) -> AccessLists {
        self.access_lists
    }

    /// Returns the owner of all tasks that work for the mount, whatever version it shows by now. It ends
    /// them at the latest when this is dropped.
    #[must_use]
    pub fn tasks(&self) -> Arc<Tasks> {
        Arc::clone(self.base().tasks())
    }

    /// Returns about how many lines [`changes`](Self::changes) has, without looking at the base: what
    /// was written back as it was counts, what is below a removed directory does not.
    #[must_use]
    pub fn changes_len(&self) -> u64 {
        self.stack.view().state().changes_len() as u64
    }

    /// Returns what differs from the base and is not ignored, in the order of the paths.
    ///
    /// Costs what changed. Contents that were written again are compared up to 1 MiB, above that they
    /// are modified unless nothing was written. Of a hard-linked file of the base the names are told
    /// under which it was changed, renamed or removed.
    pub async fn changes(&self) -> Result<Vec<LocalChange>, ChangesError> {
        let view = self.stack.view();
        let Some(changes) = view.changes() else {
            return Ok(Vec::new());
        };
        let ignored = ignored_of(view.base(), changes).await?;
        let rest = changes.without(&ignored.names).map_err(VfsError::from)?;
        changes_of(view.base(), &rest).await
    }

    /// Returns what no commit takes of the changes, in the order of the paths. Neither [`changes`](Self::changes)
    /// nor a switch counts that as a change.
    pub async fn ignored(&self) -> Result<Vec<IgnoredPath>, ChangesError> {
        let view = self.stack.view();
        let Some(changes) = view.changes() else {
            return Ok(Vec::new());
        };
        let mut paths = ignored_of(view.base(), changes).await?.paths;
        paths.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(paths)
    }

    /// Returns what [`changes_len`](Self::changes_len) does, without what is ignored, and how many paths are.
    pub async fn counts(&self) -> Result<(u64, u64), ChangesError> {
        let view = self.stack.view();
        let Some(changes) = view.changes() else {
            return Ok((0, 0));
        };
        let names = ignored_of(view.base(), changes).await?.names;
        let rest = changes.without(&names).map_err(VfsError::from)?;
        Ok((rest.state().changes_len() as u64, names.len() as u64))
    }

    /// Returns base and changes as they are now.
    pub(crate) fn view(&self) -> ReadView {
        self.stack.view()
    }

    /// Returns the overlay, if anything was ever changed.
    #[must_use]
    pub fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.stack.overlay()
    }

    /// Looks up a name and counts one lookup of what it names.
    pub async fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, VfsError> {
        let name = name_of(name)?;
        let attempt = |fetched: &Fetched| {
            let mut known = self.lock_known();
            self.stack.expect_current(&fetched.pinned)?;
            let view = self.stack.view_above(&fetched.pinned)?;
            let merged = MergedView::new(view.state(), fetched);
            let object = merged.find_known(&merged.directory(parent)?, &name)?;
            let found = NamedObject {
                parent,
                name: &name,
                object: &object,
            };
            self.count(&mut known, merged, found)
        };
        let attr = self.with_listings(attempt).await?;
        Ok(Entry { attr })
    }

    /// Returns where a symbolic link points.
    pub async fn readlink(&self, ino: u64) -> Result<Bytes, VfsError> {
        let upper = match self.stack.resolve(ino).await? {
            Resolved::Base(_, found) => return target_of(&found),
            Resolved::Upper(upper) => upper,
        };
        match &upper.get()?.1.node {
            Node::Symlink(target) => Ok(Bytes::copy_from_slice(target)),
            _ => Err(VfsError::Invalid),
        }
    }

    /// Takes back lookups of an inode. One without any is freed, and dropped if it has no name.
    ///
    /// Like a kernel, callers forget what is in a directory before the directory.
    pub fn forget(&self, ino: u64, nlookup: u64) {
        let mut known = self.lock_known();
        if known.forget(&self.inodes, ino, nlookup) {
            self.note_gone(&mut known, ino);
            if known.gone.len() >= GONE_MAX || self.is_short_of_room() {
                self.drop_gone(&mut known);
            }
        }
    }

    /// Returns true if a limit of the changes is near, so that what was removed should make room now.
    fn is_short_of_room(&self) -> bool {
        let limit = self.place.as_ref().and_then(|place| place.options.size_max);
        let room = self.stack.overlay().and_then(|overlay| overlay.room());
        limit
            .zip(room)
            .is_some_and(|(limit, room)| room < limit / 4)
    }

    /// Makes everything acknowledged so far survive a power loss: of this object, and all others.
    pub async fn fsync(&self, ino: u64) -> Result<(), VfsError> {
        if self.stack.view().upper(ino).is_none() && !self.inodes.knows(ino) {
            return Err(VfsError::Stale);
        }
        self.syncfs().await
    }

    /// Makes everything acknowledged so far survive a power loss.
    pub async fn syncfs(&self) -> Result<(), VfsError> {
        let Some(overlay) = self.stack.overlay().cloned() else {
            return Ok(());
        };
        self.drop_gone(&mut self.lock_known());
        Ok(blocking(self.base().spawner(), SYNC, move || overlay.sync()).await??)
    }

    /// Drops removed files that no program has open any more, and syncs if it is time to: to be called
    /// from a timer. Returns true if it synced.
    pub async fn tidy_and_sync_if_due(&self, now: Instant) -> Result<bool, VfsError> {
        self.drop_gone(&mut self.lock_known());
        match self.stack.overlay().cloned() {
            Some(overlay) => Ok(blocking(self.base().spawner(), SYNC, move || {
                overlay.sync_if_due(now)
            })
            .await??),
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
        if self.stack.overlay().is_some() {
            return Ok(());
        }
        if made.is_none() {
            let source = self.stack.pin().source();
            // Callers are dropped and come again. What one began must end before another begins:
            // two would wait for each other's lock on the directory.
            let open = move || {
                let opened = Overlay::open_with_numbers(&place.dir, &source, &place.options);
                opened.map(|opened| {
                    *made = Some(opened);
                    made
                })
            };
            made = blocking(self.base().spawner(), "the opening of the overlay", open).await??;
        }
        // The base may have been replaced before the stack had the overlay.
        let mut known = self.lock_known();
        if let Some((overlay, numbers)) = made.take() {
            let pinned = self.stack.pin();
            overlay.take_base(&pinned.source())?;
            let base = depth::longest_of(&pinned.base);
            known.note_longest(depth::longest_in(&overlay.state(), base));
            // An overlay that is made by a change has none; one that was there is opened before
            // anything is looked up.
            self.inodes.take_former(numbers);
            self.stack.set_overlay(overlay);
        }
        Ok(())
    }

    /// Attempts until no listing is missing any more, and the base is the one that was looked at.
    async fn with_listings<R, E: From<VfsError>>(
        &self,
        attempt: impl Fn(&Fetched) -> Result<R, Interrupted<E>>,
    ) -> Result<R, E> {
        let mut fetched = Fetched::new(self.stack.pin());
        loop {
            let loaded = match attempt(&fetched) {
                Ok(result) => return Ok(result),
                Err(Interrupted::Failed(error)) => return Err(error),
                Err(Interrupted::NeedsListing(dir)) if self.stack.is_current(&fetched.pinned) => {
                    let listing = fetched.pinned.base.listing(dir).await;
                    listing.map(|listing| fetched.listings.insert(dir, listing))
                }
                Err(Interrupted::BaseReplaced | Interrupted::NeedsListing(_)) => {
                    fetched = Fetched::new(self.stack.pin());
                    continue;
                }
            };
            // What a version that was left cannot give, the one that is there now may.
            if let Err(error) = loaded
                && self.stack.is_current(&fetched.pinned)
            {
                return Err(error.into());
            }
        }
    }

    /// Decides by the state as of now and makes the changes.
    async fn change<'d, R>(
        &self,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Interrupted>,
    ) -> Result<R, VfsError> {
        self.prepare(&decide).await?;
        self.with_listings(|fetched| self.attempt(fetched, &decide))
            .await
    }

    /// Makes the overlay, unless there is one, or the call fails or changes nothing.
    async fn prepare<'d, R>(
        &self,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Interrupted>,
    ) -> Result<(), VfsError> {
        if self.stack.overlay().is_some() {
            return Ok(());
        }
        let try_out = |fetched: &Fetched| {
            let (_, changes) = self.decide(&fetched.pinned.untouched, fetched, &decide)?;
            Ok(!changes.is_empty())
        };
        if self.with_listings::<_, VfsError>(try_out).await? {
            self.make_overlay().await?;
        }
        Ok(())
    }

    /// Decides and makes the changes, with the listings at hand.
    fn attempt<'d, R>(
        &self,
        fetched: &Fetched,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Interrupted>,
    ) -> Result<R, Interrupted> {
        match self.stack.overlay() {
            Some(overlay) => overlay.transact(|state| {
                fetched.pinned.expect_below(state)?;
                self.decide(state, fetched, decide)
            }),
            None => Ok(self.decide(&fetched.pinned.untouched, fetched, decide)?.0),
        }
    }

    fn decide<'d, R>(
        &self,
        state: &State,
        fetched: &Fetched,
        decide: impl Fn(&mut Plan<'_, 'd>) -> Result<R, Interrupted>,
    ) -> Result<(R, Vec<Change<'d>>), Interrupted> {
        let mut plan = Plan::new(MergedView::new(state, fetched), self.now(), &self.numbers);
        let result = decide(&mut plan)?;
        Ok((result, plan.into_changes()))
    }

    /// Counts one lookup of an entry that was found in `merged` while `known` was locked.
    fn count(
        &self,
        known: &mut Known,
        merged: MergedView<'_>,
        named: NamedObject<'_>,
    ) -> Result<Attr, Interrupted> {
        let found = match named.object {
            Object::Base(found) => found,
            Object::Upper { ino, inode } => {
                known.count(*ino);
                if named.object.is_directory() {
                    known.put(*ino, named.parent, named.name);
                }
                return Ok(blocks::of_inode(merged.base(), named.object.attr(), inode));
            }
        };
        let ino = match &found.candidate {
            Some(candidate) => {
                let taken = |ino| merged.state.inode(ino).is_some();
                merged.base().inodes().look_up(candidate, &taken)?
            }
            None => found.ino,
        };
        let attr = Attr::of(ino, &found.object.record);
        Ok(blocks::of_base(merged.base(), attr, &found.object))
    }

    /// Notes that an inode which the kernel does not know is to be dropped, if it has no name.
    fn note_gone(&self, known: &mut Known, ino: u64) {
        if is_orphan(self.stack.view().state(), ino) {
            known.gone.insert(ino);
        }
    }

    /// Drops the orphans that the kernel does not know. What cannot be written now is dropped later, or at
    /// the next start.
    fn drop_gone(&self, known: &mut Known) {
        let Some(overlay) = self.stack.overlay().filter(|_| !known.gone.is_empty()) else {
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

/// Returns true for an inode of the overlay without names.
fn is_orphan(state: &State, ino: u64) -> bool {
    state.inode(ino).is_some_and(Inode::is_orphan)
}
