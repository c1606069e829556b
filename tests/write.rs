//! Writing in mounts: what calls answer, what programs make of it, commits, switches, crashes.

#[path = "write/model.rs"]
mod model;
