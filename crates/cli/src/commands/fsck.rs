//! `lfsfs fsck`: compares what the coordinator knows with what the datanodes have, and mends it.

mod files;
mod finding;
mod repair;

use std::collections::{BTreeSet, HashMap};

use clap::Args;
use lfsfs_client::{CheckStep, ChunkCheck, ChunkHealth, Client, ClusterNode, NodeState};
use lfsfs_types::{ChunkId, NodeId};

use self::finding::{Finding, JsonFinding, What};
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{Output, counted};
use crate::{progress, user};

#[derive(Debug, Args)]
#[command(
    after_help = "Each finding is a line. The exit code is 0 if nothing is wrong, or nothing any more after \
    --repair, else 1.\n\n\
    --repair tells the coordinator what the disks have, moves damaged chunks aside, and waits until copies that \
    are missing were made. It deletes nothing.\n\n\
    Examples:\n  \
    lfsfs fsck                            compare the lists of chunks: seconds\n  \
    lfsfs fsck --read                     verify every chunk: as long as the disks need\n  \
    lfsfs fsck --repair --json"
)]
pub(crate) struct FsckArgs {
    /// Read every chunk from its disk and verify it
    #[arg(long)]
    read: bool,
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(server: ServerArgs, args: FsckArgs) -> Result<(), CommandError> {
    let client = server.client()?;
    let mut report = Report::new(&args);
    let nodes = client.nodes.list().await?;
    for node in &nodes {
        check_node(&client, node, &args, &mut report).await?;
    }
    if args.repair {
        repair::wait(&client.nodes).await?;
    }
    let missing = check_copies(&client, &nodes, &mut report).await?;
    if !missing.is_empty() {
        files::check(&client, &missing, &mut report).await?;
    }
    report.end()
}

/// Everything that was found so far.
struct Report {
    out: Output,
    is_json: bool,
    repairs: bool,
    left: u64,
    repaired: u64,
}

impl Report {
    fn new(args: &FsckArgs) -> Self {
        Self {
            out: Output::new(),
            is_json: args.json,
            repairs: args.repair,
            left: 0,
            repaired: 0,
        }
    }

    fn add(&mut self, finding: &Finding) -> Result<(), CommandError> {
        match finding.is_repaired {
            true => self.repaired += 1,
            false => self.left += 1,
        }
        match self.is_json {
            true => self.out.json(&JsonFinding::new(finding)),
            false => self.out.line(finding.line()),
        }
    }

    fn end(self) -> Result<(), CommandError> {
        self.out.finish()?;
        if self.repaired > 0 {
            let repaired = counted(self.repaired, "problem");
            user::tell(&format!("{repaired} repaired"));
        }
        if self.left == 0 {
            return Ok(());
        }
        let found = counted(self.left, "problem");
        let error = CommandError::failed(match self.repairs {
            true => format!("{found} could not be repaired"),
            false => format!("{found} found"),
        });
        Err(match self.repairs {
            true => error,
            false => error.hint("`lfsfs fsck --repair` mends what can be mended"),
        })
    }
}

/// Has a datanode compare its disk.
async fn check_node(
    client: &Client,
    node: &ClusterNode,
    args: &FsckArgs,
    report: &mut Report,
) -> Result<(), CommandError> {
    if node.state == NodeState::Offline {
        return report.add(&Finding::of_node(node, What::Offline));
    }
    let bar = progress::spinner();
    let check = ChunkCheck {
        reads: args.read,
        repairs: args.repair,
    };
    let mut findings = Vec::new();
    let step = |step: CheckStep| {
        let (checked, chunks) = (step.checked, step.chunks);
        bar.set_message(format!("{}: {checked} of {chunks} chunks", node.address));
        findings.extend(step.findings);
    };
    let checked = client.nodes.check_chunks(&node.address, check, step).await;
    bar.finish_and_clear();
    for found in &findings {
        report.add(&Finding::of_copy(node, found))?;
    }
    match checked {
        Ok(()) => Ok(()),
        Err(error) => {
            user::warn(&format!("{}: {error}", node.address));
            report.add(&Finding::of_node(node, What::Unchecked))
        }
    }
}

/// Tells the chunks that have not as many copies as they should. Returns those that no datanode has.
async fn check_copies(
    client: &Client,
    nodes: &[ClusterNode],
    report: &mut Report,
) -> Result<BTreeSet<ChunkId>, CommandError> {
    let addresses = nodes.iter().map(|node| (node.id, &*node.address));
    let addresses: HashMap<NodeId, &str> = addresses.collect();
    let (mut missing, mut after, mut looked_at) = (BTreeSet::new(), None, 0);
    let bar = progress::spinner();
    loop {
        let page = client.nodes.unhealthy_chunks(after).await?;
        looked_at += page.looked_at;
        bar.set_message(format!("copies of {looked_at} chunks"));
        for chunk in &page.chunks {
            report.add(&Finding::of_chunk(chunk, &addresses))?;
            if chunk.health == ChunkHealth::Missing {
                missing.insert(chunk.id);
            }
        }
        after = page.next;
        if after.is_none() {
            bar.finish_and_clear();
            return Ok(missing);
        }
    }
}
