//! Damaged metadata: the server says what is wrong, or serves the truth.
//!
//! What the server told before is the truth: each answer afterwards is that, or an error.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lfsfs_testkit::process::Program;
use lfsfs_testkit::tree::{TreeSpec, mutate};
use lfsfs_tests::{Numbers, Run, World};

use crate::support::{Damage, copy_dir, files_below};

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// What engines and disks write at once.
const PAGE: usize = 4096;

/// Symlinks of a large tree, in as many directories.
const DIRECTORIES: usize = 80;
const LINKS: usize = 1_000;
const TARGET_LEN: usize = 3_000;

/// What happens to one file of the metadata.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Damage(Damage),
    Gone,
    /// The file is as it was some versions ago.
    Older,
    /// One page is: a write that never came to the disk.
    OlderPage {
        at: usize,
    },
}

impl Harm {
    /// Does it to `file`, of which `older` is an older copy.
    fn apply(self, file: &Path, older: &Path) {
        match self {
            Self::Damage(damage) => damage.apply(file),
            Self::Gone => fs::remove_file(file).expect("a file"),
            Self::Older => _ = fs::copy(older, file).expect("an older file"),
            Self::OlderPage { at } => {
                let mut bytes = fs::read(file).expect("a file");
                let older = fs::read(older).expect("an older file");
                bytes[at..at + PAGE].copy_from_slice(&older[at..at + PAGE]);
                fs::write(file, bytes).expect("a file");
            }
        }
    }
}

/// Returns some harms to a file, over all of it.
fn harms(file: &Path, older: &Path, count: usize) -> Vec<Harm> {
    let new = fs::read(file).expect("a file");
    let mut harms = vec![Harm::Gone];
    harms.extend(damages(new.len() as u64, count as u64).map(Harm::Damage));
    let Ok(old) = fs::read(older) else {
        return harms;
    };
    if old != new {
        harms.push(Harm::Older);
    }
    let pages = 0..old.len().min(new.len()) / PAGE;
    let differ: Vec<_> = pages
        .map(|page| page * PAGE)
        .filter(|at| old[*at..at + PAGE] != new[*at..at + PAGE])
        .collect();
    let step = (differ.len() / count).max(1);
    let some = differ.into_iter().step_by(step);
    harms.extend(some.map(|at| Harm::OlderPage { at }));
    harms
}

/// Returns some damages of a file of this length, over all of it.
fn damages(len: u64, count: u64) -> impl Iterator<Item = Damage> {
    let step = (len / count).max(1);
    let at = move |number: u64| (number * step + Numbers(number + len).below(step)).min(len - 1);
    let flips = (0..count.min(len)).map(move |number| Damage::Flip {
        at: at(number),
        bit: u8::try_from(number % 8).expect("a bit"),
    });
    let cuts = [0, len / 3, len - len / 10, len - 1];
    flips.chain(cuts.map(|len| Damage::Cut { len }))
}

/// What the server made of damaged metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Served,
    Refused,
}

/// A server that has stopped, its metadata now and some versions ago, and what it told.
struct Scene {
    world: World,
    meta: PathBuf,
    whole: PathBuf,
    older: PathBuf,
    questions: Vec<Vec<String>>,
    truth: Vec<String>,
}

impl Scene {
    /// Makes four versions over an engine; the older copy is of the second.
    fn small(engine: &str) -> Self {
        let mut world = World::without_server();
        let meta = world.data().join("meta");
        world.start_server(&["--meta", &format!("{engine}:{}", meta.display())]);
        let tree = world.path("tree");
        let _ = TreeSpec::small().generate(&tree).expect("a tree");
        let _ = world.import(&tree, "app");
        for version in 2..=4 {
            let _ = mutate(&tree, version, 10).expect("changes");
            let _ = world.import(&tree, "app");
            let _ = world.lfsfs(["tag", &format!("app@v{version}"), "best", "--force"]);
            if version == 2 {
                keep_older(&mut world);
            }
        }
        let questions = questions(&world);
        Self::stop(world, questions)
    }

    /// Makes two versions with so much metadata that no server can read all of it before it listens.
    fn large() -> Self {
        let mut world = World::new();
        let tree = world.make_dir("tree");
        write_links(&tree, 1, 1);
        let _ = world.import(&tree, "app");
        keep_older(&mut world);
        write_links(&tree, 2, 10);
        let _ = world.import(&tree, "app");
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut questions = vec![words("log app --json"), words("diff app@v1 app@v2")];
        for directory in (0..DIRECTORIES).step_by(5) {
            questions.push(words(&format!("ls --json app dir-{directory}")));
            questions.push(words(&format!("ls --json app@v1 dir-{directory}")));
        }
        Self::stop(world, questions)
    }

    /// Notes the truth, and stops the server.
    fn stop(mut world: World, questions: Vec<Vec<String>>) -> Self {
        let meta = world.data().join("meta");
        let (whole, older) = (world.path("whole"), world.path("older"));
        let truth = questions.iter().map(|words| world.lfsfs(words).ok());
        let truth = truth.collect();
        world.stop_server();
        copy_dir(&meta, &whole);
        Self {
            world,
            meta,
            whole,
            older,
            questions,
            truth,
        }
    }

    /// Puts the metadata back as it was.
    fn restore(&self) {
        fs::remove_dir_all(&self.meta).expect("the damaged metadata");
        copy_dir(&self.whole, &self.meta);
    }

    /// Starts the server on damaged metadata and asks it. What `is_found` by the check is found beside
    /// serving, too, if nothing was refused.
    fn start_and_ask(&mut self, what: &str, is_found: bool) -> Outcome {
        let mut command = self
            .world
            .lfsfsd(["all", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(self.world.data());
        let mut server = Program::start(command).expect("lfsfsd starts");
        let Ok(address) = server.wait_for_word("listening on ", START_TIMEOUT) else {
            let status = server.wait(START_TIMEOUT).expect("lfsfsd ends");
            let text = server.output();
            assert_eq!(status.code(), Some(1), "{what}: {text}");
            assert!(!text.contains("panicked at"), "{what}: {text}");
            let advised = text.contains("lfsfsd check") || text.contains("from a backup");
            assert!(advised, "no advice, {what}: {text}");
            return Outcome::Refused;
        };
        self.world.set_address(&address);
        let outcome = self.ask(what);
        if is_found && outcome == Outcome::Served {
            let told = server.wait_for_line("damaged", START_TIMEOUT);
            assert!(told.is_ok(), "no word of it, {what}: {}", server.output());
        }
        let ended = server.terminate(Duration::from_secs(30));
        assert!(ended.is_ok(), "{what}: {}", server.output());
        let text = server.output();
        assert!(!text.contains("panicked at"), "{what}: {text}");
        outcome
    }

    /// Each answer is the truth, or an error.
    fn ask(&self, what: &str) -> Outcome {
        let mut outcome = Outcome::Served;
        for (words, truth) in self.questions.iter().zip(&self.truth) {
            let run = self.world.lfsfs(words);
            if run.code() == Some(0) {
                assert_eq!(&run.ok(), truth, "not the truth: {what}, {words:?}");
            } else {
                let _ = run.fails(1, &["lfsfs: "]);
                outcome = Outcome::Refused;
            }
        }
        outcome
    }

    /// Harms a file, and returns what the check and the server made of it.
    fn harm(&mut self, file: &Path, harm: Harm) -> (bool, Outcome) {
        let what = format!("{harm:?} of {}", file.display());
        let older = self.older_of(file);
        harm.apply(file, &older);
        let check = self.world.check();
        let is_found = assert_told(&check, &what);
        self.restore();
        harm.apply(file, &older);
        let outcome = self.start_and_ask(&what, is_found);
        let missed = outcome == Outcome::Refused && !is_found;
        assert!(!missed, "not found by the check: {what}, {check:?}");
        self.restore();
        (is_found, outcome)
    }

    fn older_of(&self, file: &Path) -> PathBuf {
        let name = file.strip_prefix(&self.meta).expect("metadata");
        self.older.join(name)
    }
}

/// Copies the metadata as it is now.
fn keep_older(world: &mut World) {
    world.stop_server();
    copy_dir(&world.data().join("meta"), &world.path("older"));
    world.start_server(&[]);
}

/// Makes symlinks whose targets are most of a page, or points every so many of them elsewhere.
fn write_links(tree: &Path, version: u64, every: usize) {
    for directory in 0..DIRECTORIES {
        let dir = tree.join(format!("dir-{directory}"));
        fs::create_dir_all(&dir).expect("a directory");
        for number in (0..LINKS).step_by(every) {
            let link = dir.join(format!("link-{number}"));
            let target = format!("{version}-{directory}-{number}/").repeat(TARGET_LEN / 12);
            let _ = fs::remove_file(&link);
            symlink(target, link).expect("a symlink");
        }
    }
}

/// Returns what is asked: every version, the history, the names, the bytes of some files.
fn questions(world: &World) -> Vec<Vec<String>> {
    let listed = world.lfsfs(["ls", "-R", "--json", "app"]).ok();
    let files = listed.lines().filter_map(|line| {
        let object: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let is_file = object["kind"] == "file" && object["path_hex"].is_null();
        is_file.then(|| object["path"].as_str().expect("a path").to_owned())
    });
    let mut cat = vec!["cat".to_owned(), "app".to_owned()];
    cat.extend(files.step_by(5));
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    vec![
        words("ls -R --json app"),
        words("ls -R --json app@v1"),
        words("ls -R --json app@v3"),
        words("log app --json"),
        words("tag app --json"),
        words("project list --json"),
        words("diff app@v1 app@v4"),
        cat,
    ]
}

/// Returns whether the check found something. It says what that is, and its exit code says so too.
fn assert_told(check: &Run, what: &str) -> bool {
    // A panic of the engine that was caught is told as damage, without the words of one that was not.
    assert!(!check.stderr().contains("panicked at"), "{what}: {check:?}");
    let out = check.stdout();
    if check.code() == Some(0) {
        let is_clean = out.trim_end().ends_with(": 0 findings");
        assert!(is_clean, "{what}: {check:?}");
        return false;
    }
    assert_eq!(check.code(), Some(1), "{what}: {check:?}");
    let says = out.lines().count() > 1 || check.stderr().starts_with("lfsfsd: ");
    assert!(says, "{what}: {check:?}");
    true
}

/// Harms every file; `count` says how often.
fn damage_metadata(mut scene: Scene, count: usize) {
    let (mut served, mut refused, mut found) = (0, 0, 0);
    let is_not_empty = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.len() > 0);
    let files: Vec<_> = files_below(&scene.meta);
    for file in files.into_iter().filter(is_not_empty) {
        for harm in harms(&file, &scene.older_of(&file), count) {
            let (is_found, outcome) = scene.harm(&file, harm);
            found += usize::from(is_found);
            match outcome {
                Outcome::Served => served += 1,
                Outcome::Refused => refused += 1,
            }
        }
    }
    let all_sides = served > 0 && refused > 0 && found > 0;
    assert!(all_sides, "{served} {refused} {found}");
}

#[test]
fn damaged_metadata_is_found_or_does_no_harm() {
    damage_metadata(Scene::small("redb"), 5);
}

#[test]
#[ignore = "soak: many bits"]
fn metadata_damaged_in_many_places_is_found_or_does_no_harm() {
    damage_metadata(Scene::small("redb"), 150);
}

#[test]
#[ignore = "soak: another engine, in many files"]
fn damaged_metadata_of_sled_is_found_or_does_no_harm() {
    damage_metadata(Scene::small("sled"), 20);
}

#[test]
#[ignore = "soak: some hundred megabytes for each damage"]
fn damaged_metadata_that_is_large_is_found_or_does_no_harm() {
    damage_metadata(Scene::large(), 12);
}
