//! Writing in mounts: what calls answer, what programs make of it, commits, switches, crashes.

#[path = "write/support.rs"]
mod support;

#[path = "write/commit.rs"]
mod commit;
#[path = "write/copies.rs"]
mod copies;
#[path = "write/costs.rs"]
mod costs;
#[path = "write/crash.rs"]
mod crash;
#[path = "write/cut.rs"]
mod cut;
#[path = "write/databases.rs"]
mod databases;
#[path = "write/full_disk.rs"]
mod full_disk;
#[path = "write/holes.rs"]
mod holes;
#[path = "write/ignored.rs"]
mod ignored;
#[path = "write/ledger.rs"]
mod ledger;
#[path = "write/model.rs"]
mod model;
#[path = "write/numbers.rs"]
mod numbers;
#[path = "write/overlays.rs"]
mod overlays;
#[path = "write/programs.rs"]
mod programs;
#[path = "write/publication.rs"]
mod publication;
#[path = "write/queue.rs"]
mod queue;
#[path = "write/several.rs"]
mod several;
#[path = "write/switch.rs"]
mod switch;
#[path = "write/times.rs"]
mod times;
#[path = "write/two_mounts.rs"]
mod two_mounts;
