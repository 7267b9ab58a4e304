//! What only a leader does: take commands in, stamp the passing of time, keep the calendar, hand over.

use std::time::Duration;

use quorate_consensus::{
    BootTime, Engine, Input as EngineInput, NodeId, Priority, Term,
    engine::{PeerStatus, RoleKind},
};
use quorate_log::Room;
use quorate_machine::{FENCE_PER_SECOND, Group, Machine, Operation, SessionId};

use crate::{
    calendar::Calendar,
    config::Config,
    driver::Driver,
    input::Now,
    intake::{self, Intake},
    output::Level,
    peer::{Echo, Gossip, PeerMessage},
};

/// Whether this node leads, and what it has then.
#[derive(Debug)]
pub(super) enum Leadership {
    Following,
    Leading(Box<Leader>),
}

#[derive(Debug)]
pub(super) struct Leader {
    pub(super) intake: Intake,
    calendar: Calendar,
    /// The greatest stamp that this leader has logged, in milliseconds of cluster time.
    stamped_ms: u64,
    /// The engine has refused a proposal: nothing is proposed before this.
    paused_until: BootTime,
    /// The proposal that the engine has not answered yet.
    proposing: Option<Proposing>,
    /// When it was last looked for nodes that are out of contact.
    roll_call: BootTime,
    /// Since when silence counts: before, this node may have been deaf itself.
    listens_since: BootTime,
}

/// An operator's order to hand over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// The term that is to end.
    term: Term,
    to: Option<NodeId>,
    until: BootTime,
}

/// A proposal without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proposing {
    what: Proposal,
    stamp_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proposal {
    Batch,
    Stamp,
}

/// While any time-to-live runs, the log gets a stamp at least this often: a new leader continues from it.
const STAMP_INTERVAL_MS: u64 = 1000;
/// Deadlines closer together than this share a stamp.
const STAMP_PAUSE_MS: u64 = 5;
/// How long a leader waits after the engine has refused a proposal: it is overloaded, or hands over.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);
/// How long a leader waits with too little room on its disk before it gives way.
const CROWDED_PAUSE: Duration = Duration::from_secs(1);
/// How long a wish for a leader by name is remembered: for an election, and no longer than its client waits.
const WANTED_FOR: Duration = Duration::from_secs(2);
/// A node that was silent for so many intervals of gossip is out of contact.
pub(super) const SILENT_INTERVALS: u32 = 4;

impl Leadership {
    pub(super) fn begin(term: Term, config: &Config, now: BootTime) -> Self {
        let limits = intake::Limits { batch_bytes: config.batch_bytes_max, bytes: config.intake_bytes_max };
        Self::Leading(Box::new(Leader {
            intake: Intake::new(term, limits),
            calendar: Calendar::new(now),
            stamped_ms: 0,
            paused_until: now,
            proposing: None,
            roll_call: now,
            listens_since: now,
        }))
    }

    pub(super) fn term(&self) -> Option<Term> {
        match self {
            Self::Following => None,
            Self::Leading(leader) => Some(leader.intake.term()),
        }
    }

    /// The bytes of commands that are taken in and not in the log yet.
    pub(super) fn intake_bytes(&self) -> usize {
        match self {
            Self::Following => 0,
            Self::Leading(leader) => leader.intake.bytes(),
        }
    }

    /// The engine has answered the last proposal. A batch that it has refused is proposed again later.
    pub(super) fn proposed(&mut self, now: BootTime, appended: bool) {
        let Self::Leading(leader) = self else { return };
        let Some(Proposing { what, stamp_ms }) = leader.proposing.take() else { return };
        if !appended {
            leader.paused_until = now.after(REFUSED_PAUSE);
            return;
        }
        leader.stamped_ms = stamp_ms;
        match what {
            Proposal::Batch => leader.intake.accepted(),
            Proposal::Stamp => {}
        }
    }

    /// An entry of `term` is applied: from the first of its own term on a leader knows all earlier ones, and
    /// takes commands. The first leader of all logs the cluster's birth before anything else.
    pub(super) fn applied(&mut self, term: Term, machine: &Machine, config: &Config, now: Now) {
        if let Self::Leading(leader) = self
            && leader.intake.term() == term
            && !leader.intake.is_open()
        {
            let unborn = machine.cluster_id().is_none();
            leader.intake.open(machine, unborn.then(|| birth(config, now)));
        }
    }
}

impl<E: Engine> Driver<E> {
    /// Takes commands for the log, if this node leads; otherwise their origin sends them elsewhere.
    pub(super) fn offer(&mut self, group: Group) {
        if let Leadership::Leading(leader) = &mut self.leadership {
            leader.intake.offer(group, &self.machine);
        }
    }

    /// Proposes what is due: the cluster's birth, a batch, a stamp. At most one proposal is open at a time, so
    /// that a refused one is never overtaken.
    pub(super) fn lead(&mut self, now: Now) {
        if !self.may_grow() {
            return;
        }
        let Leadership::Leading(leader) = &mut self.leadership else { return };
        let Some(cluster_time) = self.engine.cluster_time(now.boot) else { return };
        if !leader.may_propose(now.boot) {
            return;
        }
        leader.calendar.heard(self.config.node, now.wall_ms, cluster_time, now.boot);
        let offset_ms = self.machine.calendar_offset();
        if let Some(offset_ms) = leader.calendar.correction(offset_ms, &self.membership, now.boot) {
            leader.intake.add_own(Operation::Calendar { offset_ms });
        }
        let gossip = &self.gossip;
        let heard = |node: NodeId| gossip.get(&node).map(|(_, at)| *at);
        for session in leader.out_of_contact(&self.machine, &self.config, now.boot, heard) {
            leader.intake.add_own(Operation::Abandon { session });
        }
        let stamp_ms = cluster_time.millis;
        let (payload, what) = match leader.intake.next_batch() {
            Some(batch) => (batch, Proposal::Batch),
            None if leader.stamp_is_due(&self.machine, stamp_ms) => (bytes::Bytes::new(), Proposal::Stamp),
            None => return,
        };
        leader.proposing = Some(Proposing { what, stamp_ms });
        let id = self.next_proposal();
        self.engine.step(now.boot, EngineInput::Propose { id, payload });
    }

    /// Whether the log may grow: the disk has room, and applying keeps up.
    pub(super) fn may_grow(&self) -> bool {
        self.room != Room::Gone && self.backlog_bytes <= self.config.backlog_bytes_max
    }

    pub(super) fn leading_deadline(&self, now: Now) -> Option<BootTime> {
        let Leadership::Leading(leader) = &self.leadership else { return None };
        let cluster_time = self.engine.cluster_time(now.boot)?;
        if !leader.intake.is_open() || !self.may_grow() {
            return None;
        }
        let stamp = leader
            .next_stamp_ms(&self.machine)
            .map(|due_ms| now.boot.after(Duration::from_millis(due_ms.saturating_sub(cluster_time.millis))));
        let batch = leader.intake.has_work().then_some(now.boot);
        let proposal = stamp.into_iter().chain(batch).min().map(|due| due.max(leader.paused_until));
        proposal.into_iter().chain([leader.calendar.deadline()]).min()
    }

    pub(super) fn heard(&mut self, now: Now, from: NodeId, gossip: Gossip) {
        if let (Leadership::Leading(leader), Some(cluster_time)) =
            (&mut self.leadership, self.engine.cluster_time(now.boot))
        {
            leader.calendar.heard(from, gossip.wall_ms, cluster_time, now.boot);
        }
        if let Some(Echo { sent, unconfirmed_ms }) = gossip.echo.filter(|_| self.role.leader == Some(from)) {
            let ago = Duration::from_millis(unconfirmed_ms.into());
            self.freshness.told(gossip.commit, sent.min(now.boot).before(ago));
        }
        self.gossip.insert(from, (gossip, now.boot));
    }

    /// Tells the other members about this node, a few times a second.
    pub(super) fn tell_others(&mut self, now: Now) {
        if now.boot < self.next_gossip {
            return;
        }
        self.next_gossip = now.boot.after(self.config.gossip_interval);
        self.keep_addresses(now);
        self.refresh(now);
        self.rise_if_all_can(now);
        self.hand_over_again(now);
        let engine = self.engine.status(now.boot);
        let gossip = Gossip {
            applied: self.applied(),
            room: self.room == Room::Enough,
            wall_ms: now.wall_ms,
            followers: self.live_followers(now),
            commit: engine.commit,
            version: self.told_version(),
            sent: now.boot,
            echo: None,
        };
        let echo = |member: NodeId| self.echo_for(member, engine.confirmed_at);
        let others = self.membership.members().filter(|&member| member != self.config.node);
        let messages: Vec<_> = others
            .map(|member| (member, PeerMessage::Gossip(Gossip { echo: echo(member), ..gossip })))
            .collect();
        self.out.send.extend(messages);
    }

    /// How much room the disk has for the log has changed.
    pub(super) fn room_changed(&mut self, now: Now, room: Room) {
        let was = std::mem::replace(&mut self.room, room);
        // The others refuse writes while the leader has too little: they should know at once.
        self.next_gossip = now.boot;
        match (was, room) {
            (Room::Enough, Room::Scarce | Room::Gone) => {
                self.crowded_since = Some(now.boot);
                let text = "the disk has no room for the log: writes are refused, reads go on";
                self.notice(Level::Warn, text.into());
            }
            (Room::Scarce | Room::Gone, Room::Enough) => {
                self.crowded_since = None;
                self.notice(Level::Info, "the disk has room for the log again: writes are accepted".into());
            }
            (Room::Enough, Room::Enough) | (Room::Scarce | Room::Gone, Room::Scarce | Room::Gone) => {}
        }
    }

    /// A leader that has had too little room for a while gives way to a follower that has told since then that it
    /// has enough. Without the pause, leadership would wander among nodes that are about to notice the same.
    pub(super) fn give_way_if_crowded(&mut self, now: Now) {
        if let Some(since) = self.crowded_since
            && now.boot.since(since) >= CROWDED_PAUSE
            && self.next_gossip <= now.boot
        {
            self.hand_over(now);
        }
    }

    /// Passes an operator's wish for another leader to the one there is. Who wishes for any other has it once the term
    /// is another; who wishes for one by name may not have heard of the last change, and means the present leader, or
    /// the next.
    pub(super) fn transfer(&mut self, now: Now, term: Term, to: Option<NodeId>) {
        let term = if to.is_some() { self.role.term } else { term };
        match self.role.leader {
            Some(leader) if leader == self.config.node => self.lead_no_more(now, term, to),
            Some(leader) => self.out.send.push((leader, PeerMessage::Transfer { term, to })),
            None => self.wanted_leader = to.map(|to| (to, now.boot.after(WANTED_FOR))),
        }
    }

    /// A leader is known: an operator may have wished for another while there was none.
    pub(super) fn transfer_if_wanted(&mut self, now: Now) {
        if let Some((to, until)) = self.wanted_leader.take_if(|_| self.role.leader.is_some())
            && now.boot < until
            && self.role.leader != Some(to)
        {
            self.transfer(now, self.role.term, Some(to));
        }
    }

    /// Hands over by an operator's order, to `to` or to whoever is fit. An order to the leader of another term is void:
    /// it was carried out already, or overtaken.
    pub(super) fn lead_no_more(&mut self, now: Now, term: Term, to: Option<NodeId>) {
        if self.role.kind == RoleKind::Leader && self.role.term == term {
            self.notice(Level::Info, "is to hand leadership over, by order".into());
            self.ordered = Some(Order { term, to, until: now.boot.after(WANTED_FOR) });
            self.hand_over_to(now, to);
        }
    }

    /// Hands over once more, if an order has come to nothing so far: a disk may take longer than the engine waits.
    fn hand_over_again(&mut self, now: Now) {
        let leads_in = (self.role.kind == RoleKind::Leader).then_some(self.role.term);
        self.ordered = self.ordered.filter(|order| Some(order.term) == leads_in && now.boot < order.until);
        if let Some(order) = self.ordered {
            self.hand_over_to(now, order.to);
        }
    }

    /// Gives leadership to the follower with room on its disk that is furthest, if there is one. Of one that has told
    /// nothing yet the best is hoped, unless want of room is the reason to give way.
    pub(super) fn hand_over(&mut self, now: Now) {
        self.hand_over_to(now, None);
    }

    /// The same, to `to` alone if it is named.
    fn hand_over_to(&mut self, now: Now, to: Option<NodeId>) {
        let status = self.engine.status(now.boot);
        if status.role.kind != RoleKind::Leader {
            return;
        }
        let told_since = |peer: NodeId| match self.crowded_since {
            Some(since) => self.gossip.get(&peer).is_some_and(|(_, at)| *at > since),
            None => true,
        };
        let voters = &status.membership.voters;
        let can_lead = |peer: &PeerStatus| {
            peer.active
                && peer.priority != Some(Priority::NEVER)
                && voters.contains(&peer.id)
                && status.membership.may_lead(peer.id)
                && self.has_room(peer.id)
                && told_since(peer.id)
                && to.is_none_or(|to| peer.id == to)
        };
        let candidates = status.peers.iter().filter(|peer| can_lead(peer));
        let best = candidates.max_by_key(|peer| (peer.priority.unwrap_or_default(), peer.matched));
        if let Some(successor) = best.map(|peer| peer.id) {
            self.notice(Level::Info, format!("hands leadership over to {successor}"));
            self.engine.step(now.boot, EngineInput::Transfer { to: successor });
        }
    }
}

impl Leader {
    fn may_propose(&self, now: BootTime) -> bool {
        self.intake.is_open() && self.proposing.is_none() && now >= self.paused_until
    }

    /// The sessions of nodes that have fallen silent while commands of theirs wait: what these would take might reach
    /// nobody. Asked for once an interval of gossip.
    fn out_of_contact(
        &mut self,
        machine: &Machine,
        config: &Config,
        now: BootTime,
        heard: impl Fn(NodeId) -> Option<BootTime>,
    ) -> Vec<SessionId> {
        let interval = config.gossip_interval;
        let since_last = now.since(self.roll_call);
        if since_last < interval {
            return Vec::new();
        }
        self.roll_call = now;
        if since_last > interval * 2 {
            self.listens_since = now;
        }
        let is_silent = |session: &SessionId| {
            let node = NodeId(session.node);
            let heard = heard(node).max(Some(self.listens_since)).unwrap_or(now);
            node != config.node && now.since(heard) >= interval * SILENT_INTERVALS
        };
        machine.waiting_sessions().into_iter().filter(is_silent).collect()
    }

    /// When the next bare stamp is due, in cluster time: soon after the earliest deadline that no stamp has
    /// passed yet, and within a second while there is any.
    fn next_stamp_ms(&self, machine: &Machine) -> Option<u64> {
        // A key is gone when a stamp lies beyond its deadline, not at it: stamps are rounded down.
        let passed_ms = machine.next_deadline()? + 1;
        let stamped_ms = self.stamped_ms.max(machine.stamp());
        let regular_ms = stamped_ms + STAMP_INTERVAL_MS;
        if passed_ms <= stamped_ms {
            return Some(regular_ms);
        }
        Some(passed_ms.max(stamped_ms + STAMP_PAUSE_MS).min(regular_ms))
    }

    fn stamp_is_due(&self, machine: &Machine, cluster_ms: u64) -> bool {
        self.next_stamp_ms(machine).is_some_and(|due_ms| due_ms <= cluster_ms)
    }
}

fn birth(config: &Config, now: Now) -> Operation {
    let seconds = u64::try_from(now.wall_ms / 1000).unwrap_or(0);
    Operation::Birth {
        cluster_id: config.cluster_id_proposal,
        fence_base: seconds * FENCE_PER_SECOND,
        calendar_ms: now.wall_ms,
    }
}
