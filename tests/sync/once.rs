//! `lfsfs sync once`: what goes up comes down, both ways.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::{Machine, assert_project_is, world};

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().expect(key)
}

#[test]
fn what_goes_up_comes_down() {
    let world = world();
    let (one, two) = (
        Machine::new(&world, "app:deep"),
        Machine::new(&world, "app:deep"),
    );
    one.write("a", "one");
    one.write("d/e/large", &"large".repeat(1 << 20));
    one.write("d/empty", "");
    one.write("ä", "composed");
    one.write("a\u{308}", "decomposed");
    one.write("A", "other case");
    fs::create_dir(one.dir.join("nothing")).expect("a directory");
    symlink("../nowhere", one.dir.join("d/link")).expect("a link");
    symlink(".", one.dir.join("loop")).expect("a link");
    let odd = one.dir.join(std::ffi::OsStr::from_bytes(b"\xff:\n"));
    fs::write(odd, "odd").expect("a file");
    let mode = fs::Permissions::from_mode(0o4751);
    fs::set_permissions(one.dir.join("a"), mode).expect("a mode");
    let private = fs::Permissions::from_mode(0o700);
    fs::set_permissions(one.dir.join("nothing"), private).expect("a mode");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let file = fs::File::options().append(true).open(one.dir.join("a"));
    file.and_then(|file| file.set_modified(time))
        .expect("a time");
    let up = one.once();
    assert_eq!(
        (number(&up, "sent"), number(&up, "received")),
        (12, 0),
        "{up}"
    );
    assert_eq!(up["version"], json!("app@v1"));
    let down = two.once();
    assert_eq!((number(&down, "sent"), number(&down, "received")), (0, 12));
    assert_eq!(down["version"], Value::Null);
    assert_eq!(one.tree(), two.tree());
    assert_project_is(&world, "app:deep/notes", &one.tree());
    // Nothing is to be done any more.
    for machine in [&one, &two] {
        let again = machine.once();
        let done = ["sent", "received", "bytes"].map(|key| number(&again, key));
        assert_eq!(
            (done, &again["version"]),
            ([0, 0, 0], &Value::Null),
            "{again}"
        );
    }
    assert_eq!(world.head("app"), 1);
}

#[test]
fn changes_of_every_kind_go_both_ways() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    for name in [
        "change",
        "remove",
        "d/rename",
        "d/stay",
        "kind/below",
        "mode",
    ] {
        one.write(name, name);
    }
    let _ = (one.once(), two.once());
    one.write("change", "changed");
    fs::remove_file(one.dir.join("remove")).expect("a file");
    rustix::fs::rename(one.dir.join("d"), one.dir.join("moved")).expect("a rename");
    fs::remove_dir_all(one.dir.join("kind")).expect("a directory");
    symlink("mode", one.dir.join("kind")).expect("a link");
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(one.dir.join("mode"), mode).expect("a mode");
    two.write("new/by/two", "two");
    let up = one.once();
    assert_eq!(up["version"], json!("app@v2"), "{up}");
    let joined = two.once();
    assert_eq!(joined["version"], json!("app@v3"), "{joined}");
    let _ = one.once();
    assert_eq!(one.tree(), two.tree());
    assert_eq!(one.read("moved/stay"), "d/stay");
    assert_eq!(one.read("new/by/two"), "two");
    assert!(!two.dir.join("d").exists() && !two.dir.join("remove").exists());
    assert_project_is(&world, "app:notes", &one.tree());
}

#[test]
fn a_file_that_moves_is_not_fetched_again() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    one.write("d/file", "bytes");
    one.write("stays", "stays");
    let _ = (one.once(), two.once());
    rustix::fs::rename(one.dir.join("d"), one.dir.join("e")).expect("a rename");
    let _ = one.once();
    // No datanode has to be asked: the chunks are gone.
    let inode = |name: &str| {
        fs::metadata(two.dir.join(name)).map(|it| std::os::unix::fs::MetadataExt::ino(&it))
    };
    let before = inode("d/file").expect("a file");
    let _ = two.once();
    assert_eq!(inode("e/file").expect("a file"), before);
    assert_eq!(one.tree(), two.tree());
}

#[test]
fn a_file_changed_on_both_sides_is_kept_twice() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    one.write("report.txt", "old");
    let _ = (one.once(), two.once());
    one.write("report.txt", "of one");
    two.write("report.txt", "of two");
    let _ = one.once();
    let run = two.run("once", &["--json", "--set", "host=two"]);
    assert_eq!(run.json()["conflicts"], json!([{"path": "report.txt"}]));
    let _ = one.once();
    assert_eq!(one.tree(), two.tree());
    assert_eq!(one.read("report.txt"), "of one");
    assert_eq!(one.conflicts(""), ["of two"]);
    let names: Vec<String> = one
        .tree()
        .keys()
        .map(|path| path.display().to_string())
        .collect();
    let copy = names.iter().find(|name| name.contains("(conflict two "));
    assert!(
        copy.is_some_and(|name| name.ends_with(").txt")),
        "{names:?}"
    );
    // A copy is a file as any other: no pass makes more of them.
    for machine in [&one, &two] {
        assert_eq!(number(&machine.once(), "sent"), 0);
    }
}

#[test]
fn a_rule_takes_one_of_both() {
    for (rule, expected) in [("ours", "of two"), ("theirs", "of one")] {
        let world = world();
        let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
        one.write("f", "old");
        let _ = (one.once(), two.once());
        one.write("f", "of one");
        two.write("f", "of two");
        let _ = one.once();
        let _ = two
            .run("once", &["--set", &format!("conflict={rule}")])
            .ok();
        let _ = one.once();
        assert_eq!(
            (one.read("f").as_str(), two.read("f").as_str()),
            (expected, expected)
        );
        assert_eq!(one.conflicts(""), Vec::<String>::new());
    }
}

#[test]
fn a_deletion_against_a_change_keeps_the_change() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    for name in ["d/one", "d/two", "stays"] {
        one.write(name, "old");
    }
    let _ = (one.once(), two.once());
    fs::remove_dir_all(one.dir.join("d")).expect("a directory");
    two.write("d/one", "changed");
    let _ = one.once();
    let _ = two.once();
    let _ = one.once();
    assert_eq!(one.tree(), two.tree());
    assert_eq!(one.read("d/one"), "changed");
    assert!(!two.dir.join("d/two").exists());
}

#[test]
fn a_clock_that_is_ahead_does_no_harm() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    one.write("near", "old");
    one.write("far", "old");
    let set = |name: &str, ahead: u64| {
        let time = SystemTime::now() + Duration::from_secs(ahead);
        let file = fs::File::options().append(true).open(one.dir.join(name));
        file.and_then(|file| file.set_modified(time))
            .expect("a time");
    };
    set("far", 100_000);
    let _ = (one.once(), two.once());
    one.write("near", "of one");
    two.write("near", "of two");
    let _ = (one.once(), two.once(), one.once());
    assert_eq!(one.tree(), two.tree());
    assert_eq!(
        (one.read("near"), one.conflicts("")),
        ("of one".into(), vec!["of two".to_owned()])
    );
    assert_eq!(number(&two.once(), "sent"), 0);
}

#[test]
fn one_way_leaves_the_other_side_alone() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    one.write("a", "of one");
    one.write("both", "old");
    let _ = (one.once(), two.once());
    one.write("new", "of one");
    one.write("both", "of one");
    let _ = one.once();
    two.write("own", "of two");
    two.write("both", "of two");
    let before = two.tree();
    let pushed = two
        .run("once", &["--set", "direction=push", "--json"])
        .json();
    assert_eq!((number(&pushed, "received"), two.tree()), (0, before));
    let _ = one.once();
    assert_eq!(
        (one.read("own"), one.read("both")),
        ("of two".into(), "of two".into())
    );
    assert_eq!(one.conflicts(""), ["of one"]);
    one.write("pulled", "of one");
    let _ = one.once();
    two.write("kept", "of two");
    let head = world.head("app");
    let _ = two.run("once", &["--set", "direction=pull"]).ok();
    assert_eq!(
        (two.read("pulled"), world.head("app")),
        ("of one".into(), head)
    );
    assert_eq!(two.read("kept"), "of two");
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    one.write("a", "one");
    let _ = (one.once(), two.once());
    one.write("new", "new");
    let _ = one.once();
    two.write("a", "two");
    let before = two.tree();
    let told = two.run("once", &["--dry-run"]).ok();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(&lines[..2], ["receive create new", "send update a"]);
    assert_eq!((two.tree(), world.head("app")), (before, 2));
    let _ = two.once();
    assert_eq!((two.read("new"), world.head("app")), ("new".into(), 3));
}

#[test]
fn ignored_paths_stay_where_they_are() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    one.write(".lfsfsignore", "*.log\n/build/\n");
    one.write("a.log", "log");
    one.write("build/x", "x");
    one.write("kept", "kept");
    one.write("secret", "s");
    let run = one.run("once", &["--set", "ignore=secret"]);
    let _ = run.ok();
    let _ = two.once();
    let names: Vec<_> = two.tree().into_keys().collect();
    assert_eq!(
        names,
        [".lfsfsignore", "kept"].map(std::path::PathBuf::from)
    );
    // What is ignored here is not taken from there, either.
    let _ = fs::create_dir(two.dir.join("sub"));
    two.write("sub/secret", "theirs");
    let _ = two.once();
    let _ = one.run("once", &["--set", "ignore=secret"]).ok();
    assert!(!one.dir.join("sub/secret").exists() && one.dir.join("sub").is_dir());
    // A directory that goes elsewhere stays if something ignored is in it.
    fs::remove_dir_all(two.dir.join("sub")).expect("a directory");
    one.write("sub/x.log", "mine");
    let _ = two.once();
    let complaint = one.run("once", &["--set", "ignore=secret"]);
    complaint.fails(1, &["sub", "not synced"]);
    assert_eq!(one.read("sub/x.log"), "mine");
}

#[test]
fn two_directories_of_one_machine_are_kept_in_step() {
    let world = world();
    let far = world.make_dir("far");
    let remote = far.to_str().expect("text");
    let one = Machine::new(&world, remote);
    let mut two = Machine::new(&world, remote);
    two.remote.clone_from(&one.remote);
    one.write("a", "one");
    one.write("d/b", "two");
    let _ = (one.once(), two.once());
    assert_eq!(one.tree(), two.tree());
    one.write("a", "of one");
    two.write("a", "of two");
    fs::remove_dir_all(two.dir.join("d")).expect("a directory");
    let _ = (one.once(), two.once(), one.once());
    assert_eq!(one.tree(), two.tree());
    assert_eq!(crate::support::tree(&far.join("notes")), one.tree());
    assert_eq!(one.conflicts(""), ["of two"]);
    let again = one.once();
    assert_eq!(
        (number(&again, "sent"), number(&again, "hashed")),
        (0, 0),
        "{again}"
    );
}

#[test]
fn an_unchanged_tree_is_not_read_and_not_sent() {
    let world = world();
    let one = Machine::new(&world, "app");
    for dir in 0..50 {
        for file in 0..40 {
            one.write(&format!("d{dir}/f{file}"), &format!("{dir} {file}"));
        }
    }
    let first = one.once();
    assert_eq!(
        (number(&first, "sent"), number(&first, "hashed")),
        (2050, 2000)
    );
    let second = one.once();
    let done = ["sent", "received", "hashed", "bytes"].map(|key| number(&second, key));
    assert_eq!(done, [0; 4], "{second}");
    assert_eq!(number(&second, "looked_at"), 2050);
    // The pass reads one file and sends one.
    one.write("d7/f7", "changed");
    let third = one.once();
    let done = ["sent", "hashed"].map(|key| number(&third, key));
    assert_eq!(done, [1, 1], "{third}");
    // Other bytes with the old size and time are found.
    let path = one.dir.join("d8/f8");
    let time = fs::metadata(&path)
        .and_then(|it| it.modified())
        .expect("a time");
    fs::write(&path, "8 9").expect("a file");
    let file = fs::File::options()
        .append(true)
        .open(&path)
        .expect("a file");
    file.set_modified(time).expect("a time");
    assert_eq!(number(&one.once(), "sent"), 1);
    assert_project_is(&world, "app:notes", &one.tree());
}

#[test]
fn a_lost_state_joins_both_sides() {
    let world = world();
    let (one, two) = (Machine::new(&world, "app"), Machine::new(&world, "app"));
    for name in ["same", "here", "there", "both"] {
        one.write(name, name);
    }
    let _ = (one.once(), two.once());
    one.write("there", "new there");
    let _ = one.once();
    two.write("here", "new here");
    two.write("own", "own");
    fs::remove_dir_all(two.world.path("state")).expect("the state");
    let _ = two.once();
    let _ = one.once();
    assert_eq!(one.tree(), two.tree());
    // Without what was agreed both count as changed, and both are kept.
    let mut all = one.conflicts("");
    all.extend([one.read("here"), one.read("there")]);
    for text in ["new here", "new there"] {
        assert!(all.iter().any(|it| it == text), "{all:?}");
    }
    assert_eq!(one.read("own"), "own");
}

#[test]
fn a_damaged_state_is_begun_anew() {
    let world = world();
    let one = Machine::new(&world, "app");
    one.write("a", "one");
    let _ = one.once();
    let mut states = Vec::new();
    for state in fs::read_dir(one.world.path("state/sync")).expect("states") {
        states.push(state.expect("an entry").path().join("agreed"));
    }
    let damages: [fn(&Path); 4] = [
        |agreed| fs::write(agreed.join("format"), "other").expect("a file"),
        // As a process leaves it that was killed while it was made, or removed.
        |agreed| fs::remove_file(agreed.join("format")).expect("a file"),
        |agreed| fs::remove_dir_all(agreed.join("sled")).expect("a directory"),
        |agreed| fs::remove_file(agreed.join("flushed")).expect("a file"),
    ];
    for (at, damage) in damages.into_iter().enumerate() {
        states.iter().for_each(|agreed| damage(agreed));
        one.write(&format!("b{at}"), "two");
        let again = one.once();
        assert_eq!(number(&again, "sent"), 1, "{at}: {again}");
    }
    assert_project_is(&world, "app:notes", &one.tree());
}
