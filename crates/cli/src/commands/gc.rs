//! `lfsfs gc`: removes what no version needs any more.

use std::time::Duration;

use clap::Args;
use indicatif::HumanBytes;
use lfsfs_client::{Collected, ExpireOrder, Garbage};
use lfsfs_remote::RemoteError;
use lfsfs_types::VersionNumber;
use serde::Serialize;

use super::project::name;
use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::{Output, counted};
use crate::progress::spinner;
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "Versions expire only where --keep or --older-than says so. The newest version of a project never \
    expires, nor does one that has a tag, that is mounted, or that a commit is under way on. What expired cannot be \
    brought back.\n\n\
    With PROJECT, versions of that project expire. Without it, versions of all projects do; then deleted projects \
    that were kept long enough and contents that no version names are removed, and datanodes drop the chunks in which none lies. Chunks of which little is needed, and \
    small ones, are rewritten; with --sample they are not.\n\n\
    AGE is a number with a unit: 30s, 15m, 12h, 7d, 2weeks. A server collects garbage by itself, too: see gc-every in \
    the configuration of lfsfsd.\n\n\
    Examples:\n  \
    lfsfs gc --dry-run                    what could be removed\n  \
    lfsfs gc app --keep 20                keep the newest 20 versions of app\n  \
    lfsfs gc --older-than 30d             those of all projects that were replaced 30 days ago\n  \
    lfsfs gc --grace 0s                   remove contents that were just sent, too"
)]
pub(crate) struct GcArgs {
    /// Project of which versions expire; without it, those of all
    project: Option<String>,
    /// Keep so many of the newest versions, at least 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    /// Only versions from this one on expire
    #[arg(long, value_name = "VERSION", value_parser = version)]
    from: Option<VersionNumber>,
    /// Only versions expire that were replaced so long ago
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Look at a part of the projects and contents, chosen at random, in percent
    #[arg(long, value_name = "PERCENT", conflicts_with = "project", value_parser = percent)]
    sample: Option<f64>,
    /// Leave alone what was needed in this time [default: what the server is configured to]
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
    /// Remove nothing, and tell what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn version(text: &str) -> Result<VersionNumber, String> {
    let number = text.strip_prefix('v').unwrap_or(text);
    let number = number
        .parse()
        .map_err(|_| "a version is written vN, such as v3")?;
    Ok(VersionNumber(number))
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    match percent {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("a part is above 0 and at most 100 percent".to_owned()),
    }
}

/// What was collected, in JSON.
#[derive(Debug, Serialize)]
struct JsonCollected {
    projects: u64,
    versions: u64,
    rows: u64,
    contents: u64,
    content_bytes: u64,
    chunks: u64,
    chunk_bytes: u64,
    rewritten_chunks: u64,
    new_chunks: u64,
    rewritten_bytes: u64,
    purged_projects: u64,
    dry_run: bool,
    unfinished: bool,
}

impl GcArgs {
    fn order(&self) -> ExpireOrder {
        ExpireOrder {
            keep: self.keep,
            older_than: self.older_than,
            from: self.from,
            grace: self.grace,
            dry_run: self.dry_run,
        }
    }

    fn expires_versions(&self) -> bool {
        self.keep.is_some() || self.older_than.is_some()
    }
}

pub(crate) async fn run(server: ServerArgs, args: GcArgs) -> Result<(), CommandError> {
    if !args.expires_versions() && (args.project.is_some() || args.from.is_some()) {
        return Err(CommandError::usage("which versions stay is not said")
            .hint("say it with --keep N, with --older-than AGE or with both"));
    }
    let project = args.project.as_deref().map(name).transpose()?;
    let garbage = server.client()?.garbage;
    let waiting = spinner();
    waiting.set_message("collecting garbage");
    let collected = match &project {
        Some(project) => garbage.of_project(project, &args.order()).await,
        None => collect_all(&garbage, &args).await,
    };
    waiting.finish_and_clear();
    let collected = collected?;
    if collected.is_unfinished {
        user::warn(
            "readers of expired versions took too long; the next collection removes the rest",
        );
    }
    let mut out = Output::new();
    match args.json {
        true => out.json(&json(&collected, &args))?,
        false => print(&mut out, &collected, &args)?,
    }
    out.finish()
}

async fn collect_all(garbage: &Garbage, args: &GcArgs) -> Result<Collected, RemoteError> {
    let sample = args.sample.unwrap_or(100.0);
    let expired = match args.expires_versions() {
        true => garbage.of_projects(sample, &args.order()).await?,
        false => Collected::default(),
    };
    let contents = garbage
        .of_contents(sample, args.grace, args.dry_run)
        .await?;
    Ok(Collected {
        contents: contents.contents,
        content_bytes: contents.content_bytes,
        chunks: contents.chunks,
        chunk_bytes: contents.chunk_bytes,
        rewritten_chunks: contents.rewritten_chunks,
        new_chunks: contents.new_chunks,
        rewritten_bytes: contents.rewritten_bytes,
        purged_projects: contents.purged_projects,
        ..expired
    })
}

fn print(out: &mut Output, collected: &Collected, args: &GcArgs) -> Result<(), CommandError> {
    let (would, removed) = match args.dry_run {
        true => ("would ", "remove"),
        false => ("", "removed"),
    };
    if args.expires_versions() {
        let expired = if args.dry_run { "expire" } else { "expired" };
        let versions = counted(collected.versions, "version");
        let projects = counted(collected.projects.len() as u64, "project");
        let rows = counted(collected.rows, "row");
        out.line(format!("{would}{expired} {versions} of {projects}, {rows}"))?;
    }
    if args.project.is_some() {
        return Ok(());
    }
    if collected.purged_projects > 0 {
        let projects = counted(collected.purged_projects, "deleted project");
        out.line(format!("{would}{removed} {projects}"))?;
    }
    let contents = counted(collected.contents, "content");
    let bytes = HumanBytes(collected.content_bytes);
    out.line(format!(
        "{would}{removed} {contents}, {bytes} before compression"
    ))?;
    print_chunks(out, collected, args)
}

fn print_chunks(
    out: &mut Output,
    collected: &Collected,
    args: &GcArgs,
) -> Result<(), CommandError> {
    let rewritten = counted(collected.rewritten_chunks, "chunk");
    let returned = HumanBytes(collected.rewritten_bytes);
    if args.dry_run {
        return out.line(format!(
            "would rewrite {rewritten}, about {returned} of disk come back"
        ));
    }
    if collected.rewritten_chunks > 0 {
        let new = counted(collected.new_chunks, "new one");
        out.line(format!(
            "rewrote {rewritten} into {new}, {returned} of disk come back"
        ))?;
    }
    let chunks = counted(collected.chunks, "chunk");
    let bytes = HumanBytes(collected.chunk_bytes);
    out.line(format!("datanodes drop {chunks}, {bytes} of disk"))?;
    Ok(())
}

fn json(collected: &Collected, args: &GcArgs) -> JsonCollected {
    JsonCollected {
        projects: collected.projects.len() as u64,
        versions: collected.versions,
        rows: collected.rows,
        contents: collected.contents,
        content_bytes: collected.content_bytes,
        chunks: collected.chunks,
        chunk_bytes: collected.chunk_bytes,
        rewritten_chunks: collected.rewritten_chunks,
        new_chunks: collected.new_chunks,
        rewritten_bytes: collected.rewritten_bytes,
        purged_projects: collected.purged_projects,
        dry_run: args.dry_run,
        unfinished: collected.is_unfinished,
    }
}
