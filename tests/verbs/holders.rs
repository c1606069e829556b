//! What keeps a mount from ending: programs, and mount namespaces that show it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lfsfs_testkit::requirements::require_program;
use lfsfs_tests::{World, eventually, in_namespace, is_running, mount_table};

use crate::support::{read, typed_in, world, write};

const SOON: Duration = Duration::from_secs(20);

/// A program in a mount namespace of its own, killed when dropped.
struct Elsewhere(Child);

impl Elsewhere {
    /// Starts a program that stays in `dir`.
    fn start(dir: &Path) -> Self {
        let mut command = Command::new("unshare");
        command
            .args([
                "-m",
                "sh",
                "-c",
                "cd \"$0\" && echo there && exec sleep 1000",
            ])
            .arg(dir)
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("a program");
        let mut told = [0; 6];
        let mut out = child.stdout.take().expect("its output");
        std::io::Read::read_exact(&mut out, &mut told).expect("it is there");
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn umount(world: &World, dir: &Path, options: &[&str]) -> lfsfs_tests::Run {
    let path = dir.to_str().expect("UTF-8");
    let words: Vec<_> = ["umount"]
        .iter()
        .chain(options)
        .copied()
        .chain([path])
        .collect();
    typed_in(world, Path::new("/"), &words)
}

#[test]
fn a_namespace_that_only_shows_a_mount_does_not_keep_it() {
    if require_program("unshare").is_err() {
        return;
    }
    let name = "holders::a_namespace_that_only_shows_a_mount_does_not_keep_it";
    in_namespace(name, || {
        let world = world();
        for options in [&[][..], &["--lazy"]] {
            let mount = world.mount_writable("app@v1", "");
            write(mount.path(), "one", "changed");
            let pid = mount.pid();
            let elsewhere = Elsewhere::start(Path::new("/"));
            let run = umount(&world, mount.path(), options);
            assert_eq!(run.ok(), "");
            let told = run.stderr();
            assert!(told.contains("kept: 1 uncommitted change"), "{told}");
            let shown = format!("namespace of process {} (sleep)", elsewhere.pid());
            assert!(told.contains(&shown), "{told}");
            assert!(!is_running(pid), "the process has ended");
            // The overlay is free, and has what was changed.
            mount.mount("app@v1");
            assert_eq!(read(mount.path(), "one"), "changed");
            let _ = mount.verb(["discard", "--yes"]).ok();
            mount.umount();
        }
    });
}

#[test]
fn unmounting_by_other_programs_ends_it_too() {
    if require_program("unshare").is_err() {
        return;
    }
    in_namespace("holders::unmounting_by_other_programs_ends_it_too", || {
        let world = world();
        let mount = world.mount_writable("app@v1", "");
        write(mount.path(), "one", "changed");
        let pid = mount.pid();
        let _elsewhere = Elsewhere::start(Path::new("/"));
        rustix::mount::unmount(mount.path(), rustix::mount::UnmountFlags::empty())
            .expect("an unmount");
        assert!(eventually(SOON, || !is_running(pid)), "the process goes on");
        mount.mount("app@v1");
        assert_eq!(read(mount.path(), "one"), "changed");
        mount.umount();
    });
}

#[test]
fn a_program_that_uses_it_elsewhere_is_named_and_not_disturbed() {
    if require_program("unshare").is_err() {
        return;
    }
    let name = "holders::a_program_that_uses_it_elsewhere_is_named_and_not_disturbed";
    in_namespace(name, || {
        let world = world();
        let mount = world.mount_writable("app@v1", "");
        write(mount.path(), "one", "changed");
        let pid = mount.pid();
        let elsewhere = Elsewhere::start(&mount.path().join("dir"));
        let named = format!("process {} (sleep)", elsewhere.pid());
        let refused = umount(&world, mount.path(), &[]);
        refused.fails(1, &["in use", "namespace", &named, "--lazy"]);
        assert_eq!(read(mount.path(), "one"), "changed");

        let lazy = umount(&world, mount.path(), &["--lazy"]);
        assert_eq!(lazy.ok(), "");
        assert!(lazy.stderr().contains(&named), "{lazy:?}");
        assert!(mount_table(mount.path()).is_empty());
        assert!(is_running(pid), "it serves the program");
        // What keeps the overlay is named, too.
        let refused = world.mount_at("app@v1", mount.path(), "rw");
        refused.fails(1, &["unmounted", &named]);
        drop(elsewhere);
        assert!(eventually(SOON, || !is_running(pid)), "the process goes on");
        mount.mount("app@v1");
        assert_eq!(read(mount.path(), "one"), "changed");
        mount.umount();
    });
}

#[test]
fn a_volume_of_a_container_keeps_it() {
    if require_program("unshare").is_err() {
        return;
    }
    in_namespace("holders::a_volume_of_a_container_keeps_it", || {
        let world = world();
        let mount = world.mount("app@v1", "");
        let volume = world.make_dir("volume");
        rustix::mount::mount_bind(mount.path(), &volume).expect("a bind mount");
        let elsewhere = Elsewhere::start(Path::new("/"));
        rustix::mount::unmount(&volume, rustix::mount::UnmountFlags::empty()).expect("an unmount");
        let named = format!(
            "process {} (sleep), at {}",
            elsewhere.pid(),
            volume.display()
        );
        umount(&world, mount.path(), &[]).fails(1, &[&named]);
        drop(elsewhere);
        mount.umount();
    });
}

#[test]
fn what_keeps_a_mount_here_is_named() {
    in_namespace("holders::what_keeps_a_mount_here_is_named", || {
        let world = world();
        let mount = world.mount("app@v1", "");
        let dir = mount.path();
        let mut program = Command::new("sleep")
            .arg("1000")
            .current_dir(dir.join("dir"))
            .spawn()
            .expect("a program");
        let named = format!("process {} (sleep)", program.id());
        umount(&world, dir, &[]).fails(1, &["in use", &named]);
        program.kill().expect("it can be killed");
        program.wait().expect("it ends");
        let below = dir.join("dir");
        rustix::mount::mount(
            "t",
            &below,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            None,
        )
        .expect("a mount");
        let named = format!("the mount at {}", below.display());
        umount(&world, dir, &[]).fails(1, &["in use", &named]);
        rustix::mount::unmount(&below, rustix::mount::UnmountFlags::empty()).expect("an unmount");

        // Another place in this namespace that shows it keeps it, as umount(8) has it.
        let bound = world.make_dir("bound");
        rustix::mount::mount_bind(dir, &bound).expect("a bind mount");
        let pid = mount.pid();
        let run = umount(&world, dir, &[]);
        assert_eq!(run.ok(), "");
        let named = format!("the mount at {}", bound.display());
        assert!(run.stderr().contains(&named), "{run:?}");
        assert_eq!(read(&bound, "one"), "one");
        rustix::mount::unmount(&bound, rustix::mount::UnmountFlags::empty()).expect("an unmount");
        assert!(eventually(SOON, || !is_running(pid)));
    });
}
