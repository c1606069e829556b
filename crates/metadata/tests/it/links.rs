//! Hard links of which a commit names some names only.

use lfsfs_metadata::{
    Change, CommitParams, ExactVersion, Metadata, MetadataError, Project, Published,
};
use lfsfs_types::{DirId, Link, LinkId, Record, VersionNumber};

use crate::support::{
    assert_clean, begin, commit, content, directory, file, in_memory, made, name, new_project,
    params, put, remove,
};
use crate::tree::Tree;

/// A project with the file `a`, `b` and `dir/c`, which are one, and how many names it has.
struct Scene {
    metadata: Metadata,
    project: Project,
    dir: DirId,
    link: LinkId,
}

fn scene() -> Scene {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let linked = Record {
        link: Some(Link {
            id: LinkId::SESSION_FIRST,
            nlink: 3,
        }),
        ..file(1)
    };
    let changes = vec![
        put(DirId::ROOT, "dir", directory(made(0))),
        put(DirId::ROOT, "a", linked.clone()),
        put(DirId::ROOT, "b", linked.clone()),
        put(made(0), "c", linked),
    ];
    commit(&metadata, &project, changes);
    let tree = Tree::read(&metadata, &project, VersionNumber(1), 100);
    let root = &tree.dirs[&DirId::ROOT];
    Scene {
        dir: root[&name("dir")].dir().unwrap(),
        link: root[&name("a")].link.unwrap().id,
        metadata,
        project,
    }
}

impl Scene {
    /// Another state of the file.
    fn record(&self, number: u8, nlink: u32) -> Record {
        let id = self.link;
        Record {
            link: Some(Link { id, nlink }),
            ..file(number)
        }
    }

    fn params(&self, id: u8) -> CommitParams {
        let base = self.metadata.version(self.project.id, VersionNumber(1));
        CommitParams {
            base: ExactVersion {
                number: VersionNumber(1),
                id: base.unwrap().id,
            },
            ..params(&self.metadata, &self.project, [id; 16])
        }
    }

    /// Commits changes on version 1.
    fn commit(
        &self,
        params: CommitParams,
        changes: Vec<Change>,
    ) -> Result<Published, MetadataError> {
        let mut session = begin(&self.metadata, params);
        session.stage(changes)?;
        session.publish()
    }

    /// Returns what the names are in the newest version.
    fn names(&self) -> [Option<Record>; 3] {
        assert_clean(&self.metadata);
        let head = self
            .metadata
            .project_by_id(self.project.id)
            .unwrap()
            .head
            .number;
        let places = [(DirId::ROOT, "a"), (DirId::ROOT, "b"), (self.dir, "c")];
        places.map(|(dir, text)| {
            let found = self
                .metadata
                .state(self.project.id, head, dir, Some(&name(text)));
            found.unwrap()
        })
    }
}

#[test]
fn what_is_said_of_one_name_is_true_of_all() {
    let scene = scene();
    let changed = scene.record(2, 3);
    let done = scene.commit(
        scene.params(2),
        vec![put(DirId::ROOT, "b", changed.clone())],
    );
    assert_eq!(done.unwrap().record.counts.modified, 3);
    assert_eq!(scene.names(), [(); 3].map(|()| Some(changed.clone())));
}

#[test]
fn a_record_can_be_given_to_all_names_that_are_not_named() {
    let scene = scene();
    let changed = scene.record(2, 2);
    let changes = vec![
        Change::of_all_names(changed.clone()),
        remove(DirId::ROOT, "a"),
    ];
    scene.commit(scene.params(2), changes).unwrap();
    assert_eq!(scene.names(), [None, Some(changed.clone()), Some(changed)]);
}

#[test]
fn a_new_name_is_counted_at_all_names() {
    let scene = scene();
    let changed = scene.record(1, 4);
    let new = put(scene.dir, "d", changed.clone());
    let done = scene.commit(scene.params(2), vec![new]).unwrap();
    assert_eq!(
        (done.record.counts.added, done.record.counts.modified),
        (1, 3)
    );
    assert_eq!(scene.names(), [(); 3].map(|()| Some(changed.clone())));
}

#[test]
fn a_record_that_all_names_have_makes_no_version() {
    let scene = scene();
    for change in [
        Change::of_all_names(scene.record(1, 3)),
        put(DirId::ROOT, "a", scene.record(1, 3)),
    ] {
        let done = scene.commit(scene.params(2), vec![change]).unwrap();
        assert!(!done.is_new);
    }
}

#[test]
fn names_in_removed_directories_stay_removed() {
    let scene = scene();
    let changed = scene.record(2, 2);
    let remade = vec![
        remove(DirId::ROOT, "dir"),
        put(DirId::ROOT, "dir", directory(made(0))),
        Change::of_all_names(changed.clone()),
    ];
    let expected = [Some(changed.clone()), Some(changed), None];
    scene.commit(scene.params(2), remade).unwrap();
    assert_eq!(scene.names(), expected);

    let changed = scene.record(3, 2);
    let params = params(&scene.metadata, &scene.project, [3; 16]);
    let changes = vec![
        remove(DirId::ROOT, "dir"),
        put(DirId::ROOT, "a", changed.clone()),
    ];
    scene.commit(params, changes).unwrap();
    assert_eq!(scene.names(), [Some(changed.clone()), Some(changed), None]);
}

#[test]
fn names_that_others_added_or_removed_since_conflict() {
    let added = |scene: &Scene| put(DirId::ROOT, "d", scene.record(1, 4));
    let removed = |_: &Scene| remove(DirId::ROOT, "b");
    let replaced = |_: &Scene| put(DirId::ROOT, "b", file(9));
    for theirs in [&added as &dyn Fn(&Scene) -> Change, &removed, &replaced] {
        for mine in [
            |scene: &Scene| Change::of_all_names(scene.record(2, 3)),
            |scene: &Scene| put(DirId::ROOT, "a", scene.record(2, 3)),
        ] {
            let scene = scene();
            scene.commit(scene.params(2), vec![theirs(&scene)]).unwrap();
            let told = scene.commit(scene.params(3), vec![mine(&scene)]);
            let Err(MetadataError::Conflicts { paths, .. }) = told else {
                panic!("no conflict: {told:?}");
            };
            assert!(!paths.is_empty());
            let forced = CommitParams {
                force: true,
                ..scene.params(3)
            };
            scene.commit(forced, vec![mine(&scene)]).unwrap();
            let [Some(a), _, Some(c)] = scene.names() else {
                panic!("names are lost");
            };
            assert!([a, c].iter().all(|record| record.kind == file(2).kind));
        }
    }
}

/// Another time, and nothing else that differs.
fn touched(record: Record, secs: i64) -> Record {
    let time = lfsfs_types::Timestamp { secs, nanos: 0 };
    Record {
        mtime: time,
        ctime: time,
        ..record
    }
}

#[test]
fn a_name_that_moves_keeps_the_times_that_others_set() {
    let moved = |scene: &Scene| {
        let record = touched(scene.record(1, 3), 1);
        let changes = vec![remove(DirId::ROOT, "b"), put(scene.dir, "d", record)];
        (changes, scene.record(1, 3))
    };
    let touch = |scene: &Scene| {
        let record = touched(scene.record(1, 3), 100);
        (vec![put(DirId::ROOT, "a", record.clone())], record)
    };
    // In either order, with force and without.
    for moves_first in [true, false] {
        for force in [true, false] {
            let scene = scene();
            let ((first, _), (second, _)) = if moves_first {
                (moved(&scene), touch(&scene))
            } else {
                (touch(&scene), moved(&scene))
            };
            let (_, expected) = touch(&scene);
            scene.commit(scene.params(2), first).unwrap();
            let params = CommitParams {
                force,
                ..scene.params(3)
            };
            assert!(scene.commit(params, second).unwrap().is_rebased);
            let [a, b, c] = scene.names();
            assert_eq!((&a, b), (&Some(expected), None));
            assert_eq!(a, c);
            let head = scene.metadata.project_by_id(scene.project.id).unwrap().head;
            let d = name("d");
            let found = scene
                .metadata
                .state(scene.project.id, head.number, scene.dir, Some(&d));
            assert_eq!(found.unwrap(), a);
        }
    }
}

#[test]
fn names_that_force_takes_are_counted_where_others_changed_the_file() {
    let scene = scene();
    let theirs = scene.record(2, 3);
    let change = vec![put(DirId::ROOT, "a", theirs.clone())];
    scene.commit(scene.params(2), change).unwrap();
    let mine = vec![
        remove(DirId::ROOT, "b"),
        put(scene.dir, "d", touched(scene.record(1, 3), 5)),
    ];
    let forced = CommitParams {
        force: true,
        ..scene.params(3)
    };
    scene.commit(forced, mine).unwrap();
    let counted = Some(scene.record(2, 2));
    assert_eq!(scene.names(), [counted.clone(), None, counted]);
}

#[test]
fn names_that_go_with_a_directory_are_counted() {
    let scene = scene();
    let changes = vec![remove(DirId::ROOT, "dir")];
    scene.commit(scene.params(2), changes).unwrap();
    let counted = Some(scene.record(1, 2));
    assert_eq!(scene.names(), [counted.clone(), counted, None]);
}

#[test]
fn a_count_that_is_too_large_is_corrected() {
    let scene = scene();
    let stated = scene.record(2, 9);
    let changes = vec![put(DirId::ROOT, "a", stated)];
    scene.commit(scene.params(2), changes).unwrap();
    assert_eq!(scene.names(), [(); 3].map(|()| Some(scene.record(2, 3))));
}

#[test]
fn what_others_changed_elsewhere_does_not_matter() {
    let scene = scene();
    let theirs = put(scene.dir, "other", file(5));
    scene.commit(scene.params(2), vec![theirs]).unwrap();
    let changed = scene.record(2, 3);
    let mine = Change::of_all_names(changed.clone());
    let done = scene.commit(scene.params(3), vec![mine]).unwrap();
    assert!(done.is_rebased);
    assert_eq!(scene.names(), [(); 3].map(|()| Some(changed.clone())));
}

#[test]
fn contents_of_such_a_record_must_be_stored() {
    let scene = scene();
    let told = scene.commit(
        scene.params(2),
        vec![Change::of_all_names(scene.record(200, 3))],
    );
    let Err(MetadataError::MissingContents { first, count: 1 }) = told else {
        panic!("not refused: {told:?}");
    };
    assert_eq!(first, [content(200)]);
}
