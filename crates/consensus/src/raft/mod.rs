//! Raft, as a pure state machine behind the [`Engine`] contract.
//!
//! # How it works
//!
//! A leader is elected for a term by a quorum of votes ([`election`]), appends what is proposed to its log and
//! sends it to all peers in parallel with its own write ([`leader`], [`replication`]), and commits what a quorum
//! has on its disks. Followers check that their log agrees at the place before the new entries, and repair it if
//! it does not ([`follower`]). Reads are confirmed by a round of heartbeats ([`reads`]), or
//! by a lease, if the configuration has one ([`lease`]). Who lags behind the
//! compacted log gets a snapshot ([`snapshots`]), and whose disk has lost what it held is no voter until it has got it
//! back ([`repair`]). Members come and go by joint consensus ([`reconfiguration`]). Beside two voters with data there may
//! be one without ([`witness`]).
//!
//! Each input is taken at once; time-outs, and what can be batched (appends, rounds of reads, the one write) wait
//! for [`Engine::drain`].
//!
//! # The gate
//!
//! A message's term is compared with the node's own in one place, [`Raft::admit`]. What passes it belongs to the
//! present term, but for pre-votes, which ask about a term to come.
//!
//! # Invariants, asserted in release builds
//!
//! * The term never falls; a term has at most one leader; a vote changes only with the term.
//! * The commit index never falls, and no entry at or below it is ever truncated.
//! * Only an entry of the leader's own term commits by counting (section 5.4.2).
//! * A vote, and an acknowledgement of entries, leaves only when what it promises is on the disk.
//!
//! # What it does not do yet
//!
//! A leader does not hand back to a voter of greater
//! priority: it does not know why that one gave leadership away (a full disk, say); its driver does, and may ask
//! for it.
//!
//! Sources: Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm*, sections 5 to 8; Ongaro's
//! dissertation: pre-vote 9.6, leadership transfer 3.10, membership 4, check quorum 6.2, ReadIndex 6.4.

mod election;
mod follower;
mod leader;
mod lease;
pub mod message;
mod reads;
mod reconfiguration;
mod repair;
mod replication;
mod snapshots;
mod transfer;
mod witness;

use self::{election::Canvass, follower::Follower, leader::Leader, message::Message};
use crate::{
    BootTime, ClusterTime, Config, Effects, Engine, Index, Input, NodeId, PersistId, Priority, Restored,
    SnapshotMeta, Term,
    cluster_clock::HeardStamp,
    engine::{Fatal, PeerStatus, ProposalOutcome, ReadOutcome, RoleKind, RoleView, Status},
    jitter::Jitter,
    replication::{
        durability::Durability,
        incoming::Incoming,
        log_view::LogView,
        outbox::{Guarded, Outbox},
        repair::Repair,
        standing::Standing,
    },
};

/// A Raft node of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    config: Config,
    jitter: Jitter,
    /// A random number of this life of the node, by which answers to an earlier life are told apart.
    origin: u64,
    term: Term,
    /// Who got this node's vote in `term`.
    vote: Option<NodeId>,
    standing: Standing,
    log: LogView,
    durability: Durability,
    role: Role,
    incoming: Incoming,
    heard: HeardStamp,
    outbox: Outbox<Message>,
    /// The number of batches of reads that were forwarded to leaders.
    read_batches: u64,
    /// What was last told of the role.
    reported: RoleView,
    /// Whether this node knows that it is no member any more. Never false again.
    removed: bool,
    /// What this node's disk lacks of what it once held, and how it gets it back, if so.
    repair: Option<Repair>,
    /// When a leader was heard last, or else when this life of the node began. Nothing makes it earlier.
    leader_heard: BootTime,
    /// Whether the log may grow.
    has_room: bool,
    health: Health,
}

/// The part that this node plays in `term`, with all that only matters while it plays it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follower(Follower),
    PreCandidate(Canvass),
    Candidate(Canvass),
    Leader(Leader),
}

/// Whether the engine still works.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Health {
    Alive,
    /// A write failed, and the caller does not know yet.
    Failed(Fatal),
    /// The caller was told.
    Dead,
}

impl Engine for Raft {
    type Message = Message;

    fn new(config: Config, restored: Restored, now: BootTime) -> Self {
        let Restored { hard_state, snapshot, birth, entries, under_repair } = restored;
        let mut log = LogView::new(snapshot.as_ref(), birth);
        for entry in entries {
            log.append(entry);
        }
        let standing = Standing::restored(hard_state.commit, &log);
        let mut jitter = Jitter::new(config.seed, config.id.0);
        let origin = jitter.number();
        let reported = RoleView { term: hard_state.term, kind: RoleKind::Follower, leader: None };
        let mut raft = Self {
            jitter,
            origin,
            term: hard_state.term,
            vote: hard_state.vote,
            durability: Durability::new(log.last_index(), standing.commit()),
            standing,
            log,
            role: Role::Follower(Follower::waiting(now)),
            incoming: Incoming::Idle,
            heard: HeardStamp::default(),
            outbox: Outbox::default(),
            read_batches: 0,
            reported,
            removed: false,
            repair: under_repair.then(Repair::default),
            leader_heard: now,
            has_room: true,
            health: Health::Alive,
            config,
        };
        // A lone voter has nobody to wait for.
        if !raft.log.membership().is_sole_voter(raft.config.id) {
            let campaign_at = raft.random_election_time(now);
            raft.role = Role::Follower(Follower::waiting(campaign_at));
        }
        raft
    }

    fn step(&mut self, now: BootTime, input: Input<Message>) {
        if !matches!(self.health, Health::Alive) {
            return;
        }
        match input {
            Input::Deadline => {}
            Input::Message { from, message } => self.receive(now, from, message),
            Input::Propose { id, payload } => self.propose(now, id, payload),
            Input::Reconfigure { id, change } => self.reconfigure(now, id, &change),
            Input::Read { id } => self.read(now, id),
            Input::Transfer { to } => self.begin_transfer(now, to),
            Input::Campaign => self.campaign_now(now, false),
            Input::Persisted { op } => self.persisted(now, op),
            Input::PersistFailed { op } => self.health = Health::Failed(Fatal::PersistFailed { op }),
            Input::Applied { index } => self.standing.note_applied(index),
            Input::Unreachable { peer } => self.unreachable(now, peer),
            Input::SnapshotMade { meta, keep_from } => self.snapshot_made(&meta, keep_from),
            Input::SnapshotLoaded { to, meta, offset, data } => {
                self.snapshot_loaded(now, to, meta, offset, data);
            }
            Input::SnapshotMissing { to } => self.snapshot_missing(now, to),
            Input::SnapshotStored { meta, end } => self.snapshot_stored(&meta, end),
            Input::SnapshotInstalled { meta } => self.snapshot_installed(&meta),
            Input::SnapshotRejected { meta } => self.snapshot_rejected(&meta),
            Input::Room { may_grow } => self.has_room = may_grow,
        }
    }

    fn drain(&mut self, now: BootTime) -> Effects<Message> {
        match std::mem::replace(&mut self.health, Health::Dead) {
            Health::Alive => self.health = Health::Alive,
            Health::Failed(fatal) => {
                self.outbox = Outbox::default();
                return Effects { fatal: Some(fatal), ..Effects::default() };
            }
            Health::Dead => return Effects::default(),
        }
        self.run_timers(now);
        match &self.role {
            Role::Leader(_) => {
                self.keep_holders(now);
                self.advance_membership(now);
                self.open_read_round(now);
                self.replicate(now);
            }
            Role::Follower(_) => {
                self.forward_reads(now);
                self.advance_repair(now);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
        self.install_if_idle();
        self.find_removal();
        self.take_effects(now)
    }

    fn needs_room(message: &Message) -> bool {
        message.body.needs_room()
    }

    fn deadline(&self) -> BootTime {
        if !matches!(self.health, Health::Alive) {
            return BootTime { micros: u64::MAX };
        }
        match &self.role {
            Role::Follower(follower) => follower.deadline(&self.config),
            Role::PreCandidate(canvass) | Role::Candidate(canvass) => canvass.ends_at,
            Role::Leader(leader) => leader.heartbeat_at,
        }
    }

    fn status(&self, now: BootTime) -> Status {
        let peers = match &self.role {
            Role::Leader(leader) => self.circle(now, leader).peer_status(),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => Vec::<PeerStatus>::new(),
        };
        Status {
            role: self.role_view(),
            last_index: self.log.last_index(),
            commit: self.standing.commit(),
            applied: self.standing.applied(),
            first_index: self.log.first_index(),
            membership: self.log.membership().clone(),
            membership_index: self.log.membership_index(),
            removed: self.removed,
            repair: self.repair.as_ref().map(Repair::status),
            confirmed_at: self.confirmed_at(now),
            lease_given_up: self.has_given_up_lease(),
            peers,
        }
    }

    fn cluster_time(&self, now: BootTime) -> Option<ClusterTime> {
        match &self.role {
            Role::Leader(leader) => Some(leader.stamp(now, &self.log)),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }
}

impl Raft {
    /// One message from a peer, through the gate and to whom it concerns.
    fn receive(&mut self, now: BootTime, from: NodeId, message: Message) {
        use message::Body;
        if from == self.config.id || !self.admit(now, from, &message) {
            return;
        }
        let Message { term, body } = message;
        match body {
            Body::PreVote { last } => self.answer_pre_vote(now, from, term, last),
            Body::PreVoteAnswer { granted } => self.count_pre_vote(now, from, term, granted),
            Body::Vote { last, transfer } => self.answer_vote(now, from, last, transfer),
            Body::VoteAnswer { granted } => self.count_vote(now, from, granted),
            Body::Append { base, entries, commit, stamp } => {
                self.follow(now, from, Some(stamp));
                self.append(from, base, entries, commit);
            }
            Body::Heartbeat { commit, round, stamp, preferred } => {
                self.follow(now, from, Some(stamp));
                self.defer_to(preferred);
                self.learn_commit_by_progress(commit);
                let never = self.repair.is_some() || self.log.membership().is_witness(self.config.id);
                let priority = if never { Priority::NEVER } else { self.config.priority };
                self.send(from, Body::HeartbeatAnswer { round, priority });
            }
            Body::Commit { commit, stamp } => {
                self.follow(now, from, Some(stamp));
                self.learn_commit_by_progress(commit);
            }
            Body::SnapshotChunk { meta, offset, data } => {
                self.follow(now, from, None);
                self.receive_chunk(from, meta, offset, data);
            }
            Body::TimeoutNow => self.campaign_now(now, true),
            Body::Removed => self.learn_removal(now),
            Body::Inquiry | Body::Outdated => {}
            Body::AppendAccepted { matched } => self.append_accepted(now, from, matched),
            Body::AppendRejected { base, hint } => self.append_rejected(now, from, base, hint),
            Body::HeartbeatAnswer { round, priority } => {
                self.heartbeat_answered(now, from, round, priority);
            }
            Body::SnapshotReceived { last, end } => self.snapshot_received(now, from, last, end),
            Body::Read { origin, batch } => self.read_for(now, from, origin, batch),
            Body::ReadAnswer { origin, batch, point } => self.read_answered(from, origin, batch, point),
            Body::RepairRequest { life } => self.repair_requested(now, from, life),
            Body::RepairPoint { life, last } => self.repair_point(from, life, last),
        }
    }

    /// The gate: whether a message is to be looked at. Afterwards its term is the node's own, unless it is about
    /// a pre-vote or a removal.
    fn admit(&mut self, now: BootTime, from: NodeId, message: &Message) -> bool {
        use message::Body;
        match &message.body {
            Body::Removed => return true,
            _ if self.turns_away(from, message) => return false,
            // A member that asks is answered by its leader's next heartbeat.
            Body::Inquiry => return false,
            Body::PreVote { .. } | Body::PreVoteAnswer { granted: true } => return true,
            // A node that was cut off must not depose a leader that a quorum hears.
            Body::Vote { transfer: false, .. }
                if message.term > self.term && (self.hears_leader(now) || self.is_bound(now)) =>
            {
                return false;
            }
            _ if message.term > self.term => {
                self.become_follower(now, message.term, None);
            }
            _ => {}
        }
        if message.term == self.term {
            // A term has one leader. Whoever else claims to be it is wrong, and who obeyed both, or ended here and forgot the
            // first, could lose what that one counts on.
            let leader = self.role_view().leader;
            return !message.body.is_from_leader() || leader.is_none_or(|leader| leader == from);
        }
        // Whoever is behind must learn of it, or it could neither follow nor lead.
        if message.body.is_from_leader() {
            self.send(from, Body::Outdated);
        } else if let Body::Vote { .. } = message.body {
            self.send(from, Body::VoteAnswer { granted: false });
        }
        false
    }

    /// Does what is due by now.
    fn run_timers(&mut self, now: BootTime) {
        match &self.role {
            Role::Leader(_) => self.lead_on(now),
            Role::Follower(follower) if follower.campaign_at <= now => self.start_pre_vote(now),
            Role::Follower(_) => self.drop_unanswered_reads(now),
            Role::PreCandidate(canvass) | Role::Candidate(canvass) if canvass.ends_at <= now => {
                self.start_pre_vote(now);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    /// Everything gathered since the last time.
    fn take_effects(&mut self, now: BootTime) -> Effects<Message> {
        let role = self.role_view();
        let news = (role != self.reported).then_some(role);
        self.reported = role;
        let promises = (self.term, self.vote);
        let Self { standing, outbox, log, durability, .. } = self;
        standing.take_effects(now, promises, news, outbox, log, durability)
    }

    fn persisted(&mut self, now: BootTime, op: PersistId) {
        self.durability.persisted(op);
        match &self.role {
            Role::Candidate(_) => self.count_own_vote(now),
            Role::Leader(_) => self.commit_by_counting(),
            Role::Follower(_) | Role::PreCandidate(_) => {}
        }
    }

    /// Moves the commit index forward.
    fn commit_to(&mut self, index: Index) {
        self.standing.commit_to(index, &self.log);
    }

    /// A snapshot of this node's own machine allows to forget the log's beginning.
    fn snapshot_made(&mut self, meta: &SnapshotMeta, keep_from: Index) {
        let needed = self.needed_behind_transfers();
        self.standing.snapshot_made(&mut self.log, meta, keep_from, needed);
    }

    /// Until when nobody else can have led, as far as a leader knows.
    fn confirmed_at(&self, now: BootTime) -> Option<BootTime> {
        match &self.role {
            Role::Leader(leader) if self.log.membership().is_sole_voter(self.config.id) => {
                (self.standing.commit() >= leader.first).then_some(now)
            }
            Role::Leader(leader) => leader.reads.confirmed_at(),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    fn unreachable(&mut self, now: BootTime, peer: NodeId) {
        match &mut self.role {
            Role::Leader(leader) => leader.lost_connection(now, peer),
            Role::Follower(_) => self.leader_unreachable(now, peer),
            Role::PreCandidate(_) | Role::Candidate(_) => {}
        }
    }

    fn role_view(&self) -> RoleView {
        let (kind, leader) = match &self.role {
            Role::Follower(follower) => (RoleKind::Follower, follower.leader_id()),
            Role::PreCandidate(_) => (RoleKind::PreCandidate, None),
            Role::Candidate(_) => (RoleKind::Candidate, None),
            Role::Leader(_) => (RoleKind::Leader, Some(self.config.id)),
        };
        RoleView { term: self.term, kind, leader }
    }

    /// Queues a message that promises nothing.
    fn send(&mut self, to: NodeId, body: message::Body) {
        self.outbox.send.push((to, Message { term: self.term, body }));
    }

    /// Queues a message that promises term, vote, and the log up to `through`.
    fn promise(&mut self, to: NodeId, through: Index, body: message::Body) {
        let message = Message { term: self.term, body };
        self.outbox.guarded.push(Guarded { to, message, through });
    }

    fn drop_reads(&mut self, reads: impl IntoIterator<Item = crate::ReadId>) {
        self.outbox.reads.extend(reads.into_iter().map(|id| (id, ReadOutcome::Dropped)));
    }

    fn refuse_proposal(&mut self, id: crate::ProposalId, why: ProposalOutcome) {
        self.outbox.proposals.push((id, why));
    }
}
