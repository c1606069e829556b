//! What goes to stdout: quoted paths, times, sizes, JSON.

use std::io::{self, StdoutLock, Write};

use lfsfs_types::Timestamp;
use serde::Serialize;

use crate::error::CommandError;

/// Returns bytes as text: as they are if that is safe to show, else in quotes with C escapes, as
/// git does.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let is_plain = |c: char| !c.is_control() && !matches!(c, '"' | '\\');
    match str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_plain) => text.to_owned(),
        _ => format!(
            "\"{}\"",
            bytes.iter().map(|byte| escaped(*byte)).collect::<String>()
        ),
    }
}

fn escaped(byte: u8) -> String {
    match byte {
        b'\n' => "\\n".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'"' => "\\\"".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

/// Returns a time as RFC 3339, or as seconds where the calendar ends.
pub(crate) fn time(time: Timestamp) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    jiff::Timestamp::new(time.secs, nanos).map_or_else(
        |_| format!("@{}.{:09}", time.secs, time.nanos),
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

/// A path in JSON: always as text, and in hexadecimal where the text is not the whole truth.
#[derive(Debug, Serialize)]
pub(crate) struct JsonPath {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl JsonPath {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            path: String::from_utf8_lossy(bytes).into_owned(),
            path_hex: hex_unless_text(bytes),
        }
    }
}

/// Returns bytes in hexadecimal, unless they are text.
pub(crate) fn hex_unless_text(bytes: &[u8]) -> Option<String> {
    let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    str::from_utf8(bytes).is_err().then(hex)
}

/// How paths are ended and shown in lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathStyle {
    /// Quoted where needed, a line each.
    Lines,
    /// As they are, ended by NUL.
    Nul,
}

/// Standard output. A reader that went away ends the command without complaint.
#[derive(Debug)]
pub(crate) struct Output {
    out: io::BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            out: io::BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
        }
    }

    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> Result<(), CommandError> {
        Ok(writeln!(self.out, "{}", text.as_ref())?)
    }

    /// Writes one JSON object on a line of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        serde_json::to_writer(&mut self.out, value)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// Writes a path behind what stands before it in its line.
    pub(crate) fn path(
        &mut self,
        before: &str,
        bytes: &[u8],
        style: PathStyle,
    ) -> Result<(), CommandError> {
        match style {
            PathStyle::Lines => self.line(format!("{before}{}", quoted(bytes))),
            PathStyle::Nul => {
                self.bytes(before.as_bytes())?;
                self.bytes(bytes)?;
                self.bytes(b"\0")
            }
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        Ok(self.out.write_all(bytes)?)
    }

    /// Hands everything to the reader.
    pub(crate) fn finish(mut self) -> Result<(), CommandError> {
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unsafe_to_show_is_quoted() {
        assert_eq!(quoted("päckage/a b".as_bytes()), "päckage/a b");
        assert_eq!(quoted(b"a\nb\x1b\"\\\xff"), r#""a\nb\033\"\\\377""#);
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
