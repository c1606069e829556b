//! The versions of a history as objects by their paths.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use lfsfs_metadata::{Metadata, ObjectQuery, Project, Selection};
use lfsfs_types::{DirId, Kind, Record, VersionNumber};

use crate::tree::Tree;

/// The objects of a version: what each path is.
pub(crate) type Objects = BTreeMap<Vec<u8>, Record>;

/// What differs between two: what each path became, and none for what is gone.
pub(crate) type Changes = Vec<(Vec<u8>, Option<Record>)>;

/// Returns the objects that a tree must show.
pub(crate) fn objects_of(tree: &Tree) -> Objects {
    let mut objects = Objects::new();
    for (path, record) in tree.names().into_values() {
        let path_bytes = path.as_bytes().to_vec();
        match record.dir() {
            Some(_) if path.is_root() => {}
            Some(dir) if tree.dirs[&dir].is_empty() => {
                objects.insert([&path_bytes[..], b"/"].concat(), record);
            }
            Some(_) => {}
            None => {
                objects.insert(path_bytes, record);
            }
        }
    }
    objects
}

/// The identity of a directory is no part of an object.
fn without_id(record: &Record) -> Record {
    let mut record = record.clone();
    if let Kind::Directory { dir } = &mut record.kind {
        *dir = DirId::ROOT;
    }
    record
}

/// Returns what must be told of two versions.
pub(crate) fn changes_of(from: &Objects, to: &Objects) -> Changes {
    let same = |path: &Vec<u8>, record: &Record| {
        let before = from.get(path);
        before.is_some_and(|before| without_id(before).same_state(&without_id(record)))
    };
    let there = to.iter().filter(|(path, record)| !same(path, record));
    let there = there.map(|(path, record)| (path.clone(), Some(record.clone())));
    let gone = from
        .keys()
        .filter(|path| !to.contains_key(*path) && !is_directory(to, path));
    let mut changes: Changes = there.chain(gone.map(|path| (path.clone(), None))).collect();
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

/// Returns true if there is a directory at the path of an object or a marker.
fn is_directory(objects: &Objects, path: &[u8]) -> bool {
    let marker = [path.strip_suffix(b"/").unwrap_or(path), b"/"].concat();
    let mut behind = objects.range(marker.clone()..);
    behind
        .next()
        .is_some_and(|(path, _)| path.starts_with(&marker))
}

/// Asks for the objects that differ.
pub(crate) fn ask(
    metadata: &Metadata,
    project: &Project,
    from: u64,
    to: u64,
    selection: &Selection,
) -> Changes {
    let mut found = Changes::new();
    let (from, to) = (VersionNumber(from), VersionNumber(to));
    let told = metadata.objects(project.id, from, to, selection, &mut |object| {
        found.push((object.path, object.record));
        ControlFlow::Continue(())
    });
    assert!(told.unwrap().is_continue());
    found
}

/// Returns questions about paths of a version: for single ones, for what begins so, and with rules.
fn questions(objects: &Objects, salt: usize) -> Vec<ObjectQuery> {
    let paths: Vec<_> = objects.keys().collect();
    let Some(path) = paths.get(salt % paths.len().max(1)) else {
        return vec![ObjectQuery::exact(b"nothing".to_vec())];
    };
    let path = (*path).clone();
    let half = path[..path.len() / 2].to_vec();
    let other = paths[(salt * 7 + 3) % paths.len()].clone();
    let prefix = ObjectQuery::prefix(half.clone());
    let ignores = if other.starts_with(&half) {
        vec![other.clone()]
    } else {
        vec![path.clone()]
    };
    match salt % 5 {
        0 => vec![ObjectQuery::exact(path)],
        1 => vec![prefix],
        2 => vec![prefix.without(ignores).unwrap()],
        3 => vec![prefix.within(vec![path, other]).unwrap()],
        _ => vec![ObjectQuery::exact(other), prefix],
    }
}

/// Compares what is told from each version to the newest one with what the trees say, also where only some is asked for.
pub(crate) fn check(metadata: &Metadata, project: &Project, trees: &[Tree]) {
    let all: Vec<_> = trees.iter().map(objects_of).collect();
    let newest = all.len() - 1;
    let everything = Selection::default();
    for from in 0..=newest {
        let expected = changes_of(&all[from], &all[newest]);
        let asked = |selection| ask(metadata, project, from as u64, newest as u64, selection);
        assert_same(&asked(&everything), &expected, &format!("from {from}"));
        let selection = Selection::new(questions(&all[newest], from + 3 * newest));
        let mut some = expected;
        some.retain(|(path, _)| selection.wants(path));
        let what = format!("from {from}: {selection:?}");
        assert_same(&asked(&selection), &some, &what);
    }
}

/// Fails with the first path that differs.
#[track_caller]
pub(crate) fn assert_same(found: &Changes, expected: &Changes, what: &str) {
    if found == expected {
        return;
    }
    let differs = found.iter().zip(expected).find(|(a, b)| a != b);
    let lens = (found.len(), expected.len());
    let first = differs.map(|(found, expected)| {
        let told = |of: &(Vec<u8>, _)| String::from_utf8_lossy(&of.0).into_owned();
        (told(found), told(expected))
    });
    panic!("{lens:?} {first:?} {what}: {differs:?}");
}
