//! `lfsfs cluster`: how a cluster is, for operators.

mod json;
mod pace;
mod text;

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use lfsfs_client::{ClusterStatus, Nodes};

use self::json::JsonStatus;
use self::pace::Pace;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::Output;
use crate::signals::EndSignals;

/// Time between two answers that are shown.
const REFRESH: Duration = Duration::from_secs(2);
/// Takes the cursor to the first place of a terminal, and clears what is behind it.
const REDRAW: &[u8] = b"\x1b[H\x1b[J";

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show datanodes, copies of chunks, and what repair does
    Status(StatusArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "It is a report: the exit code is 0 whatever it says. --watch goes on until Ctrl-C.\n\n\
    Examples:\n  \
    lfsfs cluster status\n  \
    lfsfs cluster status --watch          how fast repair is, and when it will be done\n  \
    lfsfs cluster status --json | jq .missing"
)]
pub(crate) struct StatusArgs {
    /// Ask again every 2 s, and show the rate of repair
    #[arg(long)]
    watch: bool,
    /// One JSON object; with --watch one a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(server: ServerArgs, command: ClusterCommand) -> Result<(), CommandError> {
    let ClusterCommand::Status(args) = command;
    let nodes = server.client()?.nodes;
    if !args.watch {
        return show(&Answer::once(nodes.status().await?), &args);
    }
    let mut end = EndSignals::new()?;
    tokio::select! {
        done = watch(&nodes, &args) => done,
        () = end.recv() => Ok(()),
    }
}

/// What a server told, and when.
struct Answer {
    status: ClusterStatus,
    at: Instant,
    /// How fast repair is; only two answers can tell.
    pace: Option<Pace>,
}

impl Answer {
    fn once(status: ClusterStatus) -> Self {
        Self {
            status,
            at: Instant::now(),
            pace: None,
        }
    }

    fn after(self, before: Option<&Self>) -> Self {
        let pace = before.and_then(|before| {
            let elapsed = self.at.saturating_duration_since(before.at);
            Pace::between(&before.status.repair, &self.status.repair, elapsed)
        });
        Self { pace, ..self }
    }
}

/// Shows one answer after the other, until the reader goes away.
async fn watch(nodes: &Nodes, args: &StatusArgs) -> Result<(), CommandError> {
    let mut before = None;
    loop {
        let answer = Answer::once(nodes.status().await?).after(before.as_ref());
        show(&answer, args)?;
        before = Some(answer);
        tokio::time::sleep(REFRESH).await;
    }
}

fn show(answer: &Answer, args: &StatusArgs) -> Result<(), CommandError> {
    let (status, pace) = (&answer.status, answer.pace);
    let mut out = Output::new();
    if args.json {
        out.json(&JsonStatus::new(status, pace, args.watch))?;
        return out.finish();
    }
    if args.watch && io::stdout().is_terminal() {
        out.bytes(REDRAW)?;
    }
    let lines = text::lines(status, pace);
    lines.iter().try_for_each(|line| out.line(line))?;
    if args.watch {
        out.line("")?;
    }
    out.finish()
}
