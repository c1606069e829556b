//! Row n: one object at a time, by the calls of the objects: in large projects and long histories against small ones,
//! and from many writers. Row p: the collection of a long history.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lfsfs_proto::v1;
use lfsfs_proto::v1::fs_client::FsClient;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

use super::Row;
use super::line::{Bar, Line, Unit};
use super::load::{LoadClient, runtime, work};
use super::setting::Setting;
use crate::command;
use crate::instance::Instance;
use crate::samples::Samples;

const BAR: Bar = Bar::Ratio {
    bar: 1.5,
    stretch: 1.0,
};
/// Objects of a directory.
const PER_DIRECTORY: u64 = 100;
/// Objects that one call makes.
const PER_UPDATE: u64 = 1000;
const WRITERS: u64 = 20;
/// Calls of one kind in a round.
const CALLS: u64 = 50;
/// What the calls are measured in: (objects, versions).
const SMALL: (u64, u64) = (1_000, 1);
const LONG: [u64; 2] = [100, 10_000];
/// Versions before a collection, and those that stay.
const COLLECTED: [u64; 2] = [100, 1_000];
const KEPT: u64 = 10;

pub(super) fn measure(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let instance = setting.start_server("server")?;
    let runtime = runtime()?;
    let client = runtime.block_on(Client::connect(instance.address()))?;
    let small = runtime.block_on(client.project("small", SMALL))?;
    let mut against = Vec::new();
    for objects in setting.objects() {
        let name = format!("{}k / 1k objects", objects / 1000);
        let project = format!("objects-{objects}");
        let large = runtime.block_on(client.project(&project, (objects, SMALL.1)))?;
        against.push((large, PointLines::new(&name)));
    }
    for versions in LONG {
        let name = format!("{versions} / 1 versions");
        let project = format!("versions-{versions}");
        let long = runtime.block_on(client.project(&project, (SMALL.0, versions)))?;
        against.push((long, PointLines::new(&name)));
    }
    let mut writers = Line::new(
        Row::N,
        "updates, 20 writers / 1",
        Unit::PerSecond,
        Bar::None,
    );
    setting.rounds(|_| {
        for (project, lines) in &mut against {
            setting.settle()?;
            let theirs = runtime.block_on(client.calls(&small))?;
            lines.push(&theirs, &runtime.block_on(client.calls(project))?);
        }
        let rate = |count| updates_a_second(&runtime, &instance, count, setting.point_time());
        writers.push(rate(1)?, rate(WRITERS)?);
        Ok(())
    })?;
    instance.stop()?;
    let lines = against.into_iter().flat_map(|(_, lines)| lines.all());
    Ok(lines.chain([writers]).collect())
}

/// Row p.
pub(super) fn measure_collection(setting: &Setting) -> anyhow::Result<Vec<Line>> {
    let line = |what: &str| Line::new(Row::P, what, Unit::Seconds, Bar::None);
    let mut versions = line("gc --keep 10, 1,000 / 100 versions");
    let mut contents = line("  then contents and chunks");
    let runtime = runtime()?;
    setting.rounds(|_| {
        let mut took = Vec::new();
        for count in COLLECTED {
            let instance = setting.start_server("server")?;
            let client = runtime.block_on(Client::connect(instance.address()))?;
            runtime.block_on(client.project("long", (SMALL.0, count)))?;
            let keep = KEPT.to_string();
            let gc = |words: &[&str]| {
                let mut command = instance.lfsfs();
                command.args(["gc", "--json", "--grace", "0s"]).args(words);
                command::run(&mut command)
            };
            let expired = gc(&["long", "--keep", &keep])?;
            let report: serde_json::Value = serde_json::from_slice(&expired.stdout)?;
            // The first version makes the objects, and each of the others changes one.
            ensure!(
                report["versions"] == count + 1 - KEPT,
                "a collection expired {} of {count} versions",
                report["versions"]
            );
            took.push((expired.wall.as_secs_f64(), gc(&[])?.wall.as_secs_f64()));
            instance.stop()?;
            setting.remove("server")?;
        }
        let [short, long] = took[..] else {
            anyhow::bail!("two lengths are measured");
        };
        versions.push(short.0, long.0);
        contents.push(short.1, long.1);
        Ok(())
    })?;
    Ok(vec![versions, contents])
}

/// A client of the calls of objects.
#[derive(Debug, Clone)]
struct Client {
    fs: FsClient<Channel>,
}

/// A project, and how many objects it has.
#[derive(Debug)]
struct Project {
    name: String,
    objects: u64,
}

/// How long calls took, in seconds: the medians.
struct Calls {
    update: f64,
    get: f64,
    list: f64,
}

impl Client {
    async fn connect(address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.connect().await.context("connect to the server")?;
        Ok(Self {
            fs: FsClient::new(channel),
        })
    }

    /// Makes a project of so many objects, and after its first versions so many with one change each.
    async fn project(
        &self,
        name: &str,
        (objects, versions): (u64, u64),
    ) -> anyhow::Result<Project> {
        let request = v1::NewProjectRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        self.fs.clone().new_project(request).await?;
        for first in (0..objects).step_by(usize::try_from(PER_UPDATE)?) {
            let end = objects.min(first + PER_UPDATE);
            let made = (first..end).map(|number| object(number, number)).collect();
            self.update(name, made).await?;
        }
        for version in 0..versions {
            let changed = object(version % objects, objects + version);
            self.update(name, vec![changed]).await?;
        }
        Ok(Project {
            name: name.to_owned(),
            objects,
        })
    }

    async fn update(&self, project: &str, objects: Vec<v1::Objekt>) -> anyhow::Result<()> {
        let project = project.to_owned();
        let messages = objects.into_iter().map(move |object| v1::UpdateRequest {
            project: project.clone(),
            object: Some(object),
            ..Default::default()
        });
        let stream = futures::stream::iter(messages);
        self.fs.clone().update(stream).await?;
        Ok(())
    }

    /// Returns how many objects a query finds.
    async fn get(&self, project: &str, path: Vec<u8>, is_prefix: bool) -> anyhow::Result<u64> {
        let query = v1::ObjectQuery {
            path,
            is_prefix,
            ..Default::default()
        };
        let request = v1::GetRequest {
            project: project.to_owned(),
            queries: vec![query],
            ..Default::default()
        };
        let mut answers = self.fs.clone().get(request).await?.into_inner();
        let mut found = 0;
        while answers.message().await?.is_some() {
            found += 1;
        }
        Ok(found)
    }

    /// Updates, gets and lists, again and again.
    async fn calls(&self, project: &Project) -> anyhow::Result<Calls> {
        let mut took = [Samples::default(), Samples::default(), Samples::default()];
        for call in 0..CALLS {
            let number = call * 7919 % project.objects;
            let started = Instant::now();
            let unlike = u64::from(std::process::id()) << 32 | unique();
            let changed = vec![object(number, unlike)];
            self.update(&project.name, changed).await?;
            took[0].push(started.elapsed().as_secs_f64());
            let started = Instant::now();
            let got = self.get(&project.name, path(number), false).await?;
            took[1].push(started.elapsed().as_secs_f64());
            let started = Instant::now();
            let listed = self.get(&project.name, directory(number), true).await?;
            took[2].push(started.elapsed().as_secs_f64());
            ensure!(
                (got, listed) == (1, PER_DIRECTORY),
                "{got} and {listed} objects were found"
            );
        }
        let [update, get, list] = took.map(|samples| samples.median());
        Ok(Calls { update, get, list })
    }
}

/// Returns a number that it has not returned before.
fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn directory(number: u64) -> Vec<u8> {
    format!("dir-{}/", number / PER_DIRECTORY).into_bytes()
}

fn path(number: u64) -> Vec<u8> {
    [directory(number), format!("file-{number}").into_bytes()].concat()
}

fn object(number: u64, text: u64) -> v1::Objekt {
    v1::Objekt {
        path: path(number),
        content: Some(format!("content {text}\n").into_bytes()),
        ..Default::default()
    }
}

/// A writer that changes an object of its own in a project that all share.
struct Writer {
    client: Client,
    number: u64,
}

impl LoadClient for Writer {
    async fn step(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let changed = vec![object(self.number, u64::MAX - unique())];
        self.client.update("small", changed).await?;
        Ok(started.elapsed())
    }
}

fn updates_a_second(
    runtime: &Runtime,
    instance: &Instance,
    writers: u64,
    time: Duration,
) -> anyhow::Result<f64> {
    runtime.block_on(async {
        let mut clients = Vec::new();
        for number in 0..writers {
            clients.push(Writer {
                client: Client::connect(instance.address()).await?,
                number,
            });
        }
        let (_, timings) = work(clients, time).await?;
        Ok(timings.per_second())
    })
}

/// The lines of one comparison.
struct PointLines {
    update: Line,
    get: Line,
    list: Line,
}

impl PointLines {
    fn new(name: &str) -> Self {
        let line = |call: &str| Line::new(Row::N, format!("{call}, {name}"), Unit::Seconds, BAR);
        Self {
            update: line("update 1"),
            get: line("get 1"),
            list: line("list 100"),
        }
    }

    fn push(&mut self, theirs: &Calls, ours: &Calls) {
        self.update.push(theirs.update, ours.update);
        self.get.push(theirs.get, ours.get);
        self.list.push(theirs.list, ours.list);
    }

    fn all(self) -> [Line; 3] {
        [self.update, self.get, self.list]
    }
}
