//! Deleting and renaming projects, tags, rolling back.

use lfsfs_metadata::{Deletion, MetadataError, ProjectSettings, RollbackParams};
use lfsfs_types::{DirId, ObjectPath, ProjectName, TagName, VersionId, VersionNumber};

use crate::support::{
    assert_clean, begin, commit, commit_as, directory, file, in_memory, made, new_project, params,
    put, remove,
};
use crate::tree::Tree;

fn project_name(text: &str) -> ProjectName {
    ProjectName::new(text).unwrap()
}

#[test]
fn a_deleted_project_is_gone_and_its_name_is_free() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let changes = vec![
        put(DirId::ROOT, "d", directory(made(0))),
        put(made(0), "f", file(1)),
    ];
    commit(&metadata, &project, changes.clone());
    let tag = TagName::new("t").unwrap();
    metadata
        .set_tag(project.id, &tag, VersionNumber(1), false)
        .unwrap();
    let params = params(&metadata, &project, [5; 16]);
    let open = begin(&metadata, params);
    metadata
        .delete_project(&project.name, Deletion::AtOnce)
        .unwrap();
    let unknown = |error| matches!(error, MetadataError::UnknownProjectId { .. });
    assert!(unknown(open.publish().unwrap_err()));
    assert!(unknown(
        metadata.version(project.id, VersionNumber(1)).unwrap_err()
    ));
    let listed = metadata.list(project.id, VersionNumber(1), DirId::ROOT, None, 9);
    assert!(listed.unwrap_err().is_not_found());
    let again = metadata
        .delete_project(&project.name, Deletion::AtOnce)
        .unwrap_err();
    assert!(matches!(again, MetadataError::UnknownProject { .. }));
    let second = new_project(&metadata);
    assert_ne!(second.id, project.id);
    // The random id of a deleted version can be used again, as its rows are gone.
    assert!(
        commit_as(&metadata, &second, [1; 16], changes)
            .unwrap()
            .is_new
    );
    assert_clean(&metadata);
}

#[test]
fn a_renamed_project_keeps_its_versions() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    commit(&metadata, &project, vec![put(DirId::ROOT, "f", file(1))]);
    let (old, new) = (project_name("app"), project_name("site"));
    metadata
        .new_project(&project_name("taken"), ProjectSettings::default())
        .unwrap();
    let taken = metadata.rename_project(&old, &project_name("taken"));
    assert!(matches!(taken, Err(MetadataError::ProjectExists { .. })));
    let renamed = metadata.rename_project(&old, &new).unwrap();
    assert_eq!(
        (renamed.id, renamed.head.number),
        (project.id, VersionNumber(1))
    );
    let gone = metadata.rename_project(&old, &new).unwrap_err();
    assert!(matches!(gone, MetadataError::UnknownProject { .. }));
    assert_clean(&metadata);
}

#[test]
fn tags_are_listed_and_deleted() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let tags = ["a", "b", "c"].map(|name| TagName::new(name).unwrap());
    for tag in &tags {
        metadata
            .set_tag(project.id, tag, VersionNumber::ZERO, false)
            .unwrap();
    }
    metadata.delete_tag(project.id, &tags[1]).unwrap();
    let gone = metadata.delete_tag(project.id, &tags[1]).unwrap_err();
    assert!(matches!(gone, MetadataError::UnknownTag { .. }));
    let first = metadata.list_tags(project.id, None, 1).unwrap();
    assert!(first.more);
    assert_eq!(first.items, vec![(tags[0].clone(), VersionNumber::ZERO)]);
    let rest = metadata.list_tags(project.id, Some(&tags[0]), 9).unwrap();
    assert_eq!(rest.items, vec![(tags[2].clone(), VersionNumber::ZERO)]);
}

#[test]
fn a_rollback_gives_directories_their_ids_back() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let first = commit(
        &metadata,
        &project,
        vec![
            put(DirId::ROOT, "d", directory(made(0))),
            put(made(0), "f", file(1)),
        ],
    );
    let before = Tree::read(&metadata, &project, first.number, 9);
    commit(&metadata, &project, vec![remove(DirId::ROOT, "d")]);
    let rolled = metadata.rollback(&RollbackParams {
        project: project.id,
        to: first.number,
        version: VersionId([7; 16]),
        author: "me".to_owned(),
        message: String::new(),
    });
    let record = rolled.unwrap().record;
    assert_eq!(record.number, VersionNumber(3));
    assert_eq!(Tree::read(&metadata, &project, record.number, 9), before);
    assert_clean(&metadata);
}

#[test]
fn a_rollback_knows_directories_that_came_and_went() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let first = commit(&metadata, &project, vec![put(DirId::ROOT, "f", file(1))]);
    let rollback = |version: u8| {
        let params = RollbackParams {
            project: project.id,
            to: first.number,
            version: VersionId([version; 16]),
            author: String::new(),
            message: String::new(),
        };
        metadata.rollback(&params).unwrap()
    };
    // To the newest version itself, which changes nothing.
    assert!(!rollback(70).is_new);
    let came = vec![
        put(DirId::ROOT, "d", directory(made(0))),
        put(made(0), "f", file(1)),
    ];
    commit(&metadata, &project, came);
    commit(&metadata, &project, vec![remove(DirId::ROOT, "d")]);
    assert!(!rollback(71).is_new);
}

/// What they gave another mode stays, what I removed in it goes.
#[test]
fn a_forced_removal_keeps_a_directory_with_another_mode_and_not_what_is_in_it() {
    let metadata = in_memory();
    let project = new_project(&metadata);
    let changes = vec![
        put(DirId::ROOT, "d", directory(made(0))),
        put(made(0), "below", directory(made(1))),
        put(made(1), "f", file(1)),
    ];
    commit(&metadata, &project, changes);
    let mut mine = params(&metadata, &project, [9; 16]);
    mine.force = true;
    let found = |path: &str| {
        let head = metadata.project_by_id(project.id).unwrap().head.number;
        let path = ObjectPath::new(path.as_bytes()).unwrap();
        metadata.lookup(project.id, head, &path).unwrap()
    };
    let below = found("d/below").unwrap();
    let mut theirs = below.record.clone();
    theirs.mode = 0o700;
    commit(&metadata, &project, vec![put(below.dir, "below", theirs)]);
    let mut session = begin(&metadata, mine);
    session.stage(vec![remove(DirId::ROOT, "d")]).unwrap();
    assert!(session.publish().unwrap().is_rebased);
    assert!(found("d/below").is_some());
    assert!(found("d/below/f").is_none());
    assert_clean(&metadata);
}
