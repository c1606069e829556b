//! The decision beside that of git.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text.as_bytes()).expect("a path")
}

fn scope(patterns: &[&str]) -> IgnoreScope {
    let patterns: Vec<_> = patterns.iter().map(|&it| it.to_owned()).collect();
    IgnoreScope::of_project(&patterns, &ObjectPath::ROOT).expect("patterns")
}

/// Asks as a walk does, from the root down: `files` are by directory.
fn walked(root: &IgnoreScope, files: &BTreeMap<String, String>, asked: &[u8]) -> bool {
    let file = |dir: &[u8]| {
        let dir = std::str::from_utf8(dir).ok()?;
        files.get(dir).map(String::as_bytes)
    };
    let bytes = |dir: &[u8]| file(dir).map_or(IgnoreFile::None, IgnoreFile::Bytes);
    let (mut scope, _) = root.clone().with_file(&ObjectPath::ROOT, bytes(b""));
    let ends = asked.iter().enumerate().filter(|it| *it.1 == b'/');
    for (end, _) in ends {
        let dir = ObjectPath::new(&asked[..end]).expect("a path");
        scope = scope.enter(&dir, bytes(&asked[..end])).0;
    }
    scope.ignores(&ObjectPath::new(asked).expect("a path"), false)
}

/// Returns what git says of files, by the same patterns in its own files.
fn asked_of_git(
    project: &[String],
    files: &BTreeMap<String, String>,
    asked: &[Vec<u8>],
) -> Vec<bool> {
    let scratch = tempfile::tempdir().expect("a directory");
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        let none = scratch.path().join("no-config");
        command.args(args).current_dir(scratch.path());
        command
            .env("GIT_CONFIG_GLOBAL", &none)
            .env("GIT_CONFIG_SYSTEM", &none);
        command
    };
    let made = git(&["init", "-q"]).status().expect("git");
    assert!(made.success());
    let at = |name: &[u8]| scratch.path().join(Path::new(OsStr::from_bytes(name)));
    std::fs::create_dir_all(at(b".git/info")).expect("a directory");
    std::fs::write(at(b".git/info/exclude"), project.join("\n")).expect("patterns");
    for path in asked {
        let path = at(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, "").expect("a file");
    }
    for (dir, text) in files {
        let dir = at(dir.as_bytes());
        std::fs::create_dir_all(&dir).expect("directories");
        std::fs::write(dir.join(".gitignore"), text).expect("patterns");
    }
    let mut command = git(&["check-ignore", "-z", "--stdin", "--no-index"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("git");
    let mut stdin = child.stdin.take().expect("a pipe");
    for path in asked {
        stdin
            .write_all(&[path, &b"\0"[..]].concat())
            .expect("a path");
    }
    drop(stdin);
    let out = child.wait_with_output().expect("an answer").stdout;
    let ignored: Vec<_> = out.split(|byte| *byte == 0).collect();
    asked
        .iter()
        .map(|path| ignored.contains(&&path[..]))
        .collect()
}

/// Few letters, so that patterns and paths meet.
fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        6 => "[abc]{1,2}",
        1 => Just("*".to_owned()),
        1 => Just("**".to_owned()),
        1 => Just("?".to_owned()),
        1 => Just("*.o".to_owned()),
        1 => Just("a*".to_owned()),
        1 => Just("**b".to_owned()),
        1 => Just("[ab]".to_owned()),
        1 => Just("[!a]*".to_owned()),
        1 => Just("[^a-b]".to_owned()),
        1 => Just("[[:alpha:]]".to_owned()),
        1 => Just("[[:upper:]c]b".to_owned()),
        1 => Just("[\\]a]".to_owned()),
        1 => Just("[]!^-]".to_owned()),
        1 => Just("[^!-]".to_owned()),
        1 => Just("[[:]a]".to_owned()),
        1 => Just("[b-]".to_owned()),
        1 => Just("[!\u{e9}]".to_owned()),
        1 => Just("a[!b]c".to_owned()),
        1 => Just("***".to_owned()),
        1 => Just("{a,b}".to_owned()),
        1 => Just("\\a".to_owned()),
        1 => Just("\\*".to_owned()),
        1 => Just("a\\ ".to_owned()),
        1 => Just("a ".to_owned()),
        1 => Just("\u{e9}".to_owned()),
        1 => Just("??".to_owned()),
    ];
    let parts = proptest::collection::vec(part, 1..4);
    (
        prop_oneof![3 => Just(""), 1 => Just("!"), 1 => Just("/"), 1 => Just("!/")],
        parts,
        prop_oneof![2 => Just(""), 1 => Just("/"), 1 => Just("/**")],
    )
        .prop_map(|(before, parts, after)| format!("{before}{}{after}", parts.join("/")))
}

fn asked_path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        8 => "[abc]{1,2}".prop_map(String::into_bytes),
        1 => Just(b"x.o".to_vec()),
        1 => Just(b"{a,b}".to_vec()),
        1 => Just(b"*".to_vec()),
        1 => Just(b"]".to_vec()),
        1 => Just(b"-".to_vec()),
        1 => Just(b"!".to_vec()),
        1 => Just(b"a ".to_vec()),
        1 => Just(b"A".to_vec()),
        1 => Just(b"\xff".to_vec()),
        1 => Just("\u{e9}".as_bytes().to_vec()),
        1 => Just(b"a\xfe".to_vec()),
    ];
    proptest::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn git_ignores_the_same(
        project in proptest::collection::vec(pattern(), 0..3),
        root in proptest::collection::vec(pattern(), 0..4),
        below in proptest::collection::vec(pattern(), 0..3),
        asked in proptest::collection::btree_set(asked_path(), 1..40),
    ) {
        // A path that is a directory for another one is left out.
        let asked: Vec<Vec<u8>> = asked.iter().filter(|path| {
            let dir = [&path[..], b"/"].concat();
            !asked.iter().any(|other| other.starts_with(&dir)) && **path != b"a"
        }).cloned().collect();
        let files: BTreeMap<_, _> = [("", root), ("a", below)]
            .map(|(dir, lines)| (dir.to_owned(), lines.join("\n")))
            .into();
        let ours = IgnoreScope::of_project(&project, &ObjectPath::ROOT).expect("patterns");
        let theirs = asked_of_git(&project, &files, &asked);
        for (path, expected) in asked.iter().zip(theirs) {
            prop_assert_eq!(walked(&ours, &files, path), expected, "{:?}", path.escape_ascii().to_string());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (scope, _) = IgnoreScope::default()
            .with_file(&ObjectPath::ROOT, IgnoreFile::Bytes(&bytes));
        let _ = scope.ignores(&path("a/b"), true);
    }

    #[test]
    fn no_line_makes_it_panic(line in "[]\\[!^{}*?/a:\\\\-]{0,24}") {
        let (scope, _) = IgnoreScope::default()
            .with_file(&ObjectPath::ROOT, IgnoreFile::Bytes(line.as_bytes()));
        let _ = scope.ignores(&path("a/b"), true);
    }
}

#[test]
fn deeper_files_win_and_nothing_comes_back_below_an_ignored_directory() {
    let root = scope(&["*.log", "build/"]);
    let files = BTreeMap::from([
        ("a".to_owned(), "!keep.log\n".to_owned()),
        ("build".to_owned(), "!x\n".to_owned()),
    ]);
    let ignores = |path: &str| walked(&root, &files, path.as_bytes());
    assert!(ignores("x.log") && ignores("a/x.log") && ignores("build/x"));
    assert!(!ignores("a/keep.log") && ignores("keep.log") && !ignores("a/b"));
    // Only a directory is meant.
    assert!(!ignores("c/build"));
}

#[test]
fn patterns_of_a_project_count_from_its_root_also_in_a_subdirectory() {
    let patterns = ["/a/out".to_owned(), "*.o".to_owned()];
    let inside = IgnoreScope::of_project(&patterns, &path("a")).expect("patterns");
    assert!(inside.ignores(&path("out"), false) && inside.ignores(&path("x.o"), false));
    assert!(!inside.ignores(&path("a"), true));
}

#[test]
fn wrong_patterns_are_named() {
    for wrong in ["[a", "a\\", "", "# x", "[[:none:]]", "a\nb"] {
        let error =
            IgnoreScope::of_project(&["ok".to_owned(), wrong.to_owned()], &ObjectPath::ROOT)
                .expect_err(wrong);
        assert_eq!(error.pattern, wrong);
        let (scope, told) =
            IgnoreScope::of_settings(&[wrong.to_owned(), "ok".to_owned()], &ObjectPath::ROOT);
        assert!(
            scope.ignores(&path("ok"), false) && told.is_some(),
            "{wrong}"
        );
    }
}

#[test]
fn wrong_lines_are_warnings_with_file_and_line() {
    let bytes = b"\xef\xbb\xbf*.o\r\n[a\n\xff\n# [a\n\nb\na\\";
    let (scope, warnings) = IgnoreScope::default().with_file(&path("d"), IgnoreFile::Bytes(bytes));
    assert!(scope.ignores(&path("d/x.o"), false) && scope.ignores(&path("d/b"), false));
    let name = ObjectPath::new(b"d/\xff").expect("a path");
    assert!(scope.ignores(&name, false));
    let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "d/.lfsfsignore, line 2: a bracket is not closed; the line is not used",
            "d/.lfsfsignore, line 7: it ends with a backslash; the line is not used",
        ]
    );
    let (scope, warnings) = scope.enter(&path("d/e"), IgnoreFile::TooLong);
    assert!(
        warnings[0]
            .to_string()
            .starts_with("d/e/.lfsfsignore: it has more than")
    );
    assert!(scope.ignores(&path("d/e/b"), false));
}
