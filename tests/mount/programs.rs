//! What programs make of a mount: interpreters, compiled programs, git, and what copies trees.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use lfsfs_testkit::compare::{CompareOptions, assert_same_trees};
use lfsfs_testkit::requirements::{find_program, require_program};
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Run, World, count, files, in_namespace, inode_numbers, paths, requests_of, run};

#[test]
fn a_node_application_runs() {
    if require_program("node").is_err() {
        return;
    }
    in_namespace("programs::a_node_application_runs", || {
        let world = World::new();
        let tree = world.path("tree");
        TreeSpec::app(2_000).generate(&tree).expect("a tree");
        let source = world.import(&tree, "app");
        let mount = world.mount(&source, "");
        let from = |dir: &Path| run("node", [dir.join("index.js")]).ok();
        assert_eq!(from(mount.path()), from(&tree));
        mount.umount();
    });
}

#[test]
fn a_python_application_runs() {
    if require_program("python3").is_err() {
        return;
    }
    in_namespace("programs::a_python_application_runs", || {
        let world = World::new();
        let tree = world.make_dir("tree");
        fs::create_dir_all(tree.join("library/deep")).expect("a directory");
        let files = [
            (
                "main.py",
                "import library.deep.numbers as n\nprint(n.total(10))\n",
            ),
            ("library/__init__.py", ""),
            ("library/deep/__init__.py", ""),
            ("library/deep/numbers.py", "from ..sums import total\n"),
            (
                "library/sums.py",
                "def total(n):\n    return sum(range(n))\n",
            ),
        ];
        for (name, text) in files {
            fs::write(tree.join(name), text).expect("a file");
        }
        let source = world.import(&tree, "app");
        let mount = world.mount(&source, "");
        assert_eq!(run("python3", [mount.path().join("main.py")]).ok(), "45");
        mount.umount();
    });
}

const LIBRARY: &str = "int answer(void) { return 42; }\n";
/// Maps the file that is named, shared and private, and adds up its bytes both ways.
const PROGRAM: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
int answer(void);
static unsigned long sum(const unsigned char *bytes, long len) {
    unsigned long total = 0;
    for (long i = 0; i < len; i++) total = total * 31 + bytes[i];
    return total;
}
int main(int argc, char **argv) {
    int fd = open(argv[1], O_RDONLY);
    struct stat stat;
    if (argc < 2 || fd < 0 || fstat(fd, &stat)) return 1;
    unsigned char *shared = mmap(0, stat.st_size, PROT_READ, MAP_SHARED, fd, 0);
    unsigned char *private = mmap(0, stat.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (shared == MAP_FAILED || private == MAP_FAILED) return 2;
    unsigned long before = sum(shared, stat.st_size);
    private[0] ^= 1;
    if (sum(shared, stat.st_size) != before || sum(private, stat.st_size) == before) return 3;
    printf("%d %lu %d\n", answer(), before, (int)geteuid());
    return 0;
}
"#;

/// Compiles a program with a shared library beside it.
fn compile(world: &World, tree: &Path) {
    let library = world.path("library.c");
    let program = world.path("program.c");
    fs::write(&library, LIBRARY).expect("a file");
    fs::write(&program, PROGRAM).expect("a file");
    let compile = |words: &[&std::ffi::OsStr]| {
        let _ = run("cc", words).ok();
    };
    let shared = tree.join("libanswer.so");
    compile(&[
        "-shared".as_ref(),
        "-fPIC".as_ref(),
        "-o".as_ref(),
        shared.as_ref(),
        library.as_ref(),
    ]);
    let made = tree.join("program");
    compile(&[
        "-o".as_ref(),
        made.as_ref(),
        program.as_ref(),
        shared.as_ref(),
        "-Wl,-rpath,$ORIGIN".as_ref(),
    ]);
}

#[test]
fn a_compiled_program_with_its_library_runs_and_maps_files() {
    if require_program("cc").is_err() {
        return;
    }
    in_namespace(
        "programs::a_compiled_program_with_its_library_runs_and_maps_files",
        || {
            let world = World::new();
            let tree = world.make_dir("tree");
            compile(&world, &tree);
            let noise: Vec<u8> = (0..5_000_000u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect();
            fs::write(tree.join("data"), noise).expect("a file");
            let source = world.import(&tree, "app");
            let mount = world.mount(&source, "");
            let from = |dir: &Path| {
                let program = dir.join("program");
                run(program.to_str().expect("text"), [dir.join("data")]).ok()
            };
            let said = from(mount.path());
            assert!(said.starts_with("42 "), "{said}");
            assert_eq!(said, from(&tree));
            mount.umount();
        },
    );
}

#[test]
fn a_set_user_id_bit_counts_only_with_suid() {
    if require_program("cc").is_err() {
        return;
    }
    in_namespace("programs::a_set_user_id_bit_counts_only_with_suid", || {
        let world = World::new();
        let tree = world.make_dir("tree");
        compile(&world, &tree);
        fs::set_permissions(&tree, PermissionsExt::from_mode(0o755)).expect("a mode");
        fs::write(tree.join("data"), "x").expect("a file");
        chown(tree.join("program"), Some(12), None).expect("an owner");
        let mode = PermissionsExt::from_mode(0o4755);
        fs::set_permissions(tree.join("program"), mode).expect("a mode");
        let source = world.import(&tree, "app");
        // Where every user may go; the namespace is this test's own.
        let dir = Path::new("/mnt");
        for (options, user) in [
            ("ro", "65534"),
            ("ro,suid", "12"),
            ("ro,suid,nosuid", "65534"),
        ] {
            let _ = world.mount_at(&source, dir, options).ok();
            let mut command = Command::new(dir.join("program"));
            // A program that changes its user looks for its library where it always was.
            command.arg(dir.join("data")).uid(65_534).gid(65_534);
            let said = Run::of(command).ok();
            assert_eq!(said.split(' ').next_back(), Some(user), "with {options}");
            let _ = world.lfsfs(["umount", "/mnt"]).ok();
        }
    });
}

/// Runs git on the work tree at `dir` with its own index, so that it can note what it saw.
fn git_status(dir: &Path, index: &Path) -> String {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(dir)
        .args(["-c", "safe.directory=*", "status", "--porcelain"])
        .env("GIT_INDEX_FILE", index);
    Run::of(command).ok()
}

fn git_tree(tree: &Path) {
    TreeSpec::small().generate(tree).expect("a tree");
    let git = |words: &[&str]| {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        let place = ["-C", tree.to_str().expect("text"), "-c", "safe.directory=*"];
        let _ = run("git", place.iter().chain(&identity).chain(words)).ok();
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
}

#[test]
fn git_reads_nothing_again_after_a_remount() {
    if require_program("git").is_err() {
        return;
    }
    in_namespace("programs::git_reads_nothing_again_after_a_remount", || {
        let world = World::new();
        let tree = world.path("tree");
        git_tree(&tree);
        let tracked = run(
            "git",
            ["-C".as_ref(), tree.as_os_str(), "ls-files".as_ref()],
        );
        let tracked = tracked.ok().lines().count() as u64;
        assert!(tracked > 200);
        let source = world.import(&tree, "app");
        let index = world.path("index");
        fs::copy(tree.join(".git/index"), &index).expect("a copy");
        let dir = world.make_dir("m");

        let mut numbers = Vec::new();
        for _ in 0..2 {
            let _ = world.mount_at(&source, &dir, "ro").ok();
            // The first has another inode number for everything than the source had: git looks.
            assert_eq!(git_status(&dir, &index), "");
            numbers.push(inode_numbers(&dir));
            let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
        }
        assert_eq!(numbers[0], numbers[1]);

        let mount = world.mount(&source, "");
        let repository = files(&mount.path().join(".git")).len() as u64;
        let reads = requests_of(&mount, || {
            assert_eq!(git_status(mount.path(), &index), "");
        });
        // HEAD, the configuration, the branch: never the work tree, which has more files.
        let reads = count(&reads, "READ");
        assert!(
            reads <= 15 && reads < tracked,
            "{reads} READs, {repository} files in .git"
        );
        mount.umount();
    });
}

#[test]
fn git_with_its_repository_elsewhere_reads_no_file_after_a_remount() {
    if require_program("git").is_err() {
        return;
    }
    let name = "programs::git_with_its_repository_elsewhere_reads_no_file_after_a_remount";
    in_namespace(name, || {
        let world = World::new();
        let tree = world.path("tree");
        git_tree(&tree);
        let repository = world.path("repository");
        let _ = run(
            "cp",
            [
                "-a".as_ref(),
                tree.join(".git").as_os_str(),
                repository.as_os_str(),
            ],
        )
        .ok();
        let source = world.import(&tree, "app");
        let status = |dir: &Path| {
            let mut command = Command::new("git");
            command
                .arg("--git-dir")
                .arg(&repository)
                .arg("--work-tree")
                .arg(dir);
            command.args(["status", "--porcelain", "--", "node_modules", "index.js"]);
            assert_eq!(Run::of(command).ok(), "");
        };
        let first = world.mount(&source, "");
        let reads = count(&requests_of(&first, || status(first.path())), "READ");
        assert!(reads > 100, "git had to look at the files once: {reads}");
        first.umount();

        let second = world.mount(&source, "");
        let requests = requests_of(&second, || status(second.path()));
        assert_eq!(count(&requests, "READ"), 0, "{requests:?}");
        second.umount();
    });
}

#[test]
fn names_of_one_file_share_a_number_in_every_mount() {
    in_namespace(
        "programs::names_of_one_file_share_a_number_in_every_mount",
        || {
            let world = World::new();
            let tree = world.make_dir("tree");
            fs::create_dir(tree.join("sub")).expect("a directory");
            fs::write(tree.join("one"), "text").expect("a file");
            fs::hard_link(tree.join("one"), tree.join("sub/two")).expect("a link");
            fs::write(tree.join("alike"), "text").expect("a file");
            let source = world.import(&tree, "app");
            let look = || {
                let mount = world.mount(&source, "");
                let stat = |name: &str| mount.path().join(name).metadata().expect("attributes");
                let (one, two, alike) = (stat("one"), stat("sub/two"), stat("alike"));
                assert_eq!((one.nlink(), two.nlink(), alike.nlink()), (2, 2, 1));
                assert_eq!(one.ino(), two.ino());
                assert_ne!(one.ino(), alike.ino());
                mount.umount();
                one.ino()
            };
            assert_eq!(look(), look());
        },
    );
}

#[test]
fn trees_are_copied_out_whole() {
    in_namespace("programs::trees_are_copied_out_whole", || {
        let world = World::new();
        let tree = world.path("tree");
        let mut spec = TreeSpec::torture();
        spec.features.large_file = None;
        // tar and cp go by paths, which the kernel bounds.
        spec.features.long_path = false;
        spec.files = 500;
        spec.generate(&tree).expect("a tree");
        let source = world.import(&tree, "app");
        let mount = world.mount(&source, "");
        let from = format!("{}/.", mount.path().display());

        let copy = world.make_dir("copy");
        let _ = run("cp", ["-a", &from, copy.to_str().expect("text")]).ok();
        assert_same_trees(&tree, &copy, &CompareOptions::default());

        let archive = world.path("archive.tar");
        let archive = archive.to_str().expect("text");
        let options = ["--xattrs", "--format=posix", "--numeric-owner"];
        let pack = [
            "-cf",
            archive,
            "-C",
            mount.path().to_str().expect("text"),
            ".",
        ];
        let _ = run("tar", options.iter().chain(&pack)).ok();
        let unpacked = world.make_dir("unpacked");
        let unpack = ["-xpf", archive, "-C", unpacked.to_str().expect("text")];
        let _ = run(
            "tar",
            ["--xattrs-include=*"].iter().chain(&options).chain(&unpack),
        )
        .ok();
        assert_same_trees(&tree, &unpacked, &CompareOptions::default());

        if find_program("rsync").is_some() {
            let synced = world.make_dir("synced");
            let words = ["-aHX", &format!("{from}/"), synced.to_str().expect("text")];
            let _ = run("rsync", words).ok();
            assert_same_trees(&tree, &synced, &CompareOptions::default());
        }
        mount.umount();
    });
}

#[test]
fn find_and_du_agree_with_the_source() {
    in_namespace("programs::find_and_du_agree_with_the_source", || {
        let world = World::new();
        let tree = world.path("tree");
        TreeSpec::small().generate(&tree).expect("a tree");
        let source = world.import(&tree, "app");
        let mount = world.mount(&source, "");
        let look = |dir: &Path| {
            let found = run(
                "find",
                [
                    dir.as_os_str(),
                    "-printf".as_ref(),
                    r"%P %y %m %s\n".as_ref(),
                ],
            );
            let mut lines: Vec<_> = found.ok().lines().map(str::to_owned).collect();
            // The sizes of directories are a file system's own.
            lines.retain(|line| !line.contains(" d "));
            lines.sort_unstable();
            lines
        };
        assert_eq!(look(mount.path()), look(&tree));
        let apparent: u64 = paths(&tree)
            .iter()
            .filter(|(_, metadata)| metadata.is_file())
            .map(|(_, metadata)| metadata.len())
            .sum();
        let du = run("du", ["-sb".as_ref(), mount.path().as_os_str()]).ok();
        let du: u64 = du
            .split('\t')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number");
        // Directories count too, and each hard link once.
        assert!(
            du > apparent / 2 && du < apparent + 4096 * 1000,
            "{du} for {apparent}"
        );
        mount.umount();
    });
}
