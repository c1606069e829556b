//! Scripts as operators and jobs write them: `set -euo pipefail`, and JSON through jq.

use std::fs;

use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{World, in_namespace};

use crate::support::{prepare, repository, strict};

/// Runs a script in a directory with a tree `app`.
fn run_script(name: &str, first: &str) {
    if require_program("jq").is_err() {
        return;
    }
    let mut world = World::new();
    prepare(&world);
    let work = world.make_dir("work");
    fs::create_dir(work.join("app")).expect("a directory");
    for (file, text) in [("file", "one\n"), ("config.toml", "port = 80\n")] {
        fs::write(work.join("app").join(file), text).expect("a file");
    }
    let file = repository().join("tests/day").join(name);
    let script = fs::read_to_string(file).expect("a script");
    // The line that failed is the last one.
    let run = strict(&world, &work, &format!("{first}\nset -x\n{script}"));
    assert_eq!(run.code(), Some(0), "{run:?}");
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn an_operators_day_goes_well() {
    in_namespace("scripts::an_operators_day_goes_well", || {
        run_script("operator.sh", "");
    });
}

#[test]
fn a_batch_job_goes_well() {
    in_namespace("scripts::a_batch_job_goes_well", || {
        run_script("job.sh", "lfsfs project new app; lfsfs import ./app app");
    });
}
