//! Captured output: lines collected by threads, waited for with a deadline.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The lines of all streams of one program. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Output {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    open_streams: usize,
}

impl Output {
    /// Collects what `stream` gives until it ends, in a thread of its own.
    pub(crate) fn read_from(&self, stream: impl Read + Send + 'static) {
        self.lock().open_streams += 1;
        let output = self.clone();
        std::thread::spawn(move || output.collect(stream));
    }

    /// Returns all lines so far.
    pub(crate) fn text(&self) -> String {
        self.lock().lines.concat()
    }

    /// Returns the first line that contains `text`, or `None` when `timeout` is over or all
    /// streams have ended.
    pub(crate) fn wait_for_line(&self, text: &str, timeout: Duration) -> Option<String> {
        let deadline = Instant::now() + timeout;
        let mut seen = 0;
        let mut state = self.lock();
        loop {
            let found = state.lines[seen..].iter().find(|line| line.contains(text));
            if let Some(line) = found {
                return Some(line.trim_end().to_owned());
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.open_streams == 0 {
                return None;
            }
            state = self.wait(state, left);
        }
    }

    /// Waits until all streams have ended, but not longer than `timeout`.
    pub(crate) fn wait_for_end(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while state.open_streams > 0 && Instant::now() < deadline {
            state = self.wait(state, deadline.saturating_duration_since(Instant::now()));
        }
    }

    fn collect(&self, stream: impl Read) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            self.lock()
                .lines
                .push(String::from_utf8_lossy(&line).into_owned());
            self.shared.changed.notify_all();
            line.clear();
        }
        self.lock().open_streams -= 1;
        self.shared.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.shared.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
