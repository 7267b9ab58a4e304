//! Elections: pre-votes, votes, and every change of role.
//!
//! A node that hears no leader first asks whether it could win (dissertation, section 9.6): nobody's term changes
//! by the question, and a voter says no while it hears a leader. Only then it raises its term, votes for itself,
//! and asks for votes; its own vote counts once it is durable, and its questions leave no earlier.
//!
//! * A voter that heard a leader within an election time-out ignores candidates, and a leader that hears a quorum
//!   does so, too: a node that was cut off does not depose a leader that works (check quorum, section 6.2).
//! * Votes are counted by the newest configuration in the candidate's log, committed or not (hazard 3); they are
//!   given to whoever asks, whatever the voter's own configuration says (hazard 4; dissertation, section 4.1).
//! * Of two voters the one of lower priority waits longer before it stands. Neither a witness nor a voter that is set
//!   aside ever stands: it may lack what is committed.
//! * A leader that such a node cannot follow, since its term is higher, hears of that term in the answer to its
//!   own messages; so the two cannot block each other (hazard 14).

use std::collections::BTreeSet;

use quorate_bug::{self as bug, Bug};

use super::{
    Raft, Role,
    follower::Follower,
    leader::Leader,
    message::{Body, Message, Position},
};
use crate::{BootTime, Index, Membership, NodeId, Payload, Priority, Term, replication::outbox::Guarded};

/// The answers to a pre-vote or an election so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Canvass {
    granted: BTreeSet<NodeId>,
    refused: BTreeSet<NodeId>,
    /// When it is given up, and the next pre-vote begins.
    pub(super) ends_at: BootTime,
}

/// How a canvass stands.
enum Verdict {
    Open,
    Won,
    Lost,
}

impl Canvass {
    fn new(ends_at: BootTime) -> Self {
        Self { granted: BTreeSet::new(), refused: BTreeSet::new(), ends_at }
    }

    /// Counts each voter once, by its first answer.
    fn count(&mut self, from: NodeId, granted: bool) {
        if !self.granted.contains(&from) && !self.refused.contains(&from) {
            if granted { &mut self.granted } else { &mut self.refused }.insert(from);
        }
    }

    fn verdict(&self, membership: &Membership) -> Verdict {
        // Beside a witness only those who hold the data know what is committed: one of them must say yes.
        let has = |agrees: &dyn Fn(NodeId) -> bool| {
            membership.has_quorum(agrees) && membership.holders().any(agrees)
        };
        if has(&|voter| self.granted.contains(&voter)) {
            Verdict::Won
        } else if has(&|voter| !self.refused.contains(&voter)) {
            Verdict::Open
        } else {
            Verdict::Lost
        }
    }
}

impl Raft {
    /// A random instant between one and two election time-outs from now.
    pub(super) fn random_election_time(&mut self, now: BootTime) -> BootTime {
        let timeout = self.config.election_timeout;
        now.after(timeout.saturating_add(self.jitter.up_to(timeout)))
    }

    /// Whether there is a leader that deserves protection against candidates.
    pub(super) fn hears_leader(&self, now: BootTime) -> bool {
        match &self.role {
            Role::Follower(follower) => follower.hears_leader(now, self.config.election_timeout),
            Role::Leader(leader) => self.hears_quorum(now, leader),
            Role::PreCandidate(_) | Role::Candidate(_) => false,
        }
    }

    /// Whether the log that ends at `last` has all that this one has (section 5.4.1), what a witness is about to write
    /// included.
    fn is_up_to_date(&self, last: Position) -> bool {
        let incoming = self.incoming.configuration().unwrap_or_default();
        last.rank() >= self.log.last().rank().max(incoming.rank()) || bug::on(Bug::AnyLogElected)
    }

    /// Whether this node may stand for election at all. One that its newest configuration leaves out may, as long
    /// as it does not know that to be committed: it can be the only one in reach that has it. It does not count
    /// itself then.
    fn may_campaign(&self, now: BootTime) -> bool {
        (self.log.membership().is_voter(self.config.id) || !self.is_voted_out())
            && self.log.membership().may_lead(self.config.id)
            && !self.removed
            && self.repair.is_none()
            && self.has_room
            && !self.incoming.is_installing()
            && !self.durability.is_stalled(now, self.config.persist_stall_max)
    }

    /// Whether this node knows of any cluster. One that has joined votes for nobody before a leader has sent it entries:
    /// nobody made it a voter before that.
    fn is_in_a_cluster(&self) -> bool {
        !self.log.membership().is_empty()
    }

    /// Whether this node would lead without being ordered to.
    fn is_willing(&self) -> bool {
        self.config.priority != Priority::NEVER || self.log.membership().is_sole_voter(self.config.id)
    }

    pub(super) fn other_voters(&self) -> Vec<NodeId> {
        self.log.membership().electorate().filter(|&voter| voter != self.config.id).collect()
    }

    /// Asks whether an election could succeed.
    pub(super) fn start_pre_vote(&mut self, now: BootTime) {
        let ends_at = self.random_election_time(now);
        self.leave_role(now);
        if let Some(until) = self.bound_until(now) {
            // Not all at the same moment.
            let polite = until.after(self.jitter.up_to(self.config.heartbeat_interval));
            self.role = Role::Follower(Follower::waiting(polite));
            return;
        }
        if !self.may_campaign(now) || !self.is_willing() {
            self.role = Role::Follower(Follower::waiting(ends_at));
            self.inquire();
            return;
        }
        let mut canvass = Canvass::new(ends_at);
        canvass.count(self.config.id, true);
        self.role = Role::PreCandidate(canvass);
        let message = Message { term: self.next_term(), body: Body::PreVote { last: self.log.last() } };
        for voter in self.other_voters() {
            self.outbox.send.push((voter, message.clone()));
        }
        self.conclude(now);
    }

    fn next_term(&self) -> Term {
        Term(self.term.0 + 1)
    }

    /// Stands for election without asking first: by order of the operator, or of the leader itself.
    pub(super) fn campaign_now(&mut self, now: BootTime, transfer: bool) {
        match &self.role {
            Role::Leader(_) => {}
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                if self.may_campaign(now) && (transfer || !self.is_bound(now)) {
                    self.start_election(now, transfer);
                }
            }
        }
    }

    /// Raises the term, votes for itself, asks the others.
    fn start_election(&mut self, now: BootTime, transfer: bool) {
        let ends_at = self.random_election_time(now);
        self.leave_role(now);
        self.incoming.abandon();
        self.enter_term(self.next_term(), Some(self.config.id));
        self.role = Role::Candidate(Canvass::new(ends_at));
        let last = self.log.last();
        for voter in self.other_voters() {
            // A vote asked for by a term that could be forgotten might be counted again in its second life.
            self.promise(voter, Index(0), Body::Vote { last, transfer });
        }
    }

    pub(super) fn answer_pre_vote(&mut self, now: BootTime, from: NodeId, term: Term, last: Position) {
        let may_vote =
            !self.hears_leader(now) && !self.is_bound(now) && self.is_in_a_cluster() && self.repair.is_none();
        if term <= self.term || !may_vote || !self.is_up_to_date(last) {
            self.send(from, Body::PreVoteAnswer { granted: false });
            return;
        }
        let message = Message { term, body: Body::PreVoteAnswer { granted: true } };
        self.outbox.guarded.push(Guarded { to: from, message, through: Index(0) });
        // The asker is about to stand: to stand at the same moment would split the vote.
        let interval = self.config.heartbeat_interval;
        let polite = now.after(interval.saturating_add(self.jitter.up_to(interval)));
        if let Role::Follower(follower) = &mut self.role {
            follower.campaign_at = follower.campaign_at.max(polite);
        }
    }

    pub(super) fn answer_vote(&mut self, now: BootTime, from: NodeId, last: Position, transfer: bool) {
        let may_vote = self.is_in_a_cluster() && (transfer || !self.is_bound(now)) && self.repair.is_none();
        let free = match self.vote {
            Some(candidate) => candidate == from || bug::on(Bug::TwoVotes),
            None => self.role_view().leader.is_none(),
        };
        if !may_vote || !free || !self.is_up_to_date(last) {
            self.send(from, Body::VoteAnswer { granted: false });
            return;
        }
        if self.vote.is_none() {
            self.vote = Some(from);
            self.durability.promises_changed();
            self.become_follower(now, self.term, None);
        }
        self.promise(from, Index(0), Body::VoteAnswer { granted: true });
    }

    pub(super) fn count_pre_vote(&mut self, now: BootTime, from: NodeId, term: Term, granted: bool) {
        let in_time = !granted || term == self.next_term();
        if let Role::PreCandidate(canvass) = &mut self.role
            && in_time
        {
            canvass.count(from, granted);
            self.conclude(now);
        }
    }

    pub(super) fn count_vote(&mut self, now: BootTime, from: NodeId, granted: bool) {
        if let Role::Candidate(canvass) = &mut self.role {
            canvass.count(from, granted);
            self.conclude(now);
        }
    }

    /// A candidate's own vote counts once it is on the disk.
    pub(super) fn count_own_vote(&mut self, now: BootTime) {
        if self.durability.promises_durable() {
            self.count_vote(now, self.config.id, true);
        }
    }

    /// Acts on the answers so far.
    fn conclude(&mut self, now: BootTime) {
        let membership = self.log.membership();
        match &self.role {
            Role::PreCandidate(canvass) => match canvass.verdict(membership) {
                // Votes may come late: by now it may be installing a snapshot, or have no room.
                Verdict::Won if self.may_campaign(now) => self.start_election(now, false),
                Verdict::Won | Verdict::Lost => self.become_follower(now, self.term, None),
                Verdict::Open => {}
            },
            Role::Candidate(canvass) => match canvass.verdict(membership) {
                Verdict::Won => self.become_leader(now),
                Verdict::Lost => self.become_follower(now, self.term, None),
                Verdict::Open => {}
            },
            Role::Follower(_) | Role::Leader(_) => {}
        }
    }

    /// Follows `leader`, or waits for one, in `term`.
    pub(super) fn become_follower(&mut self, now: BootTime, term: Term, leader: Option<NodeId>) {
        let campaign_at = self.random_election_time(now);
        self.leave_role(now);
        if term != self.term {
            self.enter_term(term, None);
        }
        self.role = Role::Follower(match leader {
            Some(leader) => Follower::of(leader, now, campaign_at),
            None => Follower::waiting(campaign_at),
        });
    }

    fn become_leader(&mut self, now: BootTime) {
        assert!(
            self.vote == Some(self.config.id) && self.durability.promises_durable(),
            "{} leads term {} without its own durable vote",
            self.config.id,
            self.term
        );
        let last = self.log.last();
        assert!(last.term < self.term, "log ends in term {}, elected for {}", last.term, self.term);
        let base = self.heard.continue_from(last.term, self.log.last_stamp());
        let leader = Leader::begin(&self.log, self.standing.commit(), base, now, &self.config);
        self.role = Role::Leader(leader);
        // Who joins later was not told what the cluster was born with: the log begins with it. And of the terms before, a
        // witness knows their configurations alone.
        let is_first = last == Position::default();
        let membership = self.log.membership();
        let restates = is_first || membership.has_witness();
        let payload =
            if restates { Payload::Membership(Box::new(membership.clone())) } else { Payload::Blank };
        self.append_own(now, payload);
    }

    /// Enters a greater term, with the vote that goes with it.
    fn enter_term(&mut self, term: Term, vote: Option<NodeId>) {
        assert!(term > self.term, "term regressed from {} to {term}", self.term);
        self.term = term;
        self.vote = vote;
        self.durability.promises_changed();
        self.restart_repair();
    }

    /// Settles what only the present role could have finished. The caller puts another role in its place.
    fn leave_role(&mut self, now: BootTime) {
        match &mut self.role {
            Role::Follower(follower) => {
                let reads = follower.take_reads();
                self.drop_reads(reads);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {}
            Role::Leader(leader) => {
                self.heard.hear(self.term, leader.clock.read(now));
                let askers = leader.reads.take_all();
                self.refuse_readers(askers);
            }
        }
    }
}
