//! The server as a service manager sees it: the unit file, the word that it is ready, its health and
//! its log.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{Run, World};

use super::support::world_with_version;

const TIMEOUT: Duration = Duration::from_secs(60);

/// The units, by the names of their files.
const UNITS: [&str; 3] = ["lfsfsd", "lfsfsd-coordinator", "lfsfsd-datanode"];

fn unit_file(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/systemd");
    fs::read_to_string(dir.join(format!("{name}.service"))).expect("the unit file")
}

#[test]
fn the_unit_files_are_ones_that_systemd_takes() {
    if require_program("systemd-analyze").is_err() {
        return;
    }
    let world = World::without_server();
    let program = world.lfsfsd([""; 0]).get_program().display().to_string();
    for name in UNITS {
        // The name of the unit is that of its file.
        let file = format!("{name}.service");
        let unit = world.path(&file);
        let text = unit_file(name).replace("/usr/local/bin/lfsfsd", &program);
        fs::write(&unit, text).expect("a file");
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(&unit);
        let output = verify.output().expect("systemd-analyze runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let about_ours = said.lines().find(|line| line.contains(&file));
        assert_eq!(about_ours, None);
    }
}

#[test]
fn each_unit_runs_its_role_on_a_directory_of_its_own() {
    for (name, role) in UNITS.into_iter().zip(["all", "coordinator", "datanode"]) {
        let unit = unit_file(name);
        for line in [
            format!("ExecStart=/usr/local/bin/lfsfsd {role}"),
            format!("EnvironmentFile=-/etc/default/{name}"),
            format!("Environment=LFSFSD_DATA=/var/lib/{name}"),
            format!("StateDirectory={name}"),
            "RestartPreventExitStatus=2".to_owned(),
        ] {
            assert!(unit.lines().any(|it| it == line), "{line} in {name}");
        }
    }
}

#[test]
fn the_server_does_what_its_unit_file_expects() {
    let unit = unit_file("lfsfsd");
    assert!(unit.contains("Type=notify") && unit.contains("KillSignal=SIGTERM"));
    let world = World::without_server();
    let socket = world.path("notify");
    let notified = UnixDatagram::bind(&socket).expect("a socket");
    notified.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let mut command = world.lfsfsd(["all", "--listen", "127.0.0.1:0"]);
    command
        .env("NOTIFY_SOCKET", &socket)
        // As the unit file sets it.
        .env("LFSFSD_DATA", world.data());
    let mut server = Program::start(command).expect("lfsfsd starts");
    let mut bytes = [0; 256];
    let len = notified.recv(&mut bytes).expect("a word in time");
    let said = String::from_utf8_lossy(&bytes[..len]);
    assert!(said.lines().any(|line| line == "READY=1"), "{said}");

    let address = server.wait_for_word("listening on ", TIMEOUT);
    let address = address.expect("an address");
    let health = |address: &str| Run::of(world.lfsfsd(["health", "--server", address]));
    assert_eq!(health(&address).code(), Some(0));
    let status = server.terminate(TIMEOUT).expect("it ends when told to");
    assert!(status.success(), "{status}");
    health(&address).fails(1, &["does not serve"]);
}

#[test]
fn the_log_has_the_start_the_versions_and_the_end() {
    let (mut world, _) = world_with_version();
    let (address, data) = (
        world.address().to_owned(),
        world.data().display().to_string(),
    );
    let server = world.server();
    let start = server
        .wait_for_line("lfsfsd serves", TIMEOUT)
        .expect("a line");
    for part in [env!("CARGO_PKG_VERSION"), &address, &data] {
        assert!(start.contains(part), "{part} in {start:?}");
    }
    let published = server.wait_for_line("published", TIMEOUT).expect("a line");
    for part in ["project=app", "version=1", "client=127.0.0.1:"] {
        assert!(published.contains(part), "{part} in {published:?}");
    }
    let _ = server.terminate(TIMEOUT).expect("it ends when told to");
    let log = server.output();
    assert!(log.lines().any(|line| line.ends_with(": stopped")), "{log}");
}
