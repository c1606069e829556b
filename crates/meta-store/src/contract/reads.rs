//! Order, ranges, limits and pages.

use super::{fill, row, rows};
use crate::{KeyRange, MetaStore, MetaStoreExt, Read, Rows};

pub(super) fn absent_keys_are_none(store: &dyn MetaStore) {
    assert_eq!(store.get(b"a").expect("get from an empty store"), None);
    assert_eq!(store.get(b"").expect("get the empty key"), None);
    fill(store, &[row(*b"ab", *b"1")]);
    for absent in [&b""[..], b"a", b"ab\0", b"b"] {
        assert_eq!(store.get(absent).expect("get"), None, "{absent:?}");
        assert_eq!(
            store.read_one(Read::get(absent)).expect("read"),
            Rows::default()
        );
    }
    assert_eq!(store.get(b"ab").expect("get"), Some(b"1".to_vec()));
}

pub(super) fn rows_come_in_byte_order(store: &dyn MetaStore) {
    let mut expected = Vec::new();
    for first in [0, 1, 0x7f, 0x80, u8::MAX] {
        expected.push(row([first], [first]));
        for second in [0, 1, 0x7f, 0x80, u8::MAX] {
            expected.push(row([first, second], [second]));
        }
    }
    let mut shuffled = expected.clone();
    shuffled.reverse();
    shuffled.rotate_left(7);
    fill(store, &shuffled);
    assert_eq!(rows(store, KeyRange::all()), expected);
}

pub(super) fn ranges_have_exact_ends(store: &dyn MetaStore) {
    let keys = [
        &b"a"[..],
        b"b",
        b"b\0",
        b"b\xff",
        b"b\xff\xff",
        b"c",
        b"\xff",
        b"\xff\xff",
    ];
    let all: Vec<_> = keys.iter().map(|key| row(*key, *key)).collect();
    fill(store, &all);
    assert_eq!(rows(store, KeyRange::prefix(b"b")), all[1..5]);
    assert_eq!(rows(store, KeyRange::prefix(b"b\xff")), all[3..5]);
    assert_eq!(rows(store, KeyRange::prefix(b"\xff")), all[6..]);
    assert_eq!(rows(store, KeyRange::prefix(b"d")), []);
    assert_eq!(rows(store, KeyRange::after(b"b", b"b")), all[2..5]);
    assert_eq!(rows(store, KeyRange::before(b"b\xff", b"b")), all[1..3]);
    assert_eq!(rows(store, KeyRange::new(*b"b", *b"c")), all[1..5]);
    assert_eq!(rows(store, KeyRange::new(*b"c", *b"b")), []);
    assert_eq!(rows(store, KeyRange::new(*b"b", *b"b")), []);
    assert_eq!(rows(store, KeyRange::new(*b"", *b"")), []);
}

pub(super) fn limits_and_more(store: &dyn MetaStore) {
    let all: Vec<_> = (0..5).map(|number| row([b'k', number], [number])).collect();
    fill(store, &all);
    fill(store, &[row(*b"l", *b"outside")]);
    let range = || KeyRange::prefix(b"k");
    for limit in 0..8 {
        let found = store.scan(range(), limit).expect("scan");
        assert_eq!(found.rows, all[..limit.min(5)], "limit {limit}");
        assert_eq!(found.more, limit < 5, "limit {limit}");
    }
    let none = store.scan(KeyRange::prefix(b"m"), 0).expect("scan");
    assert_eq!(none, Rows::default());
}

pub(super) fn reverse_scans_start_at_the_end(store: &dyn MetaStore) {
    let mut all: Vec<_> = (0..5).map(|number| row([b'k', number], [number])).collect();
    fill(store, &all);
    fill(store, &[row(*b"j", *b"before"), row(*b"l", *b"behind")]);
    all.reverse();
    for limit in 0..8 {
        let read = Read::scan_reverse(KeyRange::prefix(b"k"), limit);
        let found = store.read_one(read).expect("scan");
        assert_eq!(found.rows, all[..limit.min(5)], "limit {limit}");
        assert_eq!(found.more, limit < 5, "limit {limit}");
    }
    let last = store.last(KeyRange::all()).expect("last");
    assert_eq!(last, Some(row(*b"l", *b"behind")));
    let first = store.first(KeyRange::all()).expect("first");
    assert_eq!(first, Some(row(*b"j", *b"before")));
}

pub(super) fn one_read_answers_each_part(store: &dyn MetaStore) {
    let all: Vec<_> = (0..4).map(|number| row([b'k', number], [number])).collect();
    fill(store, &all);
    let reads = [
        Read::get([b'k', 2]),
        Read::scan(KeyRange::all(), 1),
        Read::get(*b"absent"),
        Read::scan_reverse(KeyRange::all(), 9),
    ];
    let found = store.read(&reads).expect("read");
    let mut backwards = all.clone();
    backwards.reverse();
    let expected = [
        Rows {
            rows: vec![all[2].clone()],
            more: false,
        },
        Rows {
            rows: vec![all[0].clone()],
            more: true,
        },
        Rows::default(),
        Rows {
            rows: backwards,
            more: false,
        },
    ];
    assert_eq!(found, expected);
    assert_eq!(store.read(&[]).expect("read nothing"), []);
}

pub(super) fn pages_cover_a_range_of_any_size(store: &dyn MetaStore) {
    let all: Vec<_> = (0..2500_u64)
        .map(|number| row([b"k", &number.to_be_bytes()[..]].concat(), []))
        .collect();
    fill(store, &all);
    for page in [1, 7, 2499, 2500, 2501] {
        let found: Result<Vec<_>, _> = store.scan_all(KeyRange::prefix(b"k"), page).collect();
        assert_eq!(found.expect("scan all").len(), all.len(), "page {page}");
    }
    let found: Result<Vec<_>, _> = store.scan_all(KeyRange::prefix(b"k"), 100).collect();
    assert_eq!(found.expect("scan all"), all);
}

pub(super) fn reads_end_with_their_bytes(store: &dyn MetaStore) {
    let large = vec![7; 1000];
    fill(
        store,
        &[
            row(*b"a", &*large),
            row(*b"b", &*large),
            row(*b"c", &*large),
        ],
    );
    let reads = [
        Read::get(*b"x"),
        Read::get(*b"a"),
        Read::get(*b"b"),
        Read::get(*b"c"),
    ];
    let within = |bytes| store.read_within(&reads, bytes).expect("reads");
    let all = store.read(&reads).expect("reads");
    assert_eq!(within(usize::MAX), all, "all fit");
    assert_eq!(
        within(1500),
        all[..3],
        "the second value is the one too many"
    );
    assert_eq!(within(1), all[..2], "what is absent has no bytes");
    let one = store.read_within(&reads[1..], 0).expect("reads");
    assert_eq!(one, all[1..2], "there is an answer");
    assert_eq!(store.read_within(&[], 9).expect("no reads"), []);
}
