//! What a leader knows of one peer, and what is on the way to it.
//!
//! * **Probe**: where the logs agree is not known. One append at a time; repeated without entries until it is
//!   answered, so that a dead peer costs next to nothing.
//! * **Replicate**: the logs agree. Appends are sent without waiting for answers, up to the limits on messages
//!   and bytes in flight.
//! * **Snapshot**: the peer needs entries that are compacted away. Chunks are sent one at a time.
//!
//! `matched` never goes back: within a term the leader's log only grows, and what a peer has acknowledged in this
//! term is on its disk; unless that was damaged, and then the peer says so and begins anew. Acknowledgements of older
//! terms do not pass the gate (hazard 10).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::outgoing::Outgoing;
use crate::{BootTime, Config, Entry, Index, Membership, NodeId, Priority};

/// A leader's view of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    /// The last entry known to be on its disk and equal to the leader's.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    /// The greatest commit index that it was told.
    pub(crate) told_commit: Index,
    /// The newest round of reads that it has confirmed.
    pub(crate) confirmed_round: u64,
    /// The first round that it has heard with the configuration in force in its log, if it has that.
    pub(crate) bound_from: Option<u64>,
    /// When it was heard last; for a new leader, when its leadership began, and for a new member, when it became
    /// one.
    pub(crate) heard: BootTime,
    /// How willing it is to lead, once it has told.
    pub(crate) priority: Option<Priority>,
    /// Whether it keeps no data, or kept none before it left.
    pub(crate) is_witness: bool,
    /// While it lacks entries: how far it was, and since when it has been there. Watched beside a witness alone.
    pub(crate) stuck: Option<(Index, BootTime)>,
    pub(crate) progress: Progress,
}

/// How entries travel to a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Progress {
    Probe {
        /// When the probe that awaits its answer was sent.
        sent: Option<BootTime>,
    },
    Replicate {
        inflight: Inflight,
        /// When the peer last made progress, or was last asked whether something got lost.
        checked: BootTime,
    },
    Snapshot(Outgoing),
}

impl Peer {
    /// A peer of which a new leader knows nothing; `next` is its guess.
    pub(crate) fn new(next: Index, now: BootTime) -> Self {
        Self {
            matched: Index(0),
            next,
            told_commit: Index(0),
            confirmed_round: 0,
            bound_from: None,
            heard: now,
            priority: None,
            is_witness: false,
            stuck: None,
            progress: Progress::Probe { sent: None },
        }
    }

    /// Forgets what is believed of its log: it was damaged. `next` is a guess, as for a new leader. When it was heard, and
    /// which rounds it has confirmed, is as true as before: who says so may be long gone.
    pub(crate) fn begin_anew(&mut self, next: Index) {
        let Self { confirmed_round, heard, priority, is_witness, .. } = *self;
        *self = Self { confirmed_round, priority, is_witness, ..Self::new(next, heard) };
    }

    /// Whether it would lead, as far as it has told.
    pub(crate) fn may_lead(&self) -> bool {
        self.priority != Some(Priority::NEVER)
    }

    /// The connection was lost, and with it all that was in flight. Where probing had got to is kept. The next
    /// probe is due a while after `now`: the connection has to come back first.
    pub(crate) fn lost_connection(&mut self, now: BootTime) {
        match self.progress {
            Progress::Probe { .. } => {}
            Progress::Replicate { .. } | Progress::Snapshot(_) => self.next = self.matched.next(),
        }
        self.told_commit = Index(0);
        self.progress = Progress::Probe { sent: Some(now) };
    }

    /// The peer's log equals the leader's, durably, up to `matched`. `first_index` is the leader's first entry.
    pub(crate) fn accepted(&mut self, matched: Index, first_index: Index, now: BootTime) {
        self.matched = self.matched.max(matched);
        match &mut self.progress {
            Progress::Replicate { inflight, checked } => {
                inflight.free_through(self.matched);
                *checked = now;
                self.next = self.next.max(self.matched.next());
            }
            Progress::Probe { .. } => self.replicate(now),
            // An old acknowledgement does not end the transfer, unless the log reaches far enough back. One that
            // covers the snapshot does, though the log may have been compacted beyond it meanwhile: then a
            // newer snapshot follows.
            Progress::Snapshot(outgoing)
                if self.matched.next() >= first_index || outgoing.is_covered_by(self.matched) =>
            {
                self.replicate(now);
            }
            Progress::Snapshot(_) => {}
        }
    }

    fn replicate(&mut self, now: BootTime) {
        self.next = self.matched.next();
        self.progress = Progress::Replicate { inflight: Inflight::default(), checked: now };
    }

    /// The peer refused an append with this base, and `agree_at` is the last position that may agree. Answers
    /// that fit no present question are ignored: the question is long settled.
    pub(crate) fn rejected(&mut self, base: Index, agree_at: Index) {
        let fits = match &self.progress {
            Progress::Probe { .. } => base.next() == self.next,
            Progress::Replicate { .. } => base > self.matched && base < self.next,
            Progress::Snapshot(_) => false,
        };
        if fits && base > self.matched {
            // Strictly lower than before, so that probing ends.
            self.next = agree_at.next().min(base).max(self.matched.next());
            self.told_commit = Index(0);
            self.progress = Progress::Probe { sent: None };
        }
    }

    /// The last entry of the snapshot that it is being sent, if any.
    pub(crate) fn transfers(&self) -> Option<Index> {
        match &self.progress {
            Progress::Snapshot(Outgoing::Loading { meta, .. } | Outgoing::Sent { meta, .. }) => {
                Some(meta.index)
            }
            Progress::Snapshot(Outgoing::Opening | Outgoing::Absent { .. })
            | Progress::Probe { .. }
            | Progress::Replicate { .. } => None,
        }
    }

    /// The name of the state.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.progress {
            Progress::Probe { .. } => "probe",
            Progress::Replicate { .. } => "replicate",
            Progress::Snapshot(_) => "snapshot",
        }
    }
}

/// Whether the peer was heard within `timeout`.
pub(crate) fn is_active(peer: &Peer, now: BootTime, timeout: Duration) -> bool {
    now.since(peer.heard) <= timeout
}

/// Serves all members but `own` from now on; `next` is the guess for those that were not served before.
pub(crate) fn serve_members(
    peers: &mut BTreeMap<NodeId, Peer>,
    membership: &Membership,
    own: NodeId,
    next: Index,
    now: BootTime,
) {
    for member in membership.members().filter(|&member| member != own) {
        let peer = peers.entry(member).or_insert_with(|| Peer::new(next, now));
        peer.is_witness |= membership.is_witness(member);
    }
}

/// Appends with entries that are sent and not acknowledged, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Inflight {
    /// The last index and the bytes of each.
    messages: VecDeque<(Index, usize)>,
    bytes: usize,
}

impl Inflight {
    /// Whether one more may be sent, if the limits are parted by `parts`. That on bytes is passed by at most one message.
    pub(crate) fn has_room(&self, config: &Config, parts: usize) -> bool {
        self.messages.is_empty()
            || (self.messages.len() < config.inflight_messages_max / parts
                && self.bytes < config.inflight_bytes_max / parts)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Counts a message; one without entries counts for nothing, since no acknowledgement would free it.
    pub(crate) fn add(&mut self, entries: &[Entry]) {
        if let Some(last) = entries.last() {
            let bytes = entries.iter().map(Entry::weight).sum();
            self.messages.push_back((last.index, bytes));
            self.bytes += bytes;
        }
    }

    /// Frees all messages whose entries are acknowledged.
    pub(crate) fn free_through(&mut self, matched: Index) {
        while let Some(&(last, bytes)) = self.messages.front()
            && last <= matched
        {
            self.messages.pop_front();
            self.bytes -= bytes;
        }
        assert!(
            !self.messages.is_empty() || self.bytes == 0,
            "{} bytes in flight without a message",
            self.bytes
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterTime, Payload, SnapshotMeta, Term};

    fn entries(indexes: &[u64]) -> Vec<Entry> {
        let entry = |&index| Entry {
            index: Index(index),
            term: Term(1),
            stamp: ClusterTime::default(),
            payload: Payload::Blank,
        };
        indexes.iter().map(entry).collect()
    }

    fn replicating(next: u64) -> Peer {
        let mut peer = Peer::new(Index(next), BootTime::default());
        peer.accepted(Index(next - 1), Index(1), BootTime::default());
        peer
    }

    /// hazard 17: acknowledgements in any order, also duplicated, free everything and no more.
    #[test]
    fn acknowledged_bytes_come_back_to_zero() {
        let mut inflight = Inflight::default();
        inflight.add(&entries(&[1, 2]));
        inflight.add(&entries(&[3]));
        inflight.add(&[]);
        inflight.add(&entries(&[4]));
        inflight.free_through(Index(3));
        inflight.free_through(Index(2));
        assert_eq!(inflight.bytes, entries(&[4])[0].weight());
        inflight.free_through(Index(9));
        assert_eq!(inflight, Inflight::default());
    }

    #[test]
    fn window_is_bounded_in_messages_and_bytes() {
        let mut config = Config::for_node(NodeId(1), 0);
        config.inflight_messages_max = 2;
        let mut inflight = Inflight::default();
        inflight.add(&entries(&[1]));
        assert!(inflight.has_room(&config, 1));
        inflight.add(&entries(&[2]));
        assert!(!inflight.has_room(&config, 1));
        config.inflight_messages_max = 9;
        config.inflight_bytes_max = 1;
        assert!(!inflight.has_room(&config, 1));
        assert!(Inflight::default().has_room(&config, 1), "a single large message must be able to leave");
    }

    /// Duplicates of the request would otherwise keep a voter counted as heard that is gone (hazard 18).
    #[test]
    fn peer_whose_log_was_damaged_was_heard_no_later_and_confirmed_no_less() {
        let mut peer = replicating(5);
        (peer.confirmed_round, peer.heard) = (7, BootTime { micros: 9 });
        peer.begin_anew(Index(8));
        assert_eq!((peer.matched, peer.next, peer.state_name()), (Index(0), Index(8), "probe"));
        assert_eq!((peer.confirmed_round, peer.heard), (7, BootTime { micros: 9 }));
    }

    #[test]
    fn late_rejection_does_not_disturb_replication() {
        let mut peer = replicating(5);
        peer.rejected(Index(4), Index(2));
        assert_eq!((peer.next, peer.state_name()), (Index(5), "replicate"));
    }

    #[test]
    fn probing_goes_strictly_down_and_not_below_what_matched() {
        let mut peer = Peer::new(Index(9), BootTime::default());
        peer.rejected(Index(8), Index(8));
        assert_eq!(peer.next, Index(8));
        peer.rejected(Index(8), Index(3));
        assert_eq!(peer.next, Index(8), "a duplicate is ignored");
        peer.rejected(Index(7), Index(0));
        assert_eq!(peer.next, Index(1));
    }

    /// hazard 16: an acknowledgement from before the transfer does not end it while the log cannot go on.
    #[test]
    fn old_acknowledgement_does_not_end_a_snapshot() {
        let mut peer = Peer::new(Index(3), BootTime::default());
        peer.progress = Progress::Snapshot(Outgoing::Opening);
        peer.accepted(Index(2), Index(9), BootTime::default());
        assert_eq!(peer.state_name(), "snapshot");
        peer.accepted(Index(8), Index(9), BootTime::default());
        assert_eq!((peer.next, peer.state_name()), (Index(9), "replicate"));
    }

    /// The leader compacted its log beyond the snapshot while it was under way; the follower installed it, and
    /// was asked for ever after how the transfer stood (found by the simulator, seed 94).
    #[test]
    fn installed_snapshot_ends_its_transfer_though_the_log_begins_later_by_now() {
        let membership = crate::Membership::of_voters([NodeId(1), NodeId(2)]).into();
        let meta = SnapshotMeta {
            index: Index(5),
            term: Term(1),
            stamp: ClusterTime::default(),
            membership,
            bytes: 9,
        };
        let mut peer = Peer::new(Index(3), BootTime::default());
        let since = BootTime::default();
        peer.progress = Progress::Snapshot(Outgoing::Sent { meta, offset: 9, since, repeated: false });
        peer.accepted(Index(4), Index(9), since);
        assert_eq!(peer.state_name(), "snapshot");
        peer.accepted(Index(5), Index(9), since);
        assert_eq!((peer.next, peer.state_name()), (Index(6), "replicate"));
    }
}
