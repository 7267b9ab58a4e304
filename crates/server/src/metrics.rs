//! Figures about this process, counted where things happen and shown by `/metrics`.
//!
//! Counting is one relaxed atomic addition. What is derived from the node's state (role, term, positions) is not
//! counted here: it is in the [`NodeStatus`] that the shard publishes.

use std::{
    fmt::{Display, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::status::{NodeStatus, Role};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// Counts `more`.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// The number is now this.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number as it was set last.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper ends of a histogram's buckets in microseconds: from a fast SSD's write to a stalled disk.
const BUCKETS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// How long something took, by buckets.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Durations of up to the bucket's end and beyond the one before.
    buckets: [Counter; BUCKETS_US.len()],
    count: Counter,
    sum_us: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = BUCKETS_US.iter().position(|&end| micros <= end) {
            self.buckets[bucket].increment();
        }
        self.count.increment();
        self.sum_us.add(micros);
    }
}

/// What this process counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// How long each fdatasync of the log took.
    pub(crate) log_sync: Histogram,
    /// How long a step of the shard took, from its first input to its last output.
    pub(crate) step: Histogram,
    /// Inputs of all kinds that the shard has taken.
    pub(crate) inputs: Counter,
    /// Requests of clients that the shard has taken.
    pub(crate) requests: Counter,
    /// Answers that the shard has given.
    pub(crate) answers: Counter,
    /// Writes handed to the log's thread.
    pub(crate) log_writes: Counter,
    /// Messages to peers.
    pub(crate) messages_sent: Counter,
    /// Messages from peers.
    pub(crate) messages_received: Counter,
    /// How often this node stood for election.
    pub(crate) elections: Counter,
    /// Clients' connections now.
    pub(crate) connections: Gauge,
    /// Tasks that wait for the log's thread.
    pub(crate) log_queue: Gauge,
    /// Tasks that wait for the snapshots' thread.
    pub(crate) snapshot_queue: Gauge,
    /// Inputs that wait for the shard.
    pub(crate) input_queue: Gauge,
    /// Bytes that wait for peers.
    pub(crate) peer_queue_bytes: Gauge,
    /// Bytes that can still be written to the data folder's disk.
    pub(crate) disk_available_bytes: Gauge,
}

impl Metrics {
    /// All figures in Prometheus's text format.
    pub(crate) fn text(&self, status: &NodeStatus, dropped_log_lines: usize) -> String {
        let mut text = Text::default();
        text.of_node(status);
        text.of_log(status);
        text.of_process(self, dropped_log_lines);
        for peer in &status.peers {
            let id = peer.node_id;
            let labels = format!("{{peer=\"{id}\"}}");
            text.sample("quorate_peer_connected", &labels, u64::from(peer.connected));
            text.sample("quorate_peer_matched_index", &labels, peer.matched);
        }
        text.histogram("quorate_log_sync_seconds", "duration of the log's fdatasync", &self.log_sync);
        text.histogram("quorate_shard_step_seconds", "duration of a step of the shard", &self.step);
        text.0
    }
}

/// Prometheus's text format, being written.
#[derive(Default)]
struct Text(String);

impl Text {
    fn of_node(&mut self, status: &NodeStatus) {
        self.describe("quorate_info", "gauge", "who this is");
        let labels = format!(
            "{{node=\"{}\",version=\"{}\",engine=\"{}\",cluster=\"{}\"}}",
            status.node_id,
            status.version,
            status.engine,
            status.cluster_id.as_deref().unwrap_or_default()
        );
        self.sample("quorate_info", &labels, 1);
        self.describe("quorate_role", "gauge", "1 for the role that this node plays");
        let roles = [
            ("leader", Role::Leader),
            ("follower", Role::Follower),
            ("candidate", Role::Candidate),
            ("learner", Role::Learner),
            ("witness", Role::Witness),
        ];
        for (name, role) in roles {
            self.sample("quorate_role", &format!("{{role=\"{name}\"}}"), u64::from(status.role == role));
        }
        let leader = status.leader.as_ref().map_or(0, |leader| leader.node_id);
        self.gauge("quorate_leader_id", "the leader that this node knows, 0 for none", leader);
        self.gauge("quorate_term", "the present term", status.term);
        self.gauge(
            "quorate_loading",
            "1 until all that was committed at start is applied",
            u64::from(status.loading),
        );
        self.gauge("quorate_faults", "what is wrong with this node", status.faults.len());
        self.gauge("quorate_uptime_seconds", "since the start of the process", status.uptime_s);
        self.gauge("quorate_incarnation", "how often this node was started on its data", status.incarnation);
        let keys: u64 = status.databases.iter().map(|database| database.keys).sum();
        let expires: u64 = status.databases.iter().map(|database| database.expires).sum();
        self.gauge("quorate_keys", "keys in all databases", keys);
        self.gauge("quorate_expiring_keys", "keys with a time to live", expires);
        self.gauge("quorate_data_bytes", "the data's size by the machine's own account", status.memory_bytes);
        self.gauge("quorate_data_bytes_max", "its replicated limit, 0 for none", status.memory_bytes_max);
    }

    fn of_log(&mut self, status: &NodeStatus) {
        let log = &status.log;
        self.gauge("quorate_log_first_index", "the first entry in the log", log.first);
        self.gauge("quorate_log_last_index", "the last entry in the log", log.last);
        self.gauge("quorate_log_durable_index", "the last entry on this node's disk", log.durable);
        self.gauge("quorate_commit_index", "the last entry known to be committed", log.committed);
        self.gauge("quorate_applied_index", "the last entry applied", log.applied);
        let lag = log.committed.saturating_sub(log.applied);
        self.gauge("quorate_apply_lag_entries", "entries committed and not yet applied here", lag);
        self.gauge("quorate_snapshot_index", "the last entry in the newest snapshot", log.snapshot);
        self.describe("quorate_peer_connected", "gauge", "1 if the transport has a connection to the peer");
        self.describe(
            "quorate_peer_matched_index",
            "gauge",
            "the peer's last durable entry, as its leader knows it",
        );
    }

    fn of_process(&mut self, metrics: &Metrics, dropped_log_lines: usize) {
        self.counter("quorate_requests_total", "clients' requests to the keyspace", metrics.requests.get());
        self.counter("quorate_answers_total", "answers to them", metrics.answers.get());
        self.counter("quorate_inputs_total", "inputs of all kinds that the shard took", metrics.inputs.get());
        self.counter("quorate_log_writes_total", "writes handed to the log", metrics.log_writes.get());
        self.counter("quorate_messages_sent_total", "messages to peers", metrics.messages_sent.get());
        self.counter(
            "quorate_messages_received_total",
            "messages from peers",
            metrics.messages_received.get(),
        );
        self.counter(
            "quorate_elections_total",
            "how often this node stood for election",
            metrics.elections.get(),
        );
        self.counter(
            "quorate_log_lines_dropped_total",
            "log lines that standard error did not take",
            dropped_log_lines,
        );
        self.gauge("quorate_connections", "clients' connections", metrics.connections.get());
        self.gauge("quorate_input_queue", "inputs that wait for the shard", metrics.input_queue.get());
        self.gauge("quorate_log_queue", "tasks that wait for the log", metrics.log_queue.get());
        self.gauge(
            "quorate_snapshot_queue",
            "tasks that wait for the snapshot store",
            metrics.snapshot_queue.get(),
        );
        self.gauge("quorate_peer_queue_bytes", "bytes that wait for peers", metrics.peer_queue_bytes.get());
        let room = metrics.disk_available_bytes.get();
        self.gauge("quorate_disk_available_bytes", "room on the disk of the data folder", room);
        if let Some(bytes) = resident_bytes() {
            self.gauge("process_resident_memory_bytes", "memory of this process", bytes);
        }
    }

    fn describe(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.describe(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.describe(name, "counter", help);
        self.sample(name, "", value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.describe(name, "histogram", help);
        let mut total = 0;
        for (end, bucket) in BUCKETS_US.iter().zip(&histogram.buckets) {
            total += bucket.get();
            let seconds = Duration::from_micros(*end).as_secs_f64();
            self.line(format_args!("{name}_bucket{{le=\"{seconds}\"}} {total}"));
        }
        let count = histogram.count.get();
        let sum = Duration::from_micros(histogram.sum_us.get()).as_secs_f64();
        self.line(format_args!(
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}"
        ));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        self.line(format_args!("{name}{labels} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes all text");
    }
}

/// The resident memory of this process in bytes, where the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sample_belongs_to_a_described_metric() {
        let metrics = Metrics::default();
        metrics.log_sync.record(Duration::from_micros(70));
        metrics.log_sync.record(Duration::from_secs(100));
        let status = NodeStatus { peers: vec![crate::status::Peer::default()], ..NodeStatus::default() };
        let text = metrics.text(&status, 3);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let base =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(text.contains(&format!("# TYPE {base} ")), "{line}");
        }
    }

    #[test]
    fn buckets_are_cumulative_and_the_last_counts_all() {
        let metrics = Metrics::default();
        metrics.log_sync.record(Duration::from_micros(70));
        metrics.log_sync.record(Duration::from_micros(300));
        metrics.log_sync.record(Duration::from_secs(100));
        let text = metrics.text(&NodeStatus::default(), 0);
        for line in [
            "quorate_log_sync_seconds_bucket{le=\"0.00005\"} 0",
            "quorate_log_sync_seconds_bucket{le=\"0.0001\"} 1",
            "quorate_log_sync_seconds_bucket{le=\"0.0005\"} 2",
            "quorate_log_sync_seconds_bucket{le=\"+Inf\"} 3",
            "quorate_log_sync_seconds_count 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_memory_of_a_process_is_more_than_nothing() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
