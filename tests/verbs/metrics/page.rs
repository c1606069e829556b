//! A page of metrics as a client reads it, and what docs/metrics.md says of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a page may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A metric of a page.
#[derive(Debug, Default)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// A line of a page.
#[derive(Debug)]
pub(crate) struct Sample {
    /// With the end that a histogram gives it.
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
    /// Name and labels, as they stand there.
    pub(crate) series: String,
}

/// All metrics of a server at one moment.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) metrics: BTreeMap<String, Metric>,
    pub(crate) text: String,
}

impl Page {
    /// Asks a server for its page.
    #[track_caller]
    pub(crate) fn of(address: &str) -> Self {
        let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n");
        let (head, text) = answer.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let format = "content-type: text/plain; version=0.0.4; charset=utf-8";
        assert!(head.contains(format), "{head}");
        Self::parse(text)
    }

    fn parse(text: &str) -> Self {
        let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
        let mut last = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a name and help");
                assert!(help.ends_with('.'), "{line}");
                let before = metrics.insert(name.to_owned(), Metric::default());
                assert!(before.is_none(), "{name} stands there twice");
                name.clone_into(&mut last);
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                assert_eq!(name, last);
                kind.clone_into(&mut metrics.get_mut(name).expect("its help").kind);
            } else {
                let sample = Sample::parse(line);
                assert!(sample.name.starts_with(&last), "{line} is not of {last}");
                metrics.get_mut(&last).expect(line).samples.push(sample);
            }
        }
        let text = text.to_owned();
        Self { metrics, text }
    }

    /// Returns all lines.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.metrics.values().flat_map(|metric| &metric.samples)
    }

    /// Returns the sum of the lines of this name that have these labels; none if there is no such line.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            let mut labels = labels.iter();
            sample.name == name && labels.all(|(label, value)| sample.labels[*label] == *value)
        };
        let values: Vec<_> = self.samples().filter(has).map(|it| it.value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// As [`sum`](Self::sum), for a name without labels that must be there.
    #[track_caller]
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.sum(name, &[]).expect(name)
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
            None => (series, ""),
        };
        // No value of a label has a comma.
        let labels = labels.split(',').filter(|label| !label.is_empty());
        let label = |label: &str| {
            let (name, value) = label.split_once('=').expect("a label");
            (name.to_owned(), value.trim_matches('"').to_owned())
        };
        Self {
            name: name.to_owned(),
            labels: labels.map(label).collect(),
            value: value.parse().expect(line),
            series: series.to_owned(),
        }
    }
}

/// Sends bytes to the port of the metrics, and returns what comes until the connection is closed. A server that
/// closes it early is no failure of the test by itself.
pub(crate) fn ask(address: &str, request: &[u8]) -> String {
    let mut stream = connect(address);
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Connects, with limits for reading and writing.
pub(crate) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a limit");
    stream.set_write_timeout(Some(TIMEOUT)).expect("a limit");
    stream
}

/// A row of docs/metrics.md.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Documented {
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
}

/// Returns what the document says of each metric.
pub(crate) fn documented() -> Vec<Documented> {
    let text = fs::read_to_string(repository().join("docs/metrics.md")).expect("the document");
    let mut section = "";
    let mut rows = Vec::new();
    for line in text.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, _, _, _] = cells[..] else {
            continue;
        };
        let Some(name) = code(name).next() else {
            continue;
        };
        rows.push(Documented {
            section: section.to_owned(),
            name: name.to_owned(),
            kind: kind.to_owned(),
            labels: code(labels).map(str::to_owned).collect(),
        });
    }
    rows
}

/// Returns the words of a cell that are written as code.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Returns the directory of the sources.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
