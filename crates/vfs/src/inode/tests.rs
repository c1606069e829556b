use super::*;

fn entry(nodeid: u64, index: u32) -> Candidate {
    let place = Place {
        dir: DirId(7),
        index,
    };
    Candidate {
        nodeid,
        identity: Identity::Entry(place),
        place,
        parent: nodeid::ROOT,
        name_len: 0,
    }
}

fn look_up(table: &Inodes, candidate: &Candidate) -> u64 {
    table.look_up(candidate, &|_| false).unwrap()
}

fn peek(table: &Inodes, candidate: &Candidate) -> u64 {
    table.peek(candidate, &|_| false).unwrap()
}

fn index(table: &Inodes, ino: u64) -> u32 {
    match table.state_of(ino) {
        Ok(Some(InodeState::Listed(place))) => place.index,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_inode_lives_until_all_its_lookups_are_forgotten() {
    let table = Inodes::new();
    assert_eq!(look_up(&table, &entry(50, 1)), 50);
    assert_eq!(look_up(&table, &entry(50, 1)), 50);
    table.forget(50, 1);
    assert!(table.knows(50));
    table.forget(50, 1);
    assert!(!table.knows(50));
    assert_eq!(table.count(), (1, 1));
}

#[test]
fn the_root_is_never_freed() {
    let table = Inodes::new();
    table.forget(nodeid::ROOT, u64::MAX);
    let root = Directory {
        dir: DirId::ROOT,
        parent: nodeid::ROOT,
        name_len: 0,
    };
    assert_eq!(
        table.directory(nodeid::ROOT),
        Ok(DirectoryLookup::Directory(root))
    );
}

#[test]
fn forgetting_what_is_not_known_or_too_often_is_harmless() {
    let table = Inodes::new();
    table.forget(99, 3);
    look_up(&table, &entry(50, 1));
    table.forget(50, u64::MAX);
    assert_eq!(table.count().0, 1);
}

#[test]
fn colliding_objects_get_numbers_of_their_own_and_keep_them() {
    let table = Inodes::new();
    let (first, second) = (entry(50, 1), entry(50, 2));
    assert_eq!(look_up(&table, &first), 50);
    assert_eq!((peek(&table, &second), look_up(&table, &second)), (51, 51));
    table.forget(50, 1);
    // The second must not move to the number that is free now, while the kernel knows it.
    assert_eq!(look_up(&table, &second), 51);
    assert_eq!(index(&table, 51), 2);
    assert_eq!(look_up(&table, &first), 50);
    table.forget(51, 2);
    assert_eq!(peek(&table, &second), 51);
    table.forget(50, 1);
    assert_eq!(peek(&table, &second), 50);
}

#[test]
fn a_number_that_is_taken_elsewhere_is_left_alone() {
    let table = Inodes::new();
    let candidate = entry(50, 1);
    let taken = |ino| ino == 50 || ino == 51;
    assert_eq!(table.peek(&candidate, &taken).unwrap(), 52);
    assert_eq!(table.look_up(&candidate, &taken).unwrap(), 52);
    // It keeps the number when the others are free again.
    assert_eq!(look_up(&table, &candidate), 52);
}

#[test]
fn names_of_one_link_share_an_inode_whatever_their_places() {
    let table = Inodes::new();
    let link = Identity::Link(LinkId(3), ContentId::EMPTY);
    let name = |index| Candidate {
        identity: link,
        ..entry(60, index)
    };
    assert_eq!(look_up(&table, &name(1)), 60);
    assert_eq!(look_up(&table, &name(2)), 60);
    assert_eq!(table.count().0, 2);
}
