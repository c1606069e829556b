//! Getting objects: versions, questions, removals, contents.

use std::fs;

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_tests::{Numbers, World};

use crate::client::{
    Client, assert_fault, assert_invalid, everything, file, marker, query, removed, symlink, told,
};

/// A server with a project.
fn scene() -> (World, Client) {
    let world = World::new();
    let client = Client::of(&world);
    client.new_project("app");
    (world, client)
}

fn range(from: u64, to: u64) -> v1::GetRequest {
    v1::GetRequest {
        from_version: Some(from),
        to_version: Some(to),
        ..everything("app")
    }
}

fn asking(queries: &[v1::ObjectQuery]) -> v1::GetRequest {
    v1::GetRequest {
        queries: queries.to_vec(),
        ..everything("app")
    }
}

/// Returns paths and what is there, in the order in which they came.
#[track_caller]
fn lines(client: &Client, request: v1::GetRequest) -> Vec<String> {
    let found = client.get(request).expect("objects");
    let lines = found.iter().map(|got| {
        let (path, what) = told(&got.object);
        format!("{path}: {what}")
    });
    lines.collect()
}

#[test]
fn what_was_imported_is_got_in_the_order_of_the_paths() {
    let (world, client) = scene();
    let tree = world.make_dir("tree");
    fs::create_dir_all(tree.join("a/deep/er")).expect("directories");
    fs::create_dir(tree.join("empty")).expect("a directory");
    fs::write(tree.join("a/b"), "one").expect("a file");
    fs::write(tree.join("a.c"), "two").expect("a file");
    fs::write(tree.join("none"), "").expect("a file");
    std::os::unix::fs::symlink("a/b", tree.join("link")).expect("a link");
    let _ = world.import(&tree, "app");
    let expected = [
        "a.c: two",
        "a/b: one",
        "a/deep/er/: dir",
        "empty/: dir",
        "link: -> a/b",
        "none: ",
    ];
    assert_eq!(lines(&client, everything("app")), expected);
    let found = client.get(everything("app")).expect("objects");
    assert!(found.iter().all(|got| got.version == 1));
    let all = client.get_unary(v1::GetUnaryRequest {
        project: "app".to_owned(),
        ..Default::default()
    });
    let all = all.expect("objects");
    assert_eq!(all.version, 1);
    assert!(found.iter().map(|got| &got.object).eq(&all.objects));
}

#[test]
fn a_range_has_what_was_added_changed_and_removed() {
    let (_world, client) = scene();
    let update = |objects| client.update("app", objects).expect("a version");
    update(vec![
        file("stays", "1"),
        file("changes", "1"),
        file("goes", "1"),
    ]);
    update(vec![
        file("changes", "2"),
        removed("goes"),
        file("new", "2"),
    ]);
    update(vec![file("passing", "3"), file("changes", "3")]);
    update(vec![removed("passing"), file("goes", "4")]);
    assert_eq!(
        lines(&client, range(1, 2)),
        ["changes: 2", "goes: deleted", "new: 2"]
    );
    assert_eq!(
        lines(&client, range(2, 4)),
        ["changes: 3", "goes: 4"],
        "what came and went is not told"
    );
    assert_eq!(
        lines(&client, range(1, 4)),
        ["changes: 3", "goes: 4", "new: 2"],
        "what was removed and is back is no removal"
    );
    assert_eq!(
        lines(&client, range(0, 2)),
        ["changes: 2", "new: 2", "stays: 1"]
    );
    assert_eq!(lines(&client, range(4, 4)), [""; 0]);
    assert_eq!(lines(&client, range(0, 0)), [""; 0]);
}

#[test]
fn removals_are_not_told_of_what_is_a_directory_now() {
    let (_world, client) = scene();
    let update = |objects| client.update("app", objects).expect("a version");
    update(vec![
        marker("filled/"),
        file("file", "1"),
        file("dir/a", "1"),
        marker("bare/"),
        file("emptied/a", "1"),
        marker("emptied/sub/"),
    ]);
    update(vec![
        file("filled/a", "2"),
        file("file/a", "2"),
        file("dir", "2"),
        removed("bare/"),
        removed("emptied/a"),
        removed("emptied/sub/"),
        marker("emptied/"),
    ]);
    let expected = [
        "bare/: deleted",
        "dir: 2",
        "dir/a: deleted",
        "emptied/: dir",
        "emptied/a: deleted",
        "emptied/sub/: deleted",
        "file/a: 2",
        "filled/a: 2",
    ];
    assert_eq!(lines(&client, range(1, 2)), expected);
}

#[test]
fn questions_are_about_bytes_and_apply_to_removals_too() {
    let (_world, client) = scene();
    let paths = [
        "a_b/c", "axb/c", "a%b", "a", "ab", "src/x/1", "src/xy", "src/y", "src/z",
    ];
    let all = paths.iter().map(|path| file(path, "1"));
    client.update("app", all.collect()).expect("a version");
    let asked = |queries: &[v1::ObjectQuery]| {
        let lines = lines(&client, asking(queries));
        let paths = lines
            .iter()
            .map(|line| line.trim_end_matches(": 1").to_owned());
        paths.collect::<Vec<_>>()
    };
    assert_eq!(asked(&[query("a_", true)]), ["a_b/c"]);
    assert_eq!(asked(&[query("a%", true)]), ["a%b"]);
    assert_eq!(asked(&[query("a", false)]), ["a"]);
    assert_eq!(asked(&[query("src", false)]), [""; 0]);
    assert_eq!(asked(&[query("a", true), query("ab", false)]).len(), 5);
    assert_eq!(asked(&[query("", true)]).len(), paths.len());
    assert_eq!(asked(&[query("", false)]).len(), paths.len());
    let any_of = v1::ObjectQuery {
        subpaths: vec![b"src/x/".to_vec(), b"src/z".to_vec()],
        ..query("src/", true)
    };
    assert_eq!(asked(std::slice::from_ref(&any_of)), ["src/x/1", "src/z"]);
    let without = v1::ObjectQuery {
        ignores: vec![b"src/x".to_vec()],
        ..query("src/", true)
    };
    assert_eq!(asked(std::slice::from_ref(&without)), ["src/y", "src/z"]);
    assert_eq!(
        asked(&[any_of, query("src/z", false)]),
        ["src/x/1", "src/z"]
    );

    let all = paths.iter().map(|path| removed(path));
    client.update("app", all.collect()).expect("a version");
    let request = v1::GetRequest {
        queries: vec![without],
        ..range(1, 2)
    };
    assert_eq!(
        lines(&client, request),
        ["src/y: deleted", "src/z: deleted"]
    );
}

#[test]
fn what_cannot_be_asked_for_is_refused_by_the_name_of_its_field() {
    let (_world, client) = scene();
    client
        .update("app", vec![file("a", "1")])
        .expect("a version");
    client
        .update("app", vec![file("a", "2")])
        .expect("a version");
    assert_invalid(client.get(range(2, 1)), "from_version");
    for (from, to) in [(0, 3), (3, 3), (3, 1)] {
        assert_fault(
            client.get(range(from, to)),
            FaultKind::VersionNotFound,
            "v3",
        );
    }
    assert_fault(
        client.get(everything("other")),
        FaultKind::ProjectNotFound,
        "other",
    );
    assert_invalid(client.get(everything("no/project")), "no/project");
    let wrong = v1::ObjectQuery {
        ignores: vec![b"b".to_vec()],
        ..query("a", true)
    };
    assert_invalid(
        client.get(asking(std::slice::from_ref(&wrong))),
        "queries.ignores",
    );
    let unary = client.get_unary(v1::GetUnaryRequest {
        project: "app".to_owned(),
        queries: vec![wrong],
        ..Default::default()
    });
    assert_invalid(unary, "queries.ignores");
}

#[test]
fn one_answer_leaves_out_long_contents_and_has_an_end() {
    let (_world, client) = scene();
    let bytes = Numbers(7).bytes(700_000);
    let objects = vec![
        file("long", &bytes),
        file("short", "1"),
        symlink("link", "short"),
    ];
    client.update("app", objects).expect("a version");
    let ask = |limit| v1::GetUnaryRequest {
        project: "app".to_owned(),
        max_content_send_size: limit,
        ..Default::default()
    };
    let all = client.get_unary(ask(None)).expect("objects");
    assert_eq!(all.objects[1].content.as_ref(), Some(&bytes));
    let some = client.get_unary(ask(Some(10))).expect("objects");
    assert_eq!(some.objects.len(), 3);
    assert_eq!(some.objects[1].content, None);
    assert!(some.objects[1].record.is_some());
    assert_eq!(some.objects[2].content.as_deref(), Some(&b"1"[..]));
    // Nothing to tell: but the version is.
    let nothing = v1::GetUnaryRequest {
        from_version: Some(1),
        ..ask(None)
    };
    let nothing = client.get_unary(nothing).expect("an answer");
    assert_eq!((nothing.version, nothing.objects.len()), (1, 0));

    let more = (0..5).map(|number| file(&format!("more-{number}"), Numbers(number).bytes(900_000)));
    client.update("app", more.collect()).expect("a version");
    assert_invalid(client.get_unary(ask(None)), "ask with Get");
    assert!(client.get_unary(ask(Some(800_000))).is_ok());
    assert_eq!(client.get(everything("app")).expect("objects").len(), 8);
}
