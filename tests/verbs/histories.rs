//! Random histories of several projects: after each step the source tree is compared with an export of the newest
//! version, and that with a fresh rebuild, one from the version before, one from a random version, one down to a
//! random version, and a mount.
//!
//! `LFSFS_MODEL_SEED` sets with which seed the histories begin, `LFSFS_MODEL_CASES` how many the long form tries. A
//! failure names the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use lfsfs_tests::{Numbers, World, in_namespace_for};

#[path = "histories/project.rs"]
mod project;
#[path = "histories/tree.rs"]
mod tree;

use project::Project;

/// Names of the projects.
const PROJECTS: [&str; 3] = ["plain", "packed", "more"];
/// Their pack patterns, which suit paths that `tree` makes, and others that they get.
const PACKS: [&[&str]; 5] = [
    &[],
    &["pack1", "a/[^/]+"],
    &["pack.*", "dir"],
    &[".*"],
    &["^[^/]+/[^/]+/$"],
];
/// Changes of a tree in one step, at most.
const CHANGES_MAX: u64 = 8;
/// Steps of a history in CI, and in the long form.
const STEPS: u64 = 120;
const STEPS_LONG: u64 = 400;
/// Steps that a failure tells.
const STEPS_TOLD: usize = 30;

/// What happens to a project between two looks at it.
#[derive(Debug, Clone, Copy)]
enum Step {
    Import,
    Update,
    Commit,
    RollBack,
    Clone,
    Collect,
    Repack,
}

const STEPS_WEIGHTED: [Step; 15] = [
    Step::Import,
    Step::Import,
    Step::Import,
    Step::Update,
    Step::Update,
    Step::Update,
    Step::Update,
    Step::Commit,
    Step::Commit,
    Step::Commit,
    Step::RollBack,
    Step::RollBack,
    Step::Clone,
    Step::Collect,
    Step::Repack,
];

/// Projects of one server, and what happened to them.
struct History<'a> {
    projects: Vec<Project<'a>>,
    numbers: Numbers,
    told: Vec<String>,
}

impl<'a> History<'a> {
    fn new(world: &'a World, seed: u64) -> Self {
        let new = |(name, packs): (&&str, &&[&str])| Project::new(world, name, packs);
        Self {
            projects: PROJECTS.iter().zip(&PACKS).map(new).collect(),
            // Seeds beside each other begin with other numbers, and 0 is none.
            numbers: Numbers((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            told: Vec::new(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        let number = self.numbers.below(end as u64);
        usize::try_from(number).expect("a small number")
    }

    fn step(&mut self) {
        let at = self.below(self.projects.len());
        let step = STEPS_WEIGHTED[self.below(STEPS_WEIGHTED.len())];
        self.told
            .push(format!("{} {step:?}", self.projects[at].name));
        match step {
            Step::Import => {
                self.change(at);
                self.projects[at].import();
            }
            Step::Update => {
                self.change(at);
                self.projects[at].update();
            }
            Step::Commit => {
                let count = 1 + self.numbers.below(CHANGES_MAX);
                let done = self.projects[at].commit(count, &mut self.numbers);
                self.told.extend(done);
            }
            Step::RollBack => {
                let done = self.projects[at].roll_back(&mut self.numbers);
                self.told.push(done);
            }
            Step::Clone => self.clone_into(at),
            Step::Collect => {
                let keep = 1 + self.numbers.below(5);
                self.projects[at].collect(keep);
            }
            Step::Repack => {
                let packs = PACKS[self.below(PACKS.len())];
                self.told.push(format!("{packs:?}"));
                self.projects[at].repack(packs);
            }
        }
        self.projects[at].look(&mut self.numbers);
    }

    fn change(&mut self, at: usize) {
        let count = 1 + self.numbers.below(CHANGES_MAX);
        let done = self.projects[at].change(count, &mut self.numbers);
        self.told.extend(done);
    }

    fn clone_into(&mut self, at: usize) {
        let other = (at + 1 + self.below(self.projects.len() - 1)) % self.projects.len();
        let from = &self.projects[other];
        let version = from.any_version(&mut self.numbers);
        let (source, exported) = (
            format!("{}@v{version}", from.name),
            from.exported[&version].clone(),
        );
        self.told.push(source.clone());
        self.projects[at].take(&source, &exported);
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
        }
        for project in &self.projects {
            project.assert_versions();
        }
    }
}

fn run(seed: u64, steps: u64) {
    let mut world = World::new();
    run_in(&world, seed, steps);
    world.stop_server();
    world.assert_check_is_clean();
}

fn run_in(world: &World, seed: u64, steps: u64) {
    let mut history = History::new(world, seed);
    let ended = catch_unwind(AssertUnwindSafe(|| history.run(steps)));
    let told = history.told.len().saturating_sub(STEPS_TOLD);
    assert!(
        ended.is_ok(),
        "LFSFS_MODEL_SEED={seed}; the last that was done, failure above:\n{}",
        history.told[told..].join("\n")
    );
    for project in history.projects {
        project.end();
    }
}

fn number_of_environment(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |text| text.parse().expect("a number"))
}

fn run_all(name: &str, count: u64, steps: u64) {
    in_namespace_for(name, Duration::from_secs(24 * 3_600), || {
        let first = number_of_environment("LFSFS_MODEL_SEED", 1);
        for seed in first..first + count {
            run(seed, steps);
        }
    });
}

#[test]
fn each_version_is_its_source_in_every_way() {
    run_all(
        "histories::each_version_is_its_source_in_every_way",
        1,
        STEPS,
    );
}

#[test]
#[ignore = "soak: many long histories"]
fn each_version_is_its_source_in_every_way_for_long() {
    let count = number_of_environment("LFSFS_MODEL_CASES", 10);
    let name = "histories::each_version_is_its_source_in_every_way_for_long";
    run_all(name, count, STEPS_LONG);
}
