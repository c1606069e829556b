//! What Prometheus itself says of the pages, the queries and the alerts, where its `promtool` is installed.

use std::path::Path;
use std::process::Command;

use lfsfs_testkit::requirements::{find_program, require_program};
use lfsfs_tests::Run;
use serde_json::{Value, json};

use super::page::{Page, Sample, repository};
use super::queries::{of_alerts, of_dashboard};
use super::{Servers, start_of_all};

const RULES: &str = "dist/prometheus-lfsfs.rules.yml";

/// Runs promtool with further words.
fn promtool(words: &[&str]) -> Run {
    let program = find_program("promtool").expect("it was asked for");
    let mut command = Command::new(program);
    command.args(words);
    Run::of(command)
}

/// Writes a file that promtool reads: JSON is YAML.
fn write(path: &Path, value: &Value) -> String {
    std::fs::write(path, value.to_string()).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

/// Returns a series of a page as if its server had been read each minute: counters grow, gauges stay.
fn series(sample: &Sample, kind: &str, instance: &str) -> Value {
    let labels = sample.labels.iter();
    let labels = labels.map(|(name, value)| format!("{name}=\"{value}\""));
    let own = [format!("instance=\"{instance}\""), "job=\"lfsfs\"".into()];
    let labels: Vec<_> = labels.chain(own).collect();
    let step = match kind {
        "counter" | "histogram" => 1,
        _ => 0,
    };
    json!({
        "series": format!("{}{{{}}}", sample.name, labels.join(",")),
        "values": format!("{}+{step}x60", sample.value),
    })
}

fn all_series(pages: &[Page]) -> Vec<Value> {
    let pages = pages.iter().zip(0..);
    let series = pages.flat_map(|(page, number)| {
        let instance = format!("server-{number}");
        page.metrics.values().flat_map(move |metric| {
            let instance = instance.clone();
            let samples = metric.samples.iter();
            samples.map(move |sample| series(sample, &metric.kind, &instance))
        })
    });
    series.collect()
}

#[test]
fn promtool_finds_no_fault_with_the_pages() {
    if require_program("promtool").is_err() {
        return;
    }
    let servers = Servers::start();
    let mut pages = servers.pages();
    let (_world, all) = start_of_all();
    pages.push(Page::of(&all));
    for page in pages {
        let path = servers.cluster.world.path("page");
        std::fs::write(&path, &page.text).expect("a file");
        let mut command = Command::new("sh");
        let script = "exec \"$0\" check metrics < \"$1\"";
        let program = find_program("promtool").expect("it was asked for");
        command.args(["-c", script]).arg(program).arg(&path);
        assert_eq!(Run::of(command).ok(), "");
    }
}

#[test]
fn promtool_finds_an_answer_to_each_query_of_the_dashboard() {
    if require_program("promtool").is_err() {
        return;
    }
    let servers = Servers::start();
    let pages = servers.pages();
    let queries = of_dashboard();
    // A query without an answer makes an alert, and none is expected.
    let rule = |(number, text): (usize, &str)| {
        json!({
            "alert": format!("Empty{number}"),
            "expr": format!("absent({text})"),
        })
    };
    let texts = queries.iter().map(|query| query.text.as_str());
    let rules: Vec<_> = texts.enumerate().map(rule).collect();
    let world = &servers.cluster.world;
    let groups = json!({"groups": [{"name": "queries", "rules": rules}]});
    let rules = write(&world.path("queries.yml"), &groups);
    let no_alert = |number| json!({"eval_time": "30m", "alertname": format!("Empty{number}"), "exp_alerts": []});
    let expected: Vec<_> = (0..queries.len()).map(no_alert).collect();
    let test = json!({
        "rule_files": [rules],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": all_series(&pages),
            "alert_rule_test": expected,
        }],
    });
    let test = write(&world.path("test.yml"), &test);
    let said = promtool(&["test", "rules", &test]);
    assert_eq!(said.code(), Some(0), "{queries:#?} {said:?}");
}

#[test]
fn promtool_sees_each_alert_when_something_is_wrong_and_none_before() {
    if require_program("promtool").is_err() {
        return;
    }
    let servers = Servers::start();
    let world = &servers.cluster.world;
    let rules = repository().join(RULES);
    let rules = rules.to_str().expect("UTF-8");
    let _ = promtool(&["check", "rules", rules]).ok();
    let broken = [
        ("LfsfsServerDown", "up{job=\"lfsfs\"}", "0x60"),
        ("LfsfsChunksMissing", "lfsfs_chunks_missing", "2x60"),
        (
            "LfsfsChunksUnderReplicated",
            "lfsfs_chunks_under_replicated",
            "2x60",
        ),
        (
            "LfsfsDatanodeOffline",
            "lfsfs_nodes{state=\"offline\"}",
            "1x60",
        ),
        ("LfsfsDatanodeFull", "lfsfs_datanode_full", "1x60"),
        (
            "LfsfsCorruptChunks",
            "lfsfs_datanode_corrupt_chunks_total",
            "0+1x60",
        ),
        (
            "LfsfsCallsFail",
            "lfsfs_calls_total{code=\"INTERNAL\"}",
            "0+1x60",
        ),
    ];
    let firing = |alert: &str, count: u64| {
        let of_alert = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
        json!({
            "expr": format!("count({of_alert}) or vector(0)"),
            "eval_time": "50m",
            "exp_samples": [{"labels": "{}", "value": count}],
        })
    };
    let test = |series: Vec<Value>, expected: Vec<Value>| json!({"interval": "1m", "input_series": series, "promql_expr_test": expected});
    let mut tests: Vec<_> = broken
        .iter()
        .map(|(alert, series, values)| {
            let series = json!({"series": series, "values": values});
            test(vec![series], vec![firing(alert, 1)])
        })
        .collect();
    let nearly_full = [
        json!({"series": "lfsfs_datanode_capacity_bytes", "values": "1000x60"}),
        json!({"series": "lfsfs_datanode_used_bytes", "values": "901x60"}),
    ];
    let expected = vec![firing("LfsfsDiskNearlyFull", 1)];
    tests.push(test(nearly_full.to_vec(), expected));
    // The disk of this machine may be full.
    let of_disk = ["LfsfsDiskNearlyFull", "LfsfsDatanodeFull", "LfsfsCallsFail"];
    let alerts = of_alerts().into_iter().map(|it| it.place);
    let alerts = alerts.filter(|it| !of_disk.contains(&it.as_str()));
    let well = servers.page_of_coordinator();
    let well = all_series(&[well]);
    tests.push(test(well, alerts.map(|it| firing(&it, 0)).collect()));
    assert_eq!(tests.len(), of_alerts().len() + 1, "an alert is not tried");
    let file = json!({"rule_files": [rules], "evaluation_interval": "1m", "tests": tests});
    let file = write(&world.path("alerts.yml"), &file);
    let _ = promtool(&["test", "rules", &file]).ok();
}
