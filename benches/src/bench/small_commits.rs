//! Row i: small durable commits from many clients, against what the disk itself gives.
//!
//! Each commit changes one file, whose content is stored already: the metadata alone is measured.

use std::fs;
use std::time::Duration;

use lfsfs_client::{Admin, ClientConfig, NewProject, Servers};
use lfsfs_remote::Retry;
use lfsfs_types::{Kind, ProjectName};
use tokio::runtime::Runtime;

use super::Row;
use super::append::{self, APPEND_LEN};
use super::engine::{Cost, Figures};
use super::line::{Bar, Line, Unit};
use super::load::{Timings, connect, runtime, work};
use super::reader::Tree;
use super::setting::{PROJECT, Setting};
use super::writer::Writer;
use crate::instance::Instance;
use crate::sizes::to_float;

const CLIENTS_MAX: usize = 64;

/// Where the clients of a point commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Projects {
    /// Each in a project of its own.
    Own,
    /// All in one, each its own file: the server rebases what others came before.
    One,
}

/// So many clients, and where they commit.
#[derive(Debug, Clone, Copy)]
struct Point {
    clients: usize,
    projects: Projects,
}

const fn point(clients: usize, projects: Projects) -> Point {
    Point { clients, projects }
}

/// One client alone is the same in both.
const POINTS: [Point; 5] = [
    point(1, Projects::Own),
    point(8, Projects::Own),
    point(CLIENTS_MAX, Projects::Own),
    point(8, Projects::One),
    point(CLIENTS_MAX, Projects::One),
];

impl Point {
    fn name(self) -> String {
        match (self.clients, self.projects) {
            (1, _) => "commits, 1 client / fdatasync".to_owned(),
            (clients, Projects::Own) => format!("commits, {clients} clients / fdatasync"),
            (clients, Projects::One) => format!("commits, {clients} in one project / fdatasync"),
        }
    }
}

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let server = Server::start(setting)?;
    let mut points = POINTS.map(|point| (point, PointLines::new(point)));
    setting.rounds(|_| {
        let theirs = append::measure(&setting.place("appended"), setting.point_time())?;
        for (point, lines) in &mut points {
            setting.settle()?;
            lines.push(&theirs, &server.measure(*point, setting.point_time())?);
        }
        Ok(())
    })?;
    server.instance.stop()?;
    Ok(points
        .into_iter()
        .flat_map(|(_, lines)| lines.all())
        .collect())
}

/// The server, with a project for each client, and two contents that it has.
struct Server {
    instance: Instance,
    runtime: Runtime,
    contents: [Kind; 2],
}

/// What the clients of a point did.
struct Measured {
    commits: Timings,
    /// Of each commit.
    cost: Cost,
    /// CPU time of the server, in seconds, of each commit.
    cpu: f64,
    /// The part of the commits that the server rebased.
    rebased: f64,
}

impl Server {
    fn start(setting: &Setting) -> anyhow::Result<Self> {
        fs::create_dir(setting.tree())?;
        for content in ["one", "two"] {
            fs::write(setting.tree().join(content), content)?;
        }
        let instance = setting.serve_tree()?;
        let runtime = runtime()?;
        let contents = runtime.block_on(prepare(instance.address()))?;
        Ok(Self {
            instance,
            runtime,
            contents,
        })
    }

    fn measure(&self, point: Point, time: Duration) -> anyhow::Result<Measured> {
        let writers = self.runtime.block_on(self.writers(point))?;
        let cpu_before = self.instance.server_cpu()?;
        let before = Figures::of(&self.instance)?;
        let (writers, commits) = self.runtime.block_on(work(writers, time))?;
        let after = Figures::of(&self.instance)?;
        let cpu = self.instance.server_cpu()?.saturating_sub(cpu_before);
        let rebased = writers.iter().map(Writer::rebased).sum();
        Ok(Measured {
            cost: after.since(&before, commits.count()),
            cpu: cpu.as_secs_f64() / commits.count(),
            rebased: to_float(rebased) / commits.count(),
            commits,
        })
    }

    async fn writers(&self, point: Point) -> anyhow::Result<Vec<Writer>> {
        let mut writers = Vec::new();
        for number in 0..point.clients {
            let client = own_project(number);
            let project = match point.projects {
                Projects::Own => &client,
                Projects::One => PROJECT,
            };
            let remote = connect(self.instance.address())?;
            let contents = self.contents.clone();
            writers.push(Writer::new(remote, project, &client, contents).await?);
        }
        Ok(writers)
    }
}

/// The name of a client's own project, and of the file that it changes.
fn own_project(number: usize) -> String {
    format!("client-{number}")
}

/// Makes the projects of the clients, and returns the two contents.
async fn prepare(address: &str) -> anyhow::Result<[Kind; 2]> {
    let servers = Servers::new(ClientConfig::new(address))?;
    let admin = Admin::new(&servers, Retry::new(Duration::ZERO));
    for number in 0..CLIENTS_MAX {
        let name = ProjectName::new(&own_project(number))?;
        admin.new_project(&NewProject::named(name.clone())).await?;
    }
    Tree::find(&*servers.remote(), PROJECT)
        .await?
        .two_contents()
}

/// The lines of one point.
struct PointLines {
    rate: Line,
    median: Line,
    slow: Line,
    cpu: Line,
    batches: Line,
    flushes: Line,
    rows_read: Line,
    syncs: Line,
    bytes: Line,
    rebased: Option<Line>,
}

impl PointLines {
    fn new(point: Point) -> Self {
        let line = |what: &str, unit| Line::new(Row::I, what, unit, Bar::None);
        let is_shared = point.projects == Projects::One;
        Self {
            rate: line(&point.name(), Unit::PerSecond),
            median: line("  time, median", Unit::Seconds),
            slow: line("  time, 99th percentile", Unit::Seconds),
            cpu: line("  CPU time of the server, each", Unit::Seconds),
            batches: line("  batches, each", Unit::Count),
            flushes: line("  flushes, each", Unit::Count),
            rows_read: line("  rows read, each", Unit::Count),
            syncs: line("  syncs of the device, each", Unit::Count),
            bytes: line("  bytes to the device, each", Unit::Bytes),
            rebased: is_shared.then(|| line("  rebased, part of all", Unit::Count)),
        }
    }

    fn push(&mut self, theirs: &Timings, ours: &Measured) {
        let Measured {
            commits,
            cost,
            cpu,
            rebased,
        } = ours;
        self.rate.push(theirs.per_second(), commits.per_second());
        self.median
            .push(theirs.took.median(), commits.took.median());
        let slow = (theirs.took.percentile_99(), commits.took.percentile_99());
        self.slow.push(slow.0, slow.1);
        self.cpu.push_ours(*cpu);
        self.batches.push_ours(cost.batches);
        self.flushes.push_ours(cost.flushes);
        self.rows_read.push_ours(cost.rows_read);
        self.syncs.push(1.0, cost.syncs);
        self.bytes.push(to_float(APPEND_LEN as u64), cost.bytes);
        if let Some(line) = &mut self.rebased {
            line.push_ours(*rebased);
        }
    }

    fn all(self) -> Vec<Line> {
        let times = [self.rate, self.median, self.slow, self.cpu];
        let calls = [self.batches, self.flushes, self.rows_read];
        let device = [self.syncs, self.bytes];
        let lines = times.into_iter().chain(calls).chain(device);
        lines.chain(self.rebased).collect()
    }
}
