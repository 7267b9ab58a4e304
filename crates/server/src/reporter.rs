//! Makes the published [`NodeStatus`] from what driver, transport and clocks know.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use quorate_consensus::{
    BootTime, Membership, NodeId, PersistId,
    engine::{PeerStatus, RepairStatus, RoleKind},
};
use quorate_node::{LogTask, Status};
use tokio::sync::watch;

use crate::{
    config::Address,
    metrics::Metrics,
    peer::directory::{Contact, Directory},
    status::{Activity, Database, Leader, Member, MemberKind, NodeStatus, Peer, Positions, Queues, Role},
};

/// How often the status is made anew at most. What clients see of it may be this old.
pub(crate) const INTERVAL: Duration = Duration::from_millis(25);

/// What does not change while the process lives.
#[derive(Clone, Debug)]
pub(crate) struct Constants {
    pub(crate) node_id: u64,
    pub(crate) incarnation: u64,
    /// 40 hexadecimal digits, new with each start.
    pub(crate) run_id: String,
    pub(crate) engine: &'static str,
    pub(crate) advertise: Address,
    /// Where HTTP is served.
    pub(crate) http: Address,
    /// A peer that was not heard for this long is not connected.
    pub(crate) election_timeout: Duration,
    /// What was known to be committed when the process started: loading lasts until it is applied.
    pub(crate) committed_at_start: u64,
    /// The last term that the folder knew of then.
    pub(crate) term_at_start: u64,
    /// The cluster that the folder belonged to when the process started.
    pub(crate) cluster_id: Option<u128>,
}

/// Publishes the status.
#[derive(Debug)]
pub(crate) struct Reporter {
    constants: Constants,
    started: Instant,
    status: watch::Sender<Arc<NodeStatus>>,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    durable: Durable,
    snapshot: u64,
    /// When the next status may be published.
    next: BootTime,
    /// Whether something may have changed since the last one.
    is_stale: bool,
}

/// Which entries are on the disk: known from the writes that were handed out and those that were reported.
#[derive(Debug)]
struct Durable {
    index: u64,
    writes: std::collections::VecDeque<(PersistId, u64)>,
}

impl Constants {
    /// The status of a node that is still loading.
    pub(crate) fn loading(&self) -> NodeStatus {
        NodeStatus {
            node_id: self.node_id,
            incarnation: self.incarnation,
            run_id: self.run_id.clone(),
            engine: self.engine.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            http: self.http.to_string(),
            term_at_start: self.term_at_start,
            loading: true,
            ..NodeStatus::default()
        }
    }
}

impl Reporter {
    /// A reporter that publishes to `status`. The log holds entries up to `last` and a snapshot of `snapshot`.
    pub(crate) fn new(
        constants: Constants,
        status: watch::Sender<Arc<NodeStatus>>,
        directory: Arc<Directory>,
        metrics: Arc<Metrics>,
        last: u64,
        snapshot: u64,
    ) -> Self {
        let durable = Durable { index: last, writes: std::collections::VecDeque::new() };
        Self {
            constants,
            started: Instant::now(),
            status,
            directory,
            metrics,
            durable,
            snapshot,
            next: BootTime::default(),
            is_stale: false,
        }
    }

    /// When a status must be published that could not be yet. None while nothing happens: an idle node sleeps.
    pub(crate) fn deadline(&self) -> Option<BootTime> {
        self.is_stale.then_some(self.next)
    }

    /// The driver has made a step: whether a new status may be published already, or else will have to be.
    pub(crate) fn is_due(&mut self, now: BootTime) -> bool {
        self.is_stale = now < self.next;
        !self.is_stale
    }

    /// A task was handed to the log.
    pub(crate) fn handed_out(&mut self, task: &LogTask) {
        match task {
            LogTask::Write { op, write } => {
                if let Some(from) = write.truncate_from {
                    self.durable.index = self.durable.index.min(from.saturating_sub(1));
                }
                if let Some(last) = write.entries.last() {
                    self.durable.writes.push_back((*op, last.index));
                }
            }
            LogTask::ReplaceBySnapshot { meta, .. } => {
                self.snapshot = meta.index.0;
                self.durable.index = self.durable.index.max(meta.index.0);
            }
            LogTask::Release { .. } | LogTask::SetClusterId { .. } | LogTask::EndRepair => {}
        }
    }

    /// A write is durable.
    pub(crate) fn persisted(&mut self, op: PersistId) {
        while let Some(&(write, last)) = self.durable.writes.front()
            && write <= op
        {
            self.durable.index = last;
            self.durable.writes.pop_front();
        }
    }

    /// A snapshot of this node's own was made.
    pub(crate) fn made_snapshot(&mut self, index: u64) {
        self.snapshot = index;
    }

    /// Publishes what is known now.
    pub(crate) fn publish(&mut self, now: BootTime, status: &Status, calendar_ms: u64, data_bytes_max: u64) {
        self.next = now.after(INTERVAL);
        let contacts = self.directory.contacts();
        let role = &status.engine.role;
        let mut faults = Vec::new();
        if !status.room {
            faults.push("the disk is full: writes are refused".to_owned());
        }
        let holders: Vec<String> = status.membership.holders().map(|node| node.0.to_string()).collect();
        faults.extend(status.membership.set_aside().map(|node| {
            format!(
                "node {} is set aside until it has caught up: node {} alone holds the data",
                node.0,
                holders.join(" and ")
            )
        }));
        faults.extend(status.repair.map(repair_text));
        let databases = status.machine.databases.iter().zip(0..).filter(|(database, _)| database.keys > 0);
        let databases = databases.map(|(database, number)| Database {
            number,
            keys: database.keys as u64,
            expires: database.expires as u64,
        });
        // A witness has it from its folder alone.
        let known = self.constants.cluster_id.filter(|_| status.membership.is_witness(self.this()));
        let is_member =
            |(node_id, _): &(&u64, &Contact)| status.engine.membership.contains(NodeId(**node_id));
        let peer = |(&node_id, contact): (&u64, &Contact)| {
            let known = status.engine.peers.iter().find(|peer| peer.id == NodeId(node_id));
            peer(node_id, contact, known)
        };
        let new = NodeStatus {
            cluster_id: status.cluster_id.or(known).map(|id| format!("{id:032x}")),
            role: match role.kind {
                RoleKind::Leader => Role::Leader,
                RoleKind::PreCandidate | RoleKind::Candidate => Role::Candidate,
                RoleKind::Follower => self.follower(status),
            },
            term: role.term.0,
            leader: role.leader.map(|leader| self.leader(leader.0, contacts.get(&leader.0))),
            cluster_version: status.version.0.into(),
            cluster_version_max: status.version_max.0.into(),
            loading: status.engine.applied.0 < self.constants.committed_at_start || status.repair.is_some(),
            removed: status.engine.removed,
            log: Positions {
                first: status.engine.first_index.0,
                last: status.engine.last_index.0,
                durable: self.durable.index.min(status.engine.last_index.0),
                committed: status.engine.commit.0,
                applied: status.engine.applied.0,
                snapshot: self.snapshot,
            },
            peers: contacts.iter().filter(is_member).map(peer).collect(),
            lease_ms: status.membership.lease.map(|lease| lease.millis),
            lease_given_up: status.engine.lease_given_up,
            phase2_quorum: status.membership.phase2_quorum,
            members: members(&status.membership),
            fresh_as_of_us: status.fresh_as_of.map(|at| at.micros),
            connected_slaves: u64::from(status.leader_followers),
            databases: databases.collect(),
            memory_bytes: status.machine.data_bytes,
            memory_bytes_max: data_bytes_max,
            scripts: status.machine.scripts as u64,
            sessions: status.machine.sessions as u64,
            commands_waiting: status.commands_waiting as u64,
            cluster_commands_waiting: status.machine.waiting as u64,
            queues: queues(status),
            activity: activity(&self.metrics),
            uptime_s: self.started.elapsed().as_secs(),
            calendar_ms,
            faults,
            ..self.constants.loading()
        };
        self.status.send_replace(Arc::new(new));
    }

    fn this(&self) -> NodeId {
        NodeId(self.constants.node_id)
    }

    fn follower(&self, status: &Status) -> Role {
        let (this, membership) = (self.this(), &status.engine.membership);
        if membership.is_witness(this) {
            Role::Witness
        } else if membership.learners.contains(&this) {
            Role::Learner
        } else {
            Role::Follower
        }
    }

    fn leader(&self, node_id: u64, contact: Option<&Contact>) -> Leader {
        let own = (node_id == self.constants.node_id).then(|| self.constants.advertise.clone());
        let is_self = own.is_some();
        let heard = contact
            .and_then(Contact::silence)
            .is_some_and(|silence| silence <= self.constants.election_timeout);
        let address = own.or_else(|| contact.and_then(|contact| contact.resp_address.clone()));
        let (host, port) = split(address);
        Leader { node_id, host, port, connected: is_self || heard }
    }
}

fn queues(status: &Status) -> Queues {
    let queues = &status.queues;
    Queues {
        commands_in_flight: status.commands_in_flight as u64,
        intake_bytes: queues.intake_bytes as u64,
        intake_bytes_max: queues.intake_bytes_max as u64,
        backlog_bytes: queues.backlog_bytes as u64,
        backlog_bytes_max: queues.backlog_bytes_max as u64,
    }
}

/// What has happened, without what the front doors know.
fn activity(metrics: &Metrics) -> Activity {
    Activity {
        commits: metrics.commit.durations(),
        log_syncs: metrics.log_sync.durations(),
        elections: metrics.elections.get(),
        leader_changes: metrics.leader_changes.get(),
        disk_available_bytes: metrics.disk_available_bytes.get(),
        ..Activity::default()
    }
}

/// The members of a configuration, by their ids.
fn members(membership: &Membership) -> Vec<Member> {
    let part = |node: NodeId| match (membership.voters.contains(&node), membership.outgoing.contains(&node)) {
        (true, false) if membership.is_joint() => MemberKind::Joining,
        (true, true | false) => MemberKind::Voter,
        (false, true) => MemberKind::Leaving,
        (false, false) => MemberKind::Learner,
    };
    let kind = |node: NodeId| if membership.is_witness(node) { MemberKind::Witness } else { part(node) };
    let member = |node: NodeId| Member {
        node_id: node.0,
        kind: kind(node),
        set_aside: membership.is_set_aside(node),
        promotes: membership.promotions.contains_key(&node),
        replaces: membership.promotions.get(&node).copied().flatten().map(|place| place.0),
        address: membership.addresses.get(&node).map(ToString::to_string).unwrap_or_default(),
    };
    let mut members: Vec<Member> = membership.members().map(member).collect();
    members.sort_by_key(|member| member.node_id);
    members
}

/// How far a repair is, for the node's operator.
fn repair_text(RepairStatus { matched, goal }: RepairStatus) -> String {
    let of = goal.map_or("an unknown number of".to_owned(), |goal| goal.to_string());
    format!("under repair: {matched} of {of} entries; it does not vote, and serves nobody")
}

fn peer(node_id: u64, contact: &Contact, known: Option<&PeerStatus>) -> Peer {
    let (host, port) = split(contact.resp_address.clone());
    let (sentinel_host, sentinel_port) = split(contact.sentinel_address.clone());
    let millis = |silence: Duration| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
    Peer {
        node_id,
        host,
        port,
        sentinel_host,
        sentinel_port,
        version: contact.program.clone(),
        cluster_version_max: contact.version_max,
        connected: contact.connections > 0,
        matched: known.map_or(0, |peer| peer.matched.0),
        heard_ms_ago: contact.silence().map(millis),
        progress: known.map_or_else(String::new, |peer| peer.progress.to_owned()),
        dropped: contact.dropped,
    }
}

/// Host and port; an empty one and 0 for none.
fn split(address: Option<Address>) -> (String, u16) {
    address.map_or((String::new(), 0), |address| (address.host, address.port))
}

#[cfg(test)]
mod tests {
    use quorate_log::{LogEntry, Write};

    use super::*;

    fn write(op: u64, truncate_from: Option<u64>, last: u64) -> LogTask {
        let entry = LogEntry { index: last, term: 1, stamp: 0, kind: 0, payload: bytes::Bytes::new() };
        LogTask::Write {
            op: PersistId(op),
            write: Write { hard_state: None, truncate_from, entries: vec![entry] },
        }
    }

    fn reporter() -> Reporter {
        let constants = Constants {
            node_id: 1,
            incarnation: 1,
            run_id: String::new(),
            engine: "raft",
            advertise: Address::new("h", 1),
            http: Address::new("h", 2),
            election_timeout: Duration::from_millis(300),
            committed_at_start: 0,
            term_at_start: 0,
            cluster_id: None,
        };
        let status = watch::Sender::new(Arc::new(constants.loading()));
        Reporter::new(constants, status, Arc::default(), Arc::default(), 5, 0)
    }

    #[test]
    fn an_entry_is_durable_only_once_its_write_was_reported() {
        let mut reporter = reporter();
        reporter.handed_out(&write(1, None, 7));
        reporter.handed_out(&write(2, None, 9));
        assert_eq!(reporter.durable.index, 5);
        reporter.persisted(PersistId(1));
        assert_eq!(reporter.durable.index, 7);
        reporter.handed_out(&write(3, Some(4), 4));
        assert_eq!(reporter.durable.index, 3);
    }

    #[test]
    fn only_what_came_too_early_to_be_told_wakes_an_idle_node() {
        let mut reporter = reporter();
        let at = |micros| BootTime { micros };
        assert!(reporter.is_due(at(1)));
        reporter.next = at(100);
        assert_eq!(reporter.deadline(), None);
        assert!(!reporter.is_due(at(99)));
        assert_eq!(reporter.deadline(), Some(at(100)));
        assert!(reporter.is_due(at(100)));
        assert_eq!(reporter.deadline(), None);
    }
}
