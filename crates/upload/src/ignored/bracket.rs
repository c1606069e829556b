//! What stands in brackets in a pattern.

/// Bytes.
#[derive(Debug, Clone)]
pub(super) struct Set([bool; 256]);

impl Set {
    /// Every byte that a name can have.
    pub(super) const ANY_OF_NAME: Self = {
        let mut set = [true; 256];
        set[b'/' as usize] = false;
        Self(set)
    };

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    fn add(&mut self, bytes: impl IntoIterator<Item = u8>) {
        bytes
            .into_iter()
            .for_each(|byte| self.0[usize::from(byte)] = true);
    }

    fn invert(&mut self) {
        self.0.iter_mut().for_each(|it| *it = !*it);
    }
}

const UNCLOSED: &str = "a bracket is not closed";

/// Reads what begins with a bracket, and returns how long it is. No set has a slash.
pub(super) fn read_bracket(text: &[u8]) -> Result<(Set, usize), &'static str> {
    let mut set = Set([false; 256]);
    let is_negated = matches!(text.get(1), Some(b'!' | b'^'));
    let first = 1 + usize::from(is_negated);
    let mut at = first;
    // What a range begins with, if a hyphen follows.
    let mut before = None;
    loop {
        match (text.get(at).ok_or(UNCLOSED)?, before) {
            // In the first place a closing bracket is one of the bytes.
            (b']', _) if at > first => break,
            (b'-', Some(from)) if text.get(at + 1).is_some_and(|byte| *byte != b']') => {
                let (to, len) = read_byte(&text[at + 1..])?;
                set.add(from..=to);
                before = None;
                at += 1 + len;
            }
            (b'[', _) if text[at..].starts_with(b"[:") => {
                let len = text[at + 2..].iter().position(|it| *it == b']');
                let name = &text[at + 2..][..len.ok_or(UNCLOSED)?];
                match name.strip_suffix(b":") {
                    Some(class) => {
                        set.add((0..128).filter(class_named(class)?));
                        before = None;
                        at += 2 + name.len() + 1;
                    }
                    None => {
                        set.add([b'[']);
                        before = Some(b'[');
                        at += 1;
                    }
                }
            }
            _ => {
                let (byte, len) = read_byte(&text[at..])?;
                set.add([byte]);
                before = Some(byte);
                at += len;
            }
        }
    }
    if is_negated {
        set.invert();
    }
    set.0[usize::from(b'/')] = false;
    Ok((set, at + 1))
}

/// Reads one byte, which a backslash may stand before, and returns how long that is.
fn read_byte(text: &[u8]) -> Result<(u8, usize), &'static str> {
    match text {
        [b'\\', byte, ..] => Ok((*byte, 2)),
        [b'\\'] | [] => Err(UNCLOSED),
        [byte, ..] => Ok((*byte, 1)),
    }
}

fn class_named(name: &[u8]) -> Result<fn(&u8) -> bool, &'static str> {
    Ok(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return Err("a class in brackets has an unknown name"),
    })
}
