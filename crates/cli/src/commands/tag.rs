//! `lfsfs tag`: names for versions.

use clap::Args;
use lfsfs_client::{GrpcRemote, Remote as _, RemoteError};
use lfsfs_types::{Source, TagName};
use serde::Serialize;

use crate::cli::ServerArgs;
use crate::error::CommandError;
use crate::output::Output;

#[derive(Debug, Args)]
#[command(
    after_help = "Without NAME the tags are listed: all of a project, or those of one version.\n\n\
    Examples:\n  \
    lfsfs tag app@v3 stable               call v3 stable: app@stable is v3\n  \
    lfsfs tag app stable --force          move it to the newest version\n  \
    lfsfs tag app                         list the tags\n  \
    lfsfs tag app stable --delete         forget the name; the version stays"
)]
pub(crate) struct TagArgs {
    /// Version to name: PROJECT (its newest), PROJECT@vN or PROJECT@TAG
    source: String,
    /// Tag: as a project's name, but not `latest` and not `v` with digits
    name: Option<String>,
    /// Move a tag that names another version
    #[arg(short, long, requires = "name")]
    force: bool,
    /// Forget the tag
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
    let source: Source = args.source.parse()?;
    let remote = server.remote()?;
    let Some(name) = &args.name else {
        return list(&remote, &source, &args).await;
    };
    let tag = TagName::new(name).map_err(|error| CommandError::usage(error.to_string()))?;
    if args.delete {
        delete(&remote, &source, &args, &tag).await
    } else {
        set(&remote, &source, &args, &tag).await
    }
}

async fn set(
    remote: &GrpcRemote,
    source: &Source,
    args: &TagArgs,
    tag: &TagName,
) -> Result<(), CommandError> {
    let version = remote.resolve_source(source).await?.version.number;
    let project = &source.project;
    match remote.set_tag(project, tag, version, args.force).await {
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

async fn delete(
    remote: &GrpcRemote,
    source: &Source,
    args: &TagArgs,
    tag: &TagName,
) -> Result<(), CommandError> {
    if args.source.contains('@') {
        let hint = format!("lfsfs tag {} {tag} --delete", source.project);
        return Err(CommandError::usage("a tag is forgotten whatever version it names").hint(hint));
    }
    Ok(remote.delete_tag(&source.project, tag).await?)
}

async fn list(remote: &GrpcRemote, source: &Source, args: &TagArgs) -> Result<(), CommandError> {
    let mut tags = remote.list_tags(&source.project).await?;
    if args.source.contains('@') {
        let wanted = remote.resolve_source(source).await?.version.number;
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
