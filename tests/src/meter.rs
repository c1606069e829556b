//! What a running program has used so far, as the kernel counts it.

use std::fs;
use std::time::{Duration, Instant};

use lfsfs_testkit::process::Program;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// The unit of times in /proc: Linux shows programs hundredths of seconds, in which it need not count itself.
const TICK_MILLIS: u64 = 10;

/// What a process has used since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Bytes that it gave the disk to write.
    pub written: u64,
}

impl Usage {
    /// Returns what a program has used; also of one that has ended and that no process has waited for.
    ///
    /// # Panics
    /// Where the kernel does not tell.
    #[must_use]
    pub fn of(program: &Program) -> Self {
        let stat = read(program, "stat");
        // The name of the program may have blanks and is in parentheses.
        let (_, fields) = stat.rsplit_once(") ").expect("a name in parentheses");
        let fields: Vec<_> = fields.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        Self {
            cpu: Duration::from_millis((ticks(11) + ticks(12)) * TICK_MILLIS),
            written: number_of(&read(program, "io"), "write_bytes"),
        }
    }

    /// Returns what was used between an earlier moment and this one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            written: self.written.saturating_sub(earlier.written),
        }
    }
}

/// Memory of a running program that is in the machine's, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub now: u64,
    /// The most that it ever was.
    pub peak: u64,
}

impl Resident {
    /// Returns what a program has.
    ///
    /// # Panics
    /// Where the kernel does not tell.
    #[must_use]
    pub fn of(program: &Program) -> Self {
        Self::of_running(program).expect("a program that runs")
    }

    /// Returns what a program has; none if it has just ended.
    ///
    /// # Panics
    /// Where the kernel does not tell.
    #[must_use]
    pub fn of_running(program: &Program) -> Option<Self> {
        let status = read(program, "status");
        status.contains("VmHWM").then(|| Self {
            now: number_of(&status, "VmRSS") * 1024,
            peak: number_of(&status, "VmHWM") * 1024,
        })
    }
}

/// Waits until a program has ended and returns what it used. Its status is still to be waited for.
///
/// # Panics
/// Where it still runs after `limit`.
#[must_use]
#[track_caller]
pub fn usage_at_end(program: &Program, limit: Duration) -> Usage {
    let id = i32::try_from(program.id()).ok().and_then(Pid::from_raw);
    let id = id.expect("a process id");
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let deadline = Instant::now() + limit;
    while waitid(WaitId::Pid(id), options).expect("a child").is_none() {
        assert!(
            Instant::now() < deadline,
            "still runs after {limit:?}: {}",
            program.output()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Usage::of(program)
}

fn read(program: &Program, name: &str) -> String {
    let path = format!("/proc/{}/{name}", program.id());
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn number_of(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found == name).then_some(value)
    });
    let word = line.and_then(|value| value.split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}
