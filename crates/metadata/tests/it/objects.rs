//! Updates of objects by their paths, against a plain map.

use std::collections::BTreeMap;

use lfsfs_metadata::{
    Metadata, MetadataError, ObjectState, Project, Published, Selection, UpdateParams, UpdatePath,
};
use lfsfs_types::{Kind, Record, Timestamp, VersionId};

use crate::model::objects::ask;
use crate::support::{
    Random, assert_clean, begin, commit, content, directory, file, in_memory, made, new_project,
    params, put, record, remove,
};

/// What an object is in the map: its kind, and its mode.
type Object = (Kind, u32);
type Map = BTreeMap<Vec<u8>, Object>;

/// What an update says of one path.
#[derive(Debug, Clone)]
enum Said {
    Removed,
    Told(Kind, u32),
    Kind(Kind),
}

type Update = BTreeMap<Vec<u8>, Said>;

fn is_marker(path: &[u8]) -> bool {
    path.ends_with(b"/")
}

/// Returns the markers of all directories that a path lies in.
fn above(path: &[u8]) -> Vec<Vec<u8>> {
    let inner = path.strip_suffix(b"/").unwrap_or(path);
    let slashes = inner.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| inner[..=at].to_vec()).collect()
}

fn without_slash(path: &[u8]) -> Vec<u8> {
    path.strip_suffix(b"/").unwrap_or(path).to_vec()
}

/// Returns what an update makes of a map; none if it contradicts itself.
fn updated(map: &Map, update: &Update) -> Option<Map> {
    let writes: Vec<_> = update
        .iter()
        .filter(|(_, said)| !matches!(said, Said::Removed))
        .collect();
    for (path, _) in &writes {
        let blocked = above(path).into_iter().map(|marker| without_slash(&marker));
        let own = is_marker(path).then(|| without_slash(path));
        if blocked
            .chain(own)
            .any(|file| writes.iter().any(|(other, _)| **other == file))
        {
            return None;
        }
    }
    let mut after = map.clone();
    for (path, said) in update {
        if matches!(said, Said::Removed) {
            after.remove(path);
        }
    }
    for (path, said) in &writes {
        let known = map.get(*path);
        let (kind, mode) = match said {
            Said::Removed => continue,
            Said::Told(kind, mode) => (kind.clone(), *mode),
            Said::Kind(kind) => {
                let same = known.filter(|(known, _)| known.tag() == kind.tag());
                let usual = if is_marker(path) { 0o755 } else { 0o644 };
                (kind.clone(), same.map_or(usual, |(_, mode)| *mode))
            }
        };
        for marker in above(path) {
            after.remove(&without_slash(&marker));
            after.remove(&marker);
        }
        let marker = [&without_slash(path)[..], b"/"].concat();
        if is_marker(path) {
            after.remove(&without_slash(path));
        } else {
            after.retain(|other, _| !other.starts_with(&marker));
        }
        after.insert((*path).clone(), (kind, mode));
    }
    // A directory with objects has no marker.
    let all: Vec<_> = after.keys().cloned().collect();
    for path in &all {
        for marker in above(path) {
            after.remove(&marker);
        }
    }
    Some(after)
}

fn found(metadata: &Metadata, project: &Project) -> Map {
    let head = metadata.project_by_id(project.id).unwrap().head.number.0;
    let objects = ask(metadata, project, 0, head, &Selection::default());
    let objects = objects.into_iter().map(|(path, record)| {
        let record = record.unwrap();
        (path, (without_dir(record.kind), record.mode))
    });
    objects.collect()
}

fn without_dir(kind: Kind) -> Kind {
    match kind {
        Kind::Directory { .. } => Kind::Directory { dir: made(0) },
        kind => kind,
    }
}

fn publish(
    metadata: &Metadata,
    project: &Project,
    version: [u8; 16],
    update: &Update,
) -> Result<Published, MetadataError> {
    let mut objects = metadata.begin_update()?;
    for (path, said) in update {
        let state = match said {
            Said::Removed => ObjectState::Removed,
            Said::Told(kind, mode) => ObjectState::Told(Record {
                mode: *mode,
                ..record(kind.clone())
            }),
            Said::Kind(kind) => ObjectState::Kind(kind.clone(), Timestamp::default()),
        };
        objects.add(UpdatePath::new(path).unwrap(), state)?;
    }
    objects.publish(&UpdateParams {
        project: project.id,
        version: VersionId(version),
        author: String::new(),
        message: String::new(),
    })
}

fn random_path(random: &mut Random, map: &Map) -> Vec<u8> {
    let known: Vec<_> = map.keys().cloned().collect();
    let names = ["a", "b", "a.c", "a!", "%", "_", "ab"];
    let mut path = match random.pick(&known) {
        Some(path) if random.chance(50) => {
            let mut path = without_slash(&path);
            if random.chance(30) {
                path.extend(b"/b");
            }
            path
        }
        _ => {
            let depth = 1 + random.below(4);
            let names = (0..depth).map(|_| random.pick(&names).unwrap());
            names.collect::<Vec<_>>().join("/").into_bytes()
        }
    };
    if random.chance(25) {
        path.push(b'/');
    }
    path
}

fn random_update(random: &mut Random, map: &Map) -> Update {
    let mut update = Update::new();
    for _ in 0..=random.below(8) {
        let path = random_path(random, map);
        let kind = match random.below(5) {
            _ if is_marker(&path) => Kind::Directory { dir: made(0) },
            0 => Kind::Symlink {
                target: b"over/there"[..].into(),
            },
            _ => Kind::File {
                size: 10,
                content: content(1 + random.below(3) as u8),
            },
        };
        let said = match random.below(10) {
            0..4 => Said::Removed,
            4..6 if !matches!(kind, Kind::Symlink { .. }) => Said::Kind(kind),
            _ => Said::Told(kind, [0o644, 0o700][random.below(2)]),
        };
        update.insert(path, said);
    }
    // Some remove much.
    if random.chance(20) {
        let some = map.keys().filter(|_| random.chance(70));
        let removals = some.map(|path| (path.clone(), Said::Removed));
        update = removals.chain(update).collect();
    }
    update
}

/// A commit in the way of mounts: it makes and removes directories that updates do not know of.
fn commit_otherwise(metadata: &Metadata, project: &Project, random: &mut Random) {
    let dir = made(random.next() >> 2);
    let changes = match random.below(3) {
        0 => vec![remove(lfsfs_types::DirId::ROOT, "a")],
        1 => vec![put(lfsfs_types::DirId::ROOT, "b", directory(dir))],
        _ => vec![
            put(lfsfs_types::DirId::ROOT, "a", directory(dir)),
            put(dir, "b", file(2)),
        ],
    };
    let mut session = begin(metadata, params(metadata, project, random.id()));
    session.stage(changes).unwrap();
    session.publish().unwrap();
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let metadata = in_memory();
    let project = new_project(&metadata);
    let mut map = Map::new();
    for step in 0..25 {
        if random.chance(15) {
            commit_otherwise(&metadata, &project, &mut random);
            map = found(&metadata, &project);
        }
        let update = random_update(&mut random, &map);
        let head = metadata.project_by_id(project.id).unwrap().head.number.0;
        let published = publish(&metadata, &project, random.id(), &update);
        let what = || format!("seed {seed} step {step}: {update:?} on {map:?}");
        let Some(expected) = updated(&map, &update) else {
            let error = published.unwrap_err();
            let is_refused = matches!(error, MetadataError::ObjectRefused { .. });
            assert!(is_refused, "{error:?} {}", what());
            continue;
        };
        let published = published.unwrap_or_else(|error| panic!("{error:?} {}", what()));
        let mut now = found(&metadata, &project);
        assert!(now.keys().eq(expected.keys()), "{now:?} {}", what());
        for (path, object) in &expected {
            // The mode of a directory is not known while objects are in it.
            let is_told = matches!(update.get(path), Some(Said::Told(..)));
            if is_marker(path) && !is_told && !map.contains_key(path) {
                continue;
            }
            assert_eq!(now[path], *object, "{path:?} {}", what());
        }
        // What the objects do not tell are attributes of directories that are not empty.
        let is_attribute = |(path, said): (&Vec<u8>, &Said)| {
            is_marker(path) && matches!(said, Said::Told(..)) && !expected.contains_key(path)
        };
        if !update.iter().any(is_attribute) {
            assert_eq!(published.is_new, expected != map, "{}", what());
            assert_eq!(
                published.record.number.0,
                head + u64::from(published.is_new)
            );
        }
        // The same again changes nothing.
        let again = publish(&metadata, &project, random.id(), &update).unwrap();
        assert!(!again.is_new, "{}", what());
        map = std::mem::take(&mut now);
    }
    assert_clean(&metadata);
}

#[test]
fn random_updates_make_of_a_version_what_they_make_of_a_map() {
    let cases = std::env::var("LFSFS_MODEL_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(150);
    for seed in 0..cases {
        run(seed);
    }
}

#[test]
fn a_path_twice_is_refused_also_when_much_lies_between() {
    let metadata = in_memory();
    let mut objects = metadata.begin_update().unwrap();
    let path = |at: usize| UpdatePath::new(format!("dir/{at}").as_bytes()).unwrap();
    for at in 0..1000 {
        objects.add(path(at), ObjectState::Removed).unwrap();
    }
    for at in [0, 999] {
        let refused = objects.add(path(at), ObjectState::Removed).unwrap_err();
        assert!(
            refused.to_string().contains(&format!("dir/{at}")),
            "{refused}"
        );
    }
}

#[test]
fn what_is_no_path_is_refused() {
    for bad in [
        &b""[..],
        b"/",
        b"//",
        b"/a",
        b"a//b",
        b"a//",
        b"..",
        b"a/../b",
        b"./a",
        b"a\0",
        &[b'a'; 256],
    ] {
        assert!(UpdatePath::new(bad).is_err(), "{bad:?}");
    }
    let long = vec!["abc"; 1100].join("/");
    assert!(UpdatePath::new(long.as_bytes()).is_err());
    assert!(UpdatePath::new(b"a/b/").unwrap().is_marker());
    assert!(!UpdatePath::new(b"a/b").unwrap().is_marker());
}

#[test]
fn a_name_of_a_hard_link_that_is_written_leaves_the_others_as_they_are() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let linked = |number| Record {
        link: Some(lfsfs_types::Link {
            id: lfsfs_types::LinkId::SESSION_FIRST,
            nlink: 2,
        }),
        ..file(number)
    };
    let root = lfsfs_types::DirId::ROOT;
    let _ = commit(
        &metadata,
        &project,
        vec![put(root, "a", linked(1)), put(root, "b", linked(1))],
    );
    let kind = |number| Kind::File {
        size: 10,
        content: content(number),
    };
    let update = Update::from([(b"a".to_vec(), Said::Kind(kind(2)))]);
    assert!(
        publish(&metadata, &project, [9; 16], &update)
            .unwrap()
            .is_new
    );
    let map = found(&metadata, &project);
    assert_eq!(map[&b"a"[..]].0, kind(2));
    assert_eq!(map[&b"b"[..]].0, kind(1));
    assert_clean(&metadata);
}
