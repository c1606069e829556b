//! The calls of a server, counted by method and status code, and how long they took.
//!
//! A call adds to a handful of atomics that have no order among each other. The methods are known from the
//! descriptions of the services: what a client makes up gets no counters of its own.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::Code;

use super::count::Count;
use super::page::{Durations, Figures, Labels, Page};

/// The ends of the buckets of durations, in microseconds: from a lookup in memory to a large commit.
const BUCKETS: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 30_000_000,
];

/// The names of the status codes, by number, as the documents of gRPC write them.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What a call of a name counts as that the server does not have.
const OTHER: &str = "other";

/// The calls of a server.
#[derive(Debug)]
pub(crate) struct CallFigures {
    /// The last one is that of other calls.
    methods: Vec<MethodFigures>,
    by_path: HashMap<String, usize>,
    running: Count,
}

/// The calls of one method.
#[derive(Debug)]
struct MethodFigures {
    service: String,
    method: String,
    codes: [Count; CODES.len()],
    /// One more than there are ends: the last has what took longer than all of them.
    buckets: [Count; BUCKETS.len() + 1],
    micros: Count,
}

impl MethodFigures {
    fn new(service: &str, method: &str) -> Self {
        Self {
            service: service.to_owned(),
            method: method.to_owned(),
            codes: std::array::from_fn(|_| Count::new()),
            buckets: std::array::from_fn(|_| Count::new()),
            micros: Count::new(),
        }
    }

    fn ended(&self, code: Code, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|end| *end < micros);
        self.buckets[bucket].add(1);
        self.micros.add(micros);
        self.codes[code as usize].add(1);
    }

    fn durations(&self) -> Durations {
        let ends = BUCKETS.iter().map(|end| *end as f64 / 1e6);
        let buckets = ends.chain([f64::INFINITY]).zip(&self.buckets);
        Durations {
            seconds: self.micros.value() as f64 / 1e6,
            buckets: buckets.map(|(end, count)| (end, count.value())).collect(),
        }
    }

    /// Returns how often calls ended with each code that there was.
    fn codes(&self) -> impl Iterator<Item = (Labels<'_, 3>, u64)> {
        let counted = CODES.iter().zip(&self.codes);
        let counted = counted.map(|(code, count)| (*code, count.value()));
        counted
            .filter(|(_, count)| *count > 0)
            .map(|(code, count)| {
                let [service, method] = self.labels();
                ([service, method, ("code", code)], count)
            })
    }

    fn labels(&self) -> Labels<'_, 2> {
        [("service", &self.service), ("method", &self.method)]
    }

    fn was_called(&self) -> bool {
        self.codes.iter().any(|count| count.value() > 0)
    }
}

impl CallFigures {
    /// Starts to count the calls of these services, which descriptors name as the build has written them.
    ///
    /// # Panics
    /// Where these are no descriptors.
    pub(crate) fn new(descriptors: &[&[u8]]) -> Arc<Self> {
        let mut methods = Vec::new();
        for encoded in descriptors {
            let files = FileDescriptorSet::decode(*encoded);
            let files = files.expect("the build encodes descriptors").file;
            for file in &files {
                for service in &file.service {
                    let name = format!("{}.{}", file.package(), service.name());
                    let of_service = service.method.iter();
                    methods.extend(of_service.map(|it| MethodFigures::new(&name, it.name())));
                }
            }
        }
        let path = |it: &MethodFigures| format!("/{}/{}", it.service, it.method);
        let by_path = methods.iter().map(path).zip(0..).collect();
        methods.push(MethodFigures::new(OTHER, OTHER));
        Arc::new(Self {
            methods,
            by_path,
            running: Count::new(),
        })
    }

    /// Counts a call from now until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>, path: &str) -> RunningCall {
        self.running.add(1);
        let other = self.methods.len() - 1;
        RunningCall {
            figures: Arc::clone(self),
            method: self.by_path.get(path).copied().unwrap_or(other),
            started: Instant::now(),
            code: Code::Cancelled,
        }
    }
}

impl Figures for CallFigures {
    fn write(&self, page: &mut Page<'_>) -> fmt::Result {
        let called = || self.methods.iter().filter(|it| it.was_called());
        page.gauge(
            "lfsfs_calls_running",
            "Calls under way.",
            self.running.value(),
        )?;
        page.counters(
            "lfsfs_calls_total",
            "Calls that ended, by status code.",
            called().flat_map(MethodFigures::codes),
        )?;
        page.durations(
            "lfsfs_call_duration_seconds",
            "How long calls took, up to the last byte that their connection took.",
            called().map(|it| (it.labels(), it.durations())),
        )
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct RunningCall {
    figures: Arc<CallFigures>,
    method: usize,
    started: Instant,
    /// That of a call which the client gives up, until it is answered.
    code: Code,
}

impl RunningCall {
    /// Notes how the call was answered.
    pub(crate) fn answered(&mut self, code: Code) {
        self.code = code;
    }

    /// Returns how it was answered, and how long it has taken.
    pub(crate) fn so_far(&self) -> (Code, Duration) {
        (self.code, self.started.elapsed())
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.figures.running.subtract(1);
        self.figures.methods[self.method].ended(self.code, self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Arc<CallFigures> {
        CallFigures::new(&[lfsfs_proto::FILE_DESCRIPTORS])
    }

    fn of<'a>(figures: &'a CallFigures, method: &str) -> &'a MethodFigures {
        let mut methods = figures.methods.iter();
        methods.find(|it| it.method == method).unwrap()
    }

    #[test]
    fn a_call_is_running_until_it_is_dropped_and_counts_once() {
        let figures = figures();
        let mut call = figures.begin("/lfsfs.v1.Fs/Resolve");
        assert_eq!(figures.running.value(), 1);
        call.answered(Code::NotFound);
        drop(call);
        assert_eq!(figures.running.value(), 0);
        let resolve = of(&figures, "Resolve");
        let codes: Vec<_> = resolve.codes().collect();
        let labels = [
            ("service", "lfsfs.v1.Fs"),
            ("method", "Resolve"),
            ("code", "NOT_FOUND"),
        ];
        assert_eq!(codes, [(labels, 1)]);
        let counted: u64 = resolve.durations().buckets.iter().map(|it| it.1).sum();
        assert_eq!(counted, 1);
    }

    #[test]
    fn a_call_without_an_answer_was_given_up() {
        let figures = figures();
        drop(figures.begin("/lfsfs.v1.Fs/Watch"));
        let (labels, count) = of(&figures, "Watch").codes().next().unwrap();
        assert_eq!((labels[2], count), (("code", "CANCELLED"), 1));
    }

    #[test]
    fn calls_that_clients_make_up_share_their_counters() {
        let figures = figures();
        let before = figures.methods.len();
        for number in 0..1000 {
            drop(figures.begin(&format!("/lfsfs.v1.Fs/Made{number}")));
        }
        assert_eq!(figures.methods.len(), before);
        assert_eq!(of(&figures, OTHER).codes().next().unwrap().1, 1000);
    }

    #[test]
    fn each_code_has_its_name() {
        for (number, name) in (0..).zip(CODES) {
            let code = format!("{:?}", Code::from_i32(number));
            let name = name.replace('_', "").to_lowercase();
            assert!(code.to_lowercase() == name, "{number}: {code} {name}");
        }
    }

    #[test]
    fn a_duration_is_in_the_bucket_whose_end_it_does_not_pass() {
        let method = MethodFigures::new("s", "m");
        let took = [0, 250, 251, 30_000_000, 30_000_001].map(Duration::from_micros);
        took.into_iter()
            .for_each(|took| method.ended(Code::Ok, took));
        let buckets = method.durations().buckets;
        assert_eq!(buckets[0], (0.00025, 2));
        assert_eq!(buckets[1], (0.0005, 1));
        assert_eq!(buckets[13], (30.0, 1));
        assert_eq!(buckets[14], (f64::INFINITY, 1));
    }
}
