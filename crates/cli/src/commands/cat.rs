//! `lfsfs cat`: bytes of files of a version, without mounting it.

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;
use lfsfs_remote::{RemoteRead, Snapshot};
use lfsfs_types::ObjectPath;

use crate::cli::ServerArgs;
use crate::contents::Contents;
use crate::error::CommandError;
use crate::lookup::{LastLink, find};
use crate::named::Named;
use crate::output::{Output, quoted};

#[derive(Debug, Args)]
#[command(
    after_help = "Writes what the version has; uncommitted changes of a mount are not in it. A PATH \
    may be, or lead through, a symbolic link of the version.\n\n\
    Examples:\n  \
    lfsfs cat app src/main.js             a file of the newest version\n  \
    lfsfs cat app@v1 ./one ./two          two files of an older one\n  \
    lfsfs cat /mnt/app/src/main.js        a file of a mount, as it was before its changes"
)]
pub(crate) struct CatArgs {
    /// Version (PROJECT, PROJECT@vN, PROJECT@TAG), or a path in a mount
    #[arg(value_name = "SOURCE")]
    word: OsString,
    /// Paths of files below that; none where SOURCE is a file itself
    paths: Vec<OsString>,
}

pub(crate) async fn run(server: ServerArgs, args: CatArgs) -> Result<(), CommandError> {
    let named = Named::find_place(&server, Some(&args.word))?;
    let paths = if args.paths.is_empty() {
        vec![named.path.clone()]
    } else {
        let joined = args.paths.iter().map(|path| named.join(path));
        joined.collect::<Result<_, _>>()?
    };
    if paths.iter().any(ObjectPath::is_root) {
        let word = args.word.to_string_lossy();
        return Err(CommandError::usage("cat needs a path of a file")
            .hint(format!("list what there is with: lfsfs ls {word}")));
    }
    let snapshot = named.snapshot().await?;
    let remote: Arc<dyn RemoteRead> = named.client.remote.clone();
    let contents = Contents::open(&remote, &snapshot)?;
    let mut out = Output::new();
    for path in &paths {
        write_file(&named, &snapshot, &contents, path, &mut out).await?;
    }
    contents.close().await;
    out.finish()
}

async fn write_file(
    named: &Named,
    snapshot: &Snapshot,
    contents: &Contents,
    path: &ObjectPath,
    out: &mut Output,
) -> Result<(), CommandError> {
    let (found, record) = find(&*named.client.remote, snapshot, path, LastLink::Follow).await?;
    if record.dir().is_some() {
        let path = quoted(path.as_bytes());
        return Err(CommandError::failed(format!("{path} is a directory")));
    }
    contents.read(&found, |bytes| out.bytes(bytes)).await
}
