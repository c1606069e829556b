//! One project of a history: its source tree, its versions, and the directories and the mount that follow it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_testkit::compare::{CompareOptions, compare_trees};
use lfsfs_tests::{Mounted, Numbers, World, eventually};

use super::tree;
use crate::rebuild::{count, rebuild};

/// Compares two trees; what a rebuilt directory keeps for itself is left out.
#[track_caller]
fn assert_same(what: &str, expected: &Path, actual: &Path, options: &CompareOptions) {
    let differences = compare_trees(expected, actual, options);
    let mut differences = differences.expect("two trees");
    differences.retain(|it| !it.path.starts_with(".lfsfs"));
    let lines: Vec<_> = differences.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{what}:\n{}", lines.join("\n"));
}

/// Times of directories alone make no version.
fn without_directory_times() -> CompareOptions {
    CompareOptions {
        directory_times: false,
        ..CompareOptions::default()
    }
}

/// A project with all that follows it.
pub(super) struct Project<'a> {
    world: &'a World,
    pub(super) name: String,
    /// A rebuilt directory in which the changes are made. It has the newest version before each.
    source: PathBuf,
    /// A directory that is brought from each version to the next one.
    incremental: PathBuf,
    /// Shows the newest version, switched from each to the next one.
    mounted: Mounted<'a>,
    /// The newest version.
    head: u64,
    /// Exports of the versions that there are, made when each was the newest.
    pub(super) exported: BTreeMap<u64, PathBuf>,
}

impl<'a> Project<'a> {
    /// Makes a project that has only the empty version 0.
    pub(super) fn new(world: &'a World, name: &str, packs: &[&str]) -> Self {
        let packs = packs.iter().flat_map(|pattern| ["--pack", pattern]);
        let _ = world
            .lfsfs(["project", "new", name].into_iter().chain(packs))
            .ok();
        let source = world.path(&format!("{name}-source"));
        let mut project = Self {
            world,
            name: name.to_owned(),
            incremental: world.path(&format!("{name}-incremental")),
            mounted: world.mount(name, "suid,dev"),
            head: world.head(name),
            exported: BTreeMap::new(),
            source,
        };
        project.follow_source();
        project.export_head();
        project
    }

    fn version(&self, number: u64) -> String {
        format!("{}@v{number}", self.name)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path(&format!("{}-{name}", self.name))
    }

    /// Brings a directory to a version. Returns how much was written and removed.
    fn bring(&self, dir: &Path, version: u64) -> u64 {
        count(self.world, &self.version(version), dir, &[])
    }

    fn follow_source(&self) -> u64 {
        self.bring(&self.source, self.head)
    }

    /// Makes random changes. Returns them in words.
    pub(super) fn change(&self, changes: u64, numbers: &mut Numbers) -> Vec<String> {
        tree::change_often(&self.source, changes, numbers)
    }

    /// Makes random changes in the source and in a mount, the same in both, and has the source follow the commit of
    /// those in the mount. Returns them in words.
    pub(super) fn commit(&mut self, changes: u64, numbers: &mut Numbers) -> Vec<String> {
        let head = self.version(self.head);
        let mounted = self.world.mount_writable(&head, "suid,dev");
        let mut same = Numbers(numbers.0);
        let done = self.change(changes, numbers);
        let again = tree::change_often(mounted.path(), changes, &mut same);
        assert_eq!(again, done);
        // Each side has the times at which it was changed.
        let options = CompareOptions {
            times: false,
            ..without_directory_times()
        };
        let what = format!("a mount after {done:?}");
        assert_same(&what, &self.source, mounted.path(), &options);
        let _ = mounted.commit("changes");
        mounted.umount();
        self.head = self.world.head(&self.name);
        let _ = self.follow_source();
        done
    }

    /// Makes the source the next version by an import.
    pub(super) fn import(&mut self) {
        let _ = self.world.import(&self.source, &self.name);
        self.head = self.world.head(&self.name);
        assert_eq!(self.follow_source(), 0, "the source has what was imported");
    }

    /// Makes the source the next version by an update.
    pub(super) fn update(&mut self) {
        let words = ["update".as_ref(), self.source.as_os_str()];
        let _ = self.world.lfsfs(words).ok();
        self.head = self.world.head(&self.name);
        assert_eq!(self.follow_source(), 0, "the source has what was sent");
    }

    /// Makes an earlier version the newest one, and has the source follow. Returns it in words.
    pub(super) fn roll_back(&mut self, numbers: &mut Numbers) -> String {
        let to = self.any_version(numbers);
        let _ = self.world.lfsfs(["rollback", &self.version(to)]).ok();
        self.follow_to(&self.exported[&to].clone());
        format!("roll back to v{to}")
    }

    /// Makes a version of another project the newest one of this, and has the source follow.
    pub(super) fn take(&mut self, source: &str, exported: &Path) {
        let _ = self.world.lfsfs(["clone", source, &self.name]).ok();
        self.follow_to(exported);
    }

    fn follow_to(&mut self, expected: &Path) {
        self.head = self.world.head(&self.name);
        let _ = self.follow_source();
        let options = without_directory_times();
        assert_same("the source", expected, &self.source, &options);
    }

    /// Gives the project other packs, which the newest version follows without showing it.
    pub(super) fn repack(&mut self, packs: &[&str]) {
        let mut words = vec!["project", "set", &self.name];
        match packs {
            [] => words.push("--pack-nothing"),
            packs => words.extend(packs.iter().flat_map(|pattern| ["--pack", pattern])),
        }
        let _ = self.world.lfsfs(words).ok();
        let inspect = ["project", "inspect", &self.name, "--json"];
        let follows = || self.world.lfsfs(inspect).json()["repacking"] == false;
        assert!(eventually(Duration::from_secs(60), follows));
        self.head = self.world.head(&self.name);
    }

    /// Has old versions expire, and removes what none of those that stay needs.
    pub(super) fn collect(&mut self, keep: u64) {
        let keep = keep.to_string();
        let words = ["gc", &self.name, "--keep", &keep, "--grace", "0s"];
        let _ = self.world.lfsfs(words).ok();
        let _ = self.world.lfsfs(["gc", "--grace", "0s"]).ok();
        let log = self.world.lfsfs(["log", &self.name, "--json"]).ok();
        let number = |line: &str| {
            let version: serde_json::Value = serde_json::from_str(line).expect("JSON");
            version["version"].as_u64().expect("a number")
        };
        // The empty version is in no log, and stays.
        let left: Vec<u64> = log.lines().map(number).chain([0]).collect();
        let is_gone = |version: &u64, _: &mut PathBuf| !left.contains(version);
        for (_, dir) in self.exported.extract_if(.., is_gone) {
            fs::remove_dir_all(dir).expect("a directory");
        }
        assert!(self.exported.contains_key(&self.head));
    }

    /// Returns a version that is there and was compared.
    pub(super) fn any_version(&self, numbers: &mut Numbers) -> u64 {
        let chosen = numbers.below(self.exported.len() as u64);
        let chosen = usize::try_from(chosen).expect("a small number");
        *self.exported.keys().nth(chosen).expect("a version")
    }

    /// Exports the newest version, if that is a new one, and compares it with the source.
    fn export_head(&mut self) -> PathBuf {
        let dir = self.path(&format!("v{}", self.head));
        if self.exported.insert(self.head, dir.clone()).is_some() {
            fs::remove_dir_all(&dir).expect("a directory");
        }
        let source = self.version(self.head);
        let words = ["export", &source].map(OsStr::new);
        let _ = self
            .world
            .lfsfs(words.into_iter().chain([dir.as_os_str()]))
            .ok();
        let options = without_directory_times();
        assert_same("an export", &self.source, &dir, &options);
        dir
    }

    /// Compares the newest version with the source in all ways there are.
    pub(super) fn look(&mut self, numbers: &mut Numbers) {
        let expected = self.export_head();
        let all = CompareOptions::default();
        let fresh = self.path("fresh");
        let _ = self.bring(&fresh, self.head);
        assert_same("a fresh rebuild", &expected, &fresh, &all);
        let _ = self.bring(&self.incremental, self.head);
        assert_same("an incremental rebuild", &expected, &self.incremental, &all);
        self.look_over_versions(&fresh, &expected, numbers);
        fs::remove_dir_all(&fresh).expect("a directory");
        self.show(numbers);
        assert_same("a mount", &expected, self.mounted.path(), &all);
    }

    /// Brings a directory down to an earlier version and up again.
    fn look_over_versions(&self, dir: &Path, expected: &Path, numbers: &mut Numbers) {
        let earlier = self.any_version(numbers);
        let all = CompareOptions::default();
        let _ = self.bring(dir, earlier);
        let what = format!("a rebuild down to v{earlier}");
        assert_same(&what, &self.exported[&earlier], dir, &all);
        let from = self.any_version(numbers);
        let _ = self.bring(dir, from);
        let what = format!("a rebuild from v{earlier} to v{from}");
        assert_same(&what, &self.exported[&from], dir, &all);
        let _ = self.bring(dir, self.head);
        assert_same(&format!("a rebuild from v{from}"), expected, dir, &all);
    }

    /// Has the mount show the newest version.
    fn show(&self, numbers: &mut Numbers) {
        if numbers.below(8) == 0 {
            let _ = self.mounted.verb(["umount"]).ok();
            self.mounted.mount(&self.version(self.head));
        } else {
            self.mounted.switch(&format!("v{}", self.head));
        }
    }

    /// Checks that each version is what it was when it was the newest.
    pub(super) fn assert_versions(&self) {
        let dir = self.path("again");
        for (version, exported) in &self.exported {
            let run = rebuild(self.world, &self.version(*version), &dir, &[]);
            assert_eq!(run.ok(), self.version(*version));
            let all = CompareOptions::default();
            assert_same(&format!("v{version} at the end"), exported, &dir, &all);
        }
    }

    /// Ends the mount.
    pub(super) fn end(self) {
        self.mounted.umount();
    }
}
