//! Fetches are few at once, shared, and end with their owner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lfsfs_common::tasks::Tasks;
use lfsfs_reader::{ContentReader, Deadline, Group, ReadError, ReaderConfig, Source, Wanted};
use lfsfs_remote::memory::{Faults, MemoryTree};
use lfsfs_remote::{
    Answer, Asked, Call, Layer, Layered, MemoryRemote, Remote, RemoteError, RemoteRead,
};
use lfsfs_types::ContentId;
use lfsfs_types::content::small_content_id;
use tokio::task::JoinSet;

const CONTENTS: usize = 10_000;
const FETCHES_MAX: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(60);

/// How many calls of a kind are under way.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    now: usize,
    most: usize,
    all: usize,
}

/// Counts calls that are under way at once, and makes each last a moment.
#[derive(Debug)]
struct Counting {
    inner: Arc<MemoryRemote>,
    loads: Mutex<HashMap<Call, Load>>,
}

impl Counting {
    fn load(&self, call: Call) -> Load {
        let loads = self.loads.lock().expect("no panic");
        loads.get(&call).copied().unwrap_or_default()
    }

    fn change(&self, call: Call, change: impl FnOnce(&mut Load)) {
        let mut loads = self.loads.lock().expect("no panic");
        change(loads.entry(call).or_default());
    }
}

impl Layer for Counting {
    async fn call<'a, T: Send + 'a>(
        &'a self,
        asked: Asked<'a>,
        mut ask: impl FnMut(Arc<dyn Remote>) -> Answer<'a, T> + Send + 'a,
    ) -> Result<T, RemoteError> {
        self.change(asked.call, |load| {
            load.now += 1;
            load.all += 1;
            load.most = load.most.max(load.now);
        });
        let inner: Arc<dyn Remote> = Arc::<MemoryRemote>::clone(&self.inner);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        let answer = ask(inner).await;
        self.change(asked.call, |load| load.now -= 1);
        answer
    }
}

struct Setup {
    memory: Arc<MemoryRemote>,
    remote: Arc<Layered<Counting>>,
    tasks: Tasks,
    reader: Arc<ContentReader>,
    contents: Vec<(ContentId, u64)>,
}

/// Returns files of a KiB that do not compress, and their contents in the order of the files.
fn tree() -> (MemoryTree, Vec<(ContentId, u64)>) {
    let mut tree = MemoryTree::new();
    let mut state = 1u64;
    let contents = (0..CONTENTS).map(|number| {
        let byte = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        };
        let bytes: Vec<u8> = (0..1024).map(byte).collect();
        tree.file(&format!("{number:05}"), &bytes);
        (small_content_id(&bytes), bytes.len() as u64)
    });
    let contents = contents.collect();
    (tree, contents)
}

/// Small contents, many in each of many small chunks.
async fn setup(config: &ReaderConfig) -> Setup {
    let memory = MemoryRemote::new();
    let (tree, contents) = tree();
    memory.serve("app", 1, &tree, 64 << 10);
    let source = "app".parse().expect("a source");
    let snapshot = memory.resolve_source(&source).await;
    let remote = Arc::new(Layered(Counting {
        inner: Arc::clone(&memory),
        loads: Mutex::default(),
    }));
    let tasks = Tasks::new();
    let source = Source {
        remote: Arc::<Layered<Counting>>::clone(&remote),
        project: snapshot.expect("a version").project.id,
        cache: None,
        spawner: tasks.spawner().clone(),
    };
    let reader = Arc::new(ContentReader::new(source, config));
    Setup {
        memory,
        remote,
        tasks,
        reader,
        contents,
    }
}

async fn read(
    reader: Arc<ContentReader>,
    content: ContentId,
    size: u64,
) -> Result<usize, ReadError> {
    let group: Arc<dyn Group> = Arc::new(content);
    let wanted = Wanted::new(content, size, 0..size).expect("not empty");
    Ok(reader.read(&group, &wanted, TIMEOUT).await?.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_cold_requests_at_once_make_few_calls_at_a_time() {
    let config = ReaderConfig {
        fetches_max: FETCHES_MAX,
        // Every request needs fetches of its own.
        blocks_len_max: 1,
        footers_len_max: 1,
        ..ReaderConfig::default()
    };
    let setup = setup(&config).await;
    let mut requests = JoinSet::new();
    for number in 0..CONTENTS {
        // Neighbours lie in one chunk.
        let (content, size) = setup.contents[number * 7919 % CONTENTS];
        let reader = Arc::clone(&setup.reader);
        requests.spawn(async move {
            let len = read(reader, content, size).await.unwrap();
            assert_eq!(len as u64, size);
        });
    }
    let done = requests.join_all().await.len();
    assert_eq!(done, CONTENTS);
    let resolves = setup.remote.0.load(Call::Resolve);
    let reads = setup.remote.0.load(Call::ReadChunk);
    assert!(
        resolves.all > 1000 && reads.all > 1000,
        "{resolves:?} {reads:?}"
    );
    assert!((2..=FETCHES_MAX).contains(&resolves.most), "{resolves:?}");
    // Footers and blocks have a bound each.
    assert!((2..=2 * FETCHES_MAX).contains(&reads.most), "{reads:?}");
    setup.tasks.end().await;
    assert!(setup.tasks.spawner().is_empty());
}

#[tokio::test]
async fn the_end_of_the_owner_ends_fetches_and_those_who_wait_for_them() {
    let setup = setup(&ReaderConfig::default()).await;
    setup.memory.set_faults(Faults {
        hangs: true,
        ..Faults::default()
    });
    let (content, size) = setup.contents[0];
    let waiting = tokio::spawn(read(Arc::clone(&setup.reader), content, size));
    while setup.tasks.spawner().is_empty() {
        tokio::task::yield_now().await;
    }
    setup.tasks.end().await;
    assert!(setup.tasks.spawner().is_empty());
    let error = waiting.await.unwrap().unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn whole_contents_come_together_in_few_calls() {
    let setup = setup(&ReaderConfig::default()).await;
    let wanted: Vec<_> = setup.contents[..200].iter().map(|it| it.0).collect();
    let load = async || {
        let loaded = setup.reader.load(&wanted, Deadline::of_the_remote()).await;
        assert_eq!(loaded.unwrap().len(), wanted.len());
    };
    load().await;
    let resolves = setup.remote.0.load(Call::Resolve).all;
    let first = setup.remote.0.load(Call::ReadChunk).all;
    assert_eq!(resolves, 1);
    load().await;
    assert_eq!(setup.remote.0.load(Call::Resolve).all, resolves);
    let again = setup.remote.0.load(Call::ReadChunk).all - first;
    assert!(again * 2 <= first, "footers are kept: {first}, {again}");
}

#[tokio::test]
async fn contents_whose_chunks_were_rewritten_are_found_again() {
    let setup = setup(&ReaderConfig::default()).await;
    let wanted: Vec<_> = setup.contents[..50].iter().map(|it| it.0).collect();
    let deadline = Deadline::of_the_remote();
    setup.reader.load(&wanted, deadline).await.unwrap();
    setup.memory.rewrite_chunks(&tree().0, 40 << 10);
    let loaded = setup.reader.load(&wanted, deadline).await.unwrap();
    assert_eq!(loaded.len(), wanted.len());
    setup.memory.rewrite_chunks(&MemoryTree::new(), 40 << 10);
    let error = setup.reader.load(&wanted, deadline).await.unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
}
