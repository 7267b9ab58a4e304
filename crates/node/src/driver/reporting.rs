//! What a driver tells those who watch it.

use quorate_consensus::{
    BootTime, Engine, Membership, NodeId,
    engine::{self, RepairStatus, RoleView},
};
use quorate_log::Room;
use quorate_machine::{ClusterVersion, Stats};

use crate::{driver::Driver, input::Now, peer::Gossip};

/// What can be told about a driver at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// The engine's view: role, term, leader, positions, peers.
    pub engine: engine::Status,
    /// The configuration at the last applied entry: what is agreed on, unlike the newest in the log.
    pub membership: Membership,
    /// The machine's figures.
    pub machine: Stats,
    /// The cluster's id, once it was born.
    pub cluster_id: Option<u128>,
    /// The active cluster version.
    pub version: ClusterVersion,
    /// The newest to which this node lets the cluster rise.
    pub version_max: ClusterVersion,
    /// The stamp of the last applied entry, in milliseconds of cluster time.
    pub stamp_ms: u64,
    /// The commands of this node's clients that are not applied yet.
    pub commands_in_flight: usize,
    /// The commands of this node's clients that wait for something to happen.
    pub commands_waiting: usize,
    /// How full the driver's own queues are.
    pub queues: Queues,
    /// The clients' connections that this driver knows.
    pub connections: usize,
    /// Whether the disk has room for more of the log.
    pub room: bool,
    /// Everything that was committed at this instant is applied here; none before that is known.
    pub fresh_as_of: Option<BootTime>,
    /// How far this node has come, while it has not applied all that its disk had lost; it must serve nobody. `None` for
    /// any other.
    pub repair: Option<RepairStatus>,
    /// How many peers follow the leader at this moment, as the leader sees it; the same on every node.
    pub leader_followers: u32,
    /// What each peer told last.
    pub gossip: Vec<(NodeId, Gossip)>,
}

/// What waits inside of a driver, with the limits, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Commands that a leader has taken in and that are not in the log yet.
    pub intake_bytes: usize,
    /// The most of that.
    pub intake_bytes_max: usize,
    /// Entries that are committed and not applied yet.
    pub backlog_bytes: usize,
    /// From how much on the log may not grow.
    pub backlog_bytes_max: usize,
}

impl<E: Engine> Driver<E> {
    /// The role that this node plays, as of the last step.
    pub fn role(&self) -> RoleView {
        self.role
    }

    /// What can be told at this moment.
    pub fn status(&self, now: Now) -> Status {
        let engine = self.engine.status(now.boot);
        let applied = self.applied();
        let own = engine.confirmed_at.filter(|_| engine.commit <= applied);
        Status {
            repair: self.repair.status(engine.repair, applied),
            engine,
            membership: self.membership.clone(),
            machine: self.machine.stats(),
            cluster_id: self.machine.cluster_id(),
            version: self.machine.version(),
            version_max: self.told_version(),
            stamp_ms: self.machine.stamp(),
            commands_in_flight: self.origin.len(),
            commands_waiting: self.origin.parked(),
            queues: Queues {
                intake_bytes: self.leadership.intake_bytes(),
                intake_bytes_max: self.config.intake_bytes_max,
                backlog_bytes: self.backlog_bytes,
                backlog_bytes_max: self.config.backlog_bytes_max,
            },
            connections: self.connections.len(),
            room: self.room == Room::Enough,
            fresh_as_of: self.freshness.as_of(applied).max(own),
            leader_followers: self.leader_followers(now),
            gossip: self.gossip.iter().map(|(&peer, &(gossip, _))| (peer, gossip)).collect(),
        }
    }

    /// How many peers with data answer this node as their leader; 0 when it does not lead.
    pub(super) fn live_followers(&self, now: Now) -> u32 {
        let status = self.engine.status(now.boot);
        let live = status.peers.iter().filter(|peer| peer.active && !status.membership.is_witness(peer.id));
        let live = live.count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    fn leader_followers(&self, now: Now) -> u32 {
        match self.role.leader {
            Some(leader) if leader == self.config.node => self.live_followers(now),
            Some(leader) => self.gossip.get(&leader).map_or(0, |(gossip, _)| gossip.followers),
            None => 0,
        }
    }
}
