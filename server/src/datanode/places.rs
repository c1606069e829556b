//! The places of uploads: so many chunks are written at the same time, a connection has a share of
//! these, and an upload that comes slowly gives way to those that wait.
//!
//! Copies that other datanodes send have places of their own. An upload keeps its place until others have
//! their copies: with one pool, two datanodes whose uploads have all places would wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lfsfs_transfer::SenderRate;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Chunks that are written at the same time; more of them wait.
const UPLOADS_MAX: usize = 64;

/// The places of a datanode.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    free_for_copies: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

/// Held for moments, and while no other lock is.
#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by_number: HashMap<u64, Upload>,
}

#[derive(Debug)]
struct Upload {
    rate: SenderRate,
    /// Since when the upload waits for its sender.
    waiting: Option<Instant>,
    give_way: CancellationToken,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(UPLOADS_MAX)),
            free_for_copies: Arc::new(Semaphore::new(UPLOADS_MAX)),
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, first of those of the connection, then of all. Waits for ever.
    pub(super) async fn take(self: &Arc<Self>, connection: &Arc<Semaphore>) -> Option<Place> {
        let own = Arc::clone(connection).acquire_owned().await.ok()?;
        let shared = Arc::clone(&self.free).acquire_owned().await.ok()?;
        Some(self.place(vec![own, shared]))
    }

    /// Takes a place for a copy. Waits for ever.
    pub(super) async fn take_for_copy(self: &Arc<Self>) -> Option<Place> {
        let shared = Arc::clone(&self.free_for_copies)
            .acquire_owned()
            .await
            .ok()?;
        Some(self.place(vec![shared]))
    }

    fn place(self: &Arc<Self>, permits: Vec<OwnedSemaphorePermit>) -> Place {
        let give_way = CancellationToken::new();
        let mut taken = self.taken();
        taken.next += 1;
        let number = taken.next;
        let upload = Upload {
            rate: SenderRate::default(),
            waiting: None,
            give_way: give_way.clone(),
        };
        taken.by_number.insert(number, upload);
        Place {
            places: Arc::clone(self),
            number,
            give_way,
            _permits: permits,
        }
    }

    /// Ends the slowest upload, if it is slow enough for that.
    pub(super) fn make_room(&self, now: Instant) -> bool {
        let taken = self.taken();
        let gives_way =
            |upload: &&Upload| !upload.give_way.is_cancelled() && upload.rate_at(now).gives_way();
        let slow = taken.by_number.values().filter(gives_way);
        let Some(slowest) = slow.min_by_key(|upload| upload.rate_at(now).bytes_per_second()) else {
            return false;
        };
        slowest.give_way.cancel();
        true
    }
}

impl Upload {
    fn rate_at(&self, now: Instant) -> SenderRate {
        let waiting = self
            .waiting
            .map(|since| now.saturating_duration_since(since));
        self.rate.after(waiting.unwrap_or(Duration::ZERO))
    }
}

/// A place that an upload has; dropping it gives it to the next.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    /// Cancelled when the upload must end to make room for others.
    pub(super) give_way: CancellationToken,
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Place {
    /// Notes that the upload waits for its sender.
    pub(super) fn waits(&self, now: Instant) {
        self.change(|upload| upload.waiting = Some(now));
    }

    /// Notes what the sender has sent meanwhile, and returns its rate.
    pub(super) fn received(&self, bytes: u64, now: Instant) -> SenderRate {
        let mut rate = SenderRate::default();
        self.change(|upload| {
            let since = upload.waiting.take().unwrap_or(now);
            upload
                .rate
                .received(bytes, now.saturating_duration_since(since));
            rate = upload.rate;
        });
        rate
    }

    fn change(&self, change: impl FnOnce(&mut Upload)) {
        if let Some(upload) = self.places.taken().by_number.get_mut(&self.number) {
            change(upload);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn connection() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(16))
    }

    #[tokio::test]
    async fn a_connection_has_a_share_and_leaves_the_rest_to_others() {
        let places = Places::new();
        let (greedy, honest) = (connection(), connection());
        let mut held = Vec::new();
        while let Some(place) = places.take(&greedy).now_or_never() {
            held.push(place);
        }
        assert_eq!(held.len(), 16);
        assert!(places.take(&honest).now_or_never().is_some());
    }

    #[tokio::test]
    async fn copies_have_places_when_uploads_have_none() {
        let places = Places::new();
        let mut held = Vec::new();
        for _ in 0..UPLOADS_MAX {
            held.push(places.take(&connection()).await.unwrap());
        }
        // One poll of a task may take so many permits.
        tokio::task::yield_now().await;
        assert!(places.take(&connection()).now_or_never().is_none());
        assert!(places.take_for_copy().now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_slowest_upload_alone_gives_way() {
        let places = Places::new();
        let own = connection();
        let start = Instant::now();
        let [fast, slow, stuck] = [
            places.take(&own).await.unwrap(),
            places.take(&own).await.unwrap(),
            places.take(&own).await.unwrap(),
        ];
        let later = start + Duration::from_secs(20);
        for place in [&fast, &slow, &stuck] {
            place.waits(start);
        }
        assert!(
            !places.make_room(start + Duration::from_secs(5)),
            "too early"
        );
        for (place, bytes) in [(&fast, 100_000_000), (&slow, 100_000)] {
            place.received(bytes, later);
        }
        assert!(places.make_room(later));
        assert!(stuck.give_way.is_cancelled() && !slow.give_way.is_cancelled());
        assert!(places.make_room(later));
        assert!(slow.give_way.is_cancelled());
        assert!(!places.make_room(later));
        assert!(!fast.give_way.is_cancelled());
    }
}
