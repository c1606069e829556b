//! The queries of the dashboard and of the alerts, and what they ask for.

use std::fs;

use serde_json::Value;

use super::page::repository;

/// A query, and where it stands.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) place: String,
    pub(crate) text: String,
}

/// A metric that a query names, with what its labels must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// Name, sign and value.
    pub(crate) labels: Vec<(String, String, String)>,
}

/// Returns every query of the dashboard, as Prometheus gets it.
pub(crate) fn of_dashboard() -> Vec<Query> {
    let text = fs::read_to_string(repository().join("dist/grafana-lfsfs.json"));
    let dashboard: Value = serde_json::from_str(&text.expect("the dashboard")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(|target| {
            let text = target["expr"].as_str().expect("a query");
            // What Grafana puts in.
            let text = text.replace("$job", "lfsfs");
            let text = text.replace("$__rate_interval", "5m");
            assert!(!text.contains('$'), "{text}");
            let place = format!("dashboard, {}", panel["title"]);
            Query { place, text }
        })
    });
    queries.collect()
}

/// Returns the query of each alert. In the file each stands in one line.
pub(crate) fn of_alerts() -> Vec<Query> {
    let text = fs::read_to_string(repository().join("dist/prometheus-lfsfs.rules.yml"));
    let text = text.expect("the alerts");
    let after = |start: &'static str| {
        let lines = text.lines().map(str::trim);
        lines.filter_map(move |line| line.strip_prefix(start))
    };
    let queries = after("- alert: ").zip(after("expr: "));
    let queries: Vec<_> = queries
        .map(|(alert, text)| Query {
            place: alert.to_owned(),
            text: text.to_owned(),
        })
        .collect();
    assert_eq!(queries.len(), after("expr: ").count());
    queries
}

impl Query {
    /// Returns each metric of a server that is named.
    pub(crate) fn selectors(&self) -> Vec<Selector> {
        let mut found = Vec::new();
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find(is_of_name) {
            rest = &rest[at..];
            let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            rest = behind;
            if !["lfsfs_", "process_"].iter().any(|it| name.starts_with(it)) {
                continue;
            }
            let labels = rest.strip_prefix('{').and_then(|it| it.split_once('}'));
            found.push(Selector {
                name: name.to_owned(),
                labels: labels.map_or_else(Vec::new, |(labels, _)| matchers(labels)),
            });
            rest = labels.map_or(rest, |(_, behind)| behind);
        }
        found
    }

    /// Returns each label by which results are grouped.
    pub(crate) fn groupings(&self) -> Vec<String> {
        let lists = self.text.split("by (").skip(1);
        let lists = lists.map(|list| list.split_once(')').expect("its end").0);
        let labels = lists.flat_map(|list| list.split(','));
        labels.map(|label| label.trim().to_owned()).collect()
    }
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Takes what stands between the braces; no value has a comma.
fn matchers(labels: &str) -> Vec<(String, String, String)> {
    let matchers = labels.split(',').map(|matcher| {
        let (left, value) = matcher.trim().split_once('"').expect("a value");
        let name: String = left.chars().take_while(|c| is_of_name(*c)).collect();
        let sign = left[name.len()..].to_owned();
        (name, sign, value.trim_end_matches('"').to_owned())
    });
    matchers.collect()
}

#[test]
fn what_a_query_asks_for_is_found() {
    let text =
        "sum by (le, code) (rate(lfsfs_a_total{job=\"x\", code!~\"A|B\"}[5m])) / lfsfs_b + time()";
    let query = Query {
        place: String::new(),
        text: text.to_owned(),
    };
    let label = |name: &str, sign: &str, value: &str| (name.into(), sign.into(), value.into());
    let first = Selector {
        name: "lfsfs_a_total".to_owned(),
        labels: vec![label("job", "=", "x"), label("code", "!~", "A|B")],
    };
    let second = Selector {
        name: "lfsfs_b".to_owned(),
        labels: Vec::new(),
    };
    assert_eq!(query.selectors(), [first, second]);
    assert_eq!(query.groupings(), ["le", "code"]);
}
