use std::sync::atomic::AtomicUsize;
use std::sync::mpsc;

use super::*;

const POOL: WorkerPool = WorkerPool {
    workers: 2,
    queued_max: 1,
};

#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Pool(PoolError),
    Job(u32),
    Producer,
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

fn push_all(queue: &JobQueue<u32>, jobs: impl IntoIterator<Item = u32>) -> Result<u32, Failure> {
    let mut pushed = 0;
    for job in jobs {
        queue.push(job)?;
        pushed += 1;
    }
    Ok(pushed)
}

#[tokio::test]
async fn all_jobs_are_done_and_the_producer_is_never_far_ahead() {
    let (done, pushed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (produced, working) = (Arc::clone(&pushed), Arc::clone(&done));
    let produce = move |queue: JobQueue<u32>| {
        for job in 0..100 {
            queue.push(job)?;
            produced.fetch_add(1, Ordering::SeqCst);
        }
        Ok::<_, Failure>("all")
    };
    let work = move |_| {
        // A job may be done before the producer has counted it.
        let pushed = pushed.load(Ordering::SeqCst);
        let ahead = pushed.saturating_sub(working.load(Ordering::SeqCst));
        assert!(ahead <= POOL.workers + POOL.queued_max, "{ahead} ahead");
        working.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    assert_eq!(POOL.run(produce, work).await, Ok("all"));
    assert_eq!(done.load(Ordering::SeqCst), 100);
}

#[tokio::test]
async fn the_first_job_that_fails_ends_it() {
    let (told, seen) = mpsc::channel();
    let produce = move |queue: JobQueue<u32>| {
        let produced = push_all(&queue, 0..);
        let _ = told.send(queue.push(0));
        produced
    };
    let work = |job| match job {
        7 => Err(Failure::Job(7)),
        _ => Ok(()),
    };
    assert_eq!(POOL.run(produce, work).await, Err(Failure::Job(7)));
    assert_eq!(seen.recv(), Ok(Err(PoolError::Ended)));
}

#[tokio::test]
async fn a_failure_of_the_producer_is_told() {
    let produce = |queue: JobQueue<u32>| {
        push_all(&queue, 0..10)?;
        Err::<(), _>(Failure::Producer)
    };
    assert_eq!(POOL.run(produce, |_| Ok(())).await, Err(Failure::Producer));
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let produce = |queue: JobQueue<u32>| push_all(&queue, 0..);
    let work = |job| {
        assert!(job != 3, "as a defect would");
        Ok(())
    };
    let failed = POOL.run(produce, work).await;
    assert_eq!(failed, Err(Failure::Pool(PoolError::Panicked)));
    let produce = |_: JobQueue<u32>| -> Result<(), Failure> { panic!("as a defect would") };
    let failed = POOL.run(produce, |_| Ok(())).await;
    assert_eq!(failed, Err(Failure::Pool(PoolError::Panicked)));
}

#[tokio::test]
async fn a_pool_that_is_dropped_ends_after_the_jobs_that_it_is_at() {
    let (started, mut start) = tokio::sync::mpsc::channel(1);
    let (go_on, gone_on) = mpsc::channel::<()>();
    let gone_on = Mutex::new(gone_on);
    let (told, ended) = mpsc::channel();
    let produce = move |queue: JobQueue<u32>| {
        let produced = push_all(&queue, 0..);
        let _ = told.send(());
        produced
    };
    let work = move |_| {
        let _ = started.try_send(());
        let _ = lock(&gone_on).recv();
        Ok::<_, Failure>(())
    };
    let running = POOL.run(produce, work);
    tokio::select! {
        _ = running => panic!("the producer has no end"),
        _ = start.recv() => {}
    }
    drop(go_on);
    // Without an end of the pool the producer would push for ever.
    assert_eq!(ended.recv(), Ok(()));
}
