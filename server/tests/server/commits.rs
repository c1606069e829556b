//! Versions: committed, resolved, listed, compared.

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_types::{DirId, Kind, Record};

use super::support::{TestServer, chunk_of, content_id, file_record, kind, noise, put};

const NEW_DIR: u64 = DirId::SESSION_FIRST.0;

fn tree(contents: &[&[u8]; 2]) -> Vec<v1::Change> {
    let directory = Record {
        kind: Kind::Directory {
            dir: DirId(NEW_DIR),
        },
        mode: 0o755,
        ..file_record(b"")
    };
    vec![
        put(1, "a.txt", &file_record(contents[0])),
        put(1, "sub", &directory),
        put(NEW_DIR, "b.txt", &file_record(contents[1])),
    ]
}

async fn list(server: &TestServer, project_id: &[u8], version: u64, dir: u64) -> Vec<v1::Entry> {
    let mut entries = Vec::new();
    loop {
        let after = entries
            .last()
            .map_or(Vec::new(), |e: &v1::Entry| e.name.clone());
        let request = v1::ListDirectoryRequest {
            project_id: project_id.to_vec(),
            version,
            dir,
            after,
            limit: 1,
        };
        let page = server.fs().list_directory(request).await;
        let page = page.expect("list a directory").into_inner();
        entries.extend(page.entries);
        if !page.more {
            return entries;
        }
    }
}

#[tokio::test]
async fn a_commit_is_listed_looked_up_resolved_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let project = server.new_project("app").await;
    let contents: [&[u8]; 2] = [b"first content", b"second content"];
    let chunk = chunk_of(&contents);
    let slot = server.plan("app").await;
    server.upload(&chunk, &slot).await.unwrap();
    let committed = server
        .commit("app", [1; 16], tree(&contents))
        .await
        .unwrap();
    let version = committed.version.unwrap();
    assert_eq!((version.number, version.counts.unwrap().objects), (1, 3));
    let repeated = server.commit("app", [1; 16], Vec::new()).await;
    assert_eq!(repeated.unwrap().version.unwrap().number, 1, "done before");
    let node = server
        .coordinator()
        .list_nodes(v1::ListNodesRequest {})
        .await;
    let node = node.unwrap().into_inner().nodes.remove(0);
    server.stop().await;

    let server = TestServer::start(dir.path()).await;
    let head = server.resolve_source("app@latest").await.unwrap();
    assert_eq!(head.project.unwrap().id, project.id);
    assert_eq!(head.version.unwrap().id, [1; 16]);
    let entries = list(&server, &project.id, 1, 1).await;
    let names: Vec<_> = entries.iter().map(|entry| &entry.name[..]).collect();
    assert_eq!(names, [&b"a.txt"[..], b"sub"]);
    let record = Record::try_from(entries[0].record.clone().unwrap()).unwrap();
    assert_eq!(record, file_record(contents[0]));

    let request = v1::LookupRequest {
        project_id: project.id.clone(),
        version: 1,
        path: b"sub/b.txt".to_vec(),
    };
    let found = server
        .fs()
        .lookup(request.clone())
        .await
        .unwrap()
        .into_inner();
    let record = Record::try_from(found.record.unwrap()).unwrap();
    assert_eq!(record, file_record(contents[1]));
    // The longest path there can be, and one that grows most when it is written for people.
    let longest = [&b"\xff".repeat(254)[..], b"/"].concat().repeat(16);
    for path in [b"sub/none".to_vec(), longest] {
        let request = v1::LookupRequest {
            path,
            ..request.clone()
        };
        let absent = server.fs().lookup(request).await;
        assert_eq!(kind(absent), FaultKind::PathNotFound);
    }

    let again = server
        .coordinator()
        .list_nodes(v1::ListNodesRequest {})
        .await;
    let again = again.unwrap().into_inner().nodes.remove(0);
    assert_eq!(again.id, node.id, "a node keeps its id");
    assert!(
        again.generation > node.generation,
        "and gets a new generation"
    );

    server.stop().await;
}

#[tokio::test]
async fn contents_are_resolved_in_order_and_each_chunk_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let contents: [&[u8]; 2] = [b"first content", b"second content"];
    let chunk = chunk_of(&contents);
    server.upload(&chunk, &[]).await.unwrap();
    server.stop().await;

    let server = TestServer::start(dir.path()).await;
    let questions = [vec![contents[0], b"unknown"], vec![contents[1], b""]];
    let questions = questions.map(|contents| v1::ResolveRequest {
        contents: contents
            .iter()
            .map(|content| content_id(content).as_bytes().to_vec())
            .collect(),
    });
    let stream = server.fs().resolve(tokio_stream::iter(questions)).await;
    let mut stream = stream.unwrap().into_inner();
    let (mut answers, mut chunks) = (Vec::new(), Vec::new());
    while let Some(message) = stream.message().await.unwrap() {
        answers.extend(message.contents);
        chunks.extend(message.chunks);
    }
    let found: Vec<_> = answers.iter().map(|a| (a.found, a.places.len())).collect();
    assert_eq!(found, [(true, 1), (false, 0), (true, 1), (true, 0)]);
    assert_eq!(chunks.len(), 1, "each chunk is told once");
    assert_eq!(chunks[0].info.as_ref().unwrap().id, chunk.id.as_bytes());
    assert_eq!(
        chunks[0].nodes[0].address, server.address,
        "where it is now"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_commit_without_its_contents_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    server.new_project("app").await;
    let refused = server.commit("app", [1; 16], tree(&[b"one", b"two"])).await;
    assert_eq!(kind(refused), FaultKind::ContentNotFound);
    let head = server.resolve_source("app").await.unwrap();
    assert_eq!(head.version.unwrap().number, 0);
    server.stop().await;
}

#[tokio::test]
async fn sessions_name_their_base_and_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let project = server.new_project("app").await;
    let request = v1::OpenSessionRequest {
        project_id: project.id,
        base: 0,
        base_id: vec![7; 16],
        version_id: vec![1; 16],
    };
    let foreign = server.fs().open_session(request).await;
    assert_eq!(kind(foreign), FaultKind::Conflict);
    let unknown = server.commit_session(vec![5; 16], Vec::new()).await;
    assert_eq!(kind(unknown), FaultKind::SessionNotFound);
    let empty = server.fs().commit(tokio_stream::iter([])).await;
    assert_eq!(kind(empty), FaultKind::Invalid);
    server.stop().await;
}

#[tokio::test]
async fn a_commit_that_just_ends_or_lost_changes_publishes_nothing() {
    use v1::commit_request::Part;
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let project = server.new_project("app").await;
    server
        .upload(&chunk_of(&[b"one", b"two"]), &[])
        .await
        .unwrap();
    let request = v1::OpenSessionRequest {
        project_id: project.id,
        base: 0,
        base_id: project.head_id,
        version_id: vec![1; 16],
    };
    let opened = server.fs().open_session(request).await.unwrap();
    let start = v1::CommitStart {
        session_id: opened.into_inner().session_id,
        origin: Some(lfsfs_types::Origin::Import.into()),
        ..Default::default()
    };
    let changes = tree(&[b"one", b"two"]);
    let parts = [
        Part::Start(start),
        Part::Changes(v1::ChangeBatch { changes }),
        Part::Finish(v1::CommitFinish { changes: 4 }),
    ];
    let messages = parts.map(|part| v1::CommitRequest { part: Some(part) });
    for count in 1..=3 {
        let refused = server.commit_messages(messages[..count].to_vec()).await;
        assert_eq!(kind(refused), FaultKind::Invalid, "{count} messages");
    }
    let head = server.resolve_source("app").await.unwrap();
    assert_eq!(head.version.unwrap().number, 0);
    server.stop().await;
}

#[tokio::test]
async fn versions_are_logged_compared_and_tagged() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let project = server.new_project("app").await;
    server
        .upload(&chunk_of(&[b"one", b"two"]), &[])
        .await
        .unwrap();
    server
        .commit("app", [1; 16], tree(&[b"one", b"two"]))
        .await
        .unwrap();
    let change = vec![
        put(1, "a.txt", &file_record(b"two")),
        put(1, "c.txt", &file_record(b"one")),
    ];
    server.commit("app", [2; 16], change).await.unwrap();

    let request = v1::LogRequest {
        project: "app".to_owned(),
        before: 0,
        limit: 0,
        path: Vec::new(),
    };
    let mut log = server.fs().log(request).await.unwrap().into_inner();
    let mut numbers = Vec::new();
    while let Some(version) = log.message().await.unwrap() {
        numbers.push(version.number);
    }
    assert_eq!(numbers, [2, 1]);

    let request = v1::DiffRequest {
        project_id: project.id,
        from: 1,
        to: 2,
        expand_renames: false,
    };
    let mut diff = server.fs().diff(request).await.unwrap().into_inner();
    let mut lines = Vec::new();
    while let Some(entry) = diff.message().await.unwrap() {
        lines.push((entry.kind(), entry.path));
    }
    lines.sort();
    let expected = [
        (v1::DiffKind::Added, b"c.txt".to_vec()),
        (v1::DiffKind::Modified, b"a.txt".to_vec()),
    ];
    assert_eq!(lines, expected);

    let request = v1::SetTagRequest {
        project: "app".to_owned(),
        tag: "good".to_owned(),
        version: 1,
        force: false,
    };
    server.fs().set_tag(request).await.unwrap();
    let tagged = server.resolve_source("app@good").await.unwrap();
    assert_eq!(tagged.version.unwrap().number, 1);
    server.stop().await;
}

#[tokio::test]
async fn unknown_things_have_their_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    server.new_project("app").await;
    for (source, expected) in [
        ("none", FaultKind::ProjectNotFound),
        ("app@v9", FaultKind::VersionNotFound),
        ("app@tag", FaultKind::VersionNotFound),
        ("a/b", FaultKind::Invalid),
    ] {
        let answer = server.resolve_source(source).await;
        assert_eq!(kind(answer), expected, "{source}");
    }
    let again = v1::NewProjectRequest {
        name: "app".to_owned(),
        ..Default::default()
    };
    let again = server.fs().new_project(again).await;
    assert_eq!(kind(again), FaultKind::AlreadyExists);
    let unserved = server.fs().snapshot(v1::SnapshotRequest {}).await;
    assert_eq!(kind(unserved), FaultKind::Unimplemented);
    server.stop().await;
}

#[tokio::test]
async fn a_large_content_is_registered_by_its_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let server = TestServer::start(dir.path()).await;
    let bytes = noise(3_000_000);
    let described = lfsfs_types::Content::of_bytes(&bytes);
    let list = described.pieces.unwrap();
    let mut parts = Vec::new();
    let mut rest = &bytes[..];
    for piece in list.pieces() {
        let (part, after) = rest.split_at(piece.len as usize);
        parts.push(part);
        rest = after;
    }
    let request = || {
        let content = described.id.as_bytes().to_vec();
        let pieces = list.pieces().iter().map(v1::Piece::from).collect();
        tokio_stream::iter([v1::PutPiecesRequest { content, pieces }])
    };
    let early = server.fs().put_pieces(request()).await;
    assert_eq!(kind(early), FaultKind::ContentNotFound);
    server.upload(&chunk_of(&parts), &[]).await.unwrap();
    server.fs().put_pieces(request()).await.unwrap();

    let contents = vec![described.id.as_bytes().to_vec()];
    let question = tokio_stream::iter([v1::ResolveRequest { contents }]);
    let mut answers = server.fs().resolve(question).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.contents[0].places.len(), parts.len());
    server.stop().await;
}
