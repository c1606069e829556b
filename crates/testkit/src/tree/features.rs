//! The odd objects of a tree, one directory for each kind.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rand::{Rng, RngExt};

use super::content::Content;
use super::plan::{Entry, Kind, Plan, directory};
use super::{Features, LargeFile, Random};

/// The longest name that Linux allows.
const NAME_BYTES_MAX: usize = 255;

/// Plans the objects of one feature.
type Part = fn(&mut Plan, &mut Random);

/// Plans the objects of all features that are switched on.
pub(crate) fn plan(plan: &mut Plan, features: &Features, random: &mut Random) {
    let parts: [(bool, Part); 14] = [
        (features.symlinks, symlinks),
        (features.empty_directories, empty_directories),
        (features.unusual_modes, unusual_modes),
        (features.equal_files, equal_files),
        (features.hard_links, hard_links),
        (features.xattrs, xattrs),
        (features.fifos, fifos),
        (features.long_names, long_names),
        (features.names_not_utf8, names_not_utf8),
        (features.awkward_names, awkward_names),
        (features.deep, deep),
        (features.long_path, long_path),
        (features.unusual_times, unusual_times),
        (
            features.owners && rustix::process::geteuid().is_root(),
            owners,
        ),
    ];
    for (wanted, part) in parts {
        if wanted {
            part(plan, random);
        }
    }
    if let Some(large) = features.large_file {
        large_file(plan, large, random);
    }
}

fn text(random: &mut Random) -> Content {
    Content::Text {
        seed: random.random(),
        bytes: random.random_range(1..3_000),
    }
}

fn symlinks(plan: &mut Plan, random: &mut Random) {
    plan.file("symlinks/target/file", text(random));
    plan.symlink("symlinks/relative", "target/file");
    plan.symlink("symlinks/directory", "target");
    plan.symlink("symlinks/target/upwards", "../target/../target/file");
    plan.symlink(
        "symlinks/out-of-the-tree",
        "../../../../../../../../../../../etc",
    );
    plan.symlink("symlinks/absolute", "/usr/bin/env");
    plan.symlink("symlinks/dangling", "no/such/file");
    plan.symlink("symlinks/loop", "loop");
    plan.symlink("symlinks/trailing-slash", "target/");
    plan.symlink("symlinks/not-utf8", OsStr::from_bytes(b"\xff\xfe/\x80"));
    // The longest target that Linux allows.
    plan.symlink("symlinks/long", "x/".repeat(2_047) + "x");
}

fn empty_directories(plan: &mut Plan, _: &mut Random) {
    plan.directory("empty-directories/one");
    plan.directory("empty-directories/two/three");
}

fn unusual_modes(plan: &mut Plan, random: &mut Random) {
    let is_root = rustix::process::geteuid().is_root();
    for mode in [
        0o4755, 0o2755, 0o6711, 0o1644, 0o000, 0o400, 0o200, 0o111, 0o666, 0o777, 0o755,
    ] {
        // What its owner may not read only root can compare or import.
        if mode & 0o400 == 0 && !is_root {
            continue;
        }
        let entry = plan.file_entry(text(random)).mode(mode);
        plan.insert(format!("unusual-modes/file-{mode:04o}"), entry);
    }
    for mode in [0o1777, 0o2775, 0o3770, 0o700, 0o555] {
        let entry = directory(plan.some_time()).mode(mode);
        let path = format!("unusual-modes/directory-{mode:04o}");
        plan.insert(&path, entry);
        plan.file(format!("{path}/file"), text(random));
    }
    // Only root can look into this one again.
    if is_root {
        let entry = directory(plan.some_time()).mode(0);
        plan.insert("unusual-modes/directory-0000", entry);
        plan.file("unusual-modes/directory-0000/file", text(random));
    }
}

fn equal_files(plan: &mut Plan, random: &mut Random) {
    let small = text(random);
    let large = Content::Noise {
        seed: random.random(),
        bytes: 3_000_000,
    };
    for number in 0..5 {
        plan.file(format!("equal-files/small-{number}"), small.clone());
        plan.file(
            format!("equal-files/empty-{number}"),
            Content::Bytes(Vec::new()),
        );
    }
    for number in 0..2 {
        plan.file(format!("equal-files/in/large-{number}"), large.clone());
    }
}

fn hard_links(plan: &mut Plan, random: &mut Random) {
    let groups: [&[&str]; 3] = [
        &["hard-links/a", "hard-links/b"],
        &[
            "hard-links/left/x",
            "hard-links/right/y",
            "hard-links/right/deeper/z",
        ],
        // The names of one group enclose those of the others in every order of walking.
        &[
            "hard-links/0-first",
            "hard-links/right/same",
            "hard-links/zz-last",
        ],
    ];
    for names in groups {
        let link = Some(plan.new_link());
        let attributes = plan.file_entry(Content::Bytes(Vec::new())).attributes;
        let kind = Kind::File {
            content: text(random),
            link,
        };
        for name in names {
            plan.insert(
                name,
                Entry {
                    kind: kind.clone(),
                    attributes: attributes.clone(),
                },
            );
        }
    }
}

fn xattrs(plan: &mut Plan, random: &mut Random) {
    let mut large = vec![0; 3_000];
    random.fill_bytes(&mut large);
    let cases: [(&str, &str, &[u8]); 5] = [
        ("text", "user.comment", b"made by hand"),
        ("binary", "user.binary", b"\0\x01\xff\n"),
        ("empty", "user.empty", b""),
        ("large", "user.large", &large),
        ("unicode", "user.n\u{e4}me", b"value"),
    ];
    for (name, key, value) in cases {
        let entry = plan.file_entry(text(random)).xattr(key, value);
        plan.insert(format!("xattrs/{name}"), entry);
    }
    let mut many = plan.file_entry(text(random));
    for number in 0..20 {
        many = many.xattr(&format!("user.number-{number}"), &[number; 7]);
    }
    plan.insert("xattrs/many", many);
    let entry = directory(plan.some_time()).xattr("user.of", b"a directory");
    plan.insert("xattrs/directory", entry);
}

fn fifos(plan: &mut Plan, _: &mut Random) {
    for (name, mode) in [("one", 0o644), ("two", 0o600)] {
        let entry = Entry {
            kind: Kind::Fifo,
            ..directory(plan.some_time())
        }
        .mode(mode);
        plan.insert(format!("fifos/{name}"), entry);
    }
}

fn long_names(plan: &mut Plan, random: &mut Random) {
    plan.file(
        format!("long-names/{}", "f".repeat(NAME_BYTES_MAX)),
        text(random),
    );
    plan.file(
        format!("long-names/{}/file", "d".repeat(NAME_BYTES_MAX)),
        text(random),
    );
    plan.symlink(
        format!("long-names/{}", "s".repeat(NAME_BYTES_MAX)),
        "target",
    );
    // 85 characters of three bytes each.
    plan.file(
        format!("long-names/{}", "\u{20ac}".repeat(NAME_BYTES_MAX / 3)),
        text(random),
    );
}

fn names_not_utf8(plan: &mut Plan, random: &mut Random) {
    for name in [
        b"latin1-\xe4\xf6\xfc".as_slice(),
        b"\xff",
        b"\x80\x81",
        b"cut-\xe2\x82",
    ] {
        plan.file(bytes_path(b"names-not-utf8/", name), text(random));
    }
    plan.file(
        bytes_path(b"names-not-utf8/\xc3\x28/", b"file"),
        text(random),
    );
}

fn bytes_path(parent: &[u8], name: &[u8]) -> OsString {
    OsString::from_vec([parent, name].concat())
}

fn awkward_names(plan: &mut Plan, random: &mut Random) {
    let names = [
        "with space",
        " leading",
        "trailing ",
        "new\nline",
        "tab\t",
        "carriage\rreturn",
        "\"quoted\"",
        "'single'",
        "back\\slash",
        "-rf",
        "--help",
        "*",
        "?",
        "$HOME",
        "`id`",
        "a;b",
        "a|b",
        "#",
        "~",
        "...",
        "..hidden",
        ".hidden",
        "%00",
        "a:b",
        "con",
        "\u{1}\u{7f}",
        "\u{1b}[31m",
        "\u{e9}",
        "e\u{301}",
        "\u{65e5}\u{672c}",
        "\u{1f600}",
        "\u{202e}right-to-left",
        "CASE",
        "case",
        "@v1",
    ];
    for name in names {
        plan.file(format!("awkward-names/{name}"), text(random));
    }
    plan.file("awkward-names/directory with\nnewline/file", text(random));
}

fn deep(plan: &mut Plan, random: &mut Random) {
    let mut path = String::from("deep");
    for level in 1..=30 {
        path = format!("{path}/level-{level}");
        if level % 10 == 0 {
            plan.file(format!("{path}/file"), text(random));
        }
    }
}

/// 15 directories of 255 bytes, their slashes and a file name of 255 bytes: 4,095 bytes.
fn long_path(plan: &mut Plan, random: &mut Random) {
    let mut path = String::new();
    for level in 0..15 {
        let letter = char::from(b'a' + level);
        path.extend(std::iter::repeat_n(letter, NAME_BYTES_MAX));
        path.push('/');
    }
    plan.file(
        format!("{path}{}", "z".repeat(NAME_BYTES_MAX)),
        text(random),
    );
    plan.file(format!("{path}short"), text(random));
    plan.symlink(format!("{path}symlink"), "short");
}

fn unusual_times(plan: &mut Plan, random: &mut Random) {
    let times = [
        (-1, 999_999_999),
        (-2, 1),
        (-86_400 * 365 * 30, 123_456_789),
        (0, 0),
        (0, 1),
        (1, 0),
        (i64::from(i32::MAX), 999_999_999),
        (i64::from(i32::MAX) + 1, 0),
        (4_102_444_800, 987_654_321),
    ];
    for (number, (seconds, nanoseconds)) in times.into_iter().enumerate() {
        let entry = plan.file_entry(text(random)).modified(seconds, nanoseconds);
        plan.insert(format!("unusual-times/file-{number}"), entry);
        let entry = directory(plan.some_time()).modified(seconds, nanoseconds);
        plan.insert(format!("unusual-times/directory-{number}"), entry);
    }
}

fn owners(plan: &mut Plan, random: &mut Random) {
    for (user, group) in [
        (1_000, 1_000),
        (0, 12),
        (65_534, 65_534),
        (3_000_000_000, 4_000_000_000),
    ] {
        // The setuid bit must survive: chown clears it, so the order of the two calls matters.
        let entry = plan
            .file_entry(text(random))
            .owner(user, group)
            .mode(0o4755);
        plan.insert(format!("owners/file-{user}-{group}"), entry);
        let entry = directory(plan.some_time()).owner(user, group);
        plan.insert(format!("owners/directory-{user}-{group}"), entry);
        let kind = Kind::Symlink("anywhere".into());
        let entry = Entry {
            kind,
            ..directory(plan.some_time())
        }
        .owner(user, group);
        plan.insert(format!("owners/symlink-{user}-{group}"), entry);
    }
}

fn large_file(plan: &mut Plan, large: LargeFile, random: &mut Random) {
    let (seed, bytes) = (random.random(), large.bytes);
    let content = if large.compressible {
        Content::Text { seed, bytes }
    } else {
        Content::Noise { seed, bytes }
    };
    plan.file("large-file", content);
}
