//! The contract of the upload queue with files of a mount and a real server; and what a commit makes of what the queue
//! has uploaded.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lfsfs_queue::contract::Harness;
use lfsfs_queue::{Failure, FileId, Uploader, Uploads};
use lfsfs_remote::{Answer, Asked, Layer, Layered, Remote, RemoteError};
use lfsfs_types::ContentId;
use lfsfs_types::content::Content;
use lfsfs_vfs::MountUploader;
use tokio::runtime::Runtime;

use crate::commit_support::{Cluster, Mount};

/// A way to the server that can be cut.
#[derive(Debug)]
struct Way {
    inner: Arc<dyn Remote>,
    is_away: AtomicBool,
}

impl Way {
    fn around(inner: Arc<dyn Remote>) -> Arc<Layered<Self>> {
        Arc::new(Layered(Self {
            inner,
            is_away: AtomicBool::new(false),
        }))
    }
}

impl Layer for Way {
    async fn call<'a, T: Send + 'a>(
        &'a self,
        _asked: Asked<'a>,
        mut ask: impl FnMut(Arc<dyn Remote>) -> Answer<'a, T> + Send + 'a,
    ) -> Result<T, RemoteError> {
        if self.is_away.load(Ordering::SeqCst) {
            let address = "nowhere".to_owned();
            return Err(RemoteError::NoServer { address });
        }
        ask(Arc::clone(&self.inner)).await
    }
}

/// The uploader of a mount, that counts and refuses some files.
#[derive(Debug)]
struct Watched {
    inner: MountUploader,
    poisoned: Mutex<BTreeSet<FileId>>,
    sent: Arc<AtomicU64>,
}

impl Uploader for Watched {
    fn local_files(&self) -> Vec<FileId> {
        self.inner.local_files()
    }

    fn take_touched(&self) -> BTreeSet<FileId> {
        self.inner.take_touched()
    }

    fn len(&self, file: FileId) -> Option<u64> {
        self.inner.len(file)
    }

    fn upload(&self, files: &[FileId]) -> Result<Uploads, Failure> {
        let poisoned = self.poisoned.lock().unwrap().clone();
        if files.iter().any(|file| poisoned.contains(file)) {
            return Err(Failure::Lasting("refused".to_owned()));
        }
        let uploads = self.inner.upload(files)?;
        self.sent
            .fetch_add(uploads.remote.len() as u64, Ordering::SeqCst);
        Ok(uploads)
    }
}

/// A mount with a queue, of a server in this process.
struct Queued {
    mount: Option<Mount>,
    uploader: Option<Arc<Watched>>,
    way: Arc<Layered<Way>>,
    ids: HashMap<usize, FileId>,
    kept: PathBuf,
    sent: Arc<AtomicU64>,
    cluster: Cluster,
    // Ended last.
    runtime: Runtime,
}

impl Queued {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let cluster = runtime.block_on(Cluster::new());
        let way = Way::around(cluster.servers.remote());
        let mut queued = Self {
            mount: None,
            uploader: None,
            way,
            ids: HashMap::new(),
            kept: cluster.dir.path().join("queue"),
            sent: Arc::default(),
            cluster,
            runtime,
        };
        queued.restart();
        queued
    }

    fn mount(&self) -> &Mount {
        self.mount.as_ref().unwrap()
    }

    fn uploaded(&self, file: usize) -> Option<ContentId> {
        let state = self.mount().vfs.overlay()?.state();
        state.inode(self.ids[&file])?.file()?.uploaded()
    }

    fn is_stored(&self, content: ContentId) -> bool {
        let project = self.mount().vfs.base().snapshot().project.id;
        let remote = self.cluster.servers.remote();
        let missing = self
            .runtime
            .block_on(remote.find_missing(project, &[content]));
        missing.unwrap().is_empty()
    }
}

fn name(file: usize) -> String {
    format!("file-{file}")
}

impl Harness for Queued {
    fn uploader(&self) -> Arc<dyn Uploader> {
        Arc::<Watched>::clone(self.uploader.as_ref().unwrap())
    }

    fn kept(&self) -> &Path {
        &self.kept
    }

    fn write(&mut self, file: usize, bytes: &[u8]) {
        let ino = self
            .runtime
            .block_on(self.mount().write(&name(file), bytes));
        self.ids.insert(file, ino);
    }

    fn remove(&mut self, file: usize) {
        self.runtime.block_on(self.mount().remove(&name(file)));
    }

    fn id(&self, file: usize) -> FileId {
        self.ids[&file]
    }

    fn is_remote(&self, file: usize) -> bool {
        let bytes = self.runtime.block_on(self.mount().read(&name(file)));
        let expected = Content::of_bytes(&bytes).id;
        let uploaded = self.uploaded(file);
        assert!(uploaded.is_none_or(|it| it == expected), "a wrong mark");
        uploaded.is_some_and(|content| self.is_stored(content))
    }

    fn set_away(&mut self, is_away: bool) {
        self.way.0.is_away.store(is_away, Ordering::SeqCst);
    }

    fn set_poisoned(&mut self, file: usize, is_poisoned: bool) {
        let id = self.id(file);
        let uploader = self.uploader.as_ref().unwrap();
        let mut poisoned = uploader.poisoned.lock().unwrap();
        if is_poisoned {
            poisoned.insert(id);
        } else {
            poisoned.remove(&id);
        }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    fn restart(&mut self) {
        drop((self.mount.take(), self.uploader.take()));
        let way = Way::around(self.cluster.servers.remote());
        self.way = Arc::clone(&way);
        let _entered = self.runtime.enter();
        let mount = self.runtime.block_on(self.cluster.mount("app", "overlay"));
        self.uploader = Some(Arc::new(Watched {
            inner: MountUploader::new(Arc::clone(&mount.vfs), way),
            poisoned: Mutex::default(),
            sent: Arc::clone(&self.sent),
        }));
        self.mount = Some(mount);
    }
}

lfsfs_queue::queue_contract!(Queued::new());

fn noise(seed: u64, len: usize) -> Vec<u8> {
    lfsfs_remote::memory::sample::noise(seed, len)
}

/// Uploads everything once, without a queue.
fn upload(queued: &Queued) -> Uploads {
    let uploader = queued.uploader();
    uploader.upload(&uploader.local_files()).unwrap()
}

#[test]
fn a_commit_sends_nothing_that_was_uploaded() {
    let mut queued = Queued::new();
    queued.write(0, b"small");
    queued.write(1, &noise(1, 3 << 20));
    queued.write(2, b"");
    assert_eq!(upload(&queued).remote.len(), 2, "nothing is nowhere");
    assert!(queued.is_remote(0) && queued.is_remote(1));
    let before = queued.runtime.block_on(queued.mount().tree());
    let outcome = queued.runtime.block_on(queued.mount().commit()).unwrap();
    assert_eq!((outcome.bytes_sent, outcome.contents_sent), (0, 0));
    assert_eq!(outcome.changes(), 3);
    let version = queued.runtime.block_on(queued.cluster.version("app"));
    for file in [0, 1, 2] {
        assert_eq!(version[&name(file)].bytes, before[&name(file)].bytes);
    }
    assert!(queued.uploader().local_files().is_empty());
}

#[test]
fn what_is_written_behind_an_upload_is_what_a_commit_takes() {
    let mut queued = Queued::new();
    queued.write(0, &noise(1, 100_000));
    let _ = upload(&queued);
    queued
        .runtime
        .block_on(queued.mount().write_at(queued.id(0), 50_000, b"later"));
    assert_eq!(queued.uploaded(0), None);
    // A change that is none of the bytes leaves the mark.
    queued.write(1, b"other");
    let _ = upload(&queued);
    queued
        .runtime
        .block_on(queued.mount().chmod(&name(1), 0o600));
    assert!(queued.uploaded(1).is_some());
    queued.runtime.block_on(queued.mount().resize(&name(0), 7));
    assert_eq!(queued.uploaded(0), None);
    let outcome = queued.runtime.block_on(queued.mount().commit()).unwrap();
    assert_eq!(outcome.contents_sent, 1);
    let version = queued.runtime.block_on(queued.cluster.version("app"));
    assert_eq!(version[&name(0)].bytes, noise(1, 100_000)[..7]);
    assert_eq!(version[&name(1)].bytes, b"other");
}

#[test]
fn a_file_of_the_base_that_is_changed_is_uploaded_with_the_rest_of_it() {
    let mut queued = Queued::new();
    let mut bytes = noise(1, 16 << 20);
    queued.write(0, &bytes);
    queued.runtime.block_on(queued.mount().commit()).unwrap();
    let ino = queued.runtime.block_on(queued.mount().ino(&name(0)));
    queued.ids.insert(0, ino);
    assert!(queued.uploader().local_files().is_empty());
    queued
        .runtime
        .block_on(queued.mount().write_at(ino, 1_000_000, b"in the middle"));
    bytes[1_000_000..1_000_013].copy_from_slice(b"in the middle");
    let uploads = upload(&queued);
    assert_eq!(uploads.remote, BTreeSet::from([ino]));
    assert!(uploads.bytes_sent < 6 << 20, "only what differs is sent");
    assert!(queued.is_remote(0));
    let outcome = queued.runtime.block_on(queued.mount().commit()).unwrap();
    assert_eq!(outcome.bytes_sent, 0);
    let version = queued.runtime.block_on(queued.cluster.version("app"));
    assert_eq!(version[&name(0)].bytes, bytes);
}

#[test]
fn names_of_one_file_are_uploaded_once() {
    let mut queued = Queued::new();
    queued.write(0, b"shared by two");
    queued
        .runtime
        .block_on(queued.mount().link(&name(0), "second"));
    assert_eq!(upload(&queued).remote.len(), 1);
    let outcome = queued.runtime.block_on(queued.mount().commit()).unwrap();
    assert_eq!(outcome.contents_sent, 0);
    let version = queued.runtime.block_on(queued.cluster.version("app"));
    assert_eq!(version["second"].bytes, b"shared by two");
}

#[test]
fn what_is_ignored_is_not_uploaded() {
    let mut queued = Queued::new();
    queued.write(0, b"kept");
    queued
        .runtime
        .block_on(queued.mount().write(".lfsfsignore", b"build\n*.log\n"));
    queued.runtime.block_on(queued.mount().mkdir("build"));
    let built = queued
        .runtime
        .block_on(queued.mount().write("build/out", b"ignored"));
    let log = queued
        .runtime
        .block_on(queued.mount().write("a.log", b"ignored, too"));
    let uploads = upload(&queued);
    assert_eq!(uploads.remote.len(), 2);
    assert!(!uploads.remote.contains(&built) && !uploads.remote.contains(&log));
}

/// A view is taken, then the file is written, then the upload ends.
#[test]
fn a_write_during_an_upload_leaves_no_mark() {
    let mut queued = Queued::new();
    queued.write(0, b"before");
    let overlay = Arc::clone(queued.mount().vfs.overlay().unwrap());
    let view = overlay.view();
    queued.write(0, b"after!");
    let id = Content::of_bytes(b"before").id;
    let marked = overlay.mark_uploaded(&view, &[(queued.id(0), id)]).unwrap();
    assert_eq!((marked, queued.uploaded(0)), (Vec::new(), None));
    let view = overlay.view();
    let marked = overlay.mark_uploaded(&view, &[(queued.id(0), id), (999_999, id)]);
    assert_eq!(marked.unwrap(), [queued.id(0)]);
}
