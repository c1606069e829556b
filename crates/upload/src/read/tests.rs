use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use lfsfs_remote::memory::{MemoryRemote, MemoryTree};
use lfsfs_remote::{Project, RemoteRead as _, RemoteWrite as _};
use lfsfs_types::Source;
use lfsfs_types::content::PlacedPiece;
use lfsfs_types::limits::SMALL_CONTENT_LEN_MAX;
use proptest::prelude::*;

use super::*;
use crate::{
    ChangedFile, FileSource, Progress, ProgressFigures, SendMode, StreamSource, Stretch,
    StretchOrigin, describe_file,
};

const MIB: usize = 1 << 20;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(byte).take(len).collect()
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// Gives what it has a little at a time, as a pipe does.
struct Pipe(Cursor<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(60_000);
        self.0.read(&mut buffer[..len])
    }
}

/// A server with a project.
struct World {
    remote: Arc<MemoryRemote>,
    project: Project,
}

impl World {
    async fn new() -> Self {
        let remote = MemoryRemote::new();
        remote.serve("p", 1, &MemoryTree::new(), 1 << 20);
        let source = "p".parse::<Source>().unwrap();
        let project = remote.resolve_source(&source).await.unwrap().project;
        Self { remote, project }
    }

    /// Has something read, sends what is missing of it, and returns what it was and what that cost.
    async fn send<F>(&self, read: F) -> (ReadContent, ProgressFigures)
    where
        F: FnOnce(&ContentSender) -> ReadContent + Send + 'static,
    {
        let progress = Arc::new(Progress::default());
        let counted = Arc::clone(&progress);
        let remote = Arc::clone(&self.remote);
        let sender = ContentSender::new(remote, &self.project, SendMode::Send, progress);
        let sent = tokio::task::spawn_blocking(move || {
            let content = read(&sender);
            let bytes = content.bytes.clone();
            sender
                .offer(&bytes.into_iter().collect::<Vec<_>>())
                .unwrap();
            sender.finish().unwrap();
            content
        });
        (sent.await.unwrap(), counted.figures())
    }

    async fn lacks(&self, content: ContentId) -> bool {
        let missing = self.remote.find_missing(self.project.id, &[content]).await;
        !missing.unwrap().is_empty()
    }

    async fn send_file(&self, bytes: &[u8]) -> (ReadContent, ProgressFigures) {
        let (file, len) = (file(bytes), bytes.len() as u64);
        self.send(move |sender| sender.read(FileSource::new(&file, len)).unwrap())
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_named_and_what_is_missing_of_it_is_sent_once() {
    let world = World::new().await;
    let small = usize::try_from(SMALL_CONTENT_LEN_MAX).unwrap();
    for len in [1, small, small + 1, 9 * MIB] {
        let bytes = noise(len as u64, len);
        let expected = Content::of_bytes(&bytes);
        let (read, figures) = world.send_file(&bytes).await;
        assert_eq!((read.id, read.size), (expected.id, len as u64));
        assert_eq!(read.bytes.is_some(), len <= small);
        assert_eq!(figures.bytes_read, len as u64);
        let pieces = expected.pieces.map_or(1, |list| u64::from(list.count()));
        assert_eq!(figures.contents_sent, pieces);
        assert!(!world.lacks(read.id).await);
        let (again, figures) = world.send_file(&bytes).await;
        assert_eq!((again.id, figures.contents_sent), (read.id, 0));
    }
}

/// Returns a file with data at these places and holes elsewhere, and its bytes.
fn sparse_file(len: usize, data: &[(usize, usize)]) -> (File, Vec<u8>) {
    let (file, mut bytes) = (tempfile::tempfile().unwrap(), vec![0; len]);
    file.set_len(len as u64).unwrap();
    for (number, &(at, data_len)) in data.iter().enumerate() {
        let (at, end) = (at.min(len), (at + data_len).min(len));
        bytes[at..end].copy_from_slice(&noise(number as u64 + 3, end - at));
        file.write_all_at(&bytes[at..end], at as u64).unwrap();
    }
    (file, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_of_a_file_are_neither_read_nor_sent() {
    let world = World::new().await;
    let (file, bytes) = sparse_file(70 * MIB, &[(0, 3), (33 * MIB + 7, 1)]);
    let read = move |sender: &ContentSender| {
        let len = file.metadata().unwrap().len();
        sender.read(FileSource::new(&file, len)).unwrap()
    };
    let (read, figures) = world.send(read).await;
    assert_eq!(
        (read.id, read.size),
        (Content::of_bytes(&bytes).id, 70 << 20)
    );
    // The pieces with data, the piece of zeros once, and the rest at the end.
    assert!(figures.bytes_read <= 20 * MIB as u64, "{figures:?}");
    assert!(figures.contents_sent <= 5, "{figures:?}");
    assert!(figures.bytes_sent <= 64 << 10, "{figures:?}");
    assert!(!world.lacks(read.id).await);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_file_with_holes_is_cut_as_its_bytes_are(
        len in 0..24 * MIB,
        data in prop::collection::vec((0..24 * MIB, prop_oneof![1..9_usize, 1..3 * MIB]), 0..5),
    ) {
        let (file, bytes) = sparse_file(len, &data);
        prop_assert_eq!(describe_file(&file).unwrap(), Content::of_bytes(&bytes));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_named_as_a_file_of_its_bytes() {
    let world = World::new().await;
    let small = usize::try_from(SMALL_CONTENT_LEN_MAX).unwrap();
    for len in [0, 1, small, small + 1, 9 * MIB] {
        let bytes = noise(len as u64 + 1, len);
        let expected = Content::of_bytes(&bytes);
        let pipe = Pipe(Cursor::new(bytes));
        let send = move |sender: &ContentSender| sender.read(StreamSource::new(pipe)).unwrap();
        let (read, figures) = world.send(send).await;
        assert_eq!((read.id, read.size), (expected.id, len as u64));
        assert_eq!(read.bytes.is_some(), len <= small);
        assert_eq!(figures.bytes_read, len as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_changed_file_little_more_is_read_than_what_changed() {
    let world = World::new().await;
    let (base, at) = (noise(1, 24 * MIB), 5 * MIB);
    let (_, whole) = world.send_file(&base).await;
    let list = Content::of_bytes(&base).pieces.unwrap();
    let old: Vec<PlacedPiece> = list
        .ranges()
        .map(|(range, piece)| PlacedPiece {
            start: range.start,
            piece,
        })
        .collect();
    let mut bytes = base;
    bytes[at] ^= 1;
    let expected = Content::of_bytes(&bytes).id;
    let stretch = |offset: usize, end: usize, origin| Stretch {
        offset: offset as u64,
        len: (end - offset) as u64,
        origin,
    };
    let stretches = [
        stretch(0, at, StretchOrigin::Base),
        stretch(at, at + 1, StretchOrigin::Written),
        stretch(at + 1, bytes.len(), StretchOrigin::Base),
    ];
    let changed = move |sender: &ContentSender| {
        let file = ChangedFile {
            size: bytes.len() as u64,
            stretches: &stretches,
            base: &old,
        };
        let read = |offset: u64, len: u64| {
            let start = usize::try_from(offset).unwrap();
            let end = start + usize::try_from(len).unwrap();
            Ok::<_, Infallible>(bytes[start..end].to_vec())
        };
        sender.read(file.source(read)).unwrap()
    };
    let (read, figures) = world.send(changed).await;
    assert_eq!(read.id, expected);
    assert!(figures.bytes_read <= 12 * MIB as u64, "{figures:?}");
    assert!(figures.contents_sent < whole.contents_sent, "{figures:?}");
    assert!(!world.lacks(read.id).await);
}
