use super::*;

fn stats() -> Stats {
    Stats {
        address: "127.0.0.1:5051".to_owned(),
        cluster: "00ff".to_owned(),
        version: "0.1.0".to_owned(),
        uptime_secs: 3700,
        engine: v1::EngineStats {
            name: "redb".to_owned(),
            file_bytes: 1_572_864,
            cache: Some(v1::CacheStats {
                bytes: 2048,
                bytes_max: 67_108_864,
                hits: 3,
                misses: 1,
                evictions: 7,
            }),
            device: Some(v1::DeviceStats {
                bytes: 250,
                syncs: 2,
            }),
            bytes_written: 100,
            slow_calls: 5,
            ..v1::EngineStats::default()
        },
        nodes: vec![v1::NodeInfo {
            id: vec![1; 16],
            address: "10.0.0.1:5051".to_owned(),
            state: v1::NodeState::Suspect.into(),
            chunks: 2,
            chunk_bytes: 16_777_216,
            ..v1::NodeInfo::default()
        }],
        projects: vec![v1::ProjectStats {
            name: "app\u{1b}[2J".to_owned(),
            objects: 12,
            bytes: 1023,
            stored_bytes: 1024,
            versions: 3,
            ..v1::ProjectStats::default()
        }],
    }
}

#[test]
fn people_get_lines_and_tables() {
    let expected = "\
server   127.0.0.1:5051, lfsfsd 0.1.0, up 1 h 1 min
cluster  00ff
chunks   2, 16.0 MiB
engine   redb, 1.5 MiB
cache    2.0 KiB of 64.0 MiB, hit rate 75.0 %, 1 misses, 7 evictions
writes   0 batches, 0 conflicts, 0 rows, 100 B
disk     0 flushes, 2 syncs, 250 B, write amplification 2.5
reads    0, 0 rows
slow     5 calls above 100 ms

NODE             STATE  CHUNKS    STORED  USED  CAPACITY
10.0.0.1:5051  suspect       2  16.0 MiB   0 B       0 B

PROJECT         OBJECTS    SIZE   STORED  VERSIONS
app\\u{1b}[2J       12  1023 B  1.0 KiB         3
";
    let text = text::text(&stats());
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("app\\u{1b}[2J "), "{last}");
    let before = |text: &str| text.lines().take(13).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(before(&text), before(expected));
}

#[test]
fn what_an_engine_does_not_tell_is_null() {
    let mut stats = stats();
    let full = json::json(&stats);
    assert_eq!(full["engine"]["write_amplification"], 2.5);
    assert_eq!(full["engine"]["cache_hit_rate"], 0.75);
    assert_eq!(full["nodes"][0]["state"], "suspect");
    assert_eq!(full["chunk_bytes"], 16_777_216);
    assert_eq!(full["projects"][0]["stored_bytes"], 1024);
    (stats.engine.cache, stats.engine.device) = (None, None);
    let engine = &json::json(&stats)["engine"];
    for key in [
        "cache_bytes",
        "cache_hit_rate",
        "device_bytes",
        "write_amplification",
    ] {
        assert!(engine[key].is_null(), "{key}: {engine}");
    }
    assert!(text::text(&stats).contains("does not tell"));
}
