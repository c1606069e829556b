//! Changing a version: what must hold beyond equal answers.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use lfsfs_overlay::OverlayError;
use lfsfs_remote::Call;
use lfsfs_remote::memory::MemoryTree;
use lfsfs_types::{Timestamp, nodeid};
use lfsfs_vfs::{
    Allocation, Existing, ModeEffect, Privileges, RenameMode, SetAttr, SetTime, SpecialFile, Vfs,
    VfsError, XattrMode,
};

use crate::support::noise;
use crate::writable_support::{
    LARGE_LEN, Machine, OWNER, ROOT, find, ino, list, list_some, read_all,
};

fn mode(mode: u16) -> SetAttr {
    SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    }
}

fn size(size: u64) -> SetAttr {
    SetAttr {
        size: Some(size),
        ..SetAttr::default()
    }
}

#[tokio::test]
async fn an_overlay_is_made_by_the_first_change_only() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "a/a").await;
    assert_eq!(read_all(&vfs, file).await, noise(1, 100));
    list(&vfs, ROOT).await;
    vfs.fsync(file).await.unwrap();
    // Calls that fail or change nothing make none either.
    assert!(matches!(
        vfs.unlink(ROOT, b"a").await,
        Err(VfsError::IsDirectory)
    ));
    assert!(matches!(
        vfs.rmdir(ROOT, b"a").await,
        Err(VfsError::NotEmpty)
    ));
    vfs.setattr(file, SetAttr::default()).await.unwrap();
    vfs.write(file, 5, b"", Privileges::Keep).await.unwrap();
    assert!(vfs.overlay().is_none() && !machine.overlay_dir().exists());

    vfs.setattr(file, mode(0o600)).await.unwrap();
    assert!(vfs.overlay().is_some() && machine.overlay_dir().exists());
}

/// A kernel's thread asks once, and has a task begin anew what must wait.
#[tokio::test]
async fn a_first_change_that_is_begun_anew_finds_no_lock_of_its_own() {
    for _ in 0..20 {
        // Its overlay waits for no lock.
        let machine = Machine::new();
        let vfs = machine.mount().await;
        ino(&vfs, "a/a").await;
        let mut context = Context::from_waker(Waker::noop());
        // Now and then the overlay is there before it is asked whether it is.
        let _ = pin!(vfs.mkdir(ROOT, b"asked", 0o755, OWNER)).poll(&mut context);

        vfs.mkdir(ROOT, b"new", 0o755, OWNER).await.unwrap();
        drop(vfs);
        let vfs = machine.mount().await;
        find(&vfs, "new").await.unwrap();
    }
}

#[tokio::test]
async fn a_read_only_version_shows_no_overlay_and_takes_no_change() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    vfs.mkdir(ROOT, b"new", 0o755, OWNER).await.unwrap();
    let base = machine.base().await.unwrap();
    let read_only = Vfs::read_only(base, machine.clock.clone()).unwrap();

    let absent = read_only.lookup(ROOT, b"new").await.unwrap_err();
    assert!(matches!(absent, VfsError::NotFound));
    let refused = read_only.mkdir(ROOT, b"other", 0o755, OWNER).await;
    assert!(matches!(refused, Err(VfsError::ReadOnly)), "{refused:?}");
    assert_eq!(read_only.statfs(), read_only.base().statfs());
    assert_eq!(list(&read_only, ROOT).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_changed_file_keeps_its_number_while_mounted_and_after() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let before = ino(&vfs, "a/b").await;
    vfs.write(before, 10, b"x", Privileges::Keep).await.unwrap();
    assert_eq!(ino(&vfs, "a/b").await, before);
    let directory = ino(&vfs, "a").await;
    vfs.rename(directory, b"b", ROOT, b"moved", RenameMode::Replace)
        .await
        .unwrap();
    assert_eq!(ino(&vfs, "moved").await, before);
    drop(vfs);
    let vfs = machine.mount().await;
    assert_eq!(ino(&vfs, "moved").await, before);
    assert_eq!(ino(&vfs, "a").await, directory);
}

/// A kernel that gathers writes has told the times that it shows, or will.
#[tokio::test]
async fn gathered_writes_leave_the_times_as_they_are() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "d").await;
    let at = |secs| Timestamp { secs, nanos: 7 };
    for (mtime, ctime) in [(at(1_000), at(1_000)), (at(1_000), at(2_000))] {
        let times = SetAttr {
            mtime: Some(SetTime::At(mtime)),
            ctime: Some(ctime),
            ..SetAttr::default()
        };
        let set = vfs.setattr(file, times).await.unwrap();
        let written = vfs.write_gathered(file, 3, b"gathered", Privileges::Keep);
        written.await.unwrap();
        let attr = vfs.getattr(file).await.unwrap();
        assert_eq!((attr.mtime, attr.ctime), (mtime, ctime));
        assert_eq!(attr.atime, set.atime);
        assert_eq!(vfs.read(file, 3, 8).await.unwrap(), "gathered");
    }
}

#[tokio::test]
async fn appending_to_a_base_file_copies_none_of_its_blocks() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "d").await;
    machine.remote.take_calls();
    vfs.write(file, LARGE_LEN as u64, b"tail", Privileges::Keep)
        .await
        .unwrap();
    vfs.write(file, 7, b"head", Privileges::Keep).await.unwrap();
    assert_eq!(
        machine.remote.take_calls().of(Call::ReadChunk),
        0,
        "nothing is fetched to write"
    );
    assert!(
        machine.log_len() < 1000,
        "the log has {} bytes",
        machine.log_len()
    );

    let mut expected = noise(5, LARGE_LEN);
    expected[7..11].copy_from_slice(b"head");
    expected.extend_from_slice(b"tail");
    assert!(read_all(&vfs, file).await == expected);
    drop(vfs);
    let vfs = machine.mount().await;
    let file = ino(&vfs, "d").await;
    assert!(read_all(&vfs, file).await == expected);
}

#[tokio::test]
async fn a_file_cut_and_grown_again_shows_zeros_and_not_the_base() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "a/b").await;
    vfs.setattr(file, size(100)).await.unwrap();
    vfs.setattr(file, size(6000)).await.unwrap();
    let mut expected = noise(2, 5000);
    expected.truncate(100);
    expected.resize(6000, 0);
    assert_eq!(read_all(&vfs, file).await, expected);
    assert_eq!(vfs.read(file, 5999, 100).await.unwrap(), vec![0]);
    assert!(vfs.read(file, 6000, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_write_beyond_the_end_leaves_a_hole() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "a/a").await;
    let far = 1 << 40;
    vfs.write(file, far, b"far", Privileges::Keep)
        .await
        .unwrap();
    assert_eq!(vfs.getattr(file).await.unwrap().size, far + 3);
    assert_eq!(
        vfs.read(file, 98, 4).await.unwrap(),
        [&noise(1, 100)[98..], &[0, 0]].concat()
    );
    assert_eq!(vfs.read(file, far - 2, 10).await.unwrap(), &b"\0\0far"[..]);
    assert!(machine.log_len() < 1000);
    let beyond = vfs
        .write(file, i64::MAX as u64 - 1, b"far", Privileges::Keep)
        .await;
    assert!(matches!(beyond, Err(VfsError::FileTooLarge)), "{beyond:?}");
    let beyond = vfs.setattr(file, size(u64::MAX)).await;
    assert!(matches!(beyond, Err(VfsError::FileTooLarge)), "{beyond:?}");
}

#[tokio::test]
async fn a_removed_file_lives_until_it_is_forgotten() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let directory = ino(&vfs, "a").await;
    let file = vfs.lookup(directory, b"b").await.unwrap().attr.ino;
    vfs.unlink(directory, b"b").await.unwrap();
    assert!(matches!(
        vfs.lookup(directory, b"b").await,
        Err(VfsError::NotFound)
    ));
    vfs.write(file, 0, b"orphan", Privileges::Keep)
        .await
        .unwrap();
    assert_eq!(vfs.getattr(file).await.unwrap().nlink, 0);
    assert_eq!(read_all(&vfs, file).await[..6], *b"orphan");
    assert_eq!(read_all(&vfs, file).await[6..], noise(2, 5000)[6..]);
    let again = vfs.link(file, ROOT, b"again").await;
    assert!(matches!(again, Err(VfsError::NotFound)), "{again:?}");

    // A new file of that name is another one.
    let new = vfs
        .create(directory, b"b", 0o600, OWNER, Existing::Refuse)
        .await
        .unwrap()
        .attr;
    assert_ne!(new.ino, file);
    vfs.forget(file, 1);
    vfs.syncfs().await.unwrap();
    assert!(matches!(vfs.getattr(file).await, Err(VfsError::Stale)));
    let orphans = vfs.overlay().unwrap().state().orphans().count();
    assert_eq!(orphans, 0, "the overlay dropped it");
}

#[tokio::test]
async fn many_removed_files_are_dropped_without_a_sync() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    for index in 0..200 {
        let name = format!("f{index}");
        let made = vfs
            .create(ROOT, name.as_bytes(), 0o600, OWNER, Existing::Refuse)
            .await;
        vfs.unlink(ROOT, name.as_bytes()).await.unwrap();
        let file = made.unwrap().attr.ino;
        vfs.forget(file, 1);
        // Once too often must not keep the others from being dropped.
        vfs.forget(file, 1);
    }
    let orphans = vfs.overlay().unwrap().state().orphans().count();
    assert!(orphans < 64, "{orphans} orphans are kept");
}

#[tokio::test]
async fn an_access_time_stays_what_it_was_set_to() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "a/b").await;
    let at = |secs| {
        let nanos = 5;
        Some(SetTime::At(Timestamp { secs, nanos }))
    };
    let times = |atime, mtime| SetAttr {
        atime,
        mtime,
        ..SetAttr::default()
    };
    let before = vfs.getattr(file).await.unwrap();
    assert_eq!(before.atime, before.mtime, "no program set it");
    // The mtime alone leaves it as it was seen.
    let attr = vfs.setattr(file, times(None, at(7_000))).await.unwrap();
    assert_eq!((attr.atime, attr.mtime.secs), (before.atime, 7_000));
    let attr = vfs.setattr(file, times(at(1 << 32), None)).await.unwrap();
    assert_eq!((attr.atime.secs, attr.atime.nanos), (1 << 32, 5));
    assert_eq!(attr.mtime.secs, 7_000);
    vfs.write(file, 0, b"new", Privileges::Keep).await.unwrap();
    drop(vfs);
    let vfs = machine.mount().await;
    let file = ino(&vfs, "a/b").await;
    assert_eq!(vfs.getattr(file).await.unwrap().atime.secs, 1 << 32);
}

#[tokio::test]
async fn the_timer_drops_a_removed_file_with_its_space() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let made = vfs
        .create(ROOT, b"large", 0o600, OWNER, Existing::Refuse)
        .await;
    let file = made.unwrap().attr.ino;
    let bytes = noise(1, 1 << 20);
    vfs.write(file, 0, &bytes, Privileges::Keep).await.unwrap();
    vfs.unlink(ROOT, b"large").await.unwrap();
    let content_bytes = || vfs.overlay().unwrap().stats().unwrap().content_bytes;
    vfs.tidy_and_sync_if_due(Instant::now()).await.unwrap();
    assert_eq!(content_bytes(), 1 << 20, "it is open");
    vfs.forget(file, 1);
    vfs.tidy_and_sync_if_due(Instant::now()).await.unwrap();
    assert_eq!(content_bytes(), 0);
}

#[tokio::test]
async fn names_of_one_base_file_change_together() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let (first, second) = (ino(&vfs, "b/b").await, ino(&vfs, "c").await);
    assert_eq!(first, second);
    vfs.write(first, 0, b"both", Privileges::Keep)
        .await
        .unwrap();
    drop(vfs);
    let vfs = machine.mount().await;
    let directory = ino(&vfs, "b").await;
    assert_eq!(read_all(&vfs, ino(&vfs, "c").await).await[..4], *b"both");
    vfs.unlink(directory, b"b").await.unwrap();
    let left = find(&vfs, "c").await.unwrap();
    assert_eq!((left.nlink, left.ino), (1, first));
    vfs.link(left.ino, directory, b"new").await.unwrap();
    assert_eq!(find(&vfs, "b/new").await.unwrap().nlink, 2);
}

#[tokio::test]
async fn no_directory_gets_into_itself() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let (a, c) = (ino(&vfs, "a").await, ino(&vfs, "a/c").await);
    let renames = [
        (ROOT, "a", a, "x", RenameMode::Replace),
        (ROOT, "a", c, "x", RenameMode::Replace),
        (ROOT, "a", c, "a", RenameMode::Exchange),
        (c, "a", ROOT, "a", RenameMode::Exchange),
    ];
    for (from, name, to, new_name, mode) in renames {
        let result = vfs
            .rename(from, name.as_bytes(), to, new_name.as_bytes(), mode)
            .await;
        assert!(
            matches!(result, Err(VfsError::Invalid)),
            "{name} {new_name} {result:?}"
        );
    }
    let over_parent = vfs.rename(a, b"c", ROOT, b"a", RenameMode::Replace).await;
    assert!(
        matches!(over_parent, Err(VfsError::NotEmpty)),
        "{over_parent:?}"
    );

    // After a move the way up is another one.
    vfs.rename(a, b"c", ROOT, b"c2", RenameMode::Replace)
        .await
        .unwrap();
    vfs.rename(ROOT, b"a", c, b"a2", RenameMode::Replace)
        .await
        .unwrap();
    let back = vfs.rename(ROOT, b"c2", a, b"x", RenameMode::Replace).await;
    assert!(matches!(back, Err(VfsError::Invalid)), "{back:?}");
}

#[tokio::test]
async fn moving_a_large_base_directory_costs_the_same_as_a_small_one() {
    const FILES: usize = 10_000;
    let mut tree = MemoryTree::new();
    tree.directory("small").directory("large").directory("to");
    for index in 0..FILES {
        tree.file(&format!("large/f{index:05}"), b"");
    }
    let machine = Machine::with(&tree);
    let vfs = machine.mount().await;
    let to = ino(&vfs, "to").await;
    vfs.mkdir(ROOT, b"warm", 0o755, OWNER).await.unwrap();
    // A kernel has looked the new name up, so the directory that gets it is known.
    list(&vfs, to).await;
    let mut costs = Vec::new();
    for name in [b"small", b"large"] {
        machine.remote.take_calls();
        let before = (machine.log_len(), vfs.overlay().unwrap().stats().unwrap());
        vfs.rename(ROOT, name, to, name, RenameMode::Replace)
            .await
            .unwrap();
        let after = (machine.log_len(), vfs.overlay().unwrap().stats().unwrap());
        assert_eq!(
            machine.remote.take_calls().of(Call::ListDirectory),
            0,
            "nothing is listed"
        );
        costs.push((
            after.0 - before.0,
            after.1.unsynced_records - before.1.unsynced_records,
        ));
    }
    assert!(
        costs
            .iter()
            .all(|(bytes, records)| *bytes < 400 && *records <= 4),
        "{costs:?}"
    );
    let large = ino(&vfs, "to/large").await;
    assert_eq!(list(&vfs, large).await.len(), FILES);
    assert_eq!(list(&vfs, ROOT).await, ["to", "warm"]);
}

#[tokio::test]
async fn an_entry_that_stays_is_listed_once_while_others_come_and_go() {
    let mut tree = MemoryTree::new();
    for index in 0..300 {
        tree.file(&format!("f{index:03}"), b"x");
    }
    let machine = Machine::with(&tree);
    let vfs = machine.mount().await;
    let (mut seen, mut offset) = (Vec::new(), 0);
    for round in 0.. {
        let part = list_some(&vfs, ROOT, &mut offset, 7).await;
        if part.is_empty() {
            break;
        }
        seen.extend(part);
        // Names divisible by three go, others are replaced, changed or come.
        let gone = format!("f{:03}", round * 3 % 300);
        assert!(matches!(
            vfs.unlink(ROOT, gone.as_bytes()).await,
            Ok(()) | Err(VfsError::NotFound)
        ));
        let new = format!("new{round}");
        vfs.create(ROOT, new.as_bytes(), 0o600, OWNER, Existing::Refuse)
            .await
            .unwrap();
        let over = format!("f{:03}", (round * 3 + 1) % 300);
        vfs.rename(
            ROOT,
            new.as_bytes(),
            ROOT,
            over.as_bytes(),
            RenameMode::Replace,
        )
        .await
        .unwrap();
        let changed = find(&vfs, &format!("f{:03}", (round * 3 + 2) % 300))
            .await
            .unwrap();
        vfs.setattr(changed.ino, mode(0o600)).await.unwrap();
        let made = format!("made{round}");
        vfs.mkdir(ROOT, made.as_bytes(), 0o700, OWNER)
            .await
            .unwrap();
    }
    for index in (0..300).filter(|index| index % 3 != 0) {
        let name = format!("f{index:03}");
        let count = seen.iter().filter(|it| **it == name).count();
        assert_eq!(count, 1, "{name} was listed {count} times");
    }
    let before = list(&vfs, ROOT).await;
    drop(vfs);
    assert_eq!(list(&machine.mount().await, ROOT).await, before);
}

#[tokio::test]
async fn what_a_caller_may_not_keep_is_cleared_with_the_content() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "a/a").await;
    let after = async |privileges, start| {
        vfs.setattr(file, mode(start)).await.unwrap();
        let effect = vfs.write(file, 0, b"x", privileges).await.unwrap().mode;
        let written = vfs.getattr(file).await.unwrap().mode;
        vfs.setattr(file, mode(start)).await.unwrap();
        let cut = SetAttr {
            privileges,
            ..size(50)
        };
        assert_eq!(vfs.setattr(file, cut).await.unwrap().mode, written);
        vfs.setattr(file, mode(start)).await.unwrap();
        let punch = vfs.fallocate(file, 0, 9, Allocation::PunchHole, privileges);
        assert_eq!(punch.await.unwrap(), effect, "a kernel must hear of it");
        assert_eq!(effect == ModeEffect::Cleared, written != start);
        assert_eq!(vfs.getattr(file).await.unwrap().mode, written);
        written
    };
    assert_eq!(after(Privileges::Keep, 0o6755).await, 0o6755);
    assert_eq!(after(Privileges::Kill, 0o6755).await, 0o755);
    assert_eq!(
        after(Privileges::Kill, 0o6745).await,
        0o2745,
        "no group may run it"
    );
    // A new owner takes them away, also if root gives it, and the capabilities of the file too.
    vfs.setattr(file, mode(0o6755)).await.unwrap();
    vfs.setxattr(file, b"security.capability", b"all", XattrMode::Set)
        .await
        .unwrap();
    let owner = SetAttr {
        uid: Some(5),
        ..SetAttr::default()
    };
    assert_eq!(vfs.setattr(file, owner).await.unwrap().mode, 0o755);
    let found = vfs.getxattr(file, b"security.capability").await;
    assert!(matches!(found, Err(VfsError::NoAttribute)), "{found:?}");
    vfs.setxattr(file, b"security.capability", b"all", XattrMode::Set)
        .await
        .unwrap();
    vfs.write(file, 0, b"x", Privileges::Keep).await.unwrap();
    assert!(vfs.listxattr(file).await.unwrap().is_empty());
    // A directory keeps its own.
    let directory = ino(&vfs, "b").await;
    assert_eq!(vfs.setattr(directory, owner).await.unwrap().mode, 0o2775);
}

#[tokio::test]
async fn new_objects_inherit_the_group_of_a_setgid_directory() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let directory = ino(&vfs, "b").await;
    let made = vfs
        .mkdir(directory, b"below", 0o755, OWNER)
        .await
        .unwrap()
        .attr;
    assert_eq!((made.mode, made.gid), (0o2755, 77));
    let made = vfs
        .mknod(made.ino, b"pipe", SpecialFile::Fifo, 0o600, OWNER)
        .await
        .unwrap()
        .attr;
    assert_eq!((made.mode, made.uid, made.gid), (0o600, 0, 77));
}

#[tokio::test]
async fn times_come_from_the_clock_or_the_caller() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let old = find(&vfs, "a/a").await.unwrap();
    machine.tick();
    let now = SetAttr {
        mtime: Some(SetTime::Now),
        ..SetAttr::default()
    };
    let attr = vfs.setattr(old.ino, now).await.unwrap();
    assert_eq!((attr.mtime.secs, attr.mtime), (2_000_000_000, attr.ctime));
    let old_time = SetAttr {
        mtime: Some(SetTime::At(old.mtime)),
        ..SetAttr::default()
    };
    machine.tick();
    let set = vfs.setattr(old.ino, old_time).await.unwrap();
    assert_eq!(set.mtime, old.mtime);
    assert!(set.ctime > attr.ctime);
}

#[tokio::test]
async fn an_attribute_that_is_set_to_what_it_is_changes_nothing() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "a/a").await;
    let set = async |value: &[u8]| {
        machine.tick();
        vfs.setxattr(file, b"user.a", value, XattrMode::Set)
            .await
            .unwrap();
        vfs.getattr(file).await.unwrap().ctime
    };
    let first = set(b"value").await;
    assert_eq!(set(b"value").await, first);
    assert!(set(b"other").await > first);
}

#[tokio::test]
async fn attributes_have_the_limits_of_the_kernel() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let file = ino(&vfs, "a/a").await;
    let long = [b"user.".as_slice(), &[b'x'; 250]].concat();
    let value = vec![7; 64 * 1024];
    vfs.setxattr(file, &long, &value, XattrMode::Create)
        .await
        .unwrap();
    assert_eq!(vfs.getxattr(file, &long).await.unwrap(), value);
    let too_long = vfs
        .setxattr(file, &[long.as_slice(), b"x"].concat(), b"", XattrMode::Set)
        .await;
    assert!(matches!(too_long, Err(VfsError::AttributeNameTooLong)));
    let too_large = vfs
        .setxattr(file, b"user.a", &vec![0; value.len() + 1], XattrMode::Set)
        .await;
    assert!(matches!(too_large, Err(VfsError::AttributeTooLarge)));
    let list = vfs
        .setxattr(file, b"system.posix_acl_access", b"", XattrMode::Set)
        .await;
    assert!(matches!(list, Err(VfsError::Unsupported { .. })));
    let version = vfs
        .setxattr(nodeid::ROOT, b"user.lfsfs.version", b"", XattrMode::Set)
        .await;
    assert!(matches!(version, Err(VfsError::NotPermitted)));
    for index in 0.. {
        let name = format!("user.{index:0>240}");
        match vfs
            .setxattr(file, name.as_bytes(), b"", XattrMode::Set)
            .await
        {
            Ok(()) => assert!(index < 1024),
            Err(error) => {
                assert!(matches!(error, VfsError::NoSpace), "{error:?}");
                break;
            }
        }
    }
    assert!(vfs.listxattr(file).await.unwrap().len() <= 64 * 1024);
    vfs.setxattr(nodeid::ROOT, b"user.own", b"1", XattrMode::Set)
        .await
        .unwrap();
    let version = vfs
        .getxattr(nodeid::ROOT, b"user.lfsfs.version")
        .await
        .unwrap();
    assert_eq!(version, &b"app@v1"[..], "the root has it still");
}

#[tokio::test]
async fn names_of_all_lengths_get_the_right_error() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let longest = [b'n'; 255];
    vfs.mkdir(ROOT, &longest, 0o755, OWNER).await.unwrap();
    vfs.lookup(ROOT, &longest).await.unwrap();
    let long = [b'n'; 256];
    assert!(matches!(
        vfs.mkdir(ROOT, &long, 0o755, OWNER).await,
        Err(VfsError::NameTooLong)
    ));
    assert!(matches!(
        vfs.lookup(ROOT, &long).await,
        Err(VfsError::NameTooLong)
    ));
    let target = vfs.symlink(ROOT, b"l", &[b't'; 4096], OWNER).await;
    assert!(matches!(target, Err(VfsError::NameTooLong)));
    let inside = vfs.mkdir(ROOT, b"a/b", 0o755, OWNER).await;
    assert!(matches!(inside, Err(VfsError::Invalid)));
    let unknown = vfs.mkdir(12_345, b"x", 0o755, OWNER).await;
    assert!(matches!(unknown, Err(VfsError::Stale)));
}

#[tokio::test]
async fn changes_of_another_version_are_refused_and_so_is_an_overlay_in_use() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    vfs.mkdir(ROOT, b"new", 0o755, OWNER).await.unwrap();
    let second = machine.try_mount(&machine.overlay_dir()).await.unwrap_err();
    let VfsError::Overlay { source } = &second else {
        panic!("{second:?}")
    };
    assert!(matches!(**source, OverlayError::InUse { .. }), "{source:?}");
    drop(vfs);
    machine.remote.serve("app", 8, &MemoryTree::new(), 1 << 20);
    let other = machine.try_mount(&machine.overlay_dir()).await.unwrap_err();
    let VfsError::Overlay { source } = &other else {
        panic!("{other:?}")
    };
    assert!(
        matches!(**source, OverlayError::OtherProject { .. }),
        "{source:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_away_fails_a_change_and_changes_nothing() {
    let machine = Machine::new();
    let vfs = machine.mount().await;
    let directory = ino(&vfs, "a").await;
    let faults = lfsfs_remote::memory::Faults {
        is_down: true,
        ..Default::default()
    };
    machine.remote.set_faults(faults);
    // What is below the directory is not known yet.
    let made = tokio::time::timeout(
        Duration::from_secs(20),
        vfs.mkdir(directory, b"new", 0o755, OWNER),
    );
    let made = made.await.unwrap();
    assert!(
        matches!(made, Err(VfsError::Timeout { .. } | VfsError::Io { .. })),
        "{made:?}"
    );
    // What is known can be changed.
    vfs.mkdir(ROOT, b"new", 0o755, OWNER).await.unwrap();
    machine.remote.set_faults(Default::default());
    assert_eq!(list(&vfs, directory).await, ["a", "b", "c"]);
    vfs.mkdir(directory, b"new", 0o755, OWNER).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_write_at_once_lose_nothing() {
    let machine = Machine::new();
    let vfs = std::sync::Arc::new(machine.mount().await);
    let shared = ino(&vfs, "d").await;
    let work = |task: u64| {
        let vfs = std::sync::Arc::clone(&vfs);
        async move {
            for round in 0..100_u64 {
                let name = format!("t{task}-{round}");
                let made = vfs
                    .create(ROOT, name.as_bytes(), 0o600, OWNER, Existing::Refuse)
                    .await;
                let file = made.unwrap().attr.ino;
                vfs.write(file, round, name.as_bytes(), Privileges::Keep)
                    .await
                    .unwrap();
                let at = (task * 100 + round) * 8;
                vfs.write(shared, at, &at.to_be_bytes(), Privileges::Keep)
                    .await
                    .unwrap();
                let renamed = format!("done-{name}");
                let mode = RenameMode::NoReplace;
                vfs.rename(ROOT, name.as_bytes(), ROOT, renamed.as_bytes(), mode)
                    .await
                    .unwrap();
                assert_eq!(
                    read_all(&vfs, file).await[usize::try_from(round).unwrap()..],
                    *name.as_bytes()
                );
                vfs.forget(file, 1);
            }
        }
    };
    let tasks: Vec<_> = (0..4).map(|task| tokio::spawn(work(task))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    drop(vfs);
    let vfs = machine.mount().await;
    let names = list(&vfs, ROOT).await;
    assert_eq!(
        names.iter().filter(|it| it.starts_with("done-t")).count(),
        400
    );
    let shared = ino(&vfs, "d").await;
    for at in (0..3200_u64).step_by(8) {
        assert_eq!(
            vfs.read(shared, at, 8).await.unwrap(),
            &at.to_be_bytes()[..]
        );
    }
    assert_eq!(
        vfs.read(shared, 3200, 8).await.unwrap(),
        noise(5, LARGE_LEN)[3200..3208]
    );
}
