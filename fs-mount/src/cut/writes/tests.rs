use super::*;

const FAR: Duration = Duration::from_secs(20);

fn span(ino: u64, offset: u64, len: usize) -> Span {
    let origin = Origin::Call;
    Span {
        ino,
        offset,
        len,
        origin,
    }
}

fn write(writes: &Arc<Writes>, span: Span) {
    drop(writes.begin(span).expect("the gate is open"));
}

#[test]
fn a_call_may_go_on_behind_a_page_and_behind_a_full_request() {
    let writes = Arc::new(Writes::default());
    write(&writes, span(1, 100, 8_092));
    write(&writes, span(2, 100, REQUEST_BYTES_MAX as usize));
    write(&writes, span(3, 0, 100));
    let now = Instant::now();
    let unheld = |age| {
        let mut unheld = writes.unheld(now + age);
        unheld.sort_unstable();
        unheld
    };
    assert_eq!(unheld(Duration::ZERO), [1, 2, 3]);
    assert_eq!(unheld(RECENT / 2), [1, 2], "the third call is complete");
    assert_eq!(unheld(RECENT * 2), [0; 0]);
    let _in_flight = writes.begin(span(3, 100, 100));
    assert_eq!(unheld(RECENT * 2), [3]);
}

#[test]
fn a_held_file_need_not_be_held_again_before_it_is_released() {
    let writes = Arc::new(Writes::default());
    write(&writes, span(1, 0, 4_096));
    writes.await_holds(&[1]);
    assert_eq!(writes.unheld(Instant::now()), [0; 0]);
    writes.release();
    assert_eq!(writes.unheld(Instant::now()), [1]);
}

#[test]
fn closing_waits_for_a_request_but_not_for_ever() {
    let writes = Arc::new(Writes::default());
    let write = writes.begin(span(1, 0, 10));
    assert!(!writes.close(Instant::now() + Duration::from_millis(10)));
    drop(write);
    assert!(writes.close(Instant::now() + FAR));
}

#[tokio::test]
async fn a_request_waits_until_the_moment_is_over() {
    let writes = Arc::new(Writes::default());
    assert!(writes.close(Instant::now() + FAR));
    assert!(writes.begin(span(1, 0, 10)).is_none());
    let waiting = tokio::spawn({
        let writes = Arc::clone(&writes);
        async move { writes.begin_later(span(1, 0, 10)).await.span.ino }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    writes.release();
    assert_eq!(waiting.await.expect("no panic"), 1);
}

#[test]
fn the_calls_of_files_to_be_held_come_to_their_end_and_no_other_begins() {
    let writes = Arc::new(Writes::default());
    write(&writes, span(1, 0, 4_096));
    assert!(writes.close(Instant::now() + FAR));
    writes.await_holds(&[1]);
    write(&writes, span(1, 4_096, 100));
    assert!(writes.begin(span(2, 0, 100)).is_none());
    assert_eq!(writes.note_held(1), Some(0));
    assert!(writes.begin(span(1, 4_196, 100)).is_none(), "a new call");
    assert_eq!(writes.unheld(Instant::now()), [0; 0]);
}

#[tokio::test]
async fn a_sync_of_a_held_file_waits_until_the_moment_is_over() {
    let writes = Arc::new(Writes::default());
    writes.pass_fsync(1).await;
    writes.await_holds(&[1]);
    writes.pass_fsync(2).await;
    assert!(!writes.wait_for_holds(&[1], Instant::now()));
    let pass = || {
        let writes = Arc::clone(&writes);
        tokio::spawn(async move { writes.pass_fsync(1).await })
    };
    let waiting = pass();
    tokio::task::yield_now().await;
    assert!(writes.wait_for_holds(&[1], Instant::now() + FAR));
    assert!(!waiting.is_finished());
    // The next moment begins before the one who waited for the end of the first has run.
    writes.release();
    writes.await_holds(&[1]);
    waiting.await.expect("no panic");
    let waiting = pass();
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    writes.release();
    waiting.await.expect("no panic");
}

#[test]
fn pages_that_the_kernel_sends_are_waited_for() {
    let writes = Arc::new(Writes::default());
    let now = Instant::now();
    write(&writes, span(1, 0, 10));
    assert!(writes.is_silent(now), "a call is waited for by its caller");
    let pages = writes.begin(Span {
        origin: Origin::Pages,
        ..span(1, 0, 10)
    });
    assert!(!writes.is_silent(now + FAR));
    drop(pages);
    assert!(!writes.is_silent(Instant::now()));
    assert!(writes.is_silent(now + FAR));
}
