//! The plan of a commit: what the staged changes mean on the base they were made on.
//!
//! Planning checks every change against the base and the other changes, gives real ids to what the
//! commit makes, drops what changes nothing, and stages the removal of all that lies below a
//! removed directory. What remains staged is exactly what the version changes. In memory it holds
//! some numbers for each directory that the commit touches; names and records stay in the store.
//!
//! A commit on a base that is not the newest version any more is planned on its base first, made
//! to fit the newest version by [`super::rebase`], and then compared with that one.
//!
//! Times of directories alone make no version; if something else does, they are written with it. A commit
//! that ignores times writes those of directories only where an entry of theirs changes.
//!
//! A directory is *fresh* if it gets a new id, *moved* if it keeps its id at another place, *made
//! again* if one was removed and another made at the same place (it then keeps the old id), and
//! *removed* if it has no place any more.

use std::collections::{BTreeSet, HashMap, HashSet};

use lfsfs_types::limits::PATH_LEN_MAX;
use lfsfs_types::{Aspect, ContentId, DirId, Kind, Link, LinkId, Name, Record, VersionNumber};

use super::Change;
use super::contents::{ContentCheck, Lengths};
use super::lease::Lease;
use super::staging::{Staging, StagingEdits};
use crate::ahead::{PAGE, ReadAhead};
use crate::error::{Refusal, Result};
use crate::keys;
use crate::metadata::Metadata;
use crate::rows::{CountersRow, StagedRow};
use crate::view::View;

/// What publishing must know beside the staged changes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The real id of each directory that the commit makes.
    dirs: HashMap<DirId, DirId>,
    /// The real id of each link that the commit makes.
    links: HashMap<LinkId, LinkId>,
    /// Directories that keep their id at another place.
    pub(super) moved: HashSet<DirId>,
    /// Directories that have no place any more.
    pub(super) removed: HashSet<DirId>,
    /// Directories of which an entry changes, by their real ids.
    pub(super) touched: HashSet<DirId>,
    /// No path of the version is longer.
    pub(super) longest_path: u32,
    /// Where fresh directory ids begin.
    first_fresh: Option<DirId>,
    /// Directories of an older version that get their place back; the newest has none of them.
    given_back: HashSet<DirId>,
}

impl Plan {
    /// Returns the id that a directory has in the version.
    pub(super) fn dir(&self, dir: DirId) -> DirId {
        self.dirs.get(&dir).copied().unwrap_or(dir)
    }

    /// Returns true if the version before does not have this directory.
    pub(super) fn is_fresh(&self, dir: DirId) -> bool {
        self.is_new(dir) || self.given_back.contains(&dir)
    }

    /// Returns true if no version before has this directory.
    pub(super) fn is_new(&self, dir: DirId) -> bool {
        self.first_fresh.is_some_and(|first| dir >= first)
    }

    /// Returns those of the names of some changes that the version before can have, as in keys.
    pub(super) fn names_before(&self, page: &[Change]) -> Vec<(DirId, Vec<u8>)> {
        let real = page.iter().map(|change| (self.dir(change.dir), change));
        let known = real.filter(|(dir, _)| !self.is_fresh(*dir) && !dir.is_session());
        let name = |change: &Change| keys::name_bytes(change.name.as_ref()).to_vec();
        known.map(|(dir, change)| (dir, name(change))).collect()
    }

    /// Makes a directory of the commit stand for one that is there already.
    pub(super) fn unite(&mut self, dir: DirId, with: DirId) {
        self.dirs.insert(dir, with);
    }

    /// Makes a link of the commit stand for one that is there already.
    pub(super) fn unite_link(&mut self, link: LinkId, with: LinkId) {
        self.links.insert(link, with);
    }

    /// Returns the real ids of the directories that the commit made, by those it knew them by.
    pub(super) fn directory_ids(&self) -> &HashMap<DirId, DirId> {
        &self.dirs
    }

    /// Returns the real ids of the links that the commit made, by those it knew them by.
    pub(super) fn link_ids(&self) -> &HashMap<LinkId, LinkId> {
        &self.links
    }

    /// Returns the record with the ids that it has in the version.
    pub(super) fn record(&self, mut record: Record) -> Record {
        if let Kind::Directory { dir } = &mut record.kind {
            *dir = self.dir(*dir);
        }
        record.link = record.link.map(|link| Link {
            id: self.links.get(&link.id).copied().unwrap_or(link.id),
            ..link
        });
        record
    }
}

/// How much two states of one name differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// Only in the times of a directory, which make a row only together with another change.
    DirectoryTimes,
    /// Only in ctime, which makes a row only together with another name of the same link.
    Ctime,
    /// Only in the times of what is no directory.
    Times,
    /// So that a row is written.
    Row,
}

impl Difference {
    pub(super) fn of(old: Option<&Record>, new: Option<&Record>) -> Self {
        let (old, new) = match (old, new) {
            (None, None) => return Self::None,
            (Some(old), Some(new)) => (old, new),
            _ => return Self::Row,
        };
        let differences = old.differences(new);
        // A hash that is not known any more is no reason for a row, one that is known now is.
        let has_new_hash = new.sha256.is_some() && differences.has(Aspect::Sha256);
        if differences.has_any(&Aspect::STATE) || differences.has_any(&Aspect::LINK) || has_new_hash
        {
            return Self::Row;
        }
        match (
            differences.has(Aspect::Mtime),
            differences.has(Aspect::Ctime),
        ) {
            (false, false) => Self::None,
            _ if new.kind.is_directory() => Self::DirectoryTimes,
            (false, true) => Self::Ctime,
            (true, _) => Self::Times,
        }
    }
}

/// What planning stands on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) lease: &'a Lease<'a>,
    /// What all views read through.
    pub(super) ahead: &'a ReadAhead,
}

impl<'a> Ground<'a> {
    /// Returns a version of the project, of which the caller knows that it is there.
    pub(super) fn view(&self, version: VersionNumber) -> View<'a> {
        View {
            store: self.ahead,
            packs: &self.lease.metadata.inner.packs,
            project: self.lease.project,
            version,
        }
    }
}

/// The making of a [`Plan`].
pub(super) struct Planner<'a> {
    pub(super) metadata: &'a Metadata,
    /// Renewed while planning goes on.
    lease: &'a Lease<'a>,
    /// What the views read through.
    ahead: &'a ReadAhead,
    /// The version that changes are compared with: the base, at last the newest one.
    pub(super) base: View<'a>,
    /// A version whose directories get their places back.
    source: Option<View<'a>>,
    pub(super) staging: Staging<'a>,
    pub(super) edits: StagingEdits<'a>,
    pub(super) plan: Plan,
    counters: CountersRow,
    /// Where each directory that a change names lies afterwards: the directory above it, as staged,
    /// and the length of its name.
    pub(super) placed: HashMap<DirId, (DirId, usize)>,
    /// Directories made again, with the directory that the commit makes in their place.
    pub(super) made_again: HashMap<DirId, DirId>,
    /// Whether something differs that makes a version.
    pub(super) makes_version: bool,
    /// Whether the changes are made beside those of others, of which the client knew nothing.
    pub(super) is_merged: bool,
    /// Whether changes that change nothing are made, too.
    pub(super) keeps_equal: bool,
    /// Whether what differs in its times alone keeps those that it has.
    pub(super) ignores_times: bool,
    /// Directories that differ in their times alone, where such times are ignored.
    pub(super) times_alone: HashSet<DirId>,
    /// Links that lose a name.
    pub(super) losing: BTreeSet<LinkId>,
    /// Directories that left their old place.
    left: HashSet<DirId>,
    /// Removed directories whose entries are still to be removed.
    pending: Vec<DirId>,
    /// Lengths of the paths of directories, as staged.
    path_lens: HashMap<DirId, usize>,
    /// The longest path of what is staged.
    pub(super) longest_staged: usize,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        ground: Ground<'a>,
        base: View<'a>,
        staging: Staging<'a>,
        counters: CountersRow,
    ) -> Self {
        Self {
            metadata: ground.lease.metadata,
            lease: ground.lease,
            ahead: ground.ahead,
            base,
            source: None,
            staging,
            edits: StagingEdits::new(staging),
            plan: Plan {
                first_fresh: Some(counters.next_dir),
                ..Plan::default()
            },
            counters,
            placed: HashMap::new(),
            made_again: HashMap::new(),
            makes_version: false,
            is_merged: false,
            keeps_equal: false,
            ignores_times: false,
            times_alone: HashSet::new(),
            losing: BTreeSet::new(),
            left: HashSet::new(),
            pending: Vec::new(),
            path_lens: HashMap::new(),
            longest_staged: 0,
        }
    }

    /// Lets directories that only `source` has get their places back.
    pub(super) fn give_back_from(&mut self, source: View<'a>) {
        self.source = Some(source);
    }

    /// Works out what the changes mean on the base. Names of links that no change names come in by
    /// [`super::links::spread`], after this.
    pub(super) fn plan(&mut self) -> Result<()> {
        self.collect()?;
        self.give_directory_ids()?;
        self.check_places()?;
        self.empty_directories_made_again()?;
        if self.ignores_times {
            super::links::keep_equal(self)?;
        }
        self.settle()
    }

    /// Goes on with the changes as changes of the newest version, to which they were made to fit.
    pub(super) fn move_to(&mut self, head: View<'a>) -> Result<()> {
        self.edits.finish()?;
        self.base = head;
        self.plan.moved.clear();
        self.plan.removed.clear();
        self.plan.touched.clear();
        self.times_alone.clear();
        self.makes_version = false;
        self.is_merged = true;
        self.losing.clear();
        self.left.clear();
        self.path_lens.clear();
        self.longest_staged = 0;
        self.settle()
    }

    /// Returns the plan, unless nothing makes a version, and the counters behind all ids that it
    /// gives.
    ///
    /// Before, [`super::links::check`] has counted the names of links.
    pub(super) fn finish(self) -> (Option<Plan>, CountersRow) {
        (self.makes_version.then_some(self.plan), self.counters)
    }

    /// Compares what is staged with the version at hand.
    fn settle(&mut self) -> Result<()> {
        self.compare()?;
        self.empty_removed_directories()?;
        self.check_old_places()?;
        self.edits.finish()
    }

    /// Finds where directories are placed, and checks what each change names.
    fn collect(&mut self) -> Result<()> {
        let lengths = match self.source {
            Some(_) => Lengths::Trusted,
            None => Lengths::Checked,
        };
        let mut contents = ContentCheck::new(self.metadata, self.staging, lengths);
        let staging = self.staging;
        for page in staging.pages() {
            let page = page?;
            self.read_directories_ahead(&page)?;
            self.collect_page(&page, &mut contents)?;
        }
        for record in staging.link_records() {
            contents.add(DirId::ABOVE_ROOT, &record?)?;
        }
        let mut lost = contents.finish()?;
        self.drop_contents_of_base(&mut lost)?;
        self.metadata.refuse_missing(lost.into_iter().collect())
    }

    fn collect_page(&mut self, page: &[Change], contents: &mut ContentCheck<'_>) -> Result<()> {
        let mut last_dir = None;
        for change in page {
            if last_dir.replace(change.dir) != Some(change.dir) {
                self.check_directory(change, change.dir)?;
            }
            let Some(record) = &change.state else {
                continue;
            };
            if let Kind::Directory { dir } = record.kind {
                self.place(change, dir)?;
            }
            self.give_link_id(record);
            contents.add(change.dir, record)?;
        }
        Ok(())
    }

    /// Reads where the directories lie that some changes name, and all above them.
    fn read_directories_ahead(&self, page: &[Change]) -> Result<()> {
        self.lease.renew_if_due()?;
        let views: Vec<_> = [Some(self.base), self.source]
            .into_iter()
            .flatten()
            .collect();
        self.ahead.load(&views, &[], &directories_of(page))
    }

    /// Reads what the names of some changes are in these views, and where their directories lie.
    pub(super) fn read_ahead(&self, views: &[View<'_>], page: &[Change]) -> Result<()> {
        self.lease.renew_if_due()?;
        let names = self.plan.names_before(page);
        let mut directories = directories_of(page);
        directories.extend(names.iter().map(|(dir, _)| *dir));
        self.ahead.load(views, &names, &directories)
    }

    /// Reads what is above the directories that some changes name, to measure their paths.
    fn read_above_ahead(&self, page: &[Change]) -> Result<()> {
        let mut directories = BTreeSet::new();
        for change in page.iter().filter(|it| it.dir != DirId::ABOVE_ROOT) {
            let mut dir = change.dir;
            // From where the commit places it to where the base has it.
            while let Some((above, _)) = self.placed.get(&dir)
                && !self.path_lens.contains_key(&dir)
                && directories.insert(dir)
            {
                dir = *above;
            }
            directories.insert(dir);
        }
        directories.retain(|dir| !dir.is_session() && !self.placed.contains_key(dir));
        let is_known = |dir| self.path_lens.contains_key(&dir) || self.placed.contains_key(&dir);
        self.ahead.load_above(&self.base, directories, is_known)
    }

    /// Takes away what the base has at the names that change: a commit that changes the mode of a
    /// file need not have its bytes. A rollback promises nothing that the older version did not.
    fn drop_contents_of_base(&self, lost: &mut BTreeSet<ContentId>) -> Result<()> {
        if self.source.is_some() {
            lost.clear();
        }
        for change in self.staging.in_base_directories() {
            if lost.is_empty() {
                break;
            }
            let change = change?;
            let before = self.base.state(change.dir, change.name.as_ref())?;
            for content in before.iter().flat_map(Record::contents) {
                lost.remove(&content);
            }
        }
        Ok(())
    }

    /// Checks that a directory that a change names is in the base, or gets its place back.
    fn check_directory(&mut self, change: &Change, dir: DirId) -> Result<()> {
        let known =
            dir == DirId::ABOVE_ROOT || dir.is_session() || self.base.directory(dir)?.is_some();
        if known {
            return Ok(());
        }
        if let Some(source) = self.source
            && source.directory(dir)?.is_some()
        {
            self.plan.given_back.insert(dir);
            return Ok(());
        }
        Err(Refusal::UnknownDirectory { dir }.at(change.dir, change.name.clone()))
    }

    fn place(&mut self, change: &Change, dir: DirId) -> Result<()> {
        self.check_directory(change, dir)?;
        let name_len = change.name.as_ref().map_or(0, |name| name.as_bytes().len());
        if self.placed.insert(dir, (change.dir, name_len)).is_some() {
            return Err(Refusal::TwoPlaces { dir }.at(change.dir, change.name.clone()));
        }
        Ok(())
    }

    fn give_link_id(&mut self, record: &Record) {
        let Some(link) = record.link.filter(|link| link.id.is_session()) else {
            return;
        };
        let next = &mut self.counters.next_link;
        self.plan.links.entry(link.id).or_insert_with(|| {
            let id = *next;
            next.0 += 1;
            id
        });
    }

    /// Gives the id of what was at the same place, or a fresh one, to each directory that the
    /// commit makes; from above to below, because it depends on the directory above.
    fn give_directory_ids(&mut self) -> Result<()> {
        let children = self.made_below();
        let mut found = Vec::new();
        let staging = self.staging;
        for page in staging.pages_in_base_directories() {
            found.extend(self.give_ids_in_base(page?, None)?);
        }
        while let Some(dir) = found.pop() {
            let real = self.plan.dir(dir);
            if self.plan.is_fresh(real) {
                // Nothing can have been at the same place.
                for made in children.get(&dir).into_iter().flatten() {
                    let fresh = self.fresh_directory();
                    self.plan.dirs.insert(*made, fresh);
                    found.push(*made);
                }
                continue;
            }
            for page in staging.pages_in_directory(dir) {
                found.extend(self.give_ids_in_base(page?, Some(real))?);
            }
        }
        Ok(())
    }

    /// Gives ids to the directories that some changes make in directories of the base: in `real`, if the
    /// changes name the one that the commit makes in its place. Returns them.
    fn give_ids_in_base(&mut self, page: Vec<Change>, real: Option<DirId>) -> Result<Vec<DirId>> {
        let mut making = page;
        making.retain(|change| made_by(change).is_some());
        self.read_ahead(&[self.base], &making)?;
        for change in &making {
            if let Some(made) = made_by(change) {
                let before = real.unwrap_or(change.dir);
                self.give_old_or_fresh_id(made, before, change.name.as_ref())?;
            }
        }
        Ok(making.iter().filter_map(made_by).collect())
    }

    /// Returns the directories that the commit makes in each one that it makes, in their order.
    fn made_below(&self) -> HashMap<DirId, Vec<DirId>> {
        let mut children: HashMap<_, Vec<_>> = HashMap::new();
        for (dir, (parent, _)) in &self.placed {
            if dir.is_session() && parent.is_session() {
                children.entry(*parent).or_default().push(*dir);
            }
        }
        children.values_mut().for_each(|made| made.sort_unstable());
        children
    }

    /// Gives the directory `made` the id of what is at its place in the base: the name `name` of the
    /// directory `before`.
    fn give_old_or_fresh_id(
        &mut self,
        made: DirId,
        before: DirId,
        name: Option<&Name>,
    ) -> Result<()> {
        let old = self.base.state(before, name)?;
        let real = match old.map(|record| record.kind) {
            Some(Kind::Directory { dir: old }) if !self.placed.contains_key(&old) => {
                self.made_again.insert(old, made);
                old
            }
            _ => self.fresh_directory(),
        };
        self.plan.dirs.insert(made, real);
        Ok(())
    }

    fn fresh_directory(&mut self) -> DirId {
        let id = self.counters.next_dir;
        self.counters.next_dir.0 += 1;
        id
    }

    /// Checks that every directory that the commit makes or moves hangs below the root, and that
    /// the paths of all are short enough.
    fn check_places(&mut self) -> Result<()> {
        let placed: Vec<_> = self.placed.keys().copied().collect();
        for dir in placed {
            self.path_len(dir)?;
        }
        Ok(())
    }

    /// Returns the length of the path of a directory, as staged.
    pub(super) fn path_len(&mut self, dir: DirId) -> Result<usize> {
        let mut chain = Vec::new();
        let mut walked = HashSet::new();
        let mut above = dir;
        let mut len = loop {
            if above == DirId::ROOT {
                break 0;
            }
            if let Some(len) = self.path_lens.get(&above) {
                break *len;
            }
            if !walked.insert(above) {
                return Err(Refusal::Cycle { dir }.at(dir, None));
            }
            let (parent, name_len) = self.place_of(above)?;
            chain.push((above, name_len));
            above = parent;
        };
        for (dir, name_len) in chain.into_iter().rev() {
            len = below(len, name_len);
            if len > PATH_LEN_MAX {
                return Err(Refusal::PathTooLong { len }.at(dir, None));
            }
            self.path_lens.insert(dir, len);
        }
        Ok(len)
    }

    fn place_of(&self, dir: DirId) -> Result<(DirId, usize)> {
        if let Some(place) = self.placed.get(&dir) {
            return Ok(*place);
        }
        if dir.is_session() || self.plan.is_fresh(dir) {
            return Err(Refusal::NeverMade { dir }.at(dir, None));
        }
        let row = self.base.live_directory(dir)?;
        let (parent, name) = row.place.unwrap_or((DirId::ROOT, None));
        Ok((parent, name.map_or(0, |name| name.as_bytes().len())))
    }

    /// Compares each change with the base; drops what changes nothing, and notes which directories
    /// leave their place.
    fn compare(&mut self) -> Result<()> {
        let staging = self.staging;
        for page in staging.pages() {
            let page = page?;
            self.read_ahead(&[self.base], &page)?;
            self.read_above_ahead(&page)?;
            for change in page {
                self.measure(&change)?;
                self.compare_one(change)?;
            }
        }
        Ok(())
    }

    /// Checks that the path of what a change makes is short enough. What is removed may have been too
    /// long, or be in a directory that is removed too and would be too long where the one above it moves.
    fn measure(&mut self, change: &Change) -> Result<()> {
        let (dir, name) = (change.dir, change.name.as_ref());
        if dir == DirId::ABOVE_ROOT || (change.state.is_none() && !dir.is_session()) {
            return Ok(());
        }
        let len = below(
            self.path_len(dir)?,
            name.map_or(0, |name| name.as_bytes().len()),
        );
        if change.state.is_none() {
            return Ok(());
        }
        if len > PATH_LEN_MAX {
            return Err(Refusal::PathTooLong { len }.at(dir, name.cloned()));
        }
        self.longest_staged = self.longest_staged.max(len);
        Ok(())
    }

    /// Compares one change with the version at hand.
    pub(super) fn compare_one(&mut self, change: Change) -> Result<()> {
        let old = self.old_state(change.dir, change.name.as_ref())?;
        let new = change.state.map(|record| self.plan.record(record));
        let old_dir = old.as_ref().and_then(Record::dir);
        let new_dir = new.as_ref().and_then(Record::dir);
        if old_dir != new_dir {
            old_dir.into_iter().for_each(|dir| self.leave(dir));
            let moved = new_dir.filter(|dir| !self.plan.is_fresh(*dir));
            self.plan.moved.extend(moved);
        }
        let link = |record: &Option<Record>| Some(record.as_ref()?.link?.id);
        self.losing
            .extend(link(&old).filter(|lost| link(&new) != Some(*lost)));
        if link(&new).is_some() {
            // Whether it makes a row depends on the other names of its link.
            return Ok(());
        }
        match self.difference(old.as_ref(), new.as_ref()) {
            Difference::DirectoryTimes if self.ignores_times => {
                // Kept only if an entry of it changes, which is not known yet.
                self.times_alone.extend(new_dir);
                Ok(())
            }
            difference @ (Difference::Row | Difference::Times | Difference::DirectoryTimes) => {
                self.makes_version |= difference != Difference::DirectoryTimes;
                self.plan.touched.insert(self.plan.dir(change.dir));
                Ok(())
            }
            Difference::Ctime | Difference::None if self.keeps_equal => {
                self.makes_version = true;
                Ok(())
            }
            Difference::Ctime | Difference::None => {
                self.edits.drop_change(change.dir, change.name.as_ref())
            }
        }
    }

    /// Returns what was staged for a name of a directory, by its real id.
    pub(super) fn staged(&self, dir: DirId, name: Option<&Name>) -> Result<Option<StagedRow>> {
        let made_again = self.made_again.get(&dir).copied();
        for dir in [Some(dir), made_again].into_iter().flatten() {
            if let Some(row) = self.staging.get(dir, name)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Returns true if a link of an older version gets its names back.
    pub(super) fn gives_back_links(&self) -> bool {
        self.source.is_some()
    }

    /// Returns what a name is in the base.
    pub(super) fn old_state(&self, dir: DirId, name: Option<&Name>) -> Result<Option<Record>> {
        let dir = self.plan.dir(dir);
        if self.plan.is_fresh(dir) {
            return Ok(None);
        }
        self.base.state(dir, name)
    }

    /// Notes that a directory is not at its old place any more.
    fn leave(&mut self, dir: DirId) {
        if self.placed.contains_key(&dir) {
            self.left.insert(dir);
        } else {
            self.pending.push(dir);
        }
    }

    /// Stages the removal of the entries that directories made again do not have any more.
    fn empty_directories_made_again(&mut self) -> Result<()> {
        let made_again: Vec<_> = self
            .made_again
            .iter()
            .map(|(old, new)| (*old, *new))
            .collect();
        for (old, new) in made_again {
            self.refuse_entries_of(old)?;
            self.for_each_entry(old, |planner, name, _| {
                match planner.staging.get(new, Some(name))? {
                    // What the new directory has counts, whatever was said of the old one.
                    Some(_) => planner.edits.drop_change(old, Some(name)),
                    None => planner.edits.remove_name(old, name),
                }
            })?;
        }
        self.edits.finish()
    }

    /// Fails if something is put into a directory that the commit removes.
    fn refuse_entries_of(&self, dir: DirId) -> Result<()> {
        for change in self.staging.in_directory(dir) {
            let change = change?;
            if change.state.is_some() {
                return Err(Refusal::DirectoryRemoved { dir }.at(dir, change.name));
            }
        }
        Ok(())
    }

    /// Stages the removal of all that lies below removed directories.
    fn empty_removed_directories(&mut self) -> Result<()> {
        while let Some(dir) = self.pending.pop() {
            if !self.plan.removed.insert(dir) {
                continue;
            }
            self.refuse_entries_of(dir)?;
            self.read_entries_ahead(dir)?;
            self.for_each_entry(dir, |planner, name, record| {
                planner.edits.remove_name(dir, name)?;
                planner.plan.touched.insert(dir);
                planner.losing.extend(record.link.map(|link| link.id));
                record.dir().into_iter().for_each(|dir| planner.leave(dir));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Reads the first entries of a directory and of those that come next.
    fn read_entries_ahead(&self, dir: DirId) -> Result<()> {
        self.lease.renew_if_due()?;
        let next = self.pending.iter().rev().take(PAGE).copied();
        let directories: Vec<_> = [dir].into_iter().chain(next).collect();
        self.ahead.load_entries(&self.base, &directories)
    }

    /// Calls `each` for the entries that a directory has in the base.
    pub(super) fn for_each_entry(
        &mut self,
        dir: DirId,
        mut each: impl FnMut(&mut Self, &Name, &Record) -> Result<()>,
    ) -> Result<()> {
        let base = self.base;
        base.for_each_entry(dir, |name, record| each(self, &name, &record))
    }

    /// Checks that every moved directory has left its old place.
    fn check_old_places(&self) -> Result<()> {
        match self.plan.moved.difference(&self.left).min() {
            None => Ok(()),
            Some(dir) => Err(Refusal::NotRemoved { dir: *dir }.at(*dir, None)),
        }
    }
}

impl std::fmt::Debug for Planner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// Returns the directory that a change makes, if it makes one.
fn made_by(change: &Change) -> Option<DirId> {
    let made = change.state.as_ref().and_then(Record::dir);
    made.filter(|dir| dir.is_session())
}

/// Returns the directories that the base may have and that some changes name.
fn directories_of(page: &[Change]) -> BTreeSet<DirId> {
    let placed = page
        .iter()
        .filter_map(|change| change.state.as_ref().and_then(Record::dir));
    let around = page.iter().map(|change| change.dir);
    let named = around.chain(placed);
    named
        .filter(|dir| !dir.is_session() && *dir != DirId::ABOVE_ROOT)
        .collect()
}

/// Returns the length of a path below one of `len` bytes.
pub(super) fn below(len: usize, name_len: usize) -> usize {
    if len == 0 {
        name_len
    } else {
        len + 1 + name_len
    }
}
