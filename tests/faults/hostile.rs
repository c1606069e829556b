//! Clients that mean harm: the server's memory stays within its figure, and an honest client
//! finishes meanwhile.

#[path = "hostile/peer.rs"]
mod peer;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lfsfs_proto::v1;
use lfsfs_testkit::chunks;
use lfsfs_testkit::process::Program;
use lfsfs_tests::listing::assert_version_is_dir;
use lfsfs_tests::{Numbers, World};
use lfsfs_types::content::{Content, Piece, PieceList};
use lfsfs_types::limits::{CONTENTS_PER_MESSAGE_MAX, PIECES_INLINE_MAX};
use prost::Message as _;

use self::peer::{HalfMessages, Hostile, Peer};
use super::support::start_import;

const MIB: u64 = 1024 * 1024;
/// `--memory` of these servers.
const MEMORY: u64 = 256 * MIB;
/// `--connections` of these servers.
const CONNECTIONS: u64 = 256;
/// What all calls together may hold, as docs/configuration.md has it.
const CALLS: u64 = MEMORY / 4;
/// What each connection may send ahead.
const WINDOW: u64 = MEMORY / 2 / CONNECTIONS;
/// Connections of the honest client, and of the datanode to its coordinator, at most.
const HONEST_CONNECTIONS: u64 = 8;
/// What a server of these tests takes besides: the program and its metadata engine take 5 MiB while
/// one honest import runs, and the allocator keeps some of what was given back.
const BASE: u64 = 24 * MIB;
/// How often the server's memory is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long an honest import may take beside hostile clients.
const HONEST_TIME: Duration = Duration::from_secs(120);
/// How long it may take beside a flood. A client waits 5 s for the answer to one question.
const FLOOD_TIME: Duration = Duration::from_secs(15);
/// How long a slow reader may wait for what it reads within seconds.
const READ_TIME: Duration = Duration::from_secs(20);

/// The status of a call that asks for what cannot be.
const INVALID_ARGUMENT: u32 = 3;
/// How long a line of the log may take.
const LOG_TIME: Duration = Duration::from_secs(20);

/// A server with little memory for requests, and a tree to import.
fn world() -> (World, PathBuf) {
    let memory = MEMORY.to_string();
    let connections = CONNECTIONS.to_string();
    let arguments = ["--memory", &memory, "--connections", &connections];
    let world = World::with_server_arguments(&arguments);
    let tree = world.make_dir("tree");
    for number in 0..40 {
        let bytes = Numbers(number + 1).bytes(200_000);
        fs::write(tree.join(format!("file-{number}")), bytes).expect("a file");
    }
    (world, tree)
}

/// Imports the tree and watches meanwhile what the server takes for so many hostile connections.
fn assert_honest_import_finishes(world: &mut World, tree: &Path, hostile: u64) {
    assert_honest_import_takes(world, tree, hostile, HONEST_TIME);
}

/// As [`assert_honest_import_finishes`], with a limit of its own.
fn assert_honest_import_takes(world: &mut World, tree: &Path, hostile: u64, limit: Duration) {
    let deadline = Instant::now() + limit;
    let _ = world.lfsfs(["project", "new", "honest"]).ok();
    let mut import = start_import(world, tree, "honest");
    let status = loop {
        assert_memory_is_bounded(world.server(), hostile);
        if let Some(status) = import.try_wait().expect("a process") {
            break status;
        }
        assert!(Instant::now() < deadline, "{}", import.output());
        std::thread::sleep(POLL_INTERVAL);
    };
    assert!(status.success(), "{}", import.output());
    assert_version_is_dir(world, "honest@v1", tree);
}

#[track_caller]
fn assert_memory_is_bounded(server: &Program, hostile: u64) {
    let taken = anonymous_memory(server.id()) / MIB;
    let limit = (BASE + CALLS + (hostile + HONEST_CONNECTIONS) * WINDOW) / MIB;
    assert!(taken <= limit, "the server takes {taken} MiB of {limit}");
}

/// Returns the memory of a process that is in no file.
fn anonymous_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let words = line.expect("a line").split_whitespace().next();
    words.expect("a number").parse::<u64>().expect("a number") * 1024
}

fn project_id(peer: &Peer<'_>, name: &str) -> Vec<u8> {
    let name = name.to_owned();
    let answer = peer.ask("Fs/Inspect", &v1::InspectRequest { name });
    let answer = v1::InspectResponse::decode(&answer[..]).expect("an answer");
    answer.project.expect("a project").id
}

#[test]
fn half_messages_of_many_connections_take_no_more_than_the_budget() {
    let (mut world, tree) = world();
    let hostile = Hostile::new(world.address());
    let half = vec![0; 1024 * 1024];
    for _ in 0..10 {
        let peer = hostile.connect();
        for _ in 0..24 {
            peer.send("Fs/Commit", 2 * 1024 * 1024, &half);
        }
    }
    assert_honest_import_finishes(&mut world, &tree, 10);
}

#[test]
fn a_flood_that_begins_anew_does_not_keep_an_honest_client_waiting() {
    let (mut world, tree) = world();
    let hostile = Hostile::new(world.address());
    // A few of the long messages take all memory that they get; many short ones do, too.
    for announced in [2 * 1024 * 1024, 256 * 1024] {
        let messages = HalfMessages {
            call: "Fs/Commit",
            calls: 16,
            announced,
            bytes: Bytes::from(vec![0; announced as usize / 2]),
        };
        hostile.flood(30, &messages);
    }
    assert_honest_import_takes(&mut world, &tree, 60, FLOOD_TIME);
}

#[test]
fn questions_with_long_answers_take_no_more_than_the_budget() {
    let (mut world, tree) = world();
    let bytes = Numbers(99).bytes(300_000);
    fs::write(tree.join("piece"), &bytes).expect("a file");
    let _ = world.import(&tree, "app");
    let hostile = Hostile::new(world.address());
    let peer = hostile.connect();
    let reader = hostile.connect();
    let content = register_many_pieces(&peer, &bytes);
    let project_id = project_id(&peer, "app");
    let question = |count| v1::ResolveRequest {
        project_id: project_id.clone(),
        contents: vec![content.clone(); count],
    };
    let _ = peer.ask("Fs/Resolve", &question(1));
    let answer = reader.ask("Fs/Resolve", &question(1));
    assert!(answer.len() > 60 * PIECES_INLINE_MAX, "{}", answer.len());
    for _ in 0..100 {
        peer.ask_and_not_read("Fs/Resolve", &question(CONTENTS_PER_MESSAGE_MAX));
    }
    for _ in 0..4 {
        reader.ask_and_read_slowly("Fs/Resolve", &question(CONTENTS_PER_MESSAGE_MAX), 20);
    }
    assert_honest_import_finishes(&mut world, &tree, 2);
    // More than a connection may hold: what was read is not held any more.
    let deadline = Instant::now() + READ_TIME;
    while hostile.read() < 20 * MIB {
        assert_memory_is_bounded(world.server(), 2);
        assert!(Instant::now() < deadline, "{} were read", hostile.read());
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Makes a content of as many pieces as an answer tells, all of these bytes. Returns its id.
fn register_many_pieces(peer: &Peer<'_>, bytes: &[u8]) -> Vec<u8> {
    let piece = Piece {
        hash: Content::of_bytes(bytes).id,
        len: u32::try_from(bytes.len()).expect("a short piece"),
    };
    let list = PieceList::new(vec![piece; PIECES_INLINE_MAX]).expect("a list");
    let content = list.content_id().as_bytes().to_vec();
    let request = v1::PutPiecesRequest {
        project_id: project_id(peer, "app"),
        content: content.clone(),
        pieces: list.pieces().iter().map(v1::Piece::from).collect(),
    };
    let _ = peer.ask("Fs/PutPieces", &request);
    content
}

#[test]
fn connections_that_ask_for_nothing_give_way() {
    let (mut world, tree) = world();
    let hostile = Hostile::new(world.address());
    hostile.open_silent(600);
    assert_honest_import_finishes(&mut world, &tree, CONNECTIONS);
}

#[test]
fn uploads_that_trickle_give_their_places_to_others() {
    let (mut world, tree) = world();
    let hostile = Hostile::new(world.address());
    let peers: Vec<Peer> = (0..5).map(|_| hostile.connect()).collect();
    let announced = |number: u8| v1::PrepareChunkUploadRequest {
        chunk_id: vec![number; 32],
        size: 64 * MIB,
        ..Default::default()
    };
    for number in 0..80_u8 {
        let peer = &peers[usize::from(number) / 16];
        let answer = peer.ask("DataNode/PrepareChunkUpload", &announced(number));
        let prepared = v1::PrepareChunkUploadResponse::decode(&answer[..]).expect("an answer");
        peer.trickle(&prepared.session_id);
    }
    assert_honest_import_finishes(&mut world, &tree, 5);
}

#[test]
fn answers_that_the_client_does_not_read_take_no_more_than_the_budget_and_do_not_hold_up_the_end() {
    let (mut world, tree) = world();
    fs::write(tree.join("large"), Numbers(99).bytes(8_000_000)).expect("a file");
    let _ = world.import(&tree, "app");
    let hostile = Hostile::new(world.address());
    for _ in 0..20 {
        let peer = hostile.connect();
        for chunk in chunks::files_in(world.data()).iter().cycle().take(20) {
            let hex = chunk.file_name().expect("a name").to_str().expect("text");
            let id = lfsfs_types::ChunkId::try_from_hex(hex).expect("an id");
            let target = v1::download_chunk_stream_request::Target::ChunkId(id.as_bytes().to_vec());
            peer.ask_and_not_read(
                "DataNode/DownloadChunkStream",
                &v1::DownloadChunkStreamRequest {
                    target: Some(target),
                    ..Default::default()
                },
            );
        }
    }
    assert_honest_import_finishes(&mut world, &tree, 20);
    // It ends when told to, whatever is not read.
    world.stop_server();
    world.assert_check_is_clean();
}

#[test]
fn forged_receipts_and_requests_that_are_none_change_nothing() {
    let (mut world, tree) = world();
    let _ = world.import(&tree, "app");
    let hostile = Hostile::new(world.address());
    let peer = hostile.connect();
    let forged = v1::ReportChunkRequest {
        node_id: vec![7; 16],
        generation: 1,
        info: Some(v1::ChunkInfo {
            id: vec![8; 32],
            len: 1000,
            footer_len: 100,
            footer_sha256: vec![9; 32],
        }),
        contents: vec![v1::ContentPlace {
            content: vec![1; 32],
            chunk: vec![8; 32],
            len: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_ne!(
        peer.status("Coordinator/ReportChunk", &forged.encode_to_vec()),
        0
    );
    let missing = v1::FindMissingRequest {
        contents: vec![vec![1; 32]],
        project_id: project_id(&peer, "app"),
    };
    let answer = peer.ask("Fs/FindMissing", &missing);
    let answer = v1::FindMissingResponse::decode(&answer[..]).expect("an answer");
    assert_eq!(answer.missing.len(), 1, "the content is not there");
    for call in [
        "Fs/Inspect",
        "Fs/FindMissing",
        "DataNode/PrepareChunkUpload",
    ] {
        assert_eq!(
            peer.status(call, b"\xff\xff\xff"),
            INVALID_ARGUMENT,
            "{call}"
        );
    }
    let line = world.server().wait_for_line("refused a call", LOG_TIME);
    let _ = line.expect("a line about what was refused");
    assert_honest_import_finishes(&mut world, &tree, 1);
    world.stop_server();
    world.assert_check_is_clean();
}
