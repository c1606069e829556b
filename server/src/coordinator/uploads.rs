//! Uploads that are under way: since when connections ask for contents and send them. No version names these yet, and
//! a collection leaves them alone.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::connections::Connection;

/// A connection that asked for nothing in this time uploads nothing any more.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);

/// The connections that upload.
#[derive(Debug, Default)]
pub(super) struct Uploads(Vec<Upload>);

#[derive(Debug)]
struct Upload {
    connection: Weak<Connection>,
    /// In seconds since 1970.
    since: u64,
    last: Instant,
}

impl Uploads {
    /// Notes that a connection asks for contents, or for places for them.
    pub(super) fn note(&mut self, connection: &Arc<Connection>, secs: u64, now: Instant) {
        self.sweep(now);
        let is_it = |it: &&mut Upload| it.connection.as_ptr() == Arc::as_ptr(connection);
        match self.0.iter_mut().find(is_it) {
            Some(upload) => upload.last = now,
            None => self.0.push(Upload {
                connection: Arc::downgrade(connection),
                since: secs,
                last: now,
            }),
        }
    }

    /// Returns since when the oldest of them goes on.
    pub(super) fn since(&mut self, now: Instant) -> Option<u64> {
        self.sweep(now);
        self.0.iter().map(|upload| upload.since).min()
    }

    fn sweep(&mut self, now: Instant) {
        self.0.retain(|upload| {
            let is_idle = now.saturating_duration_since(upload.last) >= IDLE_MAX;
            !is_idle && upload.connection.strong_count() > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_lasts_as_long_as_its_connection_asks() {
        let (mut uploads, start) = (Uploads::default(), Instant::now());
        assert_eq!(uploads.since(start), None);
        let (first, second) = (Connection::for_test(), Connection::for_test());
        uploads.note(&first, 100, start);
        let later = start + IDLE_MAX / 2;
        uploads.note(&second, 200, later);
        uploads.note(&first, 300, later);
        assert_eq!(uploads.since(later + IDLE_MAX / 2), Some(100));
        drop(first);
        assert_eq!(uploads.since(later), Some(200));
        assert_eq!(uploads.since(later + IDLE_MAX), None);
    }
}
