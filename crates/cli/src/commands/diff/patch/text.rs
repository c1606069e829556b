//! The text of a patch, as git writes it.

use std::time::Duration;

use lfsfs_types::ObjectPath;
use similar::{ChangeTag, TextDiff};

use super::object::PatchObject;
use crate::error::CommandError;
use crate::output::{Line, Output, Style, quoted};

/// How long the smallest patch of one file is looked for; a larger one is right, too.
const SEARCH_TIME: Duration = Duration::from_secs(2);

/// An object before and after a change.
pub(super) struct Files<'a> {
    pub(super) old_path: &'a ObjectPath,
    pub(super) new_path: &'a ObjectPath,
    pub(super) old: Option<PatchObject>,
    pub(super) new: Option<PatchObject>,
}

impl Files<'_> {
    /// Writes what changed; false if no patch can say it.
    pub(super) fn write(self, out: &mut Output) -> Result<bool, CommandError> {
        match (&self.old, &self.new) {
            (None, None) => return Ok(false),
            (Some(old), Some(new)) if old.is_link() != new.is_link() => {
                // A patch cannot make the one of the other.
                let Self { old, new, .. } = self;
                Files {
                    old,
                    new: None,
                    ..self
                }
                .write_one(out)?;
                Files {
                    old: None,
                    new,
                    ..self
                }
                .write_one(out)?;
            }
            (Some(old), Some(new)) if old.mode == new.mode && old.has_bytes_of(new) => {
                return Ok(false);
            }
            _ => self.write_one(out)?,
        }
        Ok(true)
    }

    fn write_one(&self, out: &mut Output) -> Result<(), CommandError> {
        let (old_name, new_name) = (named("a", self.old_path), named("b", self.new_path));
        let (old, new) = (quoted(&old_name), quoted(&new_name));
        out.line(format!("diff --git {old} {new}"))?;
        self.write_modes(out)?;
        if let (Some(old_object), Some(new_object)) = (&self.old, &self.new)
            && old_object.has_bytes_of(new_object)
        {
            return Ok(());
        }
        let old = self.old.as_ref().map_or("/dev/null".to_owned(), |_| old);
        let new = self.new.as_ref().map_or("/dev/null".to_owned(), |_| new);
        match (text_of(self.old.as_ref()), text_of(self.new.as_ref())) {
            (Some(before), Some(after)) => {
                if before.is_empty() && after.is_empty() {
                    return Ok(());
                }
                out.line(file_line("--- ", &old))?;
                out.line(file_line("+++ ", &new))?;
                write_hunks(before, after, out)
            }
            _ => out.line(format!("Binary files {old} and {new} differ")),
        }
    }

    fn write_modes(&self, out: &mut Output) -> Result<(), CommandError> {
        match (&self.old, &self.new) {
            (None, Some(new)) => out.line(format!("new file mode {}", new.mode))?,
            (Some(old), None) => out.line(format!("deleted file mode {}", old.mode))?,
            (Some(old), Some(new)) if old.mode != new.mode => {
                out.line(format!("old mode {}", old.mode))?;
                out.line(format!("new mode {}", new.mode))?;
            }
            _ => {}
        }
        if self.old_path != self.new_path {
            let (old, new) = (self.old_path.as_bytes(), self.new_path.as_bytes());
            out.line(format!("rename from {}", quoted(old)))?;
            out.line(format!("rename to {}", quoted(new)))?;
        }
        Ok(())
    }
}

fn named(side: &str, path: &ObjectPath) -> Vec<u8> {
    [side.as_bytes(), b"/", path.as_bytes()].concat()
}

/// What is not there has no bytes.
fn text_of(object: Option<&PatchObject>) -> Option<&[u8]> {
    object.map_or(Some(&[]), PatchObject::text)
}

/// patch(1) takes a name with blanks to its end only if a tab follows.
fn file_line(sign: &str, name: &str) -> Line {
    let line = Line::new().text(format!("{sign}{name}"));
    if name.contains(' ') { line.tab() } else { line }
}

fn write_hunks(before: &[u8], after: &[u8], out: &mut Output) -> Result<(), CommandError> {
    let (before, after) = (lines(before), lines(after));
    let diff = TextDiff::configure()
        .timeout(SEARCH_TIME)
        .diff_slices(&before, &after);
    for hunk in diff.unified_diff().iter_hunks() {
        out.line(Line::new().styled(Style::Renamed, hunk.header().to_string()))?;
        for change in hunk.iter_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Equal => (" ", Style::Plain),
                ChangeTag::Delete => ("-", Style::Removed),
                ChangeTag::Insert => ("+", Style::Added),
            };
            let line = change.value();
            let text = line.strip_suffix(b"\n");
            out.content_line(style, sign, text.unwrap_or(line))?;
            if text.is_none() {
                out.line("\\ No newline at end of file")?;
            }
        }
    }
    Ok(())
}

/// Only a line feed ends a line, for git and for patch(1).
fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}
