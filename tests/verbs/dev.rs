//! `lfsfs dev`: back to where a test began.

use lfsfs_tests::World;

use crate::support::write;

#[test]
fn a_reset_brings_back_all_projects_and_deletes_the_others() {
    let world = World::with_server_arguments(&["--development"]);
    let tree = world.make_dir("tree");
    write(&tree, "file", "first");
    world.import(&tree, "app");
    world.import(&tree, "kept");
    assert_eq!(world.lfsfs(["project", "new", "empty"]).ok(), "empty");
    let state = world.lfsfs(["dev", "snapshot"]).ok();
    assert_eq!(state, "app=1,empty=0,kept=1");

    write(&tree, "file", "second");
    world.import(&tree, "app");
    world.import(&tree, "empty");
    world.import(&tree, "added");
    world
        .lfsfs(["dev", "reset", "--state", &state])
        .fails(2, &["--yes"]);
    let reset = |state: &str| {
        world
            .lfsfs(["dev", "reset", "--yes", "--state", state])
            .ok()
    };
    assert_eq!(reset(&state), "");
    assert_eq!(world.lfsfs(["cat", "app@v3", "file"]).ok(), "first");
    assert_eq!(world.lfsfs(["ls", "empty@v2"]).ok(), "");
    assert_eq!(
        world.lfsfs(["dev", "snapshot"]).ok(),
        "app=3,empty=2,kept=1"
    );
    assert_eq!(reset("app=3,empty=2,kept=1"), "");
    assert_eq!(
        world.lfsfs(["dev", "snapshot"]).ok(),
        "app=3,empty=2,kept=1"
    );
}

#[test]
fn a_reset_that_is_wrong_does_nothing() {
    let world = World::with_server_arguments(&["--development"]);
    let tree = world.make_dir("tree");
    write(&tree, "file", "first");
    world.import(&tree, "app");
    world.import(&tree, "other");
    let reset = |state: &str| world.lfsfs(["dev", "reset", "--yes", "--state", state]);
    reset("absent=1").fails(1, &["there is no project absent"]);
    reset("app=9").fails(1, &["app has no version v9"]);
    reset("app=1,app=1").fails(2, &["twice"]);
    reset("app").fails(2, &["PROJECT=VERSION"]);
    reset("app=x").fails(2, &["PROJECT=VERSION"]);
    assert_eq!(world.lfsfs(["dev", "snapshot"]).ok(), "app=1,other=1");
    assert_eq!(reset("").ok(), "");
    assert_eq!(world.lfsfs(["dev", "snapshot"]).ok(), "");
}

#[test]
fn a_server_that_is_not_for_development_refuses() {
    let world = World::new();
    let refused = world
        .lfsfs(["dev", "snapshot"])
        .fails(2, &["--development"]);
    assert!(refused.contains("tests"), "{refused}");
    world.import(&world.make_dir("tree"), "app");
    world
        .lfsfs(["dev", "reset", "--yes", "--state", ""])
        .fails(2, &["--development"]);
    assert!(world.lfsfs(["project", "list"]).ok().starts_with("app"));
}
