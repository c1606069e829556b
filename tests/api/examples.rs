//! The examples of docs/api.md, run as they stand.

use std::path::{Path, PathBuf};
use std::process::Command;

use lfsfs_testkit::requirements::{Requirement, find_program, require, require_program};
use lfsfs_tests::{Run, World};

/// Where the packages of the example may be: a directory named by `LFSFS_NODE_MODULES`, or where Debian has its own.
fn modules() -> Option<PathBuf> {
    let named = std::env::var_os("LFSFS_NODE_MODULES").map(PathBuf::from);
    let known = [
        "/usr/share/nodejs",
        "/usr/lib/node_modules",
        "/usr/local/lib/node_modules",
    ];
    let places = named.into_iter().chain(known.map(PathBuf::from));
    let mut places = places.filter(|place| {
        let has = |package: &str| place.join("@grpc").join(package).is_dir();
        has("grpc-js") && has("proto-loader")
    });
    places.next()
}

fn require_modules() -> Requirement {
    let found = modules().map(drop);
    require(
        "the npm packages @grpc/grpc-js and @grpc/proto-loader, in LFSFS_NODE_MODULES or where node has its own",
        found.ok_or_else(|| "not found".to_owned()),
    )
}

/// Returns a Python that has the packages of the example: the one that `LFSFS_PYTHON` names, or one of the system.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("LFSFS_PYTHON").map(PathBuf::from);
    let known = ["/usr/bin/python3".into()].into_iter();
    let mut places = named
        .into_iter()
        .chain(known)
        .chain(find_program("python3"));
    places.find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", "import grpc, grpc_tools.protoc"]);
        command.output().is_ok_and(|output| output.status.success())
    })
}

fn require_python() -> Requirement {
    let found = python().map(drop);
    require(
        "a python3 with the packages grpcio and grpcio-tools, which LFSFS_PYTHON names or the system has",
        found.ok_or_else(|| "not found".to_owned()),
    )
}

fn tree() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tree").to_owned()
}

/// What each example says of a project of its name.
fn expected(project: &str) -> String {
    let lines = [
        "update 1",
        "update 2",
        &format!("list {project}@v2"),
        "get src/a.txt=three",
        "big true",
        "changed src/a.txt=three src/b.txt=null",
        "unary 2 big src/a.txt",
        "rollback 3",
        "watch 1 2 3",
        "clone 1",
        "copy big src/a.txt",
        "gc 2",
        "expired true",
        "garbage 0",
        "refused true",
    ];
    lines.join("\n")
}

#[test]
fn the_javascript_example_does_what_it_says() {
    if require_program("node").is_err() || require_modules().is_err() {
        return;
    }
    let world = World::new();
    let mut node = Command::new("node");
    node.arg(tree().join("docs/examples/api.js"));
    node.arg(world.address()).arg(tree().join("proto/proto"));
    node.env("NODE_PATH", modules().expect("they were asked for"));
    assert_eq!(Run::of(node).ok(), expected("js"));
}

/// The modules are made as docs/api.md says.
#[test]
fn the_python_example_does_what_it_says() {
    if require_python().is_err() {
        return;
    }
    let python = python().expect("it was asked for");
    let page = std::fs::read_to_string(tree().join("docs/api.md")).expect("the page");
    let command = page
        .split("    python -m grpc_tools.protoc ")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .expect("the command of docs/api.md");
    let words = command.split_whitespace().filter(|word| *word != "\\");
    let world = World::new();
    let made = world.make_dir("made");
    let mut protoc = Command::new(&python);
    protoc.current_dir(tree()).args(["-m", "grpc_tools.protoc"]);
    let into = |word: &str| word.replace("_out=.", &format!("_out={}", made.display()));
    protoc.args(words.map(into));
    assert_eq!(Run::of(protoc).ok(), "");
    let mut example = Command::new(&python);
    example.arg(tree().join("docs/examples/api.py"));
    example.arg(world.address()).env("PYTHONPATH", &made);
    example.env("PYTHONDONTWRITEBYTECODE", "1");
    // Python writes True.
    assert_eq!(Run::of(example).ok().to_lowercase(), expected("py"));

    let block = page.split("```python\n").nth(1);
    let block = block.and_then(|rest| rest.split("```").next());
    let block = block.expect("the Python of docs/api.md");
    assert!(block.contains("localhost:5051"), "{block}");
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let mut shortest = Command::new(&python);
    shortest.args(["-c", &block.replace("localhost:5051", world.address())]);
    shortest.env("PYTHONPATH", &made);
    assert_eq!(Run::of(shortest).ok(), "src/main.py b'print(1)\\n'");
}
