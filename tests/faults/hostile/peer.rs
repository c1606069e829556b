//! A client that speaks HTTP/2 and keeps to no other rule.

use std::future::Future;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// How long an answer that is asked for may take.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The time between two bytes of an upload that trickles.
const TRICKLE: Duration = Duration::from_secs(1);

/// Hostile clients of one server; all of them end with it.
pub(crate) struct Hostile {
    runtime: Runtime,
    address: String,
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
        }
    }

    /// Opens a connection.
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
        let request = Request::post(format!("http://{}/lfsfs.v1.{call}", self.hostile.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let client = self.client.clone();
        self.block_on(async {
            let ready = tokio::time::timeout(ANSWER_TIME, client.ready()).await;
            ready.ok()?.ok()?.send_request(request, false).ok()
        })
    }

    /// Keeps a call open whose answer nobody reads.
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

    /// Returns the message of an answer.
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
        let answer = self.block_on(async { tokio::time::timeout(ANSWER_TIME, reading).await });
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
