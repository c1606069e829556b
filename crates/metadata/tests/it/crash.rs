//! Crashes between any two operations of the store, at every operation of a commit.
//!
//! The double is as strict as the seam: after a crash it has what was flushed and any number of
//! the batches behind, in their order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lfsfs_meta_store::{
    Applied, Batch, EngineFigures, KeyRange, MemoryStore, MetaError, MetaStore, MetaStoreExt as _,
    Read, Rows,
};
use lfsfs_metadata::{
    Begun, Change, Deletion, ExactVersion, Metadata, MetadataError, Project, ProjectSettings,
    Published, Renames,
};
use lfsfs_types::{DirId, Link, LinkId, ProjectName, Record, TagName, VersionId, VersionNumber};

use crate::support::{
    assert_clean, begin, clock, commit, commit_as, diff, directory, file, made, new_project, open,
    params, put, remove, staging_of, start, store_contents, with_packs,
};
use crate::tree::Tree;

/// So small that every kind of write is spread over several batches.
const BATCH_OPS_MAX: usize = 12;

/// What is called before an operation, with its number.
type Hook = Box<dyn FnMut(u64) + Send>;

/// A store that can stop at an operation and forget what was not flushed.
pub(crate) struct Double {
    live: MemoryStore,
    durable: MemoryStore,
    /// Batches that were not flushed.
    pending: Mutex<Vec<Batch>>,
    operations: AtomicU64,
    /// The operation at which the store stops, and whether it is made before.
    stop: Option<(u64, bool)>,
    exclusive: bool,
    batch_ops_max: usize,
    hook: Mutex<Option<Hook>>,
}

impl std::fmt::Debug for Double {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Double").finish_non_exhaustive()
    }
}

impl Double {
    pub(crate) fn new(exclusive: bool) -> Self {
        Self {
            live: MemoryStore::new(),
            durable: MemoryStore::new(),
            pending: Mutex::default(),
            operations: AtomicU64::new(0),
            stop: None,
            exclusive,
            batch_ops_max: BATCH_OPS_MAX,
            hook: Mutex::default(),
        }
    }

    /// Returns the store as it is found after a crash that kept `kept` batches behind the last
    /// flush; it stops at operation `stop`.
    pub(crate) fn after_crash(&self, kept: usize, stop: Option<(u64, bool)>) -> Self {
        let mut after = Self::new(self.exclusive);
        copy(&self.durable, &after.live);
        for batch in self.pending.lock().unwrap().iter().take(kept) {
            let writes = batch.writes.clone();
            after
                .live
                .write(Batch {
                    preconditions: Vec::new(),
                    writes,
                })
                .unwrap();
        }
        copy(&after.live, &after.durable);
        after.stop = stop;
        after.batch_ops_max = self.batch_ops_max;
        after
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.lock().unwrap().len()
    }

    pub(crate) fn on_operation(&self, hook: impl FnMut(u64) + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Counts an operation and makes it, unless the store has stopped.
    fn operate<T>(&self, make: impl FnOnce() -> Result<T, MetaError>) -> Result<T, MetaError> {
        let number = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        // The hook may use the store itself, and must not be called for that.
        let hook = self.hook.lock().unwrap().take();
        if let Some(mut hook) = hook {
            hook(number);
            *self.hook.lock().unwrap() = Some(hook);
        }
        let stopped = || MetaError::Stopped {
            reason: "the test stopped it".to_owned(),
        };
        match self.stop {
            Some((at, _)) if number > at => Err(stopped()),
            Some((at, false)) if number == at => Err(stopped()),
            Some((at, true)) if number == at => make().and_then(|_| Err(stopped())),
            _ => make(),
        }
    }
}

fn copy(from: &MemoryStore, to: &MemoryStore) {
    for row in from.scan_all(KeyRange::all(), 1000) {
        let (key, value) = row.unwrap();
        let mut batch = Batch::new();
        batch.put(key, value);
        to.write(batch).unwrap();
    }
}

impl MetaStore for Double {
    fn name(&self) -> &'static str {
        "double"
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    fn batch_ops_max(&self) -> usize {
        self.batch_ops_max
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MetaError> {
        self.live.get(key)
    }

    fn read(&self, reads: &[Read]) -> Result<Vec<Rows>, MetaError> {
        self.live.read(reads)
    }

    fn apply(&self, batch: Batch) -> Result<Applied, MetaError> {
        batch.check(self.batch_ops_max)?;
        self.operate(|| {
            let mut pending = self.pending.lock().unwrap();
            let applied = self.live.apply(batch.clone())?;
            if applied.is_done() {
                pending.push(batch);
            }
            Ok(applied)
        })
    }

    fn flush(&self) -> Result<(), MetaError> {
        self.operate(|| {
            for Batch { writes, .. } in self.pending.lock().unwrap().drain(..) {
                self.durable.write(Batch {
                    preconditions: Vec::new(),
                    writes,
                })?;
            }
            Ok(())
        })
    }

    fn figures(&self) -> EngineFigures {
        self.live.figures()
    }
}

fn linked(number: u8, link: LinkId, nlink: u32) -> Record {
    Record {
        link: Some(Link { id: link, nlink }),
        ..file(number)
    }
}

const NEW_LINK: LinkId = LinkId(LinkId::SESSION_FIRST.0 + 4);

/// A first version with directories, a hard link, and enough names for several batches.
pub(crate) fn first_version() -> Vec<Change> {
    let mut changes = vec![
        put(DirId::ROOT, "moves", directory(made(1))),
        put(DirId::ROOT, "goes", directory(made(2))),
        put(DirId::ROOT, "again", directory(made(3))),
        put(made(2), "below", directory(made(4))),
        put(made(4), "leaves", directory(made(5))),
        put(made(1), "one", linked(1, NEW_LINK, 2)),
        put(made(4), "two", linked(1, NEW_LINK, 2)),
        put(made(5), "deep", file(3)),
        put(made(3), "same", file(2)),
        put(made(3), "old", file(3)),
    ];
    for number in 0..20 {
        changes.push(put(DirId::ROOT, &format!("f{number:02}"), file(4)));
    }
    changes
}

/// A second version that moves, removes, makes again, edits and links.
pub(crate) fn second_version(tree: &Tree) -> Vec<Change> {
    let dir = |text: &str, at: DirId| tree.dirs[&at][&crate::support::name(text)].dir().unwrap();
    let moves = dir("moves", DirId::ROOT);
    let leaves = dir("leaves", dir("below", dir("goes", DirId::ROOT)));
    let link = tree.dirs[&moves][&crate::support::name("one")]
        .link
        .unwrap()
        .id;
    let mut changes = vec![
        remove(DirId::ROOT, "moves"),
        put(DirId::ROOT, "moved", directory(moves)),
        remove(DirId::ROOT, "goes"),
        put(moves, "rescued", directory(leaves)),
        put(moves, "one", linked(1, link, 1)),
        put(leaves, "deep", file(5)),
        put(DirId::ROOT, "again", directory(made(1))),
        put(made(1), "same", file(2)),
        put(made(1), "new", file(6)),
        put(DirId::ROOT, "x", linked(7, NEW_LINK, 2)),
        put(DirId::ROOT, "y", linked(7, NEW_LINK, 2)),
        put(DirId::ROOT, "z", directory(made(9))),
    ];
    for number in 0..10 {
        changes.push(put(DirId::ROOT, &format!("f{number:02}"), file(8)));
    }
    changes
}

/// A store with a project and as many versions, everything flushed.
struct Scene {
    store: Arc<Double>,
    project: Project,
    trees: Vec<Tree>,
}

fn scene(versions: usize) -> Scene {
    let store = Arc::new(Double::new(true));
    let metadata = open(store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    let mut trees = vec![Tree::empty()];
    for version in 1..=versions {
        let changes = changes_on(&trees);
        let record = commit(&metadata, &project, changes);
        assert_eq!(record.number, VersionNumber(version as u64));
        trees.push(Tree::read(&metadata, &project, record.number, 100));
    }
    Scene {
        store,
        project,
        trees,
    }
}

fn changes_on(trees: &[Tree]) -> Vec<Change> {
    match trees.len() {
        1 => first_version(),
        _ => second_version(trees.last().unwrap()),
    }
}

const LAST: [u8; 16] = [99; 16];

/// Crashes at each operation of the commit on top of `versions` versions.
fn crash_everywhere(versions: usize, made_before: bool) {
    let crashes = crash_with_batches_of(BATCH_OPS_MAX, versions, made_before);
    assert!(crashes > 10, "only {crashes} operations");
    // All rows of the version are in one batch.
    let crashes = crash_with_batches_of(1000, versions, made_before);
    assert!(crashes >= 3, "only {crashes} operations");
}

fn crash_with_batches_of(batch_ops_max: usize, versions: usize, made_before: bool) -> u64 {
    let Scene {
        trees: expected, ..
    } = scene(versions + 1);
    let Scene {
        store,
        project,
        trees,
    } = scene(versions);
    let mut crashes = 0;
    for at in 1.. {
        // The first operations are those of opening the store.
        let mut double = store.after_crash(usize::MAX, Some((at, made_before)));
        double.batch_ops_max = batch_ops_max;
        let double = Arc::new(double);
        let Ok(metadata) = start(double.clone()) else {
            continue;
        };
        let result = commit_as(&metadata, &project, LAST, changes_on(&trees));
        let stopped = double.operations.load(Ordering::SeqCst) >= at;
        for kept in [0, double.pending() / 2, double.pending()] {
            let after = Arc::new(double.after_crash(kept, None));
            check_after_crash(&after, &project, &expected, result.is_ok());
        }
        if !stopped {
            assert!(result.is_ok());
            return crashes;
        }
        crashes += 1;
    }
    unreachable!("a commit has an end")
}

fn check_after_crash(store: &Arc<Double>, project: &Project, expected: &[Tree], answered: bool) {
    check_commit_before_recovery(store, project, expected);
    let metadata = open(store.clone());
    let head = metadata.project_by_id(project.id).unwrap().head.number.0 as usize;
    let last = expected.len() - 1;
    assert!(head == last || head == last - 1, "the head is {head}");
    assert!(head == last || !answered, "an answered version is gone");
    check_trees(&metadata, project, &expected[..=head]);
    assert_clean(&metadata);
    // The client asks again under the same id; directory ids may differ, paths may not.
    let published = commit_as(&metadata, project, LAST, changes_on(&expected[..last])).unwrap();
    let record = published.record;
    assert_eq!(record.number.0 as usize, last);
    let found = Tree::read(&metadata, project, record.number, 100);
    assert_eq!(crate::tree::difference(&found, &expected[last]).len(), 0);
    check_trees(&metadata, project, &expected[..last]);
    assert_clean(&metadata);
}

/// The client may ask again before the server has undone what the crash left.
fn check_commit_before_recovery(store: &Double, project: &Project, expected: &[Tree]) {
    let copy = Arc::new(store.after_crash(usize::MAX, None));
    let metadata = Metadata::open(copy, clock()).unwrap();
    let last = expected.len() - 1;
    let published = commit_as(&metadata, project, LAST, changes_on(&expected[..last])).unwrap();
    assert_eq!(published.record.number.0 as usize, last);
    // A commit whose changes are being staged goes on through the recovery.
    let mut session = begin(&metadata, params(&metadata, project, [98; 16]));
    session
        .stage(vec![put(DirId::ROOT, "late", file(1))])
        .unwrap();
    metadata.recover().unwrap();
    assert_eq!(
        session.publish().unwrap().record.number.0 as usize,
        last + 1
    );
    check_trees(&metadata, project, &expected[..last]);
    assert_clean(&metadata);
}

fn check_trees(metadata: &Metadata, project: &Project, expected: &[Tree]) {
    for (version, tree) in expected.iter().enumerate() {
        let number = VersionNumber(version as u64);
        assert_eq!(&Tree::read(metadata, project, number, 7), tree, "{number}");
    }
}

#[test]
fn a_first_version_is_whole_or_absent() {
    crash_everywhere(0, false);
    crash_everywhere(0, true);
}

#[test]
fn a_later_version_is_whole_or_absent() {
    crash_everywhere(1, false);
    crash_everywhere(1, true);
}

#[test]
fn a_version_with_packs_is_whole_or_absent() {
    with_packs(&[".*"], || {
        crash_everywhere(0, false);
        crash_everywhere(1, true);
    });
}

/// A crash while the crash before is being undone.
#[test]
fn an_undo_that_crashes_is_repeated() {
    crash_undo();
    with_packs(&[".*"], crash_undo);
}

fn crash_undo() {
    let Scene {
        trees: expected, ..
    } = scene(2);
    let Scene {
        store,
        project,
        trees,
    } = scene(1);
    for at in 10..80 {
        let first = Arc::new(store.after_crash(usize::MAX, Some((at, true))));
        let Ok(metadata) = start(first.clone()) else {
            continue;
        };
        let result = commit_as(&metadata, &project, LAST, changes_on(&trees));
        for second_at in 1..60 {
            let second =
                Arc::new(first.after_crash(usize::MAX, Some((second_at, second_at % 2 == 0))));
            let opened = start(second.clone());
            let kept = [0, usize::MAX][second_at as usize % 2];
            let third = Arc::new(second.after_crash(kept, None));
            check_after_crash(&third, &project, &expected, result.is_ok());
            if opened.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn readers_see_the_same_at_every_operation_of_a_commit() {
    read_meanwhile();
    with_packs(&[".*"], read_meanwhile);
}

fn read_meanwhile() {
    for versions in [0, 1] {
        let Scene {
            store,
            project,
            trees,
        } = scene(versions);
        let reader = open(Arc::new(Double::new(true)));
        drop(reader);
        let double = Arc::new(store.after_crash(usize::MAX, None));
        let writer = start(double.clone()).unwrap();
        let reader = writer.clone();
        let looks = Arc::new(AtomicU64::new(0));
        let (seen, watched, old) = (looks.clone(), project.clone(), trees.clone());
        double.on_operation(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
            check_trees(&reader, &watched, &old);
            let head = VersionNumber(old.len() as u64 - 1);
            let lines = diff(&reader, &watched, VersionNumber::ZERO, head, Renames::Told);
            let expected = crate::tree::difference(&old[0], &old[old.len() - 1]);
            assert_eq!(lines.len(), expected.len());
        });
        commit_as(&writer, &project, LAST, changes_on(&trees)).unwrap();
        assert!(looks.load(Ordering::SeqCst) > 10);
    }
}

/// One coordinator stands still at each operation of publishing until its lease has expired and
/// another has published.
#[test]
fn a_late_writer_changes_nothing() {
    let Scene {
        store,
        project,
        trees,
    } = scene(1);
    for (overtaken, at) in (1..).enumerate() {
        let mut double = store.after_crash(usize::MAX, None);
        double.exclusive = false;
        let double = Arc::new(double);
        let clock = clock();
        let open = || Metadata::open_with(double.clone(), clock.clone(), staging_of(0)).unwrap();
        let (slow, fast) = (open(), open());
        let session = {
            let mut session = begin(&slow, params(&slow, &project, LAST));
            session.stage(changes_on(&trees)).unwrap();
            session
        };
        let before = double.operations.load(Ordering::SeqCst);
        let (other, same) = (project.clone(), fast.clone());
        let overtook = Arc::new(AtomicU64::new(0));
        let took = overtook.clone();
        double.on_operation(move |number| {
            if number == before + at {
                clock.advance(Duration::from_secs(31));
                let change = vec![put(DirId::ROOT, "fast", file(9))];
                commit(&same, &other, change);
                took.store(1, Ordering::SeqCst);
            }
        });
        let result = session.publish();
        *double.hook.lock().unwrap() = None;
        if overtook.load(Ordering::SeqCst) == 0 {
            assert!(overtaken > 10, "only {overtaken} operations");
            return;
        }
        check_overtaken(&fast, &project, &trees, &result);
    }
}

fn check_overtaken(
    fast: &Metadata,
    project: &Project,
    trees: &[Tree],
    result: &Result<Published, MetadataError>,
) {
    let fast_one = crate::support::name("fast");
    let head = fast.project_by_id(project.id).unwrap().head;
    let found = Tree::read(fast, project, head.number, 100);
    assert!(found.dirs[&DirId::ROOT].contains_key(&fast_one));
    match result {
        // It had published, or not taken the lease, when the other came.
        Ok(Published { record, .. }) => {
            assert_eq!(record.id, VersionId(LAST));
            // It was rebased, or it was the one that others came behind.
            let number = VersionNumber(2 + u64::from(record.parent != record.base));
            assert_eq!(record.number, number);
            assert_eq!(head.number, VersionNumber(3));
        }
        Err(MetadataError::LeaseLost { .. }) => {
            assert_eq!(head.number, VersionNumber(2));
            let mut expected = trees[1].clone();
            let root = expected.dirs.get_mut(&DirId::ROOT).unwrap();
            root.insert(fast_one, file(9));
            assert_eq!(found, expected);
        }
        Err(error) => panic!("{error}"),
    }
    check_trees(fast, project, trees);
    assert_clean(fast);
}

/// A commit on an older version, rebased or forced, stopped at each operation of it.
#[test]
fn a_rebase_is_whole_or_absent() {
    for force in [false, true] {
        crash_rebases(force);
        with_packs(&["s$", "s/$"], || crash_rebases(force));
    }
}

fn crash_rebases(force: bool) {
    let Scene { store, project, .. } = scene(2);
    let metadata = open(Arc::new(store.after_crash(usize::MAX, None)));
    let heads = [0, 1, 2].map(|number| Tree::read(&metadata, &project, VersionNumber(number), 9));
    let base = metadata.version(project.id, VersionNumber(1)).unwrap();
    let params = lfsfs_metadata::CommitParams {
        base: ExactVersion {
            number: base.number,
            id: base.id,
        },
        force,
        ..params(&metadata, &project, LAST)
    };
    // A name that the second version changes conflicts, a new one does not.
    let changed = heads[2].dirs[&DirId::ROOT].iter().find(|(name, record)| {
        let before = heads[1].dirs[&DirId::ROOT].get(*name);
        record.dir().is_none() && before.is_some_and(|before| before.kind != record.kind)
    });
    assert!(changed.is_some());
    let mut changes = vec![put(DirId::ROOT, "rebased", file(5))];
    changes.extend(changed.filter(|_| force).map(|(name, _)| Change {
        dir: DirId::ROOT,
        name: Some(name.clone()),
        state: Some(file(11)),
    }));
    let publish = |metadata: &Metadata| -> Result<Published, MetadataError> {
        let mut session = match metadata.begin_commit(params.clone())? {
            Begun::Session(session) => session,
            Begun::AlreadyDone(record) => panic!("done already: {record:?}"),
        };
        session.stage(changes.clone())?;
        session.publish()
    };
    for at in 1.. {
        let double = Arc::new(store.after_crash(usize::MAX, Some((at, at % 2 == 0))));
        let Ok(metadata) = start(double.clone()) else {
            continue;
        };
        let result = publish(&metadata);
        for kept in [0, double.pending() / 2, double.pending()] {
            let after = open(Arc::new(double.after_crash(kept, None)));
            check_trees(&after, &project, &heads);
            assert_clean(&after);
            let head = after.project_by_id(project.id).unwrap().head.number;
            assert!(head.0 == 3 || (head.0 == 2 && result.is_err()));
            if head.0 == 2 {
                let record = publish(&after).unwrap().record;
                assert_eq!((record.base.0, record.parent.0), (1, 2));
            }
            let found = Tree::read(&after, &project, VersionNumber(3), 9);
            let root = &found.dirs[&DirId::ROOT];
            assert_eq!(root.get(&crate::support::name("rebased")), Some(&file(5)));
            assert_clean(&after);
        }
        if result.is_ok() {
            return;
        }
    }
}

#[test]
fn a_commit_whose_answer_was_lost_is_done() {
    let Scene {
        store,
        project,
        trees,
    } = scene(1);
    let metadata = open(store);
    let params = params(&metadata, &project, LAST);
    let mut session = begin(&metadata, params.clone());
    session.stage(changes_on(&trees)).unwrap();
    let record = session.publish().unwrap().record;
    commit(
        &metadata,
        &project,
        vec![put(DirId::ROOT, "later", file(1))],
    );
    let Begun::AlreadyDone(again) = metadata.begin_commit(params).unwrap() else {
        panic!("the version id is a version's");
    };
    assert_eq!(again, record);
}

/// Two sessions with one version id: the second finds the first one's version when it publishes.
#[test]
fn a_commit_sent_twice_is_made_once() {
    let Scene {
        store,
        project,
        trees,
    } = scene(1);
    let metadata = open(store);
    let params = params(&metadata, &project, LAST);
    let mut sessions = [begin(&metadata, params.clone()), begin(&metadata, params)];
    for session in &mut sessions {
        session.stage(changes_on(&trees)).unwrap();
    }
    let [first, second] = sessions.map(|session| session.publish().unwrap());
    assert_eq!(first.record, second.record);
    assert!(first.is_new && !second.is_new);
    let head = metadata.project_by_id(project.id).unwrap().head.number;
    assert_eq!(head, VersionNumber(2));
}

/// A deletion that crashes is as if it had not begun, or it is finished by the next start.
#[test]
fn a_deleted_project_is_whole_or_gone() {
    let Scene {
        store,
        project,
        trees,
    } = scene(2);
    let metadata = open(store.clone());
    let other = metadata
        .new_project(
            &ProjectName::new("other").unwrap(),
            ProjectSettings::default(),
        )
        .unwrap();
    commit_as(&metadata, &other, [50; 16], first_version()).unwrap();
    let others = Tree::read(&metadata, &other, VersionNumber(1), 100);
    for project in [project.id, other.id] {
        let tag = TagName::new("tag").unwrap();
        let version = VersionNumber(1);
        metadata.set_tag(project, &tag, version, false).unwrap();
    }
    let check = |after: &Arc<Double>, answered: bool| {
        let metadata = open(after.clone());
        assert_clean(&metadata);
        let is_there = metadata.project_by_id(project.id).is_ok();
        assert!(!(answered && is_there), "a deleted project is back");
        if is_there {
            check_trees(&metadata, &project, &trees);
        } else {
            assert_no_row_of(after, &project);
        }
        let found = Tree::read(&metadata, &other, VersionNumber(1), 100);
        assert_eq!(found, others);
        let again = metadata.delete_project(&project.name, Deletion::AtOnce);
        assert_eq!(again.is_ok(), is_there);
        assert_no_row_of(after, &project);
        new_project(&metadata);
    };
    for at in 1.. {
        for made_before in [false, true] {
            let double = Arc::new(store.after_crash(usize::MAX, Some((at, made_before))));
            let deleted = start(double.clone())
                .and_then(|metadata| metadata.delete_project(&project.name, Deletion::AtOnce));
            for kept in [0, double.pending() / 2, double.pending()] {
                check(&Arc::new(double.after_crash(kept, None)), deleted.is_ok());
            }
            // The start that goes on with the deletion crashes too.
            for second_at in 1..20 {
                let second = double.after_crash(usize::MAX, Some((second_at, made_before)));
                let second = Arc::new(second);
                drop(start(second.clone()));
                check(&Arc::new(second.after_crash(0, None)), deleted.is_ok());
            }
            if double.operations.load(Ordering::SeqCst) < at {
                assert!(deleted.is_ok() && at > 20, "only {at} operations");
                return;
            }
        }
    }
}

/// A project that is deleted and kept, brought back, or removed in the end, stopped at each operation: it is there,
/// deleted and can be brought back with all it has, or on its way out, whatever the crash lets through.
#[test]
fn a_kept_project_is_there_or_deleted_or_on_its_way_out() {
    let Scene {
        store,
        project,
        trees,
    } = scene(2);
    let tag = TagName::new("tag").unwrap();
    let first = VersionNumber(1);
    let metadata = open(store.clone());
    metadata.set_tag(project.id, &tag, first, false).unwrap();
    let kept = {
        let kept = Arc::new(store.after_crash(usize::MAX, None));
        let metadata = open(kept.clone());
        metadata
            .delete_project(&project.name, Deletion::Kept)
            .unwrap();
        kept
    };
    type Act = fn(&Metadata, &Project) -> Result<(), MetadataError>;
    let delete: Act = |metadata, project| metadata.delete_project(&project.name, Deletion::Kept);
    let undelete: Act = |metadata, project| metadata.undelete_project(project.id, None).map(drop);
    let purge: Act = |metadata, project| metadata.purge_deleted(project.id);
    for (begin, act) in [(&store, delete), (&kept, undelete), (&kept, purge)] {
        let mut ends = std::collections::BTreeSet::new();
        for at in 1.. {
            let double = Arc::new(begin.after_crash(usize::MAX, Some((at, at % 2 == 0))));
            let acted = start(double.clone()).and_then(|metadata| act(&metadata, &project));
            for kept in 0..=double.pending() {
                let after = Arc::new(double.after_crash(kept, None));
                let metadata = open(after.clone());
                assert_clean(&metadata);
                let is_there = metadata.project_by_id(project.id).is_ok();
                let is_kept = metadata.deleted_project(project.id).unwrap().is_some();
                let is_marked = after.get(&deleted_mark(&project)).unwrap().is_some();
                ends.insert((is_there, is_kept, acted.is_ok()));
                assert!(!(is_there && is_kept), "it is there twice");
                assert!(!is_marked, "rows are left");
                if is_kept {
                    metadata.undelete_project(project.id, None).unwrap();
                }
                if is_there || is_kept {
                    check_trees(&metadata, &project, &trees);
                    let tags = metadata.list_tags(project.id, None, 9).unwrap().items;
                    assert_eq!(tags, [(tag.clone(), first)]);
                    assert_clean(&metadata);
                } else {
                    assert_no_row_of(&after, &project);
                    new_project(&metadata);
                }
            }
            if acted.is_ok() && double.operations.load(Ordering::SeqCst) < at {
                break;
            }
        }
        // It was seen before and after, and what was answered stays.
        let answered: Vec<_> = ends.iter().filter(|(.., answered)| *answered).collect();
        assert!(ends.len() > 1 && answered.len() == 1, "{ends:?}");
    }
}

/// The key of the mark of a project whose rows are being removed.
fn deleted_mark(project: &Project) -> Vec<u8> {
    [&[22], project.id.as_bytes().as_slice()].concat()
}

fn assert_no_row_of(store: &Arc<Double>, project: &Project) {
    let id = project.id.as_bytes();
    for row in store.scan_all(KeyRange::all(), 1000) {
        let (key, value) = row.unwrap();
        let names = |bytes: &[u8]| bytes.windows(id.len()).any(|part| part == id);
        assert!(!names(&key) && !names(&value), "{}", key.escape_ascii());
    }
}
