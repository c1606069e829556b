//! What the metrics say of calls that end in each way, and of frames that are wrong.

use std::time::Duration;

use lfsfs_proto::v1;
use lfsfs_proto::v1::download_chunk_stream_request::Target;
use lfsfs_server::{ListenPolicy, Listeners, bind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use super::support::{TestServer, chunk_of, config, frames, noise, private_dir};

/// How long what the server counts behind an answer may take.
const LIMIT: Duration = Duration::from_secs(20);
const DOWNLOADS: &str = "lfsfs_datanode_downloads_running ";

/// Starts a server with metrics, and returns where these are.
async fn with_metrics(data: &std::path::Path) -> (TestServer, String) {
    let any = "127.0.0.1:0".parse().unwrap();
    let [calls, metrics] = [
        bind(any, ListenPolicy::LoopbackOnly).await.unwrap(),
        bind(any, ListenPolicy::LoopbackOnly).await.unwrap(),
    ];
    let address = metrics.local_addr().unwrap().to_string();
    let listeners = Listeners {
        calls,
        metrics: Some(metrics),
    };
    let server = TestServer::start_on(config(data), listeners).await;
    (server, address)
}

/// Returns the value of a line of the page, 0 if there is none.
async fn value(address: &str, series: &str) -> u64 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let values = page.lines().filter_map(|line| line.strip_prefix(series));
    values.map(|it| it.trim().parse::<u64>().unwrap()).sum()
}

fn calls(method: &str, code: &str) -> String {
    let (service, method) = method.split_once('/').unwrap();
    format!(
        "lfsfs_calls_total{{service=\"lfsfs.v1.{service}\",method=\"{method}\",code=\"{code}\"}} "
    )
}

#[tokio::test]
async fn a_call_counts_with_the_code_that_its_client_got() {
    let dir = private_dir();
    let (server, address) = with_metrics(dir.path()).await;
    server.new_project("app").await;
    wait_for(&address, &calls("Fs/NewProject", "OK"), 1).await;

    // In the headers of an answer without messages.
    let unknown = server.resolve_source("none").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    wait_for(&address, &calls("Fs/ResolveSource", "NOT_FOUND"), 1).await;

    // In the trailers of a stream, which names a frame that does not hash.
    let chunk = chunk_of(&[b"text"]);
    let prepared = server.prepare(&chunk, &[]).await.unwrap();
    let mut frames = frames(&chunk, &prepared.session_id);
    frames[0].data = vec![7; frames[0].data.len()].into();
    let refused = server.send(frames).await.unwrap_err();
    assert_eq!(
        value(&address, "lfsfs_datanode_frames_refused_total ").await,
        1
    );
    let code = match refused.code() {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DataLoss => "DATA_LOSS",
        code => panic!("{code:?}"),
    };
    wait_for(&address, &calls("DataNode/UploadChunkStream", code), 1).await;
    server.stop().await;
}

/// Waits until a line of the page has a value.
async fn wait_for(address: &str, series: &str, expected: u64) {
    let waiting = async {
        while value(address, series).await != expected {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    assert!(waited.is_ok(), "{series} is not {expected}");
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_is_running_until_then() {
    let dir = private_dir();
    let (server, address) = with_metrics(dir.path()).await;
    // More than the client takes before it is read.
    let contents: Vec<_> = (0..6).map(|number| noise(1_000_000 + number)).collect();
    let contents: Vec<_> = contents.iter().map(Vec::as_slice).collect();
    let chunk = chunk_of(&contents);
    server.upload(&chunk, &[]).await.unwrap();
    let target = Target::ChunkId(chunk.id.as_bytes().to_vec());
    let request = v1::DownloadChunkStreamRequest {
        target: Some(target),
        ..Default::default()
    };
    let mut datanode = server.datanode();
    let answer = datanode.download_chunk_stream(request).await.unwrap();
    let mut sent = answer.into_inner();
    sent.message().await.unwrap().expect("a frame");
    assert!(value(&address, "lfsfs_calls_running ").await >= 1);
    assert_eq!(value(&address, DOWNLOADS).await, 1);
    drop(sent);
    let cancelled = calls("DataNode/DownloadChunkStream", "CANCELLED");
    wait_for(&address, &cancelled, 1).await;
    wait_for(&address, DOWNLOADS, 0).await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_ended_keeps_no_port_and_no_store() {
    let dir = private_dir();
    for _ in 0..3 {
        let (server, address) = with_metrics(dir.path()).await;
        let registered = value(&address, "lfsfs_datanode_registered ").await;
        assert_eq!(registered, 1);
        // Pages are being made and read, or not read, while the server ends.
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = TcpStream::connect(&address).await.unwrap();
            let request = b"GET /metrics HTTP/1.1\r\n\r\n";
            client.write_all(request).await.unwrap();
            clients.push(client);
        }
        server.stop().await;
        assert!(TcpStream::connect(&address).await.is_err());
    }
}
