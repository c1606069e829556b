use super::*;

const DIRS: &str = "sync_dirs = [\"/srv/me/notes\"]\nremote_root = \"work:docs\"\n";

fn settings(texts: &[&str]) -> Result<SyncSettings, SettingsError> {
    let layers = texts.iter().enumerate();
    let layers = layers.map(|(at, text)| SettingsLayer::of_file(&format!("file {at}"), text));
    let layers: Vec<_> = layers.collect::<Result<_, _>>()?;
    SyncSettings::new(&layers, "box")
}

fn problem(more: &str) -> String {
    let error = settings(&[DIRS, more]).expect_err(more);
    error.to_string()
}

#[test]
fn what_is_not_set_has_a_default() {
    let settings = settings(&[DIRS]).expect("settings");
    assert!(settings.is_enabled && settings.is_watching);
    assert_eq!(
        (settings.direction, settings.rule),
        (Direction::Both, ConflictRule::Both)
    );
    assert_eq!(settings.poll_interval, Duration::from_secs(60));
    assert_eq!((settings.host.as_str(), settings.bandwidth), ("box", None));
    let (far, written) = settings.far_of(&settings.sync_dirs[0]);
    assert_eq!(written, "work:docs/notes");
    assert!(matches!(far, FarPlace::Project { base, .. } if base.as_bytes() == b"docs/notes"));
}

#[test]
fn the_last_layer_counts_and_each_value_says_where_it_is_from() {
    let mut layers = vec![
        SettingsLayer::of_file("prod", "poll_interval = 5\nconcurrency = 2").expect("a layer"),
        SettingsLayer::of_file("instance", DIRS).expect("a layer"),
    ];
    let texts = [
        ("sync_dirs", "/a:/b"),
        ("enabled", "0"),
        ("poll_interval", "7"),
    ];
    let texts = texts.map(|(key, text)| (key.to_owned(), text.to_owned()));
    layers.push(SettingsLayer::of_texts("environment", texts).expect("a layer"));
    let settings = SyncSettings::new(&layers, "box").expect("settings");
    assert_eq!(settings.sync_dirs, [Path::new("/a"), Path::new("/b")]);
    assert_eq!(settings.poll_interval, Duration::from_secs(7));
    assert!(!settings.is_enabled);
    let origin = |key: &str| {
        let found = settings.origins.iter().find(|origin| origin.key == key);
        found.map(|origin| origin.origin.clone()).expect(key)
    };
    assert_eq!(origin("concurrency"), "prod");
    assert_eq!(origin("remote_root"), "instance");
    assert_eq!(origin("poll_interval"), "environment");
    assert_eq!(origin("direction"), "default");
}

#[test]
fn each_wrong_value_is_told_with_its_layer() {
    for (text, expected) in [
        ("sync_dirs = []", "must have a directory"),
        ("sync_dirs = [\"notes\"]", "must be absolute"),
        ("sync_dirs = [\"/a/../b\"]", "must be absolute"),
        ("sync_dirs = [\"/\"]", "no name of its own"),
        ("sync_dirs = [\"/a\", \"/a/b\"]", "lies in the other"),
        ("sync_dirs = [\"/a\", \"/a\"]", "lies in the other"),
        ("sync_dirs = [\"/a/x\", \"/b/x\"]", "have the same name"),
        ("sync_dirs = \"/a\"", "list of texts"),
        ("sync_dirs = [1]", "list of texts"),
        ("remote_root = \"-x\"", "remote_root"),
        ("remote_root = \"app@v1\"", "a version never changes"),
        ("remote_root = \"app:a/../b\"", "remote_root"),
        ("remote_root = \"/srv/me\"", "synced with itself"),
        ("remote_root = \"/srv/me/notes/x\"", "synced with itself"),
        ("enabled = \"yes\"", "true or false"),
        ("direction = \"up\"", "push, pull, both"),
        ("conflict = \"mine\"", "ours, theirs, both"),
        (
            "direction = \"push\"\nconflict = \"theirs\"",
            "cannot be taken",
        ),
        ("poll_interval = 0", "from 1 to 86400"),
        ("poll_interval = 1.5", "from 1 to 86400"),
        ("poll_interval = -1", "from 1 to 86400"),
        ("debounce_ms = 1", "from 50 to 60000"),
        ("concurrency = 65", "from 1 to 64"),
        ("ignore = [\"\"]", "gitignore"),
        ("bandwidth = \"fast\"", "0, or a size"),
        ("host = \"a b\"", "letters"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{text}: {problem}");
        assert!(problem.contains("file "), "{text}: {problem}");
    }
    assert!(problem("pol_interval = 3").contains("has a key \"pol_interval\""));
    assert!(problem("poll_interval =").contains("is not TOML"));
    let missing = settings(&["remote_root = \"app\""]).expect_err("no directory");
    assert!(missing.to_string().starts_with("sync_dirs is not set"));
}
