//! `lfsfs project new --template`, `rename` and `delete`.

use std::fs;

use lfsfs_tests::World;

fn world() -> World {
    let world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "text").expect("a file");
    let _ = world.import(&tree, "app");
    world
}

#[test]
fn a_renamed_project_keeps_all_but_its_name() {
    let world = world();
    let _ = world.lfsfs(["tag", "app@v1", "stable"]).ok();
    let before = world.lfsfs(["project", "inspect", "app", "--json"]).json();
    let run = world.lfsfs(["project", "rename", "app", "web"]);
    assert_eq!((run.ok(), run.stderr()), (String::new(), String::new()));
    let after = world.lfsfs(["project", "inspect", "web", "--json"]).json();
    assert_eq!(before["id"], after["id"]);
    assert_eq!(world.lfsfs(["cat", "web@stable", "file"]).ok(), "text");
    world.lfsfs(["ls", "app"]).fails(1, &["app"]);
}

#[test]
fn a_name_that_is_taken_or_none_is_refused() {
    let world = world();
    let _ = world.lfsfs(["project", "new", "web"]).ok();
    world
        .lfsfs(["project", "rename", "app", "web"])
        .fails(1, &["web"]);
    world
        .lfsfs(["project", "rename", "none", "other"])
        .fails(1, &["none"]);
    world
        .lfsfs(["project", "rename", "app", "a b"])
        .fails(2, &["a b"]);
    assert_eq!(world.lfsfs(["cat", "app", "file"]).ok(), "text");
}

#[test]
fn one_that_is_there_is_made_only_if_it_is_missing() {
    let world = world();
    world.lfsfs(["project", "new", "app"]).fails(1, &["app"]);
    for name in ["app", "web", "web"] {
        let made = world.lfsfs(["project", "new", name, "--if-missing"]);
        assert_eq!((made.ok(), made.stderr()), (name.into(), String::new()));
    }
    assert_eq!(world.lfsfs(["cat", "app", "file"]).ok(), "text");
}

#[test]
fn a_project_asks_for_a_number_of_copies() {
    let world = World::new();
    let made = world.lfsfs(["project", "new", "copied", "--replication", "5"]);
    assert_eq!(made.ok(), "copied");
    let _ = world.lfsfs(["project", "new", "usual"]).ok();
    for (name, copies) in [("copied", 5), ("usual", 1)] {
        let project = world.lfsfs(["project", "inspect", name, "--json"]).json();
        assert_eq!(project["replication"], copies, "{name}");
    }
    for wrong in ["0", "17", "many"] {
        let refused = world.lfsfs(["project", "new", "app", "--replication", wrong]);
        refused.fails(2, &["--replication", wrong]);
    }
}

#[test]
fn without_a_terminal_only_yes_deletes() {
    let world = world();
    let asked = world.lfsfs(["project", "delete", "app"]);
    asked.fails(2, &["app", "v1", "--yes"]);
    assert_eq!(world.lfsfs(["cat", "app", "file"]).ok(), "text");
    world
        .lfsfs(["project", "delete", "none"])
        .fails(1, &["none"]);
    let _ = world.lfsfs(["project", "delete", "app", "--yes"]).ok();
    world.lfsfs(["ls", "app"]).fails(1, &["app"]);
    assert_eq!(world.lfsfs(["project", "list"]).ok(), "");
    // The name is free, and nothing of the old project is in the new one.
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    assert_eq!(world.head("app"), 0);
}

/// A project that begins with a version of another one has its tree and its settings.
#[test]
fn a_template_gives_tree_and_settings() {
    let world = World::new();
    let made = world.lfsfs([
        "project",
        "new",
        "app",
        "--replication",
        "3",
        "--pack",
        "p/",
    ]);
    let _ = made.ok();
    let tree = world.make_dir("tree");
    for text in ["one", "two"] {
        fs::write(tree.join("file"), text).expect("a file");
        let _ = world.import(&tree, "app");
    }
    let words = ["project", "new", "trial", "--template", "app@v1"];
    assert_eq!(world.lfsfs(words).ok(), "trial");
    assert_eq!(world.lfsfs(["cat", "trial@v1", "file"]).ok(), "one");
    let trial = world
        .lfsfs(["project", "inspect", "trial", "--json"])
        .json();
    assert_eq!(trial["head"], 1, "{trial}");
    assert_eq!(trial["replication"], 3, "{trial}");
    assert_eq!(trial["pack_patterns"][0], "p/", "{trial}");
    // What is named counts, and what is not there makes no project.
    let words = [
        "project",
        "new",
        "other",
        "--template",
        "app",
        "--replication",
        "1",
    ];
    let _ = world.lfsfs(words).ok();
    let other = world
        .lfsfs(["project", "inspect", "other", "--json"])
        .json();
    assert_eq!(other["replication"], 1, "{other}");
    assert_eq!(world.lfsfs(["cat", "other", "file"]).ok(), "two");
    for wrong in ["app@v9", "none"] {
        let words = ["project", "new", "third", "--template", wrong];
        world.lfsfs(words).fails(1, &[]);
    }
    world
        .lfsfs(["project", "new", "third", "--template", "a b"])
        .fails(2, &["--template"]);
    world
        .lfsfs(["project", "inspect", "third"])
        .fails(1, &["third"]);
}
