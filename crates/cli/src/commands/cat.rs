//! `lfsfs cat`: bytes of files of a version, without mounting it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use clap::Args;
use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_mount::{MountOptions, Places};
use lfsfs_types::{ObjectPath, Source, nodeid};
use lfsfs_vfs::{FileKind, Vfs, VfsConfig, VfsError};

use crate::cli::ServerArgs;
use crate::error::{CommandError, no_such_path};
use crate::output::{Output, quoted};

/// Bytes asked for at once.
const READ_LEN: u32 = 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// Version: PROJECT, PROJECT@vN, PROJECT@latest or PROJECT@TAG
    source: String,
    /// Paths of files in the version
    #[arg(required = true)]
    paths: Vec<OsString>,
}

pub(crate) async fn run(server: ServerArgs, args: CatArgs) -> Result<(), CommandError> {
    let source: Source = args.source.parse()?;
    let places = Places::find(&MountOptions::default())?;
    let cache = DiskCache::open(&places.cache, CacheConfig::default())
        .map_err(|error| CommandError::failed(error.to_string()))?;
    let remote = Arc::new(server.remote()?);
    let vfs = Vfs::open(remote, cache, &source, VfsConfig::default()).await?;
    let mut out = Output::new();
    for path in &args.paths {
        write_file(&vfs, &ObjectPath::new(path.as_bytes())?, &mut out).await?;
    }
    vfs.settle().await;
    out.finish()
}

async fn write_file(vfs: &Vfs, path: &ObjectPath, out: &mut Output) -> Result<(), CommandError> {
    let mut ino = nodeid::ROOT;
    for name in path.names() {
        ino = match vfs.lookup(ino, name.as_bytes()).await {
            Ok(entry) => entry.attr.ino,
            Err(VfsError::NotFound | VfsError::NotDirectory) => return Err(no_such_path(path)),
            Err(error) => return Err(error.into()),
        };
    }
    let attr = vfs.getattr(ino).await?;
    if attr.kind != FileKind::File {
        let path = quoted(path.as_bytes());
        return Err(CommandError::failed(format!("{path} is no regular file")));
    }
    let mut offset = 0;
    while offset < attr.size {
        let bytes = vfs.read(ino, offset, READ_LEN).await?;
        out.bytes(&bytes)?;
        offset += bytes.len().max(1) as u64;
    }
    Ok(())
}
