use std::time::Duration;

use lfsfs_types::Timestamp;

use super::*;

const TIMING: Timing = Timing {
    suspect_after: Duration::from_secs(10),
    offline_after: Duration::from_secs(60),
    lost_after: Duration::from_secs(300),
};

fn member(id: u8, generation: u64) -> Member {
    Member {
        id: NodeId([id; 16]),
        address: format!("127.0.0.1:{id}"),
        generation,
        zone: String::new(),
        capacity: 100,
        used: 0,
        chunks: 0,
        chunk_bytes: 0,
        is_draining: false,
        state: MemberState::Offline,
        seen: Timestamp::default(),
    }
}

fn state(table: &Membership, id: u8) -> MemberState {
    table.find(NodeId([id; 16])).unwrap().state
}

#[test]
fn silence_makes_a_node_suspect_then_offline_and_a_heartbeat_brings_it_back() {
    let start = Instant::now();
    let mut table = Membership::new(TIMING);
    table.register(member(1, 1), start);
    for (silence, state_then, standing) in [
        (Duration::ZERO, MemberState::Available, Standing::Live),
        (TIMING.suspect_after, MemberState::Suspect, Standing::Live),
        (TIMING.offline_after, MemberState::Offline, Standing::Silent),
    ] {
        assert!(!table.tick(start + silence));
        assert_eq!(state(&table, 1), state_then, "{silence:?}");
        assert_eq!(table.standing(NodeId([1; 16]), start + silence), standing);
    }
    let lost = start + TIMING.lost_after;
    assert!(table.tick(lost), "its copies count no more");
    assert!(!table.tick(lost), "the table tells that once");
    assert_eq!(table.standing(NodeId([1; 16]), lost), Standing::Lost);
    assert_eq!(table.heartbeat(&member(1, 1), lost), Beat::Back);
    assert_eq!(table.heartbeat(&member(1, 1), lost), Beat::Known);
    assert_eq!(state(&table, 1), MemberState::Available);
}

/// A scan that begins when copies count no more must see that they do.
#[test]
fn copies_count_no_more_from_the_moment_at_which_that_is_told() {
    for seconds in [1, 4, 7, 30, 300] {
        let timing = Timing::with_lost_after(Duration::from_secs(seconds));
        let start = Instant::now();
        let mut table = Membership::new(timing);
        table.register(member(1, 1), start);
        let told = (0..400).find(|silence| table.tick(start + Duration::from_secs(*silence)));
        let told = Duration::from_secs(told.expect("the table tells it"));
        let standing = table.standing(NodeId([1; 16]), start + told);
        assert_eq!(standing, Standing::Lost, "{seconds}");
        let earlier = start + told - Duration::from_secs(1);
        assert_ne!(table.standing(NodeId([1; 16]), earlier), Standing::Lost);
    }
}

#[test]
fn a_node_of_an_earlier_coordinator_has_time_to_come_back() {
    let start = Instant::now();
    let mut table = Membership::new(TIMING);
    table.known_from_before(member(1, 1), start);
    let id = NodeId([1; 16]);
    assert_eq!(table.standing(id, start), Standing::Silent);
    assert_eq!(
        table.standing(id, start + TIMING.lost_after),
        Standing::Lost
    );
    assert_eq!(table.standing(NodeId([9; 16]), start), Standing::Lost);
}

#[test]
fn a_stale_or_unknown_node_must_register() {
    let now = Instant::now();
    let mut table = Membership::new(TIMING);
    let beat = |table: &mut Membership, generation| table.heartbeat(&member(1, generation), now);
    assert_eq!(beat(&mut table, 1), Beat::Unknown, "never registered");
    table.known_from_before(member(1, 1), now);
    assert_eq!(beat(&mut table, 1), Beat::Unknown, "not registered here");
    table.register(member(1, 2), now);
    assert_eq!(beat(&mut table, 1), Beat::Unknown, "an older process");
    assert_eq!(beat(&mut table, 2), Beat::Known);
}

#[test]
fn readers_get_what_changed_since_they_asked() {
    let now = Instant::now();
    let mut table = Membership::new(TIMING);
    assert_eq!(table.since(0), Updates::Changed(vec![]));
    table.register(member(1, 1), now);
    let version = table.version();
    assert_eq!(table.since(version), Updates::Changed(vec![]));

    table.register(member(2, 1), now);
    table.register(member(2, 2), now);
    let Updates::Changed(changed) = table.since(version) else {
        panic!("it is not long ago");
    };
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].generation, 2);
    assert!(matches!(table.since(version + 9), Updates::Everything(_)));

    for generation in 3..1100 {
        table.register(member(2, generation), now);
    }
    let Updates::Everything(all) = table.since(version) else {
        panic!("it is too long ago");
    };
    assert_eq!(all.len(), 2);
}

#[test]
fn who_does_not_know_of_a_removal_gets_all_nodes() {
    let now = Instant::now();
    let mut table = Membership::new(TIMING);
    table.register(member(1, 1), now);
    table.register(member(2, 1), now);
    let before = table.version();
    table.remove(NodeId([1; 16]));
    let Updates::Everything(all) = table.since(before) else {
        panic!("changes cannot tell of a removal");
    };
    assert_eq!(all.len(), 1);
    assert_eq!(table.since(table.version()), Updates::Changed(vec![]));
    assert!(table.set_draining(NodeId([2; 16]), true));
    assert!(!table.set_draining(NodeId([1; 16]), true));
    let Updates::Changed(changed) = table.since(before + 1) else {
        panic!("it knows of the removal");
    };
    assert!(changed[0].is_draining);
}
