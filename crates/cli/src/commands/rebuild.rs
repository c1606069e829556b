//! `lfsfs rebuild`: a plain directory is brought to a version.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use lfsfs_remote::{Remote, Snapshot};
use lfsfs_sync::{Rebuild, RebuildError, RebuildParams, Refusal, SharedFiles, Sharing};
use lfsfs_types::{ObjectPath, SourceDirectory};
use serde::Serialize;

use super::export::{all_or, tell_what_was_skipped, watched};
use crate::cli::ServerArgs;
use crate::contents::cache;
use crate::error::CommandError;
use crate::output::Output;
use crate::user;

#[derive(Debug, Args)]
#[command(
    after_help = "The first time, DIR is new or empty, and gets all of the version. After that, what differs \
    from the version that DIR has is written and removed, whichever of the two is newer; what else was \
    changed in DIR stays. DIR/.lfsfs remembers the version and is no part of it. With :PATH the content of that \
    directory is the root of DIR, in every version that DIR gets. A run that did not come to \
    its end is repaired by the next one, which compares every file. With --link, files that the cache of this \
    machine has whole are not fetched: each is read and verified, and then DIR has its blocks or a further name \
    of it. What is fetched comes into the cache. Prints PROJECT@vN.\n\n\
    Examples:\n  \
    lfsfs rebuild app@v42 /srv/app\n  \
    lfsfs rebuild app@v42:src /srv/src\n  \
    lfsfs rebuild app /srv/src --subpath src --ignore '*.log'\n  \
    lfsfs rebuild app /srv/app --link reflink\n  \
    lfsfs rebuild app /srv/app --json --match-include 'src/**'"
)]
pub(crate) struct RebuildArgs {
    /// Version: PROJECT, PROJECT@vN, PROJECT@latest or PROJECT@TAG; with :PATH, that directory of it alone
    source: OsString,
    /// Directory: new, empty, or made by an earlier rebuild of the same project
    dir: PathBuf,
    /// Compare every file, and remove everything that the version does not have, whatever DIR is
    #[arg(long)]
    from_scratch: bool,
    /// Do not ask before that is done to a directory that no such rebuild made
    #[arg(short, long, requires = "from_scratch")]
    yes: bool,
    /// Leave alone what matches; a pattern with a slash is compared with the whole path
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    /// Only this path and what is below it, as it stands; may be given several times
    #[arg(long, value_name = "PATH")]
    subpath: Vec<OsString>,
    /// What files have in common with those of the cache
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    link: Link,
    /// With --json: `file_match` needs each written file to match one of these
    #[arg(long, value_name = "GLOB")]
    match_include: Vec<String>,
    /// With --json: `file_match` needs no written file to match one of these
    #[arg(long, value_name = "GLOB")]
    match_exclude: Vec<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// How files of the directory come from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Link {
    /// Nothing: each is fetched
    #[default]
    Copy,
    /// Blocks, until one of the two is changed; as copy where the file system cannot do that
    Reflink,
    /// Files that no user may write are further names of those of the cache; the others are fetched. Not for root
    Hard,
}

/// The outcome in JSON.
#[derive(Debug, Serialize)]
struct JsonRebuild {
    version: u64,
    count: u64,
    cached_count: u64,
    file_match: bool,
}

pub(crate) async fn run(server: ServerArgs, args: RebuildArgs) -> Result<(), CommandError> {
    let SourceDirectory { source, path } = SourceDirectory::new(args.source.as_bytes())?;
    let (dir, is_json) = (args.dir.clone(), args.json);
    let params = params(args, path)?;
    let remote = server.client()?.remote;
    let snapshot = remote.resolve_source(&source).await?;
    let (project, version) = (snapshot.project.name.to_string(), snapshot.version.number);
    let rebuild = prepare(&remote, &snapshot, params).await?;
    let (progress, expected) = (rebuild.progress(), rebuild.expected());
    let outcome = watched(Arc::clone(&progress), expected, rebuild.run()).await??;
    let figures = outcome.figures;
    if outcome.is_unshared {
        user::warn(&format!(
            "files are fetched and not shared with the cache: {} is on another file system, or on one that cannot",
            dir.display()
        ));
    }
    tell_what_was_skipped(&figures);
    let (whole, first) = (format!("{project}@{version}"), progress.first_left_out());
    let mut out = Output::new();
    if is_json {
        out.json(&JsonRebuild {
            version: version.0,
            count: figures.written + figures.directories + figures.removed,
            cached_count: figures.cached,
            file_match: outcome.is_file_match,
        })?;
    } else if figures.left_out == 0 {
        out.line(&whole)?;
    }
    out.finish()?;
    all_or(figures.left_out, &first, |count| {
        format!(
            "{count} of {whole} could not be written; the rest of it is in {}, and the next rebuild \
            compares every file",
            dir.display()
        )
    })
}

/// Asks before everything in a directory goes that is of something else.
async fn prepare(
    remote: &Arc<dyn Remote>,
    snapshot: &Snapshot,
    mut params: RebuildParams,
) -> Result<Rebuild, CommandError> {
    let once = |params| Rebuild::prepare(Arc::clone(remote) as Arc<_>, snapshot.clone(), params);
    match once(params.clone()).await {
        Err(RebuildError::Refused {
            dir,
            refusal: Refusal::Replaces(why),
        }) => {
            let (dir, version) = (dir.display(), snapshot.version.number);
            let question =
                format!("{dir}: {why}. Remove everything there that {version} does not have?");
            user::confirm(&question, false)?;
            params.may_replace = true;
            Ok(once(params).await?)
        }
        prepared => Ok(prepared?),
    }
}

fn params(args: RebuildArgs, subdirectory: ObjectPath) -> Result<RebuildParams, CommandError> {
    let subpaths = args.subpath.iter();
    let subpaths = subpaths.map(|path| ObjectPath::new(path.as_bytes()));
    Ok(RebuildParams {
        dir: args.dir,
        is_from_scratch: args.from_scratch,
        may_replace: args.yes,
        subdirectory,
        ignore: args.ignore,
        subpaths: subpaths.collect::<Result<_, _>>()?,
        shared: shared(args.link)?,
        match_include: args.match_include,
        match_exclude: args.match_exclude,
    })
}

fn shared(link: Link) -> Result<Option<SharedFiles>, CommandError> {
    let sharing = match link {
        Link::Copy => return Ok(None),
        Link::Reflink => Sharing::Reflink,
        Link::Hard => Sharing::HardLink,
    };
    Ok(Some(SharedFiles::new(cache()?, sharing)))
}
