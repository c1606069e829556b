use std::fs;
use std::path::Path;

use lfsfs_cluster::Placement;

use super::*;
use crate::cli::command;
use crate::cli::keys::KEYS;
use crate::cli::show;

/// Returns what a command line makes of its role. Variables of the tests' own environment count: none of
/// the tests sets one.
fn of(role: RoleName, words: &[&str]) -> Result<Configuration, ConfigError> {
    let line = ["lfsfsd", role.word()]
        .into_iter()
        .chain(words.iter().copied());
    let matches = command().try_get_matches_from(line).unwrap();
    let (_, own) = matches.subcommand().unwrap();
    Configuration::new(role, Given::of(own, &[role]))
}

/// Returns what a server is started with.
fn started(role: RoleName, words: &[&str]) -> Start {
    of(role, words).unwrap().start().unwrap()
}

fn complaint(role: RoleName, words: &[&str]) -> String {
    of(role, words).unwrap_err().to_string()
}

/// What each role must be told.
fn required(role: RoleName) -> &'static [&'static str] {
    match role {
        RoleName::All | RoleName::Coordinator => &["--data", "data"],
        RoleName::Datanode => &["--data", "data", "--coordinator", "localhost:5051"],
    }
}

/// A file that is there as long as this is.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, text).unwrap();
    file
}

/// Returns a document of the project.
fn document(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn the_defaults_of_the_keys_are_those_of_the_code() {
    let start = started(RoleName::All, required(RoleName::All));
    assert_eq!(start.config, ServerConfig::all("data"));
    assert_eq!(start.listen, "127.0.0.1:5051".parse().unwrap());
    assert_eq!(start.policy, ListenPolicy::LoopbackOnly);
    assert_eq!((start.log, start.metrics), (None, None));
}

#[test]
fn a_coordinator_keeps_three_copies_unless_told_otherwise() {
    let copies = |words: &[&str]| {
        let words = [required(RoleName::Coordinator), words].concat();
        let cluster = started(RoleName::Coordinator, &words).config.cluster;
        (cluster.replication, cluster.min_replicas)
    };
    assert_eq!(copies(&[]), (3, 2));
    assert_eq!(copies(&["--replication", "1"]), (1, 1));
    assert_eq!(copies(&["--replication", "9"]), (9, 2));
    assert_eq!(copies(&["--min-replicas", "3"]), (3, 3));
}

const GARBAGE: GarbageSettings = GarbageSettings {
    every: Duration::from_secs(12),
    grace: Duration::from_secs(13),
    keep: 14,
    older_than: Duration::from_secs(15),
    deleted_kept: Duration::from_secs(17),
    rate: 16 << 20,
};

/// A value for each key of `lfsfsd all`.
const WORDS: [&str; 28] = [
    "--data=/d",
    "--meta=sled:/m",
    "--listen=10.0.0.5:7",
    "--insecure-listen",
    "--metrics=10.0.0.5:8",
    "--advertise=a:1",
    "--zone=rack-1",
    "--capacity=1TiB",
    "--scrub-period=5",
    "--reserve=1GiB",
    "--memory=1GiB",
    "--connections=7",
    "--grace=8",
    "--log=/l",
    "--replication=2",
    "--min-replicas=2",
    "--placement=least-used",
    "--repair-after=9",
    "--repair-rate=1MiB",
    "--rebalance-above=11",
    "--chunk-size=16MiB",
    "--gc-every=12",
    "--gc-grace=13",
    "--gc-keep=14",
    "--gc-older-than=15",
    "--deleted-kept=17",
    "--gc-rate=16MiB",
    "--development",
];

#[test]
fn each_value_reaches_the_server() {
    let words = WORDS;
    let mut flags: Vec<_> = words
        .iter()
        .filter_map(|word| word.split('=').next())
        .collect();
    flags.push("--coordinator");
    let is_tried = |key: &Key| flags.contains(&key.flag().as_str());
    assert!(KEYS.iter().all(is_tried), "a key is not tried");
    let expected = Start {
        config: ServerConfig {
            role: Role::All,
            data: "/d".into(),
            more_data: Vec::new(),
            meta: Some("sled:/m".parse().unwrap()),
            reserve: 1 << 30,
            memory: 1 << 30,
            connections: 7,
            advertise: Some("a:1".to_owned()),
            grace: Duration::from_secs(8),
            cluster: ClusterSettings {
                replication: 2,
                min_replicas: 2,
                placement: Placement::LeastUsed,
                repair_after: Duration::from_secs(9),
                repair_rate: 1 << 20,
                rebalance_above: 11,
                chunk_size: 16 << 20,
                zone: "rack-1".to_owned(),
                capacity: 1 << 40,
                scrub_period: Duration::from_secs(5),
            },
            garbage: GARBAGE,
            development: true,
        },
        listen: "10.0.0.5:7".parse().unwrap(),
        metrics: Some("10.0.0.5:8".parse().unwrap()),
        policy: ListenPolicy::Insecure,
        log: Some("/l".into()),
    };
    assert_eq!(started(RoleName::All, &words), expected);
    let node = started(RoleName::Datanode, required(RoleName::Datanode));
    let coordinator = "localhost:5051".to_owned();
    assert_eq!(node.config.role, Role::DataNode { coordinator });
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let file = file("data = '/of-file'\ngrace = 3\ninsecure-listen = true\n");
    let path = file.path().to_str().unwrap();
    let words = ["--config", path, "--grace=4", "--insecure-listen=false"];
    let configuration = of(RoleName::All, &words).unwrap();
    let from = |name| configuration.origin_text(name);
    assert_eq!(from("data"), format!("file {path}"));
    assert_eq!(from("grace"), "flag --grace");
    assert_eq!(from("insecure-listen"), "flag --insecure-listen");
    assert_eq!(from("memory"), "default");
    let start = configuration.start().unwrap();
    assert_eq!(start.config.data, Path::new("/of-file"));
    assert_eq!(start.config.grace, Duration::from_secs(4));
    assert_eq!(start.policy, ListenPolicy::LoopbackOnly);
}

#[test]
fn a_file_is_checked_where_flags_win_over_it_too() {
    let file = file("data = '/of-file'\ngrace = 'long'\n");
    let path = file.path().to_str().unwrap();
    let told = complaint(RoleName::All, &["--config", path, "--grace=4"]);
    assert!(told.contains("line 2: grace = 'long'"), "{told}");
}

#[test]
fn what_is_required_is_asked_for() {
    let told = complaint(RoleName::All, &[]);
    for way in ["--data", "LFSFSD_DATA", "--config"] {
        assert!(told.contains(way), "{way}: {told}");
    }
    let told = complaint(RoleName::Datanode, &["--data", "d"]);
    assert!(told.starts_with("coordinator is not set"), "{told}");
}

#[test]
fn a_wrong_flag_is_told_with_its_value() {
    for (word, told) in [
        ("--memory=1MiB", "--memory 1MiB cannot be: expected a size"),
        (
            "--connections=0",
            "--connections 0 cannot be: expected a number",
        ),
        ("--data=", "--data  cannot be: expected a directory"),
        ("--log=", "--log  cannot be: expected a path"),
        ("--insecure-listen=yes", "expected true or false"),
        ("--placement=far", "expected least-used, weighted-random"),
    ] {
        let complaint = complaint(RoleName::All, &[word]);
        assert!(complaint.starts_with("command line: "), "{complaint}");
        assert!(complaint.contains(told), "{complaint}");
    }
}

#[test]
fn a_datanode_alone_has_several_directories() {
    let data = ["--data=/a", "--data=/b", "--data=/c"];
    let words = [required(RoleName::Datanode), &data[..]].concat();
    let config = started(RoleName::Datanode, &words).config;
    let all = [&[config.data][..], &config.more_data].concat();
    assert!(
        all.ends_with(&["/a", "/b", "/c"].map(Into::into)),
        "{all:?}"
    );
    let told = complaint(RoleName::Coordinator, &data);
    assert!(told.contains("a datanode may have more"), "{told}");
    let twice = [required(RoleName::Datanode), &["--data=/a", "--data=/a"]].concat();
    let told = complaint(RoleName::Datanode, &twice);
    assert!(told.contains("/a more than once"), "{told}");
}

#[test]
fn no_more_copies_are_awaited_than_are_made() {
    let words = ["--data=d", "--min-replicas=4"];
    let told = complaint(RoleName::Coordinator, &words);
    let expected = "min-replicas is 4 (flag --min-replicas), and replication 3 (default): \
                    expected at most as many";
    assert_eq!(told, expected);
}

#[test]
fn addresses_are_checked_before_anything_starts() {
    let refused = |role, words: &[&str]| {
        let words = [required(role), words].concat();
        of(role, &words).unwrap().start().unwrap_err()
    };
    let open = ["--listen=0.0.0.0:1"];
    let error = refused(RoleName::Coordinator, &open);
    assert!(matches!(error, ServerError::NotLoopback { .. }), "{error}");
    let open = ["--metrics=0.0.0.0:1"];
    let error = refused(RoleName::Coordinator, &open);
    assert!(
        matches!(error, ServerError::MetricsNotLoopback { .. }),
        "{error}"
    );
    let open = ["--listen=0.0.0.0:1", "--insecure-listen"];
    for role in [RoleName::All, RoleName::Datanode] {
        let error = refused(role, &open);
        assert!(matches!(error, ServerError::NoAdvertise { .. }), "{error}");
    }
    let words = ["--data=d", open[0], open[1]];
    assert!(of(RoleName::Coordinator, &words).unwrap().start().is_ok());
}

#[test]
fn what_is_shown_is_a_file_that_sets_the_same() {
    let strange = "--data=/a \"b\" \\ \u{7f}\u{1}\n#é";
    for role in RoleName::EVERY {
        let mut words = vec![strange, "--grace=4", "--listen=127.0.0.1:0"];
        if *role == RoleName::Datanode {
            words.push("--coordinator=localhost:5051");
        }
        let shown = of(*role, &words).unwrap();
        let file = file(&show::text(&shown));
        let again = of(*role, &["--config", file.path().to_str().unwrap()]).unwrap();
        for (shown, again) in shown.entries.iter().zip(&again.entries) {
            assert_eq!(shown.value, again.value, "{}", shown.key.name);
        }
    }
}

#[test]
fn each_line_that_is_shown_says_where_its_value_came_from() {
    let words = [required(RoleName::Datanode), &["--zone=a"]].concat();
    let shown = of(RoleName::Datanode, &words).unwrap();
    let text = show::text(&shown);
    for line in [
        "# lfsfsd datanode",
        "data = \"data\"  # flag --data",
        "listen = \"127.0.0.1:5051\"  # default",
        "insecure-listen = false  # default",
        "# advertise is not set: the address that is listened on  # default",
        "zone = \"a\"  # flag --zone",
        "reserve = 268435456  # default",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    assert_eq!(text.lines().count(), RoleName::Datanode.keys().count() + 1);
    let json = show::json(&shown);
    for (key, value, source) in [
        ("zone", serde_json::json!("a"), "flag --zone"),
        ("reserve", serde_json::json!(268_435_456), "default"),
        ("insecure-listen", serde_json::json!(false), "default"),
        ("advertise", serde_json::Value::Null, "default"),
    ] {
        assert_eq!(json[key]["value"], value, "{key}");
        assert_eq!(json[key]["source"], source, "{key}");
    }
}

/// Returns the example with the keys of a role as if the operator had taken the signs before them away.
fn example(role: RoleName) -> String {
    let text = document("dist/lfsfsd.toml");
    let lines = text.lines().filter_map(|line| {
        let line = line.strip_prefix('#').filter(|it| !it.starts_with(' '))?;
        let (name, _) = line.split_once(" = ")?;
        let key = Key::find(name).unwrap_or_else(|| panic!("{name} is no key"));
        key.roles.contains(&role).then(|| format!("{line}\n"))
    });
    lines.collect()
}

#[test]
fn the_example_file_sets_nothing_as_it_is() {
    let text = document("dist/lfsfsd.toml");
    assert!(toml::from_str::<toml::Table>(&text).unwrap().is_empty());
}

#[test]
fn the_example_file_has_each_key_at_its_default() {
    for role in RoleName::EVERY {
        let file = file(&example(*role));
        let path = file.path().to_str().unwrap();
        let of_example = of(*role, &["--config", path]).unwrap();
        let defaults = of(*role, required(*role)).unwrap();
        for (example, default) in of_example.entries.iter().zip(&defaults.entries) {
            let name = example.key.name;
            assert_ne!(example.origin, Origin::Default, "{name} is not there");
            // It has the default of a coordinator, and tells that of `lfsfsd all`.
            let is_of_other =
                *role == RoleName::All && ["replication", "min-replicas"].contains(&name);
            if default.origin == Origin::Default && default.value.is_some() && !is_of_other {
                assert_eq!(example.value, default.value, "{name}");
            }
        }
    }
}

#[test]
fn the_documentation_has_each_key_with_its_variable_and_its_roles() {
    let text = document("docs/configuration.md");
    for key in KEYS {
        let start = format!("| `{}` | `{}` |", key.name, key.variable);
        let row = text.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("no row {start}"));
        let roles = match key.roles.len() {
            3 => "every".to_owned(),
            _ => key
                .roles
                .iter()
                .map(|role| role.word())
                .collect::<Vec<_>>()
                .join(", "),
        };
        assert!(row.contains(&format!("| {roles} |")), "{roles}: {row}");
        if let Unset::Is(text) = key.unset
            && !text.is_empty()
        {
            assert!(row.contains(&format!("| `{text}`")), "{text}: {row}");
        }
    }
}

#[test]
fn a_key_and_its_flag_have_one_name() {
    for role in RoleName::EVERY {
        let command = command();
        let own = command.find_subcommand(role.word()).unwrap();
        let flags: Vec<_> = own
            .get_arguments()
            .filter_map(|arg| arg.get_long())
            .collect();
        let expected: Vec<_> = ["config"]
            .into_iter()
            .chain(role.keys().map(|it| it.name))
            .collect();
        assert_eq!(flags, expected);
        let has_variable = |arg: &clap::Arg| arg.get_env().is_some();
        assert!(own.get_arguments().all(has_variable));
    }
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}
