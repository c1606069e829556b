//! `lfsfsd config`, and what a server takes from a file, the environment and its flags.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{Run, World};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A user that has no rights of its own.
const USER: u32 = 65534;

/// Writes a file of this name and returns its path.
fn file(world: &World, name: &str, text: &str) -> String {
    let path = world.path(name);
    fs::write(&path, text).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

/// Returns `lfsfsd config` with further words, not run yet.
fn config(world: &World, words: &[&str]) -> Command {
    let mut command = world.lfsfsd(["config"]);
    command.args(words);
    command
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).expect("a directory").count()
}

#[test]
fn each_origin_wins_over_the_one_before() {
    let world = World::without_server();
    let text = "data = '/of-file'\ngrace = 2\nconnections = 2\nreserve = '2GiB'\n";
    let file = file(&world, "lfsfsd.toml", text);
    let mut command = config(&world, &["--json", "--grace", "4"]);
    command
        .env("LFSFSD_CONFIG", &file)
        .env("LFSFSD_GRACE", "3")
        .env("LFSFSD_CONNECTIONS", "3")
        // An empty variable is as good as none, and one of another role does not count.
        .env("LFSFSD_RESERVE", "")
        .env("LFSFSD_COORDINATOR", "not an address");
    let shown = Run::of(command).json();
    let of_file = format!("file {file}");
    for (key, value, source) in [
        ("grace", 4_u64, "flag --grace"),
        ("connections", 3, "environment LFSFSD_CONNECTIONS"),
        ("reserve", 2 << 30, &of_file),
        ("memory", 512 << 20, "default"),
    ] {
        assert_eq!(shown[key]["value"], value, "{key}");
        assert_eq!(shown[key]["source"], source, "{key}");
    }
    assert_eq!(shown["data"]["value"], "/of-file");
    assert!(shown.get("coordinator").is_none(), "{shown}");
}

#[test]
fn people_see_a_file_with_the_origin_of_each_line() {
    let world = World::without_server();
    let shown = Run::of(config(&world, &["coordinator", "--data", "/srv/a"])).ok();
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(
        lines[..2],
        ["# lfsfsd coordinator", "data = \"/srv/a\"  # flag --data"]
    );
    for line in ["replication = 3  # default", "min-replicas = 2  # default"] {
        assert!(lines.contains(&line), "{line}: {shown}");
    }
    assert!(!shown.contains("zone = "), "{shown}");
    let file = file(&world, "again.toml", &shown);
    let again = Run::of(config(&world, &["coordinator", "--config", &file])).ok();
    let from = format!("data = \"/srv/a\"  # file {file}");
    assert!(again.lines().any(|line| line == from), "{again}");
}

#[test]
fn a_server_runs_with_what_its_file_says() {
    let world = World::without_server();
    let data = world.path("data");
    let text = format!("data = {data:?}\nlisten = '127.0.0.1:0'\nreserve = '3MiB'\n");
    let file = file(&world, "lfsfsd.toml", &text);
    let mut command = world.lfsfsd(["all", "--config", &file]);
    command.env("LFSFSD_MEMORY", "300MiB");
    let mut server = Program::start(command).expect("it starts");
    let start = server.wait_for_line("lfsfsd serves", TIMEOUT);
    let start = start.expect("a line");
    for part in ["reserve=3145728", "memory=314572800"] {
        assert!(start.contains(part), "{part} in {start:?}");
    }
    let status = server.terminate(TIMEOUT).expect("it ends when told to");
    assert!(status.success(), "{status}");
    assert!(data.join("chunks").is_dir());
}

#[test]
fn what_is_wrong_is_told_before_anything_is_made() {
    let world = World::without_server();
    let dir = world.make_dir("places");
    let place = |name: &str| dir.join(name).display().to_string();
    let line = |rest: &str| {
        format!(
            "data = '{}'\nlog = '{}'\n{rest}",
            place("data"),
            place("log")
        )
    };
    let refused = |role: &str, rest: &str, words: &[&str]| {
        let file = file(&world, "lfsfsd.toml", &line(rest));
        let _ = Run::of(world.lfsfsd([role, "--config", &file])).fails(2, words);
        let _ = Run::of(config(&world, &[role, "--config", &file])).fails(2, words);
        assert_eq!(entries(&dir), 0, "{rest}");
    };
    let unknown = ["lfsfsd.toml: line 3", "\"memroy\"", "did you mean memory?"];
    refused("all", "memroy = 1", &unknown);
    let wrong = ["line 3: memory = 12 ", "expected a size", "at least 256MiB"];
    refused("all", "memory = 12", &wrong);
    let other = ["line 3: coordinator is for lfsfsd datanode, not for lfsfsd all"];
    refused("all", "coordinator = 'a:1'", &other);
    refused(
        "coordinator",
        "zone = 'a'",
        &["zone is for lfsfsd all and lfsfsd datanode"],
    );
    refused(
        "datanode",
        "zone = 'a'",
        &["coordinator is not set", "LFSFSD_COORDINATOR"],
    );
    refused(
        "coordinator",
        "min-replicas = 4",
        &["min-replicas is 4", "replication 3"],
    );
    refused("all", "listen", &["line 3"]);
}

#[test]
fn a_wrong_variable_or_flag_is_named() {
    let world = World::without_server();
    let mut command = world.lfsfsd(["all", "--data"]);
    command.arg(world.data()).env("LFSFSD_GRACE", "long");
    let words = [
        "environment: LFSFSD_GRACE=long ",
        "a number from 0 to 86400",
    ];
    Run::of(command).fails(2, &words);
    let mut command = world.lfsfsd(["all", "--grace", "long", "--data"]);
    command.arg(world.data());
    Run::of(command).fails(2, &["command line: --grace long ", "a number from"]);
    let coordinator = ["--data", "d", "--coordinator", "a:1"];
    Run::of(config(&world, &coordinator)).fails(2, &["--coordinator is for lfsfsd datanode"]);
    let mut command = world.lfsfsd(["all", "--coordinator", "a:1", "--data"]);
    command.arg(world.data());
    Run::of(command).fails(2, &["unexpected argument '--coordinator'"]);
    let open = ["--data", "d", "--listen", "0.0.0.0:1"];
    Run::of(config(&world, &open)).fails(1, &["--insecure-listen"]);
    assert!(!world.data().exists());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let world = World::without_server();
    let absent = world.path("absent.toml").display().to_string();
    let mut command = world.lfsfsd(["all", "--config", &absent, "--data"]);
    command.arg(world.data());
    Run::of(command).fails(2, &["cannot read", &absent, "No such file"]);
    assert!(!world.data().exists());
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let world = World::without_server();
    let file = file(&world, "lfsfsd.toml", "data = 'd'\n");
    let mode = fs::Permissions::from_mode(0o000);
    fs::set_permissions(&file, mode).expect("a mode");
    let command = config(&world, &["--config", &file]);
    let Some(command) = without_rights(&world, command) else {
        return;
    };
    Run::of(command).fails(2, &["cannot read", &file, "Permission denied"]);
}

/// Returns a command as a user without rights runs it, or none where that cannot be done.
fn without_rights(world: &World, command: Command) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        return Some(command);
    }
    require_program("setpriv").ok()?;
    // The user may have no way to where the program was built.
    let copy = world.path("lfsfsd");
    fs::copy(command.get_program(), &copy).expect("a copy");
    open_up(&copy);
    let user = [format!("--reuid={USER}"), format!("--regid={USER}")];
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(user).arg("--clear-groups").arg(&copy);
    unprivileged.args(command.get_args());
    Some(unprivileged)
}

/// Lets every user run a program: the directory of a test is its owner's alone.
fn open_up(program: &Path) {
    let dir = program.parent().expect("a directory");
    for path in [dir, program] {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(path, mode).expect("a mode");
    }
}

#[test]
fn the_example_file_is_one_that_a_server_takes() {
    let world = World::without_server();
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist");
    let example = dist.join("lfsfsd.toml").display().to_string();
    for role in ["all", "coordinator", "datanode"] {
        let mut words = vec![role, "--config", &example, "--data", "d"];
        if role == "datanode" {
            words.extend(["--coordinator", "localhost:5051"]);
        }
        let _ = Run::of(config(&world, &words)).ok();
    }
}
