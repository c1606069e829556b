//! The connections of a server: how many there are, what each may take, and how each is ended.
//!
//! A connection that serves no call gives way to a new one when there are too many. One that has
//! asked for nothing since it was made is closed after a while, so that a peer which never finishes
//! its first request holds nothing.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::budget::{Account, Budget};
use crate::figures::Count;
use crate::throttle::Throttle;

/// How long a peer may take for its first request.
const FIRST_CALL_MAX: Duration = Duration::from_secs(30);
/// How often connections without a request are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// A connection that has called is not closed in favour of a new one in the pauses between its calls.
const IDLE_MIN: Duration = Duration::from_secs(1);
/// How long to wait when accept fails, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Chunks that one connection may have written at the same time.
const UPLOADS_MAX: usize = 16;

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct Connections {
    budget: Budget,
    max: usize,
    /// Held for moments. Taken before `used` of a connection.
    open: Mutex<Open>,
    refused: Throttle,
    refused_count: Count,
}

/// What is told of the connections of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionFigures {
    pub(crate) open: usize,
    /// How many there may be.
    pub(crate) max: usize,
    /// Those that were taken in so far.
    pub(crate) accepted: u64,
    /// Those that found no room.
    pub(crate) refused: u64,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Arc<Connection>>,
}

/// One connection, as its calls see it.
#[derive(Debug)]
pub(crate) struct Connection {
    number: u64,
    /// The address of the other end.
    pub(crate) peer: SocketAddr,
    /// What its calls may take of the server's memory.
    pub(crate) account: Account,
    /// The chunks that it may have written at the same time.
    pub(crate) uploads: Arc<Semaphore>,
    close: CancellationToken,
    used: Mutex<Use>,
}

/// How a connection is used.
#[derive(Debug)]
struct Use {
    calls: usize,
    has_called: bool,
    /// When it was made, or its last call ended.
    idle_since: Instant,
}

impl Connection {
    fn new(number: u64, peer: SocketAddr, budget: &Budget) -> Self {
        let close = CancellationToken::new();
        Self {
            number,
            peer,
            account: budget.account(close.clone()),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            close,
            used: Mutex::new(Use {
                calls: 0,
                has_called: false,
                idle_since: Instant::now(),
            }),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test() -> Arc<Self> {
        let budget = Budget::new(64 * 1024 * 1024);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(Self::new(1, peer, &budget))
    }

    fn used(&self) -> MutexGuard<'_, Use> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call, for as long as the answer lives.
    pub(crate) fn begin_call(self: &Arc<Self>) -> CallGuard {
        let mut used = self.used();
        used.calls += 1;
        used.has_called = true;
        CallGuard {
            connection: Arc::clone(self),
        }
    }

    /// Returns the order in which connections give way, if this one may: first those that never
    /// called, then those that have served no call for longest.
    fn gives_way(&self) -> Option<(bool, Instant)> {
        let used = self.used();
        let is_idle = !used.has_called || used.idle_since.elapsed() >= IDLE_MIN;
        (used.calls == 0 && is_idle).then_some((used.has_called, used.idle_since))
    }
}

/// A call that a connection serves.
#[derive(Debug)]
pub(crate) struct CallGuard {
    connection: Arc<Connection>,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut used = self.connection.used();
        used.calls -= 1;
        used.idle_since = Instant::now();
    }
}

impl Connections {
    /// Starts without any; more than `max` are never open.
    pub(crate) fn new(budget: Budget, max: usize) -> Arc<Self> {
        Arc::new(Self {
            budget,
            max,
            open: Mutex::default(),
            refused: Throttle::default(),
            refused_count: Count::new(),
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts connections, for ever.
    pub(crate) fn accept(
        self: Arc<Self>,
        listener: TcpListener,
    ) -> impl Stream<Item = io::Result<Socket>> {
        futures::stream::unfold((self, listener), |(connections, listener)| async move {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        if let Some(socket) = connections.admit(stream, peer) {
                            return Some((Ok(socket), (connections, listener)));
                        }
                    }
                    Err(error) => {
                        if let Some(more) = connections.refused.pass() {
                            tracing::warn!(%error, more, "cannot accept a connection");
                        }
                        sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        })
    }

    /// Takes a connection in, if there is room or room can be made.
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Option<Socket> {
        // Small answers would otherwise wait 40 ms for the client's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, %peer, "a client closed its connection at once");
            return None;
        }
        if self.open().by_number.len() >= self.max && !self.close_idle() {
            self.budget.make_room();
            self.refused_count.add(1);
            if let Some(more) = self.refused.pass() {
                tracing::warn!(%peer, max = self.max, more, "refused a connection: too many serve calls");
            }
            return None;
        }
        Some(self.add(stream, peer))
    }

    fn add(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) -> Socket {
        let mut open = self.open();
        open.next += 1;
        let connection = Arc::new(Connection::new(open.next, peer, &self.budget));
        open.by_number
            .insert(connection.number, Arc::clone(&connection));
        Socket {
            stream,
            closed: Box::pin(connection.close.clone().cancelled_owned()),
            connection,
            connections: Arc::clone(self),
        }
    }

    /// Closes the connection that is the first to give way.
    fn close_idle(&self) -> bool {
        let mut open = self.open();
        let idle = open.by_number.values().filter_map(|connection| {
            let order = connection.gives_way()?;
            Some((order, connection.number))
        });
        let Some((_, number)) = idle.min() else {
            return false;
        };
        if let Some(connection) = open.by_number.remove(&number) {
            connection.close.cancel();
        }
        true
    }

    /// Closes connections that have asked for nothing since they were made. Runs until it is
    /// dropped.
    pub(crate) async fn keep_house(&self) {
        loop {
            sleep(SWEEP_INTERVAL).await;
            for connection in self.open().by_number.values() {
                let used = connection.used();
                if !used.has_called && used.idle_since.elapsed() >= FIRST_CALL_MAX {
                    connection.close.cancel();
                }
            }
        }
    }

    /// Returns how many there are, and were.
    pub(crate) fn figures(&self) -> ConnectionFigures {
        let open = self.open();
        ConnectionFigures {
            open: open.by_number.len(),
            max: self.max,
            accepted: open.next,
            refused: self.refused_count.value(),
        }
    }

    /// Closes every connection.
    pub(crate) fn close_all(&self) {
        for connection in self.open().by_number.values() {
            connection.close.cancel();
        }
    }

    fn remove(&self, number: u64) {
        self.open().by_number.remove(&number);
    }
}

/// A socket that ends when its connection is closed.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
}

impl Connected for Socket {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Self::ConnectInfo {
        Arc::clone(&self.connection)
    }
}

impl Socket {
    /// Fails once the connection is closed. Every call of a transport asks this, since a transport
    /// may wait for one direction alone.
    fn check_open(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.closed.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl Socket {
    /// Notes that the other end takes bytes.
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.connection.account.took();
        }
        written
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.connections.remove(self.connection.number);
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_open(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_open(context)?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_open(context)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_open(context)?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
