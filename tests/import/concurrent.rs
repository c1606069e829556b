//! Imports of one project at the same time.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_testkit::proxy::Proxy;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::World;
use lfsfs_tests::listing::{
    assert_same_listing, assert_version_is_dir, listing_of_dir, listing_of_version,
};

const TIMEOUT: Duration = Duration::from_secs(60);

fn start_import(world: &World, tree: &Path, project: &str) -> Program {
    let words = ["import".as_ref(), tree.as_os_str(), OsStr::new(project)];
    Program::start(world.command(words)).expect("lfsfs starts")
}

/// Checks that an import failed as one does when others came first.
#[track_caller]
fn assert_conflict(status: ExitStatus, import: &Program) {
    let text = import.output();
    assert_eq!(status.code(), Some(3), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

/// Checks that a version holds all of a directory. After a rebase it holds what others made too.
#[track_caller]
fn assert_holds(world: &World, source: &str, tree: &Path) {
    let (mut held, wanted) = (listing_of_version(world, source), listing_of_dir(tree));
    held.retain(|path, _| wanted.contains_key(path));
    assert_same_listing(&held, &wanted);
}

/// Lets a second import publish while the first is on its way, and returns how the first ended.
fn import_slowly_and_fast(world: &mut World, slow: &Path, fast: &Path) -> (ExitStatus, Program) {
    let server = world.address().to_owned();
    let proxy = Proxy::start(server.parse().expect("an address")).expect("a proxy");
    proxy.delay(Duration::from_millis(250));
    world.set_address(&proxy.address().to_string());
    let mut import = start_import(world, slow, "app");
    // The answer that names the base has passed, and the commit cannot have.
    while proxy.counters().down < 500 {
        let ended = import.try_wait().expect("a process");
        assert!(ended.is_none(), "{}", import.output());
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(300));
    world.set_address(&server);
    assert_eq!(world.import(fast, "app"), "app@v2");
    let status = import.wait(TIMEOUT).expect("the slow import ends");
    (status, import)
}

fn world_with_base() -> (World, PathBuf) {
    let world = World::new();
    let base = world.make_dir("base");
    fs::write(base.join("file"), "1").expect("a file");
    let _ = world.import(&base, "app");
    (world, base)
}

#[test]
fn of_two_that_change_one_file_the_second_conflicts() {
    let (mut world, _) = world_with_base();
    let (slow, fast) = (world.make_dir("slow"), world.make_dir("fast"));
    for (tree, text) in [(&slow, "slow"), (&fast, "fast")] {
        fs::write(tree.join("file"), text).expect("a file");
    }
    let (status, import) = import_slowly_and_fast(&mut world, &slow, &fast);
    assert_conflict(status, &import);
    assert_eq!(world.head("app"), 2);
    assert_version_is_dir(&world, "app@v2", &fast);
    // Nothing is lost: the next import is on the new head.
    assert_eq!(world.import(&slow, "app"), "app@v3");
    assert_version_is_dir(&world, "app@v3", &slow);
    assert_version_is_dir(&world, "app@v2", &fast);
}

#[test]
fn of_two_that_touch_nothing_in_common_none_is_lost() {
    let (mut world, base) = world_with_base();
    let (slow, fast) = (world.make_dir("slow"), world.make_dir("fast"));
    for (tree, name) in [(&slow, "slow"), (&fast, "fast")] {
        let _ = fs::copy(base.join("file"), tree.join("file")).expect("a file");
        let time = fs::metadata(base.join("file")).and_then(|file| file.modified());
        let file = fs::File::options().write(true).open(tree.join("file"));
        let set = file.and_then(|file| file.set_modified(time?));
        set.expect("the time of the base");
        fs::write(tree.join(name), name).expect("a file");
    }
    let (status, import) = import_slowly_and_fast(&mut world, &slow, &fast);
    assert_version_is_dir(&world, "app@v2", &fast);
    if status.success() {
        // Rebased: the directory and what came meanwhile.
        assert_eq!(world.lfsfs(["ls", "app@v3"]).ok(), "fast\nfile\nslow");
    } else {
        assert_conflict(status, &import);
        assert_eq!(world.head("app"), 2);
    }
    assert_holds(&world, &world.import(&slow, "app"), &slow);
}

#[test]
fn many_at_once_make_whole_versions_only() {
    let world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let trees: Vec<_> = (0..4)
        .map(|number| world.path(&format!("tree{number}")))
        .collect();
    for (seed, tree) in (1..).zip(&trees) {
        let spec = TreeSpec {
            seed,
            ..TreeSpec::small()
        };
        let _ = spec.generate(tree).expect("a tree");
    }
    let mut imports: Vec<_> = trees
        .iter()
        .map(|tree| start_import(&world, tree, "app"))
        .collect();
    let mut published = 0;
    for (import, tree) in imports.iter_mut().zip(&trees) {
        let status = import.wait(TIMEOUT).expect("an import ends");
        if status.success() {
            published += 1;
            let text = import.output();
            let source = text.lines().find(|line| line.starts_with("app@v"));
            assert_holds(&world, source.expect("a version"), tree);
        } else {
            assert_conflict(status, import);
        }
    }
    assert!(published > 0, "no import won");
    assert_eq!(world.head("app"), published);
}

#[test]
fn imports_of_different_projects_do_not_meet() {
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let projects = ["one", "two", "three", "four"];
    for project in projects {
        let _ = world.lfsfs(["project", "new", project]).ok();
    }
    let mut imports = projects.map(|project| start_import(&world, &tree, project));
    for (import, project) in imports.iter_mut().zip(projects) {
        let status = import.wait(TIMEOUT).expect("an import ends");
        assert!(status.success(), "{}", import.output());
        assert_version_is_dir(&world, &format!("{project}@v1"), &tree);
    }
}
