//! A server and a client in one scratch directory.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lfsfs_testkit::process::{Binaries, Program, ensure_built};
use lfsfs_testkit::tempdir::TempDir;

use crate::mounted::Mounted;
use crate::run::Run;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// Names the mode of read-only mounts, to run the same tests in kernel mode.
const MODE_VARIABLE: &str = "LFSFS_TEST_MODE";

/// A scratch directory with a server's data in it, the server, and the places of a client.
#[derive(Debug)]
pub struct World {
    // Ended before the directory goes.
    server: Option<Program>,
    address: String,
    data: PathBuf,
    binaries: &'static Binaries,
    dir: TempDir,
}

impl World {
    /// Starts a server on a free port.
    #[must_use]
    pub fn new() -> Self {
        let mut world = Self::without_server();
        world.start_server(&[]);
        world
    }

    /// As [`new`](Self::new), with further arguments for the server.
    #[must_use]
    pub fn with_server_arguments(arguments: &[&str]) -> Self {
        let mut world = Self::without_server();
        world.start_server(arguments);
        world
    }

    /// Makes the places and starts nothing. No process listens at the server's address.
    #[must_use]
    pub fn without_server() -> Self {
        let dir = TempDir::new().expect("a scratch directory");
        let data = dir.path().join("data");
        // Port 1 of loopback: root could listen there, and no process does.
        let address = "127.0.0.1:1".to_owned();
        let binaries = ensure_built().expect("the programs can be built");
        Self {
            server: None,
            address,
            data,
            binaries,
            dir,
        }
    }

    /// Makes the places of another client of the same server.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            address: self.address.clone(),
            ..Self::without_server()
        }
    }

    /// Keeps the server's data somewhere else, such as on a disk that can be filled.
    pub fn set_data(&mut self, data: &Path) {
        data.clone_into(&mut self.data);
    }

    /// Returns where the server's data lies.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Returns a path in the scratch directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a directory in the scratch directory.
    #[must_use]
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Starts the server, at the address where it was before if there was one.
    ///
    /// # Panics
    /// Where it does not say that it listens.
    pub fn start_server(&mut self, arguments: &[&str]) {
        let again = self.address != "127.0.0.1:1";
        let listen = if again {
            self.address.clone()
        } else {
            "127.0.0.1:0".to_owned()
        };
        let mut command = self.lfsfsd(["all", "--listen", &listen]);
        command.arg("--data").arg(&self.data).args(arguments);
        let server = Program::start(command).expect("lfsfsd starts");
        self.address = server
            .wait_for_word("listening on ", START_TIMEOUT)
            .expect("lfsfsd listens");
        self.server = Some(server);
    }

    /// Returns the running server.
    ///
    /// # Panics
    /// Where none runs.
    pub fn server(&mut self) -> &mut Program {
        self.server.as_mut().expect("a server runs")
    }

    /// Ends the server with SIGKILL.
    pub fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("a process can be killed");
        }
    }

    /// Ends the server with SIGTERM.
    ///
    /// # Panics
    /// Where it does not end, or not well.
    pub fn stop_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            let status = server
                .terminate(END_TIMEOUT)
                .expect("lfsfsd ends when told to");
            assert!(status.success(), "{status}: {}", server.output());
        }
    }

    /// Returns host:port of the server.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Has the client ask somewhere else, such as at a proxy.
    pub fn set_address(&mut self, address: &str) {
        address.clone_into(&mut self.address);
    }

    /// Returns a command of `lfsfsd`, not run yet.
    #[must_use]
    pub fn lfsfsd<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.binaries.lfsfsd);
        command.args(arguments);
        command
    }

    /// Returns a command of `lfsfs` in this world, not run yet.
    #[must_use]
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.at_home(Command::new(&self.binaries.lfsfs), arguments)
    }

    /// Returns a command of a copy of `lfsfs` that every user can reach, not run yet: other users may
    /// have no way to where it was built.
    ///
    /// # Panics
    /// Where it cannot be copied.
    #[must_use]
    pub fn command_for_any_user<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let copy = self.path("lfsfs");
        if !copy.exists() {
            fs::copy(&self.binaries.lfsfs, &copy).expect("a copy");
        }
        self.at_home(Command::new(copy), arguments)
    }

    /// Returns a command of mount(8)'s helper in this world, not run yet.
    #[must_use]
    pub fn mount_helper<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let helper = self.path("mount.lfsfs");
        if !helper.exists() {
            std::os::unix::fs::symlink(&self.binaries.lfsfs, &helper).expect("a link");
        }
        self.at_home(Command::new(helper), arguments)
    }

    fn at_home<S: AsRef<OsStr>>(
        &self,
        mut command: Command,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        command
            .env("LFSFS_SERVER", &self.address)
            // Tests that stop a server look at what follows, and not at a command that waits for it.
            .env("LFSFS_RETRY_FOR", "0")
            .env("LFSFS_CACHE_DIR", self.path("cache"))
            .env("LFSFS_STATE_DIR", self.path("state"))
            .env("LFSFS_RUN_DIR", self.path("run"))
            .args(arguments);
        command
    }

    /// Runs `lfsfs` to its end.
    #[must_use]
    pub fn lfsfs<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        Run::of(self.command(arguments))
    }

    /// Imports a directory; the project is made if it is not there. Returns `PROJECT@vN`.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub fn import(&self, dir: &Path, project: &str) -> String {
        let inspect = self.lfsfs(["project", "inspect", project]);
        if inspect.code() != Some(0) {
            let _ = self.lfsfs(["project", "new", project]).ok();
        }
        self.lfsfs([OsStr::new("import"), dir.as_os_str(), OsStr::new(project)])
            .ok()
    }

    /// Imports a directory into a project that is there, with further options. Returns what the
    /// import says of itself.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn import_json(&self, dir: &Path, project: &str, options: &[&str]) -> serde_json::Value {
        let words = [OsStr::new("import"), dir.as_os_str(), project.as_ref()];
        let options = options.iter().map(OsStr::new);
        let words = words.into_iter().chain(options);
        self.lfsfs(words.chain([OsStr::new("--json")])).json()
    }

    /// Returns the number of a project's newest version.
    ///
    /// # Panics
    /// Where the server does not tell.
    #[must_use]
    #[track_caller]
    pub fn head(&self, project: &str) -> u64 {
        let project = self.lfsfs(["project", "inspect", project, "--json"]).json();
        project["head"].as_u64().expect("a number")
    }

    /// Runs `lfsfsd check` on the data of the server, which must not run.
    #[must_use]
    pub fn check(&self) -> Run {
        let mut command = self.lfsfsd(["check", "--data"]);
        command.arg(&self.data);
        Run::of(command)
    }

    /// Checks that a stopped server's data has no damage.
    ///
    /// # Panics
    /// Where it has.
    #[track_caller]
    pub fn assert_check_is_clean(&self) {
        let check = self.check();
        assert!(check.ok().ends_with(": 0 findings"), "{check:?}");
    }

    /// Runs `lfsfs mount SOURCE DIR -o OPTIONS` to its end.
    #[must_use]
    pub fn mount_at(&self, source: &str, dir: &Path, options: &str) -> Run {
        let words = [OsStr::new("mount"), source.as_ref(), dir.as_os_str()];
        let options = [OsStr::new("-o"), options.as_ref()];
        self.lfsfs(words.into_iter().chain(options))
    }

    /// Mounts a version at a new directory, with `ro` and further options.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn mount(&self, source: &str, options: &str) -> Mounted<'_> {
        // A mode that a test asks for itself wins.
        let mode = std::env::var(MODE_VARIABLE);
        let read_only = mode.map_or_else(|_| "ro".to_owned(), |mode| format!("ro,mode={mode}"));
        Mounted::new(self, source, &read_only, options)
    }

    /// Mounts a version at a new directory for writing, with further options.
    ///
    /// # Panics
    /// Where that fails.
    #[must_use]
    #[track_caller]
    pub fn mount_writable(&self, source: &str, options: &str) -> Mounted<'_> {
        Mounted::new(self, source, "rw", options)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}
