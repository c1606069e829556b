//! Random calls in a mount and on a local directory: equal answers, error numbers and trees, with
//! remounts, kills, commits and switches in between; and every version stays what it was.
//!
//! `LFSFS_MODEL_CASES` sets how many sequences the long form tries, `LFSFS_MODEL_SEED` with which
//! seed it begins.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_testkit::tempdir::TempDir;
use lfsfs_testkit::tree::{Features, TreeSpec};
use lfsfs_tests::{Mounted, Numbers, World, in_namespace, in_namespace_for, run};

#[path = "model/call.rs"]
pub(crate) mod call;
#[path = "model/deep.rs"]
mod deep;
#[path = "model/generate.rs"]
pub(crate) mod generate;
#[path = "model/mapped.rs"]
pub(crate) mod mapped;
#[path = "model/seen.rs"]
pub(crate) mod seen;

use call::{Side, Step};
use deep::{Depth, Opened};
use generate::Generator;
use rustix::io::Errno;
use seen::{Tree, Twins};

/// Calls between two looks at whole trees.
const CALLS_PER_LOOK: usize = 60;
/// Looks between two things that happen to a mount.
const LOOKS_PER_EVENT: usize = 2;

/// What happens to a mount between calls.
#[derive(Debug, Clone, Copy)]
enum Event {
    Remount,
    Kill,
    Commit,
    CommitAndRemount,
    SwitchAndBack,
    Discard,
}

const EVENTS: [Event; 8] = [
    Event::Remount,
    Event::Kill,
    Event::Commit,
    Event::Commit,
    Event::CommitAndRemount,
    Event::SwitchAndBack,
    Event::SwitchAndBack,
    Event::Discard,
];

/// What the calls are compared with.
trait Subject {
    fn path(&self) -> &Path;

    /// Where in that the tree lies.
    fn depth(&self) -> Depth;

    /// Whether it refuses paths that are too long for a version.
    fn has_limit(&self) -> bool;

    /// Opens the directory of the tree.
    fn open(&self) -> Opened {
        self.depth().open(self.path())
    }

    /// Lets something happen.
    fn event(&mut self, event: Event, twins: &mut Twins, local: &Path);
}

/// Returns true if no file is open while it happens: the mount ends, or what was opened may no
/// longer be what is at its path, and takes no changes then.
fn closes_files(event: Event) -> bool {
    !matches!(event, Event::Commit)
}

/// Another local directory: shows what of the comparison is true of any file system.
struct Plain {
    dir: TempDir,
    depth: Depth,
}

impl Subject for Plain {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn depth(&self) -> Depth {
        self.depth
    }

    fn has_limit(&self) -> bool {
        false
    }

    fn event(&mut self, _: Event, _: &mut Twins, _: &Path) {}
}

/// A writable mount, with what each of its versions was.
struct Mount<'a> {
    world: &'a World,
    mounted: Mounted<'a>,
    depth: Depth,
    versions: Vec<(String, Tree)>,
    /// The local directory as it was when the newest version was made.
    saved: PathBuf,
    /// Some objects may have other numbers in the next mount: what was committed in this one, and what a discard
    /// brought back while the kernel knew what was there instead.
    renumbers: bool,
}

impl<'a> Mount<'a> {
    fn new(world: &'a World, tree: &Path, depth: Depth) -> Self {
        let first = world.path("first");
        copy(tree, &first);
        depth.bury(&first);
        let source = world.import(&first, "app");
        let mounted = world.mount_writable(&source, "suid,dev");
        let saved = world.path("saved");
        let mut mount = Self {
            world,
            mounted,
            depth,
            versions: Vec::new(),
            saved,
            renumbers: false,
        };
        mount.note_version(tree);
        mount
    }

    /// Notes what the version is that is shown, and what the local directory was then.
    fn note_version(&mut self, local: &Path) {
        let source = self.mounted.source();
        let tree = Tree::of(self.open().path());
        if let Some((_, noted)) = self.versions.iter().find(|(noted, _)| *noted == source) {
            tree.assert_is(noted, format_args!("{source} as shown again"));
        } else {
            self.versions.push((source, tree));
        }
        copy(local, &self.saved);
    }

    fn commit(&mut self, twins: &mut Twins, local: &Path) {
        let before = twins.ours().clone();
        twins.commit();
        self.renumbers = true;
        self.mounted.commit("by the model");
        assert_eq!(self.mounted.changes(), 0, "committed");
        assert!(self.mounted.diff().is_empty(), "committed");
        let after = Tree::of(self.open().path());
        after.assert_is(&before, "a commit changes nothing that is seen");
        self.note_version(local);
    }

    fn remount(&mut self, twins: &mut Twins, remount: impl FnOnce(&Mounted<'a>)) {
        remount(&self.mounted);
        if std::mem::take(&mut self.renumbers) {
            twins.renumber();
        }
    }

    fn switch_and_back(&mut self, at: usize) {
        let newest = self.mounted.source();
        let (source, tree) = &self.versions[at];
        let version = |source: &str| source.rsplit('@').next().expect("a version").to_owned();
        self.mounted.switch(&version(source));
        let shown = Tree::of(self.open().path());
        shown.assert_is(tree, format_args!("switched from {newest} to {source}"));
        self.mounted.switch(&version(&newest));
    }

    fn discard(&mut self, local: &Path) {
        let _ = self.mounted.verb(["discard", "--yes"]).ok();
        assert_eq!(self.mounted.changes(), 0, "discarded");
        copy(&self.saved, local);
        self.renumbers = true;
    }

    /// Checks that every version is for ever what it was when it was made.
    fn assert_versions(&self) {
        for (source, tree) in &self.versions {
            let mount = self.world.mount(source, "suid,dev");
            let shown = Tree::of(self.depth.open(mount.path()).path());
            shown.assert_is(tree, format_args!("{source} at the end"));
            mount.umount();
        }
    }
}

impl Subject for Mount<'_> {
    fn path(&self) -> &Path {
        self.mounted.path()
    }

    fn depth(&self) -> Depth {
        self.depth
    }

    fn has_limit(&self) -> bool {
        true
    }

    fn event(&mut self, event: Event, twins: &mut Twins, local: &Path) {
        match event {
            Event::Remount => self.remount(twins, Mounted::remount),
            Event::Kill => self.remount(twins, Mounted::kill_and_mount),
            Event::Commit => self.commit(twins, local),
            Event::CommitAndRemount => {
                self.commit(twins, local);
                self.remount(twins, Mounted::remount);
            }
            Event::SwitchAndBack => {
                self.commit(twins, local);
                self.switch_and_back(twins.ours().len() % self.versions.len());
                twins.renumber();
            }
            Event::Discard => {
                self.discard(local);
                twins.renumber();
            }
        }
    }
}

/// Makes one directory what another is.
pub(crate) fn copy(from: &Path, to: &Path) {
    if to.exists() {
        for entry in fs::read_dir(to).expect("a directory") {
            let path = entry.expect("an entry").path();
            let is_dir = path.symlink_metadata().expect("attributes").is_dir();
            let removed = if is_dir {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.expect("it can be removed");
        }
    } else {
        fs::create_dir(to).expect("a directory");
    }
    let from = format!("{}/.", from.display());
    let _ = run("cp", ["-a", &from, to.to_str().expect("text")]).ok();
}

/// Makes the tree that both sides begin with.
pub(crate) fn first_tree(dir: &Path) {
    let spec = TreeSpec {
        files: 40,
        features: Features {
            symlinks: true,
            hard_links: true,
            ..Features::none()
        },
        ..TreeSpec::small()
    };
    spec.generate(dir).expect("a tree");
    // Odd targets of the generator lead out of the tree, where the sides differ.
    fs::remove_dir_all(dir.join("symlinks")).expect("a directory");
    fs::write(dir.join("large"), Numbers(1).bytes(700_000)).expect("a file");
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("a mode");
}

/// Returns the generator of a run: where the tree lies deep, it goes to the edges.
fn generator(seed: u64, depth: Depth) -> Generator {
    match depth {
        Depth::Top => Generator::new(seed),
        Depth::Deep => Generator::at_the_edges(seed),
    }
}

/// Makes one call on both sides and compares the answers. What would make a path too long must be
/// refused by a mount, and is not made in a local directory, which has no such limit.
fn call(
    subject: &impl Subject,
    (ours, theirs): (&mut Side, &mut Side),
    step: &Step,
    what: impl fmt::Display,
) {
    let room = subject.depth().room();
    let is_beyond = room.is_some_and(|room| deep::is_beyond(theirs, &step.call, room));
    if is_beyond && !subject.has_limit() {
        return;
    }
    let answer = ours.perform(step);
    if is_beyond && answer == Err(Errno::NAMETOOLONG) {
        return;
    }
    assert!(
        !is_beyond || answer.is_err(),
        "{what}: {step:?} made a path that is too long"
    );
    let expected = theirs.perform(step);
    assert_eq!(
        answer, expected,
        "{what}: {step:?}: ours, then the local one"
    );
}

/// Makes random calls on both sides and compares all there is to compare.
fn compare(subject: &mut impl Subject, local: &Path, seed: u64, calls: usize) {
    let mut generator = generator(seed, subject.depth());
    let mut twins = Twins::default();
    let at = |number: usize| format!("seed {seed}, call {number}");
    twins.look(subject.open().path(), local, at(0));
    generator.learn(twins.ours());
    let (mut ours, mut theirs) = sides(subject, local);
    let mut events = Vec::new();
    for number in 1..=calls {
        let step = generator.step();
        call(subject, (&mut ours, &mut theirs), &step, at(number));
        if number % CALLS_PER_LOOK != 0 && number != calls {
            continue;
        }
        twins.look(subject.open().path(), local, at(number));
        if number % (CALLS_PER_LOOK * LOOKS_PER_EVENT) == 0 || number == calls {
            let event = EVENTS[generator.below(EVENTS.len())];
            events.push(event);
            if closes_files(event) {
                drop((ours, theirs));
                subject.event(event, &mut twins, local);
                (ours, theirs) = sides(subject, local);
            } else {
                subject.event(event, &mut twins, local);
            }
            twins.look(
                subject.open().path(),
                local,
                format_args!("{}, after {events:?}", at(number)),
            );
        }
        generator.learn(twins.ours());
    }
}

fn sides(subject: &impl Subject, local: &Path) -> (Side, Side) {
    (Side::new(subject.open().path()), Side::new(local))
}

fn run_in_mount(seed: u64, calls: usize, depth: Depth) {
    let world = World::new();
    let local = world.path("local");
    first_tree(&local);
    let mut mount = Mount::new(&world, &local, depth);
    compare(&mut mount, &local, seed, calls);
    mount.assert_versions();
    let Mount { mounted, .. } = mount;
    mounted.umount();
}

/// Returns the length of the longest path of a tree.
fn longest(tree: &Path) -> usize {
    let tree = Tree::of(tree);
    tree.paths().map(|path| path.len()).max().unwrap_or(0)
}

fn run_in_two_local_directories(seed: u64, depth: Depth) {
    let dirs = [
        TempDir::new().expect("a directory"),
        TempDir::new().expect("a directory"),
    ];
    let local = dirs[0].path().join("tree");
    first_tree(&local);
    let [_local, dir] = dirs;
    copy(&local, dir.path());
    depth.bury(dir.path());
    let mut plain = Plain { dir, depth };
    compare(&mut plain, &local, seed, 1_000);
    assert!(longest(&local) <= depth.room().unwrap_or(usize::MAX));
}

#[test]
fn two_local_directories_answer_alike() {
    in_namespace("model::two_local_directories_answer_alike", || {
        for seed in 1..=3 {
            run_in_two_local_directories(seed, Depth::Top);
            run_in_two_local_directories(seed, Depth::Deep);
        }
    });
}

#[test]
fn a_difference_of_one_bit_is_found() {
    let local = TempDir::new().expect("a directory");
    let tree = local.path().join("tree");
    first_tree(&tree);
    let changes: [&dyn Fn(&Path); 3] = [
        &|path| {
            let mut bytes = fs::read(path).expect("a file");
            bytes[0] ^= 1;
            let times = path.metadata().expect("attributes").modified();
            fs::write(path, bytes).expect("a file");
            let file = fs::File::options().write(true).open(path).expect("a file");
            file.set_modified(times.expect("a time")).expect("a time");
        },
        &|path| fs::set_permissions(path, PermissionsExt::from_mode(0o640)).expect("a mode"),
        &|path| xattr::set(path, "user.a", b"").expect("an extended attribute"),
    ];
    let other = local.path().join("other");
    copy(&tree, &other);
    Twins::default().look(&other, &tree, "equal");
    for change in changes {
        copy(&tree, &other);
        change(&other.join("index.js"));
        let look = || Twins::default().look(&other, &tree, "one differs");
        assert!(std::panic::catch_unwind(look).is_err());
    }
}

#[test]
fn a_mount_answers_like_a_local_directory() {
    in_namespace_for(
        "model::a_mount_answers_like_a_local_directory",
        Duration::from_secs(60),
        || {
            for seed in 1..=3 {
                run_in_mount(seed, 1_200, Depth::Top);
            }
        },
    );
}

/// The same where paths come to the longest that there can be, with odd names of attributes and far
/// offsets.
#[test]
fn a_mount_answers_like_a_local_directory_at_the_edges() {
    in_namespace_for(
        "model::a_mount_answers_like_a_local_directory_at_the_edges",
        Duration::from_secs(60),
        || {
            for seed in 1..=3 {
                run_in_mount(seed, 1_200, Depth::Deep);
            }
        },
    );
}

pub(crate) fn number_of_environment(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |text| text.parse().expect("a number"))
}

#[test]
#[ignore = "soak: many sequences"]
fn a_mount_answers_like_a_local_directory_in_many_sequences() {
    let name = "model::a_mount_answers_like_a_local_directory_in_many_sequences";
    in_namespace_for(name, Duration::from_secs(24 * 3_600), || {
        let first = number_of_environment("LFSFS_MODEL_SEED", 1);
        let count = number_of_environment("LFSFS_MODEL_CASES", 20);
        for seed in first..first + count {
            run_in_mount(seed, 3_000, Depth::Top);
            run_in_mount(seed, 3_000, Depth::Deep);
        }
    });
}
