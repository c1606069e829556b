//! Why contents cannot be read.

use std::sync::Arc;

use lfsfs_remote::RemoteError;
use thiserror::Error;

/// A read that failed. Several readers of one fetch get clones of its error.
#[derive(Debug, Clone, Error)]
pub enum ReadError {
    /// There was no progress for as long as the caller waits.
    #[error("no answer to {what} within {seconds} s")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
    },
    /// The server failed, or what it sent is not what it should be.
    #[error("cannot {action}")]
    Remote {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Arc<RemoteError>,
    },
}

impl ReadError {
    /// Returns a closure for `map_err` that says what was tried.
    pub fn remote(action: &'static str) -> impl FnOnce(RemoteError) -> Self {
        move |source| Self::Remote {
            action,
            source: Arc::new(source),
        }
    }

    /// Returns the error for data that is not what it should be.
    pub fn corrupt(action: &'static str, problem: impl Into<String>) -> Self {
        Self::remote(action)(RemoteError::Corrupt(problem.into()))
    }

    /// Returns true if the same read may succeed a little later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Remote { source, .. } => source.is_retryable(),
        }
    }

    /// Returns true if the server does not have what was asked for.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Timeout { .. } => false,
            Self::Remote { source, .. } => source.is_not_found(),
        }
    }

    /// Returns true if the bytes that came are not those that were written.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Timeout { .. } => false,
            Self::Remote { source, .. } => matches!(**source, RemoteError::Corrupt(_)),
        }
    }

    /// Returns true if the server was not even asked, because it is known to be away: that was logged
    /// once, and each call that fails says nothing new.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        match self {
            Self::Timeout { .. } => false,
            Self::Remote { source, .. } => matches!(**source, RemoteError::Away { .. }),
        }
    }
}
