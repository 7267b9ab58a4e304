//! What `/metrics` shows, in words: each metric's name, kind and labels, what it tells, and when to worry.
//!
//! A metric that does not stand here cannot be shown ([`super::exposition`] looks its description up), and one that stands
//! here and is not shown fails a test. `docs/metrics.md` is made of this table, and a test checks that
//! `deploy/grafana.json` and `deploy/alerts.yml` use nothing else.

/// What a metric's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number that only grows while the process lives.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// Durations by buckets, with their number and sum.
    Histogram,
}

impl Kind {
    /// Prometheus's word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric in words.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The names of its labels. The values of each are few and known: nothing that a client sends becomes one.
    pub(super) labels: &'static [&'static str],
    /// What it tells.
    pub(super) help: &'static str,
    /// When to worry; empty if it only explains others.
    #[cfg_attr(not(test), expect(dead_code, reason = "the document is made by a test"))]
    pub(super) worry: &'static str,
}

/// Metrics that answer one question.
#[derive(Debug)]
pub(super) struct Chapter {
    #[cfg_attr(not(test), expect(dead_code, reason = "the document is made by a test"))]
    pub(super) title: &'static str,
    pub(super) metrics: &'static [Description],
}

const fn counter(name: &'static str, help: &'static str, worry: &'static str) -> Description {
    Description { name, kind: Kind::Counter, labels: &[], help, worry }
}

const fn gauge(name: &'static str, help: &'static str, worry: &'static str) -> Description {
    Description { name, kind: Kind::Gauge, labels: &[], help, worry }
}

const fn histogram(name: &'static str, help: &'static str, worry: &'static str) -> Description {
    Description { name, kind: Kind::Histogram, labels: &[], help, worry }
}

impl Description {
    const fn by(self, labels: &'static [&'static str]) -> Self {
        Self { labels, ..self }
    }
}

/// The description of a metric.
pub(super) fn description(name: &str) -> Option<&'static Description> {
    CHAPTERS.iter().flat_map(|chapter| chapter.metrics).find(|metric| metric.name == name)
}

/// All of them.
pub(super) const CHAPTERS: &[Chapter] = &[
    Chapter { title: "Who this is", metrics: IDENTITY },
    Chapter { title: "Is there a leader, and a quorum?", metrics: CLUSTER },
    Chapter { title: "How long does a write take?", metrics: WRITES },
    Chapter { title: "Is this node up to date?", metrics: POSITIONS },
    Chapter { title: "The other nodes", metrics: PEERS },
    Chapter { title: "Queues and their limits", metrics: QUEUES },
    Chapter { title: "Clients", metrics: CLIENTS },
    Chapter { title: "Data and locks", metrics: DATA },
    Chapter { title: "Snapshots", metrics: SNAPSHOTS },
    Chapter { title: "The process", metrics: PROCESS },
];

const IDENTITY: &[Description] = &[
    gauge("quorate_info", "1; the labels say who this is", "").by(&["node", "version", "engine", "cluster"]),
    gauge("quorate_uptime_seconds", "seconds since the process started", "it is small again and again"),
    gauge("quorate_incarnation", "how often this node was started on its data", ""),
    gauge(
        "quorate_faults",
        "how many things are wrong with this node; `quorate status` says what",
        "above 0",
    ),
    gauge(
        "quorate_loading",
        "1 until the node has joined its cluster and applied all that was committed at its start",
        "1 for minutes",
    ),
];

const CLUSTER: &[Description] = &[
    gauge("quorate_role", "1 for the role that this node plays", "no node is leader").by(&["role"]),
    gauge(
        "quorate_leader_id",
        "the leader that this node knows; 0 for none",
        "0 for longer than an election",
    ),
    gauge("quorate_term", "the present term", "it grows though nobody ends a node"),
    counter(
        "quorate_elections_total",
        "how often this node stood for election",
        "it grows while the leader lives: heartbeats are late or lost",
    ),
    counter(
        "quorate_leader_changes_total",
        "how often this node has come to know another leader than before, the first one included",
        "more than the restarts and transfers that you know of",
    ),
    gauge("quorate_members", "members of the cluster by what they are", "").by(&["kind"]),
    gauge("quorate_voters", "nodes that vote, as far as this node knows", ""),
    gauge(
        "quorate_voters_connected",
        "those of them that this node is connected to, itself included",
        "less than `quorate_voters`; at `quorate_leading_quorum` the loss of the leader stops the cluster",
    ),
    gauge(
        "quorate_leading_quorum",
        "how many of those that vote a new leader must reach, to be elected and to commit",
        "",
    ),
    gauge("quorate_lease_seconds", "for how long a leader may answer reads alone; 0 for never", ""),
];

const WRITES: &[Description] = &[
    histogram(
        "quorate_commit_seconds",
        "on the leader, from handing an entry to log and peers until it is committed and applied",
        "its 99th percentile is far above that of `quorate_log_sync_seconds`: the network or the peers' disks",
    ),
    histogram(
        "quorate_log_sync_seconds",
        "how long the log's fdatasync took",
        "its 99th percentile is near the election time-out",
    ),
    histogram(
        "quorate_shard_step_seconds",
        "how long a step of the shard took, from its first input to its last output",
        "above the heartbeat interval: commands that take much time",
    ),
    histogram(
        "quorate_command_seconds",
        "from reading a client's command until its reply has come, by what it needs: an entry of the log (`write`, \
         `script`, `transaction`), a majority's word (`read`), or this node alone (`local`)",
        "writes take much longer than `quorate_commit_seconds`",
    )
    .by(&["kind"]),
    counter("quorate_log_writes_total", "writes handed to the log's thread", ""),
    counter("quorate_log_written_bytes_total", "bytes of entries written to the log", ""),
];

const POSITIONS: &[Description] = &[
    gauge("quorate_log_first_index", "the first entry in the log", ""),
    gauge("quorate_log_last_index", "the last entry in the log", ""),
    gauge(
        "quorate_log_durable_index",
        "the last entry on this node's disk",
        "it stands still while the last one grows",
    ),
    gauge(
        "quorate_commit_index",
        "the last entry known to be committed",
        "it stands still while clients write",
    ),
    gauge("quorate_applied_index", "the last entry applied", ""),
    gauge("quorate_apply_lag_entries", "entries committed and not yet applied here", "above 0 for seconds"),
    gauge(
        "quorate_data_age_seconds",
        "how old this node's data may be; absent before that is known",
        "above a second: it hears nothing from a leader that has a majority",
    ),
];

const PEERS: &[Description] = &[
    gauge("quorate_peer_connected", "1 if there is a connection to the peer", "0").by(&["peer"]),
    gauge("quorate_peer_silence_seconds", "since a frame of the peer's arrived; absent before one did", "above a second")
        .by(&["peer"]),
    gauge("quorate_peer_matched_index", "the peer's last durable entry; shown by the leader alone", "").by(&["peer"]),
    gauge(
        "quorate_peer_lag_entries",
        "entries of the leader's log that the peer does not have on its disk; shown by the leader alone",
        "it grows for a minute",
    )
    .by(&["peer"]),
    gauge(
        "quorate_peer_snapshot",
        "1 while the peer is sent a snapshot, since the log does not reach far enough back; shown by the leader alone",
        "1 for long: the peer never gets through",
    )
    .by(&["peer"]),
    counter("quorate_messages_sent_total", "messages to peers", ""),
    counter("quorate_messages_received_total", "messages from peers", ""),
    counter(
        "quorate_messages_dropped_total",
        "messages to the peer that were dropped, since it was away or its queue was full; each is sent again later",
        "it grows while the peer is connected: it takes messages too slowly",
    )
    .by(&["peer"]),
];

const QUEUES: &[Description] = &[
    gauge(
        "quorate_input_queue",
        "inputs that wait for the shard; bounded by the clients' pipelines, `max-clients` times `max-pipeline`",
        "thousands for seconds: the shard does not keep up",
    ),
    gauge(
        "quorate_log_queue",
        "tasks that wait for the log's thread",
        "above 0 for seconds: the disk stalls",
    ),
    gauge("quorate_snapshot_queue", "tasks that wait for the snapshots' thread", ""),
    gauge(
        "quorate_intake_bytes",
        "on the leader, commands taken in and not yet in the log",
        "near its limit: commands wait at their nodes",
    ),
    gauge("quorate_intake_bytes_max", "the limit of that", ""),
    gauge(
        "quorate_backlog_bytes",
        "entries committed and not yet applied here",
        "near its limit: the log may not grow",
    ),
    gauge("quorate_backlog_bytes_max", "the limit of that", ""),
    gauge("quorate_commands_in_flight", "commands of this node's clients that are not applied yet", ""),
    gauge("quorate_peer_queue_bytes", "bytes that wait for all peers together", "near the limit of one peer"),
    gauge("quorate_peer_queue_bytes_max", "the limit for each peer, `max-peer-queue-bytes`", ""),
    gauge(
        "quorate_client_buffer_bytes",
        "bytes that clients' buffers hold",
        "near its limit: clients are cut off",
    ),
    gauge("quorate_client_buffer_bytes_max", "the limit of that", ""),
];

const CLIENTS: &[Description] = &[
    gauge("quorate_connections", "clients' connections", "near its limit"),
    gauge("quorate_connections_max", "the limit of that, `max-clients`", ""),
    counter("quorate_connections_accepted_total", "connections accepted", "it grows fast: clients do not keep theirs"),
    counter("quorate_connections_refused_total", "connections refused, since there were too many", "it grows"),
    counter(
        "quorate_connections_closed_total",
        "connections that this node has closed, by cause: unread replies beyond a limit (`output`), replies left unread \
         for too long (`stalled`), missed messages (`messages`), too long a silence (`idle`), full buffers (`buffers`), \
         an outcome that is unknown (`unknown`)",
        "any but `idle` grows",
    )
    .by(&["cause"]),
    counter("quorate_commands_total", "commands of clients, whoever answered them", ""),
    counter("quorate_requests_total", "those of them that the shard has taken", ""),
    counter("quorate_answers_total", "answers of the shard", ""),
    counter(
        "quorate_errors_total",
        "errors that clients were answered, by the error's first word; `other` for those of scripts",
        "`CLUSTERDOWN`: no leader; `MISCONF`: the disk is full; `OOM`: the data are; `BUSY`: too much at once; \
         `LOADING`: a node recovers",
    )
    .by(&["code"]),
    counter("quorate_slow_commands_total", "commands that `SLOWLOG` has remembered", "it grows"),
    gauge("quorate_commands_waiting", "commands of this node's clients that wait for something, such as BLPOP", ""),
    counter("quorate_received_bytes_total", "bytes from clients", ""),
    counter("quorate_sent_bytes_total", "bytes to clients", ""),
];

const DATA: &[Description] = &[
    gauge("quorate_keys", "keys in all databases", ""),
    gauge(
        "quorate_expiring_keys",
        "those of them that have a time to live: locks, leases and sessions of Redis code are such keys",
        "it grows without end: locks that nobody releases, and whose TTL is long",
    ),
    counter(
        "quorate_lock_attempts_total",
        "how often clients of this node tried to take a lock by `SET key value NX` or `SETNX`, and whether they did; \
         not those within scripts and transactions",
        "refusals are most of them: much contention, or a holder that hangs",
    )
    .by(&["outcome"]),
    gauge("quorate_cluster_commands_waiting", "commands of all nodes' clients that wait", ""),
    gauge("quorate_scripts", "scripts in the replicated cache", ""),
    gauge("quorate_sessions", "sessions of nodes that the machine remembers", ""),
    gauge("quorate_data_bytes", "the data's size by the machine's own account", "near its limit"),
    gauge("quorate_data_bytes_max", "the limit of that, `maxmemory`; 0 for none", ""),
];

const SNAPSHOTS: &[Description] = &[
    gauge(
        "quorate_snapshot_index",
        "the last entry in the newest snapshot",
        "it stands still while the log grows",
    ),
    gauge(
        "quorate_snapshot_bytes",
        "the size of the last snapshot that was made or received; 0 before one was",
        "",
    ),
    histogram("quorate_snapshot_seconds", "how long the writing of a snapshot of this node's own took", ""),
    counter(
        "quorate_snapshot_failures_total",
        "snapshots that could not be made, or were received and rejected",
        "it grows",
    ),
    gauge("quorate_snapshot_made_bytes", "bytes written of the snapshot that is being made; 0 for none", ""),
    gauge(
        "quorate_snapshot_received_bytes",
        "bytes of the snapshot that the leader is sending here; 0 for none",
        "it begins anew again and again",
    ),
    gauge("quorate_snapshot_received_bytes_max", "the size of that snapshot; 0 for none", ""),
    counter("quorate_snapshot_sent_bytes_total", "bytes of snapshots that were read for peers", ""),
];

const PROCESS: &[Description] = &[
    gauge(
        "quorate_disk_available_bytes",
        "room on the disk of the data folder",
        "less than a few segments and a snapshot",
    ),
    counter("quorate_inputs_total", "inputs of all kinds that the shard took", ""),
    counter("quorate_log_lines_dropped_total", "log lines that standard error did not take", "it grows"),
    counter("process_cpu_seconds_total", "processor time of this process, user and system", ""),
    gauge("process_resident_memory_bytes", "memory of this process", "near what the machine has"),
    gauge("process_open_fds", "open files", "near its limit"),
    gauge("process_max_fds", "the limit of that", ""),
    gauge("process_start_time_seconds", "when the process started, in seconds since 1970", ""),
];
