//! The metadata of a coordinator comes back from an older backup: what is lost is said, and nothing that is there
//! is deleted.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lfsfs_proto::v1;
use lfsfs_proto::v1::coordinator_client::CoordinatorClient;
use lfsfs_testkit::process::Program;
use lfsfs_tests::listing::{assert_same_listing, listing_of_dir};
use lfsfs_tests::{Cluster, Numbers, Run, World, eventually, in_namespace, run};

const NODES: usize = 3;
const LIMIT: Duration = Duration::from_secs(120);
/// A server that goes away for a moment must not end a command.
const RETRY: [&str; 2] = ["--retry-for", "60"];

/// A cluster with a project, and the trees that its versions were made of.
struct Scene {
    cluster: Cluster,
    numbers: Numbers,
    trees: Vec<PathBuf>,
    restores: usize,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let cluster = Cluster::new(NODES, &["--repair-after", "4"]);
        let _ = cluster.world.lfsfs(["project", "new", "app"]).ok();
        Self {
            cluster,
            numbers: Numbers(seed),
            trees: Vec::new(),
            restores: 0,
        }
    }

    fn world(&self) -> &World {
        &self.cluster.world
    }

    /// Makes the next tree: that of before, and some new files.
    fn next_tree(&mut self, files: u64) -> PathBuf {
        let number = self.trees.len() + 1;
        let tree = self.world().make_dir(&format!("tree-{number}"));
        if let Some(last) = self.trees.last() {
            for entry in fs::read_dir(last).expect("a directory") {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name");
                fs::copy(&path, tree.join(name)).expect("a copy");
            }
        }
        for file in 0..files {
            let len = usize::try_from(1 + self.numbers.below(60_000)).expect("small");
            let name = tree.join(format!("file-{number}-{file}"));
            fs::write(name, self.numbers.bytes(len)).expect("a file");
        }
        self.trees.push(tree.clone());
        tree
    }

    fn import_next(&mut self, files: u64) {
        let tree = self.next_tree(files);
        let imported = self.world().import(&tree, "app");
        assert_eq!(imported, format!("app@v{}", self.trees.len()));
    }

    fn lfsfsd<const N: usize>(&self, words: [&str; N]) -> Run {
        Run::of(self.world().lfsfsd(words))
    }

    fn path(&self, name: &str) -> String {
        let path = self.world().path(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    fn back_up(&self, name: &str) -> Run {
        let server = self.world().address();
        self.lfsfsd(["backup", "--server", server, &self.path(name)])
    }

    /// Ends the coordinator as a crash does, and starts another one at its address, with the metadata of a backup
    /// in a new directory.
    fn restore(&mut self, name: &str) {
        self.cluster.kill_coordinator();
        self.restore_and_start(name);
    }

    fn restore_and_start(&mut self, name: &str) {
        self.restore_metadata(name);
        let _ = self.cluster.wait_for(LIMIT, |status| {
            let nodes = status["nodes"].as_array().expect("a list");
            let available = nodes.iter().filter(|node| node["state"] == "available");
            available.count() == NODES
        });
    }

    fn restore_metadata(&mut self, name: &str) {
        let data = self.world().path("coordinator");
        self.restores += 1;
        let aside = format!("coordinator-{}", self.restores);
        let aside = self.world().path(&aside);
        let _ = run("mv", [&data, &aside]).ok();
        let (file, data) = (self.path(name), self.path("coordinator"));
        let restored = self.lfsfsd(["restore", &file, "--data", &data]);
        assert!(restored.ok().contains("later are gone"), "{restored:?}");
        self.cluster.start_coordinator();
    }

    /// Waits until the coordinator knows of each chunk on each disk.
    fn wait_until_all_is_told(&self) {
        let are_known = |node: usize| {
            let id = self.cluster.node(node)["id"]
                .as_str()
                .expect("an id")
                .to_owned();
            chunks_of(self.world().address(), &id) == self.cluster.chunk_files(node).len()
        };
        assert!(eventually(LIMIT, || (0..NODES).all(are_known)));
    }

    /// Reads a version from the datanodes, and compares it.
    fn check(&self, number: usize) {
        let out = self.world().path("out");
        let source = format!("app@v{number}");
        let words = [RETRY[0], RETRY[1], "export", &source, &self.path("out")];
        let _ = self.world().lfsfs(words).ok();
        assert_same_files(&self.trees[number - 1], &out);
        fs::remove_dir_all(out).expect("a directory");
    }

    /// All chunk files of all datanodes.
    fn chunk_files(&self) -> BTreeSet<PathBuf> {
        let files = |node| self.cluster.chunk_files(node);
        (0..NODES).flat_map(files).collect()
    }
}

/// Returns how many chunks the coordinator believes to be on a datanode.
fn chunks_of(address: &str, node: &str) -> usize {
    let hex = |at: usize| u8::from_str_radix(&node[2 * at..2 * at + 2], 16).expect("hexadecimal");
    let request = v1::GetChunksForNodeRequest {
        node_id: (0..node.len() / 2).map(hex).collect(),
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let address = format!("http://{address}");
        let client = CoordinatorClient::connect(address).await;
        let answer = client
            .expect("a coordinator")
            .get_chunks_for_node(request)
            .await;
        answer.expect("an answer").into_inner().chunk_ids.len()
    })
}

fn assert_same_files(expected: &Path, found: &Path) {
    let read = |dir: &Path| {
        let mut files: Vec<_> = fs::read_dir(dir)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| {
                (
                    path.file_name().map(ToOwned::to_owned),
                    fs::read(&path).expect("a file"),
                )
            })
            .collect();
        files.sort();
        files
    };
    assert!(read(expected) == read(found), "the version is not the tree");
}

#[test]
fn a_restored_coordinator_reads_what_the_backup_has_and_deletes_nothing() {
    let mut scene = Scene::new(3);
    scene.import_next(30);
    scene.import_next(10);
    scene.cluster.wait_for_copies(NODES, LIMIT);
    let known = scene.cluster.copies().len() as u64;
    let made = scene.back_up("backup");
    assert!(made.ok().contains("is a backup of cluster"), "{made:?}");
    scene.import_next(30);
    scene.import_next(10);
    scene.cluster.wait_for_copies(NODES, LIMIT);
    let (all, chunks) = (scene.cluster.copies().len() as u64, scene.chunk_files());
    assert!(all > known);

    scene.restore("backup");
    assert_eq!(scene.world().head("app"), 2);
    scene.check(1);
    scene.check(2);
    let gone = scene
        .world()
        .lfsfs(["export", "app@v3", &scene.path("gone")]);
    gone.fails(1, &["app has no version v3", "newest is v2"]);
    // Each chunk that came after the backup is told by its datanodes, and kept.
    let status = scene
        .cluster
        .wait_for(LIMIT, |status| status["found"] == all - known);
    assert!(status["backup_time"].is_string() && status["restored_time"].is_string());
    let text = scene.world().lfsfs(["cluster", "status"]).ok();
    assert!(text.contains("from a backup of"), "{text}");
    scene.wait_until_all_is_told();
    let _ = scene.cluster.wait_for_repair(LIMIT);
    assert_eq!(scene.chunk_files(), chunks, "a chunk is gone");

    // What was imported after the backup costs a walk, and no bytes.
    for number in [3, 4] {
        let imported = scene
            .world()
            .import_json(&scene.trees[number - 1], "app", &[]);
        assert_eq!(imported["version"], number);
        assert_eq!(imported["bytes_sent"], 0, "{imported}");
        scene.check(number);
    }
    assert_eq!(scene.chunk_files(), chunks);

    // A second start has nothing new to tell, and the data directory is as any other.
    scene.cluster.kill_coordinator();
    let checked = scene.lfsfsd(["check", "--data", &scene.path("coordinator")]);
    assert!(checked.ok().ends_with(": 0 findings"), "{checked:?}");
    scene.cluster.start_coordinator();
    scene.check(4);
}

/// The metadata of the backup has places in chunks that were dropped since.
#[test]
fn what_was_rewritten_after_the_backup_reads() {
    let mut scene = Scene::new(13);
    (0..9).for_each(|_| scene.import_next(2));
    scene.cluster.wait_for_copies(NODES, LIMIT);
    let before = scene.chunk_files();
    let _ = scene.back_up("backup").ok();
    let collected = scene.world().lfsfs(["gc", "--json", "--grace", "0s"]);
    assert_eq!(collected.json()["rewritten_chunks"], 9, "{collected:?}");
    let is_rewritten = || scene.chunk_files().len() == NODES;
    assert!(eventually(LIMIT, is_rewritten));
    scene.cluster.wait_for_copies(NODES, LIMIT);
    let after = scene.chunk_files();
    assert!(after.is_disjoint(&before));

    // The datanodes tell what they have one after the other.
    for node in 0..NODES {
        scene.cluster.stop_node(node);
    }
    scene.cluster.kill_coordinator();
    scene.restore_metadata("backup");
    for node in 0..NODES {
        scene.cluster.start_node_again(node);
        let id = scene.cluster.node(node)["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        let has_told = || chunks_of(scene.world().address(), &id) == 1;
        assert!(eventually(LIMIT, has_told));
    }
    scene.wait_until_all_is_told();
    for number in 1..=9 {
        scene.check(number);
    }
    let _ = scene.world().lfsfs(["gc", "--grace", "0s"]).ok();
    let _ = scene.cluster.wait_for_repair(LIMIT);
    assert_eq!(scene.chunk_files(), after, "a chunk is gone");
    (1..=9).for_each(|number| scene.check(number));
    let fsck = scene.world().lfsfs(["fsck"]);
    assert_eq!(fsck.code(), Some(0), "{fsck:?}");
}

/// Copies of which the restored metadata does not know that they are gone, and nodes that it does not know.
#[test]
fn copies_that_went_after_the_backup_are_made_again_and_new_nodes_are_taken() {
    let mut scene = Scene::new(5);
    (0..3).for_each(|_| scene.import_next(30));
    scene.cluster.wait_for_copies(NODES, LIMIT);
    let _ = scene.back_up("backup").ok();
    // A disk is lost and replaced after the backup: its node is another one.
    scene.cluster.kill_node(0);
    scene.cluster.wipe_node(0);
    scene.cluster.start_node_again(0);
    scene.cluster.wait_for_copies(NODES, LIMIT);
    // And one file each of the two others goes while the coordinator is away.
    scene.cluster.kill_coordinator();
    for node in [1, 2] {
        let file = scene.cluster.chunk_files(node).remove(node - 1);
        fs::remove_file(file).expect("a chunk");
    }
    scene.restore_and_start("backup");
    scene.cluster.wait_for_copies(NODES, LIMIT);
    (1..=3).for_each(|number| scene.check(number));
    let nodes = scene.cluster.nodes();
    let available = nodes.iter().filter(|node| node["state"] == "available");
    assert_eq!(available.count(), NODES, "{nodes:?}");
    assert_eq!(
        nodes.len(),
        NODES + 1,
        "the one of before is known, and silent"
    );
}

#[test]
fn a_backup_is_of_one_moment_while_imports_go_on_and_uploads_begin_again() {
    let mut scene = Scene::new(7);
    scene.import_next(20);
    let tree = scene.next_tree(300);
    let words = [
        RETRY[0],
        RETRY[1],
        "import",
        tree.to_str().expect("UTF-8"),
        "app",
    ];
    let command = scene.world().command(words);
    let import = std::thread::spawn(move || Run::of(command));
    // As many as fit into the import.
    let mut made = Vec::new();
    while !import.is_finished() && made.len() < 20 {
        let name = format!("backup-{}", made.len());
        let run = scene.back_up(&name);
        assert_eq!(run.code(), Some(0), "{run:?}");
        made.push(name);
    }
    assert_eq!(import.join().expect("no panic").ok(), "app@v2");
    for name in made.iter().step_by(1 + made.len() / 3) {
        scene.restore(name);
        let head = scene.world().head("app");
        assert!(head == 1 || head == 2, "v{head}");
        for number in 1..=head {
            scene.check(usize::try_from(number).expect("small"));
        }
        scene.cluster.kill_coordinator();
        let checked = scene.lfsfsd(["check", "--data", &scene.path("coordinator")]);
        assert!(checked.ok().ends_with(": 0 findings"), "{checked:?}");
        scene.cluster.start_coordinator();
    }

    an_import_goes_on_with_a_restored_coordinator(&mut scene);
}

/// Its session and its slots are not known any more, nor what the coordinator of before said of contents.
fn an_import_goes_on_with_a_restored_coordinator(scene: &mut Scene) {
    scene.restore("backup-0");
    let before = scene.world().head("app");
    let tree = scene.world().make_dir("large");
    for number in 0..60 {
        let bytes = scene.numbers.bytes(1_000_000);
        fs::write(tree.join(format!("file-{number}")), bytes).expect("a file");
    }
    let word = tree.to_str().expect("UTF-8");
    let words = [RETRY[0], RETRY[1], "import", word, "app"];
    let import = scene.world().command(words);
    let import = std::thread::spawn(move || Run::of(import));
    std::thread::sleep(Duration::from_millis(150));
    scene.restore("backup-0");
    let imported = import.join().expect("no panic");
    let expected = format!("app@v{}", before + 1);
    assert!(imported.ok().starts_with(&expected), "{imported:?}");
    if scene.world().head("app") == before {
        // It had ended before the coordinator did, and its version is gone.
        let again = scene.world().lfsfs(words);
        assert_eq!(again.ok(), expected);
    }
    let out = scene.path("out");
    let _ = scene.world().lfsfs(["export", &expected, &out]).ok();
    assert_same_files(&tree, Path::new(&out));
}

/// Mounts of a version that the backup does not have: one that is read, one with changes.
#[test]
fn a_mount_of_a_version_that_is_gone_shows_no_other_and_keeps_its_changes() {
    const NAME: &str =
        "restored::a_mount_of_a_version_that_is_gone_shows_no_other_and_keeps_its_changes";
    in_namespace(NAME, || {
        let mut scene = Scene::new(9);
        let tree = scene.world().make_dir("tree");
        let write = |name: &str, text: &str| {
            fs::create_dir_all(tree.join(name)).expect("a directory");
            fs::write(tree.join(name).join("file"), text).expect("a file");
        };
        write("read", "first");
        write("unread", "first");
        assert_eq!(scene.world().import(&tree, "app"), "app@v1");
        let _ = scene.back_up("backup").ok();
        write("read", "second");
        write("unread", "second");
        assert_eq!(scene.world().import(&tree, "app"), "app@v2");
        let dir = scene.world().make_dir("mount");
        let _ = scene.world().mount_at("app@v2", &dir, "rw").ok();
        let read = |name: &str| fs::read_to_string(dir.join(name).join("file"));
        assert_eq!(read("read").expect("a file"), "second");
        fs::write(dir.join("read/new"), "mine").expect("a change");

        scene.restore("backup");
        // Another v2, which the mount must not show.
        write("read", "third");
        write("unread", "third");
        assert_eq!(scene.world().import(&tree, "app"), "app@v2");
        assert_eq!(read("read").expect("what is cached"), "second");
        let unread = read("unread").expect_err("what is not on the server");
        assert_eq!(
            unread.raw_os_error(),
            Some(rustix::io::Errno::STALE.raw_os_error())
        );
        let word = dir.to_str().expect("UTF-8");
        let commit = scene.world().lfsfs(["commit", word, "-m", "mine"]);
        commit.fails(
            1,
            &["version v2 of app is not on the server", "older backup"],
        );
        let diff = scene.world().lfsfs(["diff", word]).ok();
        assert!(diff.contains("read/new"), "{diff}");
        let kept = fs::read_to_string(dir.join("read/new"));
        assert_eq!(kept.expect("the change is there"), "mine");
        let _ = scene.world().lfsfs(["umount", word]).ok();
        // A new mount shows the new version.
        let _ = scene
            .world()
            .mount_at("app@v2", &scene.world().make_dir("other"), "ro")
            .ok();
        let shown = fs::read_to_string(scene.world().path("other/unread/file"));
        assert_eq!(shown.expect("a file"), "third");
        let _ = scene.world().lfsfs(["umount", &scene.path("other")]).ok();
    });
}

#[test]
fn a_restore_that_is_killed_begins_again() {
    let mut scene = Scene::new(11);
    scene.import_next(600);
    let _ = scene.back_up("backup").ok();
    let file = scene.path("backup");
    let (mut unfinished, mut finished) = (0, 0);
    for millis in [2, 5, 10, 20, 30, 40, 60, 80, 120, 200] {
        let data = scene.path("new");
        let command = scene.world().lfsfsd(["restore", &file, "--data", &data]);
        let mut restore = Program::start(command).expect("lfsfsd starts");
        std::thread::sleep(Duration::from_millis(millis));
        restore.kill().expect("a process can be killed");
        let mark = Path::new(&data).join("meta/restoring").exists();
        let start = |wait| {
            let mut command = scene
                .world()
                .lfsfsd(["coordinator", "--listen", "127.0.0.1:0"]);
            command.args(["--data", &data]);
            let mut program = Program::start(command).expect("lfsfsd starts");
            if wait {
                program
                    .wait_for_word("listening on ", LIMIT)
                    .expect("it listens");
                program.kill().expect("a process can be killed");
            } else {
                let status = program.wait(LIMIT).expect("it ends");
                assert_eq!(status.code(), Some(1), "{}", program.output());
                assert!(program.output().contains("run lfsfsd restore again"));
            }
        };
        if mark {
            unfinished += 1;
            start(false);
        } else if Path::new(&data).join("meta").exists() {
            finished += 1;
        }
        if mark || !Path::new(&data).join("meta").exists() {
            let _ = scene.lfsfsd(["restore", &file, "--data", &data]).ok();
        }
        start(true);
        let checked = scene.lfsfsd(["check", "--data", &data]);
        assert!(checked.ok().ends_with(": 0 findings"), "{checked:?}");
        fs::remove_dir_all(&data).expect("a directory");
    }
    println!("{unfinished} restores were cut off in the middle, {finished} had ended");
}

#[test]
fn files_that_are_no_backup_are_refused_and_a_backup_that_fails_leaves_none() {
    let mut scene = Scene::new(13);
    scene.import_next(5);
    let _ = scene.back_up("backup").ok();
    let again = scene.back_up("backup");
    again.fails(1, &["is there already", "--force"]);
    let whole = fs::read(scene.path("backup")).expect("a file");
    let wrong = |name: &str, bytes: &[u8], words: &[&str]| {
        let (file, data) = (scene.path(name), scene.path("new"));
        fs::write(&file, bytes).expect("a file");
        scene.lfsfsd(["restore", "--check", &file]).fails(1, words);
        scene
            .lfsfsd(["restore", &file, "--data", &data])
            .fails(1, words);
        assert!(!Path::new(&data).exists(), "nothing is made");
    };
    wrong(
        "cut",
        &whole[..whole.len() - 9],
        &["cut", "is cut off at byte"],
    );
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 0x10;
    wrong("flipped", &flipped, &["is damaged at byte"]);
    wrong(
        "foreign",
        b"a letter, and no backup",
        &["this is no backup of lfsfs"],
    );
    let checked = scene
        .lfsfsd(["restore", "--check", &scene.path("backup"), "--json"])
        .json();
    assert_eq!(checked["bytes"], whole.len());
    // The coordinator of the cluster has its data; a restore over it is refused, and so is one while it runs.
    let running = scene.path("coordinator");
    let file = scene.path("backup");
    scene
        .lfsfsd(["restore", &file, "--data", &running])
        .fails(1, &["in use"]);
    scene.cluster.kill_coordinator();
    scene
        .lfsfsd(["restore", &file, "--data", &running])
        .fails(1, &["replaces nothing"]);
    // No server.
    let failed = scene.back_up("late");
    failed.fails(1, &["sent no whole backup"]);
    let names = fs::read_dir(scene.world().path("")).expect("a directory");
    let names: Vec<_> = names.map(|it| it.expect("an entry").file_name()).collect();
    assert!(!names.iter().any(|it| it == "late"), "{names:?}");
    let is_temp = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".tmp-");
    assert!(!names.iter().any(is_temp), "{names:?}");
    // Of a stopped coordinator.
    let made = scene
        .lfsfsd([
            "backup",
            "--data",
            &running,
            &scene.path("stopped"),
            "--json",
        ])
        .json();
    assert!(made["rows"].as_u64() > Some(0), "{made}");
}

/// sled cannot show its rows of one moment: the server says what to do.
#[test]
fn a_coordinator_with_sled_is_backed_up_when_it_is_stopped() {
    let mut world = World::without_server();
    let meta = format!("sled:{}", world.path("meta").display());
    world.start_server(&["--meta", &meta]);
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), b"content").expect("a file");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    let file = world.path("backup");
    let file = file.to_str().expect("UTF-8");
    let lfsfsd = |world: &World, words: &[&str]| {
        let mut command: Command = world.lfsfsd(words);
        command.env_remove("LFSFS_SERVER");
        Run::of(command)
    };
    let server = world.address().to_owned();
    let running = lfsfsd(&world, &["backup", "--server", &server, file]);
    running.fails(
        1,
        &[
            "sled cannot be backed up while the server runs",
            "--data DIR",
        ],
    );
    assert!(!Path::new(file).exists());
    world.stop_server();
    let data = world.data().to_str().expect("UTF-8").to_owned();
    let _ = lfsfsd(&world, &["backup", "--data", &data, "--meta", &meta, file]).ok();
    // The new place has redb; the chunks are where they were.
    let new = format!("redb:{}", world.path("new").display());
    let _ = lfsfsd(&world, &["restore", file, "--data", &data, "--meta", &new]).ok();
    world.start_server(&["--meta", &new]);
    let out = world.path("out");
    let _ = world
        .lfsfs(["export", "app@v1", out.to_str().expect("UTF-8")])
        .ok();
    assert_same_listing(&listing_of_dir(&out), &listing_of_dir(&tree));
    let is_told = || {
        let told = world.lfsfs(["cluster", "status", "--json"]).json();
        told["restored_time"].is_string()
    };
    assert!(eventually(LIMIT, is_told));
}
