//! What a mount stands on: a base, which another one may replace while requests run, and the overlay
//! above it, which the first change makes.
//!
//! A request pins the base once and works on it to its end. If the base is replaced meanwhile, the
//! table of inodes or the overlay's state, which both know what base they belong to, say so, and the
//! request begins anew. So no request sees a part of one version and a part of another.

use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockWriteGuard};

use lfsfs_overlay::{Base, Inode, Overlay, ProjectBase, State, View};

use crate::base::{BaseVersion, Found};
use crate::error::{Interrupted, VfsError};

/// A base as one request uses it, and the state above it while there is no overlay.
#[derive(Debug)]
pub(crate) struct PinnedBase {
    pub(crate) base: Arc<BaseVersion>,
    pub(crate) untouched: State,
}

/// A base with the changes above it, as they are at one moment.
pub(crate) struct ReadView {
    pub(crate) pinned: Arc<PinnedBase>,
    /// `None` while there is no overlay.
    view: Option<Arc<View>>,
}

/// What an inode number stands for, with the view that says so.
pub(crate) enum Resolved {
    /// An object of the overlay; the view has it.
    Upper(UpperInode),
    /// An object of the base.
    Base(ReadView, Box<Found>),
}

/// An object of the overlay at one moment.
pub(crate) struct UpperInode {
    pub(crate) view: ReadView,
    ino: u64,
}

/// The base of a mount, and its overlay once there is one.
#[derive(Debug)]
pub(crate) struct Stack {
    pinned: RwLock<Arc<PinnedBase>>,
    overlay: OnceLock<Arc<Overlay>>,
}

impl PinnedBase {
    pub(crate) fn new(base: BaseVersion) -> Self {
        Self {
            untouched: State::new(base_of(&base)),
            base: Arc::new(base),
        }
    }

    /// Returns what an overlay above this lies above.
    pub(crate) fn source(&self) -> ProjectBase {
        ProjectBase {
            project: self.base.snapshot().project.id,
            base: self.untouched.base(),
        }
    }

    /// Fails if a state is not one above this base.
    pub(crate) fn expect_below(&self, state: &State) -> Result<(), Interrupted> {
        if state.base() == self.untouched.base() {
            Ok(())
        } else {
            Err(Interrupted::BaseReplaced)
        }
    }
}

impl ReadView {
    pub(crate) fn base(&self) -> &BaseVersion {
        &self.pinned.base
    }

    pub(crate) fn state(&self) -> &State {
        match &self.view {
            Some(view) => view.state(),
            None => &self.pinned.untouched,
        }
    }

    /// Returns the changes; none while there is no overlay.
    pub(crate) fn changes(&self) -> Option<&View> {
        self.view.as_deref()
    }

    /// Returns an object of the overlay.
    pub(crate) fn upper(&self, ino: u64) -> Option<&Inode> {
        self.view.as_ref()?.state().inode(ino)
    }
}

impl UpperInode {
    /// Returns the object, with the means to read its data.
    pub(crate) fn get(&self) -> Result<(&View, &Inode), VfsError> {
        let view = self.view.changes();
        let found = view.and_then(|view| Some((view, view.state().inode(self.ino)?)));
        // A view never changes, and this is made only of one that has the inode.
        found.ok_or_else(|| VfsError::internal("a view lost an inode"))
    }

    pub(crate) fn base(&self) -> &BaseVersion {
        self.view.base()
    }
}

impl Stack {
    pub(crate) fn new(base: BaseVersion) -> Self {
        Self {
            pinned: RwLock::new(Arc::new(PinnedBase::new(base))),
            overlay: OnceLock::new(),
        }
    }

    /// Returns the base as it is now. It stays usable however often it is replaced.
    pub(crate) fn pin(&self) -> Arc<PinnedBase> {
        // What a panic left is whole: it is replaced by one assignment.
        let pinned = self.pinned.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&pinned)
    }

    /// Returns the overlay, if anything was ever changed.
    pub(crate) fn overlay(&self) -> Option<&Arc<Overlay>> {
        self.overlay.get()
    }

    /// Puts an overlay above the base, unless there is one.
    pub(crate) fn set_overlay(&self, overlay: Overlay) {
        self.overlay.get_or_init(|| Arc::new(overlay));
    }

    /// Holds up all that want the base, until it was replaced by assignment or the guard is dropped.
    pub(crate) fn lock(&self) -> RwLockWriteGuard<'_, Arc<PinnedBase>> {
        self.pinned.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_current(&self, pinned: &Arc<PinnedBase>) -> bool {
        let current = self.pinned.read().unwrap_or_else(PoisonError::into_inner);
        Arc::ptr_eq(&current, pinned)
    }

    /// Fails if another base took the place of this one. A caller that holds the lock of what the kernel
    /// knows can rely on the answer: the base is replaced under that lock.
    pub(crate) fn expect_current(&self, pinned: &Arc<PinnedBase>) -> Result<(), Interrupted> {
        if self.is_current(pinned) {
            Ok(())
        } else {
            Err(Interrupted::BaseReplaced)
        }
    }

    /// Returns base and changes as they are now.
    pub(crate) fn view(&self) -> ReadView {
        loop {
            // Between the two the base may be replaced; the lock of the base ends the wait.
            if let Ok(view) = self.view_above(&self.pin()) {
                return view;
            }
        }
    }

    /// Returns the changes as they are now above a base that was pinned before.
    pub(crate) fn view_above(&self, pinned: &Arc<PinnedBase>) -> Result<ReadView, Interrupted> {
        let view = ReadView {
            pinned: Arc::clone(pinned),
            view: self.overlay.get().map(|overlay| overlay.view()),
        };
        pinned.expect_below(view.state())?;
        Ok(view)
    }

    /// Returns what a number stands for: in the overlay, or else in the base.
    pub(crate) async fn resolve(&self, ino: u64) -> Result<Resolved, VfsError> {
        loop {
            let view = self.view();
            if view.upper(ino).is_some() {
                return Ok(Resolved::Upper(UpperInode { view, ino }));
            }
            match view.base().find(ino).await {
                Ok(found) => return Ok(Resolved::Base(view, Box::new(found))),
                Err(Interrupted::Failed(error)) if self.is_current(&view.pinned) => {
                    return Err(error);
                }
                // What a version that was left cannot give, the one that is there now may.
                Err(
                    Interrupted::Failed(_)
                    | Interrupted::BaseReplaced
                    | Interrupted::NeedsListing(_),
                ) => {}
            }
        }
    }
}

fn base_of(base: &BaseVersion) -> Base {
    let version = &base.snapshot().version;
    Base {
        number: version.number,
        id: version.id,
    }
}
