//! Starting where one must not, stopping with calls in flight, and `check`.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use lfsfs_proto::status::FaultKind;
use lfsfs_proto::v1;
use lfsfs_server::{ListenPolicy, ServerError, bind, check, run};
use tokio_util::sync::CancellationToken;

use super::support::{
    TestServer, chunk_of, chunk_path, config, frames, kind, noise, private_dir, with_project,
};

#[tokio::test]
async fn a_server_for_other_machines_needs_the_word() {
    let address = "0.0.0.0:0".parse().unwrap();
    let refused = bind(address, ListenPolicy::LoopbackOnly).await.unwrap_err();
    assert!(matches!(refused, ServerError::NotLoopback { .. }));
    assert!(refused.to_string().contains("--insecure-listen"));

    let dir = private_dir();
    let listener = bind(address, ListenPolicy::Insecure).await.unwrap();
    let shutdown = CancellationToken::new();
    let refused = run(config(dir.path()), listener, shutdown, |_| {}).await;
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("--advertise"), "{refused}");
}

#[tokio::test]
async fn one_server_has_a_directory() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = bind(any, ListenPolicy::LoopbackOnly).await.unwrap();
    let second = run(
        config(dir.path()),
        listener,
        CancellationToken::new(),
        |_| {},
    )
    .await;
    assert!(
        matches!(second, Err(ServerError::InUse { .. })),
        "{second:?}"
    );
    let checked = check::check(dir.path(), None, &mut |_| {});
    assert!(matches!(checked, Err(ServerError::InUse { .. })));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_goes_on_for_ever_is_cut_off() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let chunk = chunk_of(&[&noise(100_000)]);
    let session = server.prepare(&chunk, &[]).await.unwrap().session_id;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut client = server.datanode();
    sender
        .send(frames(&chunk, &session).remove(0))
        .await
        .unwrap();
    let mut acks = client
        .upload_chunk_stream(stream)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        acks.message().await.unwrap().unwrap().bytes_received,
        10_000
    );

    let stopping = Instant::now();
    server.shutdown.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), server.task).await;
    ended.expect("it stops in time").unwrap().unwrap();
    assert!(
        stopping.elapsed() >= Duration::from_millis(400),
        "it gives a grace time"
    );
    let cut = loop {
        match acks.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the upload ended well"),
            Err(status) => break kind::<()>(Err(status)),
        }
    };
    assert_eq!(cut, FaultKind::Unavailable);
    drop(sender);
}

#[tokio::test]
async fn a_check_tells_damaged_chunks_from_whole_ones() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let chunks = [chunk_of(&[b"one"]), chunk_of(&[b"two"])];
    for chunk in &chunks {
        server.upload(chunk, &[]).await.unwrap();
    }
    server.stop().await;
    let summary = check::check(dir.path(), None, &mut |finding| panic!("{finding:?}")).unwrap();
    assert_eq!(
        (summary.chunks, summary.contents, summary.findings),
        (2, 2, 0)
    );

    let hex = chunks[0].id.to_string();
    let mut bytes = chunks[0].bytes.clone();
    bytes[12] ^= 4;
    fs::write(chunk_path(dir.path(), &chunks[0]), bytes).unwrap();
    let mut findings = Vec::new();
    let summary = check::check(dir.path(), None, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(summary.findings, 1);
    assert_eq!((findings[0].kind, &findings[0].at), ("chunk", &hex));
}

#[tokio::test]
async fn a_check_misses_chunks_that_were_reported() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let chunk = chunk_of(&[b"one"]);
    server.upload(&chunk, &[]).await.unwrap();
    let nodes = server
        .coordinator()
        .list_nodes(v1::ListNodesRequest {})
        .await;
    let node_id = nodes.unwrap().into_inner().nodes.remove(0).id;
    let request = v1::GetChunksForNodeRequest {
        node_id,
        ..Default::default()
    };
    let listed = server.coordinator().get_chunks_for_node(request).await;
    assert_eq!(
        listed.unwrap().into_inner().chunk_ids,
        [chunk.id.as_bytes()]
    );
    server.stop().await;

    fs::remove_file(chunk_path(dir.path(), &chunk)).unwrap();
    let mut findings = Vec::new();
    check::check(dir.path(), None, &mut |finding| findings.push(finding)).unwrap();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].problem.contains("missing"), "{findings:?}");
}

#[tokio::test]
async fn damaged_metadata_is_an_error_with_advice_and_no_panic() {
    let (dir, server, _) = with_project().await;
    server.stop().await;
    let mut files = vec![dir.path().join("meta")];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.file_name().is_some_and(|name| name == "rows.redb") {
            let mut bytes = fs::read(&path).unwrap();
            for byte in bytes.iter_mut().step_by(7) {
                *byte ^= 0x55;
            }
            fs::write(&path, bytes).unwrap();
        }
    }
    for (command, advice) in [("check", "backup"), ("all", "lfsfsd check")] {
        let output = Command::new(env!("CARGO_BIN_EXE_lfsfsd"))
            .args([command, "--data"])
            .arg(dir.path())
            .args((command == "all").then_some("--listen=127.0.0.1:0"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(text.contains(advice), "{text}");
    }
}

#[test]
fn the_program_checks_and_explains() {
    let program = env!("CARGO_BIN_EXE_lfsfsd");
    let dir = private_dir();
    let output = Command::new(program)
        .args(["check", "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("holds no data"), "{text}");

    let output = Command::new(program)
        .args(["all", "--listen", "0.0.0.0:0", "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--insecure-listen"), "{text}");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

#[tokio::test]
async fn the_services_describe_themselves_and_the_cluster_has_an_id() {
    let dir = private_dir();
    let server = TestServer::start(dir.path()).await;
    let cluster = server.fs().get_cluster(v1::GetClusterRequest {}).await;
    let first = cluster.unwrap().into_inner();
    assert_eq!(first.cluster_id.len(), 16);
    assert_eq!(first.server_version, env!("CARGO_PKG_VERSION"));
    server.stop().await;
    let server = TestServer::start(dir.path()).await;
    let cluster = server.fs().get_cluster(v1::GetClusterRequest {}).await;
    assert_eq!(cluster.unwrap().into_inner(), first);
    server.stop().await;
}
