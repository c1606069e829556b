//! Imports of one project at the same time.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_testkit::proxy::Proxy;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::World;
use lfsfs_tests::listing::assert_version_is_dir;

const TIMEOUT: Duration = Duration::from_secs(60);

fn start_import(world: &World, tree: &Path, project: &str) -> Program {
    let words = ["import".as_ref(), tree.as_os_str(), OsStr::new(project)];
    Program::start(world.command(words)).expect("lfsfs starts")
}

fn assert_conflict(status: ExitStatus, import: &Program) {
    let text = import.output();
    assert_eq!(status.code(), Some(3), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn of_two_at_once_one_wins_and_the_other_conflicts() {
    let mut world = World::new();
    let (slow, fast) = (world.path("slow"), world.path("fast"));
    for (tree, seed) in [(&slow, 1), (&fast, 2)] {
        let spec = TreeSpec {
            seed,
            ..TreeSpec::small()
        };
        let _ = spec.generate(tree).expect("a tree");
    }
    let base = world.make_dir("base");
    fs::write(base.join("file"), "1").expect("a file");
    let _ = world.import(&base, "app");

    let server = world.address().to_owned();
    let proxy = Proxy::start(server.parse().expect("an address")).expect("a proxy");
    proxy.delay(Duration::from_millis(250));
    world.set_address(&proxy.address().to_string());
    let mut import = start_import(&world, &slow, "app");
    // The answer that names the base has passed, and the commit cannot have.
    while proxy.counters().down < 500 {
        assert!(
            import.try_wait().expect("a process").is_none(),
            "{}",
            import.output()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(300));
    world.set_address(&server);
    assert_eq!(world.import(&fast, "app"), "app@v2");
    let status = import.wait(TIMEOUT).expect("the slow import ends");
    assert_conflict(status, &import);

    // Nothing of either is lost.
    assert_version_is_dir(&world, "app@v2", &fast);
    assert_eq!(world.head("app"), 2);
    assert_eq!(world.import(&slow, "app"), "app@v3");
    assert_version_is_dir(&world, "app@v3", &slow);
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
            assert_version_is_dir(&world, source.expect("a version"), tree);
        } else {
            assert_conflict(status, import);
        }
    }
    assert!(published > 0, "nobody won");
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
