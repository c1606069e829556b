//! One pattern of gitignore(5), with the meaning that git gives it.
//!
//! Bytes are compared, as git does, so names of any encoding are. A path is followed through all ways to match it
//! at once: no pattern takes more than its length times that of the path.

use super::bracket::{Set, read_bracket};

/// A pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    /// Whether what matches is not ignored.
    pub(super) is_negated: bool,
    /// Whether only directories match.
    is_directory_only: bool,
    /// Whether it is compared with the whole path, not with the last name.
    is_of_path: bool,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    /// These bytes.
    Whole(Vec<u8>),
    /// Anything that ends with these bytes.
    End(Vec<u8>),
    Steps(Vec<Step>),
}

/// One step of a match.
#[derive(Debug, Clone)]
enum Step {
    Byte(u8),
    /// One byte of a set, which has no slash.
    Set(Box<Set>),
    /// Any bytes but slashes.
    Name,
    /// Any bytes.
    Path,
    /// The next two steps, or none of them.
    Perhaps,
}

impl Pattern {
    /// Reads a line without its end. `None` is a line that says nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with a pattern that can never match.
    pub(super) fn read(line: &[u8]) -> Result<Option<Self>, &'static str> {
        if line.first() == Some(&b'#') {
            return Ok(None);
        }
        let text = without_spaces(line);
        let (is_negated, text) = match text.strip_prefix(b"!") {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (is_directory_only, text) = match text.strip_suffix(b"/") {
            Some(text) => (true, text),
            None => (false, text),
        };
        if text.is_empty() {
            return Ok(None);
        }
        let is_of_path = text.contains(&b'/');
        Ok(Some(Self {
            is_negated,
            is_directory_only,
            is_of_path,
            matcher: Matcher::read(text.strip_prefix(b"/").unwrap_or(text))?,
        }))
    }

    /// Returns true if a path matches, from the directory of the pattern.
    pub(super) fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.is_directory_only && !is_directory {
            return false;
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        self.matcher
            .matches(if self.is_of_path { path } else { name })
    }
}

impl Matcher {
    fn read(text: &[u8]) -> Result<Self, &'static str> {
        let is_plain = |text: &[u8]| !text.iter().any(|byte| b"*?[\\".contains(byte));
        if is_plain(text) {
            return Ok(Self::Whole(text.to_vec()));
        }
        match text.strip_prefix(b"*") {
            Some(end) if is_plain(end) && !text.contains(&b'/') => Ok(Self::End(end.to_vec())),
            _ => read_steps(text).map(Self::Steps),
        }
    }

    fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Whole(whole) => whole == text,
            Self::End(end) => text.ends_with(end),
            Self::Steps(steps) => follow(steps, text),
        }
    }
}

/// Returns a line without the spaces at its end, unless a backslash keeps one.
fn without_spaces(line: &[u8]) -> &[u8] {
    let mut len = 0;
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        at += if *byte == b'\\' { 2 } else { 1 };
        if *byte != b' ' {
            len = at.min(line.len());
        }
    }
    &line[..len]
}

fn read_steps(text: &[u8]) -> Result<Vec<Step>, &'static str> {
    let mut steps = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => {
                let escaped = text.get(at + 1).ok_or("it ends with a backslash")?;
                steps.push(Step::Byte(*escaped));
                at += 2;
            }
            b'?' => {
                steps.push(Step::Set(Box::new(Set::ANY_OF_NAME)));
                at += 1;
            }
            b'[' => {
                let (set, len) = read_bracket(&text[at..])?;
                steps.push(Step::Set(Box::new(set)));
                at += len;
            }
            b'*' => at = read_stars(text, at, &mut steps),
            byte => {
                steps.push(Step::Byte(*byte));
                at += 1;
            }
        }
    }
    Ok(steps)
}

/// Reads what begins with a star, and returns where the rest begins.
fn read_stars(text: &[u8], from: usize, steps: &mut Vec<Step>) -> usize {
    let count = text[from..].iter().take_while(|it| **it == b'*').count();
    let to = from + count;
    let is_first = from == 0 || text[from - 1] == b'/';
    let is_last = to == text.len() || text[to..].starts_with(b"\\/");
    if count == 1 || !is_first || !(is_last || text[to] == b'/') {
        steps.push(Step::Name);
        return to;
    }
    if is_last {
        steps.push(Step::Path);
        return to;
    }
    steps.extend([Step::Perhaps, Step::Path, Step::Byte(b'/')]);
    to + 1
}

fn follow(steps: &[Step], text: &[u8]) -> bool {
    let mut now = vec![false; steps.len() + 1];
    let mut next = now.clone();
    reach(steps, 0, &mut now);
    for byte in text {
        next.fill(false);
        for (index, step) in steps.iter().enumerate().filter(|(index, _)| now[*index]) {
            match step {
                Step::Byte(wanted) if wanted == byte => reach(steps, index + 1, &mut next),
                Step::Set(set) if set.has(*byte) => reach(steps, index + 1, &mut next),
                Step::Name if *byte != b'/' => reach(steps, index, &mut next),
                Step::Path => reach(steps, index, &mut next),
                Step::Byte(_) | Step::Set(_) | Step::Name | Step::Perhaps => {}
            }
        }
        std::mem::swap(&mut now, &mut next);
        if !now.contains(&true) {
            return false;
        }
    }
    now[steps.len()]
}

/// Notes a step as reached, with those that follow it without a byte.
fn reach(steps: &[Step], from: usize, reached: &mut [bool]) {
    let mut at = from;
    while !reached[at] {
        reached[at] = true;
        match steps.get(at) {
            Some(Step::Name | Step::Path) => at += 1,
            Some(Step::Perhaps) => {
                reach(steps, at + 3, reached);
                at += 1;
            }
            Some(Step::Byte(_) | Step::Set(_)) | None => {}
        }
    }
}
