//! A machine of its own for scripts: the programs on PATH, a `sudo` that only runs its words, and
//! empty directories where a script expects to write.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use lfsfs_tests::{Run, World, run};

/// Returns the top of the repository.
pub(crate) fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("a parent").to_owned()
}

/// Prepares the machine. Only the namespace of the test sees it.
pub(crate) fn prepare(world: &World) {
    let bin = world.make_dir("bin");
    let lfsfs = world.command([""; 0]).get_program().to_owned();
    let lfsfsd = world.lfsfsd([""; 0]).get_program().to_owned();
    symlink(&lfsfs, bin.join("lfsfs")).expect("a link");
    symlink(lfsfsd, bin.join("lfsfsd")).expect("a link");
    write_program(&bin.join("sudo"), "#!/bin/sh\nexec \"$@\"\n");
    for dir in ["/mnt", "/srv", "/sbin"] {
        let dir = fs::canonicalize(dir).expect("a directory");
        let tmpfs = ["-t", "tmpfs", "tmpfs"].map(Path::new);
        let _ = run("mount", tmpfs.into_iter().chain([dir.as_path()])).ok();
    }
    symlink(lfsfs, "/sbin/mount.lfsfs").expect("a link");
}

/// Writes a program.
pub(crate) fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Returns a command of bash in this world, typed in `dir`.
pub(crate) fn bash(world: &World, dir: &Path, script: &str) -> Command {
    let mut command = Command::new("/bin/bash");
    command.args(["-c", script]).current_dir(dir);
    at_home(world, &mut command);
    command
}

/// Gives a command the world's places and programs.
pub(crate) fn at_home(world: &World, command: &mut Command) {
    for (name, value) in world.command([""; 0]).get_envs() {
        command.env(name, value.expect("a value"));
    }
    let path = std::env::var("PATH").expect("PATH");
    command
        .env("PATH", format!("{}:{path}", world.path("bin").display()))
        .env("HOME", world.path("home"))
        .env("TZ", "UTC");
}

/// Runs a script with `set -euo pipefail`.
pub(crate) fn strict(world: &World, dir: &Path, script: &str) -> Run {
    let script = format!("set -euo pipefail\n{script}");
    Run::of(bash(world, dir, &script))
}
