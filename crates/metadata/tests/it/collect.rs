//! Collecting garbage: what a version names stays, also while clients commit; all else goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lfsfs_common::clock::{Clock as _, TestClock};
use lfsfs_meta_store::{KeyRange, MemoryStore, MetaStore, MetaStoreExt as _};
use lfsfs_metadata::{
    CollectParams, Collected, Deletion, ExpireParams, Expired, Hold, Metadata, MetadataError,
    Project, Retention, UnneededChunks,
};
use lfsfs_types::content::{Piece, PieceList};
use lfsfs_types::{ContentId, DirId, Kind, Record, SessionId, TagName, VersionNumber};

use crate::crash::Double;
use crate::support::{
    NODE, assert_clean, begin, clock, commit, content, file, new_project, params, put, receipt,
    record, remove, staging_of, store_contents, stored_for,
};
use crate::tree::Tree;

const ALL: CollectParams = CollectParams {
    grace_secs: 0,
    uploads_since: None,
    sample_percent: 100.0,
    marks_bytes: 1 << 16,
    dry_run: false,
};

/// Metadata with a clock, and a project.
struct Setup {
    clock: Arc<TestClock>,
    metadata: Metadata,
    project: Project,
}

impl Setup {
    fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    /// As a server starts with this store.
    fn on(store: Arc<dyn MetaStore>) -> Self {
        let clock = clock();
        let opened = Metadata::open_with(store, clock.clone(), staging_of(4096));
        let metadata = opened.unwrap();
        metadata.recover().unwrap();
        store_contents(&metadata);
        let project = new_project(&metadata);
        Self {
            clock,
            metadata,
            project,
        }
    }

    fn collect(&self, params: CollectParams) -> Collected {
        self.clock.advance(Duration::from_secs(1));
        self.metadata.collect_contents(&params).unwrap()
    }

    fn expire(&self, keep: u64) -> Expired {
        self.expire_but(keep, &[])
    }

    fn expire_but(&self, keep: u64, in_use: &[u64]) -> Expired {
        let in_use: BTreeSet<_> = in_use.iter().copied().map(VersionNumber).collect();
        let params = ExpireParams {
            project: self.project.id,
            retention: Retention {
                keep: Some(keep),
                ..Retention::default()
            },
            in_use: &|| in_use.clone(),
            dry_run: false,
        };
        self.metadata.expire_versions(&params).unwrap()
    }

    fn is_there(&self, version: u64) -> bool {
        let found = self
            .metadata
            .version(self.project.id, VersionNumber(version));
        let is_expired =
            |error: &MetadataError| matches!(error, MetadataError::ExpiredVersion { .. });
        assert!(
            found.is_ok() || found.as_ref().is_err_and(is_expired),
            "{found:?}"
        );
        found.is_ok()
    }

    fn missing(&self, contents: &[ContentId]) -> Vec<ContentId> {
        self.metadata.missing(contents).unwrap()
    }

    /// Three versions, with the contents 1, 2 and 3 under one name.
    fn three_versions(&self) {
        for number in 1..=3 {
            commit(
                &self.metadata,
                &self.project,
                vec![put(DirId::ROOT, "f", file(number))],
            );
        }
    }
}

#[test]
fn contents_that_no_version_names_go_and_come_again() {
    let setup = Setup::new();
    setup.three_versions();
    assert_eq!(setup.expire(1).versions, 2);
    let dry = CollectParams {
        dry_run: true,
        ..ALL
    };
    let planned = setup.collect(dry);
    let collected = setup.collect(ALL);
    assert_eq!(planned, collected);
    // All of the twelve but content 3.
    assert_eq!(collected.contents, 11);
    assert_eq!(collected.content_bytes, 110);
    assert_eq!(setup.missing(&[content(3)]), []);
    assert_eq!(
        setup.missing(&[content(1), content(2)]),
        [content(1), content(2)]
    );
    assert_clean(&setup.metadata);
    setup
        .metadata
        .record_chunk(&receipt(2, [content(1)]))
        .unwrap();
    commit(
        &setup.metadata,
        &setup.project,
        vec![put(DirId::ROOT, "f", file(1))],
    );
    assert_clean(&setup.metadata);
}

#[test]
fn contents_that_a_client_asked_for_stay_for_the_grace() {
    let setup = Setup::new();
    setup.clock.advance(Duration::from_secs(3000));
    assert_eq!(setup.missing(&[content(5)]), []);
    let grace = |grace_secs| CollectParams { grace_secs, ..ALL };
    assert_eq!(setup.collect(grace(4000)).contents, 0);
    assert_eq!(setup.collect(grace(2000)).contents, 11, "but for the one");
    assert_eq!(setup.missing(&[content(5)]), [], "it is asked for again");
    setup.clock.advance(Duration::from_secs(1998));
    assert_eq!(setup.collect(grace(2000)).contents, 0);
    assert_eq!(setup.collect(grace(2000)).contents, 1);
}

#[test]
fn contents_of_uploads_that_are_under_way_stay() {
    let setup = Setup::new();
    let since = u64::try_from(setup.clock.wall_time().seconds()).unwrap();
    setup.clock.advance(Duration::from_secs(5000));
    let uploads = |secs| CollectParams {
        uploads_since: Some(secs),
        ..ALL
    };
    assert_eq!(setup.collect(uploads(since)).contents, 0);
    // A client may have been told that they are there by a stamp of ten minutes before.
    assert_eq!(setup.collect(uploads(since + 600)).contents, 0);
    assert_eq!(setup.collect(uploads(since + 601)).contents, 12);
}

/// A commit asks for its contents; from the beginning of a collection on that keeps them.
#[test]
fn a_commit_during_a_collection_keeps_its_contents_or_is_told_that_they_are_gone() {
    let store = Arc::new(Double::new(true));
    let setup = Setup::on(Arc::clone(&store) as _);
    setup.clock.advance(Duration::from_secs(1));
    let operations = {
        let metadata = setup.metadata.clone();
        let count = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let seen = Arc::clone(&count);
        store.on_operation(move |_| {
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        });
        let dry = CollectParams {
            dry_run: false,
            ..ALL
        };
        metadata.collect_contents(&dry).unwrap();
        count.load(std::sync::atomic::Ordering::SeqCst)
    };
    assert!(operations > 0);
    for at in 1..=operations + 1 {
        let store = Arc::new(Double::new(true));
        let setup = Setup::on(Arc::clone(&store) as _);
        setup.clock.advance(Duration::from_secs(1));
        let (metadata, project) = (setup.metadata.clone(), setup.project.clone());
        let mut left = at;
        store.on_operation(move |_| {
            left = left.wrapping_sub(1);
            if left == 0 {
                let changes = (1..=6).map(|it| put(DirId::ROOT, &format!("f{it}"), file(it)));
                let mut session = begin(&metadata, params(&metadata, &project, [9; 16]));
                session.stage(changes.collect()).unwrap();
                let published = session.publish();
                let is_missing = matches!(published, Err(MetadataError::MissingContents { .. }));
                assert!(published.is_ok() || is_missing, "{published:?}");
            }
        });
        setup.metadata.collect_contents(&ALL).unwrap();
        assert_clean(&setup.metadata);
    }
}

#[test]
fn pieces_stay_as_long_as_their_content() {
    let setup = Setup::new();
    let piece = |number: u8, len| Piece {
        hash: content(number),
        len,
    };
    let long = |number| {
        let mut receipt = receipt(number, [content(number), content(number + 1)]);
        for place in &mut receipt.places {
            place.len = 800_000;
            place.offset = 0;
        }
        setup.metadata.record_chunk(&receipt).unwrap();
        PieceList::new(vec![piece(number, 800_000), piece(number + 1, 800_000)]).unwrap()
    };
    let (kept, dropped) = (long(50), long(60));
    for list in [&kept, &dropped] {
        setup.metadata.put_pieces(list.content_id(), list).unwrap();
    }
    let large = Record {
        ..record(Kind::File {
            size: kept.total_len(),
            content: kept.content_id(),
        })
    };
    commit(
        &setup.metadata,
        &setup.project,
        vec![put(DirId::ROOT, "large", large)],
    );
    // The twelve small ones, and a large one with its pieces.
    assert_eq!(setup.collect(ALL).contents, 15);
    assert_eq!(setup.missing(&[kept.content_id()]), []);
    assert_eq!(
        setup.missing(&[dropped.content_id()]),
        [dropped.content_id()]
    );
    assert_clean(&setup.metadata);
}

/// The metadata tells a client that a large content is there: that keeps its pieces too.
#[test]
fn asking_for_a_large_content_keeps_its_pieces() {
    let setup = Setup::new();
    let mut receipt = receipt(50, [content(50), content(51)]);
    for place in &mut receipt.places {
        place.len = 800_000;
        place.offset = 0;
    }
    setup.metadata.record_chunk(&receipt).unwrap();
    let pieces = [50, 51].map(|number| Piece {
        hash: content(number),
        len: 800_000,
    });
    let list = PieceList::new(pieces.to_vec()).unwrap();
    setup.metadata.put_pieces(list.content_id(), &list).unwrap();
    setup.clock.advance(Duration::from_secs(7000));
    assert_eq!(setup.missing(&[list.content_id()]), []);
    let hour = CollectParams {
        grace_secs: 3600,
        ..ALL
    };
    assert_eq!(setup.collect(hour).contents, 12);
    assert_eq!(
        setup.missing(&[list.content_id(), content(50), content(51)]),
        []
    );
}

#[test]
fn the_pieces_of_a_very_large_content_are_known_without_its_bytes() {
    let setup = Setup::new();
    let count: u32 = 8_200;
    let id = |number: u32| lfsfs_types::content::Content::of_bytes(&number.to_be_bytes()).id;
    for group in (0..count).collect::<Vec<_>>().chunks(1000) {
        let mut receipt = receipt(100 + u8::try_from(group[0] / 1000).unwrap(), [content(1)]);
        let place = receipt.places[0];
        receipt.places = group
            .iter()
            .map(|number| lfsfs_types::ContentPlace {
                content: id(*number),
                len: 1_048_576,
                ..place
            })
            .collect();
        setup.metadata.record_chunk(&receipt).unwrap();
    }
    let pieces = (0..count).map(|number| Piece {
        hash: id(number),
        len: 1_048_576,
    });
    let list = PieceList::new(pieces.collect()).unwrap();
    let stored = lfsfs_types::content::Content::of_bytes(&list.encode());
    let mut of_list = receipt(90, [stored.id]);
    of_list.places[0].len = u32::try_from(list.encode().len()).unwrap();
    setup.metadata.record_chunk(&of_list).unwrap();
    setup.metadata.put_pieces(list.content_id(), &list).unwrap();
    let large = record(Kind::File {
        size: list.total_len(),
        content: list.content_id(),
    });
    commit(
        &setup.metadata,
        &setup.project,
        vec![put(DirId::ROOT, "large", large)],
    );
    assert_eq!(setup.collect(ALL).contents, 12);
    assert_clean(&setup.metadata);
    commit(
        &setup.metadata,
        &setup.project,
        vec![remove(DirId::ROOT, "large")],
    );
    setup.expire(1);
    assert_eq!(setup.collect(ALL).contents, u64::from(count) + 2);
    assert_clean(&setup.metadata);
}

#[test]
fn contents_are_collected_in_parts_where_marks_have_little_memory() {
    let setup = Setup::new();
    setup.three_versions();
    let little = CollectParams {
        marks_bytes: 1,
        ..ALL
    };
    assert_eq!(setup.collect(little).contents, 9);
    assert_eq!(setup.missing(&[1, 2, 3].map(content)), []);
}

#[test]
fn a_sample_is_a_part() {
    let setup = Setup::new();
    let none = CollectParams {
        sample_percent: 0.0,
        ..ALL
    };
    assert_eq!(setup.collect(none).contents, 0);
    let half = CollectParams {
        sample_percent: 50.0,
        ..ALL
    };
    let mut collected = 0;
    for _ in 0..1000 {
        collected += setup.collect(half).contents;
        if collected > 0 {
            break;
        }
    }
    assert!(
        collected > 0,
        "in no half of all ids lies one of the twelve"
    );
    assert_eq!(collected + setup.collect(ALL).contents, 12);
}

#[test]
fn tags_holds_and_commits_keep_versions() {
    let setup = Setup::new();
    setup.three_versions();
    let (metadata, project) = (&setup.metadata, setup.project.id);
    commit(
        metadata,
        &setup.project,
        vec![put(DirId::ROOT, "g", file(4))],
    );
    let tag = TagName::new("release").unwrap();
    metadata
        .set_tag(project, &tag, VersionNumber(1), false)
        .unwrap();
    let second = metadata.version(project, VersionNumber(2)).unwrap();
    let hold = Hold {
        project,
        version: lfsfs_metadata::ExactVersion {
            number: second.number,
            id: second.id,
        },
        holder: SessionId([5; 16]),
    };
    let minute = Duration::from_secs(60);
    metadata.hold_version(&hold, minute).unwrap();
    assert_eq!(setup.expire_but(1, &[3]).versions, 0);
    assert_eq!(setup.expire(1).versions, 1);
    assert!(setup.is_there(1) && setup.is_there(2) && !setup.is_there(3));
    setup.clock.advance(minute / 2);
    metadata.hold_version(&hold, minute).unwrap();
    setup.clock.advance(minute / 2);
    assert_eq!(setup.expire(1).versions, 0, "the hold was renewed");
    setup.clock.advance(minute);
    assert_eq!(setup.expire(1).versions, 1);
    assert!(!setup.is_there(2));
    let late = metadata.hold_version(&hold, minute).unwrap_err();
    assert!(
        matches!(late, MetadataError::ExpiredVersion { .. }),
        "{late}"
    );
    let error = metadata
        .set_tag(project, &tag, VersionNumber(2), true)
        .unwrap_err();
    assert!(
        matches!(error, MetadataError::ExpiredVersion { .. }),
        "{error}"
    );
    metadata.delete_tag(project, &tag).unwrap();
    assert_eq!(setup.expire(1).versions, 1);
    assert_clean(metadata);
}

#[test]
fn a_hold_that_is_given_back_keeps_nothing() {
    let setup = Setup::new();
    setup.three_versions();
    let first = setup
        .metadata
        .version(setup.project.id, VersionNumber(1))
        .unwrap();
    let hold = Hold {
        project: setup.project.id,
        version: lfsfs_metadata::ExactVersion {
            number: first.number,
            id: first.id,
        },
        holder: SessionId([5; 16]),
    };
    setup
        .metadata
        .hold_version(&hold, Duration::from_secs(60))
        .unwrap();
    setup.metadata.release_version(&hold).unwrap();
    setup.metadata.release_version(&hold).unwrap();
    assert_eq!(setup.expire(1).versions, 2);
    setup
        .metadata
        .delete_project(&setup.project.name, Deletion::AtOnce)
        .unwrap();
    assert_clean(&setup.metadata);
}

#[test]
fn a_commit_on_a_version_that_has_expired_is_refused() {
    let setup = Setup::new();
    setup.three_versions();
    let open = begin(
        &setup.metadata,
        params(&setup.metadata, &setup.project, [9; 16]),
    );
    commit(
        &setup.metadata,
        &setup.project,
        vec![put(DirId::ROOT, "g", file(4))],
    );
    setup.expire(1);
    let refused = open.publish().unwrap_err();
    assert!(
        matches!(refused, MetadataError::ExpiredVersion { .. }),
        "{refused}"
    );
    // The project goes on.
    commit(
        &setup.metadata,
        &setup.project,
        vec![put(DirId::ROOT, "h", file(4))],
    );
    assert_clean(&setup.metadata);
}

/// The store may stop at any operation: versions that stay are whole, and the next call finishes.
#[test]
fn an_expiry_that_crashes_is_finished_by_the_next() {
    let build = |store: &Arc<Double>| {
        let setup = Setup::on(Arc::clone(store) as _);
        for number in 1..=5 {
            let mut changes = vec![put(DirId::ROOT, "f", file(number))];
            changes.extend((0..6).map(|it| put(DirId::ROOT, &format!("f{it}"), file(number + it))));
            commit(&setup.metadata, &setup.project, changes);
        }
        setup
    };
    let whole = Arc::new(Double::new(true));
    let expected = build(&whole);
    let head = Tree::read(&expected.metadata, &expected.project, VersionNumber(5), 100);
    let retention = Retention {
        keep: Some(1),
        ..Retention::default()
    };
    for stop in 1..40 {
        for made in [false, true] {
            // All that was written before is durable.
            whole.flush().unwrap();
            let store = Arc::new(whole.after_crash(0, Some((stop, made))));
            let opened = Metadata::open_with(Arc::clone(&store) as _, clock(), staging_of(4096));
            let Ok(metadata) = opened else { continue };
            let params = ExpireParams {
                project: expected.project.id,
                retention,
                in_use: &BTreeSet::new,
                dry_run: false,
            };
            let is_done = metadata.expire_versions(&params).is_ok();
            for kept in 0..4 {
                let after = Arc::new(store.after_crash(kept, None));
                let metadata = Metadata::open_with(after as _, clock(), staging_of(4096)).unwrap();
                metadata.recover().unwrap();
                assert_eq!(
                    Tree::read(&metadata, &expected.project, VersionNumber(5), 100),
                    head
                );
                assert_clean(&metadata);
                metadata.expire_versions(&params).unwrap();
                assert_eq!(
                    Tree::read(&metadata, &expected.project, VersionNumber(5), 100),
                    head
                );
                assert_clean(&metadata);
                let again = metadata.expire_versions(&params).unwrap();
                assert_eq!(again, Expired::default(), "something was left");
            }
            if is_done && stop > 30 {
                return;
            }
        }
    }
}

#[test]
fn a_chunk_in_which_nothing_lies_goes_with_its_last_copy() {
    let setup = Setup::new();
    let (metadata, project) = (&setup.metadata, &setup.project);
    let lone = receipt(50, [content(50)]);
    metadata
        .record_chunk_for(stored_for(project.id), &lone)
        .unwrap();
    assert_eq!(metadata.stored_bytes(project.id).unwrap(), 1000);
    commit(metadata, project, vec![put(DirId::ROOT, "f", file(1))]);
    setup.collect(ALL);
    let mut told = Vec::new();
    let unneeded = metadata
        .mark_unneeded_chunks(0, |holders| told.extend(holders))
        .unwrap();
    assert_eq!(
        unneeded,
        UnneededChunks {
            count: 1,
            bytes: 1000
        }
    );
    assert_eq!(told.len(), 1);
    assert!(told[0].is_unneeded && told[0].nodes == [NODE]);
    let keep = lfsfs_metadata::Keep {
        least: 1,
        live: &[NODE],
    };
    metadata
        .release_replica(NODE, lone.info.id, &[content(50)], keep)
        .unwrap();
    assert_eq!(metadata.holders_of(&[lone.info.id]).unwrap(), []);
    assert_eq!(metadata.stored_bytes(project.id).unwrap(), 0);
    assert_clean(metadata);
}

#[test]
fn a_chunk_whose_contents_are_stored_again_stays() {
    let setup = Setup::new();
    let metadata = &setup.metadata;
    let lone = receipt(50, [content(50)]);
    metadata.record_chunk(&lone).unwrap();
    setup.collect(ALL);
    metadata.mark_unneeded_chunks(0, drop).unwrap();
    metadata.record_chunk(&lone).unwrap();
    assert!(!metadata.holders_of(&[lone.info.id]).unwrap()[0].is_unneeded);
    assert_eq!(setup.missing(&[content(50)]), []);
    // Nor does a chunk go that was marked while its contents came.
    let store_contents = metadata.mark_unneeded_chunks(0, drop).unwrap();
    assert_eq!(store_contents.count, 1, "the one of the other contents");
    let keep = lfsfs_metadata::Keep {
        least: 1,
        live: &[NODE],
    };
    let refused = metadata.release_replica(NODE, lone.info.id, &[content(50)], keep);
    assert!(matches!(refused, Err(MetadataError::ChunkInUse { .. })));
    assert_clean(metadata);
}

/// What a collection leaves of a project of many versions is what a project of one has.
#[test]
fn nothing_is_left_of_versions_that_expired() {
    let rows = |metadata: &Metadata, store: &MemoryStore| {
        assert_clean(metadata);
        store.scan_all(KeyRange::all(), 100).count()
    };
    let store = Arc::new(MemoryStore::new());
    let setup = Setup::on(Arc::clone(&store) as _);
    setup.three_versions();
    for number in 0..20_u8 {
        let changes = vec![
            put(
                DirId::ROOT,
                "d",
                crate::support::directory(crate::support::made(0)),
            ),
            put(crate::support::made(0), "x", file(1 + number % 9)),
        ];
        commit(&setup.metadata, &setup.project, changes);
        commit(
            &setup.metadata,
            &setup.project,
            vec![remove(DirId::ROOT, "d")],
        );
    }
    commit(
        &setup.metadata,
        &setup.project,
        vec![put(DirId::ROOT, "f", file(9))],
    );
    setup.expire(1);
    let many = rows(&setup.metadata, &store);
    let other = Arc::new(MemoryStore::new());
    let one = Setup::on(Arc::clone(&other) as _);
    commit(
        &one.metadata,
        &one.project,
        vec![put(DirId::ROOT, "f", file(9))],
    );
    let few = rows(&one.metadata, &other);
    // The row that counts what expired is beside, and the mark of a first version is not.
    assert_eq!(many, few, "rows are left");
}

#[test]
fn listings_that_are_told_end_where_their_version_expires() {
    let setup = Setup::new();
    let (metadata, project) = (&setup.metadata, &setup.project);
    let made = crate::support::made;
    let dirs = |number| {
        put(
            DirId::ROOT,
            &format!("d{number}"),
            crate::support::directory(made(number)),
        )
    };
    commit(metadata, project, (0..5).map(dirs).collect());
    commit(metadata, project, vec![put(DirId::ROOT, "file", file(1))]);
    let params = lfsfs_metadata::TreeParams {
        project: project.id,
        version: VersionNumber(1),
        exact: Vec::new(),
        top: DirId::ROOT,
        after: None,
        since: None,
    };
    let mut walk = metadata.begin_tree(params).unwrap();
    for _ in 0..3 {
        assert!(metadata.continue_tree(&mut walk).unwrap().is_some());
    }
    setup.expire_but(1, &[]);
    let refused = metadata.continue_tree(&mut walk).unwrap_err();
    assert!(
        matches!(refused, MetadataError::ExpiredVersion { .. }),
        "{refused}"
    );
}
