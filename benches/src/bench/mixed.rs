//! Row j: clients that commit and clients that list at the same time, against each of them alone.

use std::sync::Arc;
use std::time::Duration;

use lfsfs_types::{DirId, Kind};

use super::Row;
use super::line::{Bar, Line, Unit};
use super::load::{Timings, connect, runtime, work};
use super::reader::{Reader, Tree};
use super::setting::{PROJECT, Setting};
use super::writer::Writer;

/// How many commit, and how many list.
const CLIENTS: usize = 8;

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let instance = setting.serve_tree()?;
    let runtime = runtime()?;
    let clients = runtime.block_on(Clients::new(instance.address()))?;
    let time = setting.point_time();
    let mut commits = Lines::new("commits, with readers / alone");
    let mut listings = Lines::new("listings, with writers / alone");
    setting.rounds(|_| {
        setting.settle()?;
        let lists_alone = runtime.block_on(clients.list(time))?;
        setting.settle()?;
        let commits_alone = runtime.block_on(clients.commit(time))?;
        setting.settle()?;
        let together = async { tokio::try_join!(clients.commit(time), clients.list(time)) };
        let (committed, listed) = runtime.block_on(together)?;
        commits.push(&commits_alone, &committed);
        listings.push(&lists_alone, &listed);
        Ok(())
    })?;
    instance.stop()?;
    Ok([commits.all(), listings.all()].concat())
}

/// What the clients work on.
struct Clients {
    address: String,
    dirs: Arc<[DirId]>,
    contents: [Kind; 2],
}

impl Clients {
    async fn new(address: &str) -> anyhow::Result<Self> {
        let tree = Tree::find(&*connect(address)?, PROJECT).await?;
        Ok(Self {
            address: address.to_owned(),
            contents: tree.two_contents()?,
            dirs: tree.dirs.into(),
        })
    }

    /// Lets clients commit, each its own file of the one project.
    async fn commit(&self, time: Duration) -> anyhow::Result<Timings> {
        let mut writers = Vec::new();
        for number in 0..CLIENTS {
            let name = format!("client-{number}");
            let remote = connect(&self.address)?;
            let contents = self.contents.clone();
            writers.push(Writer::new(remote, PROJECT, &name, contents).await?);
        }
        Ok(work(writers, time).await?.1)
    }

    /// Lets clients list directories of the newest version.
    async fn list(&self, time: Duration) -> anyhow::Result<Timings> {
        let mut readers = Vec::new();
        for seed in 0..CLIENTS as u64 {
            let remote = connect(&self.address)?;
            readers.push(Reader::new(remote, PROJECT, Arc::clone(&self.dirs), seed));
        }
        Ok(work(readers, time).await?.1)
    }
}

/// The lines of the clients of one kind.
struct Lines {
    rate: Line,
    median: Line,
    slow: Line,
}

impl Lines {
    fn new(what: &str) -> Self {
        let line = |what: &str, unit| Line::new(Row::J, what, unit, Bar::None);
        Self {
            rate: line(what, Unit::PerSecond),
            median: line("  time, median", Unit::Seconds),
            slow: line("  time, 99th percentile", Unit::Seconds),
        }
    }

    fn push(&mut self, alone: &Timings, together: &Timings) {
        self.rate.push(alone.per_second(), together.per_second());
        self.median
            .push(alone.took.median(), together.took.median());
        let slow = (alone.took.percentile_99(), together.took.percentile_99());
        self.slow.push(slow.0, slow.1);
    }

    fn all(self) -> Vec<Line> {
        vec![self.rate, self.median, self.slow]
    }
}
