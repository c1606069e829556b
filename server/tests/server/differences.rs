//! Versions: logged, compared by line and by name, and where their directories are.

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_types::DirId;
use tempfile::TempDir;

use super::commits::{NEW_DIR, list, tree};
use super::support::{
    TestServer, all, dir_of, directory_record, file_record, kind, put, remove, with_project,
};

/// Version 1 is the tree, 2 changes `a.txt`, 3 moves `sub` to `moved` and adds to it.
async fn history() -> (TempDir, TestServer, Vec<u8>, u64) {
    let (dir, server, project) = with_project().await;
    server.store(&[b"one", b"two"]).await;
    let first = tree(&[b"one", b"two"]);
    server.commit("app", [1; 16], first).await.unwrap();
    let second = vec![put(1, "a.txt", &file_record(b"two"))];
    server.commit("app", [2; 16], second).await.unwrap();
    let sub = list(&server, &project.id, 2, 1).await.remove(1);
    let sub = dir_of(&sub);
    let third = vec![
        remove(1, "sub"),
        put(1, "moved", &directory_record(sub)),
        put(sub, "c.txt", &file_record(b"one")),
    ];
    server.commit("app", [3; 16], third).await.unwrap();
    (dir, server, project.id, sub)
}

#[tokio::test]
async fn versions_are_logged_and_so_are_those_of_a_path() {
    let (_dir, server, project_id, _) = history().await;
    let log = async |path: &str, before, limit| {
        let request = v1::LogRequest {
            project_id: project_id.clone(),
            before,
            limit,
            path: path.as_bytes().to_vec(),
        };
        let versions = all(server.fs().log(request).await).await?;
        Ok::<_, tonic::Status>(versions.iter().map(|it| it.number).collect::<Vec<_>>())
    };
    for (path, before, limit, expected) in [
        ("", 0, 0, &[3, 2, 1][..]),
        ("", 3, 1, &[2]),
        ("a.txt", 0, 0, &[2, 1]),
        ("a.txt", 2, 0, &[1]),
        ("a.txt", 0, 1, &[2]),
        ("sub", 0, 0, &[3, 1]),
        ("sub/b.txt", 0, 0, &[3, 1]),
        ("moved", 0, 0, &[3]),
        ("moved", 3, 0, &[]),
    ] {
        let found = log(path, before, limit).await.unwrap();
        assert_eq!(found, expected, "{path:?} before {before}, {limit} at most");
    }
    assert_eq!(kind(log("none", 0, 0).await), FaultKind::PathNotFound);
    assert_eq!(kind(log("a//b", 0, 0).await), FaultKind::Invalid);
    server.stop().await;
}

#[tokio::test]
async fn versions_are_compared_with_renames_and_by_path() {
    use v1::DiffKind::{Added, Modified, Removed, Renamed};
    let (_dir, server, project_id, _) = history().await;
    let diff = async |from, to, expand_renames| {
        let request = v1::DiffRequest {
            project_id: project_id.clone(),
            from,
            to,
            expand_renames,
            ..Default::default()
        };
        let lines = all(server.fs().diff(request).await).await.unwrap();
        let line = |line: &v1::DiffEntry| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (line.kind(), text(&line.old_path), text(&line.path))
        };
        let mut lines: Vec<_> = lines.iter().map(line).collect();
        lines.sort();
        lines
    };
    let line = |kind, old: &str, path: &str| (kind, old.to_owned(), path.to_owned());
    let told = [
        line(Added, "", "moved/c.txt"),
        line(Modified, "", "a.txt"),
        line(Renamed, "sub", "moved"),
    ];
    assert_eq!(diff(1, 3, false).await, told);
    let expanded = [
        line(Added, "", "moved"),
        line(Added, "", "moved/b.txt"),
        line(Added, "", "moved/c.txt"),
        line(Removed, "", "sub"),
        line(Removed, "", "sub/b.txt"),
        line(Modified, "", "a.txt"),
    ];
    assert_eq!(diff(1, 3, true).await, expanded);
    assert_eq!(diff(2, 2, true).await, []);
    server.stop().await;
}

#[tokio::test]
async fn changed_names_are_told_both_ways() {
    let (_dir, server, project_id, sub) = history().await;
    let names = async |from, to| {
        let request = v1::ChangedNamesRequest {
            project_id: project_id.clone(),
            from,
            to,
            ..Default::default()
        };
        let answers = all(server.fs().changed_names(request).await).await?;
        let names = answers.into_iter().flat_map(|answer| answer.names);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let mut names: Vec<_> = names
            .map(|it| {
                (
                    it.dir,
                    text(it.name),
                    it.old_path.map(text),
                    it.new_path.map(text),
                )
            })
            .collect();
        names.sort();
        Ok::<_, tonic::Status>(names)
    };
    let some = |path: &str| Some(path.to_owned());
    let expected = vec![
        (1, "a.txt".to_owned(), some("a.txt"), some("a.txt")),
        (1, "moved".to_owned(), None, some("moved")),
        (1, "sub".to_owned(), some("sub"), None),
        (sub, "c.txt".to_owned(), None, some("moved/c.txt")),
    ];
    assert_eq!(names(1, 3).await.unwrap(), expected);
    let back = expected
        .into_iter()
        .map(|(dir, name, old, new)| (dir, name, new, old));
    assert_eq!(names(3, 1).await.unwrap(), back.collect::<Vec<_>>());
    let from_nothing = names(0, 1).await.unwrap();
    let paths: Vec<_> = from_nothing
        .iter()
        .filter_map(|it| it.3.as_deref())
        .collect();
    assert_eq!(paths, ["", "a.txt", "sub", "sub/b.txt"]);
    assert_eq!(names(2, 2).await.unwrap(), []);
    assert_eq!(kind(names(1, 9).await), FaultKind::VersionNotFound);
    server.stop().await;
}

#[tokio::test]
async fn many_changed_names_come_in_several_messages() {
    let (_dir, server, project) = with_project().await;
    let name = |number: usize| format!("{number:0>200}");
    let fifo = lfsfs_types::Record {
        kind: lfsfs_types::Kind::Fifo,
        ..file_record(b"")
    };
    let files = (0..1500).map(|number| put(1, &name(number), &fifo));
    server
        .commit("app", [1; 16], files.collect())
        .await
        .unwrap();
    let request = v1::ChangedNamesRequest {
        project_id: project.id,
        from: 0,
        to: 1,
        ..Default::default()
    };
    let answers = all(server.fs().changed_names(request).await).await.unwrap();
    let told: usize = answers.iter().map(|answer| answer.names.len()).sum();
    assert!(answers.len() > 1, "one message of {told} names");
    assert_eq!(told, 1501, "the root is one");
    server.stop().await;
}

#[tokio::test]
async fn directories_have_places_that_versions_know() {
    let (_dir, server, project_id, sub) = history().await;
    let deeper = vec![
        put(sub, "below", &directory_record(NEW_DIR)),
        put(NEW_DIR, "d.txt", &file_record(b"one")),
    ];
    server.commit("app", [4; 16], deeper).await.unwrap();
    let names = list(&server, &project_id, 4, sub).await;
    let below = names.iter().find(|entry| entry.name == b"below").unwrap();
    let below = dir_of(below);
    let places = async |version, dirs: Vec<u64>| {
        let request = v1::DirectoryPlacesRequest {
            project_id: project_id.clone(),
            version,
            dirs,
            version_id: Vec::new(),
        };
        let answers = all(server.fs().directory_places(request).await).await?;
        let places = answers.into_iter().flat_map(|answer| answer.places);
        let place =
            |it: v1::DirectoryPlace| (it.dir, it.parent, String::from_utf8(it.name).unwrap());
        Ok::<_, tonic::Status>(places.map(place).collect::<Vec<_>>())
    };
    let in_sub = (below, sub, "below".to_owned());
    let moved = (sub, 1, "moved".to_owned());
    let asked = vec![below, 1, 999, sub];
    assert_eq!(places(4, asked.clone()).await.unwrap(), [moved, in_sub]);
    assert_eq!(
        places(2, asked).await.unwrap(),
        [(sub, 1, "sub".to_owned())]
    );
    assert_eq!(kind(places(9, vec![1]).await), FaultKind::VersionNotFound);
    let too_many = vec![DirId::ROOT.0; 4097];
    assert_eq!(kind(places(1, too_many).await), FaultKind::Invalid);
    server.stop().await;
}
