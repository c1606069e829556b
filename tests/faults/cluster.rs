//! A cluster whose parts fail while it is used: no version is lost, no reader sees an error, and the copies
//! come back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_tests::{Cluster, Numbers, Run};
use rustix::process::Signal;

const NODES: usize = 5;
const COPIES: usize = 3;
/// How long repair may take on a machine with much else to do.
const REPAIR_MAX: Duration = Duration::from_secs(120);
/// Soon enough for a test.
const REPAIR_AFTER: [&str; 2] = ["--repair-after", "4"];
/// A server that goes away for a moment must not end a command.
const RETRY: [&str; 2] = ["--retry-for", "60"];

/// Versions of a project, and the trees that they were made of.
struct Versions {
    trees: Vec<PathBuf>,
}

impl Versions {
    /// Makes a new tree, the one before with some changed files, and imports it.
    fn import_next(&mut self, cluster: &Cluster, numbers: &mut Numbers) {
        let world = &cluster.world;
        let tree = world.make_dir(&format!("tree-{}", self.trees.len()));
        if let Some(last) = self.trees.last() {
            copy_files(last, &tree);
        }
        for _ in 0..40 {
            let name = format!("file-{}", numbers.below(200));
            let len = 1 + numbers.below(100_000);
            let bytes = numbers.bytes(usize::try_from(len).expect("small"));
            fs::write(tree.join(name), bytes).expect("a file");
        }
        let tree_word = tree.to_str().expect("UTF-8");
        let words = [RETRY[0], RETRY[1], "import", tree_word, "app"];
        let imported = world.lfsfs(words);
        assert_eq!(imported.ok(), format!("app@v{}", self.trees.len() + 1));
        self.trees.push(tree);
    }

    /// Reads a version from the datanodes, and compares it.
    fn check(&self, cluster: &Cluster, number: usize) {
        let world = &cluster.world;
        let out = world.path("out");
        let source = format!("app@v{}", number + 1);
        let out_word = out.to_str().expect("UTF-8");
        let exported = world.lfsfs([RETRY[0], RETRY[1], "export", &source, out_word]);
        assert_eq!(exported.code(), Some(0), "{exported:?}");
        assert_same_files(&self.trees[number], &out);
        fs::remove_dir_all(out).expect("a directory");
    }
}

fn copy_files(from: &Path, to: &Path) {
    for file in names(from) {
        fs::copy(from.join(&file), to.join(&file)).expect("a copy");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let mut names: Vec<_> = names.map(|name| name.expect("UTF-8")).collect();
    names.sort();
    names
}

fn assert_same_files(expected: &Path, found: &Path) {
    assert_eq!(names(expected), names(found));
    for name in names(expected) {
        let read = |dir: &Path| fs::read(dir.join(&name)).expect("a file");
        assert!(read(expected) == read(found), "{name} differs");
    }
}

/// A cluster with three zones, which repairs soon and finds rot soon.
fn cluster_of(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(0, &REPAIR_AFTER);
    (0..nodes).for_each(|_| {
        add_node(&mut cluster);
    });
    cluster
}

fn add_node(cluster: &mut Cluster) {
    let zone = format!("zone-{}", cluster.nodes().len() % 3);
    cluster.start_node(&["--zone", &zone, "--scrub-period", "2"]);
}

fn new_project(cluster: &Cluster) {
    let made: Run = cluster.world.lfsfs(["project", "new", "app"]);
    assert_eq!(made.code(), Some(0), "{made:?}");
}

/// One datanode after the other is killed, stopped, or loses its disk, while versions are made and read.
fn one_after_the_other_fails(seed: u64, rounds: usize) {
    let mut numbers = Numbers(seed);
    let mut cluster = cluster_of(NODES);
    new_project(&cluster);
    let mut versions = Versions { trees: Vec::new() };
    versions.import_next(&cluster, &mut numbers);
    for round in 0..rounds {
        let node = usize::try_from(numbers.below(NODES as u64)).expect("small");
        let fault = if round < 3 {
            round as u64
        } else {
            numbers.below(3)
        };
        match fault {
            0 => cluster.kill_node(node),
            1 => cluster.signal_node(node, Signal::STOP),
            _ => {
                // The copies of before must be there: fewer disks may be lost than a write waits for.
                cluster.wait_for_copies(COPIES, REPAIR_MAX);
                cluster.kill_node(node);
                cluster.wipe_node(node);
            }
        }
        versions.import_next(&cluster, &mut numbers);
        versions.check(&cluster, versions.trees.len() - 1);
        let earlier = numbers.below(versions.trees.len() as u64);
        versions.check(&cluster, usize::try_from(earlier).expect("small"));
        if fault == 1 {
            cluster.signal_node(node, Signal::CONT);
        } else {
            cluster.start_node_again(node);
        }
    }
    cluster.wait_for_copies(COPIES, REPAIR_MAX);
    for number in 0..versions.trees.len() {
        versions.check(&cluster, number);
    }
}

#[test]
fn no_version_is_lost_when_one_datanode_after_the_other_fails() {
    one_after_the_other_fails(11, 4);
}

#[test]
#[ignore = "soak: many rounds"]
fn no_version_is_lost_over_many_rounds() {
    for seed in 100..110 {
        one_after_the_other_fails(seed, 30);
    }
}

#[test]
fn a_lost_datanode_is_made_up_for_and_its_copies_go_when_it_is_back() {
    let mut numbers = Numbers(5);
    let mut cluster = cluster_of(NODES);
    new_project(&cluster);
    let mut versions = Versions { trees: Vec::new() };
    versions.import_next(&cluster, &mut numbers);
    cluster.wait_for_copies(COPIES, REPAIR_MAX);
    let holder = (0..NODES)
        .find(|node| !cluster.chunk_files(*node).is_empty())
        .expect("a holder");
    cluster.kill_node(holder);
    // The disk of the lost node still counts here.
    cluster.wait_for_copies(COPIES + 1, REPAIR_MAX);
    versions.check(&cluster, 0);
    cluster.start_node_again(holder);
    cluster.wait_for_copies(COPIES, REPAIR_MAX);
    versions.check(&cluster, 0);
}

/// A damaged chunk is moved aside by the scrub, without a reader, and comes back from another datanode; so does
/// one that the disk does not give.
#[test]
fn what_a_disk_damages_is_found_without_a_reader_and_mended() {
    let mut numbers = Numbers(7);
    let cluster = cluster_of(4);
    new_project(&cluster);
    let mut versions = Versions { trees: Vec::new() };
    versions.import_next(&cluster, &mut numbers);
    cluster.wait_for_copies(COPIES, REPAIR_MAX);
    let mut damaged = 0;
    for node in 0..4 {
        let Some(file) = cluster.chunk_files(node).pop() else {
            continue;
        };
        let whole = fs::read(&file).expect("a chunk");
        match damaged {
            0 => {
                let mut flipped = whole.clone();
                flipped[whole.len() / 2] ^= 4;
                fs::write(&file, flipped).expect("a chunk");
            }
            1 => {
                // Reading a directory fails as reading from a bad place of a disk does.
                fs::remove_file(&file).expect("a chunk");
                fs::create_dir(&file).expect("a directory");
            }
            // Two of three copies of each chunk may be damaged, and not more.
            _ => break,
        }
        damaged += 1;
        let is_mended = || {
            cluster.copies().values().all(|copies| *copies == COPIES) && no_damage(&cluster, &whole)
        };
        assert!(
            lfsfs_tests::eventually(REPAIR_MAX, is_mended),
            "{:?}",
            cluster.copies()
        );
    }
    assert_eq!(damaged, 2);
    versions.check(&cluster, 0);
}

/// Returns whether all copies of a chunk are as it is.
fn no_damage(cluster: &Cluster, whole: &[u8]) -> bool {
    let files = (0..4).flat_map(|node| cluster.chunk_files(node));
    let lens: Vec<_> = files
        .map(|file| fs::read(file).unwrap_or_default())
        .collect();
    lens.iter().filter(|bytes| *bytes == whole).count() == COPIES
}

#[test]
fn a_write_needs_as_many_datanodes_as_it_waits_for() {
    let mut cluster = cluster_of(1);
    new_project(&cluster);
    let world = &cluster.world;
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), b"content").expect("a file");
    let refused = world.lfsfs(["import", tree.to_str().expect("UTF-8"), "app"]);
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.stderr().contains("2 datanodes"), "{refused:?}");
    assert_eq!(world.head("app"), 0);
    add_node(&mut cluster);
    let world = &cluster.world;
    assert_eq!(world.import(&tree, "app"), "app@v1");
}

#[test]
fn a_coordinator_that_is_killed_in_the_middle_of_an_import_makes_it_whole_or_absent() {
    let mut cluster = cluster_of(3);
    new_project(&cluster);
    let tree = cluster.world.make_dir("tree");
    let mut numbers = Numbers(9);
    for number in 0..60 {
        fs::write(
            tree.join(format!("file-{number}")),
            numbers.bytes(1_000_000),
        )
        .expect("a file");
    }
    let words = [
        RETRY[0],
        RETRY[1],
        "import",
        tree.to_str().expect("UTF-8"),
        "app",
    ];
    for millis in [100, 400, 900] {
        let command = cluster.world.command(words);
        let import = std::thread::spawn(move || Run::of(command));
        std::thread::sleep(Duration::from_millis(millis));
        cluster.kill_coordinator();
        std::thread::sleep(Duration::from_millis(300));
        cluster.start_coordinator();
        let imported = import.join().expect("the command runs");
        assert!(imported.ok().starts_with("app@v1"), "{imported:?}");
    }
    let versions = Versions { trees: vec![tree] };
    versions.check(&cluster, 0);
    cluster.wait_for_copies(3, REPAIR_MAX);
}
