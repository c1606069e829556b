//! Random bytes from the operating system, for ids that must never be equal.

use std::io;

use rustix::io::{Errno, retry_on_intr};
use rustix::rand::{GetRandomFlags, getrandom};

/// Returns 128 random bits, good enough to name a project, a version or a cluster for ever.
pub fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    let filled = retry_on_intr(|| getrandom(&mut bytes, GetRandomFlags::empty()))?;
    // The kernel promises whole answers below 256 bytes; an id that is half zero must not exist.
    if filled == bytes.len() {
        Ok(bytes)
    } else {
        Err(Errno::IO.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn bytes_differ_from_call_to_call_in_both_halves() {
        let drawn: Vec<_> = (0..64).map(|_| random_bytes().unwrap()).collect();
        let first: HashSet<_> = drawn.iter().map(|b| b[..8].to_vec()).collect();
        let second: HashSet<_> = drawn.iter().map(|b| b[8..].to_vec()).collect();

        assert_eq!((first.len(), second.len()), (64, 64));
    }
}
