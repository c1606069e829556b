use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn config() -> QueueConfig {
    QueueConfig {
        batch_files_max: 3,
        ..QueueConfig::default()
    }
}

fn state() -> State {
    State::new(config(), 1)
}

fn take(state: &mut State, now: Moment) -> Vec<FileId> {
    state.take(now, |_| Some(1)).unwrap_or_default()
}

fn passing() -> Outcome {
    Outcome::Failed(Failure::Passing("away".to_owned()))
}

fn lasting() -> Outcome {
    Outcome::Failed(Failure::Lasting("refused".to_owned()))
}

#[test]
fn a_file_is_taken_when_it_was_quiet_and_others_had_time_to_gather() {
    let mut state = state();
    state.touch(1, Moment::ZERO);
    assert_eq!(take(&mut state, SECOND / 2), []);
    state.touch(1, SECOND / 2);
    assert_eq!(
        take(&mut state, SECOND),
        [],
        "it was written to a moment ago"
    );
    assert_eq!(take(&mut state, 2 * SECOND), [], "others may come");
    assert_eq!(take(&mut state, 4 * SECOND), [1]);
    assert_eq!(take(&mut state, 9 * SECOND), [], "it is on its way");
}

#[test]
fn a_full_batch_does_not_wait_and_the_oldest_come_first() {
    let mut state = state();
    for file in [7, 5, 9, 1] {
        state.touch(file, SECOND * u32::try_from(file).expect("few") / 100);
    }
    assert_eq!(take(&mut state, 2 * SECOND), [1, 5, 7]);
    assert_eq!(take(&mut state, 2 * SECOND), []);
    assert_eq!(take(&mut state, 9 * SECOND), [9]);
}

#[test]
fn a_batch_has_few_bytes_or_one_file() {
    let mut state = state();
    for file in [1, 2, 3] {
        state.touch(file, Moment::ZERO);
    }
    let limit = config().batch_len_max;
    let len = |file| Some(if file == 1 { 2 * limit } else { limit / 2 });
    let mut next = || state.take(9 * SECOND, len);
    assert_eq!(next(), Some(vec![1]));
    assert_eq!(next(), Some(vec![2, 3]));
    assert_eq!(next(), None);
}

#[test]
fn what_is_written_to_for_ever_is_taken_all_the_same() {
    let mut state = state();
    let mut taken = None;
    for tenths in 0..1000 {
        let now = SECOND * tenths / 10;
        state.touch(1, now);
        if !take(&mut state, now).is_empty() {
            taken = Some(now);
            break;
        }
    }
    let taken = taken.expect("it is taken");
    let latest = config().quiet_max + config().gather;
    assert!(
        taken >= config().quiet_max && taken <= latest + SECOND,
        "{taken:?}"
    );
}

#[test]
fn what_is_gone_is_dropped_before_it_is_read() {
    let mut state = state();
    state.touch(1, Moment::ZERO);
    state.touch(2, Moment::ZERO);
    let batch = state.take(9 * SECOND, |file| (file == 2).then_some(1));
    assert_eq!(batch, Some(vec![2]));
    assert_eq!(state.counts().waiting, 0);
}

#[test]
fn pauses_after_failures_double_and_end_with_a_success() {
    let mut state = state();
    state.touch(1, Moment::ZERO);
    let mut now = 9 * SECOND;
    for tries in 1..20 {
        assert_eq!(take(&mut state, now), [1]);
        assert_eq!(state.finish(1, passing(), now), Some(tries));
        let ceiling = Backoff::new(config().retry_first, config().retry_max).ceiling(tries - 1);
        let gather = config().gather;
        assert_eq!(take(&mut state, now + ceiling / 3), []);
        now += ceiling + gather;
    }
    assert_eq!(take(&mut state, now), [1]);
    assert_eq!(state.finish(1, Outcome::Remote, now), None);
    assert_eq!(state.counts(), Counts::default());
    assert_eq!(state.files(), []);
}

#[test]
fn what_would_fail_again_is_set_aside_and_holds_nothing_up() {
    let mut state = state();
    for file in [1, 2] {
        state.touch(file, Moment::ZERO);
    }
    assert_eq!(take(&mut state, 9 * SECOND), [1, 2]);
    let _ = state.finish(1, lasting(), 9 * SECOND);
    let _ = state.finish(2, Outcome::Remote, 9 * SECOND);
    assert!(state.counts().is_idle());
    assert_eq!(state.counts().failed, 1);
    assert_eq!(take(&mut state, 999 * SECOND), []);
    state.retry(1000 * SECOND);
    assert_eq!(take(&mut state, 1003 * SECOND), [1]);
    let _ = state.finish(1, lasting(), 1003 * SECOND);
    // Other bytes may succeed.
    state.touch(1, 1004 * SECOND);
    assert_eq!(take(&mut state, 1009 * SECOND), [1]);
}

#[test]
fn a_hundred_thousand_files_pass_and_one_that_fails_holds_none_up() {
    const FILES: u64 = 100_000;
    const POISON: FileId = 4_711;
    let mut state = State::new(QueueConfig::default(), 1);
    for file in 0..FILES {
        state.touch(file, Moment::ZERO);
    }
    let (mut now, mut taken, mut batches) = (9 * SECOND, Vec::new(), 0);
    while let Some(batch) = state.take(now, |_| Some(1)) {
        batches += 1;
        now += SECOND;
        for file in batch {
            let outcome = if file == POISON {
                lasting()
            } else {
                Outcome::Remote
            };
            let _ = state.finish(file, outcome, now);
            taken.push(file);
        }
    }
    assert_eq!(batches, 100, "each as large as can be");
    assert!(
        taken.iter().copied().eq(0..FILES),
        "in their order, each once"
    );
    assert!(state.counts().is_idle());
    assert_eq!(state.counts().failed, 1);
}

#[test]
fn what_was_written_to_meanwhile_is_uploaded_again() {
    for outcome in [Outcome::Remote, Outcome::Skipped, lasting(), passing()] {
        let mut state = state();
        state.touch(1, Moment::ZERO);
        assert_eq!(take(&mut state, 9 * SECOND), [1]);
        state.touch(1, 9 * SECOND);
        let _ = state.finish(1, outcome.clone(), 10 * SECOND);
        assert_eq!(take(&mut state, 20 * SECOND), [1], "{outcome:?}");
    }
}

#[test]
fn nothing_begins_while_the_queue_is_paused_or_held() {
    let mut state = state();
    state.touch(1, Moment::ZERO);
    state.pause_uploads(true);
    assert!(!state.wants_executor(0, 9 * SECOND));
    assert_eq!(take(&mut state, 9 * SECOND), []);
    state.pause_uploads(false);
    state.hold();
    state.hold();
    state.release();
    assert_eq!(take(&mut state, 9 * SECOND), []);
    state.release();
    assert!(state.wants_executor(0, 9 * SECOND));
    assert_eq!(take(&mut state, 9 * SECOND), [1]);
}

#[test]
fn who_waits_does_not_wait_for_pauses() {
    let mut state = state();
    state.touch(1, Moment::ZERO);
    state.hurry(SECOND / 100);
    state.touch(2, SECOND / 100);
    assert_eq!(take(&mut state, SECOND / 100), [1, 2]);
    state.calm();
    state.touch(3, SECOND);
    assert_eq!(take(&mut state, SECOND), []);
}

#[test]
fn an_executor_is_added_while_more_than_twice_as_many_files_wait() {
    let mut state = state();
    for file in 0..7 {
        state.touch(file, Moment::ZERO);
    }
    let wanted = (0..9)
        .filter(|it| state.wants_executor(*it, 9 * SECOND))
        .count();
    assert_eq!(wanted, 4);
    for file in 7..100 {
        state.touch(file, Moment::ZERO);
    }
    assert!(state.wants_executor(9, 99 * SECOND));
    assert!(!state.wants_executor(10, 99 * SECOND));
}

#[test]
fn a_restart_goes_on_counting() {
    let mut state = state();
    state.touch(1, Moment::ZERO);
    state.touch(2, Moment::ZERO);
    state.remember(1, 6, None, Moment::ZERO);
    state.remember(2, 1, Some("refused".to_owned()), Moment::ZERO);
    state.remember(3, 1, None, Moment::ZERO);
    assert_eq!(state.counts().failed, 1);
    assert_eq!(take(&mut state, 9 * SECOND), [1]);
    assert_eq!(state.finish(1, passing(), 9 * SECOND), Some(7));
}

#[derive(Debug, Clone)]
enum Step {
    Touch(FileId),
    Take,
    Finish(FileId, Outcome),
    Retry,
    Hurry,
    Calm,
    Pause(bool),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let file = 0..6_u64;
    let outcome = prop_oneof![
        Just(Outcome::Remote),
        Just(Outcome::Skipped),
        Just(passing()),
        Just(lasting()),
    ];
    prop_oneof![
        4 => file.clone().prop_map(Step::Touch),
        4 => Just(Step::Take),
        4 => (file, outcome).prop_map(|(file, outcome)| Step::Finish(file, outcome)),
        1 => Just(Step::Retry),
        1 => Just(Step::Hurry),
        1 => Just(Step::Calm),
        1 => any::<bool>().prop_map(Step::Pause),
        3 => (0..5000_u32).prop_map(Step::Wait),
    ]
}

/// What has to be uploaded yet: written to after the bytes that became remote were taken.
#[derive(Debug, Default, Clone, Copy)]
struct Truth {
    writes: u64,
    taken: Option<u64>,
    remote: u64,
}

proptest! {
    #[test]
    fn no_file_is_lost_and_none_is_taken_twice(steps in prop::collection::vec(step(), 0..200)) {
        let mut state = state();
        let mut truth: BTreeMap<FileId, Truth> = BTreeMap::new();
        let mut now = Moment::ZERO;
        for step in steps {
            match step {
                Step::Touch(file) => {
                    truth.entry(file).or_default().writes += 1;
                    state.touch(file, now);
                }
                Step::Take => {
                    for file in take(&mut state, now) {
                        let truth = truth.get_mut(&file).expect("only what was written");
                        prop_assert_eq!(truth.taken, None);
                        prop_assert!(truth.remote < truth.writes, "it was remote");
                        truth.taken = Some(truth.writes);
                    }
                }
                Step::Finish(file, outcome) => {
                    let Some(truth) = truth.get_mut(&file) else { continue };
                    let Some(taken) = truth.taken else { continue };
                    // An uploader skips what was written to or is gone; gone files are not in this model.
                    let outcome = match outcome {
                        Outcome::Remote if truth.writes == taken => {
                            truth.remote = taken;
                            Outcome::Remote
                        }
                        Outcome::Remote | Outcome::Skipped if truth.writes > taken => Outcome::Skipped,
                        Outcome::Remote | Outcome::Skipped => passing(),
                        failed @ Outcome::Failed(_) => failed,
                    };
                    truth.taken = None;
                    let _ = state.finish(file, outcome, now);
                }
                Step::Retry => state.retry(now),
                Step::Hurry => state.hurry(now),
                Step::Calm => state.calm(),
                Step::Pause(is_paused) => state.pause_uploads(is_paused),
                Step::Wait(millis) => now += Duration::from_millis(millis.into()),
            }
            let counts = state.counts();
            let uploading = truth.values().filter(|it| it.taken.is_some()).count();
            let left = truth.values().filter(|it| it.taken.is_some() || it.remote < it.writes).count();
            prop_assert_eq!(counts.uploading, uploading);
            prop_assert_eq!(counts.waiting + counts.uploading + counts.failed, left);
            prop_assert_eq!(state.files().len(), left);
        }
        // In the end everything becomes remote.
        state.pause_uploads(false);
        for (file, truth) in &mut truth {
            if truth.taken.take().is_some() {
                let _ = state.finish(*file, passing(), now);
            }
        }
        state.retry(now);
        now += 200 * SECOND;
        while let Some(batch) = state.take(now, |_| Some(1)) {
            for file in batch {
                let _ = state.finish(file, Outcome::Remote, now);
            }
        }
        prop_assert_eq!(state.counts(), Counts::default());
    }
}
