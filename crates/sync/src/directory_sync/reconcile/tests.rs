//! A model: two trees and what was agreed, with random changes on both sides.

use lfsfs_types::{ContentId, Timestamp};
use proptest::prelude::*;

use super::super::item::FileItem;
use super::*;

type Tree = BTreeMap<ObjectPath, Item>;

/// A change of a tree.
#[derive(Debug, Clone)]
enum Edit {
    Put(usize, Item),
    Remove(usize),
    Rename(usize, usize),
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text.as_bytes()).expect("a path")
}

/// Few names, so that both sides meet. One sorts between a directory and what is in it.
fn paths() -> Vec<ObjectPath> {
    let names = ["a", "a-", "b"];
    let mut paths = Vec::new();
    for one in names {
        paths.push(path(one));
        for two in names {
            paths.push(path(&format!("{one}/{two}")));
            paths.push(path(&format!("{one}/{two}/a")));
            paths.push(path(&format!("{one}/{two}/b")));
        }
    }
    paths
}

fn file(content: u8, mode: u32, secs: i64) -> Item {
    Item::File(FileItem {
        mode,
        mtime: Timestamp { secs, nanos: 0 },
        size: 1,
        content: ContentId([content; 32]),
    })
}

fn item() -> impl Strategy<Value = Item> {
    let mode = prop_oneof![Just(0o644), Just(0o600)];
    prop_oneof![
        4 => (0..5_u8, mode.clone(), 0..3_i64).prop_map(|(content, mode, at)| file(content, mode, at)),
        3 => mode.prop_map(|mode| Item::Directory { mode }),
        1 => (0..2_u8).prop_map(|target| Item::Symlink { target: [b'a' + target].into() }),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let count = paths().len();
    let edit = prop_oneof![
        5 => (0..count, item()).prop_map(|(at, item)| Edit::Put(at, item)),
        2 => (0..count).prop_map(Edit::Remove),
        2 => (0..count, 0..count).prop_map(|(from, to)| Edit::Rename(from, to)),
    ];
    proptest::collection::vec(edit, 0..10)
}

fn is_below(path: &ObjectPath, upper: &ObjectPath) -> bool {
    above(path).any(|it| it == *upper)
}

fn has_directory(tree: &Tree, path: &ObjectPath) -> bool {
    let parent = above(path).next();
    parent.is_none_or(|it| tree.get(&it).is_some_and(Item::is_directory))
}

fn remove(tree: &mut Tree, path: &ObjectPath) {
    tree.retain(|it, _| it != path && !is_below(it, path));
}

fn put(tree: &mut Tree, path: &ObjectPath, item: Item) {
    if has_directory(tree, path) {
        let is_same = item.is_directory() && tree.get(path).is_some_and(Item::is_directory);
        if !is_same {
            remove(tree, path);
        }
        tree.insert(path.clone(), item);
    }
}

fn edited(tree: &Tree, edits: &[Edit]) -> Tree {
    let (mut tree, paths) = (tree.clone(), paths());
    for edit in edits {
        match edit {
            Edit::Put(at, item) => put(&mut tree, &paths[*at], item.clone()),
            Edit::Remove(at) => remove(&mut tree, &paths[*at]),
            Edit::Rename(from, to) => {
                let (from, to) = (&paths[*from], &paths[*to]);
                if from == to
                    || is_below(to, from)
                    || is_below(from, to)
                    || !has_directory(&tree, to)
                {
                    continue;
                }
                let moved: Vec<_> = tree
                    .iter()
                    .filter(|(path, _)| *path == from || is_below(path, from))
                    .map(|(path, item)| (path.clone(), item.clone()))
                    .collect();
                if moved.is_empty() {
                    continue;
                }
                remove(&mut tree, from);
                remove(&mut tree, to);
                for (path, item) in moved {
                    let rest = &path.as_bytes()[from.as_bytes().len()..];
                    let to = [to.as_bytes(), rest].concat();
                    tree.insert(ObjectPath::new(&to).expect("a path"), item);
                }
            }
        }
    }
    tree
}

fn differences(agreed: &Tree, now: &Tree) -> Differences {
    let paths: BTreeSet<_> = agreed.keys().chain(now.keys()).collect();
    let differing = paths.into_iter().filter(|it| agreed.get(it) != now.get(it));
    let seen = differing.map(|it| {
        let seen = now.get(it).cloned().map_or(Seen::Nothing, Seen::Is);
        (it.clone(), seen)
    });
    seen.collect()
}

fn hide(differences: &mut Differences, path: &ObjectPath) {
    differences.retain(|it, _| !is_below(it, path));
    differences.insert(path.clone(), Seen::Unknown);
}

fn conflict_name(trees: &[Tree; 2], path: &ObjectPath) -> Option<ObjectPath> {
    let name = |number: usize| {
        ObjectPath::new(&[path.as_bytes(), b".", number.to_string().as_bytes()].concat())
    };
    let names = (0..9).filter_map(|number| name(number).ok());
    let mut names = names.filter(|it| !trees.iter().any(|tree| tree.contains_key(it)));
    names.next()
}

struct Rules(Direction, ConflictRule);

fn decide(
    agreed: &Tree,
    trees: &[Tree; 2],
    hidden: &[Option<ObjectPath>; 2],
    rules: &Rules,
) -> Plan {
    let mut found = [0, 1].map(|side| differences(agreed, &trees[side]));
    for (found, hidden) in found.iter_mut().zip(hidden) {
        if let Some(path) = hidden {
            hide(found, path);
        }
    }
    let plan = reconcile(&Given {
        agreed: &|path| agreed.get(path).cloned(),
        differences: [&found[0], &found[1]],
        direction: rules.0,
        rule: rules.1,
        conflict_name: &|path| conflict_name(trees, path),
    });
    for side in [0, 1] {
        let changes = !plan.changes[side].is_empty() || !plan.aside[side].is_empty();
        assert!(!changes || rules.0.changes(Side::BOTH[side]), "{plan:?}");
    }
    plan
}

/// Does what a plan says, as careful as a file system: nothing goes that has something in it.
fn apply(plan: &Plan, agreed: &mut Tree, trees: &mut [Tree; 2]) {
    for (side, tree) in trees.iter_mut().enumerate() {
        for Aside { path, copy, item } in &plan.aside[side] {
            assert_eq!(tree.remove(path).as_ref(), Some(item));
            assert!(has_directory(tree, copy));
            assert_eq!(tree.insert(copy.clone(), item.clone()), None);
        }
        let changes = &plan.changes[side];
        for (path, change) in changes.iter().rev() {
            assert_eq!(tree.get(path), change.from.as_ref(), "{path:?} {plan:?}");
            let goes = match (&change.from, &change.to) {
                (Some(from), Some(to)) => from.is_directory() != to.is_directory(),
                (from, to) => from.is_some() && to.is_none(),
            };
            if goes {
                tree.remove(path);
                let left: Vec<_> = tree.keys().filter(|it| is_below(it, path)).collect();
                assert!(left.is_empty(), "{left:?} in {path:?} {plan:?}");
            }
        }
        for (path, change) in changes {
            if let Some(to) = &change.to {
                assert!(has_directory(tree, path), "{path:?} {plan:?}");
                tree.insert(path.clone(), to.clone());
            }
        }
    }
    let changed = plan.changes.iter().flatten();
    let changed = changed.map(|(path, change)| (path, &change.to));
    for (path, item) in changed.chain(&plan.agreed) {
        match item {
            Some(item) => drop(agreed.insert(path.clone(), item.clone())),
            None => drop(agreed.remove(path)),
        }
    }
}

/// Returns the bytes that a side wrote since they agreed.
fn written(agreed: &Tree, tree: &Tree) -> BTreeSet<[u8; 32]> {
    let new = tree.iter().filter(|(path, item)| {
        let before = agreed.get(path);
        !before.is_some_and(|before| before.has_bytes_of(item))
    });
    new.filter_map(|(_, item)| Some(item.file()?.content.0))
        .collect()
}

fn contents(tree: &Tree) -> BTreeSet<[u8; 32]> {
    let files = tree.values().filter_map(Item::file);
    files.map(|file| file.content.0).collect()
}

fn given() -> impl Strategy<Value = (Tree, [Tree; 2])> {
    (edits(), edits(), edits()).prop_map(|(agreed, root, far)| {
        let agreed = edited(&Tree::new(), &agreed);
        let trees = [edited(&agreed, &root), edited(&agreed, &far)];
        (agreed, trees)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn both_sides_come_to_one_state_and_keep_what_was_written((mut agreed, mut trees) in given()) {
        let rules = Rules(Direction::Both, ConflictRule::Both);
        let written = [0, 1].map(|side| written(&agreed, &trees[side]));
        let plan = decide(&agreed, &trees, &[None, None], &rules);
        apply(&plan, &mut agreed, &mut trees);
        prop_assert_eq!(&trees[0], &trees[1]);
        prop_assert_eq!(&agreed, &trees[0]);
        prop_assert!(plan.held.is_empty(), "{:?}", plan);
        let there = contents(&trees[0]);
        for written in written {
            prop_assert!(written.is_subset(&there), "{:?}", plan);
        }
        let again = decide(&agreed, &trees, &[None, None], &rules);
        prop_assert_eq!(again, Plan::default());
    }

    #[test]
    fn a_rule_takes_one_side_and_both_come_to_one_state(
        (mut agreed, mut trees) in given(),
        rule in prop_oneof![Just(ConflictRule::Ours), Just(ConflictRule::Theirs)],
    ) {
        let rules = Rules(Direction::Both, rule);
        let plan = decide(&agreed, &trees, &[None, None], &rules);
        apply(&plan, &mut agreed, &mut trees);
        prop_assert_eq!(&trees[0], &trees[1]);
        prop_assert_eq!(&agreed, &trees[0]);
    }

    #[test]
    fn one_way_changes_one_side_and_loses_nothing_there(
        (mut agreed, mut trees) in given(),
        direction in prop_oneof![Just(Direction::Push), Just(Direction::Pull)],
    ) {
        let rules = Rules(direction, ConflictRule::Both);
        let before = trees.clone();
        let written = [0, 1].map(|side| written(&agreed, &trees[side]));
        let from = direction.source().index();
        let plan = decide(&agreed, &trees, &[None, None], &rules);
        apply(&plan, &mut agreed, &mut trees);
        let to = 1 - from;
        // What is kept beside another lies on the side that is changed.
        prop_assert_eq!(&trees[from], &before[from]);
        prop_assert!(written[to].is_subset(&contents(&trees[to])), "{:?}", plan);
        let again = decide(&agreed, &trees, &[None, None], &rules);
        prop_assert_eq!(&again.changes, &Plan::default().changes, "{:?}", again);
        prop_assert_eq!(&again.aside, &Plan::default().aside);
    }

    #[test]
    fn what_is_unknown_is_left_alone(
        (mut agreed, mut trees) in given(),
        hidden in 0..30_usize,
        side in 0..2_usize,
    ) {
        let rules = Rules(Direction::Both, ConflictRule::Both);
        let written = [0, 1].map(|side| written(&agreed, &trees[side]));
        let paths = paths();
        let path = &paths[hidden % paths.len()];
        let mut unknown = [None, None];
        unknown[side] = Some(path.clone());
        let at = |tree: &Tree| {
            let below = tree.iter().filter(|(it, _)| *it == path || is_below(it, path));
            below.map(|(it, item)| (it.clone(), item.clone())).collect::<Tree>()
        };
        let before = [at(&trees[0]), at(&trees[1])];
        let plan = decide(&agreed, &trees, &unknown, &rules);
        apply(&plan, &mut agreed, &mut trees);
        prop_assert_eq!([at(&trees[0]), at(&trees[1])], before, "{:?}", plan);
        // Once it is known again, all comes to one state.
        for _ in 0..2 {
            let plan = decide(&agreed, &trees, &[None, None], &rules);
            apply(&plan, &mut agreed, &mut trees);
        }
        prop_assert_eq!(&trees[0], &trees[1]);
        let there = contents(&trees[0]);
        for written in written {
            prop_assert!(written.is_subset(&there));
        }
    }
}

fn tree(items: &[(&str, Item)]) -> Tree {
    let items = items.iter().map(|(text, item)| (path(text), item.clone()));
    items.collect()
}

const DIRECTORY: Item = Item::Directory { mode: 0o755 };

/// Returns what a pass makes of two trees.
fn synced(agreed: &[(&str, Item)], root: &[(&str, Item)], far: &[(&str, Item)]) -> Tree {
    let mut agreed = tree(agreed);
    let mut trees = [tree(root), tree(far)];
    let rules = Rules(Direction::Both, ConflictRule::Both);
    let plan = decide(&agreed, &trees, &[None, None], &rules);
    apply(&plan, &mut agreed, &mut trees);
    let [root, far] = trees;
    assert_eq!(root, far);
    root
}

#[test]
fn a_file_changed_on_both_sides_is_there_twice() {
    let [old, mine, theirs] = [1, 2, 3].map(|content| file(content, 0o644, 0));
    let done = synced(
        &[("f", old)],
        &[("f", mine.clone())],
        &[("f", theirs.clone())],
    );
    assert_eq!(done, tree(&[("f", theirs), ("f.0", mine)]));
}

#[test]
fn a_deletion_against_a_change_keeps_the_change() {
    let [old, new] = [1, 2].map(|content| file(content, 0o644, 0));
    let with = |item: &Item| vec![("d", DIRECTORY), ("d/f", item.clone())];
    assert_eq!(synced(&with(&old), &[], &with(&new)), tree(&with(&new)));
    assert_eq!(synced(&with(&old), &with(&new), &[]), tree(&with(&new)));
    assert_eq!(synced(&with(&old), &with(&old), &[]), Tree::new());
}

#[test]
fn a_directory_keeps_its_name_before_a_file() {
    let [old, new, other] = [1, 2, 3].map(|content| file(content, 0o644, 0));
    let done = synced(
        &[("d", DIRECTORY), ("d/f", old.clone())],
        &[("d", other.clone())],
        &[("d", DIRECTORY), ("d/f", new.clone())],
    );
    assert_eq!(
        done,
        tree(&[("d", DIRECTORY), ("d/f", new), ("d.0", other)])
    );
    let done = synced(
        &[("d", DIRECTORY), ("d/f", old.clone())],
        &[("d", file(3, 0o644, 0))],
        &[("d", DIRECTORY), ("d/f", old)],
    );
    assert_eq!(done, tree(&[("d", file(3, 0o644, 0))]));
}

#[test]
fn modes_and_times_of_both_sides_are_joined() {
    let done = synced(
        &[("f", file(1, 0o644, 1))],
        &[("f", file(1, 0o600, 1))],
        &[("f", file(1, 0o644, 2))],
    );
    assert_eq!(done, tree(&[("f", file(1, 0o600, 2))]));
}
