//! The contract of the queue, with files of a directory that are uploaded into another one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfsfs_queue::contract::Harness;
use lfsfs_queue::directory::DirectoryUploader;
use lfsfs_queue::{FileId, Uploader};

struct Directories {
    uploader: Arc<DirectoryUploader>,
    kept: PathBuf,
    sent_before: u64,
    root: tempfile::TempDir,
}

impl Directories {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a directory");
        for name in ["local", "remote"] {
            std::fs::create_dir(root.path().join(name)).expect("a directory");
        }
        Self {
            uploader: uploader(root.path()),
            kept: root.path().join("queue"),
            sent_before: 0,
            root,
        }
    }
}

fn uploader(root: &Path) -> Arc<DirectoryUploader> {
    Arc::new(DirectoryUploader::new(
        &root.join("local"),
        &root.join("remote"),
    ))
}

impl Harness for Directories {
    fn uploader(&self) -> Arc<dyn Uploader> {
        Arc::<DirectoryUploader>::clone(&self.uploader)
    }

    fn kept(&self) -> &Path {
        &self.kept
    }

    fn write(&mut self, file: usize, bytes: &[u8]) {
        self.uploader
            .write(file as FileId, Some(bytes))
            .expect("a file");
    }

    fn remove(&mut self, file: usize) {
        self.uploader.write(file as FileId, None).expect("a file");
    }

    fn id(&self, file: usize) -> FileId {
        file as FileId
    }

    fn is_remote(&self, file: usize) -> bool {
        self.uploader.len(file as FileId).is_none()
            && self.uploader.remote(file as FileId).is_some()
    }

    fn set_away(&mut self, is_away: bool) {
        self.uploader.set_away(is_away);
    }

    fn set_poisoned(&mut self, file: usize, is_poisoned: bool) {
        self.uploader.set_poisoned(file as FileId, is_poisoned);
    }

    fn sent(&self) -> u64 {
        self.sent_before + self.uploader.sent()
    }

    fn restart(&mut self) {
        self.sent_before = self.sent();
        self.uploader = uploader(self.root.path());
    }
}

lfsfs_queue::queue_contract!(Directories::new());
