//! The proxy: each switch, on open and on new connections.

#![expect(
    clippy::unwrap_used,
    reason = "also the helpers of a test fail by panicking"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use lfsfs_testkit::proxy::{Counters, Direction, Proxy};

/// Starts a server that sends back what it gets; its threads end with their connections, and the
/// one that accepts with the test process.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut writer = stream.try_clone().unwrap();
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut stream, &mut writer);
                let _ = writer.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

fn echo(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn forwards_counts_and_keeps_half_closed_connections() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let mut stream = connect(&proxy);
    let sent: Vec<u8> = (0..1_000_000_u32)
        .map(|number| number.to_le_bytes()[1])
        .collect();
    let mut writer = stream.try_clone().unwrap();
    let bytes = sent.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&bytes).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    sender.join().unwrap();
    assert!(received == sent);
    let counters = Counters {
        up: 1_000_000,
        down: 1_000_000,
        connections: 1,
        calls: 0,
    };
    assert_eq!(proxy.counters(), counters);
}

#[test]
fn a_cut_closes_and_refuses_until_restored() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let mut stream = connect(&proxy);
    assert_eq!(echo(&mut stream, b"one").unwrap(), b"one");
    proxy.cut();
    assert!(echo(&mut stream, b"two").is_err());
    let refused = TcpStream::connect(proxy.address()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    proxy.restore().unwrap();
    assert_eq!(echo(&mut connect(&proxy), b"three").unwrap(), b"three");
}

#[test]
fn a_stall_forwards_nothing_and_loses_nothing() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let mut stream = connect(&proxy);
    assert_eq!(echo(&mut stream, b"one").unwrap(), b"one");
    proxy.stall();
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let kind = echo(&mut stream, b"two").unwrap_err().kind();
    assert!(
        matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{kind:?}"
    );
    let mut other = connect(&proxy);
    other.write_all(b"late").unwrap();
    assert_eq!(proxy.counters().up, 3);
    proxy.restore().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"two");
}

#[test]
fn a_delay_delays_and_a_throttle_limits() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let mut stream = connect(&proxy);
    let timed = |stream: &mut TcpStream, bytes: &[u8]| {
        let start = Instant::now();
        echo(stream, bytes).unwrap();
        start.elapsed()
    };
    proxy.delay(Duration::from_millis(100));
    assert!(
        timed(&mut stream, b"x") >= Duration::from_millis(200),
        "once each way"
    );
    proxy.restore().unwrap();
    proxy.throttle(100_000);
    let slow = timed(&mut stream, &[1; 30_000]);
    assert!(
        slow >= Duration::from_millis(250),
        "{slow:?} for 0.3 s of bytes"
    );
    assert!(slow < Duration::from_secs(10), "{slow:?}");
}

#[test]
fn one_bit_of_one_byte_is_flipped_once() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let mut stream = connect(&proxy);
    assert_eq!(echo(&mut stream, &[0; 10]).unwrap(), [0; 10]);
    proxy.flip_bit(Direction::Down, 12, 3);
    assert_eq!(echo(&mut stream, &[0; 10]).unwrap(), [0; 10]);
    assert_eq!(
        echo(&mut stream, &[0; 10]).unwrap(),
        [0, 0, 8, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(echo(&mut stream, &[0; 10]).unwrap(), [0; 10]);
}

#[test]
fn a_target_that_is_gone_closes_the_connection_and_dropping_frees_the_port() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(target).unwrap();
    assert!(echo(&mut connect(&proxy), b"x").is_err());
    let address = proxy.address();
    drop(proxy);
    TcpListener::bind(address).unwrap();
}

#[test]
fn silence_lets_requests_pass_and_keeps_answers() {
    let proxy = Proxy::start(echo_server()).unwrap();
    let mut stream = connect(&proxy);
    proxy.silence();
    stream.write_all(b"abc").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut received = [0; 3];
    assert!(
        stream.read_exact(&mut received).is_err(),
        "nothing comes back"
    );
    assert_eq!(proxy.counters().up, 3, "it went there");
    proxy.restore().unwrap();
    stream.set_read_timeout(None).unwrap();
    stream.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"abc");
}
