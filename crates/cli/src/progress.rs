//! Draws how far long work is: on a terminal only.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle, WeakProgressBar};
use lfsfs_mount::{AnswerSink, ControlPhase, ControlProgress};

use crate::user;

/// How often what is drawn moves.
const TICK: Duration = Duration::from_millis(100);

/// Returns a line that shows a message and that something is going on.
pub(crate) fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(TICK);
    drawn(bar)
}

/// Returns a bar of bytes, of which there are `len`, and a message.
pub(crate) fn bar(len: u64) -> ProgressBar {
    let bar = ProgressBar::new(len);
    bar.set_style(bar_style());
    bar.enable_steady_tick(TICK);
    drawn(bar)
}

/// Shows bytes as a bar from now on, once it is known how many there are.
pub(crate) fn become_bar(bar: &ProgressBar, len: u64) {
    if bar.length() != Some(len) {
        bar.set_style(bar_style());
        bar.set_length(len);
    }
}

fn bar_style() -> ProgressStyle {
    let template = "{bar:20} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left, {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Shows files as a bar: so many of so many.
fn become_bar_of_files(bar: &ProgressBar, done: u64, all: u64) {
    let template = "{bar:20} {human_pos} of {human_len} files, {eta} left, {msg}";
    let style = ProgressStyle::with_template(template);
    if bar.length() != Some(all) {
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_length(all);
    }
    bar.set_position(done);
}

/// Returns true if what is drawn can be seen.
pub(crate) fn is_seen() -> bool {
    io::stderr().is_terminal()
}

/// Draws again and again until the bar ends.
pub(crate) fn watch(bar: &ProgressBar, draw: impl Fn(&ProgressBar) + Send + 'static) {
    let drawn = bar.downgrade();
    tokio::spawn(async move {
        while let Some(bar) = drawn.upgrade() {
            draw(&bar);
            drop(bar);
            tokio::time::sleep(TICK).await;
        }
    });
}

const fn phase(phase: ControlPhase) -> &'static str {
    match phase {
        ControlPhase::Wait => "waiting for what is under way in the mount",
        ControlPhase::Cut => "waiting for writers",
        ControlPhase::Read => "reading and sending",
        ControlPhase::Send => "sending the rest",
        ControlPhase::Publish => "publishing",
        ControlPhase::Show => "going to the version",
    }
}

/// Work that the process of a mount does.
#[derive(Debug)]
pub(crate) struct Work {
    bar: ProgressBar,
}

impl Work {
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = spinner();
        bar.set_message(what);
        Self { bar }
    }

    /// Removes what was drawn.
    pub(crate) fn end(self) {
        self.bar.finish_and_clear();
    }
}

impl AnswerSink for Work {
    type Item = serde_json::Value;

    fn progress(&mut self, progress: ControlProgress) {
        if progress.files_left > 0 {
            let done = progress.files_uploaded;
            become_bar_of_files(&self.bar, done, done + progress.files_left);
            let sent = HumanBytes(progress.bytes_sent);
            return self.bar.set_message(format!("{sent} sent"));
        }
        self.bar.set_message(format!(
            "{}: {} changes, {} read, {} sent",
            phase(progress.phase),
            HumanCount(progress.changes),
            HumanBytes(progress.bytes_read),
            HumanBytes(progress.bytes_sent),
        ));
    }

    fn warn(&mut self, text: &str) {
        user::warn(text);
    }

    fn item(&mut self, _item: Self::Item) -> io::Result<()> {
        Ok(())
    }
}

/// Returns a time in milliseconds, as a request to the process of a mount has it.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The bar that is drawn now: a command has one at a time.
static DRAWN: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

fn drawn(bar: ProgressBar) -> ProgressBar {
    *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
    bar
}

/// Writes lines above the bar that is drawn.
pub(crate) fn above(write: impl FnOnce()) {
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    match drawn.as_ref().and_then(WeakProgressBar::upgrade) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
