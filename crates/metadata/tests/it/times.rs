//! Commits that ignore times: what was made again alike is what it was, in rows and in packs.

use lfsfs_metadata::{Change, CommitParams, Metadata, Project, Published};
use lfsfs_types::{DirId, Link, LinkId, Record, Timestamp, VersionNumber};

use crate::support::{
    assert_clean, begin, commit, directory, file, in_memory, made, name, new_project, params, put,
    remove, with_packs,
};
use crate::tree::Tree;

/// A record at another time.
fn at(secs: i64, record: Record) -> Record {
    let time = Timestamp { secs, nanos: 0 };
    Record {
        mtime: time,
        ctime: time,
        ..record
    }
}

fn linked(record: Record, nlink: u32) -> Record {
    let id = LinkId::SESSION_FIRST;
    Record {
        link: Some(Link { id, nlink }),
        ..record
    }
}

/// The directory `top` with a file, a directory with another one, and one file of two names, made at a time.
fn job(secs: i64) -> Vec<Change> {
    let (top, lib) = (made(0), made(1));
    vec![
        put(DirId::ROOT, "top", at(secs, directory(top))),
        put(top, "a", at(secs, file(1))),
        put(top, "lib", at(secs, directory(lib))),
        put(lib, "b", at(secs, file(2))),
        put(top, "l", at(secs, linked(file(3), 2))),
        put(lib, "m", at(secs, linked(file(3), 2))),
    ]
}

/// The job after all of it was removed, with some changes on top.
fn again(secs: i64, others: Vec<Change>) -> Vec<Change> {
    let mut changes = vec![remove(DirId::ROOT, "top")];
    changes.extend(job(secs));
    changes.extend(others);
    changes
}

fn ignoring(metadata: &Metadata, project: &Project, id: u8) -> CommitParams {
    CommitParams {
        ignore_times: true,
        ..params(metadata, project, [id; 16])
    }
}

fn publish(metadata: &Metadata, params: CommitParams, changes: Vec<Change>) -> Published {
    let mut session = begin(metadata, params);
    session.stage(changes).unwrap();
    session.publish().unwrap()
}

fn tree(metadata: &Metadata, project: &Project) -> Tree {
    let head = metadata.project_by_id(project.id).unwrap().head.number;
    Tree::read(metadata, project, head, 100)
}

/// Makes the job at time 1 and commits `changes` ignoring times. Returns what became of them, and what there was.
fn after_job(changes: Vec<Change>) -> (Metadata, Project, Published, Tree) {
    let metadata = in_memory();
    let project = new_project(&metadata);
    commit(&metadata, &project, job(1));
    let before = tree(&metadata, &project);
    let params = ignoring(&metadata, &project, 2);
    let published = publish(&metadata, params, changes);
    assert_clean(&metadata);
    (metadata, project, published, before)
}

/// Runs a test with rows, with a pack of all, and with one of a part.
fn in_rows_and_packs(test: impl Fn()) {
    for patterns in [&[][..], &["^top/$"], &["^top/lib/$"]] {
        with_packs(patterns, &test);
    }
}

fn entry(tree: &Tree, path: &[&str]) -> Record {
    let mut record = tree.root.clone();
    for part in path {
        record = tree.dirs[&record.dir().unwrap()][&name(part)].clone();
    }
    record
}

#[test]
fn a_job_done_again_makes_no_version() {
    in_rows_and_packs(|| {
        let (metadata, project, published, before) = after_job(again(7, Vec::new()));
        assert!(!published.is_new);
        assert_eq!(published.record.number, VersionNumber(1));
        assert_eq!(tree(&metadata, &project), before);
        // A mount goes on with what was there.
        let top = entry(&before, &["top"]).dir().unwrap();
        let lib = entry(&before, &["top", "lib"]).dir().unwrap();
        assert_eq!(published.dirs, [(made(0), top), (made(1), lib)].into());
        let link = entry(&before, &["top", "l"]).link.unwrap().id;
        assert_eq!(published.links, [(LinkId::SESSION_FIRST, link)].into());
    });
}

#[test]
fn without_the_option_times_make_a_version() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    commit(&metadata, &project, job(1));
    let params = params(&metadata, &project, [2; 16]);
    let published = publish(&metadata, params, again(7, Vec::new()));
    assert!(published.is_new);
    assert_eq!(published.record.counts.modified, 4);
    assert_eq!(
        entry(&tree(&metadata, &project), &["top", "a"]).mtime.secs,
        7
    );
}

#[test]
fn what_differs_is_written_and_nothing_else() {
    in_rows_and_packs(|| {
        let changed = put(made(1), "b", at(7, file(4)));
        let (metadata, project, published, before) = after_job(again(7, vec![changed]));
        assert!(published.is_new);
        assert_eq!(published.record.counts.modified, 1);
        let after = tree(&metadata, &project);
        assert_eq!(entry(&after, &["top", "lib", "b"]), at(7, file(4)));
        // The directory in which an entry changed has its new times, and no other.
        assert_eq!(entry(&after, &["top", "lib"]).mtime.secs, 7);
        for path in [
            &["top"][..],
            &["top", "a"],
            &["top", "l"],
            &["top", "lib", "m"],
        ] {
            assert_eq!(entry(&after, path), entry(&before, path), "{path:?}");
        }
    });
}

#[test]
fn a_mode_alone_is_written_with_its_times() {
    in_rows_and_packs(|| {
        let record = Record {
            mode: 0o755,
            ..at(7, file(1))
        };
        let changed = put(made(0), "a", record.clone());
        let (metadata, project, published, _) = after_job(again(7, vec![changed]));
        assert_eq!(published.record.counts.modified, 1);
        assert_eq!(entry(&tree(&metadata, &project), &["top", "a"]), record);
    });
}

#[test]
fn a_link_with_other_names_or_bytes_is_another() {
    in_rows_and_packs(|| {
        let one_more = |record: Record| {
            vec![
                put(made(0), "l", record.clone()),
                put(made(1), "m", record.clone()),
                put(made(1), "n", record),
            ]
        };
        let other_bytes = at(7, linked(file(5), 2));
        let alone = vec![
            put(made(0), "l", at(7, file(3))),
            put(made(1), "m", at(7, file(3))),
        ];
        for changed in [
            one_more(at(7, linked(file(3), 3))),
            vec![
                put(made(0), "l", other_bytes.clone()),
                put(made(1), "m", other_bytes),
            ],
            alone,
        ] {
            let count = changed.len() as u64;
            let (metadata, project, published, before) = after_job(again(7, changed));
            let counts = published.record.counts;
            assert_eq!(counts.modified + counts.added, count);
            let after = tree(&metadata, &project);
            let link = |tree: &Tree| entry(tree, &["top", "l"]).link.map(|link| link.id);
            assert_ne!(link(&after), link(&before));
            assert_eq!(entry(&after, &["top", "a"]), entry(&before, &["top", "a"]));
        }
    });
}

#[test]
fn a_link_that_stays_keeps_its_times() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    commit(&metadata, &project, job(1));
    let before = tree(&metadata, &project);
    let record = at(7, entry(&before, &["top", "l"]));
    let top = entry(&before, &["top"]).dir().unwrap();
    for changes in [
        vec![put(top, "l", record.clone())],
        vec![Change::of_all_names(record)],
    ] {
        let params = ignoring(&metadata, &project, 2);
        assert!(!publish(&metadata, params, changes).is_new);
    }
    assert_eq!(tree(&metadata, &project), before);
}

#[test]
fn what_others_changed_meanwhile_stays_as_they_made_it() {
    in_rows_and_packs(|| {
        let metadata = in_memory();
        let project = new_project(&metadata);
        commit(&metadata, &project, job(1));
        let before = tree(&metadata, &project);
        let mine = ignoring(&metadata, &project, 3);
        let top = entry(&before, &["top"]).dir().unwrap();
        let lib = entry(&before, &["top", "lib"]).dir().unwrap();
        let theirs = vec![
            put(top, "a", at(5, file(6))),
            put(lib, "b", at(5, file(2))),
            put(DirId::ROOT, "beside", at(5, file(1))),
        ];
        commit(&metadata, &project, theirs);
        let head = tree(&metadata, &project);
        let changes = vec![
            put(top, "a", at(9, file(1))),
            put(lib, "b", at(9, file(2))),
            put(top, "new", at(9, file(1))),
        ];
        let published = publish(&metadata, mine, changes);
        assert!(published.is_rebased);
        assert_eq!(published.record.counts.added, 1);
        let after = tree(&metadata, &project);
        for path in [&["top", "a"][..], &["top", "lib", "b"], &["beside"]] {
            assert_eq!(entry(&after, path), entry(&head, path), "{path:?}");
        }
        assert_clean(&metadata);
    });
}
