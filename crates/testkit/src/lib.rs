//! Trees, proxies, programs and disks for tests.
//!
//! Everything here prepares a hostile but repeatable world around the code under test: trees
//! with every odd object ([`tree`]), exact comparison of two trees ([`compare`]), real programs
//! with captured output ([`process`]), what a datanode has on its disk ([`chunks`]), a network that fails on demand ([`proxy`]), a disk that
//! fills up or loses power ([`disk`]) and a private mount namespace around a test
//! ([`namespace`]). Tests that need what a machine may lack ask [`requirements`] first.
//!
//! Product crates use this crate as a dev-dependency only. Nothing here outlives a test: each
//! value that holds a process, a mount or a directory gives it back when dropped.

pub mod chunks;
pub mod compare;
mod directory;
pub mod disk;
pub mod namespace;
pub mod process;
pub mod proxy;
pub mod requirements;
pub mod tempdir;
pub mod tree;
