//! Everything that a call can be refused for.

use std::sync::Arc;

use lfsfs_meta_store::{Batch, KeyRange, MemoryStore, MetaStoreExt as _};
use lfsfs_metadata::{
    Change, ExactVersion, Metadata, MetadataError, MetadataOptions, NodeFigures, Project,
    ProjectSettings, Refusal, StagingPlace,
};
use lfsfs_types::content::{Content, PieceList};
use lfsfs_types::{
    ContentId, DirId, Kind, Link, LinkId, NodeId, ProjectId, ProjectName, Record, Source, TagName,
    VersionId, VersionNumber, Xattr, XattrName, XattrValue,
};

use crate::support::{
    NODE, assert_clean, begin, clock, commit, commit_as, content, directory, file, in_memory, made,
    name, new_project, open, params, put, receipt, record, remove, store_contents,
};
use crate::tree::Tree;

/// A project with one version: `/dir/inner/leaf`, `/other`, `/file` and the linked `/l1`, `/l2`.
struct Scene {
    metadata: Metadata,
    project: Project,
    dir: DirId,
    inner: DirId,
    other: DirId,
    link: LinkId,
}

fn linked(number: u8, id: LinkId, nlink: u32) -> Record {
    Record {
        link: Some(Link { id, nlink }),
        ..file(number)
    }
}

fn scene() -> Scene {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let new = LinkId::SESSION_FIRST;
    commit(
        &metadata,
        &project,
        vec![
            put(DirId::ROOT, "dir", directory(made(0))),
            put(made(0), "inner", directory(made(1))),
            put(made(1), "leaf", file(1)),
            put(DirId::ROOT, "other", directory(made(2))),
            put(DirId::ROOT, "file", file(1)),
            put(DirId::ROOT, "l1", linked(2, new, 2)),
            put(DirId::ROOT, "l2", linked(2, new, 2)),
        ],
    );
    let tree = Tree::read(&metadata, &project, VersionNumber(1), 100);
    let dir = tree.dirs[&DirId::ROOT][&name("dir")].dir().unwrap();
    Scene {
        dir,
        inner: tree.dirs[&dir][&name("inner")].dir().unwrap(),
        other: tree.dirs[&DirId::ROOT][&name("other")].dir().unwrap(),
        link: tree.dirs[&DirId::ROOT][&name("l1")].link.unwrap().id,
        metadata,
        project,
    }
}

impl Scene {
    fn refusal(&self, changes: Vec<Change>) -> Refusal {
        let error = commit_as(&self.metadata, &self.project, [77; 16], changes).unwrap_err();
        let head = self
            .metadata
            .project_by_id(self.project.id)
            .unwrap()
            .head
            .number;
        assert_eq!(head, VersionNumber(1), "nothing was published");
        assert_clean(&self.metadata);
        match error {
            MetadataError::Refused { reason, .. } => reason,
            error => panic!("{error}"),
        }
    }
}

#[test]
fn changes_of_directories_that_are_not_there() {
    let scene = scene();
    let dir = DirId(1000);
    let refusal = scene.refusal(vec![put(dir, "x", file(1))]);
    assert_eq!(refusal, Refusal::UnknownDirectory { dir });
    let refusal = scene.refusal(vec![put(DirId::ROOT, "x", directory(dir))]);
    assert_eq!(refusal, Refusal::UnknownDirectory { dir });
    let refusal = scene.refusal(vec![put(made(5), "x", file(1))]);
    assert_eq!(refusal, Refusal::NeverMade { dir: made(5) });
    let refusal = scene.refusal(vec![remove(made(5), "x")]);
    assert_eq!(refusal, Refusal::NeverMade { dir: made(5) });
}

#[test]
fn changes_below_what_the_commit_removes() {
    let scene = scene();
    let refusal = scene.refusal(vec![
        remove(DirId::ROOT, "dir"),
        put(scene.inner, "x", file(1)),
    ]);
    assert_eq!(refusal, Refusal::DirectoryRemoved { dir: scene.inner });
    let refusal = scene.refusal(vec![
        put(DirId::ROOT, "dir", directory(made(0))),
        put(scene.dir, "x", file(1)),
    ]);
    assert_eq!(refusal, Refusal::DirectoryRemoved { dir: scene.dir });
    let refusal = scene.refusal(vec![
        put(DirId::ROOT, "dir", file(1)),
        put(scene.dir, "x", file(1)),
    ]);
    assert_eq!(refusal, Refusal::DirectoryRemoved { dir: scene.dir });
}

#[test]
fn moves_that_leave_no_tree() {
    let scene = scene();
    let dir = scene.dir;
    let refusal = scene.refusal(vec![put(scene.other, "moved", directory(dir))]);
    assert_eq!(refusal, Refusal::NotRemoved { dir });
    let refusal = scene.refusal(vec![
        remove(DirId::ROOT, "dir"),
        put(DirId::ROOT, "one", directory(dir)),
        put(DirId::ROOT, "two", directory(dir)),
    ]);
    assert_eq!(refusal, Refusal::TwoPlaces { dir });
    let refusal = scene.refusal(vec![
        remove(DirId::ROOT, "dir"),
        put(scene.inner, "moved", directory(dir)),
    ]);
    assert!(matches!(refusal, Refusal::Cycle { .. }), "{refusal:?}");
    let refusal = scene.refusal(vec![
        put(made(1), "x", directory(made(2))),
        put(made(2), "x", directory(made(1))),
    ]);
    assert!(matches!(refusal, Refusal::Cycle { .. }), "{refusal:?}");
}

#[test]
fn places_and_records_that_cannot_be() {
    let scene = scene();
    let at_root = |state| Change {
        dir: DirId::ABOVE_ROOT,
        name: None,
        state,
    };
    assert_eq!(scene.refusal(vec![at_root(None)]), Refusal::RootReplaced);
    assert_eq!(
        scene.refusal(vec![at_root(Some(file(1)))]),
        Refusal::RootReplaced
    );
    let root = put(scene.dir, "x", directory(DirId::ROOT));
    assert_eq!(scene.refusal(vec![root]), Refusal::RootReplaced);
    let nameless = Change {
        dir: scene.dir,
        name: None,
        state: None,
    };
    assert_eq!(scene.refusal(vec![nameless]), Refusal::InvalidPlace);
    let above = put(DirId::ABOVE_ROOT, "x", file(1));
    assert_eq!(scene.refusal(vec![above]), Refusal::InvalidPlace);
    let mut strange = file(1);
    strange.mode = 0o200_000;
    let refusal = scene.refusal(vec![put(DirId::ROOT, "x", strange)]);
    assert!(matches!(refusal, Refusal::InvalidRecord(_)), "{refusal:?}");
}

#[test]
fn links_that_disagree() {
    let scene = scene();
    let link = scene.link;
    let [one, another] = [3, 4].map(|content| linked(content, link, 2));
    let differ = vec![
        put(DirId::ROOT, "l1", one.clone()),
        put(DirId::ROOT, "l2", another.clone()),
    ];
    assert_eq!(scene.refusal(differ), Refusal::UnequalLink { link });
    let differ = vec![put(DirId::ROOT, "l1", one), Change::of_all_names(another)];
    assert_eq!(scene.refusal(differ), Refusal::UnequalLink { link });
    let new = LinkId::SESSION_FIRST;
    let differ = vec![
        put(DirId::ROOT, "n1", linked(3, new, 2)),
        put(DirId::ROOT, "n2", linked(4, new, 2)),
    ];
    assert_eq!(scene.refusal(differ), Refusal::UnequalLink { link: new });
    let uncounted = ["l1", "l2", "l3"].map(|name| put(DirId::ROOT, name, linked(3, link, 2)));
    let expected = Refusal::LinkCount {
        link,
        names: 3,
        nlink: 2,
    };
    assert_eq!(scene.refusal(uncounted.to_vec()), expected);
    let unknown = LinkId(1000);
    let refusal = scene.refusal(vec![put(DirId::ROOT, "x", linked(1, unknown, 1))]);
    assert_eq!(refusal, Refusal::UnknownLink { link: unknown });
    for unknown in [unknown, new] {
        let refusal = scene.refusal(vec![Change::of_all_names(linked(1, unknown, 1))]);
        assert_eq!(refusal, Refusal::UnknownLink { link: unknown });
    }
    let unlinked = scene.refusal(vec![Change::of_all_names(file(1))]);
    assert_eq!(unlinked, Refusal::RootReplaced);
    let mut dir = directory(made(0));
    dir.link = Some(Link { id: new, nlink: 1 });
    let refusal = scene.refusal(vec![put(DirId::ROOT, "x", dir)]);
    assert_eq!(refusal, Refusal::LinkedDirectory);
}

#[test]
fn paths_that_are_too_long() {
    let scene = scene();
    let long = "n".repeat(255);
    let mut changes = vec![put(DirId::ROOT, &long, directory(made(0)))];
    for depth in 0..14 {
        changes.push(put(made(depth), &long, directory(made(depth + 1))));
    }
    // 15 names of 255 bytes with their slashes are 3,839 bytes.
    changes.push(put(made(14), &"n".repeat(255), file(1)));
    let mut over = changes.clone();
    over.pop();
    over.push(put(made(14), &long, directory(made(15))));
    over.push(put(made(15), "n", file(1)));
    assert_eq!(scene.refusal(over), Refusal::PathTooLong { len: 4097 });
    commit(&scene.metadata, &scene.project, changes);
}

/// What lies below a directory that moves is measured, also below one that gets another mode with that,
/// and a name of a hard link of which only another name is told.
#[test]
fn paths_that_get_too_long_below_what_a_commit_names() {
    let scene = scene();
    let long = "n".repeat(255);
    let linked = |mode| Record {
        mode,
        ..linked(2, scene.link, 3)
    };
    let mut changes = vec![put(scene.inner, "below", directory(made(0)))];
    for depth in 0..14 {
        changes.push(put(made(depth), &long, directory(made(depth + 1))));
    }
    // With 15 names of 255 bytes below it, "dir/inner/below" is as long as 3,855 bytes.
    changes.push(put(made(14), &long, linked(0o644)));
    changes.extend(["l1", "l2"].map(|name| put(DirId::ROOT, name, linked(0o644))));
    commit(&scene.metadata, &scene.project, changes);
    let head = scene.metadata.project_by_id(scene.project.id).unwrap().head;
    let inner = Record {
        mode: 0o700,
        ..directory(scene.inner)
    };
    let others = [
        None,
        Some(put(scene.dir, "inner", inner)),
        Some(put(DirId::ROOT, "l1", linked(0o600))),
    ];
    for other in others {
        let mut moved = vec![
            remove(DirId::ROOT, "dir"),
            put(DirId::ROOT, &long, directory(scene.dir)),
        ];
        moved.extend(other);
        let error = commit_as(&scene.metadata, &scene.project, [77; 16], moved);
        let reason = match error.unwrap_err() {
            MetadataError::Refused { reason, .. } => reason,
            error => panic!("{error}"),
        };
        assert_eq!(reason, Refusal::PathTooLong { len: 4107 });
        let now = scene.metadata.project_by_id(scene.project.id).unwrap().head;
        assert_eq!(now, head, "nothing was published");
    }
}

/// A directory moves to where what the same commit removes from it would be too long.
#[test]
fn paths_of_what_is_removed_have_no_limit() {
    let scene = scene();
    let long = "n".repeat(255);
    let mut changes = vec![put(scene.inner, "below", directory(made(0)))];
    for depth in 0..15 {
        changes.push(put(made(depth), &long, directory(made(depth + 1))));
    }
    changes.push(put(made(15), "leaf", file(1)));
    let published = commit_as(&scene.metadata, &scene.project, [2; 16], changes).unwrap();
    let deepest = published.dirs[&made(15)];
    let moved = vec![
        remove(DirId::ROOT, "dir"),
        put(DirId::ROOT, &long, directory(scene.dir)),
        remove(scene.inner, "below"),
        remove(deepest, "leaf"),
    ];
    commit(&scene.metadata, &scene.project, moved);
    assert_clean(&scene.metadata);
}

#[test]
fn missing_contents_are_named() {
    let scene = scene();
    let mut changes: Vec<_> = (100..130)
        .map(|number| put(DirId::ROOT, &format!("f{number}"), file(number)))
        .collect();
    let mut with_xattr = file(1);
    with_xattr.xattrs.push(Xattr {
        name: XattrName::new(b"user.big").unwrap(),
        value: XattrValue::Content {
            content: content(200),
            len: 2000,
        },
    });
    changes.push(put(DirId::ROOT, "x", with_xattr));
    // Naming it twice counts once; the content of no bytes is always there.
    changes.push(put(DirId::ROOT, "again", file(100)));
    changes.push(put(
        DirId::ROOT,
        "empty",
        record(Kind::File {
            size: 0,
            content: ContentId::EMPTY,
        }),
    ));
    let error = commit_as(&scene.metadata, &scene.project, [7; 16], changes).unwrap_err();
    let MetadataError::MissingContents { first, count } = error else {
        panic!("{error}");
    };
    assert_eq!((first.len(), count), (20, 31));
    assert_eq!(first[0], content(100));
}

#[test]
fn bases_that_do_not_fit() {
    let scene = scene();
    let good = params(&scene.metadata, &scene.project, [5; 16]);
    let with_base = |number, id| {
        let mut params = good.clone();
        params.base = ExactVersion {
            number: VersionNumber(number),
            id: VersionId(id),
        };
        scene.metadata.begin_commit(params).unwrap_err()
    };
    for (number, id) in [(1, [9; 16]), (2, [1; 16])] {
        let error = with_base(number, id);
        assert!(
            matches!(error, MetadataError::GoneVersion { .. }),
            "{error}"
        );
        let text = format!(
            "version v{number} of {} is not on the server",
            scene.project.name
        );
        assert!(error.to_string().contains(&text), "{error}");
    }
}

#[test]
fn parameters_that_are_out_of_range() {
    let scene = scene();
    let good = params(&scene.metadata, &scene.project, [5; 16]);
    let mut zero = good.clone();
    zero.version = VersionId::ZERO;
    let error = scene.metadata.begin_commit(zero).unwrap_err();
    assert!(matches!(error, MetadataError::InvalidVersionId { .. }));
    let mut long = good.clone();
    long.author = "a".repeat(256);
    let error = scene.metadata.begin_commit(long).unwrap_err();
    assert!(matches!(
        error,
        MetadataError::TextTooLong { what: "author", .. }
    ));
    for (author, message) in [("me\nv9", ""), ("\u{1b}[31m", ""), ("me", "a\0b")] {
        let mut forbidden = good.clone();
        (forbidden.author, forbidden.message) = (author.to_owned(), message.to_owned());
        let error = scene.metadata.begin_commit(forbidden).unwrap_err();
        assert!(
            matches!(error, MetadataError::TextForbidden { .. }),
            "{error}"
        );
    }
    let other = ProjectName::new("other").unwrap();
    let other = scene
        .metadata
        .new_project(&other, ProjectSettings::default())
        .unwrap();
    let error = commit_as(&scene.metadata, &other, [1; 16], Vec::new()).unwrap_err();
    assert!(
        matches!(error, MetadataError::InvalidVersionId { .. }),
        "{error}"
    );
    let mut unknown = good;
    unknown.project = ProjectId([3; 16]);
    unknown.base = ExactVersion {
        number: VersionNumber::ZERO,
        id: VersionId::ZERO,
    };
    assert!(
        scene
            .metadata
            .begin_commit(unknown)
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn projects_and_versions_that_are_not_there() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let settings = ProjectSettings::default();
    let error = metadata.new_project(&project.name, settings).unwrap_err();
    assert!(matches!(error, MetadataError::ProjectExists { .. }));
    let none = ProjectSettings {
        replication: 0,
        ..ProjectSettings::default()
    };
    let error = metadata
        .new_project(&ProjectName::new("b").unwrap(), none)
        .unwrap_err();
    assert!(matches!(error, MetadataError::InvalidSettings { .. }));
    for text in ["absent", "app@v1", "app@tag"] {
        let source: Source = text.parse().unwrap();
        assert!(
            metadata.resolve(&source).unwrap_err().is_not_found(),
            "{text}"
        );
    }
    let error = metadata.project_by_id(ProjectId([3; 16])).unwrap_err();
    assert!(error.is_not_found());
    let error = metadata
        .list(project.id, VersionNumber(0), DirId(9), None, 1)
        .unwrap_err();
    assert!(matches!(error, MetadataError::UnknownDirectory { .. }));
}

#[test]
fn tags_move_only_when_told() {
    let scene = scene();
    let (metadata, id) = (&scene.metadata, scene.project.id);
    let tag = TagName::new("stable").unwrap();
    metadata.set_tag(id, &tag, VersionNumber(0), false).unwrap();
    metadata.set_tag(id, &tag, VersionNumber(0), false).unwrap();
    let error = metadata
        .set_tag(id, &tag, VersionNumber(1), false)
        .unwrap_err();
    assert!(matches!(error, MetadataError::TagExists { .. }));
    let snapshot = metadata.resolve(&"app@stable".parse().unwrap()).unwrap();
    assert_eq!(snapshot.version.number, VersionNumber(0));
    metadata.set_tag(id, &tag, VersionNumber(1), true).unwrap();
    let snapshot = metadata.resolve(&"app@stable".parse().unwrap()).unwrap();
    assert_eq!(snapshot.version.id, VersionId([1; 16]));
}

#[test]
fn receipts_and_pieces_that_do_not_fit() {
    let metadata = in_memory();
    let mut unknown = receipt(2, [content(50)]);
    unknown.node = NodeId([1; 16]);
    let error = metadata.record_chunk(&unknown).unwrap_err();
    assert!(matches!(error, MetadataError::UnknownNode { .. }));
    let mut foreign = receipt(2, [content(50)]);
    foreign.info.id = lfsfs_types::ChunkId([3; 32]);
    let error = metadata.record_chunk(&foreign).unwrap_err();
    assert!(matches!(error, MetadataError::InvalidReceipt { .. }));
    let mut longer = receipt(1, [content(50)]);
    longer.info.len += 1;
    let error = metadata.record_chunk(&longer).unwrap_err();
    assert!(matches!(error, MetadataError::InvalidReceipt { .. }));

    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let large = Content::of_bytes(&bytes);
    let list = large.pieces.unwrap();
    let error = metadata.put_pieces(content(1), &list).unwrap_err();
    assert!(matches!(error, MetadataError::InvalidPieces { .. }));
    let error = metadata.put_pieces(large.id, &list).unwrap_err();
    assert!(matches!(error, MetadataError::MissingContents { .. }));
    store_pieces(&metadata, &list, 1);
    let error = metadata.put_pieces(large.id, &list).unwrap_err();
    assert!(
        matches!(error, MetadataError::InvalidPieces { .. }),
        "{error}"
    );
}

/// Stores the pieces of a list with lengths that are `less` too short.
fn store_pieces(metadata: &Metadata, list: &PieceList, less: u32) {
    let pieces = list.pieces();
    let mut receipt = receipt(9, pieces.iter().map(|piece| piece.hash));
    for (place, piece) in receipt.places.iter_mut().zip(pieces) {
        place.len = piece.len - less;
    }
    metadata.record_chunk(&receipt).unwrap();
}

#[test]
fn pieces_are_resolved_in_order() {
    let metadata = in_memory();
    let bytes: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let large = Content::of_bytes(&bytes);
    let list = large.pieces.unwrap();
    store_pieces(&metadata, &list, 0);
    assert_eq!(metadata.missing(&[large.id, large.id]).unwrap(), [large.id]);
    metadata.put_pieces(large.id, &list).unwrap();
    metadata.put_pieces(large.id, &list).unwrap();
    assert!(
        metadata
            .missing(&[large.id, ContentId::EMPTY])
            .unwrap()
            .is_empty()
    );
    let asked = [large.id, content(1), ContentId::EMPTY, content(99)];
    let answer = metadata.resolve_contents(&asked).unwrap();
    let told: Vec<_> = answer.contents.iter().map(|told| told.content).collect();
    assert_eq!(told, asked);
    let lfsfs_metadata::Resolution::Pieces(places) = &answer.contents[0].resolution else {
        panic!("{answer:?}");
    };
    let found: Vec<_> = places
        .iter()
        .map(|place| (place.content, place.len))
        .collect();
    let expected: Vec<_> = list
        .pieces()
        .iter()
        .map(|piece| (piece.hash, piece.len))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(answer.contents[0].len, bytes.len() as u64);
    assert_eq!(
        answer.contents[2].resolution,
        lfsfs_metadata::Resolution::Empty
    );
    assert_eq!(
        answer.contents[3].resolution,
        lfsfs_metadata::Resolution::Missing
    );
    assert_eq!((answer.chunks.len(), answer.nodes.len()), (2, 1));
    assert_eq!(answer.nodes[0].id, NODE);
    assert_clean(&metadata);
}

#[test]
fn the_first_place_of_a_content_stays() {
    let metadata = in_memory();
    metadata
        .record_chunk(&receipt(5, [content(1), content(70)]))
        .unwrap();
    metadata
        .record_chunk(&receipt(5, [content(1), content(70)]))
        .unwrap();
    let answer = metadata
        .resolve_contents(&[content(1), content(70)])
        .unwrap();
    let chunks = answer.contents.iter().map(|told| match &told.resolution {
        lfsfs_metadata::Resolution::Place(place) => place.chunk.0[0],
        other => panic!("{other:?}"),
    });
    assert_eq!(chunks.collect::<Vec<_>>(), [1, 5]);
    assert_eq!(answer.chunks[0].nodes, [NODE]);
}

#[test]
fn a_node_that_registers_again_gets_a_higher_generation() {
    let metadata = in_memory();
    let figures = NodeFigures {
        capacity: 100,
        used: 1,
        chunks: 1,
    };
    let again = metadata.upsert_node(NODE, "127.0.0.1:2", figures).unwrap();
    assert_eq!(again.generation, 2);
    assert_eq!(metadata.nodes().unwrap(), [again]);
    assert!(metadata.upsert_node(NODE, "", figures).is_err());
}

#[test]
fn a_commit_that_changes_nothing_is_the_base() {
    let scene = scene();
    let mut later = directory(scene.dir);
    later.mtime.secs = 50;
    let mut ctime = file(1);
    ctime.ctime.secs = 50;
    let mut linked_ctime = linked(2, scene.link, 2);
    linked_ctime.ctime.secs = 50;
    let changes = vec![
        put(DirId::ROOT, "dir", later),
        put(DirId::ROOT, "file", ctime),
        put(DirId::ROOT, "l1", linked_ctime.clone()),
        put(DirId::ROOT, "l2", linked_ctime),
        put(DirId::ROOT, "other", directory(made(3))),
        remove(DirId::ROOT, "nothing"),
    ];
    let published = commit_as(&scene.metadata, &scene.project, [5; 16], changes).unwrap();
    assert!(!published.is_new);
    assert_eq!(published.record.number, VersionNumber(1));
    // What it made again is what was there.
    assert_eq!(
        published.dirs.keys().copied().collect::<Vec<_>>(),
        [made(3)]
    );
    let again = commit_as(&scene.metadata, &scene.project, [6; 16], Vec::new()).unwrap();
    assert_eq!(published.record, again.record);
}

#[test]
fn what_is_staged_is_in_a_scratch_store_until_its_session_ends() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    std::fs::write(scratch.join("old"), "of an earlier process").unwrap();
    let store = Arc::new(MemoryStore::new());
    let place = StagingPlace {
        memory: 2000,
        scratch: Some(scratch.clone()),
        ..StagingPlace::default()
    };
    let options = MetadataOptions {
        staging: place,
        ..MetadataOptions::default()
    };
    let metadata = Metadata::open_with(store.clone(), clock(), options).unwrap();
    assert!(!scratch.exists());
    store_contents(&metadata);
    let project = new_project(&metadata);
    let rows = || store.scan(KeyRange::all(), usize::MAX).unwrap().rows.len();
    let before = rows();
    let begin = |version| begin(&metadata, params(&metadata, &project, [version; 16]));
    let changes = |text: &str| -> Vec<_> {
        let names = (0..100).map(|number| format!("{text}{number}"));
        names.map(|name| put(DirId::ROOT, &name, file(1))).collect()
    };
    let (mut small, mut first, mut second) = (begin(1), begin(2), begin(3));
    small.stage(vec![put(DirId::ROOT, "x", file(1))]).unwrap();
    assert!(!scratch.exists());
    first.stage(changes("a")).unwrap();
    second.stage(changes("b")).unwrap();
    assert!(scratch.exists());
    assert_eq!(rows(), before, "nothing is staged in the store");
    assert_eq!(small.publish().unwrap().record.counts.objects, 1);
    drop(first);
    assert!(scratch.exists());
    assert_eq!(second.publish().unwrap().record.counts.objects, 101);
    assert!(!scratch.exists());
    assert_clean(&metadata);
}

#[test]
fn a_store_of_another_layout_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let id = open(store.clone()).cluster_id();
    assert_eq!(open(store.clone()).cluster_id(), id);
    let mut batch = Batch::new();
    batch.put([1], [&[1, 9][..], &[0; 16]].concat());
    store.write(batch).unwrap();
    let error = Metadata::open(store, clock()).unwrap_err();
    assert!(matches!(
        error,
        MetadataError::Layout {
            found: 9,
            expected: 1
        }
    ));
}

#[test]
fn damaged_rows_are_found_and_never_panic() {
    let scene_store = Arc::new(MemoryStore::new());
    let metadata = open(scene_store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    commit(&metadata, &project, crate::crash::first_version());
    commit(
        &metadata,
        &project,
        vec![remove(DirId::ROOT, "f01"), put(DirId::ROOT, "f02", file(9))],
    );
    assert_clean(&metadata);
    let all = scene_store
        .scan(lfsfs_meta_store::KeyRange::all(), 10_000)
        .unwrap();
    for (key, value) in all.rows {
        // The cluster row, a free counter's value, the times of a node and a mark have no second witness.
        if [1, 5, 18, 26].contains(&key[0]) {
            continue;
        }
        let mut cut = value.clone();
        cut.pop();
        overwrite(&scene_store, &key, cut);
        let mut found = 0;
        let checked = metadata.check(&mut |_| found += 1);
        assert!(
            checked.is_err() || found > 0,
            "{} is damaged",
            key.escape_ascii()
        );
        overwrite(&scene_store, &key, value);
    }
    assert_clean(&metadata);
}

/// A row that is lost is missed by another one, apart from those that nothing needs.
#[test]
fn lost_rows_are_found_and_never_hang() {
    let store = Arc::new(MemoryStore::new());
    let metadata = open(store.clone());
    store_contents(&metadata);
    let project = new_project(&metadata);
    commit(&metadata, &project, crate::crash::first_version());
    let tree = Tree::read(&metadata, &project, VersionNumber(1), 100);
    let changes = crate::crash::second_version(&tree);
    commit(&metadata, &project, changes);
    assert_clean(&metadata);
    let all = store
        .scan(lfsfs_meta_store::KeyRange::all(), 10_000)
        .unwrap();
    for (key, value) in all.rows {
        // The cluster's and the project's own row, a mark, and contents that no object has.
        let unused = key[0] == 16 && key[1] > 8;
        let needed = !matches!(key[0], 1 | 3 | 26) && !unused;
        let mut batch = Batch::new();
        batch.delete(&*key);
        store.write(batch).unwrap();
        let mut found = 0;
        let checked = metadata.check(&mut |_| found += 1);
        assert!(
            !needed || checked.is_err() || found > 0,
            "{} is lost",
            key.escape_ascii()
        );
        overwrite(&store, &key, value);
    }
    assert_clean(&metadata);
}

fn overwrite(store: &MemoryStore, key: &[u8], value: Vec<u8>) {
    let mut batch = Batch::new();
    batch.put(key, value);
    store.write(batch).unwrap();
}
