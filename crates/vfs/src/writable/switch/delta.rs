//! How the version that a mount goes to differs from the one that it shows.
//!
//! Everything that the server has to tell is fetched here, before anything is locked. What turns out
//! to be missing under the locks is a [`Needs`]: the locks are given back, it is loaded, and the
//! step is tried again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lfsfs_remote::ChangedName;
use lfsfs_types::{Aspect, DirId, LinkId, Name, Record};
use tokio::task::JoinSet;

use crate::base::BaseVersion;
use crate::error::VfsError;
use crate::listing::Listing;
use crate::stack::PinnedBase;

/// Listings that are fetched at once.
const LOADS_MAX: usize = 16;

/// On which side a changed name stands for something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides {
    pub(super) old: bool,
    pub(super) new: bool,
}

/// What must be loaded before a step can be decided.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Listings of the version that is left.
    old: BTreeSet<DirId>,
    /// Listings of the version that comes.
    new: BTreeSet<DirId>,
    /// Directories of which it must be known where the version that comes has them.
    homes: BTreeSet<DirId>,
}

/// A name that stood for an object, and the objects of both versions.
pub(super) struct ReplacedName<'a> {
    pub(super) dir: DirId,
    pub(super) name: &'a Name,
    pub(super) before: Record,
    pub(super) after: Option<Record>,
}

/// Two versions, and what differs.
#[derive(Debug)]
pub(super) struct VersionDelta {
    pub(super) pinned: Arc<PinnedBase>,
    pub(super) next: Arc<PinnedBase>,
    names: HashMap<DirId, BTreeMap<Name, Sides>>,
    /// What others changed; `None` if that is all.
    others: Option<HashSet<(DirId, Name)>>,
    old: HashMap<DirId, Arc<Listing>>,
    new: HashMap<DirId, Arc<Listing>>,
    homes: HashMap<DirId, Option<(DirId, Name)>>,
}

impl Needs {
    pub(super) fn is_empty(&self) -> bool {
        self.old.is_empty() && self.new.is_empty() && self.homes.is_empty()
    }
}

impl VersionDelta {
    pub(super) fn new(
        pinned: Arc<PinnedBase>,
        next: Arc<PinnedBase>,
        changed: impl IntoIterator<Item = ChangedName>,
        others: Option<Vec<ChangedName>>,
    ) -> Self {
        let mut names: HashMap<_, BTreeMap<_, _>> = HashMap::new();
        for it in changed {
            // Only the root has no name; its record comes with the version.
            let Some(name) = it.name else { continue };
            let sides = Sides {
                old: it.old.is_some(),
                new: it.new.is_some(),
            };
            names.entry(it.dir).or_default().insert(name, sides);
        }
        let key = |it: ChangedName| Some((it.dir, it.name?));
        Self {
            pinned,
            next,
            names,
            others: others.map(|others| others.into_iter().filter_map(key).collect()),
            old: HashMap::new(),
            new: HashMap::new(),
            homes: HashMap::new(),
        }
    }

    /// Returns the directories with changed names.
    pub(super) fn dirs(&self) -> HashSet<DirId> {
        self.names.keys().copied().collect()
    }

    /// Returns true for a directory with changed names.
    pub(super) fn has_dir(&self, dir: DirId) -> bool {
        self.names.contains_key(&dir)
    }

    /// Returns the directories with names that others changed.
    pub(super) fn drained(&self) -> HashSet<DirId> {
        match &self.others {
            None => self.dirs(),
            Some(others) => others.iter().map(|it| it.0).collect(),
        }
    }

    /// Returns true if others than this mount changed the name.
    pub(super) fn is_others(&self, dir: DirId, name: &Name) -> bool {
        let others = self.others.as_ref();
        others.is_none_or(|others| others.contains(&(dir, name.clone())))
    }

    /// Returns true at the end of a commit.
    pub(super) fn is_commit(&self) -> bool {
        self.others.is_some()
    }

    /// Returns what changed names stood for and stand for, as far as both listings are in memory.
    pub(super) fn replaced_at_hand(&self) -> Result<Vec<ReplacedName<'_>>, VfsError> {
        let mut replaced = Vec::new();
        for (dir, name, sides) in self.changed().filter(|it| it.2.old) {
            let old = self.old.get(&dir).cloned();
            let Some(old) = old.or_else(|| self.pinned.base.listing_in_memory(dir)) else {
                continue;
            };
            let after = match (sides.new, self.new.get(&dir)) {
                (true, None) => continue,
                (true, Some(new)) => new.record_of(name)?,
                (false, _) => None,
            };
            replaced.extend(old.record_of(name)?.map(|before| ReplacedName {
                dir,
                name,
                before,
                after,
            }));
        }
        Ok(replaced)
    }

    /// Returns every changed name.
    pub(super) fn changed(&self) -> impl Iterator<Item = (DirId, &Name, Sides)> {
        let names = self.names.iter();
        names.flat_map(|(dir, names)| names.iter().map(|(name, sides)| (*dir, name, *sides)))
    }

    /// Returns true for a changed name.
    pub(super) fn is_changed(&self, dir: DirId, name: &Name) -> bool {
        self.names
            .get(&dir)
            .is_some_and(|names| names.contains_key(name))
    }

    /// Returns the names of a directory that others changed and that stand for another object now.
    pub(super) fn visible(&self, dir: DirId, needs: &mut Needs) -> Result<Vec<&Name>, VfsError> {
        let mut visible = Vec::new();
        for (name, sides) in self.names.get(&dir).into_iter().flatten() {
            if self.is_others(dir, name) && self.differs(dir, name, *sides, needs)? {
                visible.push(name);
            }
        }
        Ok(visible)
    }

    fn differs(
        &self,
        dir: DirId,
        name: &Name,
        sides: Sides,
        needs: &mut Needs,
    ) -> Result<bool, VfsError> {
        if !(sides.old && sides.new) {
            // A name that came and went between the versions is in neither.
            return Ok(sides.old || sides.new);
        }
        let (Some(old), Some(new)) = (self.old(dir, needs), self.new_listing(dir, needs)) else {
            return Ok(false);
        };
        let records = (old.record_of(name)?, new.record_of(name)?);
        Ok(match records {
            // One object may have been two, or the other way round.
            // How many names there are is no reason to take it for another one.
            (Some(old), Some(new)) => {
                !is_same(&old, &new) || old.differences(&new).has(Aspect::Link)
            }
            _ => true,
        })
    }

    /// Returns a listing of the version that is left.
    pub(super) fn old(&self, dir: DirId, needs: &mut Needs) -> Option<Arc<Listing>> {
        let fetched = self.old.get(&dir).cloned();
        let found = fetched.or_else(|| self.pinned.base.listing_in_memory(dir));
        if found.is_none() {
            needs.old.insert(dir);
        }
        found
    }

    /// Returns a listing of the version that comes; an empty one for a directory that it does not
    /// have.
    pub(super) fn new_listing(&self, dir: DirId, needs: &mut Needs) -> Option<Arc<Listing>> {
        if !self.has_dir(dir) {
            return self.old(dir, needs);
        }
        let found = self.new.get(&dir).cloned();
        if found.is_none() {
            needs.new.insert(dir);
        }
        found
    }

    /// Returns where the version that comes has a directory, if it has it.
    pub(super) fn home(&self, dir: DirId, needs: &mut Needs) -> Option<&Option<(DirId, Name)>> {
        let home = self.homes.get(&dir);
        if home.is_none() {
            needs.homes.insert(dir);
        }
        home
    }

    /// Fetches what is missing.
    pub(super) async fn load(&mut self, needs: Needs) -> Result<(), VfsError> {
        self.load_homes(needs.homes).await?;
        let old = listings(&self.pinned.base, needs.old).await?;
        self.old.extend(old);
        let (gone, there) = needs.new.into_iter().partition(|dir| self.is_emptied(*dir));
        let new = listings(&self.next.base, there).await?;
        self.new.extend(new);
        let gone: BTreeSet<DirId> = gone;
        for dir in gone {
            self.new.insert(dir, empty()?);
        }
        Ok(())
    }

    async fn load_homes(&mut self, dirs: BTreeSet<DirId>) -> Result<(), VfsError> {
        if dirs.is_empty() {
            return Ok(());
        }
        let dirs: Vec<_> = dirs.into_iter().collect();
        let places = self.next.base.directory_places(&dirs).await?;
        self.homes.extend(dirs.into_iter().map(|dir| (dir, None)));
        for (dir, home) in places {
            self.homes.insert(dir, Some(home));
        }
        Ok(())
    }

    /// Returns true if nothing is left in a directory, without asking for its listing.
    fn is_emptied(&self, dir: DirId) -> bool {
        let old = self.old.get(&dir).cloned();
        let old = old.or_else(|| self.pinned.base.listing_in_memory(dir));
        let (Some(old), Some(names)) = (old, self.names.get(&dir)) else {
            return false;
        };
        // Names that came and went between the versions are among those that changed.
        let gone = names.values().filter(|sides| sides.old).count();
        gone == old.len() as usize && names.values().all(|sides| !sides.new)
    }
}

/// Returns true if the two records are of one object: same content and kind, or same directory. Its
/// attributes may differ.
pub(super) fn is_same(old: &Record, new: &Record) -> bool {
    let differences = old.differences(new);
    // A directory is one object whatever it has become; anything else is what it holds.
    match old.dir() {
        Some(_) => !differences.has(Aspect::Directory),
        None => !differences.has(Aspect::Content),
    }
}

/// Returns what hard-linked file a record is of.
pub(super) fn link_of(record: &Record) -> Option<LinkId> {
    record.link.map(|link| link.id)
}

fn empty() -> Result<Arc<Listing>, VfsError> {
    let listing = Listing::encode(&[]);
    let listing = listing.ok_or_else(|| VfsError::internal("no listing is empty"))?;
    Ok(Arc::new(listing))
}

/// Fetches listings, some at once. A directory that the version does not have is empty.
async fn listings(
    vfs: &Arc<BaseVersion>,
    dirs: BTreeSet<DirId>,
) -> Result<HashMap<DirId, Arc<Listing>>, VfsError> {
    let mut loaded = HashMap::new();
    let mut running = JoinSet::new();
    let mut dirs = dirs.into_iter().peekable();
    while dirs.peek().is_some() || !running.is_empty() {
        while running.len() < LOADS_MAX
            && let Some(dir) = dirs.next()
        {
            let vfs = Arc::clone(vfs);
            running.spawn(async move { (dir, vfs.listing(dir).await) });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        let (dir, listing) =
            done.map_err(|error| VfsError::unfinished("the load of a listing", &error))?;
        match listing {
            Err(VfsError::Stale) => loaded.insert(dir, empty()?),
            listing => loaded.insert(dir, listing?),
        };
    }
    Ok(loaded)
}
