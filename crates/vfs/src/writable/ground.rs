//! What a mount stands on: the base, which another one may replace while requests run.
//!
//! A request captures the ground once and works on it to its end. If the base is replaced meanwhile,
//! the table of inodes or the overlay's state, which both know what base they belong to, say so, and
//! the request begins anew. So none ever sees a part of one version and a part of another.
//!
//! The ground is replaced in `flip.rs`.

use std::sync::{Arc, PoisonError};

use lfsfs_overlay::{Base, Inode, Source, State, View};

use crate::error::{Stop, VfsError};
use crate::vfs::{Found, Vfs};
use crate::writable::WritableVfs;

/// A base, and the state above it while there is no overlay.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) base: Arc<Vfs>,
    pub(crate) untouched: State,
}

/// A base with the changes above it, as they are at one moment.
pub(crate) struct Moment {
    pub(crate) ground: Arc<Ground>,
    /// `None` while there is no overlay.
    view: Option<View>,
}

impl Ground {
    pub(crate) fn new(base: Vfs) -> Self {
        Self {
            untouched: State::new(base_of(&base)),
            base: Arc::new(base),
        }
    }

    /// Returns what an overlay above this lies above.
    pub(crate) fn source(&self) -> Source {
        Source {
            project: self.base.snapshot().project.id,
            base: self.untouched.base(),
        }
    }
}

impl Moment {
    pub(crate) fn base(&self) -> &Vfs {
        &self.ground.base
    }

    pub(crate) fn state(&self) -> &State {
        match &self.view {
            Some(view) => view.state(),
            None => &self.ground.untouched,
        }
    }

    /// Returns the changes; none while there is no overlay.
    pub(crate) fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Returns an object of the overlay, with the means to read its data.
    pub(crate) fn upper(&self, ino: u64) -> Option<(&View, &Inode)> {
        let view = self.view.as_ref()?;
        Some((view, view.state().inode(ino)?))
    }
}

impl WritableVfs {
    /// Returns the read-only core below as it is now; a switch or a commit puts another in its place.
    #[must_use]
    pub fn base(&self) -> Arc<Vfs> {
        Arc::clone(&self.ground().base)
    }

    pub(super) fn ground(&self) -> Arc<Ground> {
        // What a panic left is whole: it is replaced by one assignment.
        let ground = self.ground.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&ground)
    }

    pub(super) fn is_current(&self, ground: &Arc<Ground>) -> bool {
        let current = self.ground.read().unwrap_or_else(PoisonError::into_inner);
        Arc::ptr_eq(&current, ground)
    }

    /// Fails if another base took the place of this one. Whoever holds `known` can rely on it.
    pub(super) fn expect_current(&self, ground: &Arc<Ground>) -> Result<(), Stop> {
        match self.is_current(ground) {
            true => Ok(()),
            false => Err(Stop::Moved),
        }
    }

    pub(super) fn moment(&self) -> Moment {
        loop {
            // Between the two the base may be replaced; the lock of the ground ends the wait.
            if let Ok(moment) = self.moment_above(&self.ground()) {
                return moment;
            }
        }
    }

    /// Returns the changes as they are now above a ground that was captured before.
    pub(super) fn moment_above(&self, ground: &Arc<Ground>) -> Result<Moment, Stop> {
        let moment = Moment {
            ground: Arc::clone(ground),
            view: self.overlay.get().map(|overlay| overlay.view()),
        };
        match moment.state().base() == ground.untouched.base() {
            true => Ok(moment),
            false => Err(Stop::Moved),
        }
    }

    /// Returns a moment, and what a number stands for in the base then; `None` if the overlay has it.
    pub(super) async fn stand(&self, ino: u64) -> Result<(Moment, Option<Found>), VfsError> {
        loop {
            let moment = self.moment();
            if moment.upper(ino).is_some() {
                return Ok((moment, None));
            }
            match moment.base().find(ino).await {
                Ok(found) => return Ok((moment, Some(found))),
                Err(Stop::Failed(error)) if self.is_current(&moment.ground) => return Err(error),
                Err(_) => {}
            }
        }
    }
}

fn base_of(base: &Vfs) -> Base {
    let version = &base.snapshot().version;
    Base {
        number: version.number,
        id: version.id,
    }
}
