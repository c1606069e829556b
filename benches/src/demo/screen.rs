//! The screen: a title, a table of times in three columns, lines of text.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::{sizes, text};

const WHAT_WIDTH: usize = 44;
const TIME_WIDTH: usize = 11;
const LINE_WIDTH: usize = 100;

/// What one step took, and the same with plain tools.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    lfsfs: Duration,
    copy: Option<Duration>,
    untar: Option<Duration>,
}

impl Times {
    pub(super) fn of(lfsfs: Duration) -> Self {
        Self {
            lfsfs,
            copy: None,
            untar: None,
        }
    }

    pub(super) fn copy(mut self, copy: Duration) -> Self {
        self.copy = Some(copy);
        self
    }

    pub(super) fn untar(mut self, untar: Duration) -> Self {
        self.untar = Some(untar);
        self
    }
}

/// Says what the demo is about.
pub(super) fn title(dir: &Path) -> anyhow::Result<()> {
    let count = sizes::count(dir)?;
    let (files, directories) = (text::count(count.files), text::count(count.directories));
    let bytes = text::bytes(count.bytes);
    line(&format!(
        "lfsfs demo: {files} files, {directories} directories, {bytes}"
    ))?;
    line("")
}

/// Names the columns.
pub(super) fn head() -> anyhow::Result<()> {
    columns("", ["lfsfs", "cp -a", "untar"].map(str::to_owned))
}

/// Shows a step and its times.
pub(super) fn row(what: &str, times: Times) -> anyhow::Result<()> {
    let Times { lfsfs, copy, untar } = times;
    let cell = |time: Option<Duration>| time.map(text::duration).unwrap_or_default();
    columns(what, [Some(lfsfs), copy, untar].map(cell))
}

/// Shows a step and what it took.
pub(super) fn step(what: &str, took: Duration) -> anyhow::Result<()> {
    let took = text::duration(took);
    line(&format!(
        "{:<WHAT_WIDTH$}{took:>TIME_WIDTH$}",
        shortened(what, WHAT_WIDTH)
    ))
}

/// Shows a line of text, at once.
pub(super) fn line(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    let shown = shortened(line, LINE_WIDTH);
    writeln!(stdout, "{shown}")?;
    Ok(stdout.flush()?)
}

fn columns(what: &str, cells: [String; 3]) -> anyhow::Result<()> {
    let mut text = format!("{:<WHAT_WIDTH$}", shortened(what, WHAT_WIDTH));
    for cell in cells {
        text.push_str(&format!("{cell:>TIME_WIDTH$}"));
    }
    line(text.trim_end())
}

/// Returns `text` in at most `width` characters.
fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_at_characters() {
        assert_eq!(shortened("schön und gut", 9), "schön ...");
        assert_eq!(shortened("schön", 5), "schön");
    }
}
