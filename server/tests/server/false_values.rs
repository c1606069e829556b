//! What a client claims of files and versions is checked, and the field is named.

use lfsfs_proto::status::{Fault, FaultKind};
use lfsfs_proto::v1;
use lfsfs_types::{ContentId, Kind, LinkId, Record, Timestamp};
use tonic::Status;

use super::support::{TestServer, file_record, kind, put, start_of, with_project};

/// Fails unless the call was refused as invalid, with `word` in the message.
#[track_caller]
fn assert_refused<T>(answer: Result<T, Status>, word: &str) {
    let fault = Fault::from_status(&answer.err().expect("the call fails"));
    assert_eq!(fault.kind, FaultKind::Invalid, "{}", fault.message);
    assert!(fault.message.contains(word), "{word}: {}", fault.message);
}

async fn head(server: &TestServer) -> u64 {
    let head = server.resolve_source("app").await.unwrap();
    head.version.unwrap().number
}

#[tokio::test]
async fn fields_of_a_record_that_cannot_be_are_refused_by_name() {
    let (_dir, server, _) = with_project().await;
    server.store(&[b"four"]).await;
    let good = file_record(b"four");
    let Kind::File { content, .. } = good.kind else {
        panic!("a file");
    };
    let sized = |size, content| Kind::File { size, content };
    type Break = Box<dyn Fn(&mut Record)>;
    let time = |secs| Timestamp { secs, nanos: 0 };
    let breaks: [(&str, Break); 11] = [
        (
            "size",
            Box::new(move |it| it.kind = sized(1 << 40, content)),
        ),
        ("size", Box::new(move |it| it.kind = sized(3, content))),
        ("size", Box::new(move |it| it.kind = sized(0, content))),
        (
            "size",
            Box::new(move |it| it.kind = sized(u64::MAX, ContentId::EMPTY)),
        ),
        ("mtime", Box::new(move |it| it.mtime = time(i64::MIN))),
        ("mtime", Box::new(move |it| it.mtime = time(i64::MAX))),
        ("ctime", Box::new(move |it| it.ctime = time(i64::MIN))),
        ("uid", Box::new(|it| it.uid = u32::MAX)),
        ("gid", Box::new(|it| it.gid = u32::MAX)),
        (
            "sha256",
            Box::new(|it| it.sha256 = Some(lfsfs_types::Sha256([1; 32]))),
        ),
        (
            "nlink",
            Box::new(|it| {
                it.link = Some(lfsfs_types::Link {
                    id: LinkId::SESSION_FIRST,
                    nlink: 0,
                });
            }),
        ),
    ];
    for (field, make_wrong) in breaks {
        let mut wrong = good.clone();
        make_wrong(&mut wrong);
        let change = vec![put(1, "file", &wrong)];
        assert_refused(server.commit("app", [1; 16], change).await, field);
    }
    let mut nanos = put(1, "file", &good);
    if let Some(record) = &mut nanos.record {
        record.ctime = Some(v1::Timestamp {
            secs: 0,
            nanos: 1_000_000_000,
        });
    }
    assert_refused(server.commit("app", [1; 16], vec![nanos]).await, "ctime");
    let device = Record {
        kind: Kind::CharDevice { rdev: 1 << 32 },
        ..good.clone()
    };
    let device = vec![put(1, "null", &device)];
    assert_refused(server.commit("app", [1; 16], device).await, "rdev");
    assert_eq!(head(&server).await, 0);
    server
        .commit("app", [1; 16], vec![put(1, "file", &good)])
        .await
        .unwrap();
    server.stop().await;
}

#[tokio::test]
async fn an_origin_names_versions_that_are_there() {
    let (_dir, server, project) = with_project().await;
    server.store(&[b"one"]).await;
    let session = async || {
        let head = server.resolve_source("app").await.unwrap().version.unwrap();
        let base = (head.number, &head.id[..]);
        let opened = server.open_session(&project.id, base, [8; 16]).await;
        start_of(opened.unwrap().session_id)
    };
    let origin = |origin| v1::Origin {
        origin: Some(origin),
    };
    let change = || vec![put(1, "file", &file_record(b"one"))];
    for wrong in [
        v1::origin::Origin::Rollback(u64::MAX),
        v1::origin::Origin::Rollback(1),
        v1::origin::Origin::Clone(v1::CloneOrigin {
            project_id: vec![7; 16],
            version: 1,
        }),
        v1::origin::Origin::Clone(v1::CloneOrigin {
            project_id: project.id.clone(),
            version: 9,
        }),
    ] {
        let start = v1::CommitStart {
            origin: Some(origin(wrong)),
            ..session().await
        };
        assert_refused(server.commit_as(start, change()).await, "origin");
    }
    assert_eq!(head(&server).await, 0);
    let start = v1::CommitStart {
        origin: Some(origin(v1::origin::Origin::Rollback(0))),
        ..session().await
    };
    server.commit_as(start, change()).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn nothing_follows_the_finish() {
    use v1::commit_request::Part;
    let (_dir, server, project) = with_project().await;
    server.store(&[b"one"]).await;
    let base = (0, &project.head_id[..]);
    for last in [
        Part::Changes(v1::ChangeBatch {
            changes: vec![put(1, "late", &file_record(b"one"))],
        }),
        Part::Finish(v1::CommitFinish { changes: 1 }),
    ] {
        let opened = server.open_session(&project.id, base, [1; 16]).await;
        let parts = [
            Part::Start(start_of(opened.unwrap().session_id)),
            Part::Changes(v1::ChangeBatch {
                changes: vec![put(1, "file", &file_record(b"one"))],
            }),
            Part::Finish(v1::CommitFinish { changes: 1 }),
            last,
        ];
        let messages = parts.map(|part| v1::CommitRequest { part: Some(part) });
        assert_refused(server.commit_messages(messages.to_vec()).await, "finish");
    }
    assert_eq!(head(&server).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn sizes_of_plans_that_cannot_be_are_refused() {
    let (_dir, server, _) = with_project().await;
    for (size, chunk_size, field) in [(u64::MAX, 1, "size"), (1, u64::MAX, "chunk_size")] {
        let request = v1::UploadFileRequest {
            project: "app".to_owned(),
            path: b"file".to_vec(),
            size,
            chunk_size,
            ..Default::default()
        };
        let planned = server.coordinator().upload_file(request).await;
        assert_refused(planned, field);
    }
    let request = v1::PlanUploadRequest {
        project_id: server.app().await,
        count: 1,
        chunk_size: u64::MAX,
        avoid: Vec::new(),
    };
    assert_refused(server.fs().plan_upload(request).await, "chunk_size");
    let request = v1::PrepareChunkUploadRequest {
        chunk_id: vec![1; 32],
        size: 10,
        slot_id: vec![1; 3],
        ..Default::default()
    };
    let prepared = server.datanode().prepare_chunk_upload(request).await;
    assert_refused(prepared, "slot_id");
    assert_eq!(
        kind(server.resolve_source("app@v1").await),
        FaultKind::VersionNotFound
    );
    server.stop().await;
}
