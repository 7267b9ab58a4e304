//! What a node says about itself, as a value: the source of INFO, ROLE, WAIT and `quorate status`.
//!
//! The shard's side fills it and replaces it as a whole; front doors only read. Figures that concern the
//! whole cluster (`connected_slaves`, the leader's offset) are the leader's on every node, as far as the node
//! has heard of them, so that a client gets the same picture wherever it is connected.

use quorate_consensus::Quorums;
use serde::{Deserialize, Serialize};

/// One node's view of itself and its cluster at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// This node's id.
    pub node_id: u64,
    /// How many times this node has been started on its data.
    pub incarnation: u64,
    /// The cluster's id, 32 hexadecimal digits; none before its birth was logged.
    pub cluster_id: Option<String>,
    /// 40 hexadecimal digits, new with each start of the process: INFO's `run_id`.
    pub run_id: String,
    /// The consensus engine: `raft` or `paxos`.
    pub engine: String,
    /// The version of the program.
    pub version: String,
    /// The active version of the cluster: of its formats and its behaviour, as far as this node has applied the log.
    pub cluster_version: u32,
    /// The newest to which this node lets the cluster rise.
    pub cluster_version_max: u32,
    /// Host and port of its HTTP listener; empty while it recovers its data. A host without a meaning elsewhere, such as
    /// 0.0.0.0, is that of its RESP listener.
    pub http: String,
    /// What the node is in the present term.
    pub role: Role,
    /// The present term.
    pub term: u64,
    /// The last term that it knew of when its process started; 0 for none.
    pub term_at_start: u64,
    /// The leader of that term, if the node knows it.
    pub leader: Option<Leader>,
    /// True until the node has applied what was committed when it started.
    pub loading: bool,
    /// What keeps the node from joining the cluster that it is to be a member of; none once it has, or if it need not.
    pub joining: Option<String>,
    /// Whether the node was removed from the cluster: it serves nobody any more.
    pub removed: bool,
    /// Positions in the log.
    pub log: Positions,
    /// Everything that was committed at this instant is applied here: microseconds of this node's boot-time clock; none
    /// before that is known.
    pub fresh_as_of_us: Option<u64>,
    /// The other members, as this node sees them.
    pub peers: Vec<Peer>,
    /// For how many milliseconds a leader may answer reads by lease, by that configuration; none if never.
    pub lease_ms: Option<u32>,
    /// Whether this node leads and has given up that lease for the rest of its term, since it has begun to hand over.
    pub lease_given_up: bool,
    /// How many voters commit an entry, by that configuration; none: a majority.
    pub phase2_quorum: Option<u8>,
    /// All members, by the newest configuration that this node knows to be agreed on.
    pub members: Vec<Member>,
    /// How many followers the leader is replicating to now: INFO's `connected_slaves` and WAIT's answer.
    pub connected_slaves: u64,
    /// The databases that hold keys.
    pub databases: Vec<Database>,
    /// Bytes that the data takes by the machine's own account.
    pub memory_bytes: u64,
    /// The replicated limit of `memory_bytes`; 0 for none.
    pub memory_bytes_max: u64,
    /// Scripts in the replicated cache.
    pub scripts: u64,
    /// Sessions of nodes that the machine remembers.
    pub sessions: u64,
    /// Commands of this node's clients that wait for something to happen, such as BLPOP.
    pub commands_waiting: u64,
    /// The same of all nodes' clients, as far as this node has applied the log.
    pub cluster_commands_waiting: u64,
    /// How full the queues between clients and log are.
    pub queues: Queues,
    /// What has happened since the process started.
    pub activity: Activity,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// The calendar, milliseconds since 1970, as TIME answers it.
    pub calendar_ms: u64,
    /// What is wrong with this node, in words for its operator.
    pub faults: Vec<String>,
}

impl NodeStatus {
    /// Whether a member has data, so that clients have something to ask it; as far as this node knows.
    #[must_use]
    pub fn has_data(&self, node_id: u64) -> bool {
        !self.members.iter().any(|member| member.node_id == node_id && member.kind == MemberKind::Witness)
    }

    /// The other members whose RESP listener is known and that have data.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.port != 0 && self.has_data(peer.node_id))
    }
}

/// What a node is in a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Proposes entries; Redis's word is master.
    Leader,
    /// Follows the leader, or waits for one.
    #[default]
    Follower,
    /// Asks for votes.
    Candidate,
    /// Receives entries without a vote.
    Learner,
    /// Votes, and keeps no data: it serves no clients.
    Witness,
}

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its id.
    pub node_id: u64,
    /// The host of its RESP listener.
    pub host: String,
    /// The port of its RESP listener.
    pub port: u16,
    /// Whether this node is in touch with it: it is the leader itself, or heard it within an election time-out.
    pub connected: bool,
}

/// Positions in the log; each an index, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Positions {
    /// The first entry still in the log.
    pub first: u64,
    /// The last entry in the log.
    pub last: u64,
    /// The last entry that is on this node's disk.
    pub durable: u64,
    /// The last entry known to be committed.
    pub committed: u64,
    /// The last entry that the machine has applied.
    pub applied: u64,
    /// The last entry that the newest snapshot covers.
    pub snapshot: u64,
}

/// Another member, as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its id.
    pub node_id: u64,
    /// The host of its RESP listener; empty while unknown.
    pub host: String,
    /// The port of its RESP listener; 0 while unknown.
    pub port: u16,
    /// The host of its Sentinel door; empty while unknown, or without one.
    #[serde(default)]
    pub sentinel_host: String,
    /// The port of its Sentinel door; 0 while unknown, or without one.
    #[serde(default)]
    pub sentinel_port: u16,
    /// The version of its program; empty while unknown.
    #[serde(default)]
    pub version: String,
    /// The newest version to which it lets the cluster rise; 0 while unknown.
    #[serde(default)]
    pub cluster_version_max: u32,
    /// Whether the transport has a connection to it.
    pub connected: bool,
    /// How far it has acknowledged the log; known to the leader only, 0 elsewhere.
    pub matched: u64,
    /// Milliseconds since it was last heard; none if never.
    pub heard_ms_ago: Option<u64>,
    /// How entries travel to it: `probe`, `replicate` or `snapshot`; known to the leader only, empty elsewhere.
    #[serde(default)]
    pub progress: String,
    /// Messages to it that were dropped, since it was away or its queue was full.
    #[serde(default)]
    pub dropped: u64,
}

/// What waits between clients and log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Queues {
    /// Commands of this node's clients that are not applied yet.
    pub commands_in_flight: u64,
    /// On the leader, bytes of commands taken in and not in the log yet.
    pub intake_bytes: u64,
    /// The most of that.
    pub intake_bytes_max: u64,
    /// Bytes of entries committed and not applied yet.
    pub backlog_bytes: u64,
    /// From how many on the log may not grow.
    pub backlog_bytes_max: u64,
}

/// What has happened at a node since its process started, and what it has room for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Activity {
    /// Commands of its clients; told by QUORATE STATUS alone.
    pub commands: u64,
    /// Connections of clients now; told by QUORATE STATUS alone.
    pub connections: u64,
    /// How long entries took on the leader until they were committed and applied.
    pub commits: Durations,
    /// How long the log's fdatasync took.
    pub log_syncs: Durations,
    /// How often it stood for election.
    pub elections: u64,
    /// How often it has come to know another leader.
    pub leader_changes: u64,
    /// Bytes that can still be written to the disk of the data folder.
    pub disk_available_bytes: u64,
}

/// A distribution of durations, as the number of those in each bucket of [`Durations::ENDS_US`]. What lies between two
/// looks is the difference of two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations(pub Vec<u64>);

impl Durations {
    /// The upper ends of the buckets in microseconds: from a fast SSD's write to a stalled disk. One more bucket holds
    /// what is beyond.
    pub const ENDS_US: [u64; 14] = [
        50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
        10_000_000,
    ];

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Those that came after `before`, if it is an earlier look at the same process.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = before.0.iter().copied().chain(std::iter::repeat(0));
        Self(self.0.iter().zip(earlier).map(|(now, then)| now.saturating_sub(then)).collect())
    }

    /// The end of the bucket that holds the duration at this per mille of them, in microseconds: it took no longer. None
    /// without any; what is beyond the last bucket counts as its end.
    #[must_use]
    pub fn per_mille_us(&self, per_mille: u64) -> Option<u64> {
        let rank = (self.count() * per_mille).div_ceil(1000).max(1);
        let mut below = 0;
        let bucket = self.0.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(Self::ENDS_US[bucket.min(Self::ENDS_US.len() - 1)])
    }
}

impl NodeStatus {
    /// The nodes that vote, also those that a change under way takes the vote from.
    pub fn voters(&self) -> impl Iterator<Item = u64> {
        let votes = |member: &&Member| match member.kind {
            MemberKind::Voter | MemberKind::Joining | MemberKind::Leaving => true,
            MemberKind::Witness => !member.promotes,
            MemberKind::Learner => false,
        };
        self.members.iter().filter(votes).map(|member| member.node_id)
    }

    /// How many of them make a quorum.
    #[must_use]
    pub fn quorums(&self) -> Quorums {
        Quorums { voters: self.voters().count(), phase2: self.phase2_quorum }
    }

    /// Whether this node is connected to another, or is it.
    #[must_use]
    pub fn reaches(&self, node_id: u64) -> bool {
        node_id == self.node_id || self.peers.iter().any(|peer| peer.node_id == node_id && peer.connected)
    }
}

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub node_id: u64,
    /// Whether it votes.
    pub kind: MemberKind,
    /// Whether it is to vote as soon as it has caught up.
    pub promotes: bool,
    /// The voter whose place it takes then, if any.
    pub replaces: Option<u64>,
    /// Where other nodes connect to it, as host:port; empty if that is not known.
    pub address: String,
    /// Whether entries are committed without its disk, since it was silent.
    pub set_aside: bool,
}

/// What a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberKind {
    /// It votes.
    #[default]
    Voter,
    /// It has the data, and counts in no quorum.
    Learner,
    /// It votes, by a change that is under way.
    Joining,
    /// It votes until the change that is under way is done.
    Leaving,
    /// It votes, or is to, and keeps no data.
    Witness,
}

/// How full a database is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its number, 0 to 15.
    pub number: u32,
    /// Its keys.
    pub keys: u64,
    /// Those of them that have a TTL.
    pub expires: u64,
}
