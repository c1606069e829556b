//! Cloning: the tree of a version of one project becomes the newest version of another project.
//!
//! Contents belong to no project, so that only rows are written: one for each name that differs between the
//! version and the newest one of the other project. Both trees are walked side by side, in the order of
//! their names. Directories and hard links that both have at the same place keep the ids that they have in
//! the other project; for those that are new there the commit makes ids.

use std::collections::{HashMap, HashSet};

use lfsfs_types::{
    DirId, Kind, Link, LinkId, Name, Origin, ProjectId, Record, VersionId, VersionNumber,
};

use super::{Change, CommitParams, CommitSession, Mode, Published};
use crate::error::Result;
use crate::metadata::{Metadata, SCAN_PAGE};
use crate::view::View;

/// What a clone is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloneParams {
    /// The project that gets the version.
    pub project: ProjectId,
    /// The project whose version is cloned.
    pub source: ProjectId,
    /// That version.
    pub from: VersionNumber,
    /// The random id of the version to be; the same one again is answered with that version.
    pub version: VersionId,
    /// The author.
    pub author: String,
    /// The message: why it is made.
    pub message: String,
}

impl Metadata {
    /// Publishes a version that has the tree of a version of another project.
    ///
    /// What the project had before stays in its earlier versions. If its newest one has that tree already, there
    /// is no new one.
    pub fn clone_version(&self, params: &CloneParams) -> Result<Published> {
        let _reading = self.reading();
        let from = self.view(params.source, params.from)?;
        let commit = |base| CommitParams {
            project: params.project,
            base,
            version: params.version,
            origin: Origin::Clone(params.source, params.from),
            author: params.author.clone(),
            message: params.message.clone(),
            force: false,
            ignore_times: false,
        };
        self.publish_on_newest(params.project, Mode::Clone, commit, |session, onto| {
            Cloning::new(from, onto, session).run()
        })
    }
}

/// Two directories at the same place of the two trees.
struct Pair {
    /// That of the version that is cloned.
    from: DirId,
    /// That of the project, if it has one there.
    onto: Option<DirId>,
    /// Its id in the version to be.
    made: DirId,
}

/// A walk through both trees that stages what differs.
struct Cloning<'a> {
    from: View<'a>,
    onto: View<'a>,
    session: &'a mut CommitSession,
    changes: Vec<Change>,
    left: Vec<Pair>,
    dirs_made: u64,
    links: Links,
}

impl<'a> Cloning<'a> {
    fn new(from: View<'a>, onto: View<'a>, session: &'a mut CommitSession) -> Self {
        Self {
            from,
            onto,
            session,
            changes: Vec::new(),
            left: Vec::new(),
            dirs_made: 0,
            links: Links::default(),
        }
    }

    fn run(mut self) -> Result<()> {
        let (root, before) = (self.from.root()?, self.onto.root()?);
        if root != before {
            self.stage(DirId::ABOVE_ROOT, None, Some(root))?;
        }
        self.left.push(Pair {
            from: DirId::ROOT,
            onto: Some(DirId::ROOT),
            made: DirId::ROOT,
        });
        while let Some(pair) = self.left.pop() {
            self.directory(&pair)?;
        }
        self.session.stage(self.changes)
    }

    /// Compares the entries of two directories, which both come in the order of their names.
    fn directory(&mut self, pair: &Pair) -> Result<()> {
        let mut from = Entries::of(self.from, Some(pair.from));
        let mut onto = Entries::of(self.onto, pair.onto);
        let (mut new, mut old) = (from.next()?, onto.next()?);
        loop {
            let order = match (&new, &old) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((new, _)), Some((old, _))) => new.cmp(old),
            };
            let taken_old = if order.is_ge() { old.take() } else { None };
            let taken_new = if order.is_le() { new.take() } else { None };
            match (taken_new, taken_old) {
                (Some((name, record)), before) => {
                    self.entry(pair.made, name, record, before.map(|(_, record)| record))?;
                }
                (None, Some((name, _))) => self.stage(pair.made, Some(name), None)?,
                (None, None) => {}
            }
            if order.is_le() {
                new = from.next()?;
            }
            if order.is_ge() {
                old = onto.next()?;
            }
        }
    }

    /// Stages a name of the version, unless the project has it just so.
    fn entry(
        &mut self,
        dir: DirId,
        name: Name,
        mut record: Record,
        before: Option<Record>,
    ) -> Result<()> {
        if let Kind::Directory { dir: from } = record.kind {
            let onto = before.as_ref().and_then(Record::dir);
            let made = onto.unwrap_or_else(|| self.new_dir());
            record.kind = Kind::Directory { dir: made };
            self.left.push(Pair { from, onto, made });
        }
        record.link = record
            .link
            .map(|link| self.links.in_project(link, before.as_ref()));
        if before.as_ref() == Some(&record) {
            return Ok(());
        }
        self.stage(dir, Some(name), Some(record))
    }

    fn new_dir(&mut self) -> DirId {
        let made = DirId(DirId::SESSION_FIRST.0 + self.dirs_made);
        self.dirs_made += 1;
        made
    }

    fn stage(&mut self, dir: DirId, name: Option<Name>, state: Option<Record>) -> Result<()> {
        self.changes.push(Change { dir, name, state });
        if self.changes.len() >= SCAN_PAGE {
            self.session.stage(std::mem::take(&mut self.changes))?;
        }
        Ok(())
    }
}

/// Which hard link of the project each one of the version is.
#[derive(Debug, Default)]
struct Links {
    known: HashMap<LinkId, LinkId>,
    /// Links that the project has, and that stand for one of the version.
    taken: HashSet<LinkId>,
    made: u64,
}

impl Links {
    /// Returns a link as the project has it: the one that is at this name now, where no other link of the
    /// version has that, else a new one.
    fn in_project(&mut self, link: Link, before: Option<&Record>) -> Link {
        let id = match self.known.get(&link.id) {
            Some(known) => *known,
            None => self.first_seen(link.id, before),
        };
        Link { id, ..link }
    }

    fn first_seen(&mut self, link: LinkId, before: Option<&Record>) -> LinkId {
        let there = before.and_then(|record| record.link).map(|link| link.id);
        let id = match there.filter(|there| self.taken.insert(*there)) {
            Some(there) => there,
            None => {
                self.made += 1;
                LinkId(LinkId::SESSION_FIRST.0 + self.made)
            }
        };
        self.known.insert(link, id);
        id
    }
}

/// The entries of a directory, page by page.
struct Entries<'a> {
    view: View<'a>,
    dir: DirId,
    page: std::vec::IntoIter<(Name, Record)>,
    last: Option<Name>,
    more: bool,
}

impl<'a> Entries<'a> {
    /// Without a directory there are none.
    fn of(view: View<'a>, dir: Option<DirId>) -> Self {
        Self {
            view,
            dir: dir.unwrap_or(DirId::ROOT),
            page: Vec::new().into_iter(),
            last: None,
            more: dir.is_some(),
        }
    }

    fn next(&mut self) -> Result<Option<(Name, Record)>> {
        if self.page.len() == 0 && self.more {
            let (entries, more) = self.view.entries(self.dir, self.last.as_ref(), SCAN_PAGE)?;
            self.last = entries.last().map(|(name, _)| name.clone());
            self.more = more && self.last.is_some();
            self.page = entries.into_iter();
        }
        Ok(self.page.next())
    }
}
