//! The example of docs/api.md, run as it stands.

use std::path::{Path, PathBuf};
use std::process::Command;

use lfsfs_testkit::requirements::{Requirement, require, require_program};
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

fn tree() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tree").to_owned()
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
    let said = Run::of(node).ok();
    let expected = [
        "update 1",
        "update 2",
        "list js@v2",
        "get src/a.txt=three",
        "big true",
        "changed src/a.txt=three src/b.txt=null",
        "unary 2 big src/a.txt",
        "rollback 3",
        "watch 1 2 3",
        "clone 1",
        "copy big src/a.txt",
        "refused true",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
