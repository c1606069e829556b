//! The model test: random histories against whole trees kept per version.
//!
//! `LFSFS_MODEL_CASES` sets how many histories run, `LFSFS_MODEL_SEED` with which they begin; a
//! failure names the seed of its history.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use lfsfs_meta_store::Engine;
use lfsfs_metadata::{
    Change, CommitParams, ExactVersion, Metadata, MetadataError, Project, Published, Renames,
    RollbackParams,
};
use lfsfs_types::limits::PATH_LEN_MAX;
use lfsfs_types::{DirId, Kind, LinkId, Name, ObjectPath, Record, VersionId, VersionNumber};

use crate::merge::{check_forced, check_links, merge, with_old_ids};
use crate::support::{
    Random, assert_clean, begin, diff, in_memory, new_project, open, params, store_contents,
};
use crate::tree::{Line, Tree, Work, difference, difference_of_paths, in_memory_at_the_edges};

#[path = "model/clones.rs"]
mod clones;
#[path = "model/expiring.rs"]
mod expiring;
#[path = "model/objects.rs"]
pub(crate) mod objects;
#[path = "model/packs.rs"]
mod packs;
#[path = "model/refused.rs"]
mod refused;

fn cases(default: u64) -> Range<u64> {
    let number = |variable| std::env::var(variable).ok()?.parse::<u64>().ok();
    let first = number("LFSFS_MODEL_SEED").unwrap_or(0);
    first..first + number("LFSFS_MODEL_CASES").unwrap_or(default)
}

#[test]
fn random_histories_in_memory() {
    for seed in cases(300) {
        History::new(in_memory(), seed).run(12);
    }
}

/// Commits on older versions: rebased, refused or forced as the rules say.
#[test]
fn random_pairs_of_concurrent_commits() {
    for seed in cases(400) {
        run_pair(2_000_000 + seed);
    }
}

/// The same where paths, names, attributes, sizes and times are what a version can just hold.
#[test]
fn random_pairs_at_the_edges() {
    for seed in cases(200) {
        run_pair_at_the_edges(4_000_000 + seed);
    }
}

/// Histories that failed once.
#[test]
fn pairs_that_failed() {
    // Others put a directory in the place of the one that I replaced, with an entry like the old one.
    run_pair(2_010_588);
    // An empty directory was replaced by another, which no log of its path tells.
    run_pair(2_018_557);
    // Both put one directory into another, which I moved and they did not.
    run_pair(2_018_267);
    // One side changed the times of a hard link, the other moved a name of it; then with force.
    run_pair(9_003_769);
    run_pair(9_009_884);
    run_pair(9_011_024);
    // A name of a hard link is not where they moved it from only because it has more names.
    run_pair(10_000_446);
    run_pair(10_000_520);
    // They moved a name of a hard link with its directory, which I removed; I changed the file.
    run_pair(10_000_524);
    // They moved a name of a hard link with its directory; I changed the file under that name.
    run_pair(10_001_996);
    // A directory was made again with a name of a hard link that has another ctime.
    run_pair(10_001_966);
    // They moved the only name of a hard link whose time I changed.
    run_pair(2_000_257);
    // I put a directory in the place of one that I removed, and a file of the same name was in both.
    run_pair(32_015_157);
    // I moved a directory with a name of a hard link, and both removed another name; then with force.
    run_pair(62_084_807);
}

/// Histories at the edges that failed once.
#[test]
fn pairs_that_failed_at_the_edges() {
    // What lies below a directory that moved was not measured, because one between got an attribute.
    run_pair_at_the_edges(4_000_016);
    // A rollback moved a directory to where what it removed would have been too long.
    run_pair_at_the_edges(44_000_237);
    // A name of a hard link, of which I told another name, got too long with its directory.
    run_pair_at_the_edges(44_001_413);
    // Both renamed a directory alike, and they moved what it is in; then with force.
    run_pair_at_the_edges(44_001_540);
    // Both renamed a directory alike, and I one below it, too; the model was too strict.
    run_pair_at_the_edges(44_004_918);
}

fn run_pair(seed: u64) {
    let mut history = History::new(in_memory(), seed);
    history.stale = true;
    history.run(12);
}

fn run_pair_at_the_edges(seed: u64) {
    let mut history = History::new(in_memory_at_the_edges(), seed);
    history.stale = true;
    history.edges = true;
    history.run(12);
}

#[test]
fn random_histories_in_redb() {
    run_on_disk(Engine::Redb);
}

#[test]
fn random_histories_in_sled() {
    run_on_disk(Engine::Sled);
}

fn run_on_disk(engine: Engine) {
    for seed in cases(300).step_by(60) {
        let dir = tempfile::tempdir().unwrap();
        let store = engine.open(dir.path()).unwrap();
        let metadata = open(Arc::clone(&store));
        store_contents(&metadata);
        let history = History::new(metadata, 1_000_000 + seed).run(8);
        // Another process finds the same.
        let History { project, trees, .. } = history;
        let metadata = open(store);
        for (version, tree) in trees.iter().enumerate() {
            let version = VersionNumber(version as u64);
            assert_eq!(&Tree::read(&metadata, &project, version, 100), tree);
        }
    }
}

/// One project, with the tree of each of its versions.
struct History {
    metadata: Metadata,
    project: Project,
    seed: u64,
    random: Random,
    trees: Vec<Tree>,
    /// Whether commits are made on older versions too.
    stale: bool,
    /// Whether they go to the edges of what a version can hold, and beyond.
    edges: bool,
    /// Whether the pack patterns change now and then.
    repacks: bool,
    /// Ids that must not be given again.
    dirs: BTreeSet<DirId>,
    links: BTreeSet<LinkId>,
}

impl History {
    fn new(metadata: Metadata, seed: u64) -> Self {
        let project = new_project(&metadata);
        Self {
            metadata,
            project,
            seed,
            random: Random(seed),
            trees: vec![Tree::empty()],
            stale: false,
            edges: false,
            repacks: false,
            dirs: BTreeSet::from([DirId::ROOT]),
            links: BTreeSet::new(),
        }
    }

    fn run(mut self, commits: usize) -> Self {
        let seed = self.seed;
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..commits {
                self.commit();
                self.check_versions();
                self.check_log();
                objects::check(&self.metadata, &self.project, &self.trees);
            }
            assert_clean(&self.metadata);
        }));
        if let Err(panic) = told {
            println!("the history has seed {seed}");
            std::panic::resume_unwind(panic);
        }
        self
    }

    fn head(&self) -> VersionNumber {
        VersionNumber(self.trees.len() as u64 - 1)
    }

    fn commit(&mut self) {
        let age = if self.stale && self.random.chance(70) {
            self.random.below(self.trees.len().min(4))
        } else {
            0
        };
        let on = self.trees.len() - 1 - age;
        if self.stale && self.random.chance(5) {
            return self.roll_back(on);
        }
        if self.repacks && self.random.chance(20) {
            self.repack();
        }
        self.commit_on(on);
    }

    /// Commits random changes of a version.
    fn commit_on(&mut self, on: usize) {
        let head = self.trees.last().unwrap().clone();
        let base = self.trees[on].clone();
        let steps = 1 + self.random.below(12);
        let mut random = self.random.clone();
        let mut work = Work::on(&base, &mut random);
        work.edges = self.edges;
        (0..steps).for_each(|_| work.step());
        let changes = work.changes(&base);
        let (mine, too_long) = (work.tree, work.too_long);
        self.random = random;
        let mut params = params(&self.metadata, &self.project, self.random.id());
        let on = VersionNumber(on as u64);
        params.base = ExactVersion {
            number: on,
            id: self.metadata.version(self.project.id, on).unwrap().id,
        };
        if let Some(tree) = too_long {
            self.refuse_too_long(&params, &base, tree);
        }
        if self.edges && self.random.chance(10) {
            self.refuse_beyond(&params, &base, &mine);
        }
        let merged = if on == self.head() {
            Some(mine.clone())
        } else {
            merge(&base, &mine, &head)
        };
        let told = self.publish(params.clone(), changes.clone());
        let Some(wanted) = merged else {
            let Err(MetadataError::Conflicts { paths, .. }) = told else {
                panic!("no conflict on {base:#?} mine {mine:#?} theirs {head:#?}");
            };
            self.check_conflicts(&paths, &base, &head);
            return self.force(params, changes, [&base, &mine, &head]);
        };
        let published = told.unwrap_or_else(|error| {
            panic!("{error} on {base:#?} mine {mine:#?} theirs {head:#?} wanted {wanted:#?}")
        });
        self.check_published(&published, &head, &wanted);
    }

    fn publish(
        &self,
        params: CommitParams,
        changes: Vec<Change>,
    ) -> Result<Published, MetadataError> {
        let mut session = begin(&self.metadata, params);
        session.stage(changes)?;
        session.publish()
    }

    fn check_conflicts(&self, paths: &[ObjectPath], base: &Tree, head: &Tree) {
        assert!(!paths.is_empty());
        assert!(paths.is_sorted_by(|a, b| a < b), "{paths:?}");
        let known = |path: &ObjectPath| {
            [base, head].iter().any(|tree| {
                let dirs = tree.paths();
                let mut above = path.names().collect::<Vec<_>>();
                above.pop();
                let above = above
                    .iter()
                    .fold(ObjectPath::ROOT, |path, name| path.join(name).unwrap());
                dirs.values().any(|dir| *dir == above)
            })
        };
        assert!(paths.iter().all(known), "{paths:?}");
        let project = self.metadata.project_by_id(self.project.id).unwrap();
        assert_eq!(project.head.number, self.head());
    }

    fn force(&mut self, params: CommitParams, changes: Vec<Change>, trees: [&Tree; 3]) {
        if self.random.chance(40) {
            return;
        }
        let params = CommitParams {
            force: true,
            ..params
        };
        let [base, mine, theirs] = trees;
        let published = self.publish(params, changes).unwrap_or_else(|error| {
            panic!("{error:?} on {base:#?} mine {mine:#?} theirs {theirs:#?}")
        });
        let found = Tree::read(&self.metadata, &self.project, published.record.number, 3);
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check_forced(base, mine, theirs, &found);
        }));
        if let Err(panic) = told {
            println!("on {base:#?} mine {mine:#?} theirs {theirs:#?} forced {found:#?}");
            std::panic::resume_unwind(panic);
        }
        check_counts(&published, &found);
        for (made, real) in &published.dirs {
            assert!(made.is_session() && found.dirs.contains_key(real));
        }
        self.dirs.extend(found.dirs.keys());
        let records = found.dirs.values().flat_map(BTreeMap::values);
        self.links
            .extend(records.filter_map(|record| record.link).map(|link| link.id));
        if published.is_new {
            self.trees.push(found);
        }
    }

    fn roll_back(&mut self, to: usize) {
        let head = self.trees.last().unwrap().clone();
        let wanted = self.trees[to].clone();
        let params = RollbackParams {
            project: self.project.id,
            to: VersionNumber(to as u64),
            version: VersionId(self.random.id()),
            author: String::new(),
            message: String::new(),
        };
        let published = self.metadata.rollback(&params).unwrap();
        self.check_published(&published, &head, &wanted);
    }

    fn check_published(&mut self, published: &Published, base: &Tree, wanted: &Tree) {
        let version = published.record.number;
        let found = Tree::read(&self.metadata, &self.project, version, 3);
        let (expected, with_times) = self.expected(base, wanted, &found);
        check_links(&found);
        // Times of directories alone make no version, but are written with one.
        let expected = if expected == *base {
            base.clone()
        } else {
            with_times
        };
        assert_eq!(found, expected, "on {base:#?}");
        check_counts(published, &found);
        assert_eq!(published.is_new, expected != *base);
        if published.is_new {
            let record = &published.record;
            self.check_ids(published, wanted, &found);
            assert_eq!(record.number, self.head().next());
            self.trees.push(expected);
        }
    }

    /// The ids that were told are those of what the commit made.
    fn check_ids(&self, published: &Published, wanted: &Tree, found: &Tree) {
        let (wanted, found) = (wanted.paths(), found.paths());
        for (dir, path) in wanted.iter().filter(|(dir, _)| dir.is_session()) {
            let real = published.dirs.get(dir);
            assert_eq!(real.and_then(|real| found.get(real)), Some(path));
        }
    }

    /// Returns the wanted tree with the ids that it must have, with the old times of directories and
    /// with the wanted ones. Ids that are new are taken from what
    /// was found, after a look whether they may be given.
    fn expected(&mut self, base: &Tree, wanted: &Tree, found: &Tree) -> (Tree, Tree) {
        let mut expected = Tree {
            root: kept(Some(&base.root), &wanted.root),
            dirs: BTreeMap::new(),
        };
        let mut with_times = Tree {
            root: wanted.root.clone(),
            dirs: BTreeMap::new(),
        };
        let mut links = BTreeMap::new();
        let changed_links = self.changed_links(base, &with_old_ids(base, wanted));
        // Wanted id, id in the version, id in the base.
        let mut rest = vec![(DirId::ROOT, DirId::ROOT, Some(DirId::ROOT))];
        while let Some((dir, real, before)) = rest.pop() {
            let mut entries = BTreeMap::new();
            let mut timed = BTreeMap::new();
            for (name, record) in &wanted.dirs[&dir] {
                let found = found.dirs.get(&real).and_then(|entries| entries.get(name));
                let old = before.and_then(|before| base.dirs[&before].get(name));
                let mut record = record.clone();
                if let Some(below) = record.dir() {
                    let real = self.real_dir(below, old, wanted, found);
                    record.kind = Kind::Directory { dir: real };
                    let known = base.dirs.contains_key(&real);
                    rest.push((below, real, known.then_some(real)));
                }
                let linked = record
                    .link
                    .is_some_and(|link| changed_links.contains(&link.id));
                self.give_link(&mut record, found, &mut links);
                let kept = if linked {
                    record.clone()
                } else {
                    kept(old, &record)
                };
                let directory = record.dir().is_some();
                timed.insert(name.clone(), if directory { record } else { kept.clone() });
                entries.insert(name.clone(), kept);
            }
            expected.dirs.insert(real, entries);
            with_times.dirs.insert(real, timed);
        }
        (expected, with_times)
    }

    /// Links of which a name changes in more than ctime: then every name has the new record.
    fn changed_links(&self, base: &Tree, wanted: &Tree) -> BTreeSet<LinkId> {
        let names = |tree: &Tree| -> BTreeMap<(DirId, Name), Record> {
            let all = tree.dirs.iter().flat_map(|(dir, entries)| {
                entries
                    .iter()
                    .map(|(name, record)| ((*dir, name.clone()), record.clone()))
            });
            all.filter(|(_, record)| record.link.is_some()).collect()
        };
        let old = names(base);
        let mut changed = BTreeSet::new();
        for (place, record) in names(wanted) {
            let plain = |record: &Record| Record {
                ctime: lfsfs_types::Timestamp::default(),
                ..record.clone()
            };
            if old.get(&place).map(plain) != Some(plain(&record)) {
                changed.insert(record.link.unwrap().id);
            }
        }
        changed
    }

    fn real_dir(
        &mut self,
        dir: DirId,
        old: Option<&Record>,
        wanted: &Tree,
        found: Option<&Record>,
    ) -> DirId {
        if !dir.is_session() {
            return dir;
        }
        if let Some(old) = old.and_then(Record::dir)
            && !wanted.dirs.contains_key(&old)
        {
            return old;
        }
        let fresh = found
            .and_then(Record::dir)
            .expect("a new directory is there");
        assert!(self.dirs.insert(fresh), "{fresh} was given before");
        fresh
    }

    fn give_link(
        &mut self,
        record: &mut Record,
        found: Option<&Record>,
        links: &mut BTreeMap<LinkId, LinkId>,
    ) {
        let Some(link) = &mut record.link else {
            return;
        };
        if !link.id.is_session() {
            return;
        }
        let given = found
            .and_then(|found| found.link)
            .expect("a new link is there")
            .id;
        let known = &mut self.links;
        let first = links.entry(link.id).or_insert_with(|| {
            assert!(known.insert(given), "{given} was given before");
            given
        });
        link.id = *first;
    }

    /// Reads some versions again, and differences between some.
    fn check_versions(&mut self) {
        let count = self.trees.len();
        for _ in 0..3 {
            let version = self.random.below(count);
            let page = 1 + self.random.below(5);
            let number = VersionNumber(version as u64);
            let found = Tree::read(&self.metadata, &self.project, number, page);
            assert_eq!(found, self.trees[version], "version {version} has changed");
            self.check_paths(number, &self.trees[version]);
        }
        for _ in 0..4 {
            let (a, b) = (self.random.below(count), self.random.below(count));
            let [from, to] = [a, b].map(|version| &self.trees[version]);
            let expected = difference(from, to);
            assert_eq!(
                self.lines(a, b, Renames::Told),
                expected,
                "from {a} {from:#?} to {b} {to:#?}"
            );
            let expected = difference_of_paths(from, to);
            assert_eq!(
                self.lines(a, b, Renames::Expanded),
                expected,
                "by path from {a} {from:#?} to {b} {to:#?}"
            );
            self.check_changed_names(a, b);
        }
    }

    fn lines(&self, a: usize, b: usize, renames: Renames) -> BTreeSet<Line> {
        let [a, b] = [a, b].map(|version| VersionNumber(version as u64));
        let found = diff(&self.metadata, &self.project, a, b, renames);
        let lines = found.iter();
        let lines = lines.map(|entry| (entry.line, entry.path.clone(), entry.old_path.clone()));
        let lines: BTreeSet<_> = lines.collect();
        assert_eq!(lines.len(), found.len(), "a line is told twice");
        lines
    }

    /// The log of a path has the versions whose difference is about it or something below.
    fn check_log(&self) {
        // A source of its own, so that seeds of histories keep their meaning.
        let mut random = Random(self.random.0 ^ 2);
        let tree = random.below(self.trees.len());
        let paths: Vec<_> = self.trees[tree].names().into_values().collect();
        let (path, _) = random.pick(&paths).unwrap();
        let is_below = |found: &ObjectPath| {
            let names: Vec<_> = path.names().collect();
            found.names().take(names.len()).eq(names)
        };
        let mut expected = Vec::new();
        for version in (1..self.trees.len()).rev() {
            let [before, after] = [&self.trees[version - 1], &self.trees[version]];
            let by_path = difference_of_paths(before, after);
            let by_path = by_path.iter().any(|(_, path, _)| is_below(path));
            if path == ObjectPath::ROOT || by_path {
                expected.push(VersionNumber(version as u64));
            }
        }
        let mut found = Vec::new();
        let told = self
            .metadata
            .log_of_path(self.project.id, &path, None, &mut |version| {
                found.push(version.number);
                ControlFlow::Continue(())
            });
        assert!(told.unwrap().is_continue());
        assert_eq!(found, expected, "of {path:?}");
    }

    /// Every name that differs between two versions is told once, with its paths.
    fn check_changed_names(&self, a: usize, b: usize) {
        let mut told = BTreeMap::new();
        let (from, to) = (VersionNumber(a as u64), VersionNumber(b as u64));
        let project = self.project.id;
        let flow = self
            .metadata
            .changed_names(project, from, to, &mut |changed| {
                let place = (changed.dir, changed.name);
                let twice = told.insert(place, (changed.old, changed.new));
                assert_eq!(twice, None, "a name is told twice");
                ControlFlow::Continue(())
            });
        assert!(flow.unwrap().is_continue());
        let [old, new] = [a, b].map(|version| self.trees[version].names());
        for place in old.keys().chain(new.keys()) {
            if old.get(place).map(|found| &found.1) != new.get(place).map(|found| &found.1) {
                assert!(told.contains_key(place), "{place:?} was not told");
            }
        }
        let path = |found: Option<&(ObjectPath, Record)>| found.map(|found| found.0.clone());
        for (place, paths) in told {
            assert_eq!(paths, (path(old.get(&place)), path(new.get(&place))));
        }
    }

    /// Places are told once each, those above first, and of nothing that the version does not have.
    fn check_places(&self, version: VersionNumber, tree: &Tree) {
        let all: Vec<_> = self.dirs.iter().copied().collect();
        let places = self
            .metadata
            .directory_places(self.project.id, version, &all);
        let mut told = BTreeSet::from([DirId::ROOT]);
        for (dir, parent, name) in places.unwrap() {
            assert!(told.contains(&parent), "{parent} comes before {dir}");
            assert!(told.insert(dir), "{dir} is told twice");
            assert_eq!(tree.dirs[&parent][&name].dir(), Some(dir));
        }
        assert!(told.iter().eq(tree.dirs.keys()));
    }

    fn check_paths(&self, version: VersionNumber, tree: &Tree) {
        let project = self.project.id;
        for (dir, path) in tree.paths() {
            let found = self.metadata.directory_path(project, version, dir).unwrap();
            assert_eq!(found.as_ref(), Some(&path));
            for (name, record) in &tree.dirs[&dir] {
                let path = path.join(name).unwrap();
                let found = self.metadata.lookup(project, version, &path).unwrap();
                assert_eq!(found.map(|found| found.record).as_ref(), Some(record));
            }
        }
        self.check_places(version, tree);
        for dir in self.dirs.iter().filter(|dir| !tree.dirs.contains_key(dir)) {
            let found = self.metadata.directory_path(project, version, *dir);
            assert_eq!(found.unwrap(), None, "{dir} is not in {version}");
        }
    }
}

/// Objects and bytes are as many as the version says, and no path is longer.
fn check_counts(published: &Published, found: &Tree) {
    let counts = &published.record.counts;
    let told = counts.path_len.unwrap() as usize;
    assert!((found.path_len_max()..=PATH_LEN_MAX).contains(&told));
    let records = found.dirs.values().flat_map(BTreeMap::values);
    let sizes = records.map(|record| match record.kind {
        Kind::File { size, .. } => size,
        _ => 0,
    });
    let sizes: Vec<_> = sizes.collect();
    assert_eq!(counts.objects, sizes.len() as u64);
    assert_eq!(counts.bytes, sizes.into_iter().sum());
}

/// Returns the old record where the new one does not differ enough for a row.
fn kept(old: Option<&Record>, new: &Record) -> Record {
    let Some(old) = old else {
        return new.clone();
    };
    let directory = new.dir().is_some();
    let same = Record {
        ctime: new.ctime,
        mtime: if directory { new.mtime } else { old.mtime },
        ..old.clone()
    };
    if same == *new {
        old.clone()
    } else {
        new.clone()
    }
}
