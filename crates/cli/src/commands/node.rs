//! `lfsfs node`: the datanodes of a cluster, for operators.

mod chosen;
mod shown;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use lfsfs_client::{ClusterNode, ClusterStatus, NodeState, Nodes};
use lfsfs_remote::RemoteError;

use self::chosen::NodeName;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{Clock, Column, Output, Table, TimeStyle, counted};
use crate::user;

pub(super) use self::shown::{JsonNode, percent, state_word};

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List all datanodes
    List(ListArgs),
    /// Have everything that a datanode has copied to others, before it is removed
    Drain(DrainArgs),
    /// Let a datanode that drains take chunks again
    Undrain(UndrainArgs),
    /// Forget a datanode that is stopped
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "STATE is one of available, suspect (silent, gets no new chunks), offline (silent, not read \
    from) and draining.\n\n\
    Examples:\n  \
    lfsfs node list\n  \
    lfsfs node list --json                for scripts, with whole ids"
)]
pub(crate) struct ListArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "The datanode goes on to serve readers. It may be stopped and removed when `lfsfs cluster \
    status` says that nothing waits.\n\n\
    Examples:\n  \
    lfsfs node drain 10.0.0.7:5051\n  \
    lfsfs node drain 3f0c"
)]
pub(crate) struct DrainArgs {
    /// Id, at least its first 4 digits, or HOST:PORT
    node: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lfsfs node undrain 10.0.0.7:5051")]
pub(crate) struct UndrainArgs {
    /// Id, at least its first 4 digits, or HOST:PORT
    node: String,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A datanode that runs is refused: stop it first. So is one that has the only copies of \
    chunks: drain it first.\n\n\
    Examples:\n  \
    lfsfs node remove 10.0.0.7:5051\n  \
    lfsfs node remove 3f0c --force        its disk is gone, and with it what only it had"
)]
pub(crate) struct RemoveArgs {
    /// Id, at least its first 4 digits, or HOST:PORT
    node: String,
    /// Remove it although chunks lose their only copy
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(server: ServerArgs, command: NodeCommand) -> Result<(), CommandError> {
    let nodes = server.client()?.nodes;
    match command {
        NodeCommand::List(args) => list(&nodes, &args).await,
        NodeCommand::Drain(args) => drain(&nodes, &args).await,
        NodeCommand::Undrain(args) => undrain(&nodes, &args).await,
        NodeCommand::Remove(args) => remove(&nodes, &args).await,
    }
}

async fn list(nodes: &Nodes, args: &ListArgs) -> Result<(), CommandError> {
    let all = nodes.list().await?;
    let mut out = Output::new();
    if args.json {
        let mut shown = all.iter().map(JsonNode::new);
        shown.try_for_each(|node| out.json(&node))?;
        return out.finish();
    }
    let lines = table(&all).lines();
    lines.iter().try_for_each(|line| out.line(line))?;
    out.finish()
}

fn table(nodes: &[ClusterNode]) -> Table<8> {
    use Column::{Left, Right};
    let mut table = Table::new([
        (Left, "NODE"),
        (Left, "ADDRESS"),
        (Left, "ZONE"),
        (Left, "STATE"),
        (Right, "CHUNKS"),
        (Right, "STORED"),
        (Right, "USED"),
        (Left, "LAST SEEN"),
    ]);
    let clock = Clock::new(TimeStyle::Relative);
    let digits = chosen::short_len(nodes);
    for node in nodes {
        table.row([
            node.id.to_string()[..digits].to_owned(),
            node.address.clone(),
            zone(node),
            shown::state(node),
            node.chunks.to_string(),
            HumanBytes(node.stored_bytes).to_string(),
            percent(node.used_bytes, node.capacity_bytes),
            clock.show(node.last_seen),
        ]);
    }
    table
}

fn zone(node: &ClusterNode) -> String {
    if node.zone.is_empty() {
        return "-".to_owned();
    }
    node.zone.clone()
}

async fn drain(nodes: &Nodes, args: &DrainArgs) -> Result<(), CommandError> {
    let name = NodeName::parse(&args.node)?;
    let status = nodes.status().await?;
    let node = name.find(&status.nodes)?;
    nodes.set_draining(node.id, true).await?;
    say(node, "drains")?;
    let advice = advice(node, &status);
    advice.iter().for_each(|line| user::tell(line));
    Ok(())
}

/// Says what happens next, and what is in the way of it.
fn advice(node: &ClusterNode, status: &ClusterStatus) -> Vec<String> {
    let chunks = counted(node.chunks, "chunk");
    let mut lines = vec![
        format!(
            "It gets no new chunks. It has {chunks}: the other datanodes get copies where they have too few."
        ),
        "See how far that is with: lfsfs cluster status".to_owned(),
        format!(
            "When nothing waits, stop its lfsfsd and run: lfsfs node remove {}",
            node.id
        ),
    ];
    let is_left = |other: &&ClusterNode| {
        other.id != node.id && !other.is_draining && other.state == NodeState::Available
    };
    let left = status.nodes.iter().filter(is_left).count() as u64;
    if left < u64::from(status.copies) {
        let (left, copies) = (counted(left, "datanode"), status.copies);
        lines.push(format!(
            "But only {left} would be left for {copies} copies of each chunk: start another one, or chunks \
             stay under-replicated."
        ));
    }
    lines
}

async fn undrain(nodes: &Nodes, args: &UndrainArgs) -> Result<(), CommandError> {
    let name = NodeName::parse(&args.node)?;
    let all = nodes.list().await?;
    let node = name.find(&all)?;
    nodes.set_draining(node.id, false).await?;
    say(node, "takes chunks")
}

async fn remove(nodes: &Nodes, args: &RemoveArgs) -> Result<(), CommandError> {
    let name = NodeName::parse(&args.node)?;
    let all = nodes.list().await?;
    let node = name.find(&all)?;
    let lost = nodes.remove(node.id, args.force).await.map_err(refused)?;
    let lost = match lost {
        0 => "no chunk is lost".to_owned(),
        1 => "1 chunk is lost".to_owned(),
        _ => format!("{lost} chunks are lost"),
    };
    say(node, &format!("is removed: {lost}"))
}

/// The node was found, so what was typed made sense: the cluster is not ready for it.
fn refused(error: RemoteError) -> CommandError {
    match error {
        RemoteError::Invalid(reason) => CommandError::failed(reason),
        error => error.into(),
    }
}

fn say(node: &ClusterNode, what: &str) -> Result<(), CommandError> {
    let mut out = Output::new();
    out.line(format!("datanode {} at {} {what}", node.id, node.address))?;
    out.finish()
}
