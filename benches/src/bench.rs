//! The benchmark: seventeen rows, both sides of each measured in one run.
//!
//! Each row gets a fresh ext4 in a preallocated loop image with direct I/O, on which both sides
//! lie, and runs its rounds one side after the other. docs/benchmarks.md says what each row is.

mod append;
mod chunks;
mod cluster;
mod cold;
mod commit;
mod coordinator;
mod coordinator_calls;
mod copies;
mod edit;
mod edit_tree;
mod engine;
mod filled;
mod history;
mod import;
mod line;
mod load;
mod mixed;
mod mount;
mod objects;
mod queue;
mod reader;
mod rebuild;
mod setting;
mod small_commits;
mod switch;
mod table;
mod warm;
mod write;
mod writer;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::instance::Programs;
use crate::mount::KERNEL_MODE;
use crate::{interrupt, machine, passes};
use line::Line;
use setting::Setting;

const WARM_UPS: u32 = 2;
const REPEATS: u32 = 3;

/// What to measure, and how often.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How often both sides of a row are measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Files in the tree that is made for the rows a to d, g, h, j, k, m, o and q
    #[arg(long, default_value_t = 22_000)]
    files: usize,
    /// Measure with this tree, such as a real node_modules
    #[arg(long, conflicts_with = "files")]
    tree: Option<PathBuf>,
    /// Bytes in the file of row e
    #[arg(long, default_value_t = 1_000_000_000)]
    file_bytes: u64,
    /// Chunks in the largest metadata of row l; ten million take 10 GB of disk
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(coordinator::CHUNKS_MIN..))]
    chunks: u64,
    /// Objects in the largest project of row n
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1000..))]
    objects: u64,
    /// Seconds for which clients work at a point of the rows i, j, l and n
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The rows to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Row::ALL)]
    rows: Vec<Row>,
    /// One JSON object for each line, with every sample
    #[arg(long)]
    json: bool,
}

/// One row of the table in the design, with a letter to choose it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Row {
    /// Mount to first ls, against untar
    A,
    /// Warm walk, stat, open, read, against ext4
    B,
    /// Cold read of everything, against untar and read
    C,
    /// Import, against tar and zstd
    D,
    /// One byte changed in a large file
    E,
    /// Commit of small changes, in a large project against a small one
    F,
    /// Switch of a mount, against mounting anew
    G,
    /// Untar, commit, rm -rf in a writable mount, against ext4
    H,
    /// Small durable commits a second from many clients, against fdatasync
    I,
    /// Commits and listings at the same time, against each alone
    J,
    /// Chunks from a cluster, against TCP; copies, against one; copies that are made again
    K,
    /// Calls a second and start of a coordinator among many chunks, against few
    L,
    /// Rebuild of a plain directory, against untar
    M,
    /// One object at a time, in large projects and long histories, against small ones
    N,
    /// Bytes of twenty versions, against archives and git
    O,
    /// Collection of a long history, against a short one
    P,
    /// A job in a mount with the upload queue and the commit of it, against a mount without
    Q,
    /// As b, in kernel mode
    R,
    /// As c, in kernel mode
    S,
}

impl Row {
    const ALL: [Self; 19] = [
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::G,
        Self::H,
        Self::I,
        Self::J,
        Self::K,
        Self::L,
        Self::M,
        Self::N,
        Self::O,
        Self::P,
        Self::Q,
        Self::R,
        Self::S,
    ];

    /// Whether it is about the tree that can be chosen.
    const fn has_tree(self) -> bool {
        !matches!(
            self,
            Self::E | Self::F | Self::I | Self::L | Self::N | Self::P
        )
    }

    /// Whether a small disk is enough for it.
    const fn writes_little(self) -> bool {
        matches!(self, Self::I | Self::J | Self::L | Self::N | Self::P)
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
            Self::E => "e",
            Self::F => "f",
            Self::G => "g",
            Self::H => "h",
            Self::I => "i",
            Self::J => "j",
            Self::K => "k",
            Self::L => "l",
            Self::M => "m",
            Self::N => "n",
            Self::O => "o",
            Self::P => "p",
            Self::Q => "q",
            Self::R => "r",
            Self::S => "s",
        })
    }
}

/// Measures and prints; misses of a bar are printed and no failure.
///
/// # Errors
/// Fails where the machine lacks something, a program fails, or the two sides read different
/// things.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    interrupt::watch()?;
    ensure!(
        rustix::process::geteuid().is_root(),
        "the benchmark makes file systems of its own and drops the page cache: run it as root"
    );
    if let Some(missing) = machine::mounts_missing() {
        anyhow::bail!("the benchmark mounts, which needs {missing}");
    }
    let programs = Programs::find()?;
    let mut stdout = std::io::stdout().lock();
    if !options.json {
        let rounds = options.rounds;
        let machine = machine::describe();
        writeln!(
            stdout,
            "{machine}, {rounds} rounds: median (lowest-highest)\n"
        )?;
    }
    for (index, row) in options.rows.iter().enumerate() {
        let setting = Setting::new(&programs, options, *row)?;
        if !options.json && index == 0 {
            writeln!(stdout, "{}", table::head())?;
        }
        for line in measure(&setting, *row)? {
            let text = if options.json {
                serde_json::to_string(&line.to_json())?
            } else {
                table::line(&line)
            };
            writeln!(stdout, "{text}")?;
        }
        stdout.flush()?;
    }
    Ok(true)
}

fn measure(setting: &Setting, row: Row) -> anyhow::Result<Vec<Line>> {
    let lines = match row {
        Row::A => mount::measure(setting),
        Row::B => warm::measure(setting),
        Row::C => cold::measure(setting),
        Row::D => import::measure(setting),
        Row::E => edit::measure(setting),
        Row::F => commit::measure(setting),
        Row::G => switch::measure(setting),
        Row::H => write::measure(setting),
        Row::I => small_commits::measure(setting),
        Row::J => mixed::measure(setting),
        Row::K => cluster::measure(setting),
        Row::L => coordinator::measure(setting),
        Row::M => rebuild::measure(setting),
        Row::N => objects::measure(setting),
        Row::O => history::measure(setting),
        Row::P => objects::measure_collection(setting),
        Row::Q => queue::measure(setting),
        Row::R => warm::measure_mode(setting, Row::R, KERNEL_MODE),
        Row::S => cold::measure_mode(setting, Row::S, KERNEL_MODE),
    };
    lines.with_context(|| format!("row {row}"))
}

/// Reads the tree `dir` and prints the times: what the benchmark starts as its reader.
///
/// # Errors
/// Fails where something cannot be read.
pub fn read_tree(dir: &Path, once: bool) -> anyhow::Result<bool> {
    let times = if once {
        passes::read_once(dir)?
    } else {
        passes::measure(dir, WARM_UPS, REPEATS)?
    };
    serde_json::to_writer(std::io::stdout().lock(), &times)?;
    Ok(true)
}
