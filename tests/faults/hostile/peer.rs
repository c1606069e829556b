//! A client that speaks HTTP/2 and keeps to no other rule.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::timeout;

/// How long an answer that is asked for may take.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The time between two bytes of an upload that trickles.
const TRICKLE: Duration = Duration::from_secs(1);
/// Bytes that a slow reader takes of an answer in a millisecond.
const SLOW_RATE: u64 = 1024;
/// How long a slow reader reads at most.
const SLOW_READ_MAX: Duration = Duration::from_secs(60);
/// The time between the end of a connection of a flood and the next one.
const FLOOD_PAUSE: Duration = Duration::from_millis(10);

/// What each connection of a flood does: it begins calls, sends a part of the message that each
/// announces, and lets the server wait for the rest.
#[derive(Debug, Clone)]
pub(crate) struct HalfMessages {
    pub(crate) call: &'static str,
    /// Calls at the same time.
    pub(crate) calls: usize,
    /// The length that each message is said to have.
    pub(crate) announced: u32,
    /// What is sent of it.
    pub(crate) bytes: Bytes,
}

impl HalfMessages {
    /// Begins the calls, says so, and ends when the server has answered all of them.
    async fn send(&self, client: &SendRequest<Bytes>, address: &str, begun: &Sender<()>) {
        let mut calls = Vec::new();
        for _ in 0..self.calls {
            let Some((answer, mut stream)) = open_call(client, address, self.call).await else {
                return;
            };
            drop(stream.send_data(prefixed(self.announced, &self.bytes), false));
            calls.push((answer, stream));
        }
        // Only the first of each connection is waited for.
        let _ = begun.try_send(());
        for (answer, _stream) in &mut calls {
            drop(answer.await);
        }
    }

    /// Does so on one connection after the other, for as long as the runtime lives.
    async fn flood(self, address: String, begun: Sender<()>) {
        loop {
            // A server that has enough of it may refuse.
            if let Ok(socket) = TcpStream::connect(&address).await
                && let Ok((client, connection)) = h2::client::handshake(socket).await
            {
                tokio::select! {
                    _ = connection => {}
                    () = self.send(&client, &address, &begun) => {}
                }
            }
            tokio::time::sleep(FLOOD_PAUSE).await;
        }
    }
}

/// Hostile clients of one server; all of them end with it.
pub(crate) struct Hostile {
    runtime: Runtime,
    address: String,
    /// Bytes of answers that were read slowly.
    read: Arc<AtomicU64>,
}

impl Hostile {
    pub(crate) fn new(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self {
            runtime: runtime.expect("threads"),
            address: address.to_owned(),
            read: Arc::default(),
        }
    }

    /// Returns how many bytes of answers were read slowly.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Opens a connection. Answers that are not read hold up all others of it.
    pub(crate) fn connect(&self) -> Peer<'_> {
        let client = self.runtime.block_on(async {
            let socket = TcpStream::connect(&self.address).await.expect("connect");
            let (client, connection) = h2::client::handshake(socket).await.expect("a handshake");
            tokio::spawn(async move {
                // The server may close it: that is its right.
                drop(connection.await);
            });
            client
        });
        let hostile = self;
        Peer { hostile, client }
    }

    /// Begins a flood on so many connections, and returns when it is there. Each connection is made
    /// again whenever the server ends it.
    pub(crate) fn flood(&self, connections: usize, messages: &HalfMessages) {
        let (sender, mut begun) = channel(connections);
        for _ in 0..connections {
            let flood = messages.clone().flood(self.address.clone(), sender.clone());
            self.runtime.spawn(flood);
        }
        let all = async {
            for _ in 0..connections {
                let _ = begun.recv().await;
            }
        };
        let all = self
            .runtime
            .block_on(async { timeout(ANSWER_TIME, all).await });
        all.expect("a flood in time");
    }

    /// Opens connections that never say anything.
    pub(crate) fn open_silent(&self, count: usize) {
        let open = async {
            for _ in 0..count {
                // A server that has enough of them may refuse.
                if let Ok(socket) = TcpStream::connect(&self.address).await {
                    tokio::spawn(async move {
                        let _open = socket;
                        std::future::pending::<()>().await;
                    });
                }
            }
        };
        self.runtime.block_on(open);
    }
}

/// One connection.
pub(crate) struct Peer<'a> {
    hostile: &'a Hostile,
    client: SendRequest<Bytes>,
}

impl Peer<'_> {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.hostile.runtime.block_on(future)
    }

    /// Begins a call. None if the server has closed the connection.
    fn begin(&self, call: &str) -> Option<(ResponseFuture, SendStream<Bytes>)> {
        let address = &self.hostile.address;
        self.block_on(open_call(&self.client, address, call))
    }

    /// Keeps a call open and never reads its answer.
    fn keep(&self, call: (ResponseFuture, SendStream<Bytes>)) {
        self.hostile.runtime.spawn(async move {
            let _open = call;
            std::future::pending::<()>().await;
        });
    }

    /// Announces a message of `announced` bytes, sends these, and lets the server wait.
    pub(crate) fn send(&self, call: &str, announced: u32, bytes: &[u8]) {
        if let Some((answer, mut stream)) = self.begin(call) {
            drop(stream.send_data(prefixed(announced, bytes), false));
            self.keep((answer, stream));
        }
    }

    /// Sends a whole request and never reads the answer.
    pub(crate) fn ask_and_not_read(&self, call: &str, request: &impl Message) {
        if let Some((answer, mut stream)) = self.begin(call) {
            drop(stream.send_data(whole(&request.encode_to_vec()), true));
            self.keep((answer, stream));
        }
    }

    /// Sends the same whole request again and again on one stream, and reads the answers slowly.
    pub(crate) fn ask_and_read_slowly(&self, call: &str, request: &impl Message, times: usize) {
        let Some((answer, mut stream)) = self.begin(call) else {
            return;
        };
        let request = whole(&request.encode_to_vec());
        let read = Arc::clone(&self.hostile.read);
        let reading = async move {
            for _ in 0..times {
                drop(stream.send_data(request.clone(), false));
            }
            // The server may refuse, or end the connection.
            let Ok(answer) = answer.await else { return };
            let mut body = answer.into_body();
            while let Some(Ok(data)) = body.data().await {
                let len = data.len() as u64;
                tokio::time::sleep(Duration::from_millis(len / SLOW_RATE)).await;
                drop(body.flow_control().release_capacity(data.len()));
                let _ = read.fetch_add(len, Ordering::Relaxed);
            }
        };
        let reading = async { timeout(SLOW_READ_MAX, reading).await };
        self.hostile.runtime.spawn(reading);
    }

    /// Returns the messages of an answer, with the prefixes of all but the first.
    pub(crate) fn ask(&self, call: &str, request: &impl Message) -> Vec<u8> {
        let (bytes, status) = self.answer(call, &request.encode_to_vec());
        assert_eq!(status, 0, "{call}");
        bytes[5..].to_vec()
    }

    /// Returns the status of an answer.
    pub(crate) fn status(&self, call: &str, request: &[u8]) -> u32 {
        self.answer(call, request).1
    }

    fn answer(&self, call: &str, request: &[u8]) -> (Vec<u8>, u32) {
        let (answer, mut stream) = self.begin(call).expect("an open connection");
        stream.send_data(whole(request), true).expect("sent");
        let reading = async {
            let (head, body) = answer.await.expect("an answer").into_parts();
            let (bytes, trailers) = read(body).await;
            let status = status_of(&head.headers).or_else(|| status_of(&trailers));
            (bytes, status.expect("a status"))
        };
        let answer = self.block_on(async { timeout(ANSWER_TIME, reading).await });
        answer.expect("an answer in time")
    }

    /// Begins to send a chunk, one byte at a time, for as long as the server takes them.
    pub(crate) fn trickle(&self, session: &[u8]) {
        let Some((answer, mut stream)) = self.begin("DataNode/UploadChunkStream") else {
            return;
        };
        let session = session.to_vec();
        self.hostile.runtime.spawn(async move {
            let _answer = answer;
            for offset in 0.. {
                if stream.send_data(frame(&session, offset), false).is_err() {
                    break;
                }
                tokio::time::sleep(TRICKLE).await;
            }
        });
    }
}

/// Begins a call. None if the server has closed the connection, or has taken no more calls for long.
async fn open_call(
    client: &SendRequest<Bytes>,
    address: &str,
    call: &str,
) -> Option<(ResponseFuture, SendStream<Bytes>)> {
    let request = Request::post(format!("http://{address}/lfsfs.v1.{call}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let ready = timeout(ANSWER_TIME, client.clone().ready()).await;
    ready.ok()?.ok()?.send_request(request, false).ok()
}

/// A frame of one byte, 0, with its checksum.
fn frame(session: &[u8], offset: u64) -> Bytes {
    // SHA-256 of one zero byte.
    const CHECKSUM: [u8; 32] = [
        0x6e, 0x34, 0x0b, 0x9c, 0xff, 0xb3, 0x7a, 0x98, 0x9c, 0xa5, 0x44, 0xe6, 0xbb, 0x78, 0x0a,
        0x2c, 0x78, 0x90, 0x1d, 0x3f, 0xb3, 0x37, 0x38, 0x76, 0x85, 0x11, 0xa3, 0x06, 0x17, 0xaf,
        0xa0, 0x1d,
    ];
    let frame = lfsfs_proto::v1::ChunkFrame {
        session_id: session.to_vec(),
        data: Bytes::from_static(&[0]),
        offset,
        partial_checksum: CHECKSUM.to_vec(),
        ..Default::default()
    };
    whole(&frame.encode_to_vec())
}

async fn read(mut body: RecvStream) -> (Vec<u8>, HeaderMap) {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.expect("data");
        drop(body.flow_control().release_capacity(data.len()));
        bytes.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.ok().flatten();
    (bytes, trailers.unwrap_or_default())
}

fn status_of(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn whole(message: &[u8]) -> Bytes {
    let len = u32::try_from(message.len()).expect("a short message");
    prefixed(len, message)
}

/// Puts the flag and the length before bytes, as gRPC does.
fn prefixed(len: u32, bytes: &[u8]) -> Bytes {
    let mut prefixed = BytesMut::with_capacity(5 + bytes.len());
    prefixed.put_u8(0);
    prefixed.put_u32(len);
    prefixed.put_slice(bytes);
    prefixed.freeze()
}
