//! Every example of the help, and README's quick start, typed as they stand there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lfsfs_tests::{Run, World, in_namespace};

use crate::support::{bash, prepare, repository, strict};

/// Versions of the project. In the examples they are 41, 42 and 43: forty more would show nothing.
const VERSIONS: u32 = 3;
const DIR: &str = "/mnt/app";

/// One command as the help shows it.
#[derive(Debug, Clone)]
struct Example {
    /// The command that the help is of, such as `lfsfs project new`.
    command: String,
    line: String,
}

/// Returns the examples of docs/cli.md, which is what the help says: a test of the program holds
/// that.
fn examples() -> Vec<Example> {
    let page = fs::read_to_string(repository().join("docs/cli.md")).expect("docs/cli.md");
    let mut found = Vec::new();
    let (mut command, mut is_in_examples) = (String::new(), false);
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## lfsfs") {
            command = format!("lfsfs{name}");
        }
        is_in_examples = match line {
            "Examples:" | "Example:" => true,
            _ => is_in_examples && line.starts_with("  "),
        };
        if let Some(line) = line.strip_prefix("  ").filter(|_| is_in_examples) {
            // What follows blanks is said of the command.
            let line = line.split("   ").next().unwrap_or_default().to_owned();
            let command = command.clone();
            found.push(Example { command, line });
        }
    }
    found
}

/// A project with all versions that an example names, and directories to import.
fn machine() -> (World, PathBuf) {
    let world = World::with_server_arguments(&["--development"]);
    prepare(&world);
    let work = world.make_dir("work");
    let script = format!(
        "mkdir -p app/src app/config node_modules/left {DIR} \"$HOME\"
        echo left > node_modules/left/index.js
        lfsfs project new app; lfsfs project new deps
        for n in $(seq {VERSIONS}); do
            for file in one two src/main.js config/app.toml; do echo $n > app/$file; done
            lfsfs import ./app app
        done
        lfsfs rebuild app ./rebuilt"
    );
    let _ = strict(&world, &work, &script).ok();
    (world, work)
}

/// Brings back what an example may have taken away.
fn reset(world: &World, work: &Path, example: &Example) {
    // It is quoted below.
    let line = example.line.replace('\'', "");
    // mount(8) is called without our name before it.
    let mut words = line.split(' ').skip_while(|word| *word == "lfsfs");
    let verb = words.next().unwrap_or_default();
    let script = format!(
        "lfsfs umount --all --lazy
        rm -rf \"$LFSFS_STATE_DIR\" /srv/*
        lfsfs project inspect web >/dev/null 2>&1 && lfsfs project rename web app
        lfsfs project inspect app-of-before >/dev/null 2>&1 && lfsfs project rename app-of-before app
        lfsfs project inspect app >/dev/null 2>&1 || lfsfs project undelete app
        case '{line}' in
            # Makes the tag.
            'lfsfs tag app@'*) lfsfs tag app stable --delete ;;
            'lfsfs project undelete'*) lfsfs project delete app --yes ;;
            *) lfsfs tag app@v2 stable --force ;;
        esac
        case {verb} in
            mount|project|import|export|completions) exit ;;
        esac
        lfsfs mount app {DIR}
        case {verb} in
            switch|restore) ;;
            *) echo changed >> {DIR}/src/main.js ;;
        esac"
    );
    let script = format!("{{ {script}\n}} || true");
    let run = Run::of(bash(world, work, &script));
    assert_eq!(run.code(), Some(0), "{run:?}");
}

/// Types an example: in the mount, unless it is about another directory. A question is answered.
fn typed(world: &World, work: &Path, example: &Example) -> Run {
    let line = example.line.replace("10.0.0.5:5051", world.address());
    let line = line.replace("10.0.0.7:5051", world.address());
    let line = line.replace("v4", "v");
    // A mount that the caller stands in is in use.
    let is_in_mount = !["./app", "./node_modules", "./rebuilt", "umount"]
        .iter()
        .any(|dir| line.contains(dir));
    let mounted = Path::new(DIR).join("src").exists() && is_in_mount;
    let dir = if mounted { Path::new(DIR) } else { work };
    let asks = line.starts_with("lfsfs discard") && !line.contains("--yes");
    if !asks {
        return Run::of(bash(world, dir, &line));
    }
    let mut command = bash(
        world,
        dir,
        &format!("echo y | script -qec '{line}' /dev/null"),
    );
    command.stdin(Stdio::null());
    Run::of(command)
}

/// Returns true for what drains or removes a datanode, which needs a cluster, removes all projects, syncs directories (the
/// suite `sync` does), or watches until it is interrupted.
fn cannot_be_typed(line: &str) -> bool {
    let words = [
        "node drain",
        "node undrain",
        "node remove",
        "dev reset",
        "lfsfs sync ",
        "--watch",
    ];
    let watches = line.contains("lfsfs watch") && !line.contains(" -n ");
    watches || words.iter().any(|word| line.contains(word))
}

#[test]
fn every_example_of_the_help_does_what_it_says() {
    in_namespace(
        "examples::every_example_of_the_help_does_what_it_says",
        || {
            let (world, work) = machine();
            let mut examples = examples();
            assert!(examples.len() > 30, "{examples:?}");
            // What starts a server is README's test; what deletes the project comes last, and last of all what nothing
            // brings back.
            examples.retain(|example| !example.line.starts_with("lfsfsd"));
            examples.retain(|example| example.command != "lfsfs");
            // These have tests of their own.
            examples.retain(|example| !cannot_be_typed(&example.line));
            examples.sort_by_key(|example| {
                let deletes = example.command.ends_with("delete");
                (deletes, example.line.contains("--purge"))
            });
            for example in &examples {
                reset(&world, &work, example);
                let run = typed(&world, &work, example);
                assert_eq!(run.code(), Some(0), "{example:?}: {run:?}");
            }
            let _ = world.lfsfs(["umount", "--all", "--lazy"]).ok();
        },
    );
}

/// Returns the commands of README's quick start that come after the programs were installed.
fn quick_start() -> Vec<String> {
    let text = fs::read_to_string(repository().join("README.md")).expect("README.md");
    let start = text.find("## Quick start").expect("a quick start");
    let section = &text[start + 2..];
    let section = &section[..section.find("\n## ").expect("another section")];
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    let is_installing = |line: &&str| {
        ["git ", "make ", "sudo make ", "sudo apt-get "]
            .iter()
            .any(|word| line.starts_with(word))
    };
    lines
        .filter(|line| !is_installing(line))
        .map(str::to_owned)
        .collect()
}

/// Makes a script of commands: a server goes to the background and is waited for, and what README
/// says that a command prints is compared.
fn script_of(lines: &[String]) -> String {
    let mut script = String::new();
    for line in lines {
        if line.starts_with("lfsfsd ") {
            let command = line.trim_end_matches(['&', ' ']);
            script.push_str(&format!(
                "{command} > server.log 2>&1 & server=$!\n\
                 until grep -q 'listening on' server.log; do kill -0 $server; sleep 0.05; done\n"
            ));
            continue;
        }
        let printed = line.split_once("# prints ").map(|(_, words)| words);
        let printed = printed.and_then(|words| words.split([' ', ',', ';']).next());
        match printed {
            Some(printed) => script.push_str(&format!(
                "printed=$({line}\n)\n[ \"$printed\" = '{printed}' ] || {{ echo \"$printed\" >&2; exit 9; }}\n"
            )),
            None => script.push_str(&format!("{line}\n")),
        }
    }
    script + "kill $server; wait $server\n"
}

/// Runs a script alone on a network, so that the server can listen where it does by default.
fn alone(world: &World, dir: &Path, script: &str) -> Run {
    let file = dir.join("script.sh");
    fs::write(&file, format!("set -euo pipefail\n{script}")).expect("a file");
    // The loopback of a new network is down: SIOCSIFFLAGS with IFF_UP and IFF_RUNNING.
    let up = "import fcntl, socket, struct\n\
              fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'lo', 0x41))";
    let line = format!(
        "unshare --net -- /bin/sh -c 'python3 -c \"$1\" && exec bash \"$2\"' sh \"$UP\" {}",
        file.display()
    );
    let mut command = bash(world, dir, &line);
    command.env("UP", up).env_remove("LFSFS_SERVER");
    Run::of(command)
}

#[test]
fn the_quick_start_of_the_readme_works_as_it_stands() {
    in_namespace(
        "examples::the_quick_start_of_the_readme_works_as_it_stands",
        || {
            let world = World::without_server();
            prepare(&world);
            let work = world.make_dir("work");
            fs::create_dir(work.join("app")).expect("a directory");
            fs::write(work.join("app/file"), "one\n").expect("a file");
            let lines = quick_start();
            assert!(lines.len() >= 8, "{lines:?}");
            let run = alone(&world, &work, &script_of(&lines));
            assert_eq!(run.code(), Some(0), "{run:?}");
        },
    );
}

#[test]
fn the_first_examples_of_the_help_work_one_after_the_other() {
    in_namespace(
        "examples::the_first_examples_of_the_help_work_one_after_the_other",
        || {
            let world = World::without_server();
            prepare(&world);
            let work = world.make_dir("work");
            let data = world.path("data").display().to_string();
            let all = examples().into_iter();
            let first = all.filter(|example| example.command == "lfsfs");
            let mut lines: Vec<_> = first
                .map(|example| example.line.replace("/var/lib/lfsfsd", &data))
                .collect();
            assert!(lines.len() >= 6, "{lines:?}");
            lines.insert(0, "mkdir -p app /mnt/app; echo one > app/file".to_owned());
            let run = alone(&world, &work, &script_of(&lines));
            assert_eq!(run.code(), Some(0), "{run:?}");
        },
    );
}

#[test]
fn a_command_that_prints_something_else_is_found() {
    let script = script_of(&["echo app@v2   # prints app@v1".to_owned()]);
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &script]);
    let run = Run::of(bash);
    assert_eq!((run.code(), run.stderr()), (Some(9), "app@v2\n".to_owned()));
}
