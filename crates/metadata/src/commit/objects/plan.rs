//! What the objects of an update mean on the newest version: one change for each name that becomes another one.
//!
//! The objects come as a walk would find them, so one chain of directories from the root down is enough to know.
//! When the plan leaves a directory from which something was removed, it looks whether anything is left there.

use lfsfs_types::limits::PAGE_ENTRIES_MAX;
use lfsfs_types::{DirId, Kind, Name, Record, Timestamp};

use super::{ObjectState, SEPARATOR, refused, usual};
use crate::commit::{Change, CommitSession};
use crate::error::Result;
use crate::metadata::SCAN_PAGE;
use crate::view::View;

/// The changes of an update.
pub(super) struct Plan<'a> {
    newest: View<'a>,
    session: &'a mut CommitSession,
    /// What is not staged yet.
    changes: Vec<Change>,
    /// The directories from the root down to where the plan is.
    chain: Vec<Level>,
    /// The object that came last, if it is one that takes the place of all that lies below its path.
    file: Option<Vec<u8>>,
    next_dir: u64,
}

/// A directory of the chain.
#[derive(Debug)]
struct Level {
    /// What the keys begin with of all that lies in it.
    prefix: Vec<u8>,
    dir: DirId,
    /// Its name in the level above; none for the root.
    name: Option<Name>,
    /// Whether it stays in any case: it gets an entry, or the update has its marker.
    stays: bool,
    /// Whether entries of it are removed.
    loses: bool,
}

/// Whether a directory that is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make(Timestamp),
    Skip,
}

impl<'a> Plan<'a> {
    pub(super) fn new(newest: View<'a>, session: &'a mut CommitSession) -> Self {
        let root = Level {
            prefix: Vec::new(),
            dir: DirId::ROOT,
            name: None,
            stays: true,
            loses: false,
        };
        Self {
            newest,
            session,
            changes: Vec::new(),
            chain: vec![root],
            file: None,
            next_dir: DirId::SESSION_FIRST.0,
        }
    }

    /// Stages what becomes of all objects.
    pub(super) fn make(
        mut self,
        objects: impl Iterator<Item = Result<(Vec<u8>, ObjectState)>>,
    ) -> Result<()> {
        for object in objects {
            let (key, state) = object?;
            self.take(&key, state)?;
        }
        while self.chain.len() > 1 {
            self.leave()?;
        }
        self.flush()
    }

    fn take(&mut self, key: &[u8], state: ObjectState) -> Result<()> {
        let missing = match &state {
            ObjectState::Removed => Missing::Skip,
            ObjectState::Told(record) => Missing::Make(record.mtime),
            ObjectState::Kind(_, time) => Missing::Make(*time),
        };
        let is_below_file = self
            .file
            .as_ref()
            .is_some_and(|file| key.strip_prefix(&file[..]).is_some_and(is_below));
        if is_below_file {
            return match missing {
                // It went with the directory whose place the file takes.
                Missing::Skip => Ok(()),
                Missing::Make(_) => Err(refused(key, "something above it is to be no directory")),
            };
        }
        let (above, last) = match key.strip_suffix(&[SEPARATOR]) {
            Some(_) => (key, None),
            None => {
                let start = key.iter().rposition(|byte| *byte == SEPARATOR);
                let (above, last) = key.split_at(start.map_or(0, |start| start + 1));
                (above, Some(last))
            }
        };
        while !above.starts_with(&self.top().prefix) {
            self.leave()?;
        }
        if let Some(last) = last {
            if self.enter(above, missing)? {
                self.take_entry(key, name(last, key)?, state)?;
            }
            return Ok(());
        }
        self.take_marker(above, missing, state)
    }

    fn top(&mut self) -> &mut Level {
        self.chain.last_mut().expect("the root stays to the end")
    }

    /// Goes down to the directory of a key. Returns false if it is not there and not made.
    fn enter(&mut self, prefix: &[u8], missing: Missing) -> Result<bool> {
        loop {
            let depth = self.top().prefix.len();
            let rest = &prefix[depth..];
            let Some(len) = rest.iter().position(|byte| *byte == SEPARATOR) else {
                return Ok(true);
            };
            let name = name(&rest[..len], prefix)?;
            let known = self.known(&name)?.map(|record| record.kind);
            let (dir, is_new) = match (known, missing) {
                (Some(Kind::Directory { dir }), _) => (dir, false),
                (_, Missing::Skip) => return Ok(false),
                (_, Missing::Make(time)) => (self.make_directory(&name, time), true),
            };
            self.chain.push(Level {
                prefix: prefix[..=depth + len].to_vec(),
                dir,
                name: Some(name),
                stays: is_new,
                loses: false,
            });
            self.flush_if_many()?;
        }
    }

    /// Returns what the newest version has under a name of the last directory of the chain.
    fn known(&mut self, name: &Name) -> Result<Option<Record>> {
        let dir = self.top().dir;
        if dir.is_session() {
            return Ok(None);
        }
        self.newest.state(dir, Some(name))
    }

    fn make_directory(&mut self, name: &Name, time: Timestamp) -> DirId {
        let dir = DirId(self.next_dir);
        self.next_dir += 1;
        let record = usual(Kind::Directory { dir }, time);
        self.put(name.clone(), Some(record));
        dir
    }

    /// Notes what a name of the last directory of the chain becomes.
    fn put(&mut self, name: Name, state: Option<Record>) {
        let top = self.top();
        match state {
            Some(_) => top.stays = true,
            None => top.loses = true,
        }
        let (dir, name) = (top.dir, Some(name));
        self.changes.push(Change { dir, name, state });
    }

    /// Takes an object that is no marker.
    fn take_entry(&mut self, key: &[u8], name: Name, state: ObjectState) -> Result<()> {
        let known = self.known(&name)?;
        let record = match state {
            ObjectState::Removed => {
                // A directory is no object of this path.
                if known.is_some_and(|known| !known.kind.is_directory()) {
                    self.put(name, None);
                }
                return self.flush_if_many();
            }
            ObjectState::Told(record) => record,
            ObjectState::Kind(kind, time) => with_attributes(known.as_ref(), kind, time),
        };
        self.file = Some(key.to_vec());
        if known.is_none_or(|known| !known.same_state(&record)) {
            self.put(name, Some(record));
        }
        self.flush_if_many()
    }

    fn take_marker(&mut self, key: &[u8], missing: Missing, state: ObjectState) -> Result<()> {
        if !self.enter(key, missing)? {
            return Ok(());
        }
        let told = match state {
            ObjectState::Removed => {
                // It goes unless something is in it.
                self.top().loses = true;
                return Ok(());
            }
            ObjectState::Told(record) => Some(record),
            ObjectState::Kind(..) => None,
        };
        self.top().stays = true;
        let Some(told) = told else {
            return Ok(());
        };
        let level = self.chain.pop().expect("a marker has a level");
        if let Some(name) = level.name.clone() {
            let record = Record {
                kind: Kind::Directory { dir: level.dir },
                ..told
            };
            let known = self.known(&name)?;
            if known.is_none_or(|known| !known.same_state(&record)) {
                let stays = self.top().stays;
                self.put(name, Some(record));
                self.top().stays = stays || level.dir.is_session();
            }
        }
        self.chain.push(level);
        self.flush_if_many()
    }

    /// Leaves the last directory of the chain, and removes it if nothing is left in it.
    fn leave(&mut self) -> Result<()> {
        let Some(level) = self.chain.pop() else {
            return Ok(());
        };
        if level.loses
            && !level.stays
            && self.is_emptied(level.dir)?
            && let Some(name) = level.name
        {
            self.put(name, None);
        }
        Ok(())
    }

    /// Returns true if all entries of a directory of the newest version are removed.
    fn is_emptied(&mut self, dir: DirId) -> Result<bool> {
        self.flush()?;
        let mut after = None;
        loop {
            let (entries, more) =
                self.newest
                    .entries(dir, after.as_ref(), PAGE_ENTRIES_MAX.min(SCAN_PAGE))?;
            after = entries.last().map(|(name, _)| name.clone());
            for (name, _) in entries {
                let staged = self.session.staging().get(dir, Some(&name))?;
                if staged.is_none_or(|staged| staged.state.is_some()) {
                    return Ok(false);
                }
            }
            if !more {
                return Ok(true);
            }
        }
    }

    fn flush_if_many(&mut self) -> Result<()> {
        if self.changes.len() < SCAN_PAGE {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        self.session.stage(changes)
    }
}

/// Returns true for what is left of a key in or below a directory.
fn is_below(rest: &[u8]) -> bool {
    rest.first() == Some(&SEPARATOR)
}

fn name(bytes: &[u8], key: &[u8]) -> Result<Name> {
    Name::new(bytes).map_err(|_| refused(key, "it is no path"))
}

/// Returns a record of a kind with the attributes of what is there, if that is of the same kind.
fn with_attributes(known: Option<&Record>, kind: Kind, time: Timestamp) -> Record {
    let usual = usual(kind, time);
    match known.filter(|known| known.kind.tag() == usual.kind.tag()) {
        Some(known) => Record {
            mode: known.mode,
            uid: known.uid,
            gid: known.gid,
            xattrs: known.xattrs.clone(),
            ..usual
        },
        None => usual,
    }
}
