//! One pass over a root: look, decide, do, note.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_meta_store::MetaError;
use lfsfs_remote::Remote;
use lfsfs_types::{ContentId, ObjectPath, VersionId, VersionNumber};

use super::compare::{Comparison, Found};
use super::conflict_name::conflict_name;
use super::error::{SyncError, Trouble};
use super::ignore::Ignore;
use super::item::{Figures, Item, Seen};
use super::plain::{PlainView, Quiet, sweep};
use super::project::{ProjectPlace, ProjectView};
use super::reconcile::{Change, Changes, ConflictRule, Direction, Given, Plan, Side, reconcile};
use super::root::{Flag, Kept, LockedRoot, read_id, write_id};
use super::store::{Agreed, Rows, Store, hash_key, place};
use super::view::{Applied, Done, Since, SyncProgress, View, Work};

/// Removals of one pass that wait for the user, if they are more than half of what was agreed.
const REMOVALS_MAX: u64 = 1000;
/// Changes of the root after which what is done is noted.
const CHANGES_AT_ONCE: usize = 20_000;
/// How often a pass begins anew because others published the same meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// What a root is kept in step with.
#[derive(Debug, Clone)]
pub enum FarPlace {
    /// A directory of a project.
    Project {
        /// The project.
        project: lfsfs_types::ProjectName,
        /// The directory.
        base: ObjectPath,
    },
    /// A plain directory.
    Directory(PathBuf),
}

/// How a root is synced.
#[derive(Debug, Clone)]
pub struct PassParams {
    /// The root.
    pub dir: PathBuf,
    /// What it is kept in step with.
    pub far: FarPlace,
    /// The same as the user wrote it.
    pub remote: String,
    /// Where this machine keeps its state.
    pub state: PathBuf,
    /// Which way changes go.
    pub direction: Direction,
    /// What becomes of conflicts.
    pub rule: ConflictRule,
    /// Lines of gitignore(5).
    pub ignore: Vec<String>,
    /// How long a file was not modified that is synced, in nanoseconds.
    pub debounce_nanos: u64,
    /// Files at once.
    pub concurrency: usize,
    /// The name of this machine.
    pub host: String,
    /// The author of versions.
    pub author: String,
    /// Nothing is done, only told.
    pub is_dry_run: bool,
}

/// What a path is to get, or got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It is new on a side.
    Create,
    /// It gets other bytes.
    Update,
    /// It gets another mode or time.
    Touch,
    /// It goes.
    Remove,
    /// It is moved to a conflict name.
    Keep,
}

/// One change of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// True for the root, false for the far side.
    pub is_root: bool,
    /// What is done.
    pub act: Act,
    /// Where.
    pub path: ObjectPath,
}

/// What came of a pass.
#[derive(Debug, Clone, Default)]
pub struct PassOutcome {
    /// What was done; in a dry run, what would be.
    pub actions: Vec<Action>,
    /// The version that was made, as `PROJECT@vN`.
    pub version: Option<String>,
    /// Paths that both sides changed.
    pub conflicts: Vec<ObjectPath>,
    /// Paths at which nothing was done, and why.
    pub troubles: Vec<Trouble>,
    /// Files that are being written.
    pub busy: BTreeSet<ObjectPath>,
    /// Removals that wait for the user: on the root, and on the far side.
    pub unconfirmed: [u64; 2],
    /// Paths that both sides have in common.
    pub agreed: u64,
    /// True if the next pass has something to do now.
    pub is_more: bool,
    /// What in files that say what is ignored says nothing.
    pub warnings: Vec<String>,
    /// Where the far side was: of a project its version, for a watch.
    pub seen: Option<(lfsfs_types::ProjectId, VersionNumber, VersionId)>,
}

/// What a pass does about files that were written a moment ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Haste {
    /// Nothing is done as long as there are some: what belongs together becomes one version.
    Patient,
    /// They are held, and all else is done.
    Usual,
    /// They are taken if they hold still while they are read.
    Hurried,
}

/// A root that is open, in one process.
#[derive(Debug)]
pub struct SyncedRoot {
    params: PassParams,
    root: LockedRoot,
    store: Store,
}

impl SyncedRoot {
    /// Takes the lock of a root and opens what was agreed. Blocks.
    pub fn open(params: PassParams) -> Result<Self, SyncError> {
        check_there(&params.dir)?;
        let kept = Kept::of(&params.state, &params.dir, &params.remote);
        let root = kept.lock()?;
        root.check_root()?;
        let store = Store::open(&place(root.kept.place()))?;
        Ok(Self {
            params,
            root,
            store,
        })
    }

    /// Returns the directory of the state.
    #[must_use]
    pub fn state(&self) -> &Path {
        self.root.kept.place()
    }

    /// Returns how it is synced.
    #[must_use]
    pub const fn params(&self) -> &PassParams {
        &self.params
    }

    /// Returns true if the user paused it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.root.kept.is_set(Flag::Paused)
    }

    /// Returns true if the user said that removals are meant.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.root.kept.is_set(Flag::Confirmed)
    }

    /// Makes one pass. Blocks, on a thread of a runtime that may.
    pub fn pass(
        &self,
        remote: Option<Arc<dyn Remote>>,
        haste: Haste,
        progress: &Arc<SyncProgress>,
    ) -> Result<PassOutcome, SyncError> {
        let mut last = PassOutcome::default();
        for _ in 0..ATTEMPTS_MAX {
            let pass = Pass::open(self, remote.clone(), haste, progress)?;
            let (outcome, is_outdated) = pass.run()?;
            if !is_outdated {
                return Ok(outcome);
            }
            last = outcome;
        }
        last.is_more = true;
        Ok(last)
    }
}

/// One pass.
struct Pass<'a> {
    synced: &'a SyncedRoot,
    near: PlainView,
    far: Box<dyn View>,
    seen: Option<(lfsfs_types::ProjectId, VersionNumber, VersionId)>,
    ignore: Ignore,
    progress: &'a Arc<SyncProgress>,
    haste: Haste,
    outcome: PassOutcome,
}

impl<'a> Pass<'a> {
    fn open(
        synced: &'a SyncedRoot,
        remote: Option<Arc<dyn Remote>>,
        haste: Haste,
        progress: &'a Arc<SyncProgress>,
    ) -> Result<Self, SyncError> {
        let params = &synced.params;
        let quiet = match haste {
            Haste::Hurried => Quiet::WhileRead,
            Haste::Patient | Haste::Usual => Quiet::For(i128::from(params.debounce_nanos)),
        };
        check_there(&params.dir)?;
        synced.root.check_root()?;
        let (far, seen) = far_side(params, remote, quiet, progress)?;
        let is_begun = synced.store.below(&ObjectPath::ROOT).next().is_some();
        synced
            .root
            .check(&far.identity(), far.has_root()?, is_begun)?;
        let near = PlainView::open(&params.dir, String::new(), quiet, Arc::clone(progress))?;
        sweep(&near);
        let ignore = Ignore::new(Arc::clone(near.root()), &params.ignore);
        let ignore = ignore.map_err(|_| SyncError::Stopped("a pattern is none"))?;
        Ok(Self {
            synced,
            near,
            far,
            seen,
            ignore,
            progress,
            haste,
            outcome: PassOutcome::default(),
        })
    }

    /// Returns what was done, and whether it is to begin anew.
    fn run(mut self) -> Result<(PassOutcome, bool), SyncError> {
        let store = &self.synced.store;
        let before = store.pending()?;
        let far = self.compare_far(&before)?;
        let near = self.comparison(Side::Root).run(&Since::Everywhere)?;
        let is_busy = !(near.busy.is_empty() && far.busy.is_empty());
        // A pause counts also for what a pass has seen already.
        let is_waiting = is_busy && self.haste == Haste::Patient || self.synced.is_paused();
        let mut plan = Plan::default();
        if !is_waiting {
            plan = self.decide([&near.differences, &far.differences])?;
            self.guard(&mut plan, [&near, &far])?;
            self.tell(&plan);
        }
        let mut noting = Noting {
            store,
            found: [near, far],
            rows: Rows::default(),
            near_began: self.near.began(),
            failed: BTreeSet::new(),
            open: BTreeSet::new(),
            mark: None,
            both: BTreeMap::new(),
        };
        let mut is_outdated = false;
        if is_waiting {
            noting.note_hashes()?;
            noting.write()?;
        } else if !self.synced.params.is_dry_run {
            is_outdated = self.act(&plan, &mut noting)?;
            if !is_outdated {
                let mark = self.far.mark();
                noting.end(&plan, &before, mark)?;
            }
        }
        let [near, far] = noting.found;
        self.outcome.troubles.extend(near.troubles);
        self.outcome.troubles.extend(far.troubles);
        self.outcome.busy.extend(near.busy);
        self.outcome.busy.extend(far.busy);
        self.outcome.warnings = self
            .ignore
            .warnings()
            .iter()
            .map(ToString::to_string)
            .collect();
        self.outcome.seen = self.seen;
        Ok((self.outcome, is_outdated))
    }

    fn comparison(&self, side: Side) -> Comparison<'_> {
        let view: &dyn View = match side {
            Side::Root => &self.near,
            Side::Far => &*self.far,
        };
        Comparison {
            view,
            side,
            store: &self.synced.store,
            ignore: &self.ignore,
            progress: self.progress,
            found: Found::default(),
        }
    }

    fn compare_far(&self, pending: &BTreeSet<ObjectPath>) -> Result<Found, SyncError> {
        let mark = self.synced.store.mark()?;
        let mut since = match mark {
            None => Since::Everywhere,
            Some(mark) => self.far.since(&mark)?,
        };
        if let Since::At { trees, .. } = &mut since {
            trees.extend(pending.iter().cloned());
        }
        self.comparison(Side::Far).run(&since)
    }

    fn decide(&mut self, differences: [&super::item::Differences; 2]) -> Result<Plan, SyncError> {
        let store = &self.synced.store;
        let params = &self.synced.params;
        let failed: std::cell::RefCell<Option<MetaError>> = std::cell::RefCell::default();
        let agreed = |path: &ObjectPath| match store.agreed(path) {
            Ok(found) => found.map(|agreed| agreed.item),
            Err(error) => {
                let _ = failed.borrow_mut().insert(error);
                None
            }
        };
        let used: std::cell::RefCell<BTreeSet<ObjectPath>> = std::cell::RefCell::default();
        let is_taken = |path: &ObjectPath| {
            let is_known = differences.iter().any(|side| side.contains_key(path));
            is_known || agreed(path).is_some() || used.borrow().contains(path)
        };
        let now = jiff::Zoned::now();
        let name = |path: &ObjectPath| {
            let free = conflict_name(path, &params.host, &now, is_taken)?;
            let _ = used.borrow_mut().insert(free.clone());
            Some(free)
        };
        let plan = reconcile(&Given {
            agreed: &agreed,
            differences,
            direction: params.direction,
            rule: params.rule,
            conflict_name: &name,
        });
        match failed.into_inner() {
            Some(error) => Err(error.into()),
            None => Ok(plan),
        }
    }

    /// Holds removals back that are too many to be meant.
    fn guard(&mut self, plan: &mut Plan, found: [&Found; 2]) -> Result<(), SyncError> {
        let agreed = found[Side::Root as usize].agreed;
        self.outcome.agreed = agreed;
        let is_confirmed = self.synced.root.kept.is_set(Flag::Confirmed);
        for side in [Side::Root, Side::Far] {
            // What goes on a side went on the other one.
            let other = found[1 - side as usize];
            let removed = lost(&plan.changes[side as usize]);
            let is_all = agreed > 0 && removed > 0 && is_empty(other, agreed);
            let is_mass = removed >= REMOVALS_MAX && removed * 2 > agreed;
            if !(is_all || is_mass) || is_confirmed {
                continue;
            }
            self.outcome.unconfirmed[side as usize] = removed;
            let changes = std::mem::take(&mut plan.changes[side as usize]);
            let (goes, stays): (Changes, Changes) = changes
                .into_iter()
                .partition(|(_, change)| takes_away(change));
            plan.changes[side as usize] = stays;
            plan.held.extend(goes.into_keys());
        }
        if is_confirmed && !self.synced.params.is_dry_run {
            self.synced.root.kept.clear(Flag::Confirmed)?;
        }
        Ok(())
    }

    fn tell(&mut self, plan: &Plan) {
        self.outcome.conflicts.clone_from(&plan.conflicts);
        for side in [Side::Root, Side::Far] {
            let is_root = side == Side::Root;
            let action = |act, path: &ObjectPath| Action {
                is_root,
                act,
                path: path.clone(),
            };
            let aside = plan.aside[side as usize].iter();
            let aside = aside.map(|aside| action(Act::Keep, &aside.copy));
            let changes = &plan.changes[side as usize];
            let changed = changes
                .iter()
                .map(|(path, change)| action(act(change), path));
            self.outcome.actions.extend(aside.chain(changed));
            for change in changes.values() {
                if let Some(Item::File(file)) = &change.to {
                    self.progress.expect(file.size);
                }
            }
        }
    }

    /// Does what is planned: the far side first. Returns true if others changed the same meanwhile.
    fn act(&mut self, plan: &Plan, noting: &mut Noting<'_>) -> Result<bool, SyncError> {
        noting.agree(plan)?;
        let mut changes = plan.changes.clone();
        let near_aside = &plan.aside[Side::Root as usize];
        if !near_aside.is_empty() {
            // What is kept beside another is sent from where it is then.
            let applied = self.apply(Side::Root, near_aside, &Changes::new())?;
            let moved: BTreeSet<&ObjectPath> = applied.left.iter().map(|it| &it.path).collect();
            changes = changes.map(|it| without(it, &moved));
            noting.take(Side::Root, applied, &mut self.outcome);
        }
        let [near, far] = changes;
        let far_aside = &plan.aside[Side::Far as usize];
        if !far.is_empty() || !far_aside.is_empty() {
            let applied = self.apply(Side::Far, far_aside, &far)?;
            if applied.is_outdated {
                return Ok(true);
            }
            self.outcome.version.clone_from(&applied.name);
            noting.mark = applied.mark.clone();
            self.far.sync()?;
            noting.take(Side::Far, applied, &mut self.outcome);
            noting.write()?;
        }
        let near = without(near, &noting.failed.iter().collect());
        for part in parts(near) {
            let applied = self.apply(Side::Root, &[], &part)?;
            // What is noted as agreed must not be lost by the root.
            self.near.sync()?;
            noting.take(Side::Root, applied, &mut self.outcome);
            noting.write()?;
        }
        Ok(false)
    }

    fn apply(
        &self,
        side: Side,
        aside: &[super::reconcile::Aside],
        changes: &Changes,
    ) -> Result<Applied, SyncError> {
        let store = &self.synced.store;
        let (to, source): (&dyn View, &dyn View) = match side {
            Side::Root => (&self.near, &*self.far),
            Side::Far => (&*self.far, &self.near),
        };
        let message = format!("sync from {}", self.synced.params.host);
        to.apply(&Work {
            aside,
            changes,
            moves: &moves(changes),
            source,
            agreed: &|path| store.agreed(path),
            progress: self.progress,
            concurrency: self.synced.params.concurrency,
            message: &message,
        })
    }
}

fn check_there(dir: &Path) -> Result<(), SyncError> {
    if dir.is_dir() {
        return Ok(());
    }
    Err(SyncError::NoRoot {
        dir: dir.to_owned(),
        source: rustix::io::Errno::NOENT.into(),
    })
}

type FarSide = (
    Box<dyn View>,
    Option<(lfsfs_types::ProjectId, VersionNumber, VersionId)>,
);

fn far_side(
    params: &PassParams,
    remote: Option<Arc<dyn Remote>>,
    quiet: Quiet,
    progress: &Arc<SyncProgress>,
) -> Result<FarSide, SyncError> {
    match &params.far {
        FarPlace::Project { project, base } => {
            let remote = remote.ok_or(SyncError::Stopped("no server was named"))?;
            let place = ProjectPlace {
                project: project.clone(),
                base: base.clone(),
                author: params.author.clone(),
            };
            let view = ProjectView::open(remote, &place, Arc::clone(progress))?;
            let (number, id) = view.version();
            let seen = Some((view.project(), number, id));
            Ok((Box::new(view), seen))
        }
        FarPlace::Directory(dir) => {
            if let Some(above) = dir.parent() {
                check_there(above)?;
            }
            lfsfs_common::durable::create_dir_all_durable(dir)?;
            let id = match read_id(dir)? {
                Some(id) => id,
                None => write_id(dir)?,
            };
            let view = PlainView::open(dir, id, quiet, Arc::clone(progress))?;
            sweep(&view);
            Ok((Box::new(view), None))
        }
    }
}

/// Returns true if what is at a path goes, or all that is below it.
fn takes_away(change: &Change) -> bool {
    let was_directory = change.from.as_ref().is_some_and(Item::is_directory);
    let to = change.to.as_ref();
    to.is_none_or(|to| was_directory && !to.is_directory())
}

fn content(item: &Option<Item>) -> Option<ContentId> {
    let file = item.as_ref().and_then(Item::file);
    file.map(|file| file.content)
}

/// Returns how many files go, and not to another place of the same side.
fn lost(changes: &Changes) -> u64 {
    let come: BTreeSet<ContentId> = changes.values().filter_map(|it| content(&it.to)).collect();
    let gone = changes.values().filter(|it| it.to.is_none());
    let lost = gone.filter(|it| content(&it.from).is_none_or(|it| !come.contains(&it)));
    lost.count() as u64
}

/// Returns true if a side that had something has nothing any more.
fn is_empty(found: &Found, agreed: u64) -> bool {
    let gone = found
        .differences
        .values()
        .filter(|seen| **seen == Seen::Nothing);
    let is_any = found
        .differences
        .values()
        .any(|seen| matches!(seen, Seen::Is(_) | Seen::Unknown));
    !is_any && gone.count() as u64 >= agreed
}

fn act(change: &Change) -> Act {
    match (&change.from, &change.to) {
        (_, None) => Act::Remove,
        (None, Some(_)) => Act::Create,
        (Some(from), Some(to)) if from.has_bytes_of(to) => Act::Touch,
        _ => Act::Update,
    }
}

/// Finds files that come to another path of the same side.
fn moves(changes: &Changes) -> BTreeMap<ObjectPath, ObjectPath> {
    let mut gone: HashMap<ContentId, Vec<&ObjectPath>> = HashMap::new();
    for (path, change) in changes.iter().filter(|(_, change)| change.to.is_none()) {
        if let Some(content) = content(&change.from) {
            gone.entry(content).or_default().push(path);
        }
    }
    let mut moves = BTreeMap::new();
    for (path, change) in changes {
        let is_new = change
            .from
            .as_ref()
            .is_none_or(|from| !change.to.as_ref().is_some_and(|to| from.has_bytes_of(to)));
        let origin = content(&change.to)
            .filter(|_| is_new)
            .and_then(|it| gone.get_mut(&it)?.pop());
        if let Some(origin) = origin {
            moves.insert(path.clone(), origin.clone());
        }
    }
    moves
}

/// Returns the changes that are not at one of these paths, or below it.
fn without(changes: Changes, left: &BTreeSet<&ObjectPath>) -> Changes {
    if left.is_empty() {
        return changes;
    }
    let is_left = |path: &ObjectPath| {
        left.contains(path) || super::reconcile::above(path).any(|it| left.contains(&it))
    };
    changes
        .into_iter()
        .filter(|(path, _)| !is_left(path))
        .collect()
}

/// Divides many changes, so that what is done is noted now and then. Only new entries are divided from each other: a
/// removal may have to come before what takes its place.
fn parts(changes: Changes) -> Vec<Changes> {
    if changes.len() <= CHANGES_AT_ONCE {
        return vec![changes]
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect();
    }
    let is_new = |change: &Change| change.from.is_none() && change.to.is_some();
    let (new, other): (Changes, Changes) = changes.into_iter().partition(|(_, it)| is_new(it));
    let mut parts = vec![other];
    let mut part = Changes::new();
    for (path, change) in new {
        part.insert(path, change);
        if part.len() >= CHANGES_AT_ONCE {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.push(part);
    parts.into_iter().filter(|it| !it.is_empty()).collect()
}

/// Notes what both sides have.
struct Noting<'a> {
    store: &'a Store,
    found: [Found; 2],
    rows: Rows,
    near_began: lfsfs_types::Timestamp,
    /// Paths at which something could not be done.
    failed: BTreeSet<ObjectPath>,
    /// Paths at which something is still to be done.
    open: BTreeSet<ObjectPath>,
    mark: Option<super::view::Mark>,
    /// Paths that both sides get another thing at, and whether the far side has it.
    both: BTreeMap<ObjectPath, bool>,
}

impl Noting<'_> {
    /// Notes what both sides had already.
    fn agree(&mut self, plan: &Plan) -> Result<(), SyncError> {
        let both = plan.changes[0]
            .keys()
            .filter(|path| plan.changes[1].contains_key(path));
        self.both = both.map(|path| (path.clone(), false)).collect();
        self.open = plan
            .changes
            .iter()
            .flat_map(|it| it.keys().cloned())
            .collect();
        for (path, item) in &plan.agreed {
            self.note(path, item.as_ref(), [None; 2]);
        }
        for found in &mut self.found {
            self.rows.append(std::mem::take(&mut found.refreshed));
        }
        self.write()
    }

    fn note(&mut self, path: &ObjectPath, item: Option<&Item>, mut figures: [Option<Figures>; 2]) {
        if item.is_none_or(|item| item.file().is_none()) {
            figures = [None; 2];
        } else {
            for (figures, found) in figures.iter_mut().zip(&self.found) {
                *figures = figures.or_else(|| found.figures.get(path).copied());
            }
        }
        let agreed = item.map(|item| Agreed {
            item: item.clone(),
            figures,
        });
        self.rows.agree(path, agreed.as_ref());
        let _ = self.open.remove(path);
        for found in &mut self.found {
            let _ = found.figures.remove(path);
        }
    }

    /// Takes what came of changes of a side.
    fn take(&mut self, side: Side, applied: Applied, outcome: &mut PassOutcome) {
        outcome.is_more |= applied.is_more;
        for Trouble { path, reason } in applied.left {
            let _ = self.failed.insert(path.clone());
            outcome.troubles.push(Trouble { path, reason });
        }
        for Done {
            path,
            item,
            figures: [own, source],
        } in applied.done
        {
            // A path that both sides get another thing at is agreed when both have it.
            if side == Side::Far
                && let Some(is_done) = self.both.get_mut(&path)
            {
                *is_done = true;
                continue;
            }
            if self.both.get(&path) == Some(&false) {
                continue;
            }
            let figures = match side {
                Side::Root => [own, source],
                Side::Far => [source.filter(|it| it.are_older_than(self.near_began)), own],
            };
            // What stat showed before a change says nothing of what it shows then.
            let _ = self.found[side as usize].figures.remove(&path);
            self.note(&path, item.as_ref(), figures);
        }
    }

    fn write(&mut self) -> Result<(), SyncError> {
        Ok(self.store.write(std::mem::take(&mut self.rows))?)
    }

    /// Notes where the next pass looks at the far side.
    fn end(
        &mut self,
        plan: &Plan,
        before: &BTreeSet<ObjectPath>,
        mark: Option<super::view::Mark>,
    ) -> Result<(), SyncError> {
        let differs = &self.found[Side::Far as usize].differences;
        let open = plan.held.iter().chain(&self.failed).chain(&self.open);
        let pending: BTreeSet<ObjectPath> = open
            .filter(|it| differs.contains_key(it))
            .cloned()
            .collect();
        pending
            .difference(before)
            .for_each(|path| self.rows.pend(path));
        before
            .difference(&pending)
            .for_each(|path| self.rows.settle(path));
        self.note_hashes()?;
        if let Some(mark) = self.mark.take().or(mark) {
            self.rows.mark(mark);
        }
        self.write()
    }

    /// Keeps the contents of files that are not agreed, so that they are not read again.
    fn note_hashes(&mut self) -> Result<(), SyncError> {
        let mut old = self.store.hash_keys()?;
        for side in [Side::Root, Side::Far] {
            let found = &self.found[side as usize];
            for (path, figures) in &found.figures {
                let Some(Seen::Is(Item::File(file))) = found.differences.get(path) else {
                    continue;
                };
                let _ = old.remove(&hash_key(side, path));
                self.rows.hash(side, path, (figures, file.content));
            }
        }
        old.into_iter().for_each(|key| self.rows.forget_hash(key));
        Ok(())
    }
}
