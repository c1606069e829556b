//! Many small files: what their import costs in memory, writes, space and time, and what is left of it
//! by kills of the server.

#![expect(clippy::print_stdout, reason = "the figures are for people")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lfsfs_meta_store::{Engine, KeyRange, MetaStoreExt as _};
use lfsfs_testkit::process::Program;
use lfsfs_tests::listing::{Listing, assert_same_listing, listing_of_dir, listing_of_version};
use lfsfs_tests::{Numbers, Resident, Usage, World, files, usage_at_end};
use rustix::process::Signal;

const FILES_PER_DIRECTORY: u64 = 100;
const DIRECTORIES_PER_DIRECTORY: u64 = 100;
const MIB: u64 = 1 << 20;
/// What a server takes at most without `--memory`.
const MEMORY_MAX: u64 = 512 * MIB;
/// Bytes that may be written for each byte of a row.
const WRITTEN_PER_ROW_MAX: f64 = 10.0;
/// Bytes of the disk for each byte of a row, while the server runs and once it has stopped.
const OPEN_PER_ROW_MAX: f64 = 4.0;
const CLOSED_PER_ROW_MAX: f64 = 2.5;
const START_MAX: Duration = Duration::from_secs(2);
/// What `--grace` is if it is not told.
const STOP_MAX: Duration = Duration::from_secs(10);
/// An import that takes so long hangs.
const IMPORT_MAX: Duration = Duration::from_secs(3600);
/// The tables of sessions and of what they stage, as docs/formats.md numbers them.
const STAGED: [u8; 4] = [19, 20, 21, 23];
/// Files whose bytes are compared, of those of a large version.
const FILES_READ: usize = 1_000;

/// Makes files of 20 to 200 bytes, no two alike, 100 in a directory.
fn write_tree(tree: &Path, count: u64) {
    let mut numbers = Numbers(count);
    for number in 0..count {
        let directory = number / FILES_PER_DIRECTORY;
        let outer = directory / DIRECTORIES_PER_DIRECTORY;
        let dir = tree.join(format!("outer-{outer}/inner-{directory}"));
        if number.is_multiple_of(FILES_PER_DIRECTORY) {
            fs::create_dir_all(&dir).expect("a directory");
        }
        let len = 20 + numbers.below(181);
        let bytes = numbers.bytes(usize::try_from(len).expect("small"));
        fs::write(dir.join(format!("file-{number}")), bytes).expect("a file");
    }
}

/// What an import of many files took.
#[derive(Debug)]
struct Figures {
    files: u64,
    wall: Duration,
    client_cpu: Duration,
    server_cpu: Duration,
    memory: Resident,
    memory_after_kill: Resident,
    /// Bytes of all keys and values.
    rows: u64,
    /// Without the chunks.
    written: u64,
    open: u64,
    closed: u64,
    start_after_kill: Duration,
    stop: Duration,
    start_after_stop: Duration,
}

impl Figures {
    fn print(&self) {
        let (written, open, closed) = self.per_row();
        println!("{self:#?}");
        println!(
            "{} files: {written:.2} bytes written for each byte of a row; the disk holds {open:.2} while \
             the server runs, {closed:.2} once it has stopped",
            self.files
        );
    }

    fn per_row(&self) -> (f64, f64, f64) {
        (
            ratio(self.written, self.rows),
            ratio(self.open, self.rows),
            ratio(self.closed, self.rows),
        )
    }

    fn assert_within_bounds(&self) {
        let (written, open, closed) = self.per_row();
        assert!(written <= WRITTEN_PER_ROW_MAX, "{written} {self:?}");
        assert!(open <= OPEN_PER_ROW_MAX, "{open} {self:?}");
        assert!(closed <= OPEN_PER_ROW_MAX, "{closed} {self:?}");
        for memory in [self.memory, self.memory_after_kill] {
            assert!(memory.peak <= MEMORY_MAX, "{self:?}");
        }
        assert!(self.stop <= STOP_MAX, "{self:?}");
        for start in [self.start_after_kill, self.start_after_stop] {
            assert!(start <= START_MAX, "{self:?}");
        }
    }

    /// The processor time grows as the number of files does. Small imports differ by a tenth from each
    /// other, so the middle one of several counts.
    fn assert_linear_from(&self, few: &[Self]) {
        let more = ratio(self.files, few[0].files);
        let pairs = [
            ("client", median(few, |it| it.client_cpu), self.client_cpu),
            ("server", median(few, |it| it.server_cpu), self.server_cpu),
        ];
        let linear =
            pairs.map(|(who, few, many)| (who, many.as_secs_f64() / few.as_secs_f64() / more));
        println!("processor time by what is linear: {linear:.2?}");
        assert!(linear.iter().all(|(_, times)| *times <= 1.3), "{linear:?}");
    }
}

fn median(figures: &[Figures], of: impl Fn(&Figures) -> Duration) -> Duration {
    let mut times: Vec<_> = figures.iter().map(of).collect();
    times.sort();
    times[times.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs few digits")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// Returns the bytes that files below a directory take on their disk.
fn space_of(dir: &Path) -> u64 {
    let len = |path: &Path| fs::metadata(path).map_or(0, |file| file.blocks() * 512);
    files(dir).iter().map(|path| len(path)).sum()
}

fn space_of_metadata(world: &World) -> u64 {
    space_of(&world.data().join("meta"))
}

/// Returns the bytes of all keys and values of a server that has stopped, without those that a commit only
/// passes through.
fn rows_of(world: &World) -> u64 {
    let dir = world.data().join("meta");
    let engine = Engine::found_in(&dir).expect("a store").expect("a store");
    let store = engine.open(&dir).expect("a store");
    let rows = store.scan_all(KeyRange::all(), 1_000);
    let rows = rows.map(|row| row.expect("a row"));
    let kept = rows.filter(|(key, _)| key.first().is_none_or(|table| !STAGED.contains(table)));
    kept.map(|(key, value)| (key.len() + value.len()) as u64)
        .sum()
}

fn start_import(world: &World, tree: &Path, project: &str) -> Program {
    let words = [OsStr::new("import"), tree.as_os_str(), OsStr::new(project)];
    let mut command = world.command(words);
    // The server comes back after each kill. What takes longer than the time between two kills fails until
    // the last of them, so this must be longer than all of them together.
    command.env("LFSFS_RETRY_FOR", "900");
    Program::start(command).expect("lfsfs starts")
}

/// Waits for an import, and returns what it used.
fn finish(mut import: Program) -> Usage {
    let usage = usage_at_end(&import, IMPORT_MAX);
    let status = import.wait(IMPORT_MAX).expect("an end");
    assert!(status.success(), "{status}: {}", import.output());
    usage
}

fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let done = act();
    (start.elapsed(), done)
}

/// Imports a tree into a new server, which is killed and stopped afterwards, and runs again at the end.
fn import_and_measure(tree: &Path, count: u64) -> (World, Figures) {
    let mut world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let before = Usage::of(world.server());
    let (wall, client) = timed(|| finish(start_import(&world, tree, "app")));
    let server = Usage::of(world.server()).since(before);
    let memory = Resident::of(world.server());
    let open = space_of_metadata(&world);
    world.kill_server();
    let (start_after_kill, ()) = timed(|| world.start_server(&[]));
    assert_eq!(world.head("app"), 1);
    let memory_after_kill = Resident::of(world.server());
    let (stop, ()) = timed(|| {
        world.server().signal(Signal::TERM).expect("a server");
        let _ = usage_at_end(world.server(), STOP_MAX + START_MAX);
        world.stop_server();
    });
    let closed = space_of_metadata(&world);
    let rows = rows_of(&world);
    world.assert_check_is_clean();
    let (start_after_stop, ()) = timed(|| world.start_server(&[]));
    let chunks = space_of(&world.data().join("chunks"));
    let figures = Figures {
        files: count,
        wall,
        client_cpu: client.cpu,
        server_cpu: server.cpu,
        memory,
        memory_after_kill,
        rows,
        written: server.written.saturating_sub(chunks),
        open,
        closed,
        start_after_kill,
        stop,
        start_after_stop,
    };
    (world, figures)
}

fn assert_is_whole(world: &World, tree: &Path, expected: &Listing) {
    assert_same_listing(&listing_of_version(world, "app"), expected);
    let all = files(tree);
    let some: Vec<_> = all.iter().step_by(all.len().div_ceil(FILES_READ)).collect();
    let paths = some
        .iter()
        .map(|path| path.strip_prefix(tree).expect("a path below the tree"));
    let words = ["cat", "app"].map(OsStr::new).into_iter();
    let run = world.lfsfs(words.chain(paths.map(Path::as_os_str)));
    let _ = run.ok();
    let bytes = some.iter().flat_map(|path| fs::read(path).expect("a file"));
    assert!(
        bytes.eq(run.stdout_bytes().iter().copied()),
        "a file has other bytes"
    );
}

/// Removes the project and imports it anew, so often: the space is used again.
fn assert_space_is_used_again(world: &World, tree: &Path, rounds: u32) {
    let before = space_of_metadata(world);
    for _ in 0..rounds {
        let _ = world
            .lfsfs(["project", "delete", "--yes", "--purge", "app"])
            .ok();
        let _ = world.lfsfs(["project", "new", "app"]).ok();
        let _ = finish(start_import(world, tree, "app"));
    }
    let after = space_of_metadata(world);
    println!("{before} bytes on disk, {after} once all was removed and imported again");
    assert!(ratio(after, before) <= 1.5, "{before}, then {after}");
}

/// Kills the server so often in the middle of an import, which goes on each time.
fn import_through_kills(tree: &Path, expected: &Listing, wall: Duration, kills: u32) {
    let mut world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let mut import = start_import(&world, tree, "app");
    let mut in_the_middle = 0;
    for _ in 0..kills {
        std::thread::sleep(wall / (kills + 1));
        let runs = import.try_wait().expect("a process").is_none();
        in_the_middle += u32::from(runs);
        world.kill_server();
        let (start, ()) = timed(|| world.start_server(&[]));
        assert!(start <= START_MAX, "{start:?} after a kill");
    }
    let _ = finish(import);
    println!("{in_the_middle} of {kills} kills came before the end of the import");
    assert!(in_the_middle * 2 >= kills, "{in_the_middle} of {kills}");
    assert_eq!(world.head("app"), 1);
    assert_is_whole(&world, tree, expected);
    world.stop_server();
    world.assert_check_is_clean();
}

fn make_tree(count: u64) -> (lfsfs_testkit::tempdir::TempDir, Listing) {
    let dir = lfsfs_testkit::tempdir::TempDir::new().expect("a scratch directory");
    write_tree(dir.path(), count);
    let listing = listing_of_dir(dir.path());
    (dir, listing)
}

#[test]
fn fifty_thousand_files_take_little_memory_and_space() {
    let (tree, listing) = make_tree(50_000);
    let (world, figures) = import_and_measure(tree.path(), 50_000);
    figures.print();
    figures.assert_within_bounds();
    assert_is_whole(&world, tree.path(), &listing);
    assert_space_is_used_again(&world, tree.path(), 1);
}

#[test]
fn a_clean_stop_gives_space_back() {
    let (tree, _) = make_tree(20_000);
    let (_, figures) = import_and_measure(tree.path(), 20_000);
    let (_, _, closed) = figures.per_row();
    assert!(closed <= CLOSED_PER_ROW_MAX, "{closed} {figures:?}");
}

#[test]
fn an_import_of_many_files_goes_on_through_three_kills() {
    let (tree, listing) = make_tree(10_000);
    let wall = import_and_measure(tree.path(), 10_000).1.wall;
    import_through_kills(tree.path(), &listing, wall, 3);
}

/// One test, so that its parts do not take the machine from each other.
#[test]
#[ignore = "soak: a million files"]
fn a_million_files_cost_what_their_number_says() {
    let (tree, _) = make_tree(100_000);
    let few: Vec<_> = (0..3)
        .map(|_| import_and_measure(tree.path(), 100_000).1)
        .collect();
    few.iter().for_each(Figures::print);
    drop(tree);
    let (tree, listing) = make_tree(1_000_000);
    let (world, many) = import_and_measure(tree.path(), 1_000_000);
    many.print();
    assert_is_whole(&world, tree.path(), &listing);
    assert_space_is_used_again(&world, tree.path(), 3);
    drop(world);
    import_through_kills(tree.path(), &listing, many.wall, 10);
    many.assert_linear_from(&few);
    many.assert_within_bounds();
}
