//! Databases whose files lie in a writable mount, while their mount and they themselves are killed: what they
//! acknowledged is there, and they find themselves in order. A version that is made meanwhile is a database, too.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lfsfs_testkit::requirements::{require, require_program};
use lfsfs_tests::{Mounted, Run, World, eventually, in_namespace_for, is_running};

const TIMEOUT: Duration = Duration::from_secs(120);

/// A program that adds rows and prints the number of each when the database has acknowledged it.
const ADD_ROWS: &str = "import sqlite3, sys
c = sqlite3.connect('data.db', isolation_level=None, timeout=30)
print(c.execute('pragma journal_mode=' + sys.argv[1]).fetchone()[0], flush=True)
c.execute('pragma synchronous=full')
c.execute('create table if not exists t (n integer primary key, text)')
while True:
    n = c.execute('insert into t (text) values (?)', ('x' * 3000,)).lastrowid
    print(n, flush=True)
";
const CHECK_ROWS: &str = "import sqlite3
c = sqlite3.connect('data.db')
print(c.execute('pragma integrity_check').fetchone()[0], c.execute('select count(*) from t').fetchone()[0])
";
const ROWS_A_ROUND: u64 = 40;

/// Adds rows until the mount is killed. Returns how many were acknowledged in all.
fn add_rows_until_the_kill(mount: &Mounted<'_>, journal: &str) -> u64 {
    let mut python = Command::new("python3")
        .current_dir(mount.path())
        .args(["-c", ADD_ROWS, journal])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("python starts");
    let output = python.stdout.take().expect("its output");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some(journal));
    let number = |line: String| line.parse::<u64>().expect("a number");
    let mut last = 0;
    for (count, row) in lines.map(number).enumerate() {
        last = row;
        if count as u64 == ROWS_A_ROUND {
            mount.kill();
        }
    }
    let _ = python.wait().expect("it ended");
    last
}

fn sqlite_keeps_what_it_acknowledged(journal: &str) {
    let world = World::new();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let mount = world.mount_writable("app", "");
    for round in 1..=3 {
        let acknowledged = add_rows_until_the_kill(&mount, journal);
        assert!(acknowledged >= round * ROWS_A_ROUND, "round {round}");
        mount.mount("app");
        let mut check = Command::new("python3");
        check.current_dir(mount.path()).args(["-c", CHECK_ROWS]);
        let found = Run::of(check).ok();
        let (state, rows) = found.split_once(' ').expect("two words");
        assert_eq!(state, "ok", "round {round}");
        let rows: u64 = rows.parse().expect("a number");
        // The row that was under way may be there.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&rows),
            "round {round}: {rows} rows, {acknowledged} acknowledged"
        );
    }
    mount.umount();
}

#[test]
fn sqlite_keeps_what_it_acknowledged_over_kills_of_its_mount() {
    if require_program("python3").is_err() {
        return;
    }
    let name = "databases::sqlite_keeps_what_it_acknowledged_over_kills_of_its_mount";
    in_namespace_for(name, TIMEOUT, || {
        sqlite_keeps_what_it_acknowledged("wal");
        sqlite_keeps_what_it_acknowledged("delete");
    });
}

/// The user that the server runs as: it refuses root.
const USER: u32 = 65_534;
/// Sums that are equal in a database whose transactions are whole.
const SUMS: &str = "select (select sum(abalance) from pgbench_accounts) = (select coalesce(sum(delta), 0) from \
    pgbench_history) and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers) \
    and (select sum(bbalance) from pgbench_branches) = (select coalesce(sum(delta), 0) from pgbench_history)";

/// Returns where the programs of PostgreSQL lie; Debian has those of the server in no directory of PATH.
fn find_postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let bins = versions.map_while(|it| Some(it.ok()?.path().join("bin")));
    let found = bins
        .filter(|bin| bin.join("initdb").exists() && bin.join("pgbench").exists())
        .max();
    let missing = || "no initdb below /usr/lib/postgresql".to_owned();
    let checked = found.as_ref().map(drop).ok_or_else(missing);
    require("the server of PostgreSQL", checked).ok()?;
    found
}

/// A server of PostgreSQL.
struct Postgres<'a> {
    bin: &'a Path,
    /// The directory of its socket.
    socket: &'a Path,
    server: Child,
}

impl<'a> Postgres<'a> {
    fn start(bin: &'a Path, socket: &'a Path, data: &Path) -> Self {
        let mut postgres = as_user(&bin.join("postgres"));
        postgres
            .arg("-D")
            .arg(data)
            .arg("-k")
            .arg(socket)
            // Small, and without memory that stays behind when it is killed.
            .args(["-h", "", "-c", "dynamic_shared_memory_type=mmap"])
            .args(["-c", "shared_buffers=16MB", "-c", "min_wal_size=32MB"])
            .stderr(Stdio::null());
        let server = postgres.spawn().expect("postgres starts");
        let started = Self {
            bin,
            socket,
            server,
        };
        let answers = || started.psql("select 1").code() == Some(0);
        assert!(eventually(TIMEOUT, answers), "it serves");
        started
    }

    fn client(&self, program: &str) -> Command {
        let mut command = as_user(&self.bin.join(program));
        command
            .arg("-h")
            .arg(self.socket)
            .args(["-U", "postgres"])
            .env("PGCONNECT_TIMEOUT", "5");
        command
    }

    fn psql(&self, query: &str) -> Run {
        let mut psql = self.client("psql");
        psql.args(["-Atqc", query, "postgres"]);
        Run::of(psql)
    }

    #[track_caller]
    fn assert_is_whole(&self) -> u64 {
        assert_eq!(self.psql(SUMS).ok(), "t", "the sums are equal");
        let history = self.psql("select count(*) from pgbench_history").ok();
        history.parse().expect("a number")
    }

    /// Runs transactions for some seconds, with something in the middle. Returns how many were acknowledged.
    fn run_with(&self, seconds: u64, in_the_middle: impl FnOnce()) -> u64 {
        let mut pgbench = self.client("pgbench");
        pgbench
            .args(["-n", "-c", "2", "-T", &seconds.to_string(), "postgres"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let running = pgbench.spawn().expect("pgbench starts");
        std::thread::sleep(Duration::from_secs(seconds) / 2);
        in_the_middle();
        let output = running.wait_with_output().expect("it ended");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = output
            .lines()
            .find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        let count = line.and_then(|count| count.trim().parse().ok());
        assert!(count.is_some(), "no count: {output}");
        count.unwrap_or_default()
    }

    /// Ends it as a loss of the machine does.
    fn kill(mut self) {
        let pid = self.server.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("its processes");
        self.server.kill().expect("it is killed");
        let _ = self.server.wait().expect("it ended");
        // They end when they miss it. Until then a new one does not start.
        let pids = children.split_whitespace().map(str::parse::<u32>);
        let pids: Vec<_> = pids.map(|pid| pid.expect("a process")).collect();
        let is_over = || !pids.iter().any(|pid| is_running(*pid));
        assert!(eventually(TIMEOUT, is_over), "{pids:?} run");
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
        let ended = self.server.wait().expect("it ended");
        assert!(ended.success(), "{ended}");
    }
}

fn as_user(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir("/")
        .uid(USER)
        .gid(USER)
        .env("LC_ALL", "C");
    command
}

/// Makes a directory that the server may use.
fn directory(path: PathBuf) -> PathBuf {
    fs::create_dir(&path).expect("a directory");
    chown(&path, Some(USER), Some(USER)).expect("an owner");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
    path
}

#[test]
fn postgres_keeps_what_it_acknowledged_and_its_versions_are_databases() {
    let Some(bin) = find_postgres() else {
        return;
    };
    let name = "databases::postgres_keeps_what_it_acknowledged_and_its_versions_are_databases";
    in_namespace_for(name, TIMEOUT, || {
        let world = World::new();
        fs::set_permissions(world.path("."), fs::Permissions::from_mode(0o755)).expect("a mode");
        let socket = directory(world.path("socket"));
        let _ = world.lfsfs(["project", "new", "app"]).ok();
        let mount = world.mount_writable("app", "");
        let data = directory(mount.path().join("data"));
        let mut initdb = as_user(&bin.join("initdb"));
        initdb
            .args(["-A", "trust", "-U", "postgres", "-D"])
            .arg(&data);
        let _ = Run::of(initdb).ok();

        let postgres = Postgres::start(&bin, &socket, &data);
        let mut fill = postgres.client("pgbench");
        fill.args(["-i", "-q", "postgres"]);
        let _ = Run::of(fill).ok();
        let first = postgres.run_with(2, || {
            let _ = mount.commit("while it works");
        });
        assert!(first > 0);
        assert_eq!(postgres.assert_is_whole(), first);
        postgres.kill();

        // Its mount dies while it works.
        let postgres = Postgres::start(&bin, &socket, &data);
        assert_eq!(postgres.assert_is_whole(), first);
        let second = postgres.run_with(2, || mount.kill());
        postgres.kill();
        mount.mount("app@v1");
        let postgres = Postgres::start(&bin, &socket, &data);
        let all = postgres.assert_is_whole();
        // Each of the two clients may have had one under way.
        let expected = first + second..=first + second + 2;
        assert!(expected.contains(&all), "{all}, {expected:?} acknowledged");
        postgres.stop();
        mount.umount();

        // The version that was made while it worked is what a loss of power would have left.
        let copy = world.mount_writable("app@v1", "");
        let postgres = Postgres::start(&bin, &socket, &copy.path().join("data"));
        assert!(postgres.assert_is_whole() <= first);
        postgres.stop();
        copy.umount();
    });
}
