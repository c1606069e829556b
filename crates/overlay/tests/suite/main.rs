//! Tests of the overlay as its users see it: a state and a log together.

mod base;
mod common;
mod crash;
mod disk;
mod log;
mod model;
mod mount;
mod namespace;
