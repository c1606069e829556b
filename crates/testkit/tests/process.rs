//! Programs: output, deadlines, signals, and nothing left behind.

#![expect(
    clippy::unwrap_used,
    reason = "also the helpers of a test fail by panicking"
)]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Program {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Program::start(command).unwrap()
}

fn is_running(id: &str) -> bool {
    // A zombie has no executable any more.
    std::fs::read_link(format!("/proc/{id}/exe")).is_ok()
}

#[test]
fn waits_for_a_line_on_either_stream() {
    let mut program = shell("echo one; echo 'listening on 127.0.0.1:7 now' >&2; exit 3");
    assert_eq!(
        program.wait_for_word("listening on ", LONG).unwrap(),
        "127.0.0.1:7"
    );
    assert_eq!(program.wait_for_line("one", LONG).unwrap(), "one");
    assert_eq!(program.wait(LONG).unwrap().code(), Some(3));
    let error = program.wait_for_line("two", LONG).unwrap_err().to_string();
    assert!(
        error.contains("did not write \"two\"") && error.contains("listening"),
        "{error}"
    );
}

#[test]
fn deadlines_end_the_waiting() {
    let mut program = shell("echo ready; exec sleep 1000");
    program.wait_for_line("ready", LONG).unwrap();
    let start = Instant::now();
    assert!(program.wait_for_line("never", SHORT).is_err());
    assert!(
        program
            .wait(SHORT)
            .unwrap_err()
            .to_string()
            .contains("still runs")
    );
    assert!(start.elapsed() < LONG);
    assert_eq!(program.try_wait().unwrap(), None);
}

#[test]
fn kill_gives_no_warning_and_terminate_does() {
    let script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut program = shell(script);
    program.wait_for_line("ready", LONG).unwrap();
    assert_eq!(program.terminate(LONG).unwrap().code(), Some(5));
    program.wait_for_line("bye", LONG).unwrap();

    let mut program = shell(script);
    program.wait_for_line("ready", LONG).unwrap();
    assert_eq!(program.kill().unwrap().signal(), Some(9));
    assert!(!program.output().contains("bye"));
}

#[test]
fn dropping_kills_the_program_and_its_children() {
    let program = shell("sleep 1000 & echo child $!; wait");
    let child = program.wait_for_word("child ", LONG).unwrap();
    let id = program.id().to_string();
    assert!(is_running(&id) && is_running(&child));
    drop(program);
    assert!(!is_running(&id));
    let deadline = Instant::now() + LONG;
    while is_running(&child) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!is_running(&child));
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let error = Program::start(Command::new("/no/such/program"))
        .unwrap_err()
        .to_string();
    assert_eq!(error, "start /no/such/program");
}
