//! `lfsfs update` of directories that others publish beside.

use std::fs;
use std::path::{Path, PathBuf};

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::requirements::require_root;
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::{Numbers, World, run};
use serde_json::json;

use crate::rebuild::rebuild;
use crate::support::{names, read, world, write};
use crate::update::{assert_is_version, mutate_rebuilt, update, update_json};

/// Returns a world with app@v1, and two directories that have it.
fn two() -> (World, PathBuf, PathBuf) {
    let world = world();
    let dirs = ["mine", "theirs"].map(|name| {
        let dir = world.path(name);
        let _ = rebuild(&world, "app", &dir, &[]).ok();
        dir
    });
    let [mine, theirs] = dirs;
    (world, mine, theirs)
}

#[test]
fn what_others_published_comes_with_it() {
    let (world, mine, theirs) = two();
    write(&theirs, "one", "theirs");
    write(&theirs, "dir/new", "theirs");
    fs::remove_file(theirs.join("link")).expect("a link");
    fs::create_dir_all(theirs.join("empty/deep")).expect("directories");
    assert_eq!(update(&world, &theirs, &[]).ok(), "app@v2");
    write(&mine, "two", "mine");
    write(&mine, "dir/mine", "mine");
    let json = update_json(&world, &mine, &[]);
    let keys = ["version", "new", "rebased", "merged", "changes"];
    let told = keys.map(|key| json[key].clone());
    // Two files, and the times of `dir`.
    let expected = [json!(3), json!(true), json!(true), json!(true), json!(3)];
    assert_eq!(told, expected);
    assert_eq!(
        (read(&mine, "one"), read(&mine, "two")),
        ("theirs".into(), "mine".into())
    );
    assert_is_version(&world, "app@v3", &mine);
    assert_eq!(update(&world, &mine, &[]).ok(), "app@v3");
    write(&theirs, "three", "theirs");
    assert_eq!(update(&world, &theirs, &[]).ok(), "app@v4");
    assert_is_version(&world, "app@v4", &theirs);
}

#[test]
fn what_both_changed_is_a_conflict_and_stays() {
    let (world, mine, theirs) = two();
    write(&theirs, "one", "theirs");
    write(&theirs, "two", "the same");
    assert_eq!(update(&world, &theirs, &[]).ok(), "app@v2");
    write(&mine, "one", "mine");
    write(&mine, "two", "the same");
    write(&mine, "dir/mine", "mine");
    let run = update(&world, &mine, &[]);
    run.fails(3, &["nothing was lost", "lfsfs rebuild", "--force"]);
    assert_eq!(run.stdout(), "one\n");
    assert_eq!((world.head("app"), read(&mine, "one")), (2, "mine".into()));
    let json = update(&world, &mine, &["--json"]);
    assert_eq!(json.code(), Some(3));
    let told: serde_json::Value = serde_json::from_str(&json.stdout()).expect("JSON");
    assert_eq!(told["error"]["paths"], json!([{"path": "one"}]));
    assert_eq!(update(&world, &mine, &["--force"]).ok(), "app@v3");
    assert_eq!(world.lfsfs(["cat", "app", "one"]).ok(), "mine");
    assert_is_version(&world, "app@v3", &mine);
}

#[test]
fn the_same_changes_are_no_second_version() {
    let (world, mine, theirs) = two();
    for dir in [&theirs, &mine] {
        write(dir, "one", "alike");
        let time = std::time::SystemTime::UNIX_EPOCH;
        let file = fs::File::options().append(true).open(dir.join("one"));
        file.and_then(|file| file.set_modified(time))
            .expect("a time");
    }
    assert_eq!(update(&world, &theirs, &[]).ok(), "app@v2");
    let json = update_json(&world, &mine, &[]);
    assert_eq!((&json["version"], &json["new"]), (&json!(2), &json!(false)));
    assert_is_version(&world, "app@v2", &mine);
}

#[test]
fn times_and_names_that_others_changed_leave_nothing_to_send() {
    let (world, mine, theirs) = two();
    let touch = |path: PathBuf, seconds: u64| {
        let time = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
        let file = fs::File::options().append(true).open(path);
        file.and_then(|file| file.set_modified(time))
            .expect("a time");
    };
    for (name, text) in [("linked", "linked"), ("times", "times")] {
        write(&mine, name, text);
    }
    fs::hard_link(mine.join("linked"), mine.join("dir/name")).expect("a name");
    assert_eq!(update(&world, &mine, &[]).ok(), "app@v2");
    let _ = rebuild(&world, "app", &theirs, &[]).ok();
    // Others change times of what is changed, touched, renamed and linked here.
    for name in ["one", "two", "dir/three", "linked", "times"] {
        touch(theirs.join(name), 100);
    }
    assert_eq!(update(&world, &theirs, &[]).ok(), "app@v3");
    write(&mine, "one", "mine");
    touch(mine.join("two"), 50);
    touch(mine.join("times"), 200);
    fs::remove_file(mine.join("dir/three")).expect("a file");
    fs::remove_file(mine.join("dir/name")).expect("a name");
    fs::hard_link(mine.join("linked"), mine.join("name")).expect("a name");
    assert_eq!(update(&world, &mine, &[]).ok(), "app@v4");
    assert_is_version(&world, "app@v4", &mine);
    assert_eq!(update(&world, &mine, &[]).ok(), "app@v4");
}

#[test]
fn a_directory_that_was_removed_by_force_comes_back_with_what_others_made_in_it() {
    let (world, mine, theirs) = two();
    write(&theirs, "dir/theirs", "theirs");
    assert_eq!(update(&world, &theirs, &[]).ok(), "app@v2");
    fs::remove_dir_all(mine.join("dir")).expect("a directory");
    update(&world, &mine, &[]).fails(3, &["nothing was lost"]);
    assert_eq!(update(&world, &mine, &["--force"]).ok(), "app@v3");
    assert_eq!(read(&mine, "dir/theirs"), "theirs");
    assert_is_version(&world, "app@v3", &mine);
}

#[test]
fn what_was_not_sent_is_not_overwritten_by_others() {
    let (world, mine, theirs) = two();
    write(&theirs, "two", "theirs");
    write(&theirs, "dir/new", "theirs");
    assert_eq!(update(&world, &theirs, &[]).ok(), "app@v2");
    write(&mine, "one", "mine");
    write(&mine, "two", "mine");
    let run = update(&world, &mine, &["--subpath", "one"]);
    run.fails(
        1,
        &[
            "app@v3 has the changes that were sent",
            "  two",
            "nothing was lost",
        ],
    );
    assert_eq!(run.stdout(), "app@v3\n");
    assert_eq!(
        (read(&mine, "two"), mine.join("dir/new").exists()),
        ("mine".into(), false)
    );
    // The rest is a conflict, as it would have been without the subpath.
    let run = update(&world, &mine, &[]);
    run.fails(3, &["nothing was lost"]);
    assert_eq!(run.stdout(), "two\n");
    assert_eq!(update(&world, &mine, &["--force"]).ok(), "app@v4");
    assert_is_version(&world, "app@v4", &mine);
    assert_eq!(
        (read(&mine, "one"), read(&mine, "two")),
        ("mine".into(), "mine".into())
    );
}

#[test]
fn what_was_not_sent_stays_where_others_changed_nothing() {
    let (world, mine, theirs) = two();
    write(&theirs, "two", "theirs");
    write(&theirs, "dir/new", "theirs");
    assert_eq!(update(&world, &theirs, &[]).ok(), "app@v2");
    write(&mine, "one", "mine");
    write(&mine, "dir/three", "mine");
    write(&mine, "dir/own", "mine");
    assert_eq!(update(&world, &mine, &["--subpath", "one"]).ok(), "app@v3");
    assert_eq!(
        (read(&mine, "two"), read(&mine, "dir/new")),
        ("theirs".into(), "theirs".into())
    );
    assert_eq!(
        (read(&mine, "dir/three"), read(&mine, "dir/own")),
        ("mine".into(), "mine".into())
    );
    assert_eq!(update(&world, &mine, &[]).ok(), "app@v4");
    assert_eq!(
        world.lfsfs(["diff", "app@v3", "app@v4"]).ok(),
        "A dir/own\nM dir/three"
    );
    assert_is_version(&world, "app@v4", &mine);
}

#[test]
fn a_directory_without_a_version_gets_its_first() {
    let world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let dirs = ["mine", "theirs"].map(|name| world.path(name));
    for dir in &dirs {
        assert_eq!(rebuild(&world, "app", dir, &[]).ok(), "app@v0");
        assert_eq!(update(&world, dir, &[]).ok(), "app@v0");
    }
    let [mine, theirs] = &dirs;
    fs::create_dir(theirs.join("dir")).expect("a directory");
    write(theirs, "dir/theirs", "theirs");
    assert_eq!(update(&world, theirs, &[]).ok(), "app@v1");
    write(mine, "mine", "mine");
    assert_eq!(update(&world, mine, &[]).ok(), "app@v2");
    assert_is_version(&world, "app@v2", mine);
}

/// Changes two directories at random, each in a part of its own, and updates both by turns.
fn by_turns(seed: u64) {
    let world = World::new();
    let tree = world.make_dir("tree");
    for part in ["a", "b"] {
        let spec = TreeSpec {
            seed,
            ..TreeSpec::small()
        };
        let _ = spec.generate(&tree.join(part)).expect("a tree");
    }
    let _ = world.import(&tree, "app");
    let dirs = ["a", "b"].map(|part| {
        let dir = world.path(&format!("dir-{part}"));
        let _ = rebuild(&world, "app", &dir, &[]).ok();
        (dir, part)
    });
    for round in 0..3 {
        for (number, (dir, part)) in dirs.iter().enumerate() {
            let seed = seed * 100 + round * 10 + number as u64;
            let _ = mutate(&dir.join(part), seed, 15).expect("changes");
        }
        for (dir, _) in &dirs {
            let source = update(&world, dir, &[]).ok();
            assert_is_version(&world, &source, dir);
        }
    }
}

#[test]
fn two_directories_merge_by_turns() {
    if require_root().is_err() {
        return;
    }
    (1..3).for_each(by_turns);
}

/// Sends random parts of random changes while others publish, and then the rest.
fn by_parts(seed: u64) {
    let world = World::new();
    let tree = world.make_dir("tree");
    for part in ["a", "b"] {
        let spec = TreeSpec {
            seed,
            ..TreeSpec::small()
        };
        let _ = spec.generate(&tree.join(part)).expect("a tree");
    }
    let _ = world.import(&tree, "app");
    let (mine, theirs) = (world.path("mine"), world.path("theirs"));
    for dir in [&mine, &theirs] {
        let _ = rebuild(&world, "app", dir, &[]).ok();
    }
    let mut numbers = Numbers(seed);
    for round in 0..4 {
        let _ = mutate(&mine.join("a"), seed * 100 + round, 15).expect("changes");
        let _ = mutate(&theirs.join("b"), seed * 200 + round, 15).expect("changes");
        let _ = update(&world, &theirs, &[]).ok();
        let expected = world.path(&format!("expected-{round}"));
        let words = ["-a".as_ref(), mine.as_os_str(), expected.as_os_str()];
        let _ = run("cp", words).ok();
        let below = names(&mine.join("a"));
        let name = &below[usize::try_from(numbers.below(below.len() as u64)).expect("a name")];
        let _ = update(&world, &mine, &["--subpath", &format!("a/{name}")]).ok();
        let own = |dir: &Path| dir.join("a");
        assert_same_trees(&own(&expected), &own(&mine), &CompareOptions::default());
    }
    let source = update(&world, &mine, &[]).ok();
    assert_is_version(&world, &source, &mine);
}

#[test]
fn parts_that_are_sent_by_and_by_are_all_of_it() {
    if require_root().is_err() {
        return;
    }
    (1..4).for_each(by_parts);
}

#[test]
fn two_directories_that_change_the_same_find_together() {
    if require_root().is_err() {
        return;
    }
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    let dirs = ["left", "right"].map(|name| {
        let dir = world.path(name);
        let _ = rebuild(&world, "app", &dir, &[]).ok();
        dir
    });
    for seed in 0..6 {
        let dir = &dirs[usize::from(seed % 2 == 1)];
        mutate_rebuilt(&world, dir, seed, 10);
        let run = update(&world, dir, &[]);
        if run.code() == Some(3) {
            // Theirs wins: the rebuild takes it in, and what else was changed is sent.
            let _ = rebuild(&world, "app", dir, &[]).ok();
            let _ = update(&world, dir, &[]).ok();
        } else {
            let _ = run.ok();
        }
    }
    for dir in &dirs {
        let head = format!("app@v{}", world.head("app"));
        let _ = rebuild(&world, &head, dir, &[]).ok();
        assert_is_version(&world, &head, dir);
    }
}
