//! Commits that ignore times: a job that is done again costs no version, and the mount shows what the version has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use lfsfs_testkit::tree::TreeSpec;
use lfsfs_tests::{Mounted, World, in_namespace, run, walk};
use serde_json::json;

use crate::support::{assert_version_is_mount, write};

/// What a job copies, and a mount in which it was done and committed as `app@v1`.
struct Scene<'w> {
    world: &'w World,
    source: PathBuf,
    mount: Mounted<'w>,
}

impl<'w> Scene<'w> {
    /// Packs are kept by the patterns, or not at all.
    fn new(world: &'w World, settings: &[&str]) -> Self {
        let words = ["project", "new", "app"].iter().chain(settings);
        let _ = world.lfsfs(words).ok();
        let source = world.path("source");
        let _ = TreeSpec::app(200).generate(&source).expect("a tree");
        for package in ["one", "two"] {
            let dir = source.join("node_modules").join(package);
            write(&dir.join("index.js"), package);
            write(&dir.join("lib/large"), vec![7; 300_000]);
            write(&dir.join("lib/empty"), "");
            std::os::unix::fs::symlink("lib/empty", dir.join("link")).expect("a symlink");
            fs::hard_link(dir.join("index.js"), dir.join("lib/same.js")).expect("a link");
        }
        let mount = world.mount_writable("app", "suid,dev");
        let scene = Self {
            world,
            source,
            mount,
        };
        scene.work();
        assert_eq!(scene.mount.commit("the first time")["version"], 1);
        scene
    }

    fn job(&self) -> PathBuf {
        self.mount.path().join("job")
    }

    /// Removes what the job made before, and does it: with the times of now.
    fn work(&self) {
        if self.job().exists() {
            fs::remove_dir_all(self.job()).expect("what was there");
        }
        let (links, job) = ("--preserve=links", self.job());
        let words = [
            "-r".as_ref(),
            links.as_ref(),
            self.source.as_os_str(),
            job.as_os_str(),
        ];
        let _ = run("cp", words).ok();
    }

    /// Commits ignoring times, and returns what that says.
    fn commit(&self) -> serde_json::Value {
        self.mount
            .verb(["commit", "--ignore-times", "--json"])
            .json()
    }

    fn assert_shows_version(&self, version: u64) {
        assert_eq!(self.mount.source(), format!("app@v{version}"));
        assert_eq!((self.mount.changes(), self.mount.diff()), (0, Vec::new()));
        assert_version_is_mount(self.world, &format!("app@v{version}"), self.mount.path());
    }
}

/// Returns the time of the last change of each path.
fn times(dir: &Path) -> BTreeMap<PathBuf, (i64, i64)> {
    let found = walk(dir).into_iter();
    found
        .map(|(path, it)| (path, (it.mtime(), it.mtime_nsec())))
        .collect()
}

/// Runs a test in a scene, and checks what is left of it.
fn in_scene(settings: &[&str], test: impl FnOnce(&Scene<'_>)) {
    let mut world = World::new();
    {
        let scene = Scene::new(&world, settings);
        test(&scene);
        scene.mount.umount();
    }
    world.stop_server();
    world.assert_check_is_clean();
}

fn a_job_done_again_makes_no_version(scene: &Scene<'_>) {
    let before = times(&scene.job());
    for _ in 0..2 {
        scene.work();
        assert_ne!(times(&scene.job()), before);
        let told = scene.commit();
        assert_eq!(
            (&told["version"], &told["new"], &told["changes"]),
            (&json!(1), &json!(false), &json!(0))
        );
        assert_eq!(times(&scene.job()), before);
        scene.assert_shows_version(1);
    }
    scene.mount.remount();
    assert_eq!(times(&scene.job()), before);
    // Without it the times count.
    scene.work();
    assert_eq!(scene.mount.commit("with times")["version"], 2);
    scene.assert_shows_version(2);
}

#[test]
fn a_job_that_is_done_again_makes_no_version() {
    in_namespace("times::a_job_that_is_done_again_makes_no_version", || {
        in_scene(&["--pack-nothing"], a_job_done_again_makes_no_version);
    });
}

#[test]
fn a_job_that_is_done_again_makes_no_version_in_packs() {
    let name = "times::a_job_that_is_done_again_makes_no_version_in_packs";
    in_namespace(name, || in_scene(&[], a_job_done_again_makes_no_version));
}

#[test]
fn what_differs_is_committed_and_the_rest_keeps_its_times() {
    let name = "times::what_differs_is_committed_and_the_rest_keeps_its_times";
    in_namespace(name, || {
        in_scene(&[], |scene| {
            let before = times(&scene.job());
            scene.work();
            let packages = scene.job().join("node_modules");
            fs::write(packages.join("one/index.js"), "other").expect("a file");
            let mode = |path: &str, mode| {
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(packages.join(path), mode).expect("a mode");
            };
            mode("two/lib/empty", 0o600);
            // Two names of one file have other bytes, and one has another mode.
            assert_eq!(scene.commit()["changes"], 3);
            let after = times(&scene.job());
            let changed = |path: &Path| {
                let names = ["one/index.js", "one/lib/same.js", "two/lib/empty"];
                let around = ["one", "one/lib", "two/lib"];
                let mut paths = names.iter().chain(&around);
                paths.any(|name| path == packages.join(name))
            };
            for (path, time) in &before {
                assert_eq!(after[path] != *time, changed(path), "{}", path.display());
            }
            scene.assert_shows_version(2);
            // Changed and changed back, and a mode alone.
            for text in ["a while", "two"] {
                fs::write(packages.join("two/index.js"), text).expect("a file");
            }
            assert_eq!(scene.commit()["version"], 2);
            scene.assert_shows_version(2);
            mode("two/lib/large", 0o755);
            assert_eq!(scene.commit()["changes"], 1);
            scene.assert_shows_version(3);
        });
    });
}

#[test]
fn what_was_open_is_read_to_its_end_and_links_are_links() {
    let name = "times::what_was_open_is_read_to_its_end_and_links_are_links";
    in_namespace(name, || {
        in_scene(&[], |scene| {
            let package = scene.job().join("node_modules/one");
            let open = |path: &str| File::open(package.join(path)).expect("a file");
            let mut held = [open("index.js"), open("lib/large")];
            scene.work();
            assert_eq!(scene.commit()["version"], 1);
            for (file, len) in held.iter_mut().zip([3, 300_000]) {
                let mut bytes = Vec::new();
                let read = file.read_to_end(&mut bytes).expect("bytes");
                assert_eq!(read, len);
            }
            let attributes = |path: &str| fs::metadata(package.join(path)).expect("a file");
            let (one, other) = (attributes("index.js"), attributes("lib/same.js"));
            assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
            // They are one file still: a write by one name is seen by the other one.
            fs::write(package.join("index.js"), "new text").expect("a file");
            let read = fs::read_to_string(package.join("lib/same.js")).expect("a file");
            assert_eq!(read, "new text");
            drop(held);
            assert_eq!(scene.commit()["changes"], 2);
            scene.assert_shows_version(2);
        });
    });
}

#[test]
fn a_project_can_have_it_as_a_setting() {
    in_namespace("times::a_project_can_have_it_as_a_setting", || {
        let world = World::new();
        let scene = Scene::new(&world, &["--ignore-times"]);
        let inspect = || world.lfsfs(["project", "inspect", "app", "--json"]).json();
        let set = |what: &str| world.lfsfs(["project", "set", "app", what]).ok();
        assert_eq!(inspect()["ignore_times"], true);
        scene.work();
        assert_eq!(scene.mount.commit("again")["new"], false);
        scene.assert_shows_version(1);
        let _ = set("--keep-times");
        assert_eq!(inspect()["ignore_times"], false);
        // A mount takes a setting when it is made, commits or switches.
        scene.mount.remount();
        scene.work();
        assert_eq!(scene.mount.commit("with times")["version"], 2);
        let _ = set("--ignore-times");
        let text = world.lfsfs(["project", "inspect", "app"]).ok();
        assert!(
            text.contains("times        are ignored by commits"),
            "{text}"
        );
        let copy = ["project", "new", "copy", "--template", "app"];
        let _ = world.lfsfs(copy).ok();
        let copy = world.lfsfs(["project", "inspect", "copy", "--json"]).json();
        assert_eq!(copy["ignore_times"], true);
        scene.mount.umount();
    });
}
