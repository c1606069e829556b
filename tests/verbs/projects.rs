//! `lfsfs project new --template`, `rename`, `delete` and `undelete`.

use std::fs;
use std::time::Duration;

use lfsfs_tests::{World, eventually, in_namespace};
use serde_json::Value;

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

fn deleted(world: &World) -> Vec<Value> {
    let listed = world.lfsfs(["project", "list", "--deleted", "--json"]).ok();
    let lines = listed.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON")
}

fn delete(world: &World, words: &[&str]) {
    let words = [&["project", "delete", "--yes"], words].concat();
    assert_eq!(world.lfsfs(words).ok(), "");
}

#[test]
fn a_deleted_project_comes_back_and_its_mounts_go_on() {
    let name = "projects::a_deleted_project_comes_back_and_its_mounts_go_on";
    in_namespace(name, || {
        let mut world = world();
        let tree = world.path("tree");
        fs::write(tree.join("other"), "more").expect("a file");
        let _ = world.import(&tree, "app");
        let _ = world.lfsfs(["tag", "app@v1", "stable"]).ok();
        let before = world.lfsfs(["project", "inspect", "app", "--json"]).json();
        let mount = world.mount_writable("app@v2", "");
        fs::write(mount.path().join("mine"), "mine").expect("a change");

        delete(&world, &["app"]);
        world.lfsfs(["cat", "app", "file"]).fails(1, &["app"]);
        assert_eq!(world.lfsfs(["project", "list"]).ok(), "");
        let failed = fs::read(mount.path().join("other")).expect_err("it is deleted");
        assert_eq!(
            failed.raw_os_error(),
            Some(rustix::io::Errno::IO.raw_os_error())
        );
        let found = deleted(&world);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (&found[0]["name"], &found[0]["id"]),
            (&"app".into(), &before["id"])
        );
        assert!(found[0]["kept_until"].as_str() > found[0]["deleted"].as_str());
        let id = before["id"].as_str().expect("an id");
        let shown = world.lfsfs(["project", "list", "--deleted"]).ok();
        assert!(
            shown.starts_with(id) && shown.contains("  app  "),
            "{shown}"
        );
        assert_eq!(world.lfsfs(["du"]).ok().lines().count(), 1);
        // Nothing of it is garbage.
        let _ = world.lfsfs(["gc", "--grace", "0s"]).ok();

        // The name is free, and then it is taken.
        let _ = world.lfsfs(["project", "new", "app"]).ok();
        world
            .lfsfs(["project", "undelete", "app"])
            .fails(1, &["app", "--as"]);
        let back = world.lfsfs(["project", "undelete", "app", "--as", "web"]);
        assert_eq!(back.ok(), "web");
        assert_eq!(deleted(&world), Vec::<Value>::new());
        let mut after = world.lfsfs(["project", "inspect", "web", "--json"]).json();
        after["name"] = "app".into();
        assert_eq!(after, before);
        assert_eq!(world.lfsfs(["cat", "web@stable", "file"]).ok(), "text");
        // A mount that was made before reads what it never read, and commits.
        let read = || fs::read(mount.path().join("other")).ok();
        assert!(eventually(Duration::from_secs(10), || read().as_deref()
            == Some(b"more")));
        assert_eq!(mount.commit("mine")["version"], 3);
        mount.umount();
        assert_eq!(world.lfsfs(["cat", "web@v3", "mine"]).ok(), "mine");
        world.stop_server();
        world.assert_check_is_clean();
    });
}

#[test]
fn of_several_deleted_projects_one_is_named_by_its_id() {
    let world = world();
    delete(&world, &["app"]);
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    delete(&world, &["app"]);
    let found = deleted(&world);
    let ids: Vec<_> = found.iter().filter_map(|it| it["id"].as_str()).collect();
    world.lfsfs(["project", "undelete", "app"]).fails(2, &ids);
    // The first one that was deleted comes first.
    assert_eq!(world.lfsfs(["project", "undelete", ids[0]]).ok(), "app");
    assert_eq!(world.lfsfs(["cat", "app", "file"]).ok(), "text");
    // By name what is there goes, by id what is deleted already.
    delete(&world, &["--purge", ids[1]]);
    delete(&world, &["--purge", "app"]);
    assert_eq!(deleted(&world), Vec::<Value>::new());
    for gone in ["app", ids[0], "a b"] {
        world.lfsfs(["project", "undelete", gone]).fails(1, &[gone]);
    }
    world
        .lfsfs(["project", "delete", "--purge", "app", "--yes"])
        .fails(1, &["app"]);
    world
        .lfsfs(["project", "undelete", "app", "--as", "a b"])
        .fails(2, &["a b"]);
}

#[test]
fn a_deleted_project_goes_when_its_time_is_over() {
    let soon = Duration::from_secs(20);
    for (arguments, asks) in [
        (["--deleted-kept", "1", "--gc-every", "1"], false),
        (["--deleted-kept", "1", "--gc-every", "0"], true),
    ] {
        let mut world = World::with_server_arguments(&arguments);
        let tree = world.make_dir("tree");
        fs::write(tree.join("file"), "text").expect("a file");
        let _ = world.import(&tree, "app");
        delete(&world, &["app"]);
        let is_gone = || {
            let collected = asks.then(|| world.lfsfs(["gc", "--grace", "0s", "--json"]).json());
            let purged = collected.is_none_or(|it| it["purged_projects"] == 1);
            purged && deleted(&world).is_empty()
        };
        assert!(eventually(soon, is_gone), "it stays");
        world
            .lfsfs(["project", "undelete", "app"])
            .fails(1, &["app"]);
        world.stop_server();
        world.assert_check_is_clean();
    }
    let world = World::with_server_arguments(&["--deleted-kept", "0"]);
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    delete(&world, &["app"]);
    assert_eq!(deleted(&world), Vec::<Value>::new());
}

/// The packs of a deleted project follow its patterns when it is back, and do not keep those of others from that.
#[test]
fn a_deleted_project_is_repacked_when_it_is_back() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    fs::create_dir(tree.join("sub")).expect("a directory");
    fs::write(tree.join("sub/file"), "text").expect("a file");
    let others = ["b", "c", "d", "e"];
    for project in ["a"].iter().chain(&others) {
        let _ = world.import(&tree, project);
    }
    // Where there is no room no version is made, so none follows its patterns.
    world.stop_server();
    world.start_server(&["--reserve", "1000TiB"]);
    for project in ["a"].iter().chain(&others) {
        let set = ["project", "set", project, "--pack", "^sub/$"];
        let _ = world.lfsfs(set).ok();
    }
    others.iter().for_each(|project| delete(&world, &[project]));
    world.stop_server();
    world.start_server(&[]);
    let is_done = |project: &str| {
        let inspected = world.lfsfs(["project", "inspect", project, "--json"]);
        inspected.json()["repacking"] == false
    };
    let soon = Duration::from_secs(20);
    assert!(eventually(soon, || is_done("a")), "others stop it");
    for project in others {
        let _ = world.lfsfs(["project", "undelete", project]).ok();
        assert!(eventually(soon, || is_done(project)), "{project}");
    }
}
