//! One way to name things: a version, a mount, a path in a mount; links on the way; columns.

use std::fs;
use std::os::unix::fs::symlink;

use lfsfs_tests::{Run, World, in_namespace};

use crate::support::{typed_in, world, write};

#[test]
fn a_mount_and_a_path_in_it_name_the_version_that_is_shown() {
    in_namespace(
        "named::a_mount_and_a_path_in_it_name_the_version_that_is_shown",
        || {
            let world = world();
            let mount = world.mount_writable("app", "");
            write(mount.path(), "dir/three", "changed");
            let _ = mount.commit("what and why");
            write(mount.path(), "one", "not committed");
            let dir = mount.path().display().to_string();
            let here = |words: &[&str]| typed_in(&world, mount.path(), words).ok();
            assert_eq!(world.lfsfs(["ls", &dir]).ok(), "dir\nlink\none\ntwo");
            assert_eq!(world.lfsfs(["ls", &format!("{dir}/dir")]).ok(), "dir/three");
            assert_eq!(here(&["ls", "."]), "dir\nlink\none\ntwo");
            assert_eq!(here(&["ls"]), "dir\nlink\none\ntwo");
            // What was changed and not committed is in no version.
            assert_eq!(here(&["cat", "./one"]), "one");
            assert_eq!(here(&["cat", ".", "one", "dir/three"]), "onechanged");
            assert_eq!(here(&["cat", "v1", "dir/three"]), "dir/three");
            assert_eq!(here(&["log", "--oneline"]), "v2  what and why\nv1");
            assert_eq!(here(&["log", "./one", "--oneline"]), "v1");
            assert_eq!(here(&["diff", "v1", "v2"]), "M dir/three");
            assert_eq!(here(&["diff", "v1", "."]), "M dir/three");
            assert_eq!(here(&["diff"]), "M one");
            assert_eq!(here(&["status", "-s"]), "M one");
            assert_eq!(here(&["diff", "dir"]), "");
            assert_eq!(here(&["diff", "./one"]), "M one");
            assert_eq!(here(&["tag", ".", "good"]), "app@good");
            assert_eq!(here(&["cat", "@good", "dir/three"]), "changed");
            assert!(here(&["show"]).starts_with("version  app@v2\n"));
            let typed = typed_in(&world, mount.path(), &["log", ".", "--server", "elsewhere"]);
            typed.fails(2, &["--server elsewhere is not for a mount"]);
            mount.umount();
        },
    );
}

#[test]
fn the_second_word_of_a_diff_may_leave_out_the_project() {
    let world = world();
    let tree = world.path("tree");
    write(&tree, "one", "changed");
    let _ = world.import(&tree, "app");
    for second in ["v2", "latest", "@latest", "app"] {
        assert_eq!(world.lfsfs(["diff", "app@v1", second]).ok(), "M one");
    }
    assert_eq!(world.lfsfs(["log", "app@v1", "--oneline"]).ok(), "v1");
    world
        .lfsfs(["show", "v2"])
        .fails(1, &["not in a mount", "app@v2"]);
}

#[test]
fn a_directory_taken_for_a_project_is_told_apart() {
    let world = world();
    let outside = world.make_dir("outside/thing");
    let parent = outside.parent().expect("a parent");
    typed_in(&world, parent, &["ls", "thing"]).fails(1, &["thing", "./thing"]);
    typed_in(&world, parent, &["ls", "./thing"]).fails(1, &["not in a mount"]);
}

#[test]
fn show_tells_of_one_version_and_what_it_changed() {
    let world = world();
    let tree = world.path("tree");
    fs::remove_file(tree.join("two")).expect("a file");
    let tree = tree.to_str().expect("text");
    let import = [
        "import",
        tree,
        "app",
        "-m",
        "subject\n\nbody",
        "--author",
        "me@here",
    ];
    assert_eq!(world.lfsfs(import).ok(), "app@v2");
    let text = world.lfsfs(["show", "app", "--time", "relative"]).ok();
    for words in [
        "version  app@v2\nauthor   me@here\ntime     ",
        " ago\norigin   import on v1\n",
        "changed  +0 -1 ~0\n\n    subject\n\n    body\n\nD two",
    ] {
        assert!(text.contains(words), "{words:?}: {text}");
    }
    let first = world.lfsfs(["show", "app@v1", "--stat"]).ok();
    assert!(first.contains("5 added, 0 removed"), "{first}");
    let json = world.lfsfs(["show", "app", "--json"]).ok();
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines[0]["message"], "subject\n\nbody");
    assert_eq!(lines[1], serde_json::json!({"change": "D", "path": "two"}));
}

/// A project with links of every kind.
fn world_of_links() -> World {
    let world = World::new();
    let tree = world.make_dir("links");
    fs::create_dir_all(tree.join("a/b")).expect("a directory");
    fs::write(tree.join("a/b/file"), "text").expect("a file");
    for (link, target) in [
        ("to-file", "a/b/file"),
        ("to-dir", "./a/b"),
        ("a/up", "../to-file"),
        ("loop", "loop"),
        ("absolute", "/etc/hostname"),
        ("above", "../outside"),
        ("dangling", "none"),
    ] {
        symlink(target, tree.join(link)).expect("a link");
    }
    assert_eq!(world.import(&tree, "app"), "app@v1");
    world
}

#[test]
fn links_are_followed_inside_of_the_version() {
    let world = world_of_links();
    for path in ["a/b/file", "to-file", "to-dir/file", "a/up", "./a/./up"] {
        assert_eq!(world.lfsfs(["cat", "app", path]).ok(), "text", "{path}");
    }
    assert_eq!(world.lfsfs(["ls", "app", "to-dir/file"]).ok(), "a/b/file");
    assert_eq!(world.lfsfs(["ls", "app", "./a"]).ok(), "a/b\na/up");
    let cat = |path| world.lfsfs(["cat", "app", path]);
    cat("loop").fails(1, &["loop", "40 symbolic links"]);
    cat("absolute").fails(1, &["absolute -> /etc/hostname", "out of the version"]);
    cat("above").fails(1, &["above", "out of the version"]);
    cat("dangling").fails(1, &["dangling"]);
    cat("to-dir").fails(1, &["to-dir", "is a directory"]);
    cat("../file").fails(2, &[".."]);
}

#[test]
fn a_long_listing_has_columns() {
    let world = world_of_links();
    let long = world.lfsfs(["ls", "app", "-l", "--time", "utc"]).ok();
    let lines: Vec<_> = long.lines().collect();
    // The paths stand below each other.
    let starts: Vec<_> = lines
        .iter()
        .map(|line| line.find("Z ").expect("a time"))
        .collect();
    assert!(starts.windows(2).all(|pair| pair[0] == pair[1]), "{long}");
    assert!(lines[0].starts_with("drwxr-xr-x 1 root root "), "{long}");
    assert!(long.contains(" absolute -> /etc/hostname"), "{long}");
    let numeric = world.lfsfs(["ls", "app", "-lnh", "a/b"]).ok();
    assert!(numeric.starts_with("-rw-r--r-- 1 0 0 4 B "), "{numeric}");
    world.lfsfs(["ls", "app", "-h"]).fails(2, &["--long"]);
    assert!(world.lfsfs(["ls", "--help"]).ok().contains("--human"));
}

#[test]
fn colours_are_for_terminals() {
    let world = world_of_links();
    let log = world.lfsfs(["log", "app"]);
    assert!(!log.ok().contains('\u{1b}'));
    let on_a_terminal = |no_color: &str| {
        let lfsfs = world.command([""; 0]).get_program().to_owned();
        let line = format!("{} log app", lfsfs.display());
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &line, "/dev/null"]);
        command.env("TERM", "xterm").env("NO_COLOR", no_color);
        command.env("LFSFS_SERVER", world.address());
        command.stdin(std::process::Stdio::null());
        Run::of(command).ok()
    };
    if lfsfs_testkit::requirements::require_program("script").is_ok() {
        assert!(on_a_terminal("").contains("\u{1b}[33mv1"));
        assert!(!on_a_terminal("1").contains('\u{1b}'));
    }
}

#[test]
fn usage_lines_show_the_server_as_it_is() {
    let world = World::without_server();
    let usage = world
        .lfsfs(["log", "app", "--nonsense"])
        .fails(2, &["Usage:"]);
    assert!(!usage.contains("--server"), "{usage}");
}

#[test]
fn settings_come_from_files_where_nothing_else_says_them() {
    let mut world = world();
    let home = world.make_dir("home/.config/lfsfs");
    let file = home.join("config.toml");
    let address = world.address().to_owned();
    fs::write(
        &file,
        format!("server = '{address}'\nauthor = 'ci@fleet'\n"),
    )
    .expect("a file");
    let run = |world: &World, words: &[&str]| {
        let mut command = world.command(words);
        command.env("HOME", world.path("home"));
        command
            .env_remove("LFSFS_SERVER")
            .env_remove("XDG_CONFIG_HOME");
        Run::of(command)
    };
    let tree = world.path("tree");
    write(&tree, "one", "changed");
    let tree = tree.to_str().expect("text").to_owned();
    assert_eq!(run(&world, &["import", &tree, "app"]).ok(), "app@v2");
    let log = run(&world, &["log", "app", "-n", "1", "--json"]).json();
    assert_eq!(log["author"], "ci@fleet");
    run(&world, &["ls", "app", "--server", "127.0.0.1:1"]).fails(1, &["127.0.0.1:1"]);
    fs::write(&file, "sever = 'x'\n").expect("a file");
    run(&world, &["ls", "app"]).fails(2, &["config.toml", "sever"]);
    // A host alone is asked at the port where servers listen.
    world.stop_server();
    fs::write(&file, "server = '127.0.0.3'\n").expect("a file");
    run(&world, &["ls", "app"]).fails(1, &["no lfsfs server at 127.0.0.3:5051"]);
}

#[test]
fn the_author_is_taken_from_the_user_database_where_no_variable_says_it() {
    let world = world();
    let tree = world.path("tree");
    write(&tree, "one", "changed");
    let mut command = world.command(["import".as_ref(), tree.as_os_str(), "app".as_ref()]);
    command.env_remove("USER").env_remove("LOGNAME");
    command.env("HOME", world.path("home"));
    let _ = Run::of(command).ok();
    let log = world.lfsfs(["log", "app", "-n", "1", "--json"]).json();
    let author = log["author"].as_str().expect("an author");
    let id = lfsfs_tests::run("id", ["-un"]).ok();
    assert!(author.starts_with(&format!("{id}@")), "{author}");
}
