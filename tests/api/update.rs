//! Updates: what they make of a version, what they refuse, and what others see of them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_proto::v1::record::Kind;
use lfsfs_tests::{Cluster, Numbers, World, eventually};

use crate::client::{
    Client, assert_fault, assert_invalid, everything, file, marker, messages_of, removed, symlink,
};

fn scene() -> (World, Client) {
    let world = World::new();
    let client = Client::of(&world);
    client.new_project("app");
    (world, client)
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(path, what): &(&str, &str)| ((*path).to_owned(), (*what).to_owned());
    entries.iter().map(owned).collect()
}

#[test]
fn what_was_updated_is_listed_and_exported() {
    let (mut world, client) = scene();
    let objects = vec![
        file("dir/sub/file", "bytes"),
        symlink("link", "dir/sub"),
        marker("empty/"),
    ];
    assert_eq!(client.update("app", objects).expect("a version"), 1);
    let listed = world.lfsfs(["ls", "-R", "app"]);
    let listed = listed.ok();
    for name in ["file", "link", "empty"] {
        assert!(listed.contains(name), "{listed}");
    }
    let out = world.path("out");
    let _ = world
        .lfsfs(["export", "app", out.to_str().expect("a path")])
        .ok();
    assert_eq!(
        fs::read(out.join("dir/sub/file")).expect("a file"),
        b"bytes"
    );
    assert!(out.join("empty").is_dir());
    let target = fs::read_link(out.join("link")).expect("a link");
    assert_eq!(target.to_str(), Some("dir/sub"));
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn the_same_again_is_no_version_and_nothing_is_none() {
    let (_world, client) = scene();
    assert_eq!(client.send(Vec::new()).expect("an answer"), -1);
    let objects = || {
        vec![
            file("a", "1"),
            marker("d/"),
            symlink("l", "a"),
            removed("none"),
        ]
    };
    assert_eq!(client.update("app", objects()).expect("a version"), 1);
    assert_eq!(client.update("app", objects()).expect("a version"), 1);
    assert_eq!(
        client.update("app", vec![removed("x")]).expect("a version"),
        1
    );
    // The mode stays where it is not told.
    let with_mode = v1::Objekt {
        record: Some(v1::Record {
            mode: 0o755,
            ..Default::default()
        }),
        ..file("a", "1")
    };
    assert_eq!(client.update("app", vec![with_mode]).expect("a version"), 2);
    assert_eq!(
        client
            .update("app", vec![file("a", "2")])
            .expect("a version"),
        3
    );
    let found = client.get(everything("app")).expect("objects");
    let record = found[0].object.record.as_ref().expect("a record");
    assert_eq!(record.mode, 0o755);
    // What was got can be sent as it came.
    let same = found.into_iter().map(|got| got.object).collect();
    assert_eq!(client.update("app", same).expect("a version"), 3);
}

#[test]
fn a_call_under_the_id_of_a_version_that_was_made_is_answered_with_that() {
    let (_world, client) = scene();
    let send = |content: &str| {
        let mut messages = messages_of("app", file("a", content));
        messages[0].version_id = vec![7; 16];
        messages[0].author = "me".to_owned();
        client.send(messages)
    };
    assert_eq!(send("1").expect("a version"), 1);
    client
        .update("app", vec![file("a", "2")])
        .expect("a version");
    assert_eq!(send("1").expect("a version"), 1);
    assert_eq!(client.all("app"), map(&[("a", "2")]));
}

#[test]
fn every_kind_takes_the_place_of_every_other() {
    let (mut world, client) = scene();
    let kinds = ["none", "file", "link", "empty", "full"];
    let at = |kind: &str, path: &str| match kind {
        "file" => Some(file(path, "bytes")),
        "link" => Some(symlink(path, "over/there")),
        "empty" => Some(marker(&format!("{path}/"))),
        "full" => Some(file(&format!("{path}/in/side"), "inner")),
        _ => None,
    };
    let pairs = || {
        kinds
            .iter()
            .flat_map(|from| kinds.iter().map(move |to| (*from, *to)))
    };
    let name = |(from, to): (&str, &str)| format!("top/{from}-{to}");
    let before = pairs().filter_map(|pair| at(pair.0, &name(pair)));
    client.update("app", before.collect()).expect("a version");
    let old = client.all("app");
    // What was there is removed, and what comes is written, in one update.
    let mut objects = Vec::new();
    for pair in pairs().filter(|(from, to)| from != to) {
        let new = at(pair.1, &name(pair));
        let old = at(pair.0, &name(pair)).map(|object| object.path);
        // A path that is written again is not removed, too.
        let is_written = |path: &Vec<u8>| new.as_ref().is_some_and(|new| new.path == *path);
        objects.extend(old.filter(|path| !is_written(path)).map(|path| v1::Objekt {
            path,
            deleted: true,
            ..Default::default()
        }));
        objects.extend(new);
    }
    client.update("app", objects).expect("a version");
    let mut expected = BTreeMap::new();
    for pair in pairs() {
        if let Some(object) = at(pair.1, &name(pair)) {
            let path = String::from_utf8(object.path).expect("a text");
            let what = match pair.1 {
                "file" => "bytes",
                "link" => "-> over/there",
                "empty" => "dir",
                _ => "inner",
            };
            expected.insert(path, what.to_owned());
        }
    }
    assert_eq!(client.all("app"), expected);
    // Without removals of what was there it is the same.
    let back = v1::RollbackRequest {
        project: "app".to_owned(),
        version: 1,
        ..Default::default()
    };
    let rolled = client.runtime().block_on(client.fs().rollback(back));
    let _ = rolled.expect("a version");
    assert_eq!(client.all("app"), old);
    let objects = pairs().filter(|(_, to)| *to != "none");
    let objects = objects.filter_map(|pair| at(pair.1, &name(pair)));
    client.update("app", objects.collect()).expect("a version");
    let found = client.all("app");
    for (path, what) in &expected {
        let is_kept = path.contains("full-empty");
        assert_eq!(found.get(path), (!is_kept).then_some(what), "{path}");
    }
    assert_eq!(found["top/full-empty/in/side"], "inner");
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn a_directory_goes_with_its_last_object_unless_its_marker_comes() {
    let (_world, client) = scene();
    let objects = vec![file("a/b/c", "1"), file("d/e", "1"), file("keeps", "1")];
    client.update("app", objects).expect("a version");
    let objects = vec![removed("a/b/c"), removed("d/e"), marker("d/")];
    client.update("app", objects).expect("a version");
    assert_eq!(client.all("app"), map(&[("d/", "dir"), ("keeps", "1")]));
    // A marker of a directory with objects says nothing, and its removal removes nothing.
    client
        .update("app", vec![file("d/f", "2"), marker("d/")])
        .expect("a version");
    let version = client
        .update("app", vec![removed("d/"), removed("d")])
        .expect("a version");
    assert_eq!(version, 3);
    assert_eq!(client.all("app"), map(&[("d/f", "2"), ("keeps", "1")]));
}

/// A project with one object, and a good object to come before the mistakes.
fn scene_of_mistakes() -> (World, Client) {
    let (world, client) = scene();
    client
        .update("app", vec![file("a", "1")])
        .expect("a version");
    (world, client)
}

fn good() -> v1::Objekt {
    file("good", "1")
}

#[track_caller]
fn assert_unchanged(world: &World, client: &Client) {
    assert_eq!(client.all("app"), map(&[("a", "1")]));
    assert_eq!(world.head("app"), 1);
}

fn with_record(object: v1::Objekt, record: v1::Record) -> v1::Objekt {
    v1::Objekt {
        record: Some(record),
        ..object
    }
}

/// A record of a file that says what its content is.
fn of_content(size: u64, content: &[u8]) -> v1::Record {
    let content = content.to_vec();
    v1::Record {
        kind: Some(Kind::File(v1::File { size, content })),
        ..Default::default()
    }
}

#[test]
fn an_update_with_a_path_that_is_none_changes_nothing() {
    let (world, client) = scene_of_mistakes();
    let long = "x".repeat(256);
    for path in ["", "/", "/a", "a//b", "..", "a/../b", "./a", "a\0b", &long] {
        let answer = client.update("app", vec![good(), file(path, "1")]);
        assert_invalid(answer, "object.path");
    }
    assert_unchanged(&world, &client);
}

#[test]
fn an_update_with_an_object_that_cannot_be_changes_nothing() {
    let (world, client) = scene_of_mistakes();
    let deleted = v1::Objekt {
        deleted: true,
        ..file("a", "1")
    };
    let full_marker = v1::Objekt {
        content: Some(Vec::new()),
        ..marker("d/")
    };
    let type_in_mode = v1::Record {
        mode: 0o100_644,
        ..Default::default()
    };
    for (objects, text) in [
        (vec![good(), good()], "\"good\""),
        (vec![good(), file("good/x", "1")], "good/x"),
        (vec![good(), marker("good/")], "good/"),
        (vec![good(), marker("file")], "object.content"),
        (vec![deleted], "object.content"),
        (vec![full_marker], "object.content"),
        (vec![symlink("d/", "x")], "record.kind"),
        (vec![symlink("l", "")], "target"),
        (vec![with_record(good(), type_in_mode)], "mode"),
        (
            vec![with_record(good(), of_content(3, b""))],
            "record.file.size",
        ),
    ] {
        let all = [vec![file("first", "1")], objects].concat();
        assert_invalid(client.update("app", all), text);
    }
    let wrong = vec![with_record(file("named", "1"), of_content(1, &[9; 32]))];
    assert_fault(
        client.update("app", wrong),
        FaultKind::HashMismatch,
        "named",
    );
    let nowhere = with_record(marker("named"), of_content(1, &[9; 32]));
    let answer = client.update("app", vec![good(), nowhere]);
    assert_fault(answer, FaultKind::ContentNotFound, "");
    assert_unchanged(&world, &client);
}

#[test]
fn an_update_whose_messages_do_not_fit_together_changes_nothing() {
    let (world, client) = scene_of_mistakes();
    let mut mixed = messages_of("app", good());
    mixed.extend(messages_of("other", file("a", "2")));
    assert_invalid(client.send(mixed), "project");
    let mut open = messages_of("app", good());
    open[0].continued = true;
    assert_invalid(client.send(open.clone()), "good");
    open.extend(messages_of("app", file("a", "2")));
    assert_invalid(client.send(open), "good");
    let absent = messages_of("absent", good());
    assert_fault(client.send(absent), FaultKind::ProjectNotFound, "absent");
    let empty = vec![v1::UpdateRequest {
        project: "app".to_owned(),
        ..Default::default()
    }];
    assert_invalid(client.send(empty), "object");
    assert_unchanged(&world, &client);
}

#[test]
fn twenty_writers_at_the_same_time_lose_nothing() {
    const WRITERS: usize = 20;
    const ROUNDS: usize = 3;
    let (mut world, client) = scene();
    let all = (0..WRITERS).map(|writer| {
        let mut fs = client.fs();
        client.runtime().spawn(async move {
            for round in 0..ROUNDS {
                let path = format!("shared/w{writer}/r{round}");
                let own = file(&path, format!("{writer} {round}"));
                let all = file("last", format!("{writer} {round}"));
                let objects = [own, all].into_iter();
                let messages: Vec<_> = objects.flat_map(|one| messages_of("app", one)).collect();
                fs.update(tokio_stream::iter(messages))
                    .await
                    .expect("a version");
            }
        })
    });
    let all: Vec<_> = all.collect();
    client.runtime().block_on(async {
        for one in all {
            one.await.expect("a writer");
        }
    });
    assert_eq!(world.head("app"), (WRITERS * ROUNDS) as u64);
    let found = client.all("app");
    assert_eq!(found.len(), WRITERS * ROUNDS + 1);
    for writer in 0..WRITERS {
        for round in 0..ROUNDS {
            let path = format!("shared/w{writer}/r{round}");
            assert_eq!(found[&path], format!("{writer} {round}"));
        }
    }
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn a_large_content_is_streamed_in_both_directions() {
    // The least memory that a server takes: its connections have the smallest share.
    let world = World::with_server_arguments(&["--memory", "256MiB"]);
    let client = Client::of(&world);
    client.new_project("app");
    client
        .update("app", vec![file("first", "1")])
        .expect("a version");
    let bytes = Numbers(3).bytes(40_000_000);
    let small = Numbers(4).bytes(600_000);
    let objects = vec![
        file("big", &bytes),
        file("small", &small),
        file("again", &bytes),
    ];
    assert_eq!(client.update("app", objects).expect("a version"), 2);
    let range = v1::GetRequest {
        from_version: Some(1),
        ..everything("app")
    };
    let found = client.get(range).expect("objects");
    assert_eq!(found.len(), 3);
    assert!(found[0].object.content.as_ref() == Some(&bytes), "again");
    assert!(found[1].object.content.as_ref() == Some(&bytes), "big");
    assert!(found[2].object.content.as_ref() == Some(&small), "small");
    assert!(found[1].messages > 40, "{}", found[1].messages);
    // It is cut as an import cuts it: nothing is stored twice.
    let tree = world.make_dir("tree");
    fs::write(tree.join("big"), &bytes).expect("a file");
    let imported = world.import_json(&tree, "other", &["--create"]);
    assert!(
        imported["bytes_sent"]
            .as_u64()
            .is_some_and(|sent| sent < 100_000),
        "{imported}"
    );
}

#[test]
fn a_cluster_takes_objects_and_gives_them_when_a_datanode_is_gone() {
    let mut cluster = Cluster::new(3, &[]);
    let client = Client::of(&cluster.world);
    client.new_project("app");
    let bytes = Numbers(5).bytes(5_000_000);
    let objects = || vec![file("big", &bytes), file("small", "1")];
    // The datanodes may not have registered yet.
    let has_stored = || {
        client
            .update("app", objects())
            .is_ok_and(|version| version == 1)
    };
    assert!(eventually(Duration::from_secs(60), has_stored));
    cluster.kill_node(0);
    let found = client.get(everything("app")).expect("objects");
    assert!(found[0].object.content.as_ref() == Some(&bytes), "big");
    assert_eq!(found[1].object.content.as_deref(), Some(&b"1"[..]));
    assert_eq!(
        client
            .update("app", vec![file("small", "2")])
            .expect("a version"),
        2
    );
}
