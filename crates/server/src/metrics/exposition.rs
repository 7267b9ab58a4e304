//! All figures of a node in Prometheus's text format.

use std::{
    fmt::{Display, Write as _},
    time::Duration,
};

use quorate_consensus::BootTime;

use super::{BUCKETS_US, Counter, Histogram, Metrics, catalogue};
use crate::{
    connection::{FrontDoor, Statistics},
    process,
    status::{MemberKind, NodeStatus, Peer, Role},
};

/// What the figures are taken from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed<'a> {
    pub(crate) status: &'a NodeStatus,
    pub(crate) metrics: &'a Metrics,
    pub(crate) front: &'a FrontDoor,
    /// The limit of what waits for one peer.
    pub(crate) peer_queue_bytes_max: usize,
    pub(crate) dropped_log_lines: usize,
    /// When the process started. It does not change with the wall clock: who watches it sees restarts, and nothing else.
    pub(crate) started_unix_s: i64,
    pub(crate) now: BootTime,
}

impl Observed<'_> {
    /// Everything.
    pub(crate) fn text(&self) -> String {
        let mut text = Text::default();
        self.identity(&mut text);
        self.cluster(&mut text);
        self.writes(&mut text);
        self.positions(&mut text);
        self.peers(&mut text);
        self.queues(&mut text);
        self.clients(&mut text);
        self.data(&mut text);
        self.snapshots(&mut text);
        self.process(&mut text);
        text.0
    }

    fn identity(&self, text: &mut Text) {
        let status = self.status;
        let cluster = status.cluster_id.as_deref().unwrap_or_default();
        let node = status.node_id.to_string();
        text.samples("quorate_info", [([&*node, &status.version, &status.engine, cluster], 1)]);
        text.plain("quorate_uptime_seconds", status.uptime_s);
        text.plain("quorate_incarnation", status.incarnation);
        text.plain("quorate_faults", status.faults.len());
        text.plain("quorate_loading", u64::from(status.loading));
    }

    fn cluster(&self, text: &mut Text) {
        let status = self.status;
        let roles = [
            ("leader", Role::Leader),
            ("follower", Role::Follower),
            ("candidate", Role::Candidate),
            ("learner", Role::Learner),
            ("witness", Role::Witness),
        ];
        text.samples("quorate_role", roles.map(|(name, role)| ([name], u64::from(status.role == role))));
        text.plain("quorate_leader_id", status.leader.as_ref().map_or(0, |leader| leader.node_id));
        text.plain("quorate_term", status.term);
        text.plain("quorate_elections_total", self.metrics.elections.get());
        text.plain("quorate_leader_changes_total", self.metrics.leader_changes.get());
        let kinds = [
            ("voter", MemberKind::Voter),
            ("learner", MemberKind::Learner),
            ("witness", MemberKind::Witness),
            ("joining", MemberKind::Joining),
            ("leaving", MemberKind::Leaving),
        ];
        let count = |kind| status.members.iter().filter(|member| member.kind == kind).count();
        text.samples("quorate_members", kinds.map(|(name, kind)| ([name], count(kind))));
        text.plain("quorate_voters", status.voters().count());
        text.plain("quorate_voters_connected", status.voters().filter(|id| status.reaches(*id)).count());
        text.plain("quorate_leading_quorum", status.quorums().to_lead());
        text.plain(
            "quorate_lease_seconds",
            seconds(Duration::from_millis(status.lease_ms.unwrap_or(0).into())),
        );
    }

    fn writes(&self, text: &mut Text) {
        let metrics = self.metrics;
        text.histogram("quorate_commit_seconds", [([], &metrics.commit)]);
        text.histogram("quorate_log_sync_seconds", [([], &metrics.log_sync)]);
        text.histogram("quorate_shard_step_seconds", [([], &metrics.step)]);
        text.histogram(
            "quorate_command_seconds",
            self.statistics().durations().map(|(kind, taken)| ([kind], taken)),
        );
        text.plain("quorate_log_writes_total", metrics.log_writes.get());
        text.plain("quorate_log_written_bytes_total", metrics.log_written_bytes.get());
    }

    fn positions(&self, text: &mut Text) {
        let log = &self.status.log;
        text.plain("quorate_log_first_index", log.first);
        text.plain("quorate_log_last_index", log.last);
        text.plain("quorate_log_durable_index", log.durable);
        text.plain("quorate_commit_index", log.committed);
        text.plain("quorate_applied_index", log.applied);
        text.plain("quorate_apply_lag_entries", log.committed.saturating_sub(log.applied));
        let age = self.status.fresh_as_of_us.map(|micros| self.now.since(BootTime { micros }));
        text.samples("quorate_data_age_seconds", age.map(|age| ([], seconds(age))));
    }

    fn peers(&self, text: &mut Text) {
        let (status, metrics) = (self.status, self.metrics);
        let peers: Vec<(String, &Peer)> =
            status.peers.iter().map(|peer| (peer.node_id.to_string(), peer)).collect();
        let all = || peers.iter().map(|(id, peer)| ([&**id], *peer));
        // What a leader alone knows.
        let followers = || all().filter(|_| status.role == Role::Leader);
        let of = |([id], peer): ([_; 1], &Peer), value: fn(&Peer) -> u64| ([id], value(peer));
        text.samples("quorate_peer_connected", all().map(|peer| of(peer, |peer| u64::from(peer.connected))));
        let silence = all().filter_map(|([id], peer)| {
            peer.heard_ms_ago.map(|millis| ([id], seconds(Duration::from_millis(millis))))
        });
        text.samples("quorate_peer_silence_seconds", silence);
        text.samples("quorate_peer_matched_index", followers().map(|peer| of(peer, |peer| peer.matched)));
        let last = status.log.last;
        let lags = followers().map(|([id], peer)| ([id], last.saturating_sub(peer.matched)));
        text.samples("quorate_peer_lag_entries", lags);
        let is_sent = |peer: &Peer| u64::from(peer.progress == "snapshot");
        text.samples("quorate_peer_snapshot", followers().map(|peer| of(peer, is_sent)));
        text.plain("quorate_messages_sent_total", metrics.messages_sent.get());
        text.plain("quorate_messages_received_total", metrics.messages_received.get());
        text.samples("quorate_messages_dropped_total", all().map(|peer| of(peer, |peer| peer.dropped)));
    }

    fn queues(&self, text: &mut Text) {
        let (metrics, queues) = (self.metrics, &self.status.queues);
        text.plain("quorate_input_queue", metrics.input_queue.get());
        text.plain("quorate_log_queue", metrics.log_queue.get());
        text.plain("quorate_snapshot_queue", metrics.snapshot_queue.get());
        text.plain("quorate_intake_bytes", queues.intake_bytes);
        text.plain("quorate_intake_bytes_max", queues.intake_bytes_max);
        text.plain("quorate_backlog_bytes", queues.backlog_bytes);
        text.plain("quorate_backlog_bytes_max", queues.backlog_bytes_max);
        text.plain("quorate_commands_in_flight", queues.commands_in_flight);
        text.plain("quorate_peer_queue_bytes", metrics.peer_queue_bytes.get());
        text.plain("quorate_peer_queue_bytes_max", self.peer_queue_bytes_max);
        text.plain("quorate_client_buffer_bytes", self.front.buffered_bytes());
        text.plain("quorate_client_buffer_bytes_max", self.front.limits().buffers_bytes_max);
    }

    fn clients(&self, text: &mut Text) {
        let statistics = self.statistics();
        let counted = |(name, counter): (&'static str, &Counter)| ([name], counter.get());
        text.plain("quorate_connections", self.front.connected());
        text.plain("quorate_connections_max", self.front.limits().clients_max);
        text.plain("quorate_connections_accepted_total", statistics.connections.get());
        text.plain("quorate_connections_refused_total", statistics.rejected.get());
        text.samples("quorate_connections_closed_total", statistics.cuts().map(counted));
        text.plain("quorate_commands_total", statistics.commands.get());
        text.plain("quorate_requests_total", self.metrics.requests.get());
        text.plain("quorate_answers_total", self.metrics.answers.get());
        text.samples("quorate_errors_total", statistics.errors().map(counted));
        text.plain("quorate_slow_commands_total", statistics.slow.get());
        text.plain("quorate_commands_waiting", self.status.commands_waiting);
        text.plain("quorate_received_bytes_total", statistics.input_bytes.get());
        text.plain("quorate_sent_bytes_total", statistics.output_bytes.get());
    }

    fn data(&self, text: &mut Text) {
        let status = self.status;
        let locks = &self.statistics().locks;
        text.plain("quorate_keys", status.databases.iter().map(|database| database.keys).sum::<u64>());
        let expiring = status.databases.iter().map(|database| database.expires).sum::<u64>();
        text.plain("quorate_expiring_keys", expiring);
        let attempts = [(["taken"], locks.taken.get()), (["refused"], locks.refused.get())];
        text.samples("quorate_lock_attempts_total", attempts);
        text.plain("quorate_cluster_commands_waiting", status.cluster_commands_waiting);
        text.plain("quorate_scripts", status.scripts);
        text.plain("quorate_sessions", status.sessions);
        text.plain("quorate_data_bytes", status.memory_bytes);
        text.plain("quorate_data_bytes_max", status.memory_bytes_max);
    }

    fn snapshots(&self, text: &mut Text) {
        let snapshots = &self.metrics.snapshots;
        text.plain("quorate_snapshot_index", self.status.log.snapshot);
        text.plain("quorate_snapshot_bytes", snapshots.bytes.get());
        text.histogram("quorate_snapshot_seconds", [([], &snapshots.making)]);
        text.plain("quorate_snapshot_failures_total", snapshots.failures.get());
        text.plain("quorate_snapshot_made_bytes", snapshots.made_bytes.get());
        text.plain("quorate_snapshot_received_bytes", snapshots.received_bytes.get());
        text.plain("quorate_snapshot_received_bytes_max", snapshots.received_bytes_max.get());
        text.plain("quorate_snapshot_sent_bytes_total", snapshots.sent_bytes.get());
    }

    fn process(&self, text: &mut Text) {
        text.plain("quorate_disk_available_bytes", self.metrics.disk_available_bytes.get());
        text.plain("quorate_inputs_total", self.metrics.inputs.get());
        text.plain("quorate_log_lines_dropped_total", self.dropped_log_lines);
        // What the system does not tell is left out.
        let cpu = process::cpu_time().map(|cpu| ([], seconds(cpu.user + cpu.system)));
        text.samples("process_cpu_seconds_total", cpu);
        text.samples("process_resident_memory_bytes", process::resident_bytes().map(|bytes| ([], bytes)));
        text.samples("process_open_fds", process::open_files().map(|files| ([], files)));
        text.samples("process_max_fds", process::open_files_max().map(|files| ([], files)));
        text.plain("process_start_time_seconds", self.started_unix_s);
    }

    fn statistics(&self) -> &Statistics {
        self.front.statistics()
    }
}

/// Seconds as Prometheus wants them.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// Prometheus's text format, being written. All samples of a metric are written at once, behind its description.
#[derive(Default)]
struct Text(String);

impl Text {
    /// A metric without labels.
    fn plain(&mut self, name: &str, value: impl Display) {
        self.samples(name, [([], value)]);
    }

    /// A metric's values, each with the values of its labels.
    fn samples<'l, const N: usize, V: Display>(
        &mut self,
        name: &str,
        samples: impl IntoIterator<Item = ([&'l str; N], V)>,
    ) {
        let labels = self.describe(name);
        for (values, value) in samples {
            let written = written(labels, &values, None);
            self.line(format_args!("{name}{written} {value}"));
        }
    }

    /// A metric's distributions, each with the values of its labels.
    fn histogram<'h, const N: usize>(
        &mut self,
        name: &str,
        histograms: impl IntoIterator<Item = ([&'h str; N], &'h Histogram)>,
    ) {
        let labels = self.describe(name);
        for (values, histogram) in histograms {
            let mut total = 0;
            for (end, bucket) in BUCKETS_US.iter().zip(&histogram.buckets) {
                total += bucket.get();
                let end = seconds(Duration::from_micros(*end)).to_string();
                self.line(format_args!("{name}_bucket{} {total}", written(labels, &values, Some(&end))));
            }
            total += histogram.beyond.get();
            let plain = written(labels, &values, None);
            self.line(format_args!("{name}_bucket{} {total}", written(labels, &values, Some("+Inf"))));
            self.line(format_args!("{name}_sum{plain} {}", seconds(histogram.sum())));
            self.line(format_args!("{name}_count{plain} {total}"));
        }
    }

    /// Writes what a metric is; its labels' names.
    fn describe(&mut self, name: &str) -> &'static [&'static str] {
        let described =
            catalogue::description(name).expect("each metric that is shown stands in the catalogue");
        let help = described.help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {}", described.kind.word()));
        described.labels
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a string takes all text");
    }
}

/// Labels with their values, and a bucket's end. No value needs an escape: they are numbers, and words of this program.
fn written(names: &[&str], values: &[&str], bucket_end: Option<&str>) -> String {
    assert_eq!(names.len(), values.len(), "labels {names:?} with values {values:?}");
    let end = bucket_end.map(|end| ("le", end));
    let pairs = names.iter().copied().zip(values.iter().copied()).chain(end);
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}
