//! One request followed through the logs of the processes that work for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_tests::{Numbers, World, eventually, in_namespace};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A coordinator and a datanode, processes of their own, with a log that has each call.
struct Servers {
    world: World,
    coordinator: Program,
    datanode: Program,
}

impl Servers {
    fn start() -> Self {
        let mut world = World::without_server();
        // There is one datanode.
        let coordinator = start(&world, "coordinator", &["--replication", "1"]);
        let address = address_of(&coordinator);
        world.set_address(&address);
        let datanode = start(&world, "datanode", &["--coordinator", &address]);
        let _ = address_of(&datanode);
        Self {
            world,
            coordinator,
            datanode,
        }
    }
}

fn start(world: &World, role: &str, more: &[&str]) -> Program {
    let data = world.path(role);
    let mut command = world.lfsfsd([role, "--listen", "127.0.0.1:0", "--reserve", "0", "--data"]);
    command.arg(data).args(more).env("LFSFS_LOG", "debug");
    Program::start(command).expect("lfsfsd starts")
}

fn address_of(server: &Program) -> String {
    let listening = server.wait_for_word("listening on ", TIMEOUT);
    listening.expect("it listens")
}

/// Returns the lines of a log that are of a request.
fn lines<'a>(log: &'a str, request: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(request)).collect()
}

/// Returns the request under which the mount asked a datanode for a chunk.
fn request_of_a_chunk(log: &Path) -> Option<String> {
    let log = fs::read_to_string(log).ok()?;
    let asked = log
        .lines()
        .find(|line| line.contains("asked") && line.contains("\"a chunk\""))?;
    let (_, rest) = asked.split_once("request=")?;
    rest.get(..16).map(str::to_owned)
}

#[test]
fn one_word_finds_a_read_in_the_logs_of_three_processes() {
    in_namespace(
        "requests::one_word_finds_a_read_in_the_logs_of_three_processes",
        || {
            let servers = Servers::start();
            let world = &servers.world;
            let tree = world.make_dir("tree");
            fs::write(tree.join("file"), Numbers(1).bytes(300_000)).expect("a file");
            let registered = || world.lfsfs(["project", "new", "app"]).code() == Some(0);
            assert!(eventually(TIMEOUT, registered));
            let imported = || {
                let words = ["import".as_ref(), tree.as_os_str(), "app".as_ref()];
                world.lfsfs(words).code() == Some(0)
            };
            assert!(eventually(TIMEOUT, imported), "the datanode is known");
            let (dir, log) = (world.make_dir("mount"), world.path("mount.log"));
            let options = format!("ro,log={}", log.display());
            let words = ["mount".as_ref(), "app".as_ref(), dir.as_os_str()];
            let mut mount =
                world.command(words.into_iter().chain(["-o".as_ref(), options.as_ref()]));
            mount.env("LFSFS_LOG", "debug");
            let _ = lfsfs_tests::Run::of(mount).ok();
            let bytes = fs::read(dir.join("file")).expect("a cold read");
            assert_eq!(bytes.len(), 300_000);

            let logged = || request_of_a_chunk(&log).is_some();
            assert!(eventually(TIMEOUT, logged), "the mount says what it asks");
            let request = request_of_a_chunk(&log).expect("a request");
            let of_mount = fs::read_to_string(&log).expect("a log");
            let of_mount = lines(&of_mount, &request);
            assert!(
                of_mount.iter().all(|line| line.contains("Read")),
                "{of_mount:?}"
            );
            let served = |server: &Program, call: &str| {
                let log = server.output();
                lines(&log, &request)
                    .iter()
                    .any(|line| line.contains(call) && line.contains("served code=Ok"))
            };
            let both = || {
                served(&servers.coordinator, "/lfsfs.v1.Fs/Resolve")
                    && served(&servers.datanode, "/lfsfs.v1.DataNode/DownloadChunkStream")
            };
            let told = || {
                format!(
                    "{request}: {} {}",
                    servers.coordinator.output(),
                    servers.datanode.output()
                )
            };
            assert!(eventually(TIMEOUT, both), "{}", told());
            let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
        },
    );
}

/// A healthy server logs nothing for a request unless it is asked to.
#[test]
fn requests_are_in_no_log_by_default() {
    let mut world = World::new();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "text").expect("a file");
    let _ = world.import(&tree, "app");
    let before = world.server().output();
    for _ in 0..20 {
        assert_eq!(world.lfsfs(["cat", "app", "file"]).ok(), "text");
    }
    assert_eq!(world.server().output(), before);
}
