//! The Paxos family: [`synod`] decides one value, and [`Paxos`] decides a log, behind the [`Engine`] contract.
//!
//! # How it works
//!
//! Each attempt to lead is a [`Ballot`]: a round, and the node whose attempt it is. An acceptor promises one ballot at a time,
//! for all of the log that is not decided yet, and takes part in no lower one from then on.
//!
//! 1. **Prepare.** A candidate asks all voters for a promise of its ballot ([`candidate`]). A promise tells where the
//!    acceptor's log ends. When a quorum has promised, the greatest of their logs, in the order of the last entry's ballot and
//!    then of length, has everything that may have been chosen. If that is not the candidate's own, it asks the acceptor whose
//!    it is to *teach* it: that one sends what the candidate lacks, as a leader would to a follower, in windows of messages, or
//!    a snapshot if it must ([`replication`]).
//! 2. **Accept.** Then it leads ([`leader`]). It appends an entry of its own behind what it has adopted, asks all members to
//!    accept the whole, and commits what a quorum has accepted once that ends in an entry of its own ballot ([`quorums`]). An
//!    acceptor takes what fits to its log, and removes only entries that differ ([`acceptor`]).
//!
//! Anybody who reaches a quorum can lead so, however old its log is: that is the difference to Raft, where only who has all
//! that is committed may, and the reason why Paxos stays live when a single node that lags is the only one that still
//! reaches a quorum. Who tries is found out by *quorum-connectedness* ([`survey`]).
//!
//! # Entries keep their ballots
//!
//! An entry bears the ballot of the leader that first proposed it, and keeps it when a later one adopts it: so index and
//! ballot name an entry as index and term do under Raft, and a log on the disk looks the same ([`Ballot::term`]). That a later
//! ballot has accepted an adopted entry is said by the entries of that ballot behind it: an acceptor's log as a whole is
//! accepted in the ballot of its last entry (as in Sequence Paxos), and a leader counts nothing before an entry of its own.
//!
//! # Why it is right
//!
//! *Logs match.* Two logs that have an entry in common, by index and ballot, are equal up to it. For a ballot has one owner,
//! which appends to one log in it; and entries are taken only behind a base that the log holds.
//!
//! *Claim.* Let an entry `e` of ballot `b` be on the disks of a quorum that took it in `b`: it is chosen. Then each leader of
//! a ballot `c > b` has it in its log before it appends anything. Let `c` be the lowest for which that is wrong. A quorum has
//! promised `c`, and shares a voter `v` with the quorum that took `e`. `v` took it before it promised `c`, or it would have
//! refused it. It had not lost it by then: entries are removed only where they differ from what is sent in a ballot by its
//! leader, who has `e`, if its ballot is between `b` and `c`; or from a greater log that a candidate is being taught, which
//! has `e` by the argument that follows. So `v` told of a log with `e`, and the log `L` that the candidate adopts is at least
//! as great. If both end in the same ballot, the logs match up to the shorter end, and `L` has all of the other's, `e` too.
//! If `L` ends in a greater one, `d`, then `b < d < c`; the leader of `d` had `e` before it appended the entry at the end of
//! `L`, and so has `L`. Contradiction.
//!
//! The second half does not ask where the two logs were told of: *a greater log has whatever a lower one has that is, or may
//! still be, chosen*. So a candidate that is taught may remove its own entries as it goes. It loses nothing by dying half
//! way, with a log that is lower than before; and for the same reason an acceptor that has taken the first part of what a
//! leader adopted has lost nothing that was behind it. No accept needs to be atomic, and no log to keep a ballot per slot
//! beside the one in the entry.
//!
//! *What is committed stays.* A leader commits by counting up to an entry `e` of its own ballot, which is chosen. Those before
//! it may be adopted: they bear lower ballots, and nobody has counted who took them in these. But whoever has `e` has them
//! as well, since logs match; each later leader has `e`, by the claim, and so it sends no others in their place. Nobody else
//! removes them: who is taught by a log at least as great as its own has `e` afterwards if it had it before. An acceptor
//! takes a commit index from the leader, or its teacher, only up to where their logs are known to be equal.
//!
//! *A promise outlives an installation.* A voter may tell of its log while it installs a snapshot, which replaces what it told
//! of if it does not hold the snapshot's last entry. What the snapshot has is committed by an entry of a ballot `b`; then the
//! log told of ends in a lower one, or its leader would have had all that, and so would it. Each quorum of promises has
//! somebody who took that entry: his log is greater, so nobody asks for the one that is gone.
//!
//! A node whose disk was damaged promises nothing before it is whole again ([`repair`]).
//!
//! *Members change* as under Raft: a configuration is in force from when it is appended, and none follows before it is
//! committed. A candidate may be so far behind that it does not know whose promises it needs. So it counts again whenever it
//! has learned: what it needs in the end is a quorum **of the configuration in the log that it adopts**, whose greatest log
//! that is. Two configurations in two such logs are equal, or neighbours, or both follow the same one, and their quorums meet.
//!
//! # The gate
//!
//! A message's ballot is compared with the node's own in one place, [`Paxos::admit`]. **A ballot is raised only by its
//! owner**, who is heard directly: what others say of a greater one is remembered, so that the next attempt of this node's
//! own is above it, and changes nothing else.
//!
//! # Invariants, asserted in release builds
//!
//! * The promised ballot never falls, and is durable before a promise of it, or anything accepted in it, is told.
//! * The commit index never falls, and no entry at or below it is ever removed.
//! * A leader's own log never shrinks, and what it commits by counting ends in its own ballot.
//!
//! # What it does not do
//!
//! * Answer reads by lease: each is confirmed by a round ([`reads`]), and a lease is refused.
//! * Keep a witness: it is refused, and nobody stands in a cluster that was born with one.
//!
//! Sources: Lamport, *Paxos Made Simple*, section 3; van Renesse and Altinbuken, *Paxos Made Moderately Complex*; Ng, Haridi and
//! Carbone, *Omni-Paxos* (EuroSys '23), sections 4 and 5; Howard and Mortier, *Paxos vs Raft* (PaPoC '20).

mod acceptor;
pub mod ballot;
mod candidate;
mod leader;
pub mod message;
mod quorums;
mod reads;
mod reconfiguration;
mod repair;
mod replication;
mod snapshots;
mod survey;
pub mod synod;
mod transfer;

use quorate_bug::{self as bug, Bug};

use self::{
    acceptor::{Follower, Stage},
    candidate::{Candidate, Setbacks},
    leader::Leader,
    message::{Body, Message, Speaker},
    survey::Survey,
};
use crate::{
    BootTime, ClusterTime, Config, Effects, Engine, Index, Input, NodeId, PersistId, Priority, Restored,
    SnapshotMeta,
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
pub use ballot::Ballot;

/// A Multi-Paxos node of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Paxos {
    config: Config,
    jitter: Jitter,
    /// A random number of this life of the node, by which answers to an earlier life are told apart.
    origin: u64,
    /// The greatest ballot that this node has promised.
    ballot: Ballot,
    /// The greatest ballot that it has heard of, which binds it to nothing.
    rumoured: Ballot,
    standing: Standing,
    log: LogView,
    durability: Durability,
    role: Role,
    incoming: Incoming,
    heard: HeardStamp,
    outbox: Outbox<Message>,
    /// The number of batches of reads that were forwarded to leaders.
    read_batches: u64,
    /// The number of rounds of polls.
    polls: u64,
    /// What was last told of the role.
    reported: RoleView,
    /// Whether this node knows that it is no member any more. Never false again.
    removed: bool,
    /// What this node's disk lacks of what it once held, and how it gets it back, if so.
    repair: Option<Repair>,
    setbacks: Setbacks,
    /// Whether the log may grow.
    has_room: bool,
    health: Health,
}

/// The part that this node plays in `ballot`, with all that only matters while it plays it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follower(Follower),
    /// Hears no leader, and finds out whether it should lead.
    Surveyor(Survey),
    /// Owns the ballot, and collects promises.
    Candidate(Candidate),
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

impl Engine for Paxos {
    type Message = Message;

    fn new(config: Config, restored: Restored, now: BootTime) -> Self {
        let Restored { hard_state, snapshot, birth, entries, under_repair } = restored;
        let mut log = LogView::new(snapshot.as_ref(), birth);
        entries.into_iter().for_each(|entry| log.append(entry));
        let standing = Standing::restored(hard_state.commit, &log);
        let promised = if bug::on(Bug::ForgottenBallot) { log.last().term } else { hard_state.term };
        let ballot = Ballot::of(promised);
        let mut jitter = Jitter::new(config.seed, config.id.0);
        let origin = jitter.number();
        let mut paxos = Self {
            jitter,
            origin,
            ballot,
            rumoured: ballot,
            durability: Durability::new(log.last_index(), standing.commit()),
            standing,
            log,
            role: Role::Follower(Follower::waiting(now)),
            incoming: Incoming::Idle,
            heard: HeardStamp::default(),
            outbox: Outbox::default(),
            read_batches: 0,
            polls: 0,
            reported: RoleView { term: ballot.term(), kind: RoleKind::Follower, leader: None },
            removed: false,
            repair: under_repair.then(Repair::default),
            setbacks: Setbacks::default(),
            has_room: true,
            health: Health::Alive,
            config,
        };
        // A lone voter has nobody to wait for.
        if !paxos.log.membership().is_sole_voter(paxos.config.id) {
            let survey_at = paxos.random_election_time(now);
            paxos.role = Role::Follower(Follower::waiting(survey_at));
        }
        paxos
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
            Input::Read { id } => self.read(id),
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
            Input::SnapshotInstalled { meta } => self.snapshot_installed(now, &meta),
            Input::SnapshotRejected { meta } => self.snapshot_rejected(now, &meta),
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
                self.advance_membership(now);
                self.open_read_round(now);
                self.replicate(now);
            }
            Role::Follower(_) => {
                self.forward_reads(now);
                self.teach_pupil(now);
                self.advance_repair(now);
            }
            Role::Surveyor(_) | Role::Candidate(_) => {}
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
            Role::Surveyor(survey) => survey.deadline(),
            Role::Candidate(candidate) => candidate.deadline(),
            Role::Leader(leader) => leader.heartbeat_at,
        }
    }

    fn status(&self, now: BootTime) -> Status {
        let peers = match &self.role {
            Role::Leader(leader) => self.circle(now, leader).peer_status(),
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => Vec::<PeerStatus>::new(),
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
            lease_given_up: false,
            peers,
        }
    }

    fn cluster_time(&self, now: BootTime) -> Option<ClusterTime> {
        match &self.role {
            Role::Leader(leader) => Some(leader.stamp(now, &self.log)),
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => None,
        }
    }
}

impl Paxos {
    /// One message from a peer, through the gate and to whom it concerns.
    fn receive(&mut self, now: BootTime, from: NodeId, message: Message) {
        if from == self.config.id || !self.admit(now, from, &message) {
            return;
        }
        let Message { ballot, body } = message;
        match body {
            Body::Poll { origin, round, priority, last } => {
                self.answer_poll(now, from, (origin, round), (priority, last));
            }
            Body::PollAnswer { origin, round, led, connected, priority, last, ahead } => {
                let answer = survey::Answer { led, connected, priority, last, ahead };
                self.count_answer(now, from, (origin, round), answer);
            }
            Body::Prepare { promised, ordered: _ } => self.answer_prepare(now, from, promised),
            Body::Promise { last } => self.count_promise(now, from, last),
            Body::Teach { last } => self.begin_to_teach(now, last),
            Body::Accept { base, entries, commit, stamp } => {
                self.follow(now, Stage::Leads, Some(stamp));
                self.accept(now, from, base, entries, commit);
            }
            Body::Decide { commit, stamp } => {
                self.follow(now, Stage::Leads, Some(stamp));
                self.learn_commit_by_progress(commit);
            }
            Body::Heartbeat { commit, round, stamp } => {
                self.follow(now, Stage::Leads, Some(stamp));
                self.learn_commit_by_progress(commit);
                let priority = if self.repair.is_some() { Priority::NEVER } else { self.config.priority };
                self.send(from, Body::HeartbeatAnswer { round, priority });
            }
            Body::SnapshotChunk { meta, offset, data } => {
                self.follow(now, Stage::Leads, None);
                self.receive_chunk(from, meta, offset, data);
            }
            Body::Resigned => self.leader_lost(now),
            Body::TakeOver => self.campaign_now(now, true),
            Body::Outdated => self.learn_outdated(now, from, ballot),
            Body::Removed => self.learn_removal(now),
            Body::Inquiry => {}
            Body::Accepted { matched } => self.accepted(now, from, matched),
            Body::Rejected { base, hint } => self.rejected(from, base, hint),
            Body::HeartbeatAnswer { round, priority } => self.heartbeat_answered(now, from, round, priority),
            Body::RepairRequest { life } => self.repair_requested(from, life),
            Body::RepairPoint { life, last } => self.repair_point(life, last),
            Body::SnapshotReceived { last, end } => self.snapshot_received(from, last, end),
            Body::Read { origin, batch } => self.read_for(from, origin, batch),
            Body::ReadAnswer { origin, batch, point } => self.read_answered(from, origin, batch, point),
        }
    }

    /// The gate: whether a message is to be looked at. Afterwards its ballot is the node's own, unless anybody may say it.
    fn admit(&mut self, now: BootTime, from: NodeId, message: &Message) -> bool {
        let Message { ballot, body } = message;
        let speaker = body.speaker();
        let is_owner = ballot.node == from;
        // Nobody can have promised what is out of bounds, nor speak for a ballot that he does not own.
        if !(*ballot == Ballot::NONE || ballot.is_sound()) || (speaker == Speaker::Owner && !is_owner) {
            return false;
        }
        if !matches!(body, Body::Removed) && self.turns_away(from, message) {
            return false;
        }
        self.rumoured = self.rumoured.max(*ballot);
        if speaker == Speaker::Anybody {
            // A member that inquires is answered by its leader's next heartbeat.
            return !matches!(body, Body::Inquiry);
        }
        if *ballot > self.ballot {
            let may_raise = is_owner && speaker != Speaker::Acceptor && !self.protects_leader(now, message);
            if !may_raise {
                return false;
            }
            self.become_follower(now, *ballot);
        }
        if *ballot < self.ballot && bug::on(Bug::BrokenPromise) && matches!(body, Body::Accept { .. }) {
            self.ballot = *ballot;
        }
        if *ballot < self.ballot {
            // Who is behind must learn of it, or it could neither follow nor lead.
            if is_owner && speaker != Speaker::Acceptor {
                self.send(from, Body::Outdated);
            }
            return false;
        }
        match speaker {
            Speaker::Anybody | Speaker::Owner | Speaker::Acceptor => true,
            Speaker::OwnerOrTeacher => is_owner || self.teacher() == Some(from),
        }
    }

    /// Whether a candidate is to be left alone with its ballot, since somebody leads and is heard. Its own leader may raise
    /// its ballot, and order others to do so.
    fn protects_leader(&self, now: BootTime, message: &Message) -> bool {
        let Body::Prepare { ordered: false, .. } = &message.body else { return false };
        message.ballot.node != self.ballot.node && self.hears_leader(now)
    }

    /// Does what is due by now.
    fn run_timers(&mut self, now: BootTime) {
        match &self.role {
            Role::Leader(_) => self.lead_on(now),
            Role::Follower(follower) if follower.survey_at <= now => self.start_survey(now),
            Role::Follower(_) => self.drop_unanswered_reads(now),
            Role::Surveyor(_) => self.go_on_surveying(now),
            Role::Candidate(_) => self.go_on_preparing(now),
        }
    }

    /// Everything gathered since the last time.
    fn take_effects(&mut self, now: BootTime) -> Effects<Message> {
        let role = self.role_view();
        let news = (role != self.reported).then_some(role);
        self.reported = role;
        // The ballot names whom it was promised to.
        let promises = (self.ballot.term(), None);
        let Self { standing, outbox, log, durability, .. } = self;
        standing.take_effects(now, promises, news, outbox, log, durability)
    }

    fn persisted(&mut self, now: BootTime, op: PersistId) {
        self.durability.persisted(op);
        match &self.role {
            Role::Candidate(_) => self.conclude(now),
            Role::Leader(_) => self.commit_by_counting(),
            Role::Follower(_) | Role::Surveyor(_) => {}
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
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => None,
        }
    }

    fn unreachable(&mut self, now: BootTime, peer: NodeId) {
        match &mut self.role {
            Role::Leader(leader) => leader.lost_connection(now, peer),
            Role::Follower(_) if self.ballot.node == peer => self.leader_lost(now),
            Role::Follower(_) | Role::Surveyor(_) | Role::Candidate(_) => {}
        }
    }

    fn role_view(&self) -> RoleView {
        let (kind, leader) = match &self.role {
            Role::Follower(follower) => (RoleKind::Follower, follower.is_led().then_some(self.ballot.node)),
            Role::Surveyor(_) => (RoleKind::PreCandidate, None),
            Role::Candidate(_) => (RoleKind::Candidate, None),
            Role::Leader(_) => (RoleKind::Leader, Some(self.config.id)),
        };
        RoleView { term: self.ballot.term(), kind, leader }
    }

    /// A random instant between one and two election time-outs from now.
    fn random_election_time(&mut self, now: BootTime) -> BootTime {
        let timeout = self.config.election_timeout;
        now.after(timeout.saturating_add(self.jitter.up_to(timeout)))
    }

    /// Promises a greater ballot. It is told to nobody before it is durable.
    fn enter(&mut self, ballot: Ballot) {
        assert!(ballot > self.ballot, "the promised ballot regressed from {} to {ballot}", self.ballot);
        self.ballot = ballot;
        self.rumoured = self.rumoured.max(ballot);
        self.durability.promises_changed();
        self.restart_repair();
    }

    /// Waits to hear of the owner of `ballot`, this one or a greater one.
    fn become_follower(&mut self, now: BootTime, ballot: Ballot) {
        let survey_at = self.random_election_time(now);
        self.leave_role(now);
        if ballot != self.ballot {
            self.enter(ballot);
        }
        self.role = Role::Follower(Follower::waiting(survey_at));
    }

    /// Settles what only the present role could have finished. The caller puts another role in its place.
    fn leave_role(&mut self, now: BootTime) {
        match &mut self.role {
            Role::Follower(follower) => {
                let reads = follower.reads.take_all();
                self.drop_reads(reads);
            }
            Role::Surveyor(_) | Role::Candidate(_) => {}
            Role::Leader(leader) => {
                self.heard.hear(self.ballot.term(), leader.clock.read(now));
                let askers = leader.reads.take_all();
                askers.into_iter().for_each(|asker| self.answer_reader(asker, None));
            }
        }
    }

    /// Queues a message that promises nothing.
    fn send(&mut self, to: NodeId, body: Body) {
        self.outbox.send.push((to, Message { ballot: self.ballot, body }));
    }

    /// Queues a message that promises its ballot, and the log up to `through`.
    fn promise(&mut self, to: NodeId, through: Index, body: Body) {
        let message = Message { ballot: self.ballot, body };
        self.outbox.guarded.push(Guarded { to, message, through });
    }

    fn drop_reads(&mut self, reads: impl IntoIterator<Item = crate::ReadId>) {
        self.outbox.reads.extend(reads.into_iter().map(|id| (id, ReadOutcome::Dropped)));
    }

    fn refuse_proposal(&mut self, id: crate::ProposalId, why: ProposalOutcome) {
        self.outbox.proposals.push((id, why));
    }

    fn other_voters(&self) -> Vec<NodeId> {
        self.log.membership().electorate().filter(|&voter| voter != self.config.id).collect()
    }
}
