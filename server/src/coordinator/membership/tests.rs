use super::*;

fn member(id: u8, generation: u64) -> Member {
    Member {
        id: NodeId([id; 16]),
        address: format!("127.0.0.1:{id}"),
        generation,
        capacity: 100,
        used: 0,
        chunks: 0,
        chunk_bytes: 0,
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
    let mut table = Membership::new();
    table.register(member(1, 1), start);
    for (silence, expected) in [
        (Duration::ZERO, MemberState::Available),
        (SUSPECT_AFTER, MemberState::Suspect),
        (OFFLINE_AFTER, MemberState::Offline),
    ] {
        table.tick(start + silence);
        assert_eq!(state(&table, 1), expected, "{silence:?}");
    }
    assert!(table.heartbeat(&member(1, 1), start + OFFLINE_AFTER));
    assert_eq!(state(&table, 1), MemberState::Available);
}

#[test]
fn a_stale_or_unknown_node_must_register() {
    let now = Instant::now();
    let mut table = Membership::new();
    assert!(!table.heartbeat(&member(1, 1), now), "never registered");
    table.known_from_before(member(1, 1));
    assert!(!table.heartbeat(&member(1, 1), now), "not registered here");
    table.register(member(1, 2), now);
    assert!(!table.heartbeat(&member(1, 1), now), "an older process");
    assert!(table.heartbeat(&member(1, 2), now));
}

#[test]
fn readers_get_what_changed_since_they_asked() {
    let now = Instant::now();
    let mut table = Membership::new();
    table.register(member(1, 1), now);
    let version = table.version();
    assert_eq!(table.since(version), Updates::Changed(vec![]));

    table.register(member(2, 1), now);
    table.register(member(2, 2), now);
    let Updates::Changed(changed) = table.since(version) else {
        panic!("the version is known");
    };
    assert_eq!(changed.len(), 1, "each node once");
    assert_eq!(changed[0].generation, 2);
}

#[test]
fn readers_who_are_too_far_behind_or_ahead_get_everything() {
    let now = Instant::now();
    let mut table = Membership::new();
    table.register(member(2, 1), now);
    for generation in 0..2000 {
        table.register(member(1, generation), now);
    }
    for version in [0, 1, 999, table.version() + 1] {
        let updates = table.since(version);
        assert!(
            matches!(updates, Updates::Everything(all) if all.len() == 2),
            "{version}"
        );
    }
    assert!(matches!(table.since(1001), Updates::Changed(all) if all.len() == 1));
}

#[test]
fn chunks_go_in_turn_to_available_nodes_with_room() {
    let now = Instant::now();
    let mut table = Membership::new();
    table.known_from_before(member(9, 1));
    let refused = table.place(1, now).unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unavailable);

    let full = Member {
        used: 100,
        ..member(3, 1)
    };
    table.register(full, now);
    assert_eq!(table.place(1, now).unwrap_err().kind, FaultKind::Full);

    table.register(member(1, 1), now);
    table.register(member(2, 1), now);
    let mut chosen: Vec<_> = (0..2).flat_map(|_| table.place(2, now).unwrap()).collect();
    chosen.sort_by_key(|member| member.id);
    let ids: Vec<_> = chosen.iter().map(|member| member.id.0[0]).collect();
    assert_eq!(ids, [1, 1, 2, 2]);
}
