//! Mounting as mount(8) does it, and the life of the process that serves.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Run, World, eventually, files, in_namespace, is_running, mount_table, run};

const SOON: Duration = Duration::from_secs(5);

/// Puts the helper where mount(8) looks for it, whatever PATH says. Only this namespace sees it.
fn install_helper(world: &World) {
    let place = fs::canonicalize("/sbin").expect("a directory");
    let tmpfs = ["-t", "tmpfs", "tmpfs"].map(OsStr::new);
    let _ = run("mount", tmpfs.into_iter().chain([place.as_os_str()])).ok();
    let program = world.command([""; 0]);
    symlink(program.get_program(), place.join("mount.lfsfs")).expect("a link");
}

/// Returns options that name the places of the world, as a line of fstab would.
fn places(world: &World) -> String {
    let place = |name: &str| world.path(name).display().to_string();
    format!(
        "server={},cache={},state={},run={}",
        world.address(),
        place("cache"),
        place("state"),
        place("run")
    )
}

/// A world with `app@v1` in it and the helper of mount(8) in its place.
fn machine() -> World {
    let world = World::new();
    let tree = world.path("tree");
    TreeSpec::small().generate(&tree).expect("a tree");
    assert_eq!(world.import(&tree, "app"), "app@v1");
    install_helper(&world);
    world
}

/// Runs `mount -t lfsfs SOURCE DIR -o OPTIONS` and further words.
fn mount8(world: &World, source: &str, dir: &Path, options: &str) -> Run {
    let options = format!("{},{options}", places(world));
    let words = ["-t", "lfsfs", source].map(OsStr::new);
    let options = [dir.as_os_str(), "-o".as_ref(), options.as_ref()];
    run("mount", words.into_iter().chain(options))
}

fn pid_of(world: &World, dir: &Path) -> u32 {
    let status = world.lfsfs(["status".as_ref(), "--json".as_ref(), dir.as_os_str()]);
    let pid = status.json()["pid"].as_u64().expect("a number");
    u32::try_from(pid).expect("a process id")
}

#[test]
fn mount_and_umount_do_the_whole_of_it() {
    in_namespace("mount8::mount_and_umount_do_the_whole_of_it", || {
        let world = machine();
        let dir = world.make_dir("m");
        let mounted = mount8(&world, "app@v1", &dir, "ro");
        assert_eq!(mounted.ok(), "");
        assert_eq!(mounted.stderr(), "");
        // The helper has returned, so the mount answers.
        assert!(!files(&dir).is_empty());
        let table = mount_table(&dir);
        assert_eq!(table.len(), 1);
        let line: Vec<_> = table[0].split(' ').collect();
        assert_eq!((line[0], line[2]), ("app@v1", "fuse.lfsfs"));
        for option in ["ro", "nosuid", "nodev"] {
            assert!(line[3].split(',').any(|word| word == option), "{table:?}");
        }

        let pid = pid_of(&world, &dir);
        let _ = run("umount", [&dir]).ok();
        assert!(
            eventually(SOON, || !is_running(pid)),
            "{pid} is still there"
        );
        assert!(mount_table(&dir).is_empty());
        let sockets = fs::read_dir(world.path("run")).expect("a directory");
        assert_eq!(sockets.count(), 0, "its socket is gone");
    });
}

#[test]
fn exit_codes_and_reasons_are_those_of_a_helper() {
    in_namespace(
        "mount8::exit_codes_and_reasons_are_those_of_a_helper",
        || {
            let world = machine();
            let dir = world.make_dir("m");
            let cases = [
                ("app@v1", "ro,frobnicate=1", 1, "frobnicate"),
                ("app@v1", "ro,timeout=soon", 1, "timeout=soon"),
                ("app@v1", "ro,cache=relative", 1, "absolute path"),
                ("app@v1", "ro,follow", 1, "follow"),
                ("no/such/name", "ro", 1, "no/such/name"),
                ("app@v1", "ro,state=/proc/none", 2, "/proc/none"),
                ("app@v9", "ro", 32, "app@v9"),
                ("none@v1", "ro", 32, "none"),
                ("app@v1", "remount,ro", 32, "umount"),
            ];
            for (source, options, code, word) in cases {
                let _ = mount8(&world, source, &dir, options).fails(code, &["mount.lfsfs: ", word]);
                assert!(mount_table(&dir).is_empty(), "{source} with {options}");
            }
            let missing = world.path("missing");
            let _ = mount8(&world, "app@v1", &missing, "ro").fails(32, &["missing"]);
        },
    );
}

#[test]
fn options_of_mount8_and_systemd_are_accepted() {
    in_namespace("mount8::options_of_mount8_and_systemd_are_accepted", || {
        let world = machine();
        let dir = world.make_dir("m");
        let lists = [
            "ro,_netdev,nofail,noauto,user,x-systemd.automount,x-anything=1",
            "ro,nosuid,nodev,noexec,noatime",
            "ro,suid,dev,exec,relatime,async,defaults",
            "rw,noatime",
        ];
        for options in lists {
            let mounted = mount8(&world, "app@v1", &dir, options);
            let _ = mounted.ok();
            let flags = mount_table(&dir).concat();
            assert_eq!(
                flags.contains("noexec"),
                options.contains("noexec") || options.contains("user")
            );
            let mode = if options.starts_with("rw") {
                " rw,"
            } else {
                " ro,"
            };
            assert!(flags.contains(mode), "{flags}");
            assert_eq!(mounted.stderr(), "", "{mounted:?}");
            let _ = run("umount", [&dir]).ok();
        }
    });
}

#[test]
fn the_newest_version_is_chosen_when_the_mount_is_made() {
    let name = "mount8::the_newest_version_is_chosen_when_the_mount_is_made";
    in_namespace(name, || {
        let world = machine();
        let mounts = ["app", "app@latest"].map(|source| world.mount(source, ""));
        fs::write(world.path("tree/added"), "text").expect("a file");
        assert_eq!(world.import(&world.path("tree"), "app"), "app@v2");
        for mount in mounts {
            let status = mount.verb(["status", "--json"]).json();
            assert_eq!(status["version"]["version"], 1, "{status}");
            assert!(!mount.path().join("added").exists());
            let version = xattr::get(mount.path(), "user.lfsfs.version").expect("an xattr");
            assert_eq!(version.expect("it is there"), b"app@v1");
            mount.umount();
        }
        let newest = world.mount("app@latest", "");
        assert!(newest.path().join("added").exists());
        newest.umount();
    });
}

#[test]
fn a_line_of_fstab_mounts() {
    in_namespace("mount8::a_line_of_fstab_mounts", || {
        let world = machine();
        let dir = world.make_dir("m");
        let options = format!("ro,_netdev,nofail,retry=1,{}", places(&world));
        let line = format!("app@v1 {} lfsfs {options} 0 0\n", dir.display());
        let fstab = world.path("fstab");
        fs::write(&fstab, line).expect("a file");
        let _ = run("mount", ["-a".as_ref(), "-T".as_ref(), fstab.as_os_str()]).ok();
        assert!(!files(&dir).is_empty());
        let _ = run("umount", [&dir]).ok();
    });
}

#[test]
fn a_dry_run_mounts_nothing() {
    in_namespace("mount8::a_dry_run_mounts_nothing", || {
        let world = machine();
        let dir = world.make_dir("m");
        let words = ["-f", "-v", "-t", "lfsfs", "app@v1"].map(OsStr::new);
        let _ = run("mount", words.into_iter().chain([dir.as_os_str()])).ok();
        assert!(mount_table(&dir).is_empty());
    });
}

#[test]
fn in_the_foreground_a_signal_unmounts() {
    in_namespace("mount8::in_the_foreground_a_signal_unmounts", || {
        let world = machine();
        let dir = world.make_dir("m");
        let words = ["mount".as_ref(), "app@v1".as_ref(), dir.as_os_str()];
        let options = ["-o", "ro,foreground"].map(OsStr::new);
        let command = world.command(words.into_iter().chain(options));
        let mut program = Program::start(command).expect("a process");
        assert!(eventually(SOON, || !mount_table(&dir).is_empty()));
        assert_eq!(pid_of(&world, &dir), program.id());
        assert!(!files(&dir).is_empty());
        let status = program.terminate(SOON).expect("it ends");
        assert!(status.success(), "{status}: {}", program.output());
        assert!(mount_table(&dir).is_empty());
    });
}

#[test]
fn the_end_of_the_job_that_mounted_does_not_end_the_mount() {
    let name = "mount8::the_end_of_the_job_that_mounted_does_not_end_the_mount";
    in_namespace(name, || {
        let world = machine();
        let dir = world.make_dir("m");
        let mount = world.command(["mount", "app@v1"]);
        let mut job = Command::new("sh");
        let script = r#""$0" mount app@v1 "$1" -o ro && echo mounted && sleep 600"#;
        job.args([
            "-c".as_ref(),
            script.as_ref(),
            mount.get_program(),
            dir.as_os_str(),
        ]);
        job.envs(
            mount
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let job = Program::start(job).expect("a process");
        let told = job.wait_for_line("mounted", Duration::from_secs(30));
        assert!(told.is_ok(), "{told:?}");
        let pid = pid_of(&world, &dir);
        // Ends everything in the process group of the job.
        drop(job);
        std::thread::sleep(Duration::from_millis(300));
        assert!(is_running(pid));
        assert!(!files(&dir).is_empty());
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("a link");
        assert_eq!(cwd, Path::new("/"), "it holds on to nothing");
        let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
    });
}

#[test]
fn a_mount_in_use_is_busy_and_says_so() {
    in_namespace("mount8::a_mount_in_use_is_busy_and_says_so", || {
        let world = machine();
        let dir = world.make_dir("m");
        let _ = world.mount_at("app@v1", &dir, "ro").ok();
        let open = fs::File::open(&files(&dir)[0]).expect("a file");
        let umount = world.lfsfs(["umount".as_ref(), dir.as_os_str()]);
        let _ = umount.fails(1, &["--lazy"]);
        assert!(!files(&dir).is_empty());
        let pid = pid_of(&world, &dir);
        let _ = world
            .lfsfs(["umount".as_ref(), "--lazy".as_ref(), dir.as_os_str()])
            .ok();
        assert!(mount_table(&dir).is_empty());
        assert!(is_running(pid), "its file is still open");
        drop(open);
        assert!(eventually(SOON, || !is_running(pid)));
    });
}

#[test]
fn a_server_with_several_addresses_needs_one_that_answers() {
    let name = "mount8::a_server_with_several_addresses_needs_one_that_answers";
    in_namespace(name, || {
        let mut world = machine();
        let server = world.address().to_owned();
        let dir = world.make_dir("m");
        // A comma would begin the next option.
        world.set_address(&format!("127.0.0.1:1+{server}"));
        let _ = mount8(&world, "app@v1", &dir, "ro").ok();
        let server_of = |dir: &Path| {
            let status = world.lfsfs(["status".as_ref(), "--json".as_ref(), dir.as_os_str()]);
            status.json()["version"]["server"].clone()
        };
        assert_eq!(server_of(&dir), format!("127.0.0.1:1,{server}"));
        assert!(!files(&dir).is_empty());

        let other = format!("{server},127.0.0.1:2");
        let words = ["switch", "--server", &other].map(OsStr::new);
        let switch = world.lfsfs(words.into_iter().chain([dir.as_os_str()]));
        assert!(switch.stderr().contains(&other) || switch.ok().contains(&other));
        assert_eq!(server_of(&dir), other);
        let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
        // What names the server of commands names that of mounts, too.
        let mount = ["--server", &other, "mount", "app@v1"].map(OsStr::new);
        let options = ["-o", "ro"].map(OsStr::new);
        let words = mount.into_iter().chain([dir.as_os_str()]).chain(options);
        let _ = world.lfsfs(words).ok();
        assert_eq!(server_of(&dir), other);
        let _ = world.lfsfs(["umount".as_ref(), dir.as_os_str()]).ok();
    });
}
