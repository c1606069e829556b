//! No server, or one that does not answer: every verb says so within seconds.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use lfsfs_tests::World;

/// Every verb that asks a server, with `TREE` and `MOUNT` for directories.
const VERBS: [&[&str]; 21] = [
    &["project", "new", "app"],
    &["project", "list"],
    &["project", "inspect", "app"],
    &["import", "TREE", "app"],
    &["ls", "app"],
    &["cat", "app", "file"],
    &["put", "/etc/passwd", "app:file"],
    &["get", "app:file", "-"],
    &["rm", "app:file"],
    &["log", "app"],
    &["diff", "app@v1", "app@v2"],
    &["mount", "app", "MOUNT", "-o", "ro"],
    &["mount", "app", "MOUNT"],
    &["export", "app", "MOUNT"],
    &["rebuild", "app", "MOUNT"],
    &["tag", "app"],
    &["tag", "app@v1", "stable"],
    &["project", "rename", "app", "other"],
    &["project", "delete", "app", "--yes"],
    &["project", "list", "--deleted"],
    &["project", "undelete", "app"],
];

/// Runs all verbs at once: waiting takes long, and nothing else.
fn assert_every_verb_fails(world: &World, limit: Duration, words: &[&str]) {
    std::thread::scope(|scope| {
        for verb in VERBS {
            scope.spawn(|| assert_fails(world, verb, limit, words));
        }
    });
}

fn assert_fails(world: &World, verb: &[&str], limit: Duration, words: &[&str]) {
    let arguments = verb.iter().map(|word| match *word {
        "TREE" => world.make_dir("tree").into_os_string(),
        "MOUNT" => world.make_dir("mount").into_os_string(),
        word => word.into(),
    });
    let start = Instant::now();
    let run = world.lfsfs(arguments);
    let took = start.elapsed();
    assert!(took < limit, "{took:?}: {run:?}");
    let _ = run.fails(1, words);
    assert!(run.stdout().is_empty(), "{run:?}");
}

#[test]
fn no_process_listens() {
    let world = World::without_server();
    let told = format!(
        "no lfsfs server at {}; start one with: lfsfsd all --data DIR",
        world.address()
    );
    assert_every_verb_fails(&world, Duration::from_secs(5), &[&told]);
}

#[test]
fn mount_helper_fails_as_mount_expects() {
    let world = World::without_server();
    let mount = world.make_dir("mount");
    let words = [
        "app".as_ref(),
        mount.as_os_str(),
        "-o".as_ref(),
        "ro".as_ref(),
    ];
    let run = lfsfs_tests::Run::of(world.mount_helper(words));
    run.fails(32, &["no lfsfs server at", "lfsfsd all --data DIR"]);
}

#[test]
fn a_process_listens_and_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut world = World::without_server();
    let address = listener.local_addr().expect("an address").to_string();
    world.set_address(&address);
    // Each call gives up after 5 s, and some verbs make two; the rest is for a busy machine.
    assert_every_verb_fails(
        &world,
        Duration::from_secs(16),
        &["lfsfs server at", &address, "not answer"],
    );
}

#[test]
fn another_program_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut world = World::without_server();
    world.set_address(&listener.local_addr().expect("an address").to_string());
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            // It may have gone already.
            let _ = std::io::Write::write_all(&mut client, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    assert_every_verb_fails(&world, Duration::from_secs(8), &["lfsfs: "]);
}

#[test]
fn an_address_that_is_none() {
    let mut world = World::without_server();
    world.set_address("no address");
    for verb in [&["project", "list"][..], &["ls", "app"]] {
        let _ = world.lfsfs(verb).fails(2, &["no address"]);
    }
}
