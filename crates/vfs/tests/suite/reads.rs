//! Ranges of files against their bytes.

use lfsfs_reader::ReaderConfig;
use lfsfs_remote::MemoryRemote;
use lfsfs_remote::memory::MemoryTree;
use lfsfs_testkit::tempdir::ThreadDir;
use lfsfs_vfs::{Vfs, VfsConfig};
use proptest::prelude::*;

use crate::support::{config, find, noise, open};

const LEN: usize = 5 << 20;

fn bytes() -> Vec<u8> {
    let mut bytes = noise(3, LEN);
    // Blocks that compress well stand beside others that do not.
    bytes[1 << 20..2 << 20].fill(7);
    bytes
}

async fn mount(dir: &std::path::Path, config: VfsConfig) -> (Vfs, u64) {
    let remote = MemoryRemote::new();
    let mut tree = MemoryTree::new();
    tree.file("small", b"before").file("large", &bytes());
    remote.serve("app", 1, &tree, 1 << 20);
    let vfs = open(&remote, dir, config).await.unwrap();
    let ino = find(&vfs, "large").await.unwrap().ino;
    (vfs, ino)
}

fn expected(whole: &[u8], offset: u64, size: u32) -> &[u8] {
    let start = usize::try_from(offset)
        .unwrap_or(usize::MAX)
        .min(whole.len());
    &whole[start..(start + size as usize).min(whole.len())]
}

fn ranges() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let offset = prop_oneof![
        0..LEN as u64 + 1000,
        (0..40u64).prop_map(|block| block * (128 << 10)),
        Just(u64::MAX),
    ];
    let size = prop_oneof![0..5000u32, Just(128 << 10), 0..3_000_000u32];
    prop::collection::vec((offset, size), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_range_reads_what_is_there(ranges in ranges(), tiny in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = ThreadDir::new().unwrap();
        let config = VfsConfig {
            reader: ReaderConfig {
                blocks_len_max: if tiny { 1 } else { 64 << 20 },
                in_flight_len_max: if tiny { 1000 } else { 32 << 20 },
                window_len_first: if tiny { 1 } else { 512 << 10 },
                ..ReaderConfig::default()
            },
            ..config()
        };
        runtime.block_on(async {
            let whole = bytes();
            let (vfs, ino) = mount(dir.path(), config).await;
            for (offset, size) in ranges {
                let read = vfs.read(ino, offset, size).await.unwrap();
                assert!(read == expected(&whole, offset, size), "{size} bytes at {offset}");
            }
            vfs.base().settle().await;
        });
    }
}

#[tokio::test]
async fn reading_in_order_fetches_each_byte_once_in_few_calls() {
    let dir = ThreadDir::new().unwrap();
    let (vfs, ino) = mount(dir.path(), config()).await;
    let whole = bytes();
    for offset in (0..LEN as u64).step_by(128 << 10) {
        let read = vfs.read(ino, offset, 128 << 10).await.unwrap();
        assert!(read == expected(&whole, offset, 128 << 10));
    }
    vfs.base().settle().await;
    let stats = vfs.base().stats();
    assert!(stats.remote_bytes < 4_400_000, "{stats:?}");
    assert!(stats.remote_reads <= 25, "{stats:?}");
}
