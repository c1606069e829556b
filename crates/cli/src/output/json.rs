//! JSON as this program writes it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

use super::text::is_unsafe;

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

/// Writes a value on one line.
pub(super) fn write(out: &mut impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, Safe))
}

/// Escapes what JSON may hold as it is, but a terminal would obey.
struct Safe;

impl Formatter for Safe {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (plain, found) = rest.split_at(at);
            CompactFormatter.write_string_fragment(writer, plain)?;
            let c = found.chars().next().unwrap_or_default();
            // All of them are below U+10000.
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &found[c.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_finds_nothing_to_obey_and_a_program_reads_what_was_written() {
        let value = "a\x1b[31m\u{9b}\u{7f}\u{202e}ü\"\n";
        let mut out = Vec::new();
        write(&mut out, &value).expect("JSON");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, r#""a\u001b[31m\u009b\u007f\u202eü\"\n""#);
        assert_eq!(serde_json::from_str::<String>(&text).expect("JSON"), value);
    }
}
