//! What programs make in a writable mount, and whether a version keeps it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use lfsfs_testkit::requirements::{require, require_program};
use lfsfs_tests::{Mounted, Run, World, count, files, in_namespace, requests_of, run};

use crate::support::{assert_version_is_mount, write};

/// Runs a program in a directory, without the settings of the user that runs the tests.
#[track_caller]
fn run_in(dir: &Path, program: &str, words: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .args(words)
        .env("HOME", dir.parent().expect("a directory above"))
        .env("GIT_CONFIG_NOSYSTEM", "1");
    // Set where `make test` runs the tests: a make below it would take over its flags and tell its place.
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        command.env_remove(name);
    }
    Run::of(command).ok()
}

#[track_caller]
fn git(dir: &Path, words: &[&str]) -> String {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
    let safe = ["-c", "safe.directory=*", "-c", "protocol.file.allow=always"];
    let words: Vec<_> = identity.iter().chain(&safe).chain(words).copied().collect();
    run_in(dir, "git", &words)
}

/// A writable mount of a project without anything in it.
fn empty_project(world: &World) -> Mounted<'_> {
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    world.mount_writable("app", "")
}

/// Makes a bare repository of the sources that this test was built from.
fn bare_repository(world: &World) -> std::path::PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let work = world.make_dir("work");
    // The files that are there rather than the history: those of an archive have none.
    for name in [
        "crates",
        "fs-mount",
        "server",
        "proto",
        "docs",
        "tests",
        "Cargo.toml",
    ] {
        let from = sources.join(name);
        let words = ["-a".as_ref(), from.as_os_str(), work.as_os_str()];
        let _ = run("cp", words).ok();
    }
    git(&work, &["init", "-q", "-b", "main"]);
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "first"]);
    git(&work, &["rm", "-q", "-r", "docs"]);
    git(&work, &["commit", "-q", "-m", "second"]);
    git(&work, &["revert", "--no-edit", "HEAD"]);
    let bare = world.path("bare.git");
    let words = ["clone", "-q", "--bare", ".", bare.to_str().expect("text")];
    git(&work, &words);
    bare
}

#[test]
fn git_clones_commits_and_checks() {
    if require_program("git").is_err() {
        return;
    }
    in_namespace("programs::git_clones_commits_and_checks", || {
        let world = World::new();
        let bare = bare_repository(&world);
        let mount = empty_project(&world);
        let clone = mount.path().join("clone");
        let address = format!("file://{}", bare.display());
        git(mount.path(), &["clone", "-q", &address, "clone"]);
        assert_eq!(git(&clone, &["status", "--porcelain"]), "");
        write(&clone.join("docs/new.md"), "new\n");
        fs::write(clone.join("Cargo.toml"), "# changed\n").expect("a file");
        git(&clone, &["mv", "proto", "moved"]);
        git(&clone, &["add", "-A"]);
        git(&clone, &["commit", "-q", "-m", "third"]);
        git(&clone, &["checkout", "-q", "-b", "other", "HEAD~2"]);
        git(&clone, &["checkout", "-q", "main"]);
        git(&clone, &["gc", "-q"]);
        git(&clone, &["fsck", "--strict"]);
        git(&clone, &["push", "-q", "origin", "main"]);
        // git reads files again that have a time of the second in which it wrote its index.
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3_600);
        for path in git(&clone, &["ls-files"]).lines() {
            let file = File::options().write(true).open(clone.join(path));
            file.and_then(|file| file.set_modified(an_hour_ago))
                .expect("a time");
        }
        assert_eq!(git(&clone, &["status", "--porcelain"]), "");

        mount.commit("a clone");
        assert_version_is_mount(&world, "app@v1", mount.path());
        mount.remount();
        assert_eq!(git(&clone, &["status", "--porcelain"]), "");
        git(&clone, &["fsck", "--strict"]);
        assert_eq!(git(&clone, &["log", "--format=%s", "-1"]), "third");

        // Over a remount of what is committed git believes its index: it reads no file again.
        mount.commit("with git's index as it is now");
        mount.remount();
        let tracked = git(&clone, &["ls-files"]).lines().count() as u64;
        mount.remount();
        let reads = requests_of(&mount, || {
            assert_eq!(git(&clone, &["status", "--porcelain"]), "");
        });
        let reads = count(&reads, "READ");
        assert!(reads < tracked / 4, "{reads} READs for {tracked} files");
        mount.umount();
    });
}

const PACKAGE: &str = r#"{"name": "app", "version": "1.0.0", "private": true,
    "scripts": {"build": "node build.js", "test": "node test.js"},
    "dependencies": {"left": "file:../packages/left-1.0.0.tgz"}}"#;
const BUILD: &str = "const fs = require('fs');
fs.mkdirSync('dist', {recursive: true});
for (let i = 0; i < 200; i++) fs.writeFileSync(`dist/${i}.js`, `module.exports = ${i};\\n`);
fs.renameSync('dist/0.js', 'dist/zero.js');
fs.appendFileSync('dist/zero.js', '// ' + require('left')('x', 3) + '\\n');
fs.symlinkSync('zero.js', 'dist/link.js');
fs.copyFileSync('dist/zero.js', 'dist/copy.js');
";
const TEST: &str = "const fs = require('fs'), assert = require('assert');
assert.equal(require('./dist/link.js'), 0);
assert.equal(fs.readdirSync('dist').length, 202);
let sum = 0; for (let i = 1; i < 200; i++) sum += require('./dist/' + i + '.js');
console.log(sum, fs.readFileSync('dist/copy.js', 'utf8').split('\\n')[1]);
";

#[test]
fn npm_installs_and_runs_scripts() {
    if require_program("npm").is_err() || require_program("node").is_err() {
        return;
    }
    in_namespace("programs::npm_installs_and_runs_scripts", || {
        let world = World::new();
        let mount = empty_project(&world);
        let left = mount.path().join("packages/left");
        write(
            &left.join("package.json"),
            r#"{"name": "left", "version": "1.0.0"}"#,
        );
        write(
            &left.join("index.js"),
            "module.exports = (text, len) => text.padStart(len, '0');\n",
        );
        let packages = mount.path().join("packages");
        let npm = |dir: &Path, words: &[&str]| {
            let cache = world.path("npm");
            let quiet = [
                "--offline",
                "--no-audit",
                "--no-fund",
                "--silent",
                "--cache",
            ];
            let mut all = words.to_vec();
            all.extend(quiet);
            let cache = cache.to_str().expect("text").to_owned();
            all.push(&cache);
            run_in(dir, "npm", &all)
        };
        npm(&packages, &["pack", "./left"]);
        let app = mount.path().join("app");
        write(&app.join("package.json"), PACKAGE);
        write(&app.join("build.js"), BUILD);
        write(&app.join("test.js"), TEST);
        npm(&app, &["install"]);
        npm(&app, &["run", "build"]);
        let told = npm(&app, &["run", "test"]);
        assert!(told.ends_with("19900 // 00x"), "{told}");
        mount.commit("built");
        assert_version_is_mount(&world, "app@v1", mount.path());

        // As a job does it: everything anew, and it is the same.
        npm(&app, &["ci"]);
        fs::remove_dir_all(app.join("dist")).expect("a directory");
        npm(&app, &["run", "build"]);
        let lines = mount.diff();
        let is_time = |line: &String| line.starts_with("T ");
        let other: Vec<_> = lines.iter().filter(|line| !is_time(line)).collect();
        assert!(other.len() <= 2, "the same contents again: {other:?}");
        mount.kill_and_mount();
        assert_eq!(npm(&app, &["run", "test"]), told);
        mount.commit("built again");
        assert_version_is_mount(&world, "app@v2", mount.path());
        mount.umount();
    });
}

const PYTHON: &str = "
import compileall, os, sqlite3, tempfile, mmap, shutil, sys
assert compileall.compile_dir('package', quiet=1)
for mode in ('delete', 'wal', 'truncate'):
    database = sqlite3.connect('data.db')
    database.execute('pragma journal_mode=' + mode)
    database.execute('create table if not exists t (k integer primary key, v blob)')
    for batch in range(20):
        with database:
            rows = ((None, os.urandom(500)) for _ in range(50))
            database.executemany('insert into t values (?, ?)', rows)
    with database:
        database.execute('delete from t where k % 3 = 0')
    database.execute('vacuum')
    assert database.execute('pragma integrity_check').fetchone() == ('ok',)
    database.close()
with open('mapped', 'w+b') as file:
    file.truncate(100_000)
    with mmap.mmap(file.fileno(), 0) as mapped:
        mapped[50_000:50_005] = b'hello'
        mapped.flush()
with tempfile.NamedTemporaryFile(dir='.') as file:
    file.write(b'x' * 10_000)
    file.flush()
shutil.rmtree('copied', ignore_errors=True)
shutil.copytree('package', 'copied')
os.replace('mapped', 'copied/mapped')
shutil.make_archive('archive', 'gztar', 'copied')
sys.path.insert(0, '.')
import package.module
print(package.module.answer())
";

#[test]
fn python_compiles_and_keeps_a_database() {
    if require_program("python3").is_err() {
        return;
    }
    in_namespace("programs::python_compiles_and_keeps_a_database", || {
        let world = World::new();
        let mount = empty_project(&world);
        let dir = mount.path();
        write(&dir.join("package/__init__.py"), "");
        write(
            &dir.join("package/module.py"),
            "def answer():\n    return 42\n",
        );
        write(&dir.join("job.py"), PYTHON);
        assert_eq!(run_in(dir, "python3", &["job.py"]), "42");
        let check = "import sqlite3; c = sqlite3.connect('data.db'); \
            print(c.execute('pragma integrity_check').fetchone()[0], \
            c.execute('select count(*) from t').fetchone()[0])";
        let rows = run_in(dir, "python3", &["-c", check]);
        assert!(rows.starts_with("ok "), "{rows}");
        mount.kill_and_mount();
        assert_eq!(run_in(dir, "python3", &["-c", check]), rows);
        assert_eq!(run_in(dir, "python3", &["job.py"]).as_str(), "42");
        mount.commit("compiled");
        assert_version_is_mount(&world, "app@v1", dir);
        mount.umount();
    });
}

/// Makes a package that pip can install without any other and without a network.
const WHEEL: &str = "import zipfile
with zipfile.ZipFile('demo-1.0-py3-none-any.whl', 'w') as wheel:
    info = 'demo-1.0.dist-info/'
    record = ''
    for name, text in (
        ('demo/__init__.py', 'def main():\\n    print(\"demo\")\\n'),
        (info + 'METADATA', 'Metadata-Version: 2.1\\nName: demo\\nVersion: 1.0\\n'),
        (info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'),
        (info + 'entry_points.txt', '[console_scripts]\\ndemo = demo:main\\n'),
    ):
        wheel.writestr(name, text)
        record += name + ',,\\n'
    wheel.writestr(info + 'RECORD', record + info + 'RECORD,,\\n')
";

#[test]
fn pip_installs_into_an_environment() {
    if require_program("python3").is_err() {
        return;
    }
    let import = run("python3", ["-c", "import ensurepip, venv"]);
    let found = match import.code() {
        Some(0) => Ok(()),
        _ => Err(import.stderr()),
    };
    if require("the modules ensurepip and venv of Python", found).is_err() {
        return;
    }
    in_namespace("programs::pip_installs_into_an_environment", || {
        let world = World::new();
        let mount = empty_project(&world);
        let dir = mount.path();
        run_in(dir, "python3", &["-m", "venv", "env"]);
        run_in(dir, "python3", &["-c", WHEEL]);
        let pip = dir.join("env/bin/pip");
        let pip = pip.to_str().expect("text");
        let install = [
            "install",
            "--no-index",
            "--no-cache-dir",
            "./demo-1.0-py3-none-any.whl",
        ];
        run_in(dir, pip, &install);
        let demo = dir.join("env/bin/demo");
        assert_eq!(run_in(dir, demo.to_str().expect("text"), &[]), "demo");
        mount.commit("an environment");
        assert_version_is_mount(&world, "app@v1", dir);
        mount.kill_and_mount();
        assert_eq!(run_in(dir, demo.to_str().expect("text"), &[]), "demo");
        run_in(dir, pip, &["uninstall", "-y", "demo"]);
        assert!(!demo.exists());
        mount.umount();
    });
}

const MAKEFILE: &str = "objects := $(patsubst %.c,%.o,$(wildcard *.c))
program: $(objects)
\tcc -o $@ $^
%.o: %.c all.h
\tcc -c -o $@ $<
clean:
\trm -f program $(objects)
";

#[test]
fn make_compiles_what_changed_alone() {
    if require_program("make").is_err() || require_program("cc").is_err() {
        return;
    }
    in_namespace("programs::make_compiles_what_changed_alone", || {
        let world = World::new();
        let mount = empty_project(&world);
        let dir = mount.path();
        write(&dir.join("Makefile"), MAKEFILE);
        let declare = |number| format!("int part{number}(void);\n");
        let header: String = (0..6).map(declare).collect();
        write(&dir.join("all.h"), header);
        for number in 0..6 {
            let text =
                format!("#include \"all.h\"\nint part{number}(void) {{ return {number}; }}\n");
            write(&dir.join(format!("part{number}.c")), text);
        }
        let sum: Vec<_> = (0..6).map(|number| format!("part{number}()")).collect();
        let main = format!(
            "#include \"all.h\"\n#include <stdio.h>\nint main(void) {{ printf(\"%d\\n\", {}); }}\n",
            sum.join(" + ")
        );
        write(&dir.join("main.c"), main);
        run_in(dir, "make", &["-j2"]);
        let program = |dir: &Path| run(dir.join("program").to_str().expect("text"), [""; 0]).ok();
        assert_eq!(program(dir), "15");
        mount.commit("compiled");
        mount.remount();
        let up_to_date = |told: &str| told.contains("up to date");
        assert!(up_to_date(&run_in(dir, "make", &[])), "times are kept");
        // Times of make must differ.
        std::thread::sleep(Duration::from_millis(20));
        let text = "#include \"all.h\"\nint part3(void) { return 30; }\n";
        fs::write(dir.join("part3.c"), text).expect("a file");
        let told = run_in(dir, "make", &[]);
        assert_eq!(
            told.lines().count(),
            2,
            "one object and the program: {told}"
        );
        assert_eq!(program(dir), "42");
        let changed = mount.diff();
        assert_eq!(changed, ["M part3.c", "M part3.o", "M program"]);
        mount.commit("compiled again");
        assert_version_is_mount(&world, "app@v2", dir);
        mount.switch("v1");
        assert_eq!(program(dir), "15");
        mount.umount();
    });
}

#[test]
fn trees_are_copied_in_whole() {
    in_namespace("programs::trees_are_copied_in_whole", || {
        let world = World::new();
        let tree = world.path("tree");
        let mut spec = lfsfs_testkit::tree::TreeSpec::torture();
        spec.files = 300;
        spec.features.large_file = None;
        // cp and tar go by paths, which the kernel bounds.
        spec.features.long_path = false;
        spec.generate(&tree).expect("a tree");
        let mount = empty_project(&world);
        let dir = mount.path().to_str().expect("text").to_owned();
        let _ = run("cp", ["-a", &format!("{}/.", tree.display()), &dir]).ok();
        let options = lfsfs_testkit::compare::CompareOptions::default();
        lfsfs_testkit::compare::assert_same_trees(&tree, mount.path(), &options);
        mount.commit("copied");
        mount.remount();
        lfsfs_testkit::compare::assert_same_trees(&tree, mount.path(), &options);
        assert_version_is_mount(&world, "app@v1", mount.path());

        let _ = run(
            "rm",
            [
                "-rf".as_ref(),
                mount.path().join("node_modules").as_os_str(),
            ],
        )
        .ok();
        let archive = world.path("archive.tar");
        let archive = archive.to_str().expect("text");
        let pack = ["--xattrs", "--format=posix", "-cf", archive, "-C"];
        let tree_path = tree.to_str().expect("text");
        let _ = run("tar", pack.iter().chain(&[tree_path, "node_modules"])).ok();
        let unpack = [
            "--xattrs",
            "--xattrs-include=*",
            "-xpf",
            archive,
            "-C",
            &dir,
        ];
        let _ = run("tar", unpack).ok();
        let times_of_root = lfsfs_testkit::compare::CompareOptions {
            root: false,
            ..options
        };
        lfsfs_testkit::compare::assert_same_trees(&tree, mount.path(), &times_of_root);
        assert!(!files(mount.path()).is_empty());
        assert_eq!(mount.diff(), Vec::<String>::new(), "unpacked as it was");
        assert_eq!(mount.commit("nothing")["version"], 1);
        mount.umount();
    });
}
