//! INFO: the node's status in Redis's sections and field names, since clients read it to find out whom they
//! talk to. What has no counterpart here is left out, except for fields that clients are known to need.

use std::{
    collections::BTreeSet,
    fmt::{Display, Write},
};

use bytes::Bytes;

use crate::{
    connection::{FrontDoor, REDIS_VERSION},
    handle::Reply,
    process,
    status::{NodeStatus, Role},
    subscriptions::Topic,
};

/// Writes the fields of one section.
type Fill = fn(&mut Section<'_>);

/// The sections in the order in which they are shown.
const SECTIONS: &[(&str, Fill)] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Modules", |_| {}),
    ("Commandstats", command_stats),
    ("Errorstats", error_stats),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
    ("Quorate", quorate),
];

/// Those of a Sentinel door.
const SENTINEL_SECTIONS: &[(&str, Fill)] = &[
    ("Server", server),
    ("Clients", clients),
    ("Stats", stats),
    ("CPU", cpu),
    ("Sentinel", sentinel),
    ("Quorate", quorate),
];

/// The section that Redis shows only to those who ask for it, or for all.
const NOT_BY_DEFAULT: &str = "Commandstats";

/// `INFO [section ..]`; none means the default, which is nearly all of them.
pub(super) fn run(front: &FrontDoor, arguments: &[Bytes]) -> Reply {
    let wanted: BTreeSet<String> =
        arguments[1..].iter().map(|section| String::from_utf8_lossy(section).to_ascii_lowercase()).collect();
    let all = ["all", "everything"].iter().any(|word| wanted.contains(*word));
    let by_default = wanted.is_empty() || wanted.contains("default");
    let status = front.shard.status();
    let sections = if front.sentinel.is_some() { SENTINEL_SECTIONS } else { SECTIONS };
    let mut text = String::new();
    for (name, fill) in sections {
        let is_wanted = all || (by_default && *name != NOT_BY_DEFAULT);
        if is_wanted || wanted.contains(&name.to_ascii_lowercase()) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let mut section = Section { front, status: &status, text: &mut text };
            section.heading(name);
            fill(&mut section);
        }
    }
    Reply::Verbatim(text.into())
}

struct Section<'a> {
    front: &'a FrontDoor,
    status: &'a NodeStatus,
    text: &'a mut String,
}

impl Section<'_> {
    fn heading(&mut self, name: &str) {
        self.text.push_str("# ");
        self.text.push_str(name);
        self.text.push_str("\r\n");
    }

    fn field(&mut self, name: impl Display, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{name}:{value}\r\n");
    }
}

fn server(section: &mut Section<'_>) {
    let status = section.status;
    section.field("redis_version", REDIS_VERSION);
    section.field("quorate_version", &status.version);
    section.field("quorate_cluster_version", status.cluster_version);
    section.field("quorate_cluster_version_max", status.cluster_version_max);
    section.field("redis_mode", section.front.mode());
    section.field("os", std::env::consts::OS);
    section.field("multiplexing_api", "tokio");
    section.field("arch_bits", usize::BITS);
    section.field("process_id", std::process::id());
    section.field("run_id", &status.run_id);
    section.field("tcp_port", section.front.port);
    // What Redis does on its own runs by need here, and not so many times in a second.
    section.field("hz", 0);
    section.field("server_time_usec", status.calendar_ms.saturating_mul(1000));
    section.field("uptime_in_seconds", status.uptime_s);
    section.field("uptime_in_days", status.uptime_s / 86_400);
}

fn clients(section: &mut Section<'_>) {
    section.field("connected_clients", section.front.clients.count());
    section.field("maxclients", section.front.limits.clients_max);
    section.field("blocked_clients", section.status.commands_waiting);
    section.field("cluster_blocked_clients", section.status.cluster_commands_waiting);
}

fn memory(section: &mut Section<'_>) {
    let status = section.status;
    section.field("used_memory", status.memory_bytes);
    section.field("used_memory_human", human(status.memory_bytes));
    if let Some(resident) = process::resident_bytes() {
        section.field("used_memory_rss", resident);
        section.field("used_memory_rss_human", human(resident));
    }
    section.field("used_memory_dataset", status.memory_bytes);
    section.field("number_of_cached_scripts", status.scripts);
    section.field("maxmemory", status.memory_bytes_max);
    section.field("maxmemory_human", human(status.memory_bytes_max));
    section.field("maxmemory_policy", "noeviction");
    section.field("mem_clients_normal", section.front.budget.used());
}

fn persistence(section: &mut Section<'_>) {
    section.field("loading", u8::from(section.status.loading));
    section.field("async_loading", 0);
    section.field("rdb_bgsave_in_progress", 0);
    section.field("rdb_last_bgsave_status", "ok");
    section.field("rdb_changes_since_last_save", entries_since_snapshot(section.status));
    section.field("aof_enabled", 1);
    section.field("aof_last_write_status", if section.status.faults.is_empty() { "ok" } else { "err" });
}

fn stats(section: &mut Section<'_>) {
    let [connections, commands, rejected] = section.front.counters();
    section.field("total_connections_received", connections);
    section.field("total_commands_processed", commands);
    let statistics = section.front.statistics();
    section.field("instantaneous_ops_per_sec", statistics.commands_per_second.get());
    section.field("total_net_input_bytes", statistics.input_bytes.get());
    section.field("total_net_output_bytes", statistics.output_bytes.get());
    section.field("total_error_replies", statistics.errors_total());
    section.field("rejected_connections", rejected);
    let subscriptions = section.front.shard.subscriptions();
    let [channels, patterns, sharded] =
        [Topic::Channel, Topic::Pattern, Topic::Sharded].map(|topic| subscriptions.count(topic));
    section.field("pubsub_channels", channels);
    section.field("pubsub_patterns", patterns);
    section.field("pubsubshard_channels", sharded);
}

fn replication(section: &mut Section<'_>) {
    let status = section.status;
    match status.role {
        Role::Leader => section.field("role", "master"),
        Role::Follower | Role::Candidate | Role::Learner | Role::Witness => {
            section.field("role", "slave");
            let leader = status.leader.clone().unwrap_or_default();
            section.field("master_host", leader.host);
            section.field("master_port", leader.port);
            section.field("master_link_status", if leader.connected { "up" } else { "down" });
            section.field("master_last_io_seconds_ago", if leader.connected { 0 } else { -1 });
            section.field("master_sync_in_progress", 0);
            section.field("slave_repl_offset", status.log.applied);
            section.field("slave_priority", 100);
            section.field("slave_read_only", 0);
        }
    }
    section.field("connected_slaves", status.connected_slaves);
    if status.role == Role::Leader {
        for (number, peer) in status.servers().filter(|peer| peer.connected).enumerate() {
            let lag_s = peer.heard_ms_ago.unwrap_or(0) / 1000;
            let line = format!(
                "ip={},port={},state=online,offset={},lag={lag_s}",
                peer.host, peer.port, peer.matched
            );
            section.field(format_args!("slave{number}"), line);
        }
    }
    section.field("master_failover_state", "no-failover");
    // Redis's id of a history of data is 40 digits; a cluster's is 32.
    section.field("master_replid", format_args!("{:0<40}", status.cluster_id.as_deref().unwrap_or("")));
    section.field("master_repl_offset", status.log.applied);
}

fn sentinel(section: &mut Section<'_>) {
    let status = section.status;
    let line = section.front.sentinel.as_ref().and_then(|sentinel| sentinel.view(status).line());
    section.field("sentinel_masters", u8::from(line.is_some()));
    section.field("sentinel_tilt", 0);
    section.field("sentinel_tilt_since_seconds", -1);
    section.field("sentinel_running_scripts", 0);
    section.field("sentinel_scripts_queue_length", 0);
    section.field("sentinel_simulate_failure_flags", 0);
    if let Some(line) = line {
        section.field("master0", line);
    }
}

fn cluster(section: &mut Section<'_>) {
    section.field("cluster_enabled", 0);
}

fn cpu(section: &mut Section<'_>) {
    if let Some(cpu) = process::cpu_time() {
        section.field("used_cpu_sys", format_args!("{:.6}", cpu.system.as_secs_f64()));
        section.field("used_cpu_user", format_args!("{:.6}", cpu.user.as_secs_f64()));
    }
}

/// What commands took here is how long their clients were kept, replication included.
fn command_stats(section: &mut Section<'_>) {
    for (name, figures) in section.front.statistics().commands() {
        let (calls, micros) = (figures.calls.get(), figures.micros.get());
        let each = if calls == 0 { 0.0 } else { micros as f64 / calls as f64 };
        let (rejected, failed) = (figures.rejected.get(), figures.failed.get());
        section.field(
            format_args!("cmdstat_{name}"),
            format_args!(
                "calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

fn error_stats(section: &mut Section<'_>) {
    for (code, counter) in section.front.statistics().errors() {
        if counter.get() > 0 {
            section.field(format_args!("errorstat_{code}"), format_args!("count={}", counter.get()));
        }
    }
}

fn keyspace(section: &mut Section<'_>) {
    for database in &section.status.databases {
        if database.keys > 0 {
            let line =
                format_args!("keys={},expires={},avg_ttl=0", database.keys, database.expires).to_string();
            section.field(format_args!("db{}", database.number), line);
        }
    }
}

fn quorate(section: &mut Section<'_>) {
    let status = section.status;
    section.field("node_id", status.node_id);
    section.field("cluster_id", status.cluster_id.as_deref().unwrap_or(""));
    section.field("engine", &status.engine);
    section.field("term", status.term);
    section.field("leader_id", status.leader.as_ref().map_or(0, |leader| leader.node_id));
    section.field("log_last", status.log.last);
    section.field("log_committed", status.log.committed);
    section.field("log_applied", status.log.applied);
    section.field("log_durable", status.log.durable);
    section.field("faults", status.faults.join("; "));
}

/// Entries that only the log holds: what a start has to apply again.
fn entries_since_snapshot(status: &NodeStatus) -> u64 {
    status.log.applied.saturating_sub(status.log.snapshot)
}

/// Bytes as Redis shows them to people.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let power = bytes.checked_ilog2().map_or(0, |log| (log / 10) as usize).min(UNITS.len() - 1);
    match power {
        0 => format!("{bytes}B"),
        _ => format!("{:.2}{}", bytes as f64 / (1_u64 << (10 * power)) as f64, UNITS[power]),
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn bytes_are_shown_as_redis_shows_them() {
        let shown = [0, 1023, 1024, 1_500_000, 3 << 30, u64::MAX].map(human);
        assert_eq!(shown, ["0B", "1023B", "1.00K", "1.43M", "3.00G", "16777216.00T"]);
    }
}
