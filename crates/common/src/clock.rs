//! Time as a dependency, so that leases, deadlines and stamps can be tested without waiting.
//!
//! Code that decides by time takes a [`Clock`]; it never reads the system's clock itself.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

const NANOSECONDS_PER_SECOND: i128 = 1_000_000_000;

/// A point in wall time: seconds since 1970 (negative before it) and the nanoseconds after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime {
    seconds: i64,
    nanoseconds: u32,
}

impl WallTime {
    /// Returns the time `seconds` after 1970, or before it if negative.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self {
            seconds,
            nanoseconds: 0,
        }
    }

    /// Returns the time for a count of nanoseconds since 1970, clamped to what the type can hold.
    pub fn from_nanoseconds(total: i128) -> Self {
        let seconds = total.div_euclid(NANOSECONDS_PER_SECOND);
        let rest = total.rem_euclid(NANOSECONDS_PER_SECOND);
        match i64::try_from(seconds) {
            Ok(seconds) => {
                let nanoseconds = u32::try_from(rest).expect("a remainder below 10^9 fits u32");
                Self {
                    seconds,
                    nanoseconds,
                }
            }
            Err(_) if total < 0 => Self {
                seconds: i64::MIN,
                nanoseconds: 0,
            },
            Err(_) => Self {
                seconds: i64::MAX,
                nanoseconds: 999_999_999,
            },
        }
    }

    /// Returns the whole seconds since 1970, rounded towards the past.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns the nanoseconds after [`seconds`](Self::seconds), below 10^9.
    pub const fn subsecond_nanoseconds(self) -> u32 {
        self.nanoseconds
    }

    /// Returns the nanoseconds since 1970.
    pub fn as_nanoseconds(self) -> i128 {
        i128::from(self.seconds) * NANOSECONDS_PER_SECOND + i128::from(self.nanoseconds)
    }

    /// Returns the time `duration` later, clamped to the last time there is.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let step = i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        Self::from_nanoseconds(self.as_nanoseconds().saturating_add(step))
    }
}

impl From<SystemTime> for WallTime {
    fn from(time: SystemTime) -> Self {
        let signed = |d: Duration| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX);
        let total = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => signed(after),
            Err(before) => -signed(before.duration()),
        };
        Self::from_nanoseconds(total)
    }
}

/// Where time comes from.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the wall time. It may jump, in both directions: use it for stamps that people or
    /// other machines read, never to measure how long something took.
    fn wall_time(&self) -> WallTime;

    /// Returns an instant that never goes back. Use it for deadlines inside one process.
    fn monotonic(&self) -> Instant;
}

/// The clock of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_time(&self) -> WallTime {
        SystemTime::now().into()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// The clock by which the kernel stamps files: that of the operating system, as of its last tick, some
/// milliseconds back. Two stamps of which the kernel gives one and this program the other are then in
/// the order in which they were given.
#[derive(Debug, Clone, Copy, Default)]
pub struct StampClock;

impl Clock for StampClock {
    fn wall_time(&self) -> WallTime {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        let seconds = i128::from(now.tv_sec) * NANOSECONDS_PER_SECOND;
        WallTime::from_nanoseconds(seconds + i128::from(now.tv_nsec))
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct TestClock {
    started: Instant,
    state: Mutex<TestState>,
}

#[derive(Debug, Clone, Copy)]
struct TestState {
    wall_time: WallTime,
    elapsed: Duration,
}

impl TestClock {
    /// Creates a clock that shows `wall_time`.
    pub fn new(wall_time: WallTime) -> Self {
        let state = TestState {
            wall_time,
            elapsed: Duration::ZERO,
        };
        Self {
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Lets `duration` pass on both clocks.
    pub fn advance(&self, duration: Duration) {
        self.update(|state| {
            state.wall_time = state.wall_time.saturating_add(duration);
            state.elapsed += duration;
        });
    }

    /// Sets the wall time, as an administrator would; no monotonic time passes.
    pub fn set_wall_time(&self, wall_time: WallTime) {
        self.update(|state| state.wall_time = wall_time);
    }

    /// Changes the state under its lock and returns what it is then.
    fn update(&self, change: impl FnOnce(&mut TestState)) -> TestState {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        change(&mut state);
        *state
    }
}

impl Clock for TestClock {
    fn wall_time(&self) -> WallTime {
        self.update(|_| ()).wall_time
    }

    fn monotonic(&self) -> Instant {
        self.started + self.update(|_| ()).elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_make_the_round_trip_on_both_sides_of_1970() {
        for total in [
            0,
            1,
            -1,
            999_999_999,
            1_000_000_000,
            -1_000_000_001,
            1 << 80 >> 20,
        ] {
            assert_eq!(WallTime::from_nanoseconds(total).as_nanoseconds(), total);
        }
        let before = WallTime::from_nanoseconds(-1);
        assert_eq!(
            (before.seconds(), before.subsecond_nanoseconds()),
            (-1, 999_999_999)
        );
    }

    #[test]
    fn times_out_of_range_are_clamped_and_stay_ordered() {
        let first = WallTime::from_nanoseconds(i128::MIN);
        let last = WallTime::from_nanoseconds(i128::MAX);

        assert!(first < WallTime::default() && WallTime::default() < last);
        assert_eq!(last.saturating_add(Duration::MAX), last);
    }

    #[test]
    fn system_times_convert_before_and_after_1970() {
        let step = Duration::from_millis(1500);
        let after = WallTime::from(SystemTime::UNIX_EPOCH + step);
        let before = WallTime::from(SystemTime::UNIX_EPOCH - step);

        assert_eq!(after.as_nanoseconds(), 1_500_000_000);
        assert_eq!(before.as_nanoseconds(), -1_500_000_000);
    }

    #[test]
    fn a_test_clock_moves_only_when_told() {
        let clock = TestClock::new(WallTime::from_seconds(100));
        let start = clock.monotonic();
        assert_eq!(clock.monotonic(), start);

        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.wall_time(), WallTime::from_seconds(105));
        assert_eq!(clock.monotonic() - start, Duration::from_secs(5));

        clock.set_wall_time(WallTime::from_seconds(3));
        assert_eq!(clock.wall_time(), WallTime::from_seconds(3));
        assert_eq!(clock.monotonic() - start, Duration::from_secs(5));
    }

    #[test]
    fn stamps_are_in_the_order_of_those_of_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = |name: &str| -> WallTime {
            let path = dir.path().join(name);
            std::fs::write(&path, name).unwrap();
            path.metadata().unwrap().modified().unwrap().into()
        };
        let mut last = StampClock.wall_time();
        for number in 0..100 {
            let next = stamp(&number.to_string());
            assert!(last <= next, "{last:?} and then {next:?}");
            assert!(StampClock.wall_time() <= SystemClock.wall_time());
            last = StampClock.wall_time();
        }
    }

    #[test]
    fn the_system_clock_shows_this_century() {
        assert!(SystemClock.wall_time() > WallTime::from_seconds(1_700_000_000));
        assert!(SystemClock.monotonic() <= SystemClock.monotonic());
    }
}
