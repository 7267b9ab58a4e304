//! What a leader keeps, whatever elected it: its peers, its clock, the reads that wait, what is not committed yet, and the
//! hand-over under way. What an engine has besides is its own.

use std::collections::BTreeMap;

use super::{
    circle::Circle,
    log_view::LogView,
    progress::{Peer, serve_members},
    reads::Reads,
};
use crate::{
    BootTime, ClusterTime, Config, Entry, Index, Membership, NodeId, Payload, Term,
    cluster_clock::ClusterClock,
};

/// How much of the log, as a multiple of what may be uncommitted, is kept for a peer that installs a snapshot: some
/// hundred megabytes by default. A peer that takes longer begins anew with a newer snapshot.
const HELD_FOR_TRANSFER: usize = 4;

/// For how many election time-outs after the end of a change those who have left still hear of it. Long enough to
/// repair a lost message or two; who is away for longer asks.
const FAREWELL_TIMEOUTS: u32 = 3;

/// The state of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leadership<X> {
    /// The first entry of its term.
    pub(crate) first: Index,
    /// All members but itself, and for a while those that have left.
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    pub(crate) clock: ClusterClock,
    pub(crate) reads: Reads,
    /// The hand-over under way, if any.
    pub(crate) handover: Option<Handover>,
    /// The weight of the entries that are not committed yet, those of its predecessors included.
    uncommitted_bytes: usize,
    /// When those that have left are served no longer, once that is settled.
    pub(crate) farewell: Option<BootTime>,
    /// When the next heartbeat is due.
    pub(crate) heartbeat_at: BootTime,
    /// What its engine has besides.
    pub(crate) own: X,
}

/// A hand-over under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handover {
    to: NodeId,
    pub(crate) ends_at: BootTime,
    /// Whether the successor was told to stand.
    asked: bool,
}

impl<X: Default> Leadership<X> {
    /// One that begins behind `log`, committed up to `commit` as far as is known, with the clock at `base`.
    pub(crate) fn begin(
        log: &LogView,
        commit: Index,
        base: ClusterTime,
        now: BootTime,
        config: &Config,
    ) -> Self {
        let first = log.last_index().next();
        let mut peers = BTreeMap::new();
        serve_members(&mut peers, log.membership(), config.id, first, now);
        Self {
            first,
            peers,
            clock: ClusterClock::start(base, now),
            reads: Reads::default(),
            handover: None,
            uncommitted_bytes: log.weight_from(commit.next()),
            farewell: None,
            heartbeat_at: now.after(config.heartbeat_interval),
            own: X::default(),
        }
    }
}

/// The log.
impl<X> Leadership<X> {
    /// What this node knows as a leader.
    pub(crate) fn circle<'a>(
        &'a self,
        now: BootTime,
        (term, commit): (Term, Index),
        log: &'a LogView,
        config: &'a Config,
    ) -> Circle<'a> {
        Circle { config, log, peers: &self.peers, term, commit, first: self.first, now }
    }

    /// Whether the limit on what is uncommitted lets a client's batch in. One that is greater than the whole limit is taken
    /// when nothing else waits.
    pub(crate) fn has_room_for(&self, payload: &Payload, config: &Config) -> bool {
        let bytes = self.uncommitted_bytes.saturating_add(Entry::weight_of(payload));
        self.uncommitted_bytes == 0 || bytes <= config.uncommitted_bytes_max
    }

    /// Appends an entry of its own. It is sent and written when the batch is drained.
    pub(crate) fn append(&mut self, now: BootTime, term: Term, payload: Payload, log: &mut LogView) -> Index {
        let index = log.last_index().next();
        let entry = Entry { index, term, stamp: self.stamp(now, log), payload };
        self.uncommitted_bytes += entry.weight();
        log.append(entry);
        index
    }

    /// Its cluster time.
    pub(crate) fn stamp(&self, now: BootTime, log: &LogView) -> ClusterTime {
        self.clock.read(now).max(log.last_stamp())
    }

    /// The entries behind `commit` are committed up to `reached`.
    pub(crate) fn committed(&mut self, log: &LogView, commit: Index, reached: Index) {
        let bytes: usize = log.range(commit.next(), reached).map(Entry::weight).sum();
        let waiting = self.uncommitted_bytes;
        assert!(bytes <= waiting, "{bytes} bytes committed of {waiting} that were not");
        self.uncommitted_bytes -= bytes;
        assert!(
            reached < log.last_index() || self.uncommitted_bytes == 0,
            "all is committed, but {} bytes are still counted",
            self.uncommitted_bytes
        );
    }
}

/// The peers.
impl<X> Leadership<X> {
    /// Whether all are to hear from it now: a heartbeat is due, or reads wait for a round.
    pub(crate) fn is_to_speak(&self, now: BootTime) -> bool {
        self.heartbeat_at <= now || self.reads.wants_round()
    }

    /// What was in flight to the peer is lost.
    pub(crate) fn lost_connection(&mut self, now: BootTime, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.lost_connection(now);
        }
    }

    /// Serves whom a configuration adds that was just appended at `index`.
    pub(crate) fn serve(&mut self, membership: &Membership, index: Index, now: BootTime, config: &Config) {
        serve_members(&mut self.peers, membership, config.id, index, now);
        self.farewell = None;
    }

    /// Lets those go that have left, when they have had time to hear of it.
    pub(crate) fn end_farewells(&mut self, membership: &Membership, now: BootTime, config: &Config) {
        if self.peers.keys().all(|&peer| membership.contains(peer)) {
            return;
        }
        let patience = config.election_timeout * FAREWELL_TIMEOUTS;
        if *self.farewell.get_or_insert(now.after(patience)) <= now {
            self.peers.retain(|&peer, _| membership.contains(peer));
        }
    }
}

/// The first entry that one of `peers` will need once the snapshot on its way is installed; without it, it would need one
/// snapshot after the other. `None` if there is no such peer, or if the entries weigh too much by now.
pub(crate) fn needed_behind_transfers<'a>(
    peers: impl Iterator<Item = &'a Peer>,
    log: &LogView,
    config: &Config,
) -> Option<Index> {
    let needed = peers.filter_map(Peer::transfers).min()?.next();
    let bytes_max = config.uncommitted_bytes_max.saturating_mul(HELD_FOR_TRANSFER);
    (log.weight_from(needed) <= bytes_max).then_some(needed)
}

/// Handing over.
impl<X> Leadership<X> {
    /// Begins to hand over to `to`, or changes the successor. Whether it does: asking again must not keep a leader from leading
    /// that nobody succeeds.
    pub(crate) fn begin_handover(&mut self, to: NodeId, ends_at: BootTime) -> bool {
        let is_new = self.handover.as_ref().is_none_or(|handover| handover.to != to);
        if is_new {
            self.handover = Some(Handover { to, ends_at, asked: false });
        }
        is_new
    }

    /// The successor, once, when its log is complete: it is to be told to stand.
    pub(crate) fn ready_successor(&mut self, log: &LogView) -> Option<NodeId> {
        let handover = self.handover.as_mut().filter(|handover| !handover.asked)?;
        let successor = self.peers.get(&handover.to)?;
        handover.asked = successor.matched == log.last_index();
        handover.asked.then_some(handover.to)
    }

    /// Whether `node` was told to stand.
    pub(crate) fn hands_over_to(&self, node: NodeId) -> bool {
        self.handover.as_ref().is_some_and(|handover| handover.asked && handover.to == node)
    }
}
