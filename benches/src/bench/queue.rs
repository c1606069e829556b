//! Row q: what the upload queue costs the job that writes, and what it saves the commit.

use super::Row;
use super::line::{Bar, Line, Unit};
use super::setting::{PROJECT, Setting};
use super::write::unpack;
use crate::command;
use crate::instance::Instance;
use crate::mount::Mount;

const JOB: Bar = Bar::Ratio {
    bar: 1.1,
    stretch: 1.0,
};
const COMMIT: Bar = Bar::Amount {
    bar: 1.0,
    stretch: 0.1,
};
/// The options of the two sides.
const WITHOUT: &str = "rw,noupload";
const WITH: &str = "rw";

/// What one side of a round needed, in seconds.
struct Cost {
    job: f64,
    /// From the end of the job until all is uploaded; nothing without a queue.
    rest: f64,
    commit: f64,
}

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let line = |what: &str, bar| Line::new(Row::Q, what, Unit::Seconds, bar);
    let mut job = line("untar, queue / noupload", JOB);
    let mut rest = line("  then lfsfs flush", Bar::None);
    let mut commit = line("commit, all uploaded / noupload", COMMIT);
    let mut whole = line("  all three / noupload", Bar::None);
    setting.rounds(|_| {
        let (without, with) = (run(setting, WITHOUT)?, run(setting, WITH)?);
        job.push(without.job, with.job);
        rest.push_ours(with.rest);
        commit.push(without.commit, with.commit);
        let sum = |cost: &Cost| cost.job + cost.rest + cost.commit;
        whole.push(sum(&without), sum(&with));
        Ok(())
    })?;
    Ok(vec![job, rest, commit, whole])
}

fn run(setting: &Setting, options: &str) -> anyhow::Result<Cost> {
    let instance = setting.start_server("server")?;
    setting.settle()?;
    let (dir, cache) = (setting.place("mount"), instance.place("cache"));
    let (mount, _) = Mount::with_mode(options, &instance, PROJECT, &dir, &cache)?;
    let job = unpack(setting, mount.dir())?.wall;
    let rest = if options == WITH {
        flush(&instance, &mount)?
    } else {
        0.0
    };
    let commit = mount.commit("", &format!("{PROJECT}@v1"))?.wall;
    mount.unmount()?;
    instance.stop()?;
    setting.remove("server")?;
    Ok(Cost {
        job: job.as_secs_f64(),
        rest,
        commit: commit.as_secs_f64(),
    })
}

fn flush(instance: &Instance, mount: &Mount<'_>) -> anyhow::Result<f64> {
    let mut flush = instance.lfsfs();
    let ran = command::run(flush.arg("flush").arg(mount.dir()))?;
    Ok(ran.wall.as_secs_f64())
}
