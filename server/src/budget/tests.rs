//! Tests of the budget, in short times.

use std::pin::pin;

use futures::FutureExt as _;

use super::*;

const MIB: usize = 1024 * 1024;
const SHORT: Times = Times {
    wait_max: Duration::from_millis(500),
    short_wait_max: Duration::from_millis(200),
    greedy_wait_max: Duration::from_millis(50),
    pressure_interval: Duration::from_millis(5),
    patience: Duration::from_millis(100),
    newcomer_patience: Duration::from_millis(50),
};

/// Returns a budget with 2 MiB for calls, 7 for newcomers and 7 for others, and a share of 4.
fn budget() -> Budget {
    Budget::with_times(16 * MIB, SHORT)
}

fn newcomer(budget: &Budget) -> (Account, CancellationToken) {
    let close = CancellationToken::new();
    (budget.account(close.clone()), close)
}

/// Returns the account of a known connection.
fn account(budget: &Budget) -> (Account, CancellationToken) {
    let (account, close) = newcomer(budget);
    account.finished_call();
    (account, close)
}

#[tokio::test]
async fn figures_tell_what_all_connections_have() {
    let budget = Budget::new(8 * MIB);
    let limit_bytes = 8 * MIB as u64;
    let figures = |used_bytes| BudgetFigures {
        used_bytes,
        limit_bytes,
    };
    let accounts = [(); 2].map(|()| budget.account(CancellationToken::new()));
    let mut held = Vec::new();
    for account in &accounts {
        held.push(account.take(100 * UNIT).await.unwrap());
    }
    assert_eq!(budget.figures(), figures(200 * UNIT as u64));
    drop(held);
    assert_eq!(budget.figures(), figures(0));
}

#[tokio::test]
async fn a_connection_gets_its_share_and_the_server_its_budget() {
    let budget = budget();
    let (first, _) = account(&budget);
    let refused = first.take(5 * MIB).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Invalid, "more than a share");
    let mut held = vec![first.take(4 * MIB).await.unwrap()];
    let refused = first.take(1).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unavailable, "its share is taken");
    let others: Vec<_> = (0..4).map(|_| account(&budget).0).collect();
    for (other, mib) in others.iter().zip([3, 4, 3]) {
        held.push(other.take(mib * MIB).await.unwrap());
    }
    let refused = others[3].take(MIB).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unavailable, "the budget is taken");
    held.pop();
    let _taken = others[3].take(2 * MIB).await.unwrap();
}

#[tokio::test]
async fn newcomers_leave_memory_for_connections_that_have_finished_a_call() {
    let budget = budget();
    let flood: Vec<_> = (0..3).map(|_| newcomer(&budget).0).collect();
    let _held = [
        flood[0].take(4 * MIB).await.unwrap(),
        flood[1].take(3 * MIB).await.unwrap(),
    ];
    let start = Instant::now();
    let refused = flood[2].take(1).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unavailable);
    assert!(start.elapsed() < SHORT.wait_max, "newcomers wait less");

    let (honest, _) = newcomer(&budget);
    let _call = honest.take_for_call(MIB / 2).await.unwrap();
    honest.finished_call();
    let message = honest.take(3 * MIB).now_or_never();
    let _message = message.expect("no wait").unwrap();
    let small = honest.take(1).now_or_never();
    let _small = small.expect("no wait").unwrap();
}

#[tokio::test]
async fn calls_of_newcomers_take_nothing_that_their_messages_need() {
    let budget = budget();
    let (flood, _) = newcomer(&budget);
    let _calls = flood.take_for_call(2 * MIB).await.unwrap();
    let refused = flood.take_for_call(1).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unavailable);
    let _message = flood.take(2 * MIB).await.unwrap();
    let (known, _) = account(&budget);
    let call = known.take_for_call(1).now_or_never();
    let _call = call.expect("no wait").unwrap();
}

#[tokio::test]
async fn a_connection_that_takes_little_is_served_before_those_that_take_much() {
    let budget = budget();
    let [holder, greedy, modest] = [0; 3].map(|_| newcomer(&budget).0);
    let _held = newcomer(&budget).0.take(4 * MIB).await.unwrap();
    let mut held = holder.take(3 * MIB).await.unwrap();
    let mut much = pin!(greedy.take(2 * MIB));
    assert!(much.as_mut().now_or_never().is_none());
    let mut little = pin!(modest.take(MIB));
    assert!(little.as_mut().now_or_never().is_none());
    drop(held.split(2 * MIB));
    let _little = little.as_mut().now_or_never().unwrap().unwrap();
    assert!(much.as_mut().now_or_never().is_none());
    drop(held);
    let _much = much.as_mut().now_or_never().unwrap().unwrap();
}

#[tokio::test]
async fn a_call_that_holds_memory_and_needs_more_goes_first_and_gives_up_soon() {
    let budget = budget();
    let [holder, honest, flood] = [0; 3].map(|_| account(&budget).0);
    let _step = holder.take(3 * MIB).await.unwrap();
    let _rest = [
        flood.take(4 * MIB).await.unwrap(),
        account(&budget).0.take(4 * MIB).await.unwrap(),
    ];
    let mut freed = account(&budget).0.take(3 * MIB).await.unwrap();
    let mut waits = pin!(honest.take(MIB));
    assert!(waits.as_mut().now_or_never().is_none());
    let mut more = pin!(holder.take_more(MIB));
    assert!(more.as_mut().now_or_never().is_none());
    drop(freed.split(MIB));
    let _more = more.as_mut().now_or_never().unwrap().unwrap();
    assert!(waits.as_mut().now_or_never().is_none());

    let start = Instant::now();
    let refused = flood.take_more(1).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Unavailable, "its share is taken");
    assert!(start.elapsed() < SHORT.wait_max, "others wait");
    drop(freed);
    let _taken = waits.as_mut().now_or_never().unwrap().unwrap();
}

#[tokio::test]
async fn a_newcomer_that_keeps_no_other_waiting_has_time() {
    let budget = budget();
    let (alone, _) = newcomer(&budget);
    let held = alone.take(4 * MIB).await.unwrap();
    let freed = async {
        sleep(SHORT.short_wait_max).await;
        drop(held);
    };
    let (taken, ()) = tokio::join!(alone.take(4 * MIB), freed);
    taken.unwrap();
}

#[tokio::test]
async fn parts_are_given_back_one_by_one() {
    let budget = budget();
    let (account, _) = newcomer(&budget);
    let mut held = account.take(2 * MIB).await.unwrap();
    let part = held.split(MIB);
    assert_eq!((held.bytes(), part.bytes()), (MIB, MIB));
    drop(part);
    let mut again = account.take(MIB).await.unwrap();
    again.merge(held);
    assert_eq!(again.bytes(), 2 * MIB);
    assert_eq!(again.split(9 * MIB).bytes(), 2 * MIB, "all that is there");
    assert_eq!(budget.pots.newcomers.free(), 7 * 1024);
}

#[tokio::test]
async fn parts_of_several_pots_go_back_where_they_came_from() {
    let budget = budget();
    let (account, _) = newcomer(&budget);
    let mut held = account.take_for_call(MIB).await.unwrap();
    held.merge(account.take(MIB).await.unwrap());
    account.finished_call();
    held.merge(account.take(MIB).await.unwrap());
    let part = held.split(MIB + MIB / 2);
    assert_eq!((held.bytes(), part.bytes()), (3 * MIB / 2, 3 * MIB / 2));
    let free = |pot: &Arc<Pot>| pot.free() / 1024;
    let Pots {
        calls,
        newcomers,
        known,
    } = &budget.pots;
    assert_eq!((free(calls), free(newcomers), free(known)), (1, 6, 6));
    drop(part);
    drop(held);
    assert_eq!((free(calls), free(newcomers), free(known)), (2, 7, 7));
}

#[tokio::test]
async fn a_client_that_lets_the_server_wait_gives_way_to_those_that_wait_for_memory() {
    let budget = budget();
    let slow: Vec<_> = (0..4).map(|_| account(&budget)).collect();
    let mut held = Vec::new();
    for ((account, _), mib) in slow.iter().zip([4, 3, 4, 3]) {
        held.push(account.take(mib * MIB).await.unwrap());
    }
    let _waits = slow[0].0.waits_for_bytes(Duration::ZERO);
    let (honest, _) = account(&budget);
    let freed = async {
        slow[0].1.cancelled().await;
        drop(held.remove(0));
    };
    let start = Instant::now();
    let (taken, ()) = tokio::join!(honest.take(MIB), freed);
    taken.unwrap();
    assert!(start.elapsed() >= SHORT.patience, "it was patient");
    assert!(slow[1..].iter().all(|(_, close)| !close.is_cancelled()));
}

#[tokio::test]
async fn a_client_that_takes_its_answers_slowly_is_not_one_that_takes_none() {
    let budget = budget();
    let (reader, reads) = account(&budget);
    let (stuck, closed) = account(&budget);
    let long = 100 * SHORT.patience;
    let _waits = [reader.waits_for_reader(long), stuck.waits_for_reader(long)];
    let later = Instant::now() + SHORT.patience;
    tokio::time::sleep_until(later).await;
    reader.took();
    assert!(budget.make_room());
    assert!(closed.is_cancelled() && !reads.is_cancelled());
    assert!(
        budget.waits.make_room(later + long),
        "no client has for ever"
    );
    assert!(reads.is_cancelled());
}

#[tokio::test]
async fn without_need_a_slow_client_stays() {
    let budget = budget();
    let (slow, close) = account(&budget);
    let _held = slow.take(MIB).await.unwrap();
    let _waiting = slow.waits_for_bytes(Duration::ZERO);
    sleep(2 * SHORT.patience).await;
    let (other, _) = account(&budget);
    let _taken = other.take(MIB).await.unwrap();
    assert!(!close.is_cancelled());
}
