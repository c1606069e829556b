//! A TCP proxy on loopback that fails on demand.
//!
//! It forwards every connection to one target and can be switched while connections are open:
//! cut (as if the machine was gone), stalled (as if the network was), silent (requests pass, answers do not), slowed down, or made to
//! flip a bit. It lives in threads of its own, so that it works whatever the code under test
//! does to its own runtime.

mod calls;
mod pump;
mod state;

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use rustix::net::{self, AddressFamily, SocketType};

pub use state::Hold;
use state::{Generation, State};

/// Which way bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the target.
    Up,
    /// From the target to the client.
    Down,
}

/// Bytes that were forwarded since the proxy started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// From clients to the target.
    pub up: u64,
    /// From the target to clients.
    pub down: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Calls made over them, if they speak HTTP/2 as gRPC does.
    pub calls: u64,
}

/// A running proxy; it ends with all its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    state: Arc<State>,
    acceptor: Mutex<Option<Acceptor>>,
    /// Keeps the port while the proxy is cut, so that no other process gets it.
    _port: OwnedFd,
}

impl Proxy {
    /// Starts a proxy for `target` on a free port of loopback.
    ///
    /// # Errors
    /// Fails where no port can be had.
    pub fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let (port, address) = reserve_port().context("reserve a port")?;
        let proxy = Self {
            address,
            target,
            state: Arc::new(State::default()),
            acceptor: Mutex::new(None),
            _port: port,
        };
        proxy.listen()?;
        Ok(proxy)
    }

    /// Returns where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections and refuses new ones until [`restore`](Self::restore).
    pub fn cut(&self) {
        if let Some(acceptor) = self.acceptor().take() {
            acceptor.stop();
        }
        self.state.close_connections();
    }

    /// Closes all connections; new ones are accepted.
    pub fn close_connections(&self) {
        self.state.close_connections();
    }

    /// Keeps connections open and accepts new ones, but forwards nothing until
    /// [`restore`](Self::restore).
    pub fn stall(&self) {
        self.state.switch(|switches| switches.stalled = true);
    }

    /// Forwards requests but keeps their answers back until [`restore`](Self::restore): the target
    /// does what it is asked for, and the client does not hear of it.
    pub fn silence(&self) {
        self.state.switch(|switches| switches.silent = true);
    }

    /// Lets all bytes arrive later by `delay`, without limiting how many.
    pub fn delay(&self, delay: Duration) {
        self.state.switch(|switches| switches.delay = delay);
    }

    /// Forwards at most so many bytes a second in each direction of each connection.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.state
            .switch(|switches| switches.bytes_per_second = Some(bytes_per_second.max(1)));
    }

    /// Flips bit `bit` (0 to 7) of the byte that passes after `after` further ones, counted over
    /// all connections from now; a flip that was asked for before and not done is forgotten.
    pub fn flip_bit(&self, direction: Direction, after: u64, bit: u8) {
        let at = self.state.count(direction) + after;
        self.state
            .switch(|switches| switches.flip = Some(state::Flip { direction, at, bit }));
    }

    /// Holds back the call that is made after `after` further ones, or its answer, and all that follows, until
    /// [`restore`](Self::restore). Calls are counted over all connections from now.
    pub fn hold_call(&self, after: u64, hold: Hold) {
        let at = self.counters().calls + after;
        self.state
            .switch(|switches| switches.hold = Some(state::HoldAt { hold, at }));
    }

    /// Returns whether something is held back: by a stall, a silence, or a call that was to be held.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.state.is_holding()
    }

    /// Ends cut, stall, silence, delay and throttling, and forgets what was to be held or flipped.
    ///
    /// # Errors
    /// Fails where the port cannot be listened on again.
    pub fn restore(&self) -> anyhow::Result<()> {
        self.state
            .switch(|switches| *switches = state::Switches::default());
        self.listen()
    }

    /// Returns how much was forwarded.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.state.counters()
    }

    /// Starts to accept connections, if that is not going on already.
    fn listen(&self) -> anyhow::Result<()> {
        let mut acceptor = self.acceptor();
        if acceptor.is_none() {
            let context = || format!("listen on {}", self.address);
            let listener = TcpListener::bind(self.address).with_context(context)?;
            *acceptor = Some(Acceptor::start(listener, self.target, &self.state)?);
        }
        Ok(())
    }

    fn acceptor(&self) -> std::sync::MutexGuard<'_, Option<Acceptor>> {
        self.acceptor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Binds a socket that never listens: connecting to it is refused, and while it exists the port
/// goes only to sockets that share it on purpose, as the listener does.
/// Returns a free port of loopback, and the socket that keeps it from others. A server that sets
/// `SO_REUSEADDR`, as most do, can listen there.
///
/// # Errors
/// Fails where no port can be had.
pub fn reserve_port() -> anyhow::Result<(OwnedFd, SocketAddr)> {
    let socket = net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        net::SocketFlags::CLOEXEC,
        None,
    )?;
    net::sockopt::set_socket_reuseaddr(&socket, true)?;
    net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = SocketAddr::try_from(net::getsockname(&socket)?)?;
    Ok((socket, address))
}

/// The thread that accepts connections.
#[derive(Debug)]
struct Acceptor {
    listener: TcpListener,
    thread: JoinHandle<()>,
}

impl Acceptor {
    fn start(
        listener: TcpListener,
        target: SocketAddr,
        state: &Arc<State>,
    ) -> anyhow::Result<Self> {
        let accepting = listener.try_clone().context("share the listener")?;
        let state = Arc::clone(state);
        let thread = std::thread::spawn(move || accept_all(&accepting, target, &state));
        Ok(Self { listener, thread })
    }

    fn stop(self) {
        // On Linux this ends a blocked accept, which closing the socket would not.
        let _ = net::shutdown(&self.listener, net::Shutdown::Both);
        let _ = self.thread.join();
    }
}

fn accept_all(listener: &TcpListener, target: SocketAddr, state: &Arc<State>) {
    loop {
        match listener.accept() {
            Ok((client, _)) => {
                let generation = state.connection_accepted();
                // A target that refuses is seen by the client as a closed connection.
                let _ = connect(client, target, state, generation);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn connect(
    client: TcpStream,
    target: SocketAddr,
    state: &Arc<State>,
    generation: Generation,
) -> io::Result<()> {
    let server = Arc::new(TcpStream::connect_timeout(&target, Duration::from_secs(5))?);
    let client = Arc::new(client);
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        state.register(generation, stream);
    }
    pump::start(
        Arc::clone(&client),
        Arc::clone(&server),
        Direction::Up,
        generation,
        state,
    );
    pump::start(server, client, Direction::Down, generation, state);
    Ok(())
}

fn close(stream: &TcpStream) {
    // It may be closed by the other side already.
    let _ = stream.shutdown(Shutdown::Both);
}
