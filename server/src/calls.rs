//! The rules that every call keeps, on its way in and out: the account of its connection pays for
//! the memory that it holds, its messages come in time, and it fails with a fault that says why.
//!
//! A message is taken from its stream here, before it is decoded: first the call takes memory from
//! the account, then the bytes are read. An answer holds memory until the connection has sent it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, StreamBody};
use lfsfs_proto::headers::{Protocols, request_id};
use lfsfs_proto::status::{Fault, FaultKind};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, debug, info_span};

use crate::budget::{Account, Held, Waiting};
use crate::connections::{CallGuard, Connection};
use crate::figures::{CallFigures, RunningCall};
use crate::refusals::Refusals;
use crate::weight::{Method, method};

/// How long a message may take that is short; longer ones get the time of the least rate.
const MESSAGE_TIME: Duration = Duration::from_secs(30);
/// The least rate of a message, in bytes a second.
const RATE_MIN: usize = 16 * 1024;
/// What a call holds as long as it goes on: 16 KiB for itself, and what a short message needs.
pub(crate) const CALL_COST: usize = 16 * 1024 + SHORT;
/// What a message and its answer may need without taking more than the call has. If each of many
/// calls took its own part and then waited for a little more, they would wait for each other.
const SHORT: usize = 24 * 1024;
/// How long a stream may pause after a message while others wait for memory, beyond the usual
/// patience: an idle commit is heard every 5 s.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(10);
/// Bytes of a message that must arrive within the server's patience while others wait for memory.
const PROGRESS_LEN: usize = 32 * 1024;
/// The rate at which answers must be taken while others wait for memory, in bytes a second.
const RATE_FAIR: usize = 64 * 1024;
/// The least time for taking an answer.
const PATIENCE_MIN: Duration = Duration::from_secs(2);
/// The flag and the length before each message.
const PREFIX_LEN: usize = 5;

/// A call, as its handler knows it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    connection: Arc<Connection>,
    path: Arc<str>,
    /// Held for moments. The locks of the budget are taken meanwhile.
    held: Arc<Mutex<CallHeld>>,
}

/// What a call holds.
#[derive(Debug, Default)]
struct CallHeld {
    /// Until it ends.
    call: Held,
    /// For answers of a stream that were handed on and are not encoded yet.
    answers: Held,
}

impl Call {
    /// Returns the call that a request belongs to, as [`Calls`] has attached it.
    pub(crate) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Fault> {
        let call = request.extensions().get::<Self>().cloned();
        call.ok_or_else(|| Fault::new(FaultKind::Internal, "the call has no connection"))
    }

    /// Returns a call of a connection that is alone on its server.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self {
            connection: Connection::for_test(),
            path: "".into(),
            held: Arc::default(),
        }
    }

    /// Notes that a streaming answer ended with a fault.
    pub(crate) fn log_failure(&self, refusals: &Refusals, fault: &Fault) {
        let status = Status::from(fault.clone());
        refusals.log(&status, &self.path, self.connection.peer);
    }

    /// Returns the connection that the call came on.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Returns the account that the call takes memory from.
    pub(crate) fn account(&self) -> &Account {
        &self.connection.account
    }

    /// Takes what a message and its answer need, beyond what the call has.
    async fn take(&self, bytes: usize) -> Result<Held, Fault> {
        if bytes <= SHORT {
            return Ok(Held::default());
        }
        self.account().take(bytes).await
    }

    /// Holds memory until the call ends.
    pub(crate) fn hold(&self, held: Held) {
        self.lock().call.merge(held);
    }

    /// Gives back what the call holds. It takes again what its answers need.
    pub(crate) fn rest(&self) {
        drop(std::mem::take(&mut self.lock().call));
    }

    /// Holds memory for an answer of a stream until the connection has sent it.
    pub(crate) fn sending(&self, held: Held) {
        self.lock().answers.merge(held);
    }

    /// Returns what is held for bytes of answers that were encoded just now.
    fn encoded(&self, bytes: usize) -> Held {
        let mut held = self.lock();
        // All answers that were handed on are in these bytes: the rest of what they took goes back.
        let mut answers = std::mem::take(&mut held.answers);
        let paid = answers.split(bytes);
        if paid.is_empty() {
            held.call.split(bytes)
        } else {
            paid
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CallHeld> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts every call under the rules of this module.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) figures: Arc<CallFigures>,
}

impl<S> Layer<S> for Calls {
    type Service = Ruled<S>;

    fn layer(&self, inner: S) -> Ruled<S> {
        let calls = self.clone();
        Ruled { inner, calls }
    }
}

/// A service under [`Calls`].
#[derive(Debug, Clone)]
pub(crate) struct Ruled<S> {
    inner: S,
    calls: Calls,
}

impl<S> Service<Request<Body>> for Ruled<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The service that was polled ready is the one to call.
        let fresh = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, fresh);
        let refusals = Arc::clone(&self.calls.refusals);
        let running = self.calls.figures.begin(request.uri().path());
        let headers = MetadataMap::from_headers(std::mem::take(request.headers_mut()));
        let checked = Protocols::own().check(&headers);
        let id = request_id(&headers);
        *request.headers_mut() = headers.into_headers();
        let span = info_span!("call", path = request.uri().path(), request = %id);
        let serving = id.scope(serve(inner, request, checked, refusals, running));
        serving.instrument(span).boxed()
    }
}

/// Serves a call; `checked` says whether caller and server speak a common protocol.
async fn serve<S>(
    mut inner: S,
    request: Request<Body>,
    checked: Result<(), Fault>,
    refusals: Arc<Refusals>,
    mut running: RunningCall,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    let path = request.uri().path().to_owned();
    let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
        let fault = Fault::new(FaultKind::Internal, "the call has no connection");
        running.answered(Code::Internal);
        return Ok(Status::from(fault).into_http());
    };
    let peer = connection.peer;
    let mut refused = |fault: Fault| {
        let refused = refusals.explain(Status::from(fault).into_http(), &path, peer);
        note_code(&mut running, refused.headers());
        refused
    };
    if let Err(fault) = checked {
        return Ok(refused(fault));
    }
    let guard = connection.begin_call();
    let held = match connection.account.take_for_call(CALL_COST).await {
        Ok(held) => held,
        Err(fault) => return Ok(refused(fault)),
    };
    let method = method(&path);
    let call = Call {
        connection,
        path: path.as_str().into(),
        held: Arc::default(),
    };
    call.hold(held);
    let mut request = request.map(|body| incoming(body, method, call.clone()));
    request.extensions_mut().insert(call.clone());
    let (local_addr, remote_addr) = (None, Some(peer));
    let info = TcpConnectInfo {
        local_addr,
        remote_addr,
    };
    request.extensions_mut().insert(info);
    let response = inner.call(request).await?;
    let response = refusals.explain(response, &path, peer);
    // A call that fails before its first answer has its status here, and no other one in its trailers.
    note_code(&mut running, response.headers());
    Ok(response.map(|body| Body::new(Outgoing::new(body, call, guard, running))))
}

/// Notes the status of an answer, if these headers or trailers have one.
fn note_code(running: &mut RunningCall, headers: &HeaderMap) -> Option<Code> {
    let code = Status::from_header_map(headers)?.code();
    running.answered(code);
    Some(code)
}

/// Returns the body of a request that has whole messages as its frames.
fn incoming(body: Body, method: Method, call: Call) -> Body {
    let messages = Incoming {
        body,
        buffer: BytesMut::new(),
        held: Held::default(),
        started: Instant::now(),
        is_first: true,
        method,
        call,
    };
    let frames = futures::stream::try_unfold(messages, |mut messages| async move {
        let message = messages.next().await.map_err(Status::from)?;
        Ok::<_, Status>(message.map(|message| (Frame::data(message), messages)))
    });
    Body::new(StreamBody::new(frames))
}

/// The messages of a request.
struct Incoming {
    body: Body,
    buffer: BytesMut,
    /// What the last message of a stream takes, until the next one is asked for.
    held: Held,
    /// When the message began; for a call without a stream, when the call did.
    started: Instant,
    /// Whether no message has arrived yet.
    is_first: bool,
    method: Method,
    call: Call,
}

impl Incoming {
    /// Takes the next message with its prefix; none at the end.
    ///
    /// The answer is paid for together with the question: calls that have the one and wait for the
    /// other would wait for each other.
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        self.held = Held::default();
        let waits_for_first = self.buffer.is_empty();
        if waits_for_first {
            let deadline = (!self.method.streams).then_some(self.started + MESSAGE_TIME);
            let more = if self.method.streams && !self.is_first {
                BETWEEN_MESSAGES
            } else {
                Duration::ZERO
            };
            let _waiting = self.call.account().waits_for_bytes(more);
            if !self.fill(deadline).await? {
                return Ok(None);
            }
            if self.method.streams {
                self.started = Instant::now();
            }
        }
        let deadline = self.started + MESSAGE_TIME;
        let waiting = self.call.account().waits_for_bytes(Duration::ZERO);
        while self.buffer.len() < PREFIX_LEN {
            self.fill_message(deadline).await?;
        }
        drop(waiting);
        let len = self.message_len()?;
        let needed = self.method.hold(len) + self.method.cost;
        let mut held = self.call.take(needed).await?;
        let whole = PREFIX_LEN + len;
        self.buffer.reserve(whole.saturating_sub(self.buffer.len()));
        let deadline = deadline + time_of(len, RATE_MIN);
        let mut waiting = self.call.account().waits_for_bytes(Duration::ZERO);
        let mut renewed = self.buffer.len();
        while self.buffer.len() < whole {
            self.fill_message(deadline).await?;
            // A byte now and then is no progress.
            if self.buffer.len() >= renewed + PROGRESS_LEN {
                renewed = self.buffer.len();
                waiting = self.call.account().waits_for_bytes(Duration::ZERO);
            }
        }
        drop(waiting);
        let message = self.buffer.split_to(whole).freeze();
        self.started = Instant::now();
        self.is_first = false;
        let more = self.method.more_than_held(&message[PREFIX_LEN..]);
        held.merge(self.call.account().take_more(more).await?);
        if self.method.streams {
            self.held = held;
        } else {
            // The message of a call without a stream stays in memory until the call is answered.
            self.call.hold(held);
        }
        Ok(Some(message))
    }

    fn message_len(&self) -> Result<usize, Fault> {
        let mut length = &self.buffer[1..PREFIX_LEN];
        let len = length.get_u32() as usize;
        let max = self.method.message_max;
        if len <= max {
            return Ok(len);
        }
        let text = format!("a message of {len} bytes; this call takes messages of at most {max}");
        Err(Fault::new(FaultKind::Invalid, text))
    }

    /// Takes more of a message that has begun.
    async fn fill_message(&mut self, deadline: Instant) -> Result<(), Fault> {
        if self.fill(Some(deadline)).await? {
            return Ok(());
        }
        let text = "the request ended in the middle of a message";
        Err(Fault::new(FaultKind::Invalid, text))
    }

    /// Takes more bytes; false at the end.
    async fn fill(&mut self, deadline: Option<Instant>) -> Result<bool, Fault> {
        loop {
            let frame = self.body.frame();
            let frame = match deadline {
                Some(deadline) => timeout_at(deadline, frame).await.map_err(|_| too_slow())?,
                None => frame.await,
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                None => return Ok(false),
                Some(Err(status)) => return Err(Fault::from_status(&status)),
                // Trailers of a request say nothing here.
                Some(Ok(Err(_))) => {}
                Some(Ok(Ok(data))) if data.is_empty() => {}
                Some(Ok(Ok(data))) => {
                    self.buffer.extend_from_slice(&data);
                    return Ok(true);
                }
            }
        }
    }
}

fn time_of(len: usize, rate: usize) -> Duration {
    Duration::from_secs((len / rate) as u64)
}

fn too_slow() -> Fault {
    let text = format!(
        "a message did not arrive within {} s, and 1 s for each {RATE_MIN} bytes of it",
        MESSAGE_TIME.as_secs()
    );
    Fault::new(FaultKind::Unavailable, text)
}

/// The body of an answer, paid for until it is sent.
struct Outgoing {
    body: Body,
    call: Call,
    _guard: CallGuard,
    span: Span,
    running: RunningCall,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let (code, took) = self.running.so_far();
        let millis = took.as_millis();
        self.span.in_scope(|| debug!(?code, millis, "served"));
    }
}

impl Outgoing {
    fn new(body: Body, call: Call, guard: CallGuard, running: RunningCall) -> Self {
        Self {
            body,
            call,
            _guard: guard,
            span: Span::current(),
            running,
        }
    }

    fn pay(&self, data: Bytes) -> Bytes {
        // There may be as much of the same call before it.
        let limit = PATIENCE_MIN + time_of(2 * data.len(), RATE_FAIR);
        let sent = Sent {
            _held: self.call.encoded(data.len()),
            _waiting: self.call.account().waits_for_reader(limit),
            data,
        };
        Bytes::from_owner(sent)
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map_ok(|frame| {
            if let Some(trailers) = frame.trailers_ref()
                && note_code(&mut self.running, trailers) == Some(Code::Ok)
            {
                self.call.account().finished_call();
            }
            frame.map_data(|data| self.pay(data))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes that the connection has not sent yet.
struct Sent {
    data: Bytes,
    _held: Held,
    _waiting: Waiting,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use std::future::Ready;

    use lfsfs_proto::headers::PROTOCOL_HEADER;

    use super::*;

    /// A service whose handlers must not be called.
    #[derive(Debug, Clone)]
    struct Unreached;

    impl Service<Request<Body>> for Unreached {
        type Response = Response<Body>;
        type Error = &'static str;
        type Future = Ready<Result<Response<Body>, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            std::future::ready(Err("the handler was called"))
        }
    }

    #[tokio::test]
    async fn a_caller_of_other_protocols_is_refused_and_the_log_says_so() {
        let refusals = Arc::new(Refusals::default());
        let calls = Calls {
            refusals: Arc::clone(&refusals),
            figures: CallFigures::new(&[]),
        };
        let mut request = Request::new(Body::empty());
        let protocols = "98-99 0.99.0".parse().unwrap();
        request.headers_mut().insert(PROTOCOL_HEADER, protocols);
        request.extensions_mut().insert(Connection::for_test());
        let response = calls.layer(Unreached).call(request).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(Fault::from_status(&status).kind, FaultKind::Incompatible);
        assert!(refusals.has_logged(status.code()));
    }

    #[tokio::test]
    async fn answers_that_were_sent_hold_nothing_while_their_call_goes_on() {
        let call = Call::for_test();
        let free = call.account().free_bytes();
        call.hold(call.account().take(CALL_COST).await.unwrap());
        for _ in 0..100 {
            call.sending(call.account().take(2000).await.unwrap());
            call.sending(call.account().take(200_000).await.unwrap());
            let sent = call.encoded(101_000);
            assert!(sent.bytes() >= 101_000);
        }
        assert_eq!(call.account().free_bytes(), free - CALL_COST);
        drop(call.encoded(1000));
        assert_eq!(call.account().free_bytes(), free - CALL_COST + 1024);
    }
}
