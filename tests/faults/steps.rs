//! The coordinator is killed in each step of an import and of a commit: at each of their calls, once before the
//! call arrives and once before its answer does. Each version is there, whole and once.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use lfsfs_testkit::proxy::{Hold, Proxy};
use lfsfs_tests::{Cluster, Numbers, Run, eventually, in_namespace};

use crate::versions::{RETRY, check, new_project};

const STEP_MAX: Duration = Duration::from_secs(60);
/// An import asks for its base, for contents, for places, and commits: these are steps at least.
const STEPS_MIN: u64 = 5;

/// A cluster whose coordinator clients reach through a proxy.
struct Scene {
    cluster: Cluster,
    proxy: Proxy,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::new(3, &[]);
        new_project(&cluster.world);
        let target: SocketAddr = cluster.world.address().parse().expect("an address");
        let proxy = Proxy::start(target).expect("a proxy");
        Self { cluster, proxy }
    }

    /// Runs a command, and kills the coordinator when the command has come to this step. Returns whether it has
    /// so many steps.
    fn run(&mut self, words: &[&str], step: u64, hold: Hold) -> (Run, bool) {
        let mut command = self.cluster.world.command(RETRY.iter().chain(words));
        command.env("LFSFS_SERVER", self.proxy.address().to_string());
        self.proxy.hold_call(step, hold);
        let running = thread::spawn(move || Run::of(command));
        let is_there = || self.proxy.is_holding() || running.is_finished();
        assert!(eventually(STEP_MAX, is_there), "step {step}, {hold:?}");
        let is_held = self.proxy.is_holding();
        if is_held {
            self.cluster.kill_coordinator();
            self.cluster.start_coordinator();
        }
        self.proxy.restore().expect("the port of the proxy");
        (running.join().expect("the command runs"), is_held)
    }

    /// Runs the command that makes a version after each change of a tree, killed in each of its steps.
    fn in_each_step(&mut self, words: &[&str], tree: &Path) {
        let mut numbers = Numbers(77);
        let mut version = 0;
        for hold in [Hold::Call, Hold::Answer] {
            for step in 0.. {
                version += 1;
                change(tree, &mut numbers);
                let (run, is_held) = self.run(words, step, hold);
                let made = run.ok();
                let expected = format!("app@v{version}");
                assert!(made.contains(&expected), "step {step}, {hold:?}: {made}");
                assert_eq!(self.cluster.world.head("app"), version);
                if !is_held {
                    assert!(step >= STEPS_MIN, "{hold:?}: {step} steps");
                    break;
                }
            }
        }
    }

    /// Compares the newest version with a tree, and checks the metadata.
    fn check_newest(&mut self, tree: &Path) {
        let head = self.cluster.world.head("app");
        let number = usize::try_from(head).expect("few versions") - 1;
        check(&self.cluster.world, number, tree);
        self.cluster.kill_coordinator();
        let world = &self.cluster.world;
        let mut command = world.lfsfsd(["check", "--data"]);
        command.arg(world.path("coordinator"));
        let checked = Run::of(command);
        assert!(checked.ok().ends_with(": 0 findings"), "{checked:?}");
        self.cluster.start_coordinator();
    }
}

/// Changes a file, and makes one.
fn change(tree: &Path, numbers: &mut Numbers) {
    let name = format!("file-{}", numbers.below(1_000_000));
    for name in ["changed", &name] {
        fs::write(tree.join(name), numbers.bytes(100_000)).expect("a file");
    }
}

#[test]
fn a_coordinator_that_is_killed_in_each_step_of_an_import() {
    let mut scene = Scene::new();
    let tree = scene.cluster.world.make_dir("tree");
    let words = ["import", tree.to_str().expect("UTF-8"), "app"];
    scene.in_each_step(&words, &tree);
    scene.check_newest(&tree);
}

#[test]
fn a_coordinator_that_is_killed_in_each_step_of_a_commit() {
    in_namespace(
        "steps::a_coordinator_that_is_killed_in_each_step_of_a_commit",
        || {
            let mut scene = Scene::new();
            let dir = scene.cluster.world.make_dir("mnt");
            let options = format!("rw,server={}", scene.proxy.address());
            let _ = scene.cluster.world.mount_at("app", &dir, &options).ok();
            let words = ["commit", dir.to_str().expect("UTF-8")];
            scene.in_each_step(&words, &dir);
            scene.check_newest(&dir);
            let _ = scene.cluster.world.lfsfs(["umount", words[1]]).ok();
        },
    );
}
