//! Where a program runs: what the pilot asks the kernel.
//!
//! The kernel tells it in /proc/PID/stat, and to read that can wait for this very mount: when the program ends
//! meanwhile, the reader holds the last reference to its memory, and so has to close the files that the program had
//! mapped. A thread that serves requests would wait for itself. The pilot serves none; yet two things must never wait
//! for it. No lock is held while it reads. And the device of the mount must not be open in its thread: the kernel ends
//! the requests of a killed daemon when its last thread has closed the device, and the pilot would close it only after
//! an answer to its own request.

use std::fs;
use std::io;

/// Where in /proc/PID/stat, behind the name of the program, its processor stands.
const PROCESSOR_FIELD: usize = 36;
/// The first descriptor behind those that every process has.
const FIRST: libc::c_uint = 3;

/// Gives the calling thread a table of open files of its own, without any of the mount's.
pub(super) fn close_files() -> io::Result<()> {
    #[expect(unsafe_code, reason = "neither the standard library nor rustix has it")]
    // SAFETY: the thread has opened nothing, and the descriptors of all other threads are in another table
    // from here on. What this thread opens later it closes itself.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_UNSHARE,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Returns the processor that a program runs on, or ran on last.
pub(super) fn processor_of(pid: u32) -> Option<usize> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    processor_in(&stat)
}

fn processor_in(stat: &str) -> Option<usize> {
    // The name of the program may hold anything.
    let (_, behind_name) = stat.rsplit_once(") ")?;
    let processor = behind_name.split_whitespace().nth(PROCESSOR_FIELD)?;
    processor.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn the_processor_of_a_program_with_a_strange_name_is_found() {
        let stat = "1 (a) R 9 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 \
            27 28 29 30 31 32 33 34 35 6 40 41";
        assert_eq!(processor_in(stat), Some(6));
        assert_eq!(processor_in("1 (a) R 9"), None);
        assert!(processor_of(std::process::id()).is_some());
        assert_eq!(processor_of(u32::MAX), None);
    }

    #[test]
    fn the_pilot_has_none_of_the_files_of_other_threads() {
        let file = File::open("/dev/null").unwrap();
        let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
        let seen = |path: &str| fs::symlink_metadata(path).is_ok();
        assert!(seen(&path));
        let in_pilot = std::thread::scope(|scope| {
            let pilot = scope.spawn(|| {
                close_files().unwrap();
                seen(&path)
            });
            pilot.join().unwrap()
        });
        assert!(!in_pilot);
        assert!(file.metadata().is_ok(), "it is open here as before");
    }
}
