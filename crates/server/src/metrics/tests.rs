//! What is shown is described, what is described is shown, and documents, dashboard and alerts speak of nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::Arc,
};

use tokio::sync::watch;

use super::{
    Metrics,
    catalogue::{CHAPTERS, Description, Kind},
    exposition::Observed,
};
use crate::{
    connection::{FrontDoor, Limits},
    handle::ShardHandle,
    status::{Member, NodeStatus, Peer, Role},
    subscriptions::Subscriptions,
};

const INTRODUCTION: &str = "\
# Metrics

Made of the table in `crates/server/src/metrics/catalogue.rs` by `UPDATE_GOLDENFILES=1 cargo test -p quorate metrics`; do not
edit.

Each node answers `/metrics` on its HTTP port (`http-listen`, 18379 unless set) in Prometheus's text format. Scrape every
node: most figures are a node's own, and those that only the leader knows are absent elsewhere. Asking costs the shard
nothing. A Prometheus needs no more than

```yaml
scrape_configs:
  - job_name: quorate
    static_configs:
      - targets: [10.0.0.1:18379, 10.0.0.2:18379, 10.0.0.3:18379]
rule_files: [alerts.yml]
```

[deploy/alerts.yml](../deploy/alerts.yml) has a rule for each promise of the README, and [deploy/grafana.json](../deploy/grafana.json)
is a dashboard to import; both use the metrics below and the job's name `quorate`. What a rule means, and what to do:

| Alert | What it means | What to do |
|---|---|---|
| `QuorateNoLeader` | no node leads: writes and reads wait | `quorate status`; start the nodes that are away, or see [backup.md](backup.md) |
| `QuorateNodeDown` | a node does not answer | start it; until then one more loss may stop the cluster |
| `QuorateBareMajority` | the next loss of a node stops the cluster | bring the missing voters back |
| `QuorateLeaderFlaps` | leaders come and go | look for a slow disk, a lossy network, an overloaded machine |
| `QuorateCommitsSlow` | one write in a hundred takes more than 250 ms | compare with `quorate_log_sync_seconds` of all nodes |
| `QuorateDiskSlow` | one fdatasync in a hundred takes more than 100 ms | give the data folder a faster disk, or one of its own |
| `QuorateDataOld` | a node hears nothing of a leader that has a majority | it is cut off: look at its network |
| `QuorateApplyLags` | a node does not keep up with what is committed | its processor is too slow or too busy |
| `QuoratePeerLags` | a peer falls behind the leader's log | its disk or network is too slow |
| `QuorateQueueFull` | a queue is nine tenths full: commands will be held back, or refused | less load, or a faster disk |
| `QuorateClientsRefused` | clients were refused, since there are too many | raise `max-clients`, or find who does not close |
| `QuorateCommandsRefused` | clients are told that their commands were not applied | the label `code` says why |
| `QuorateDataFull` | the data reach `maxmemory` | raise it, or delete; writes that add are refused beyond |
| `QuorateDiskFull` | the data folder's disk is nearly full | make room; writes are refused beyond, reads go on |
| `QuorateSnapshotsFail` | snapshots fail, so that the log cannot be shortened | the node's log says why |
| `QuorateFault` | a node has found something wrong with itself | `quorate status` says what |
";

/// A path from the repository's root.
fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn text_of(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a leader shows, with one peer of whom everything is known.
fn shown(metrics: &Metrics) -> String {
    let (inputs, _) = crossbeam_channel::unbounded();
    let peer =
        Peer { node_id: 2, heard_ms_ago: Some(20), progress: "snapshot".to_owned(), ..Peer::default() };
    let members = [1, 2].map(|node_id| Member { node_id, ..Member::default() });
    let status = NodeStatus {
        node_id: 1,
        role: Role::Leader,
        peers: vec![peer],
        members: members.to_vec(),
        fresh_as_of_us: Some(1),
        ..NodeStatus::default()
    };
    let (_, watched) = watch::channel(Arc::new(status.clone()));
    let shard = ShardHandle::new(inputs, watched, Subscriptions::new().0);
    let front = FrontDoor::new(shard, Limits::default(), BTreeMap::new(), 0);
    let observed = Observed {
        status: &status,
        metrics,
        front: &front,
        peer_queue_bytes_max: 7,
        dropped_log_lines: 3,
        started_unix_s: 1,
        now: crate::clock::now().boot,
    };
    observed.text()
}

fn described() -> impl Iterator<Item = &'static Description> {
    CHAPTERS.iter().flat_map(|chapter| chapter.metrics)
}

/// A sample's metric: its name without what a histogram adds to it.
fn metric_of(sample: &str) -> &str {
    let name = sample.split(['{', ' ']).next().unwrap_or_default();
    let is_histogram =
        |base: &&str| described().any(|metric| metric.name == *base && metric.kind == Kind::Histogram);
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    base.filter(is_histogram).unwrap_or(name)
}

#[test]
fn everything_in_the_catalogue_is_shown_and_nothing_else() {
    let text = shown(&Metrics::default());
    let samples: BTreeSet<&str> = text.lines().filter(|line| !line.starts_with('#')).map(metric_of).collect();
    let names: BTreeSet<&str> = described().map(|metric| metric.name).collect();
    assert_eq!(names.len(), described().count(), "a name stands twice in the catalogue");
    let absent: Vec<_> = names.difference(&samples).collect();
    // Where the system does not tell of a process, nothing of it is shown.
    let excused = |name: &&&&str| cfg!(target_os = "linux") || !name.starts_with("process_");
    assert_eq!(absent.iter().filter(excused).count(), 0, "described and not shown: {absent:?}");
    assert_eq!(samples.difference(&names).count(), 0);
}

#[test]
fn a_metric_is_described_once_and_its_samples_follow() {
    let text = shown(&Metrics::default());
    let mut current = "";
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            current = typed.split(' ').next().unwrap();
            assert!(seen.insert(current), "{current} is described twice");
        } else if !line.starts_with('#') {
            assert_eq!(metric_of(line), current, "{line}");
        }
    }
}

#[test]
fn names_say_their_units_and_counters_that_they_are() {
    for metric in described() {
        assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        assert!(metric.kind != Kind::Histogram || metric.name.ends_with("_seconds"), "{}", metric.name);
        assert!(!metric.help.is_empty() && !metric.help.contains('\n'), "{}", metric.name);
    }
}

#[test]
fn a_silent_peer_and_unknown_freshness_are_absent_and_not_zero() {
    let text = shown(&Metrics::default());
    for line in [
        "quorate_peer_silence_seconds{peer=\"2\"} 0.02",
        "quorate_peer_snapshot{peer=\"2\"} 1",
        "quorate_voters 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let (_, watched) = watch::channel(Arc::new(NodeStatus::default()));
    let shard = ShardHandle::new(crossbeam_channel::unbounded().0, watched, Subscriptions::new().0);
    let front = FrontDoor::new(shard, Limits::default(), BTreeMap::new(), 0);
    let status = NodeStatus { peers: vec![Peer { node_id: 2, ..Peer::default() }], ..NodeStatus::default() };
    let metrics = Metrics::default();
    let observed = Observed {
        status: &status,
        metrics: &metrics,
        front: &front,
        peer_queue_bytes_max: 0,
        dropped_log_lines: 0,
        started_unix_s: 0,
        now: crate::clock::now().boot,
    };
    let text = observed.text();
    for name in ["quorate_peer_silence_seconds{", "quorate_data_age_seconds ", "quorate_peer_lag_entries{"] {
        assert!(!text.lines().any(|line| line.starts_with(name)), "{name}\n{text}");
    }
}

#[test]
fn buckets_are_cumulative_and_the_last_counts_all() {
    use std::time::Duration;
    let metrics = Metrics::default();
    metrics.log_sync.record(Duration::from_micros(70));
    metrics.log_sync.record(Duration::from_micros(300));
    metrics.log_sync.record(Duration::from_secs(100));
    let text = shown(&metrics);
    for line in [
        "quorate_log_sync_seconds_bucket{le=\"0.00005\"} 0",
        "quorate_log_sync_seconds_bucket{le=\"0.0001\"} 1",
        "quorate_log_sync_seconds_bucket{le=\"0.0005\"} 2",
        "quorate_log_sync_seconds_bucket{le=\"10\"} 2",
        "quorate_log_sync_seconds_bucket{le=\"+Inf\"} 3",
        "quorate_log_sync_seconds_sum 100.00037",
        "quorate_log_sync_seconds_count 3",
        "quorate_command_seconds_bucket{kind=\"write\",le=\"+Inf\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    for chapter in CHAPTERS {
        text += &format!(
            "\n## {}\n\n| Metric | Kind | What it tells | When to worry |\n|---|---|---|---|\n",
            chapter.title
        );
        for Description { name, kind, labels, help, worry } in chapter.metrics {
            let labels = match labels {
                [] => String::new(),
                labels => format!(" by `{}`", labels.join("`, `")),
            };
            text += &format!("| `{name}` | {}{labels} | {help} | {worry} |\n", kind.word());
        }
    }
    text
}

#[test]
fn the_document_is_up_to_date() {
    let document = document();
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(file("docs/metrics.md"), &document).expect("the document is written");
    }
    assert!(text_of("docs/metrics.md") == document, "run this test with UPDATE_GOLDENFILES=1");
}

/// The names of metrics in a text: whatever begins with one of our prefixes.
fn names_in(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("quorate_") || word.starts_with("process_"))
        .collect()
}

/// Each expression of a text uses metrics that exist, and of a histogram what it has.
fn check_expression(place: &str, expression: &str) {
    for name in names_in(expression) {
        let metric = described().find(|metric| metric.name == metric_of(name));
        let metric = metric.unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
        assert_eq!(
            metric.kind == Kind::Histogram,
            metric.name != name,
            "{place}: {name} is a {:?}",
            metric.kind
        );
        let is_rated =
            ["rate(", "increase("].iter().any(|function| expression.contains(&format!("{function}{name}")));
        let counts = metric.kind != Kind::Gauge;
        assert_eq!(is_rated, counts, "{place}: {name} is a {:?}, in {expression}", metric.kind);
    }
}

#[test]
fn the_dashboard_uses_metrics_that_exist() {
    let dashboard: serde_json::Value = serde_json::from_str(&text_of("deploy/grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut used = BTreeSet::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().unwrap_or_else(|| panic!("{title}: no targets"));
        assert!(!targets.is_empty() && panel["description"].is_string(), "{title}");
        for target in targets {
            let expression = target["expr"].as_str().expect("an expression");
            check_expression(title, expression);
            used.extend(names_in(expression).into_iter().map(metric_of).map(str::to_owned));
        }
    }
    assert!(used.len() >= 30, "a dashboard of so few metrics tells little: {used:?}");
}

#[test]
fn the_alerts_use_metrics_that_exist_and_the_document_explains_each() {
    let text = text_of("deploy/alerts.yml");
    let value =
        |line: &str, key: &str| line.trim_start_matches([' ', '-']).strip_prefix(key).map(str::to_owned);
    let alerts: Vec<String> = text.lines().filter_map(|line| value(line, "alert: ")).collect();
    let expressions: Vec<String> = text.lines().filter_map(|line| value(line, "expr: ")).collect();
    assert_eq!(alerts.len(), expressions.len(), "each alert has an expression, on one line");
    for (alert, expression) in alerts.iter().zip(&expressions) {
        check_expression(alert, expression);
    }
    let explained: Vec<String> = INTRODUCTION
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned()))
        .collect();
    assert_eq!(alerts, explained);
}
