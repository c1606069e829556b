//! All wanted objects of a version, in the order of their paths.
//!
//! The names of a directory come in their own order. That of paths is another one: `a.c` lies before `a/b`, since a
//! dot is below a slash. So a directory waits until no name is left that comes before its marker. Those that wait
//! begin with each other's names, which are never many.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use lfsfs_types::limits::NAME_LEN_MAX;
use lfsfs_types::{DirId, Kind, Name, Record};

use super::selection::{Names, Wanted};
use super::{ObjectSink, Selection, VersionedObject};
use crate::error::Result;
use crate::view::View;

/// Entries that are read at once.
const PAGE: usize = 128;
/// Directories, from the root down, whose pages stay while something below them is listed.
const PAGES_KEPT: usize = 32;

/// Tells the wanted objects of a version.
pub(super) fn walk(
    view: View<'_>,
    selection: &Selection,
    sink: ObjectSink<'_>,
) -> Result<ControlFlow<()>> {
    let mut walk = Walk {
        view,
        selection,
        levels: Vec::new(),
    };
    walk.enter(DirId::ROOT, Vec::new());
    walk.run(sink)
}

struct Walk<'a> {
    view: View<'a>,
    selection: &'a Selection,
    /// The directories that are listed, from the root down.
    levels: Vec<Level>,
}

impl Walk<'_> {
    fn run(&mut self, sink: ObjectSink<'_>) -> Result<ControlFlow<()>> {
        while let Some(level) = self.levels.last_mut() {
            let found = match level.next(self.view)? {
                None => {
                    self.levels.pop();
                    continue;
                }
                Some(Step::Object(path, record)) => Some((path, record)),
                Some(Step::Directory(marker, dir, record)) => {
                    self.look_into(marker, dir, record)?
                }
            };
            if let Some((path, record)) = found
                && self.selection.wants(&path)
            {
                let record = Some(record);
                if sink(VersionedObject { path, record }).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Goes on in a directory, or returns its marker if it is empty.
    fn look_into(
        &mut self,
        marker: Vec<u8>,
        dir: DirId,
        record: Record,
    ) -> Result<Option<(Vec<u8>, Record)>> {
        if self.selection.wants(&marker) && is_empty(self.view, dir)? {
            return Ok(Some((marker, record)));
        }
        self.enter(dir, marker);
        Ok(None)
    }

    /// Begins to list a directory, if something of it can be wanted.
    fn enter(&mut self, dir: DirId, marker: Vec<u8>) {
        let names = match self.selection.wanted_in(&marker) {
            Wanted::All => vec![Names::Beginning(Vec::new())],
            Wanted::Some(names) => names,
        };
        if names.is_empty() {
            return;
        }
        if self.levels.len() > PAGES_KEPT
            && let Some(above) = self.levels.last_mut()
        {
            above.forget_page();
        }
        self.levels.push(Level {
            dir,
            marker,
            names: names.into(),
            last: None,
            more: true,
            page: VecDeque::new(),
            waiting: BTreeMap::new(),
        });
    }
}

/// Returns true if a directory of a version has no entry.
pub(super) fn is_empty(view: View<'_>, dir: DirId) -> Result<bool> {
    let (entries, _) = view.entries(dir, None, 1)?;
    Ok(entries.is_empty())
}

/// What comes next of a directory.
enum Step {
    Object(Vec<u8>, Record),
    Directory(Vec<u8>, DirId, Record),
}

/// A directory that is listed.
struct Level {
    dir: DirId,
    /// The path of its marker; that of the root is empty.
    marker: Vec<u8>,
    /// What is left to be listed.
    names: VecDeque<Names>,
    /// The last name that was taken of the first of these.
    last: Option<Name>,
    /// Whether there may be more of it behind the page.
    more: bool,
    page: VecDeque<(Name, Record)>,
    /// Directories that wait for names which come before them, by the path of their markers.
    waiting: BTreeMap<Vec<u8>, (DirId, Record)>,
}

impl Level {
    fn next(&mut self, view: View<'_>) -> Result<Option<Step>> {
        loop {
            self.fill(view)?;
            let next = self.page.front().map(|(name, _)| self.path(name));
            if let Some(first) = self.waiting.first_entry()
                && next.as_ref().is_none_or(|next| first.key() < next)
            {
                let (marker, (dir, record)) = first.remove_entry();
                return Ok(Some(Step::Directory(marker, dir, record)));
            }
            let (Some(mut path), Some((name, record))) = (next, self.page.pop_front()) else {
                return Ok(None);
            };
            self.last = Some(name);
            let Kind::Directory { dir } = record.kind else {
                return Ok(Some(Step::Object(path, record)));
            };
            path.push(b'/');
            self.waiting.insert(path, (dir, record));
        }
    }

    fn path(&self, name: &Name) -> Vec<u8> {
        [&self.marker, name.as_bytes()].concat()
    }

    /// Reads on until there is an entry or nothing is left.
    fn fill(&mut self, view: View<'_>) -> Result<()> {
        while self.page.is_empty() {
            match self.names.front() {
                None => return Ok(()),
                Some(_) if !self.more => self.finish_first(),
                Some(Names::One(bytes)) => {
                    // What no entry can be called is not there.
                    if let Ok(name) = Name::new(bytes)
                        && let Some(record) = view.state(self.dir, Some(&name))?
                    {
                        self.page.push_back((name, record));
                    }
                    self.more = false;
                }
                Some(Names::Beginning(bytes)) => {
                    let after = self.last.clone().or_else(|| name_before(bytes));
                    let (entries, more) = view.entries(self.dir, after.as_ref(), PAGE)?;
                    let is_behind = |name: &Name| {
                        name.as_bytes() > bytes.as_slice() && !name.as_bytes().starts_with(bytes)
                    };
                    let ends = entries.last().is_some_and(|(name, _)| is_behind(name));
                    self.more = more && !ends;
                    self.last = entries.last().map(|(name, _)| name.clone()).or(after);
                    let wanted = entries.into_iter();
                    self.page = wanted
                        .filter(|(name, _)| name.as_bytes().starts_with(bytes))
                        .collect();
                }
            }
        }
        Ok(())
    }

    /// Goes on with the next names.
    fn finish_first(&mut self) {
        self.names.pop_front();
        self.last = None;
        self.more = true;
    }

    /// Drops what was read and not taken. It is read again.
    fn forget_page(&mut self) {
        if !self.page.is_empty() && matches!(self.names.front(), Some(Names::Beginning(_))) {
            self.page.clear();
            self.more = true;
        }
    }
}

/// Returns the last name that lies before all that begin so; none where that cannot be told, and those before are
/// read too.
fn name_before(bytes: &[u8]) -> Option<Name> {
    let (last, begin) = bytes.split_last()?;
    let mut name = begin.to_vec();
    match last {
        0 | 1 => {}
        // No name has a slash.
        b'0' => name.push(b'.'),
        last => name.push(last - 1),
    }
    if name.len() > begin.len() {
        name.resize(NAME_LEN_MAX.max(name.len()), u8::MAX);
    }
    Name::new(&name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_before_a_beginning_lies_before_all_names_that_have_it() {
        let last = |begin: &str| {
            let mut name = begin.as_bytes().to_vec();
            name.resize(NAME_LEN_MAX, u8::MAX);
            Some(Name::new(&name).unwrap())
        };
        assert_eq!(name_before(b""), None);
        assert_eq!(name_before(b"."), last("-"));
        assert_eq!(name_before(b"0"), last("."));
        assert_eq!(name_before(b"ab"), last("aa"));
        assert_eq!(name_before(b"a\x01"), Some(Name::new(b"a").unwrap()));
        assert_eq!(name_before(&[b'a'; 300]), None);
    }
}
