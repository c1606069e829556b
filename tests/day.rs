//! What people do with the programs in a day: what README and the help show, what operators and
//! jobs write into scripts, and how the programs come to a machine.

#[path = "day/completions.rs"]
mod completions;
#[path = "day/demo.rs"]
mod demo;
#[path = "day/examples.rs"]
mod examples;
#[path = "day/install.rs"]
mod install;
#[path = "day/scripts.rs"]
mod scripts;
#[path = "day/setup.rs"]
mod setup;
#[path = "day/support.rs"]
mod support;
