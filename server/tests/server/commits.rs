//! Versions: committed, resolved, listed, compared.

use lfsfs_proto::address::endpoint;
use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_proto::v1::fs_client::FsClient;
use lfsfs_types::{DirId, Record};

use super::support::{
    TestServer, chunk_of, content_id, dir_of, directory_record, file_record, kind, noise,
    private_dir, put, remove, start_of, with_project,
};

pub(crate) const NEW_DIR: u64 = DirId::SESSION_FIRST.0;

pub(crate) fn tree(contents: &[&[u8]; 2]) -> Vec<v1::Change> {
    vec![
        put(1, "a.txt", &file_record(contents[0])),
        put(1, "sub", &directory_record(NEW_DIR)),
        put(NEW_DIR, "b.txt", &file_record(contents[1])),
    ]
}

pub(crate) async fn list(
    server: &TestServer,
    project_id: &[u8],
    version: u64,
    dir: u64,
) -> Vec<v1::Entry> {
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
            version_id: Vec::new(),
            ahead: false,
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
    let (dir, server, project) = with_project().await;
    let contents: [&[u8]; 2] = [b"first content", b"second content"];
    let chunk = chunk_of(&contents);
    let slot = server.plan().await;
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
        version_id: Vec::new(),
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
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let contents: [&[u8]; 2] = [b"first content", b"second content"];
    let chunk = chunk_of(&contents);
    server.upload(&chunk, &[]).await.unwrap();
    server.stop().await;

    let server = TestServer::start(dir.path()).await;
    let questions = [vec![contents[0], b"unknown"], vec![contents[1], b""]];
    let project_id = server.app().await;
    let questions = questions.map(|contents| v1::ResolveRequest {
        project_id: project_id.clone(),
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
    let (_dir, server, _) = with_project().await;
    let refused = server.commit("app", [1; 16], tree(&[b"one", b"two"])).await;
    assert_eq!(kind(refused), FaultKind::ContentNotFound);
    let head = server.resolve_source("app").await.unwrap();
    assert_eq!(head.version.unwrap().number, 0);
    server.stop().await;
}

#[tokio::test]
async fn sessions_name_their_base_and_are_known() {
    let (_dir, server, project) = with_project().await;
    let foreign = server
        .open_session(&project.id, (0, &[7; 16]), [1; 16])
        .await;
    assert_eq!(kind(foreign), FaultKind::VersionNotFound);
    let unknown = server.commit_session(vec![5; 16], Vec::new()).await;
    assert_eq!(kind(unknown), FaultKind::SessionNotFound);
    let empty = server.fs().commit(tokio_stream::iter([])).await;
    assert_eq!(kind(empty), FaultKind::Invalid);
    server.stop().await;
}

#[tokio::test]
async fn a_commit_that_just_ends_or_lost_changes_publishes_nothing() {
    use v1::commit_request::Part;
    let (_dir, server, project) = with_project().await;
    server.store(&[b"one", b"two"]).await;
    let base = (0, &project.head_id[..]);
    let changes = tree(&[b"one", b"two"]);
    for count in 1..=3 {
        let opened = server.open_session(&project.id, base, [1; 16]).await;
        let changes = changes.clone();
        let parts = [
            Part::Start(start_of(opened.unwrap().session_id)),
            Part::Changes(v1::ChangeBatch { changes }),
            Part::Finish(v1::CommitFinish { changes: 4 }),
        ];
        let messages = parts.map(|part| v1::CommitRequest { part: Some(part) });
        let refused = server.commit_messages(messages[..count].to_vec()).await;
        assert_eq!(kind(refused), FaultKind::Invalid, "{count} messages");
    }
    let head = server.resolve_source("app").await.unwrap();
    assert_eq!(head.version.unwrap().number, 0);
    server.stop().await;
}

#[tokio::test]
async fn unknown_things_have_their_kinds() {
    let (_dir, server, _) = with_project().await;
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
    server.stop().await;
}

#[tokio::test]
async fn a_large_content_is_registered_by_its_pieces() {
    let dir = private_dir();
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
    let project_id = server.app().await;
    let request = || {
        let project_id = project_id.clone();
        let content = described.id.as_bytes().to_vec();
        let pieces = list.pieces().iter().map(v1::Piece::from).collect();
        tokio_stream::iter([v1::PutPiecesRequest {
            content,
            pieces,
            project_id,
        }])
    };
    let early = server.fs().put_pieces(request()).await;
    assert_eq!(kind(early), FaultKind::ContentNotFound);
    server.upload(&chunk_of(&parts), &[]).await.unwrap();
    server.fs().put_pieces(request()).await.unwrap();

    let contents = vec![described.id.as_bytes().to_vec()];
    let project_id = server.app().await;
    let question = tokio_stream::iter([v1::ResolveRequest {
        contents,
        project_id,
    }]);
    let mut answers = server.fs().resolve(question).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert_eq!(answer.contents[0].places.len(), parts.len());
    server.stop().await;
}

/// Two versions: the tree, and a change of `a.txt`.
async fn with_two_versions() -> (tempfile::TempDir, TestServer, v1::Project) {
    let (dir, server, project) = with_project().await;
    server.store(&[b"one", b"two"]).await;
    let first = tree(&[b"one", b"two"]);
    server.commit("app", [1; 16], first).await.unwrap();
    let change = vec![put(1, "a.txt", &file_record(b"two"))];
    server.commit("app", [2; 16], change).await.unwrap();
    (dir, server, project)
}

async fn head(server: &TestServer) -> u64 {
    let head = server.resolve_source("app").await.unwrap();
    head.version.unwrap().number
}

#[tokio::test]
async fn a_conflict_is_told_and_ends_the_session_and_force_goes_on_in_another() {
    let (_dir, server, project) = with_two_versions().await;
    let base = (1, &[1; 16][..]);
    let opened = server.open_session(&project.id, base, [3; 16]).await;
    let start = start_of(opened.unwrap().session_id);
    let changes = vec![remove(1, "a.txt"), put(1, "mine.txt", &file_record(b"one"))];
    let told = server
        .commit_as(start.clone(), changes.clone())
        .await
        .unwrap();
    let conflicts = told.conflicts.unwrap();
    assert_eq!(
        (conflicts.paths, conflicts.count),
        (vec![b"a.txt".to_vec()], 1)
    );
    assert!(conflicts.message.contains("a.txt"), "{}", conflicts.message);
    assert_eq!((told.version, head(&server).await), (None, 2));

    let over = server.commit_as(start.clone(), changes.clone()).await;
    assert_eq!(kind(over), FaultKind::SessionNotFound);
    let opened = server.open_session(&project.id, base, [3; 16]).await;
    let forced = v1::CommitStart {
        session_id: opened.unwrap().session_id,
        force: true,
        ..start
    };
    let done = server.commit_as(forced, changes).await.unwrap();
    assert!(done.rebased && done.conflicts.is_none());
    assert_eq!(done.version.unwrap().number, 3);
    let entries = list(&server, &project.id, 3, 1).await;
    let names: Vec<_> = entries.iter().map(|entry| &entry.name[..]).collect();
    assert_eq!(names, [&b"mine.txt"[..], b"sub"]);
    server.stop().await;
}

#[tokio::test]
async fn sessions_that_only_wait_give_way_to_their_own_connection() {
    let (_dir, server, project) = with_project().await;
    server.store(&[b"one"]).await;
    let base = (0, &project.head_id[..]);
    let other = endpoint(&server.address).unwrap();
    let mut other = FsClient::new(other.connect().await.unwrap());
    let request = v1::OpenSessionRequest {
        project_id: project.id.clone(),
        base: 0,
        base_id: project.head_id.clone(),
        version_id: vec![2; 16],
    };
    let opened = other.open_session(request).await.unwrap().into_inner();
    let mut sessions = Vec::new();
    for _ in 0..200 {
        let opened = server.open_session(&project.id, base, [3; 16]).await;
        sessions.push(opened.unwrap().session_id);
    }
    let gone = server.commit_session(sessions.remove(0), Vec::new()).await;
    assert_eq!(kind(gone), FaultKind::SessionNotFound);
    let change = vec![put(1, "a.txt", &file_record(b"one"))];
    let done = server.commit_session(opened.session_id, change).await;
    assert_eq!(done.unwrap().version.unwrap().number, 1);
    let last = sessions.pop().unwrap();
    server.commit_session(last, Vec::new()).await.unwrap();
    server.stop().await;
}

/// Opens a session as soon as there is room for one.
async fn open_when_there_is_room(server: &TestServer, project: &v1::Project) -> Vec<u8> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let base = (0, &project.head_id[..]);
        match server.open_session(&project.id, base, [1; 16]).await {
            Ok(opened) => return opened.session_id,
            Err(status) => assert!(tokio::time::Instant::now() < deadline, "{status}"),
        }
    }
}

#[tokio::test]
async fn commits_that_are_given_up_leave_room_for_others() {
    use v1::commit_request::Part;
    let (_dir, server, project) = with_project().await;
    for _ in 0..100 {
        let session = open_when_there_is_room(&server, &project).await;
        let changes = vec![put(1, "dir", &directory_record(NEW_DIR))];
        let parts = [
            Part::Start(start_of(session)),
            Part::Changes(v1::ChangeBatch { changes }),
        ];
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let mut fs = server.fs();
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let call = tokio::spawn(async move { fs.commit(stream).await });
        for part in parts {
            let message = v1::CommitRequest { part: Some(part) };
            sender.send(message).await.unwrap();
        }
        // The call has taken what was sent when there is room for more.
        drop(sender.reserve().await.unwrap());
        call.abort();
    }
    server.stop().await;
}

/// A client that was killed may have sent all of its commit: the next one is told what became of it.
#[tokio::test]
async fn who_opens_the_session_of_a_commit_under_way_waits_for_its_end() {
    use std::time::Duration;
    use v1::commit_request::Part;
    let (_dir, server, project) = with_project().await;
    server.store(&[b"one", b"two"]).await;
    let base = (0, &project.head_id[..]);
    let opened = server.open_session(&project.id, base, [1; 16]).await;
    let changes = tree(&[b"one", b"two"]);
    let finish = Part::Finish(v1::CommitFinish {
        changes: changes.len() as u64,
    });
    let (sender, receiver) = tokio::sync::mpsc::channel(3);
    let mut fs = server.fs();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let call = tokio::spawn(async move { fs.commit(stream).await });
    for part in [
        Part::Start(start_of(opened.unwrap().session_id)),
        Part::Changes(v1::ChangeBatch { changes }),
    ] {
        let message = v1::CommitRequest { part: Some(part) };
        sender.send(message).await.unwrap();
    }
    // Once the server has taken the start, the answer does not come.
    let again = loop {
        let mut again = Box::pin(server.open_session(&project.id, base, [1; 16]));
        match tokio::time::timeout(Duration::from_millis(300), &mut again).await {
            Ok(opened) => assert!(opened.unwrap().published.is_none()),
            Err(_) => break again,
        }
    };
    let other = server.open_session(&project.id, base, [2; 16]).await;
    assert!(!other.unwrap().session_id.is_empty(), "of another version");
    let message = v1::CommitRequest { part: Some(finish) };
    sender.send(message).await.unwrap();
    drop(sender);
    let told = again.await.unwrap();
    assert_eq!(told.published.unwrap().number, 1);
    assert_eq!(
        call.await
            .unwrap()
            .unwrap()
            .into_inner()
            .version
            .unwrap()
            .number,
        1
    );
    server.stop().await;
}

#[tokio::test]
async fn many_conflicts_are_counted_and_the_first_are_told() {
    const FILES: usize = 10_050;
    let (_dir, server, project) = with_project().await;
    server.store(&[b"one", b"two", b"three"]).await;
    let all = |content: &[u8]| -> Vec<v1::Change> {
        let record = file_record(content);
        let files = 0..FILES;
        files
            .map(|number| put(1, &format!("f{number:05}"), &record))
            .collect()
    };
    server.commit("app", [1; 16], all(b"one")).await.unwrap();
    server.commit("app", [2; 16], all(b"two")).await.unwrap();
    let base = (1, &[1; 16][..]);
    let opened = server.open_session(&project.id, base, [3; 16]).await;
    let session = opened.unwrap().session_id;
    let told = server.commit_session(session, all(b"three")).await.unwrap();
    let conflicts = told.conflicts.unwrap();
    assert_eq!(
        (conflicts.paths.len(), conflicts.count),
        (10_000, FILES as u64)
    );
    assert_eq!(conflicts.paths.last().unwrap(), b"f09999");
    server.stop().await;
}

#[tokio::test]
async fn who_asks_gets_the_ids_of_what_was_made() {
    let (_dir, server, project) = with_project().await;
    server.store(&[b"one", b"two"]).await;
    let base = (0, &project.head_id[..]);
    let opened = server
        .open_session(&project.id, base, [1; 16])
        .await
        .unwrap();
    let mut changes = tree(&[b"one", b"two"]);
    let mut linked = file_record(b"one");
    linked.link = Some(lfsfs_types::Link {
        id: lfsfs_types::LinkId(lfsfs_types::LinkId::SESSION_FIRST.0 + 5),
        nlink: 1,
    });
    changes.push(put(NEW_DIR, "linked", &linked));
    let start = v1::CommitStart {
        want_ids: true,
        ..start_of(opened.session_id)
    };
    let done = server.commit_as(start, changes).await.unwrap();
    let [dir] = &done.made_dirs[..] else {
        panic!("one directory was made: {:?}", done.made_dirs);
    };
    let entries = list(&server, &project.id, 1, dir.id).await;
    let record = Record::try_from(entries[1].record.clone().unwrap()).unwrap();
    let link = v1::MadeId {
        made: 5,
        id: record.link.unwrap().id.0,
    };
    assert_eq!((dir.made, done.made_links), (0, vec![link]));
    let unasked = server.commit(
        "app",
        [2; 16],
        vec![put(1, "d", &directory_record(NEW_DIR))],
    );
    assert_eq!(unasked.await.unwrap().made_dirs, []);
    server.stop().await;
}

#[tokio::test]
async fn calls_of_one_version_id_make_one_version() {
    let (dir, server, project) = with_project().await;
    server.store(&[b"one", b"two"]).await;
    let base = (0, &project.head_id[..]);
    // Several sessions of one commit, at the same time, and one session twice.
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let opened = server.open_session(&project.id, base, [1; 16]).await;
        sessions.push(opened.unwrap().session_id);
    }
    sessions.push(sessions[0].clone());
    let changes = tree(&[b"one", b"two"]);
    let calls = sessions.iter().map(|session| {
        let start = start_of(session.clone());
        server.commit_as(start, changes.clone())
    });
    for done in futures::future::join_all(calls).await {
        // The session that was used twice may be closed before its second use.
        let Ok(done) = done else {
            assert_eq!(kind(done), FaultKind::SessionNotFound);
            continue;
        };
        assert_eq!(done.version.unwrap().number, 1);
    }
    assert_eq!(head(&server).await, 1);
    // After it was published, and after a restart.
    let again = server
        .open_session(&project.id, base, [1; 16])
        .await
        .unwrap();
    assert_eq!(again.published.unwrap().number, 1);
    assert_eq!(again.session_id, [0_u8; 0]);
    let last = sessions.pop().unwrap();
    server.stop().await;
    let server = TestServer::start(dir.path()).await;
    let again = server
        .open_session(&project.id, base, [1; 16])
        .await
        .unwrap();
    assert_eq!(again.published.unwrap().number, 1);
    let forgotten = server.commit_session(last, changes).await;
    assert_eq!(kind(forgotten), FaultKind::SessionNotFound);
    assert_eq!(head(&server).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_version_id_of_another_project_is_refused() {
    let (_dir, server, _project) = with_two_versions().await;
    let other = server.new_project("other").await;
    let base = (0, &other.head_id[..]);
    let taken = server.open_session(&other.id, base, [1; 16]).await;
    assert_eq!(kind(taken), FaultKind::Invalid);
    server.stop().await;
}

#[tokio::test]
async fn a_commit_that_changes_nothing_is_answered_with_the_newest_version() {
    let (_dir, server, project) = with_two_versions().await;
    for (base, rebased) in [((1, &[1; 16][..]), true), ((2, &[2; 16][..]), false)] {
        for changes in [Vec::new(), vec![put(1, "a.txt", &file_record(b"two"))]] {
            let opened = server.open_session(&project.id, base, [9; 16]).await;
            let session = opened.unwrap().session_id;
            let done = server.commit_session(session, changes).await.unwrap();
            assert_eq!(done.version.unwrap().id, [2; 16]);
            assert_eq!((done.rows, done.rebased), (0, rebased));
        }
    }
    assert_eq!(head(&server).await, 2);
    server.stop().await;
}

#[tokio::test]
async fn changes_in_directories_that_are_not_there() {
    let (_dir, server, project) = with_two_versions().await;
    let change = || vec![put(77, "x", &file_record(b"one"))];
    let refused = server.commit("app", [3; 16], change()).await.unwrap_err();
    assert!(refused.message().contains("directory 77"), "{refused}");
    assert_eq!(kind(Err::<(), _>(refused)), FaultKind::Invalid);

    let sub = list(&server, &project.id, 2, 1).await.remove(1);
    let sub = dir_of(&sub);
    server
        .commit("app", [3; 16], vec![remove(1, "sub")])
        .await
        .unwrap();
    let base = (2, &[2; 16][..]);
    for change in [put(sub, "new", &file_record(b"one")), remove(sub, "b.txt")] {
        let opened = server.open_session(&project.id, base, [4; 16]).await;
        let session = opened.unwrap().session_id;
        let told = server
            .commit_session(session, vec![change.clone()])
            .await
            .unwrap();
        match change.record {
            Some(_) => assert_eq!(told.conflicts.unwrap().paths, [b"sub/new"]),
            // What both removed is no conflict.
            None => assert_eq!(told.version.unwrap().number, 3),
        }
    }
    server.stop().await;
}
