//! The metrics of servers, as Prometheus reads them: docs/metrics.md, the dashboard and the alerts are held against
//! what real processes tell.

#[path = "metrics/page.rs"]
mod page;
#[path = "metrics/promtool.rs"]
mod promtool;
#[path = "metrics/queries.rs"]
mod queries;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use lfsfs_testkit::chunks::files_in;
use lfsfs_tests::{Cluster, Numbers, Run, World, eventually};

use self::page::{Documented, Metric, Page, ask, connect, documented};
use self::queries::{Query, of_alerts, of_dashboard};

const LIMIT: Duration = Duration::from_secs(60);
const METRICS: [&str; 2] = ["--metrics", "127.0.0.1:0"];

/// A coordinator and two datanodes, each with metrics, that have a version.
pub(crate) struct Servers {
    pub(crate) cluster: Cluster,
}

impl Servers {
    pub(crate) fn start() -> Self {
        let servers = Self::empty(&[]);
        let world = &servers.cluster.world;
        let tree = world.make_dir("tree");
        fs::write(tree.join("file"), Numbers(1).bytes(300_000)).expect("a file");
        assert_eq!(world.import(&tree, "app"), "app@v1");
        assert_eq!(world.lfsfs(["ls", "app"]).ok(), "file");
        let _ = world.lfsfs(["cat", "app", "file"]);
        // A call that fails: a datanode has no such figures.
        let mut stats = world.lfsfsd(["stats", "--server"]);
        stats.arg(servers.cluster.address_of(0));
        assert_eq!(Run::of(stats).code(), Some(1));
        servers
    }

    /// Starts them with more arguments for the datanodes.
    fn empty(of_nodes: &[&str]) -> Self {
        let of_coordinator = ["--replication", "2", "--repair-after", "8"];
        let mut cluster = Cluster::new(0, &[&of_coordinator[..], &METRICS].concat());
        for _ in 0..2 {
            cluster.start_node(&[of_nodes, &METRICS].concat());
        }
        Self { cluster }
    }

    /// Returns the page of the coordinator, once it has scanned the chunks and counted the projects.
    pub(crate) fn page_of_coordinator(&self) -> Page {
        let address = self.cluster.metrics_of_coordinator();
        let is_whole = || {
            let page = Page::of(&address);
            let is_scanned = page.sum("lfsfs_chunks", &[]).is_some();
            is_scanned && page.sum("lfsfs_versions", &[]) > Some(0.0)
        };
        assert!(eventually(LIMIT, is_whole));
        Page::of(&address)
    }

    fn page_of_node(&self, number: usize) -> Page {
        Page::of(&self.cluster.metrics_of(number))
    }

    /// Returns all pages, that of the coordinator first.
    pub(crate) fn pages(&self) -> Vec<Page> {
        let nodes = (0..2).map(|number| self.page_of_node(number));
        [self.page_of_coordinator()]
            .into_iter()
            .chain(nodes)
            .collect()
    }
}

/// Starts `lfsfsd all` with metrics, and returns their address.
pub(crate) fn start_of_all() -> (World, String) {
    let mut world = World::with_server_arguments(&METRICS);
    let told = world.server().wait_for_word("metrics on http://", LIMIT);
    let told = told.expect("it says where its metrics are");
    let address = told.strip_suffix("/metrics").expect("a path").to_owned();
    (world, address)
}

/// Checks that a page has the metrics of these sections of the document, as that says.
#[track_caller]
fn assert_is_documented(page: &Page, sections: &[&str], rows: &[Documented]) {
    let of_role = |row: &&Documented| sections.contains(&row.section.as_str());
    let expected: Vec<_> = rows.iter().filter(of_role).collect();
    let names: BTreeSet<_> = expected.iter().map(|row| row.name.as_str()).collect();
    let found: BTreeSet<_> = page.metrics.keys().map(String::as_str).collect();
    let missing: Vec<_> = names.difference(&found).collect();
    let unknown: Vec<_> = found.difference(&names).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not exported: {missing:?}, not documented: {unknown:?}"
    );
    for row in expected {
        let Metric { kind, samples } = &page.metrics[&row.name];
        assert_eq!(*kind, row.kind, "{}", row.name);
        assert!(!samples.is_empty(), "{}", row.name);
        for sample in samples {
            let labels = sample.labels.keys().filter(|label| *label != "le");
            let labels: BTreeSet<_> = labels.cloned().collect();
            assert_eq!(labels, row.labels, "{}", sample.series);
        }
    }
}

#[test]
fn each_metric_is_documented_and_each_documented_metric_is_told() {
    let rows = documented();
    let every = ["Every role", "The process"];
    let of = |more: &[&'static str]| [&every[..], more].concat();
    let servers = Servers::start();
    let pages = servers.pages();
    assert_is_documented(&pages[0], &of(&["Coordinator"]), &rows);
    for page in &pages[1..] {
        assert_is_documented(page, &of(&["Datanode"]), &rows);
    }
    let (world, address) = start_of_all();
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), "text").expect("a file");
    let _ = world.import(&tree, "app");
    let is_whole = || Page::of(&address).sum("lfsfs_versions", &[]) == Some(1.0);
    assert!(eventually(LIMIT, is_whole));
    let both = of(&["Coordinator", "Datanode"]);
    assert_is_documented(&Page::of(&address), &both, &rows);
}

/// Checks that the servers have what a query asks for: each name, and each label that it has in it.
fn assert_has_answer(query: &Query, pages: &[Page], rows: &[Documented]) {
    let mut labels: BTreeSet<_> = ["job", "instance", "le"].map(str::to_owned).into();
    let selectors = query.selectors();
    let is_up = query.text.starts_with("up{");
    assert!(!selectors.is_empty() || is_up, "{query:?}");
    for selector in &selectors {
        let samples = pages.iter().flat_map(Page::samples);
        let samples: Vec<_> = samples.filter(|it| it.name == selector.name).collect();
        assert!(!samples.is_empty(), "{query:?}: no {}", selector.name);
        let row = rows.iter().find(|row| {
            let end = selector.name.strip_prefix(&row.name);
            end.is_some_and(|end| end.is_empty() || end == "_bucket" && row.kind == "histogram")
        });
        let row = row.expect(&selector.name);
        labels.extend(row.labels.iter().cloned());
        for (label, sign, value) in &selector.labels {
            assert!(labels.contains(label), "{query:?}: no label {label}");
            let is_there = || samples.iter().any(|it| it.labels[label] == *value);
            let is_of_prometheus = label == "job" || label == "instance";
            assert!(
                sign != "=" || is_of_prometheus || is_there(),
                "{query:?}: {label}"
            );
        }
    }
    for label in query.groupings() {
        assert!(labels.contains(&label), "{query:?}: no label {label}");
    }
}

#[test]
fn each_query_of_the_dashboard_and_of_the_alerts_has_what_it_asks_for() {
    let rows = documented();
    let servers = Servers::start();
    let pages = servers.pages();
    let queries: Vec<_> = of_dashboard().into_iter().chain(of_alerts()).collect();
    assert!(queries.len() > 40, "{}", queries.len());
    for query in &queries {
        assert_has_answer(query, &pages, &rows);
    }
}

#[test]
fn work_is_counted_where_it_was_done() {
    let servers = Servers::start();
    let page = servers.page_of_coordinator();
    let commit = [
        ("service", "lfsfs.v1.Fs"),
        ("method", "Commit"),
        ("code", "OK"),
    ];
    assert_eq!(page.sum("lfsfs_calls_total", &commit), Some(1.0));
    let count = page.sum("lfsfs_call_duration_seconds_count", &commit[..2]);
    assert_eq!(count, Some(1.0));
    assert_eq!(
        page.sum("lfsfs_nodes", &[("state", "available")]),
        Some(2.0)
    );
    assert_eq!(page.value("lfsfs_projects"), 1.0);
    assert_eq!(page.value("lfsfs_versions"), 1.0);
    assert_eq!(page.value("lfsfs_object_bytes"), 300_000.0);
    assert!(page.value("lfsfs_connections_accepted_total") >= 3.0);
    let used = page.value("lfsfs_call_memory_used_bytes");
    assert!(used < page.value("lfsfs_call_memory_limit_bytes"), "{used}");
    let nodes = [servers.page_of_node(0), servers.page_of_node(1)];
    let sum = |name: &str, labels: &[(&str, &str)]| {
        let values = nodes.iter().filter_map(|page| page.sum(name, labels));
        values.sum::<f64>()
    };
    let received = |kind| sum("lfsfs_datanode_received_bytes_total", &[("kind", kind)]);
    assert!(received("upload") > 300_000.0);
    assert_eq!(received("upload"), received("copy"));
    let sent = |kind| sum("lfsfs_datanode_sent_bytes_total", &[("kind", kind)]);
    assert_eq!(sent("copy"), received("copy"));
    assert!(sent("download") >= 300_000.0, "cat has read it");
    let made = [("kind", "copy"), ("result", "made")];
    assert_eq!(sum("lfsfs_datanode_copies_total", &made), 1.0);
    assert_eq!(sum("lfsfs_datanode_chunks", &[]), 2.0);
    assert_eq!(sum("lfsfs_datanode_uploads_running", &[]), 0.0);
    let failed = [("method", "GetStats"), ("code", "UNIMPLEMENTED")];
    assert_eq!(nodes[0].sum("lfsfs_calls_total", &failed), Some(1.0));
}

#[test]
fn a_damaged_chunk_and_a_lost_datanode_are_seen() {
    let mut servers = Servers::empty(&["--scrub-period", "1"]);
    let world = &servers.cluster.world;
    let tree = world.make_dir("tree");
    fs::write(tree.join("file"), Numbers(1).bytes(300_000)).expect("a file");
    let _ = world.import(&tree, "app");
    let chunks = files_in(&world.path("node-0"));
    let mut bytes = fs::read(&chunks[0]).expect("a chunk");
    bytes[1000] ^= 1;
    fs::write(&chunks[0], bytes).expect("a chunk");
    let found = || {
        servers
            .page_of_node(0)
            .value("lfsfs_datanode_corrupt_chunks_total")
            == 1.0
    };
    assert!(eventually(LIMIT, found), "the scrub finds it");
    let coordinator = servers.cluster.metrics_of_coordinator();
    let mended = || Page::of(&coordinator).value("lfsfs_repair_copied_chunks_total") == 1.0;
    assert!(eventually(LIMIT, mended), "another copy is made");
    let page = servers.page_of_node(0);
    let fetched = [("kind", "fetch"), ("result", "made")];
    assert_eq!(page.sum("lfsfs_datanode_copies_total", &fetched), Some(1.0));
    let fetched = page.sum("lfsfs_datanode_received_bytes_total", &[("kind", "fetch")]);
    assert!(fetched > Some(300_000.0), "{fetched:?}");
    // The pass that found the damage has read nothing that is whole.
    let scrubbed = || {
        servers
            .page_of_node(0)
            .value("lfsfs_datanode_scrubbed_bytes_total")
            > 300_000.0
    };
    assert!(eventually(LIMIT, scrubbed), "it goes on");

    servers.cluster.kill_node(1);
    let seen = || {
        let page = Page::of(&coordinator);
        page.sum("lfsfs_nodes", &[("state", "offline")]) == Some(1.0)
            && page.sum("lfsfs_chunks_under_replicated", &[]) == Some(1.0)
    };
    assert!(eventually(LIMIT, seen), "{}", Page::of(&coordinator).text);
}

#[test]
fn what_is_no_request_for_the_page_is_refused_and_serving_goes_on() {
    let (world, address) = start_of_all();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    let fields = "X: y\r\n".repeat(1000);
    let long = "x".repeat(1 << 20);
    for (request, answer) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
        ("GET /../metrics HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", "405"),
        ("GET /metrics HTTP/9.9\r\n\r\n", "400"),
        ("garbage\r\n\r\n", "400"),
        ("\0\u{1}\u{2}\u{3}\r\n\r\n", "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""),
        (&format!("GET /metrics HTTP/1.1\r\n{fields}\r\n"), "431"),
        (&format!("GET /metrics HTTP/1.1\r\nX: {long}\r\n\r\n"), ""),
        (&format!("GET /{long} HTTP/1.1\r\n\r\n"), ""),
        ("", ""),
    ] {
        let told = if request.is_empty() {
            drop(connect(&address));
            String::new()
        } else {
            ask(&address, request.as_bytes())
        };
        let start = &request[..request.len().min(40)];
        let expected = format!("HTTP/1.1 {answer}");
        assert!(
            told.is_empty() || !told.contains("lfsfs_"),
            "{start:?}: {told}"
        );
        assert!(
            answer.is_empty() || told.starts_with(&expected),
            "{start:?}: {told}"
        );
        let page = Page::of(&address);
        assert_eq!(page.value("lfsfs_datanode_registered"), 1.0);
    }
    let head = ask(&address, b"HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let listed = world.lfsfs(["project", "list"]).ok();
    assert!(listed.starts_with("app "), "{listed}");
}

/// Connections that may be served at the same time, as docs/metrics.md has it.
const CONNECTIONS: usize = 16;

#[test]
fn slow_clients_of_the_metrics_give_way_and_calls_do_not_wait_for_them() {
    let (world, address) = start_of_all();
    let slow: Vec<_> = (0..CONNECTIONS + 4)
        .map(|_| {
            let mut stream = connect(&address);
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nX: ")
                .expect("it is sent");
            stream
        })
        .collect();
    let started = Instant::now();
    let _ = world.lfsfs(["project", "new", "app"]).ok();
    assert!(started.elapsed() < Duration::from_secs(4), "calls wait");
    // The first of them have to be given up before.
    let _ = Page::of(&address);
    assert!(started.elapsed() < Duration::from_secs(15), "{started:?}");
    for mut stream in slow {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("lfsfs_"), "{answer}");
    }
    assert!(Page::of(&address).value("process_open_fds") < 100.0);
}

#[test]
fn a_port_that_cannot_be_had_is_told_before_anything_is_made() {
    let world = World::without_server();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("an address").to_string();
    let start = |address: &str| {
        let mut command = world.lfsfsd(["all", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(world.data()).args(["--metrics", address]);
        Run::of(command)
    };
    start(&taken).fails(1, &["cannot listen on", &taken]);
    start("0.0.0.0:0").fails(1, &["0.0.0.0:0", "metrics", "--insecure-listen"]);
    start("here").fails(2, &["--metrics here", "an address and a port"]);
    assert!(!world.data().exists());
}

#[test]
fn the_port_is_closed_when_the_server_has_ended_and_there_is_none_by_default() {
    let (mut world, address) = start_of_all();
    let _ = Page::of(&address);
    // A client that is served while the server ends does not hold it up.
    let _slow = connect(&address);
    world.stop_server();
    assert!(std::net::TcpStream::connect(&address).is_err());
    world.start_server(&["--metrics", &address]);
    let _ = Page::of(&address);
    world.stop_server();
    world.start_server(&[]);
    assert!(std::net::TcpStream::connect(&address).is_err());
    assert!(!world.server().output().contains("metrics on"));
}
