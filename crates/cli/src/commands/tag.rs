//! `lfsfs tag`: names for versions.

use std::ffi::OsString;

use clap::Args;
use lfsfs_remote::RemoteError;
use lfsfs_types::TagName;
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::named::{Named, NamedKind};
use crate::output::Output;

#[derive(Debug, Args)]
#[command(
    after_help = "Without NAME the tags are listed: all of a project, or those of one version.\n\n\
    Examples:\n  \
    lfsfs tag app@v3 stable               call v3 stable: app@stable is v3\n  \
    lfsfs tag app stable --force          move it to the newest version\n  \
    lfsfs tag . good                      call the version good that the mount of this directory shows\n  \
    lfsfs tag app                         list the tags\n  \
    lfsfs tag app stable --delete         delete the tag; the version stays"
)]
pub(crate) struct TagArgs {
    /// Version to name: PROJECT (its newest), PROJECT@vN, PROJECT@TAG, or a mount
    #[arg(value_name = "SOURCE")]
    word: OsString,
    /// Tag: as a project's name, but not `latest` and not `v` with digits
    name: Option<String>,
    /// Move the tag if it names another version
    #[arg(short, long, requires = "name")]
    force: bool,
    /// Delete the tag; the version stays
    #[arg(short, long, requires = "name", conflicts_with = "force")]
    delete: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// A tag in JSON.
#[derive(Debug, Serialize)]
struct JsonTag {
    tag: String,
    version: u64,
}

pub(crate) async fn run(server: ServerArgs, args: TagArgs) -> Result<(), CommandError> {
    // A name that is none is found before anything is asked.
    let tag = args.name.as_deref().map(TagName::new).transpose();
    let tag = tag.map_err(|error| CommandError::usage(error.to_string()))?;
    let named = Named::find(&server, Some(&args.word))?;
    match &tag {
        None => list(&named, &args).await,
        Some(tag) if args.delete => delete(&named, tag).await,
        Some(tag) => set(&named, &args, tag).await,
    }
}

async fn set(named: &Named, args: &TagArgs, tag: &TagName) -> Result<(), CommandError> {
    let version = named.snapshot().await?.version.number;
    let project = &named.source.project;
    match named
        .client
        .admin
        .set_tag(project, tag, version, args.force)
        .await
    {
        Err(error @ RemoteError::AlreadyExists(_)) => {
            return Err(CommandError::from(error).hint("move it with --force"));
        }
        set => set?,
    }
    let mut out = Output::new();
    if args.json {
        out.json(&json(tag, version.0))?;
    } else {
        out.line(format!("{project}@{tag}"))?;
    }
    out.finish()
}

async fn delete(named: &Named, tag: &TagName) -> Result<(), CommandError> {
    let project = &named.source.project;
    if named.kind == NamedKind::Version {
        let hint = format!("lfsfs tag {project} {tag} --delete");
        return Err(CommandError::usage(
            "a tag is deleted by its name alone, whatever version it names",
        )
        .hint(format!("name the project alone: {hint}")));
    }
    Ok(named.client.admin.delete_tag(project, tag).await?)
}

async fn list(named: &Named, args: &TagArgs) -> Result<(), CommandError> {
    let mut tags = named.client.admin.list_tags(&named.source.project).await?;
    if named.kind == NamedKind::Version {
        let wanted = named.snapshot().await?.version.number;
        tags.retain(|(_, version)| *version == wanted);
    }
    let width = tags.iter().map(|(tag, _)| tag.as_str().len()).max();
    let width = width.unwrap_or(0);
    let mut out = Output::new();
    for (tag, version) in &tags {
        if args.json {
            out.json(&json(tag, version.0))?;
        } else {
            out.line(format!("{:width$}  {version}", tag.as_str()))?;
        }
    }
    out.finish()
}

fn json(tag: &TagName, version: u64) -> JsonTag {
    JsonTag {
        tag: tag.to_string(),
        version,
    }
}
