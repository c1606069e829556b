//! What goes to stdout: lines, quoted paths, times, JSON.
//!
//! [`Output`] is the one way to stdout. It escapes what it writes as a line or as JSON; only
//! bytes that a program reads (`-z`, contents of files) go out as they are.

mod json;
mod line;
mod table;
mod text;
mod time;

use std::io::{self, IsTerminal as _, StdoutLock, Write};

use lfsfs_types::Timestamp;
use serde::Serialize;

use crate::error::CommandError;
pub(crate) use json::{JsonPath, hex_unless_text};
pub(crate) use line::{Line, Style};
pub(crate) use table::{Column, Table};
pub(crate) use text::{quoted, safe};
pub(crate) use time::{Clock, TimeStyle};

/// Returns a time as RFC 3339, or as seconds where the calendar ends.
pub(crate) fn time(time: Timestamp) -> String {
    time::calendar(time).map_or_else(
        || format!("@{}.{:09}", time.secs, time.nanos),
        |time| time.to_string(),
    )
}

/// Returns how many there are of something that gets an `s` where there are several.
pub(crate) fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Standard output. A reader that went away ends the command without complaint.
#[derive(Debug)]
pub(crate) struct Output {
    out: io::BufWriter<StdoutLock<'static>>,
    is_terminal: bool,
    is_colored: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        let is_terminal = io::stdout().is_terminal();
        Self {
            out: io::BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
            is_terminal,
            is_colored: is_terminal && wants_colors(|name| std::env::var_os(name)),
        }
    }

    pub(crate) fn line(&mut self, line: impl Into<Line>) -> Result<(), CommandError> {
        let line = line.into().render(self.is_colored);
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Writes one JSON object on a line of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        json::write(&mut self.out, value)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// Writes a path as it is, ended by NUL, behind what stands before it in a list.
    pub(crate) fn nul(&mut self, before: &str, path: &[u8]) -> Result<(), CommandError> {
        self.bytes(safe(before).as_bytes())?;
        self.bytes(path)?;
        self.bytes(b"\0")
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Writes a line of the contents of a file behind a sign: safe to show on a terminal, as it is
    /// for a program.
    pub(crate) fn content_line(
        &mut self,
        style: Style,
        sign: &str,
        bytes: &[u8],
    ) -> Result<(), CommandError> {
        if self.is_terminal {
            let text = String::from_utf8_lossy(bytes);
            return self.line(Line::new().styled(style, format!("{sign}{text}")));
        }
        self.bytes(sign.as_bytes())?;
        self.bytes(bytes)?;
        self.bytes(b"\n")
    }

    /// Hands everything to the reader that was written so far.
    pub(crate) fn flush(&mut self) -> Result<(), CommandError> {
        Ok(self.out.flush()?)
    }

    /// Hands everything to the reader.
    pub(crate) fn finish(mut self) -> Result<(), CommandError> {
        self.flush()
    }
}

/// Returns whether a terminal is to get colours: <https://no-color.org>, and no terminal that
/// cannot show them.
fn wants_colors(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let is_refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_refused && variable("TERM").is_some_and(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_can_be_refused() {
        let wanted = |variables: &[(&str, &str)]| {
            wants_colors(|name| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| value.into())
            })
        };
        assert!(wanted(&[("TERM", "xterm")]));
        assert!(wanted(&[("TERM", "xterm"), ("NO_COLOR", "")]));
        assert!(!wanted(&[("TERM", "xterm"), ("NO_COLOR", "1")]));
        assert!(!wanted(&[("TERM", "dumb")]));
        assert!(!wanted(&[]));
    }

    #[test]
    fn one_is_not_several() {
        assert_eq!(counted(0, "change"), "0 changes");
        assert_eq!(counted(1, "uncommitted change"), "1 uncommitted change");
    }

    #[test]
    fn times_outside_the_calendar_are_seconds() {
        assert_eq!(
            time(Timestamp { secs: 0, nanos: 5 }),
            "1970-01-01T00:00:00.000000005Z"
        );
        assert_eq!(
            time(Timestamp {
                secs: i64::MAX,
                nanos: 0
            }),
            format!("@{}.000000000", i64::MAX)
        );
    }
}
