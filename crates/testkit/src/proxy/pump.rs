//! One direction of one connection: a reader and a writer with a bounded queue between them.
//!
//! The queue holds bytes until their time has come, so a delay is a delay and not a slower line.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::calls::CallCounter;
use super::state::{Closed, Generation, State};
use super::{Direction, close};

const BLOCK_BYTES: usize = 16 * 1024;
/// Blocks on their way: 4 MiB, beyond which the sender is held back as by a full network.
const BLOCKS_QUEUED_MAX: usize = 256;
/// A throttled line is written to so often, in small parts.
const THROTTLE_STEPS_PER_SECOND: u64 = 50;

struct Block {
    due: Instant,
    bytes: Vec<u8>,
}

/// Forwards what comes from `from` to `to`, in two threads, until either side ends.
pub(super) fn start(
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    direction: Direction,
    generation: Generation,
    state: &Arc<State>,
) {
    let (sender, receiver) = sync_channel(BLOCKS_QUEUED_MAX);
    let reader = Arc::clone(state);
    std::thread::spawn(move || read_all(&from, &sender, &reader));
    let writer = Writer {
        to,
        direction,
        generation,
        state: Arc::clone(state),
        calls: CallCounter::default(),
    };
    std::thread::spawn(move || writer.write_all(&receiver));
}

fn read_all(mut from: &TcpStream, sender: &SyncSender<Block>, state: &State) {
    let mut buffer = vec![0; BLOCK_BYTES];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let due = Instant::now() + state.delay();
        if sender
            .send(Block {
                due,
                bytes: buffer[..len].to_vec(),
            })
            .is_err()
        {
            close(from);
            return;
        }
    }
}

struct Writer {
    to: Arc<TcpStream>,
    direction: Direction,
    generation: Generation,
    state: Arc<State>,
    calls: CallCounter,
}

impl Writer {
    fn write_all(mut self, receiver: &Receiver<Block>) {
        while let Ok(block) = receiver.recv() {
            if self.block(block).is_err() {
                close(&self.to);
                return;
            }
        }
        // The other direction goes on: this is a half-closed connection.
        let _ = self.to.shutdown(Shutdown::Write);
    }

    fn block(&mut self, mut block: Block) -> Result<(), Closed> {
        let (direction, generation) = (self.direction, self.generation);
        self.state.wait_until(block.due, direction, generation)?;
        if direction == Direction::Up {
            self.state.calls_made(self.calls.count(&block.bytes));
            // One of these calls may be the first that is held back.
            self.state.wait_until(block.due, direction, generation)?;
        }
        let mut rest = &mut block.bytes[..];
        while !rest.is_empty() {
            let rate = self.state.bytes_per_second();
            let len = rate.map_or(rest.len(), |rate| step_bytes(rate).min(rest.len()));
            let (part, later) = rest.split_at_mut(len);
            self.state.pass(self.direction, part);
            (&*self.to).write_all(part).map_err(|_| Closed)?;
            let pause = rate.map_or(Duration::ZERO, |rate| time_for(len, rate));
            // Also without a pause: a stall must hold between two parts.
            self.state
                .wait_until(Instant::now() + pause, direction, generation)?;
            rest = later;
        }
        Ok(())
    }
}

fn step_bytes(bytes_per_second: u64) -> usize {
    let bytes = (bytes_per_second / THROTTLE_STEPS_PER_SECOND).max(1);
    usize::try_from(bytes).unwrap_or(BLOCK_BYTES)
}

fn time_for(bytes: usize, bytes_per_second: u64) -> Duration {
    Duration::from_nanos(bytes as u64 * 1_000_000_000 / bytes_per_second)
}
