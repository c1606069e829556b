//! Several mounts of one project at once: what one commits lands beside what the others do, whichever
//! is killed meanwhile.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_tests::{Mounted, World, in_namespace_for};

use crate::model::call::Side;
use crate::model::generate::Generator;
use crate::model::number_of_environment;
use crate::model::seen::{Tree, Twins};
use crate::support::mount_newest_possible;

const NEIGHBOURS: u64 = 3;
/// Calls between two things that happen.
const CALLS: usize = 40;
/// Longer than a commit of so few changes takes.
const COMMIT_MILLISECONDS: usize = 80;

/// A mount with a directory of its own in it, and a local directory that the same calls are made on.
struct Neighbour<'a> {
    world: &'a World,
    mounted: Mounted<'a>,
    own: String,
    local: PathBuf,
    generator: Generator,
    twins: Twins,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Remount,
    Kill,
    KillInCommit,
    Commit,
    SwitchAndBack,
}

const EVENTS: [Event; 8] = [
    Event::Remount,
    Event::Kill,
    Event::KillInCommit,
    Event::KillInCommit,
    Event::Commit,
    Event::Commit,
    Event::Commit,
    Event::SwitchAndBack,
];

impl<'a> Neighbour<'a> {
    fn new(world: &'a World, seed: u64, number: u64) -> Self {
        let own = format!("own-{number}");
        let mounted = world.mount_writable("app", "suid,dev");
        let local = world.path(&own);
        for dir in [&mounted.path().join(&own), &local] {
            fs::create_dir(dir).expect("a directory");
            fs::set_permissions(dir, Permissions::from_mode(0o777)).expect("a mode");
        }
        let generator = Generator::new(seed * NEIGHBOURS + number);
        let twins = Twins::default();
        Self {
            world,
            mounted,
            own,
            local,
            generator,
            twins,
        }
    }

    fn dir(&self) -> PathBuf {
        self.mounted.path().join(&self.own)
    }

    fn run(mut self, rounds: u64) {
        for round in 0..rounds {
            self.make_calls();
            self.look(format_args!("round {round}"));
            let event = EVENTS[self.generator.below(EVENTS.len())];
            self.let_happen(event);
            self.look(format_args!("round {round}, after {event:?}"));
        }
        self.commit();
        self.mounted.umount();
    }

    fn look(&mut self, what: impl std::fmt::Display) {
        let what = format!("{}, {what}", self.own);
        self.twins.look(&self.dir(), &self.local, what);
        self.generator.learn(self.twins.ours());
    }

    fn make_calls(&mut self) {
        let (mut ours, mut local) = (Side::new(&self.dir()), Side::new(&self.local));
        for _ in 0..CALLS {
            let step = self.generator.step();
            let (answer, expected) = (ours.perform(&step), local.perform(&step));
            assert_eq!(answer, expected, "{}: {step:?}", self.own);
        }
    }

    fn let_happen(&mut self, event: Event) {
        match event {
            Event::Remount => self.mounted.remount(),
            Event::Kill => self.mounted.kill_and_mount(),
            Event::KillInCommit => self.kill_in_commit(),
            Event::Commit => self.commit(),
            Event::SwitchAndBack => self.switch_and_back(),
        }
        self.twins.commit();
        self.twins.renumber();
    }

    /// Commits and checks the version, which the others cannot have touched here.
    fn commit(&self) {
        let version = self.mounted.commit("a neighbour")["version"].clone();
        let shown = self.world.mount(&format!("app@v{version}"), "suid,dev");
        let theirs = Tree::of(&shown.path().join(&self.own));
        theirs.assert_is(
            &Tree::of(&self.dir()),
            format_args!("{} in v{version}", self.own),
        );
        shown.umount();
    }

    fn kill_in_commit(&mut self) {
        let words = ["commit".as_ref(), self.mounted.path().as_os_str()];
        let mut commit = Program::start(self.world.command(words)).expect("lfsfs starts");
        let moment = self.generator.below(COMMIT_MILLISECONDS) as u64;
        std::thread::sleep(Duration::from_millis(moment));
        self.mounted.kill();
        commit.wait(Duration::from_secs(60)).expect("it ends");
        mount_newest_possible(self.world, self.mounted.path(), "rw,suid,dev");
    }

    fn switch_and_back(&mut self) {
        self.commit();
        let newest = usize::try_from(self.world.head("app")).expect("few versions");
        let other = self.generator.below(newest) + 1;
        self.mounted.switch(&format!("v{other}"));
        self.mounted.switch("latest");
    }
}

fn run_neighbours(seed: u64, rounds: u64) {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("first"), "text").expect("a file");
    let _ = world.import(&tree, "app");
    std::thread::scope(|scope| {
        for number in 0..NEIGHBOURS {
            let neighbour = Neighbour::new(&world, seed, number);
            scope.spawn(move || neighbour.run(rounds));
        }
    });
    assert_head_is_all_of(&world);
}

/// Checks that the newest version has what every neighbour had in the end.
fn assert_head_is_all_of(world: &World) {
    let shown = world.mount("app", "suid,dev");
    for number in 0..NEIGHBOURS {
        let own = format!("own-{number}");
        let look = |dir: &Path| Tree::of(dir);
        let (ours, local) = (look(&shown.path().join(&own)), look(&world.path(&own)));
        assert!(ours.is_like(&local), "{own}: {}", ours.unlike(&local));
    }
    shown.umount();
}

#[test]
fn neighbours_that_are_killed_lose_nothing_and_disturb_no_other_mount() {
    let name = "several::neighbours_that_are_killed_lose_nothing_and_disturb_no_other_mount";
    in_namespace_for(name, Duration::from_secs(120), || run_neighbours(1, 12));
}

#[test]
#[ignore = "soak: many rounds"]
fn neighbours_over_many_rounds() {
    let name = "several::neighbours_over_many_rounds";
    in_namespace_for(name, Duration::from_secs(7_200), || {
        let first = number_of_environment("LFSFS_MODEL_SEED", 1);
        let count = number_of_environment("LFSFS_MODEL_CASES", 10);
        for seed in first..first + count {
            run_neighbours(seed, 100);
        }
    });
}
