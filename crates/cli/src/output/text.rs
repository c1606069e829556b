//! Text that others wrote, made safe to show: a terminal obeys control characters, and a line feed
//! would make a line that looks like one of this program.

use std::borrow::Cow;

/// Returns text in which each character that a terminal would obey is a C escape.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            push_escaped(&mut escaped, c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Returns bytes as text: as they are if that is safe to show, else in quotes with C escapes, as
/// git does.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let is_plain = |c: char| !is_unsafe(c) && !matches!(c, '"' | '\\');
    match str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_plain) => text.to_owned(),
        _ => {
            let mut text = String::from("\"");
            push_escaped(&mut text, bytes);
            text.push('"');
            text
        }
    }
}

/// Returns true for control characters, and for those that turn the direction of the text or begin
/// a new line in some viewers.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn push_escaped(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\r' => text.push_str("\\r"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unsafe_to_show_is_quoted() {
        assert_eq!(quoted("päckage/a b".as_bytes()), "päckage/a b");
        assert_eq!(quoted(b"a\nb\x1b\"\\\xff"), r#""a\nb\033\"\\\377""#);
        assert_eq!(quoted("a\u{202e}b".as_bytes()), r#""a\342\200\256b""#);
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_nothing_else() {
        assert_eq!(safe("plain \"text\" \\ ü"), "plain \"text\" \\ ü");
        assert_eq!(
            safe("\x1b[31mred\r\nnext\tx\x7f"),
            r"\033[31mred\r\nnext\tx\177"
        );
        // C1: one character that begins an escape sequence.
        assert_eq!(safe("\u{9b}2J"), r"\302\2332J");
        assert_eq!(safe("\u{2028}"), r"\342\200\250");
        assert_eq!(safe(&safe("a\nb")), safe("a\nb"));
    }
}
