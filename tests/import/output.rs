//! What an import and the verbs beside it print, and where.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lfsfs_testkit::requirements::require_program;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Run, World};

fn world_with_versions() -> (World, PathBuf) {
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::small().generate(&tree).expect("a tree");
    let _ = world.import(&tree, "app");
    fs::write(tree.join(OsStr::new("new")), "new").expect("a file");
    let _ = world.import(&tree, "app");
    (world, tree)
}

/// Returns the keys that docs/cli.md promises for a command.
fn documented_keys(command: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cli.md");
    let text = fs::read_to_string(path).expect("docs/cli.md");
    let start = format!("| `{command}` |");
    let row = text.lines().find(|line| line.starts_with(&start));
    let keys = row.expect("a row of the table").split('|').nth(2);
    let (keys, _) = keys
        .expect("two columns")
        .split_once(';')
        .unwrap_or((keys.expect("keys"), ""));
    keys.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

fn keys(run: &Run) -> BTreeSet<String> {
    let text = run.ok();
    let line = text.lines().next().expect("a line");
    let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
    object
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect()
}

#[test]
fn json_has_the_documented_keys() {
    let (world, tree) = world_with_versions();
    let tree = tree.to_str().expect("UTF-8");
    let import = world.lfsfs(["import", tree, "app", "--json"]);
    assert_eq!(keys(&import), documented_keys("import"));
    let log = world.lfsfs(["log", "app", "--json"]);
    assert_eq!(keys(&log), documented_keys("log"));
    let expected = documented_keys("ls");
    for line in world.lfsfs(["ls", "-R", "--json", "app"]).ok().lines() {
        let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
        for key in object.as_object().expect("an object").keys() {
            assert!(expected.contains(key), "{key} in {line}");
        }
    }
    for line in world
        .lfsfs(["diff", "--json", "app@v1", "app@v2"])
        .ok()
        .lines()
    {
        let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (&object["change"], &object["path"]),
            (&"A".into(), &"new".into())
        );
    }
}

#[test]
fn an_import_prints_its_version_and_nothing_else() {
    let (world, tree) = world_with_versions();
    let run = world.lfsfs(["import".as_ref(), tree.as_os_str(), "app".as_ref()]);
    assert_eq!(
        (run.stdout(), run.stderr()),
        ("app@v2\n".into(), String::new())
    );
}

/// Runs a command with a terminal for its output.
fn on_a_terminal(command: &Command) -> Run {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_str().expect("UTF-8")));
    let line = quoted.collect::<Vec<_>>().join(" ");
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        script.env(name, value.expect("a value"));
    }
    Run::of(script)
}

#[test]
fn progress_is_drawn_on_a_terminal_only() {
    if require_program("script").is_err() {
        return;
    }
    let world = World::new();
    let tree = world.path("tree");
    let _ = TreeSpec::app(3_000).generate(&tree).expect("a tree");
    for project in ["plain", "drawn"] {
        let _ = world.lfsfs(["project", "new", project]).ok();
    }
    let import = |project| ["import".as_ref(), tree.as_os_str(), OsStr::new(project)];
    let plain = world.lfsfs(import("plain"));
    assert_eq!(
        (plain.ok(), plain.stderr()),
        ("plain@v1".into(), String::new())
    );
    let drawn = on_a_terminal(&world.command(import("drawn")));
    let text = drawn.ok();
    assert!(
        text.contains("drawn@v1") && text.contains(" entries, "),
        "{text:?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let (world, tree) = world_with_versions();
    let tree = tree.to_str().expect("UTF-8");
    let commands: [&[&str]; 7] = [
        &["ls", "-R", "app"],
        &["ls", "-R", "--json", "app"],
        &["log", "app"],
        &["diff", "app@v0", "app"],
        &["cat", "app", "new"],
        &["project", "list"],
        &["import", tree, "app"],
    ];
    for words in commands {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = world.command(words);
        command.stdout(writer).stderr(Stdio::piped());
        let child = command.spawn().expect("lfsfs starts");
        // The command holds the writer too.
        drop(command);
        let output = child.wait_with_output().expect("lfsfs ends");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{words:?}: {}, {complaint}",
            output.status
        );
        assert!(complaint.is_empty(), "{words:?}: {complaint}");
    }
}
