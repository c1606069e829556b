//! An engine that is used until it fails once, and then never again before it is opened anew.

use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::OnceLock;

use crate::MetaError;
use crate::directory::Directory;
use crate::panics;

/// An engine, and why it stopped, once it has.
pub(crate) struct Guarded<E> {
    /// `None` once it is closed.
    engine: Option<E>,
    stopped: OnceLock<String>,
}

/// What became of an engine that was to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It closed.
    Closed,
    /// It had stopped, or its closing failed: what it holds in memory is not to be trusted.
    Left,
}

impl<E> Guarded<E> {
    pub(crate) fn new(engine: E) -> Self {
        Self {
            engine: Some(engine),
            stopped: OnceLock::new(),
        }
    }

    /// Runs a call of the engine; a panic in it becomes an error and stops the engine.
    pub(crate) fn call<T>(
        &self,
        directory: &Directory,
        call: impl FnOnce(&E) -> Result<T, MetaError>,
    ) -> Result<T, MetaError> {
        if let Some(reason) = self.stopped.get() {
            return Err(MetaError::Stopped {
                reason: reason.clone(),
            });
        }
        let Some(engine) = &self.engine else {
            return Err(MetaError::Stopped {
                reason: "closed".to_owned(),
            });
        };
        panics::catch(|| call(engine)).unwrap_or_else(|message| {
            let error = directory.corrupt(message);
            self.stop(&error);
            Err(error)
        })
    }

    /// Lets no further call through.
    pub(crate) fn stop(&self, error: &MetaError) {
        // The first reason is the one that explains the others.
        self.stopped.get_or_init(|| error.to_string());
    }

    /// Closes the engine, unless it has stopped: closing writes.
    pub(crate) fn close(&mut self) -> Closing {
        let Some(engine) = self.engine.take() else {
            return Closing::Left;
        };
        if self.stopped.get().is_some() {
            let _leaked = ManuallyDrop::new(engine);
            return Closing::Left;
        }
        match panics::catch(|| drop(engine)) {
            Ok(()) => Closing::Closed,
            Err(message) => {
                tracing::error!(message, "could not close the metadata store");
                Closing::Left
            }
        }
    }
}

impl<E> Drop for Guarded<E> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<E> fmt::Debug for Guarded<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Guarded");
        shown.field("stopped", &self.stopped);
        shown.finish_non_exhaustive()
    }
}

/// What the tests of the engines have in common.
#[cfg(test)]
pub(crate) mod testing {
    use crate::{Batch, MetaError, MetaStore, Read};

    pub(crate) fn one_row() -> Batch {
        let mut batch = Batch::new();
        batch.put(*b"a", *b"1");
        batch
    }

    pub(crate) fn assert_stopped(store: &dyn MetaStore, reason: &str) {
        let results = [
            store.apply(one_row()).map(drop),
            store.flush(),
            store.get(b"a").map(drop),
            store.read(&[Read::get(*b"a")]).map(drop),
        ];
        for result in results {
            let error = result.expect_err("a stopped store must not work");
            assert!(matches!(error, MetaError::Stopped { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
