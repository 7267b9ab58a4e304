//! The one table of settings: name, type, default, range and help of each.
//!
//! A row here is everything: the field of [`Config`], the flag with its help, the environment variable, the
//! key in the file, the check and the text of the refusal all come from it. A row whose default is
//! [`AUTO`] takes its value from other settings; `derived.rs` says how.

use std::{path::PathBuf, time::Duration};

use super::{
    given::{Given, Refusal},
    value::{
        Address, Bytes, Endpoints, Folder, HostPort, HostPortOrOff, HostPorts, JoinAs, LOG_FORMATS,
        LOG_LEVELS, LogFormat, Members, Name, OFF, Parts, Peers, READ_MODES, ReadMode, Signed, Size, Span,
        TRUE_OR_FALSE, Value, Whole,
    },
};
use crate::engine::{EngineKind, Engines};

/// The text of a value that is derived from other settings.
pub const AUTO: &str = "auto";

/// What is known of a setting without a value for it.
#[derive(Debug)]
pub struct Setting {
    /// Its name: the flag without dashes, the key in the file. [`Setting::variable`] gives the third form.
    pub name: &'static str,
    /// The text of its value when nobody gives one.
    pub default: &'static str,
    /// What it does, for `--help`.
    pub help: &'static str,
    /// What is allowed, in words.
    pub allowed: fn() -> String,
    /// Whether the flag may stand alone and then means `true`.
    pub switch: bool,
}

impl Setting {
    /// The environment variable that sets it: `QUORATE_NODE_ID` for `node-id`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("QUORATE_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }

    /// The setting called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}

macro_rules! settings {
    ($(
        $(#[doc = $help:literal])+
        $field:ident $name:literal: $type:ty = $default:expr, $allowed:expr;
    )+) => {
        /// The settings of a node, each checked.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $( $(#[doc = $help])+ pub $field: $type, )+
        }

        /// All settings, in the order in which they are listed.
        pub static SETTINGS: &[Setting] = &[
            $( Setting {
                name: $name,
                default: $default,
                help: concat!($($help),+),
                allowed: || $allowed.to_string(),
                switch: matches!($default.as_bytes(), b"true" | b"false"),
            }, )+
        ];

        impl Config {
            /// Reads each value that was given, or the default where none was.
            ///
            /// # Errors
            /// All values that are not allowed.
            pub(super) fn read(given: &Given) -> Result<Self, Vec<Refusal>> {
                let mut refusals = Vec::new();
                $( let $field = given.read::<$type>($name, &$allowed).map_err(|refusal| refusals.push(refusal)); )+
                if let ($( Ok($field), )+) = ($( $field, )+) {
                    return Ok(Self { $( $field, )+ });
                }
                Err(refusals)
            }

            /// Each setting with its value as text.
            #[must_use]
            pub fn shown(&self) -> Vec<(&'static Setting, String)> {
                let values = [$( Value::show(&self.$field), )+];
                SETTINGS.iter().zip(values).collect()
            }
        }
    };
}

const fn bytes(min: usize, max: usize) -> Size {
    Size { min: Bytes(min), max: Bytes(max) }
}

const fn millis(min: u64, max: u64) -> Span {
    Span { min: Duration::from_millis(min), max: Duration::from_millis(max) }
}

const KB: usize = 1 << 10;
const MB: usize = 1 << 20;
const GB: usize = 1 << 30;

/// Some 50 MiB, if all of them have arguments as long as are kept.
pub(crate) const SLOW_COMMANDS_MAX: u64 = 10_000;

settings! {
    /// The number of this node: unique in its cluster, and never given to another disk; auto (or 0) is that of its data folder, or what the cluster gives when it joins one, or 1.
    node_id "node-id": u64 = AUTO, Whole { min: 0, max: quorate_consensus::ID_MAX };
    /// Where clients connect (RESP, as Redis speaks it).
    listen "listen": Address = "127.0.0.1:7379", HostPort;
    /// Where clients are told to connect; auto is the host and port that it listens on.
    advertise "advertise": Address = AUTO, HostPort;
    /// Where the other nodes connect; auto is the port of listen + 10000.
    peer_listen "peer-listen": Address = AUTO, HostPort;
    /// Where the other nodes are told to connect; auto is this node's address in peers, or else the host of advertise and the port of peer-listen.
    peer_advertise "peer-advertise": Address = AUTO, HostPort;
    /// Where /healthz, /readyz, /metrics and /snapshot (all data) are served; auto is the port of listen + 11000.
    http_listen "http-listen": Address = AUTO, HostPort;
    /// Where a Sentinel client may ask for the leader, such as 127.0.0.1:26379; off for nowhere.
    sentinel_listen "sentinel-listen": Option<Address> = OFF, HostPortOrOff;
    /// The name of this cluster at the Sentinel door, the same on each node; many programs ask for mymaster.
    sentinel_master_name "sentinel-master-name": String = "quorate", Name;
    /// All members with their peer addresses, this node too. Empty for a node that is a cluster of its own.
    peers "peers": Peers = "", Members;
    /// Form a new cluster of the peers if the data folder is empty. Without effect on a folder that is not.
    bootstrap "bootstrap": bool = "false", TRUE_OR_FALSE;
    /// Join the cluster of these nodes (any of them, where their clients connect) if the data folder is empty. Without effect on a folder that is not.
    join "join": Endpoints = "", HostPorts;
    /// The consensus engine of a new cluster, for ever: raft or paxos; auto is that of the data folder, or of the cluster that is joined, or raft. A node of another engine is refused.
    engine "engine": Option<EngineKind> = AUTO, Engines;
    /// How many of the peers commit an entry in a new cluster of the engine paxos; 0 is a majority. With fewer, more must be there to elect a leader, and with more, fewer. Without effect on a cluster that is there: see `quorate member quorum`.
    phase2_quorum "phase2-quorum": u64 = "0", Whole { min: 0, max: super::MEMBERS_MAX as u64 };
    /// What a node that joins is to be.
    join_as "join-as": JoinAs = "voter", Parts;
    /// Let the cluster's version rise to this at most, so that its nodes can be given their old programs back; 0 for as far as all of them know. One node that says so is enough; without effect on what has risen.
    hold_version "hold-version": u64 = "0", Whole { min: 0, max: u16::MAX as u64 };
    /// The folder that holds all data of this node; auto is quorate-data/single without peers, else quorate-data/node-ID.
    data_dir "data-dir": PathBuf = AUTO, Folder;

    /// A follower that hears no leader for one to two of these starts an election.
    election_timeout "election-timeout": Duration = "300ms", millis(50, 60_000);
    /// How a new cluster confirms reads: linearizable asks a majority; lease has the leader answer alone for one election-timeout after a majority has heard it, and relies on clocks that differ by less than 0.1%. Without effect on a cluster that is there: see `quorate reads`.
    reads "reads": ReadMode = "linearizable", READ_MODES;
    /// How willing this node is to lead: of those that could, the greatest is preferred; 0 never leads.
    priority "priority": u64 = "1", Whole { min: 0, max: 1000 };
    /// How often the leader speaks to each peer; at most a third of election-timeout, which auto is, up to 100ms.
    heartbeat_interval "heartbeat-interval": Duration = AUTO, millis(5, 20_000);
    /// A command that is not answered by then closes its connection: its outcome is unknown.
    command_timeout "command-timeout": Duration = "15s", millis(100, 600_000);
    /// A node that has known no leader for so long sends its clients away; auto is ten of election-timeout, 5s at least.
    leaderless_timeout "leaderless-timeout": Duration = AUTO, millis(100, 600_000);
    /// How long a stopping node waits for commands in flight and for a successor.
    shutdown_timeout "shutdown-timeout": Duration = "3s", millis(0, 60_000);
    /// A write to the disk that takes longer makes a leader give its leadership up.
    disk_stall_timeout "disk-stall-timeout": Duration = "2s", millis(100, 600_000);

    /// The most client connections; more are refused with an error.
    clients_max "max-clients": usize = "10000", Whole { min: 1, max: 1_000_000 };
    /// The largest request of a client, all its arguments together.
    request_bytes_max "max-request-bytes": Bytes = "16mb", bytes(KB, 512 * MB);
    /// The most arguments of one request.
    arguments_max "max-arguments": usize = "65536", Whole { min: 16, max: 1 << 20 };
    /// The most bytes of replies that wait for a client; a client that reads too slowly is cut off.
    output_bytes_max "max-output-bytes": Bytes = "64mb", bytes(64 * KB, 4 * GB);
    /// The most unanswered requests of a client; beyond, its socket is not read.
    pipeline_max "max-pipeline": usize = "1024", Whole { min: 1, max: 1 << 20 };

    /// The most bytes of entries in one message between nodes; a larger entry travels alone.
    message_bytes_max "max-message-bytes": Bytes = "1mb", bytes(64 * KB, 64 * MB);
    /// The most append messages on their way to a peer.
    inflight_messages_max "max-inflight-messages": usize = "256", Whole { min: 1, max: 65_536 };
    /// The most bytes of entries on their way to a peer.
    inflight_bytes_max "max-inflight-bytes": Bytes = "16mb", bytes(MB, GB);
    /// The most bytes that a leader holds uncommitted; beyond, writes are refused.
    uncommitted_bytes_max "max-uncommitted-bytes": Bytes = "64mb", bytes(MB, 4 * GB);
    /// The most bytes that wait to be sent to a peer; beyond, they are dropped and sent again later.
    peer_queue_bytes_max "max-peer-queue-bytes": Bytes = "64mb", bytes(MB, 4 * GB);
    /// The bytes of one piece of a snapshot on its way to a peer.
    snapshot_chunk_bytes "snapshot-chunk-bytes": Bytes = "256kb", bytes(4 * KB, 4 * MB);
    /// How much of a snapshot a node receives in a second, so that others on its links and disks are not held up. Where more is written in a second, a node that lags too far never catches up.
    snapshot_bytes_per_second "snapshot-bytes-per-second": Bytes = "32mb", bytes(MB, 64 * GB);
    /// A snapshot is made when the log has grown by this much since the last one.
    snapshot_log_bytes "snapshot-log-bytes": Bytes = "64mb", bytes(64 * KB, 16 * GB);
    /// The size of a log file.
    segment_bytes "segment-bytes": Bytes = "32mb", bytes(64 * KB, GB);

    /// From how many microseconds on, between its reading and its reply, SLOWLOG remembers a command; 0 means every one, -1 none.
    slower_than_us "slowlog-log-slower-than": i64 = "100000", Signed { min: -1, max: i64::MAX };
    /// How many slow commands SLOWLOG remembers.
    slow_commands_max "slowlog-max-len": usize = "128", Whole { min: 0, max: SLOW_COMMANDS_MAX };

    /// How log lines are written: text for people, json for programs.
    log_format "log-format": LogFormat = "text", LOG_FORMATS;
    /// The least important log lines that are written.
    log_level "log-level": tracing::Level = "info", LOG_LEVELS;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_is_allowed_and_each_name_is_taken_once() {
        let config = Config::read(&Given::default().derived()).unwrap();
        assert_eq!(config.shown().len(), SETTINGS.len());
        let names: std::collections::BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), SETTINGS.len());
    }

    #[test]
    fn only_settings_of_yes_or_no_are_switches() {
        let switches: Vec<_> = SETTINGS.iter().filter(|s| s.switch).map(|s| s.name).collect();
        assert_eq!(switches, ["bootstrap"]);
    }
}
