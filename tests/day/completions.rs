//! Shells really complete, and man really shows the pages.

use std::path::{Path, PathBuf};
use std::process::Command;

use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{Run, World};

/// Completes the last of some words as bash does after the Tab key.
fn completed(world: &World, words: &[&str]) -> Vec<String> {
    let script = "source <(\"$1\" completions bash); shift
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1))
        _lfsfs lfsfs \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash"]);
    command
        .arg(world.command([""; 0]).get_program())
        .args(words);
    let lines = Run::of(command).ok();
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let world = World::without_server();
    assert_eq!(completed(&world, &["lfsfs", "exp"]), ["export"]);
    assert_eq!(completed(&world, &["lfsfs", "project", "ren"]), ["rename"]);
    assert_eq!(
        completed(&world, &["lfsfs", "commit", "--mess"]),
        ["--message"]
    );
    let styles = completed(&world, &["lfsfs", "log", "--time", ""]);
    assert_eq!(styles, ["local", "relative", "utc"]);
    let all = completed(&world, &["lfsfs", ""]);
    for command in ["mount", "show", "completions"] {
        assert!(all.iter().any(|word| word == command), "{all:?}");
    }
}

#[test]
fn zsh_and_fish_take_their_files() {
    let world = World::without_server();
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        if require_program(shell).is_err() {
            continue;
        }
        let file = world.path(shell);
        let text = world.lfsfs(["completions", shell]).ok();
        std::fs::write(&file, text).expect("a file");
        let mut command = Command::new(shell);
        command.arg(check).arg(&file);
        let _ = Run::of(command).ok();
    }
}

fn share(world: &World) -> PathBuf {
    let share = world.path("share");
    let _ = world.lfsfs(["documents".as_ref(), share.as_os_str()]).ok();
    share
}

/// Shows a page as man does, in plain text.
fn page(share: &Path, section: &str, name: &str) -> String {
    let mut command = Command::new("man");
    command
        .arg("-M")
        .arg(share.join("man"))
        .args([section, name]);
    command.env("MANWIDTH", "200").env("MANPAGER", "cat");
    command.env("GROFF_NO_SGR", "1").env("MANROFFOPT", "-c");
    // Bold is a letter over itself.
    let text = Run::of(command).ok();
    let mut plain = String::new();
    for c in text.chars() {
        match c {
            '\u{8}' => drop(plain.pop()),
            c => plain.push(c),
        }
    }
    plain
}

#[test]
fn man_shows_a_page_for_each_command() {
    let world = World::without_server();
    let share = share(&world);
    let text = std::fs::read_to_string(share.join("man/man1/lfsfs-commit.1")).expect("a page");
    assert!(
        text.contains("Make the changes of a mount the next version"),
        "{text}"
    );
    if require_program("man").is_err() {
        return;
    }
    let commit = page(&share, "1", "lfsfs-commit");
    for words in ["SYNOPSIS", "--message", "lfsfs commit /mnt/app"] {
        assert!(commit.contains(words), "{words}: {commit}");
    }
    assert!(page(&share, "8", "mount.lfsfs").contains("cache-size=SIZE"));
}
