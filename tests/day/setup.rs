//! `.ci/setup` on machines that lack something, with an apt-get that is only a script.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lfsfs_testkit::requirements::find_program;
use lfsfs_testkit::tempdir::TempDir;
use lfsfs_tests::Run;

use crate::support::{repository, write_program};

/// A machine without a C compiler, and with what its apt-get does.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// `apt_get` is a script; `$BIN` is where programs lie, and `$CALLS` a file for its calls.
    fn new(apt_get: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let machine = Self { dir };
        for name in ["tr", "sort", "cat", "sh", "grep", "wc"] {
            let program = find_program(name).expect(name);
            std::os::unix::fs::symlink(program, machine.bin().join(name)).expect("a link");
        }
        for name in ["make", "cargo"] {
            write_program(&machine.bin().join(name), "#!/bin/sh\n");
        }
        write_program(&machine.bin().join("sleep"), "#!/bin/sh\n");
        write_program(
            &machine.bin().join("id"),
            "#!/bin/sh\necho ${FAKE_UID:-0}\n",
        );
        let apt_get = format!("#!/bin/sh\necho \"$*\" >> \"$CALLS\"\n{apt_get}");
        write_program(&machine.bin().join("apt-get"), &apt_get);
        machine
    }

    fn bin(&self) -> PathBuf {
        let bin = self.dir.path().join("bin");
        fs::create_dir_all(&bin).expect("a directory");
        bin
    }

    fn setup(&self, uid: &str) -> Run {
        let mut command = Command::new("/bin/sh");
        command
            .arg(repository().join(".ci/setup"))
            .arg("build")
            .env_clear()
            .env("PATH", self.bin())
            .env("BIN", self.bin())
            .env("CALLS", self.calls_file())
            .env("FAKE_UID", uid);
        Run::of(command)
    }

    fn calls_file(&self) -> PathBuf {
        self.dir.path().join("calls")
    }

    /// Returns how apt-get was called.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.calls_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// A machine that has a compiler elsewhere on the path of the file system's tools would need none.
fn has_compiler_in_sbin() -> bool {
    ["/sbin/cc", "/usr/sbin/cc"]
        .iter()
        .any(|path| Path::new(path).exists())
}

#[test]
fn another_apt_get_is_waited_for() {
    if has_compiler_in_sbin() {
        return;
    }
    for held in [
        "Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7",
        "Could not get lock /var/lib/apt/lists/lock. It is held by process 7",
        "Unable to lock directory /var/cache/apt/archives/",
    ] {
        let machine = Machine::new(&format!(
            "[ $(wc -l < \"$CALLS\") -gt 3 ] || {{ echo 'E: {held}' >&2; exit 100; }}\n\
             echo '#!/bin/sh' > \"$BIN/cc\"; /bin/chmod +x \"$BIN/cc\"\n"
        ));
        let run = machine.setup("0");
        assert_eq!(run.code(), Some(0), "{run:?}");
        assert!(
            run.stdout().contains("waiting for another apt-get"),
            "{run:?}"
        );
        let calls = machine.calls();
        assert_eq!(calls.len(), 4, "{calls:?}");
        assert!(
            calls
                .iter()
                .all(|call| call.contains("install") && call.contains("gcc"))
        );
    }
}

#[test]
fn old_lists_are_fetched_once() {
    if has_compiler_in_sbin() {
        return;
    }
    let machine = Machine::new(
        "case \"$*\" in *update*) echo > \"$BIN/updated\"; exit 0 ;; esac\n\
         [ -e \"$BIN/updated\" ] || { echo 'E: Unable to locate package gcc' >&2; exit 100; }\n\
         echo '#!/bin/sh' > \"$BIN/cc\"; /bin/chmod +x \"$BIN/cc\"\n",
    );
    let run = machine.setup("0");
    assert_eq!(run.code(), Some(0), "{run:?}");
    assert_eq!(machine.calls().len(), 3, "{:?}", machine.calls());
}

#[test]
fn what_cannot_be_installed_is_named_with_the_command() {
    if has_compiler_in_sbin() {
        return;
    }
    let machine = Machine::new("echo 'E: no network' >&2; exit 100\n");
    let run = machine.setup("0");
    run.fails(
        1,
        &["no network", "missing: gcc", "sudo apt-get install gcc"],
    );
    // A user cannot install, and is told the same.
    let machine = Machine::new("exit 0\n");
    let run = machine.setup("1000");
    run.fails(1, &["missing: gcc", "sudo apt-get install gcc"]);
    assert_eq!(machine.calls(), Vec::<String>::new());
}
