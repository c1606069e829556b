//! A real server in this process, and mounts of its versions without a kernel.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_cache::{CacheConfig, DiskCache};
use lfsfs_client::{Admin, ClientConfig, NewProject, Servers};
use lfsfs_common::clock::{TestClock, WallTime};
use lfsfs_overlay::OverlayOptions;
use lfsfs_remote::{RemoteRead, Retry};
use lfsfs_server::{ListenPolicy, ServerConfig, ServerError, bind, run};
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_types::{ObjectPath, ProjectName, Source};
use lfsfs_upload::Progress;
use lfsfs_vfs::{
    Attr, BaseVersion, CommitError, CommitOutcome, CommitParams, Existing, FileKind, Hold, Kernel,
    KernelCache, OverlayPlace, Privileges, RenameMode, SetAttr, Vfs, VfsConfig, VfsError,
    WriteBarrier,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::writable_support::{OWNER, ROOT, find, ino, read_all};

/// Directories for caches and overlays, and the way to a server.
pub(crate) struct Client {
    pub(crate) servers: Servers,
    pub(crate) dir: ThreadDir,
    pub(crate) clock: Arc<TestClock>,
}

/// A server in this process with the project `app`, and a client of it.
pub(crate) struct Cluster {
    client: Client,
    address: SocketAddr,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), ServerError>>,
}

impl Cluster {
    /// Starts a server with an empty project.
    pub(crate) async fn new() -> Self {
        let dir = ThreadDir::in_memory().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let (address, shutdown, server) = start(&dir.path().join("server"), any).await;
        let mut client = Client::of(&address.to_string());
        client.dir = dir;
        let project = ProjectName::new("app").unwrap();
        let admin = Admin::new(&client.servers, Retry::new(Duration::ZERO));
        let made = admin.new_project(&NewProject::named(project.clone())).await;
        made.unwrap();
        Self {
            client,
            address,
            shutdown,
            server,
        }
    }

    /// Stops the server and waits until its files are closed.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.cancel();
        let stopped = std::mem::replace(&mut self.server, tokio::spawn(async { Ok(()) }));
        stopped.await.unwrap().unwrap();
    }

    /// Starts the server again at its address.
    pub(crate) async fn restart(&mut self) {
        let data = self.dir.path().join("server");
        (_, self.shutdown, self.server) = start(&data, self.address).await;
    }
}

impl Deref for Cluster {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Client {
    pub(crate) fn of(address: &str) -> Self {
        Self {
            servers: Servers::new(ClientConfig::new(address)).unwrap(),
            dir: ThreadDir::in_memory().unwrap(),
            clock: Arc::new(TestClock::new(WallTime::from_seconds(2_000_000_000))),
        }
    }

    /// Mounts a version with the changes of an overlay.
    pub(crate) async fn mount(&self, source: &str, overlay: &str) -> Mount {
        self.try_mount(source, overlay).await.unwrap()
    }

    pub(crate) async fn try_mount(&self, source: &str, overlay: &str) -> Result<Mount, VfsError> {
        let remote = self.servers.remote();
        let base = self.open(remote, source, "cache").await?;
        self.mount_above(base, overlay).await
    }

    /// Mounts what a remote says of a version, with a cache that has nothing that others said.
    pub(crate) async fn mount_through(
        &self,
        remote: Arc<dyn RemoteRead>,
        source: &str,
        overlay: &str,
    ) -> Result<Mount, VfsError> {
        let base = self.open(remote, source, "cache-through").await?;
        self.mount_above(base, overlay).await
    }

    async fn mount_above(&self, base: BaseVersion, overlay: &str) -> Result<Mount, VfsError> {
        let place = OverlayPlace {
            dir: self.overlay_dir(overlay),
            options: OverlayOptions {
                lock_wait: Duration::from_secs(5),
                ..OverlayOptions::default()
            },
        };
        let vfs = Vfs::open(base, place, self.clock.clone()).await?;
        Ok(Mount {
            vfs: Arc::new(vfs),
            servers: self.servers.clone(),
            clock: self.clock.clone(),
        })
    }

    pub(crate) fn overlay_dir(&self, overlay: &str) -> PathBuf {
        self.dir.path().join("overlays").join(overlay)
    }

    async fn open(
        &self,
        remote: Arc<dyn RemoteRead>,
        source: &str,
        cache: &str,
    ) -> Result<BaseVersion, VfsError> {
        let cache = DiskCache::open(&self.dir.path().join(cache), CacheConfig::default());
        let source: Source = source.parse().unwrap();
        BaseVersion::open(remote, cache.unwrap(), &source, VfsConfig::default()).await
    }

    /// Returns what a version is, read through a new cache.
    pub(crate) async fn version(&self, source: &str) -> Tree {
        let cache = tempfile::tempdir_in(self.dir.path()).unwrap();
        let cache = DiskCache::open(cache.path(), CacheConfig::default());
        let source: Source = source.parse().unwrap();
        let remote = self.servers.remote();
        let config = VfsConfig::default();
        let base = BaseVersion::open(remote, cache.unwrap(), &source, config).await;
        let vfs = Vfs::read_only(base.unwrap(), self.clock.clone()).unwrap();
        tree(&vfs).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn start(
    data: &std::path::Path,
    address: SocketAddr,
) -> (
    SocketAddr,
    CancellationToken,
    JoinHandle<Result<(), ServerError>>,
) {
    let listener = bind(address, ListenPolicy::LoopbackOnly).await.unwrap();
    let shutdown = CancellationToken::new();
    let (sender, ready) = oneshot::channel();
    let config = ServerConfig {
        reserve: 0,
        grace: Duration::from_millis(500),
        ..ServerConfig::all(data)
    };
    let running = run(config, listener, shutdown.clone(), move |address| {
        let _ = sender.send(address);
    });
    let server = tokio::spawn(running);
    (ready.await.unwrap(), shutdown, server)
}

/// No kernel: nothing is kept, and each write call is made at once.
#[derive(Debug)]
struct NoKernel;

impl WriteBarrier for NoKernel {
    fn settle(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }

    fn hold(&self) -> Box<dyn Hold> {
        Box::new(Self)
    }
}

impl Hold for NoKernel {}

impl KernelCache for NoKernel {
    fn drop_entry(&self, _: u64, _: &[u8]) {}
    fn drop_attributes(&self, _: u64) {}
    fn drop_data(&self, _: u64) {}
}

/// A mount, driven by paths. Every change comes a millisecond after the last.
pub(crate) struct Mount {
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) servers: Servers,
    clock: Arc<TestClock>,
}

impl Mount {
    pub(crate) async fn commit(&self) -> Result<CommitOutcome, CommitError> {
        self.commit_with(false, &Arc::default()).await
    }

    pub(crate) async fn force(&self) -> Result<CommitOutcome, CommitError> {
        self.commit_with(true, &Arc::default()).await
    }

    pub(crate) async fn commit_with(
        &self,
        force: bool,
        progress: &Arc<Progress>,
    ) -> Result<CommitOutcome, CommitError> {
        let remote = self.servers.remote();
        let kernel = Kernel {
            cache: Arc::new(NoKernel),
            barrier: Arc::new(NoKernel),
        };
        let exclusive = self.vfs.exclusive().await;
        exclusive
            .commit(&remote, &params(force), &kernel, progress)
            .await
    }

    pub(crate) async fn tree(&self) -> Tree {
        tree(&self.vfs).await
    }

    fn tick(&self) {
        self.clock.advance(Duration::from_millis(1));
    }

    /// Returns the directory of a path, and its name in that.
    async fn place<'p>(&self, path: &'p str) -> (u64, &'p [u8]) {
        self.tick();
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        (ino(&self.vfs, parent).await, name.as_bytes())
    }

    pub(crate) async fn ino(&self, path: &str) -> u64 {
        ino(&self.vfs, path).await
    }

    pub(crate) async fn mkdir(&self, path: &str) -> u64 {
        let (parent, name) = self.place(path).await;
        let made = self.vfs.mkdir(parent, name, 0o755, OWNER).await;
        made.unwrap().attr.ino
    }

    /// Makes or empties a file and fills it.
    pub(crate) async fn write(&self, path: &str, bytes: &[u8]) -> u64 {
        let (parent, name) = self.place(path).await;
        let made = self
            .vfs
            .create(parent, name, 0o644, OWNER, Existing::Take)
            .await;
        let ino = made.unwrap().attr.ino;
        self.resize(path, 0).await;
        self.write_at(ino, 0, bytes).await;
        ino
    }

    pub(crate) async fn write_at(&self, ino: u64, offset: u64, bytes: &[u8]) {
        self.tick();
        let mut at = offset;
        for part in bytes.chunks(1 << 20) {
            let written = self.vfs.write(ino, at, part, Privileges::Keep).await;
            at += u64::from(written.unwrap().len);
        }
    }

    pub(crate) async fn resize(&self, path: &str, size: u64) {
        let new = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        self.set(path, new).await;
    }

    pub(crate) async fn chmod(&self, path: &str, mode: u16) {
        let new = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        self.set(path, new).await;
    }

    pub(crate) async fn set(&self, path: &str, new: SetAttr) {
        self.tick();
        let ino = self.ino(path).await;
        self.vfs.setattr(ino, new).await.unwrap();
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) {
        self.rename_with(from, to, RenameMode::Replace).await;
    }

    pub(crate) async fn rename_with(&self, from: &str, to: &str, mode: RenameMode) {
        let (from, name) = self.place(from).await;
        let (to, new_name) = self.place(to).await;
        let renamed = self.vfs.rename(from, name, to, new_name, mode).await;
        renamed.unwrap();
    }

    pub(crate) async fn link(&self, path: &str, new: &str) {
        let ino = self.ino(path).await;
        let (parent, name) = self.place(new).await;
        self.vfs.link(ino, parent, name).await.unwrap();
    }

    pub(crate) async fn remove(&self, path: &str) {
        let (parent, name) = self.place(path).await;
        self.vfs.unlink(parent, name).await.unwrap();
    }

    pub(crate) async fn rmdir(&self, path: &str) {
        let (parent, name) = self.place(path).await;
        self.vfs.rmdir(parent, name).await.unwrap();
    }

    /// Removes a directory with everything in it.
    pub(crate) async fn remove_all(&self, path: &str) {
        for (name, seen) in self.tree().await.range(format!("{path}/")..).rev() {
            match seen.attr.kind {
                _ if !name.starts_with(&format!("{path}/")) => {}
                FileKind::Directory => self.rmdir(name).await,
                _ => self.remove(name).await,
            }
        }
        self.rmdir(path).await;
    }

    pub(crate) async fn discard(&self, path: &str) {
        let path = ObjectPath::new(path.as_bytes()).unwrap();
        let discarded = self
            .vfs
            .exclusive()
            .await
            .discard(&[path], Arc::new(NoKernel))
            .await;
        discarded.unwrap();
    }

    pub(crate) async fn read(&self, path: &str) -> Vec<u8> {
        read_all(&self.vfs, self.ino(path).await).await
    }
}

pub(crate) fn params(force: bool) -> CommitParams {
    CommitParams {
        author: "tester".to_owned(),
        message: "a test".to_owned(),
        force,
        ignore_times: false,
        ignored: lfsfs_upload::IgnoredPaths::LeftOut,
        retry: Retry::new(Duration::ZERO),
    }
}

/// What a user sees of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) attr: Attr,
    /// Bytes of a file, target of a symbolic link.
    pub(crate) bytes: Vec<u8>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
}

/// Objects by their paths; the root has the empty one.
pub(crate) type Tree = BTreeMap<String, Seen>;

/// Reads everything. Inode numbers count only as far as they tell which names are one object.
pub(crate) async fn tree(vfs: &Vfs) -> Tree {
    let mut tree = Tree::new();
    let mut numbers = BTreeMap::new();
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        let mut attr = find(vfs, &path).await.unwrap();
        let ino = attr.ino;
        if attr.kind == FileKind::Directory {
            let join = |name: String| match path.as_str() {
                "" => name,
                path => format!("{path}/{name}"),
            };
            open.extend(
                crate::writable_support::list(vfs, ino)
                    .await
                    .into_iter()
                    .map(join),
            );
        }
        let next = numbers.len() as u64;
        // Only names of a regular file are one object in a mount of a version.
        if attr.nlink > 1 && attr.kind == FileKind::File {
            attr.ino = *numbers.entry(ino).or_insert(next);
        } else {
            attr.ino = ROOT;
        }
        let bytes = match attr.kind {
            FileKind::File => read_in_parts(vfs, ino, attr.size).await,
            FileKind::Symlink => vfs.readlink(ino).await.unwrap().to_vec(),
            _ => Vec::new(),
        };
        let mut xattrs = BTreeMap::new();
        for name in crate::writable_support::split(&vfs.listxattr(ino).await.unwrap()) {
            let value = vfs.getxattr(ino, name.as_bytes()).await.unwrap();
            xattrs.insert(name, value.to_vec());
        }
        tree.insert(
            path,
            Seen {
                attr,
                bytes,
                xattrs,
            },
        );
    }
    tree
}

async fn read_in_parts(vfs: &Vfs, ino: u64, size: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < size {
        let part = vfs.read(ino, bytes.len() as u64, 1 << 20).await.unwrap();
        assert!(!part.is_empty(), "a file ends early");
        bytes.extend_from_slice(&part);
    }
    bytes
}
