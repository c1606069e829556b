//! Archives: what tar makes of them, and what is told beside them.

use std::fs;
use std::path::Path;
use std::process::Command;

use lfsfs_proto::v1;
use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{Numbers, Run, World};

use crate::client::{Client, file, query, removed};

/// The longest archive, of what compresses badly, without a long file in it.
const ARCHIVE_LEN_MAX: usize = 6 << 20;
/// The longest message.
const MESSAGE_LEN_MAX: usize = 600_000;

/// What a call has told: its archives, and the paths that are none any more.
#[derive(Debug, Default)]
struct Told {
    archives: Vec<Vec<u8>>,
    removed: Vec<String>,
}

fn ask(client: &Client, request: v1::GetCompressRequest) -> Told {
    client.runtime().block_on(async {
        let answer = client.fs().get_compress(request).await;
        let mut stream = answer.expect("an answer").into_inner();
        let mut told = Told::default();
        let mut continued = false;
        while let Some(message) = stream.message().await.expect("a message") {
            assert!(message.archive.len() <= MESSAGE_LEN_MAX);
            match told.archives.last_mut() {
                Some(last) if continued => last.extend(message.archive),
                _ => told.archives.push(message.archive),
            }
            continued = message.continued;
            let removed = message.deleted.iter();
            told.removed
                .extend(removed.map(|path| String::from_utf8_lossy(path).into_owned()));
        }
        assert!(!continued, "an archive ended in the middle");
        told.archives.retain(|archive| !archive.is_empty());
        told
    })
}

fn request() -> v1::GetCompressRequest {
    v1::GetCompressRequest {
        project: "app".to_owned(),
        ..Default::default()
    }
}

fn unpack(world: &World, told: &Told, to: &Path) {
    for (number, archive) in told.archives.iter().enumerate() {
        let packed = world.path(&format!("{number}.tar.zst"));
        fs::write(&packed, archive).expect("a file");
        let mut tar = Command::new("tar");
        tar.args(["--zstd", "--xattrs", "-xpf"])
            .arg(&packed)
            .arg("-C")
            .arg(to);
        let _ = Run::of(tar).ok();
    }
}

#[test]
fn tar_unpacks_what_was_imported() {
    if require_program("tar").is_err() || require_program("zstd").is_err() {
        return;
    }
    let world = World::new();
    let client = Client::of(&world);
    client.new_project("app");
    let tree = world.make_dir("tree");
    let deep = "a-long-name-of-a-directory/".repeat(8);
    fs::create_dir_all(tree.join(&deep).join("empty")).expect("directories");
    fs::create_dir_all(tree.join("many")).expect("a directory");
    for number in 0..60 {
        let bytes = Numbers(number).bytes(200_000);
        fs::write(tree.join(format!("many/{number}")), bytes).expect("a file");
    }
    fs::write(tree.join(&deep).join("täxt"), "deep").expect("a file");
    fs::write(tree.join("big"), Numbers(99).bytes(9_000_000)).expect("a file");
    fs::write(tree.join("none"), "").expect("a file");
    std::os::unix::fs::symlink("x".repeat(300), tree.join("link")).expect("a link");
    let _ = world.import(&tree, "app");
    let told = ask(&client, request());
    assert!(told.removed.is_empty());
    assert!(told.archives.len() > 3, "{}", told.archives.len());
    let short = told
        .archives
        .iter()
        .filter(|archive| archive.len() <= ARCHIVE_LEN_MAX);
    assert_eq!(
        short.count(),
        told.archives.len() - 1,
        "but for the one with the long file"
    );
    let out = world.make_dir("out");
    unpack(&world, &told, &out);
    let mut diff = Command::new("diff");
    diff.args(["-r", "--no-dereference"]).arg(&tree).arg(&out);
    let _ = Run::of(diff).ok();
    let mtime = |dir: &Path| fs::metadata(dir.join("none")).and_then(|found| found.modified());
    assert_eq!(mtime(&out).expect("a time"), mtime(&tree).expect("a time"));
}

#[test]
fn removals_are_told_beside_the_archives() {
    if require_program("tar").is_err() || require_program("zstd").is_err() {
        return;
    }
    let world = World::new();
    let client = Client::of(&world);
    client.new_project("app");
    let update = |objects| client.update("app", objects).expect("a version");
    update(vec![file("a", "1"), file("b", "1"), file("src/c", "1")]);
    update(vec![removed("a"), removed("src/c"), file("b", "2")]);
    let range = v1::GetCompressRequest {
        from_version: Some(1),
        ..request()
    };
    let told = ask(&client, range.clone());
    assert_eq!(told.removed, ["a", "src/c"]);
    let out = world.make_dir("out");
    unpack(&world, &told, &out);
    assert_eq!(fs::read(out.join("b")).expect("a file"), b"2");
    assert_eq!(fs::read_dir(&out).expect("a directory").count(), 1);
    let some = v1::GetCompressRequest {
        queries: vec![query("src/", true)],
        ..range
    };
    let told = ask(&client, some);
    assert_eq!(
        (told.removed, told.archives.len()),
        (vec!["src/c".to_owned()], 0)
    );
    let nothing = v1::GetCompressRequest {
        from_version: Some(2),
        ..request()
    };
    assert_eq!(ask(&client, nothing).archives.len(), 0);
}
