//! The commands of this node's clients, on their way through the log (dissertation 6.3).
//!
//! A node opens one session in each of its lives, and numbers the commands of all its clients in one sequence.
//! They go to whoever leads; every node applies every entry, and so this node finds its own commands, with
//! their replies, in what it applies. Until then it keeps them, and sends them again, with the same numbers,
//! to each new leader. The machine applies only the next number of a session, so that a command takes effect
//! once however often it was sent.
//!
//! What is *waiting* has no number yet: it was never sent, and can be refused with the truth that it was not
//! applied. What is *sent* can not: after the time-out its client is told nothing, since nothing is known, and
//! the command goes on. What is *parked* was applied, and waits in the machine for its reply, as long as its client
//! does.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use quorate_bug::{self as bug, Bug};
use quorate_consensus::{BootTime, NodeId, Term};
use quorate_machine::{Claim, Group, Operation, Reply, SessionId};

use crate::{config::Config, input::ConnId};

/// This node's session and what is under way in it.
#[derive(Debug)]
pub(crate) struct Origin {
    session: SessionId,
    limits: Limits,
    /// Never sent, oldest first.
    waiting: VecDeque<Command>,
    /// Sent and not yet applied; their numbers are contiguous.
    sent: VecDeque<Command>,
    /// The number of `sent.front()`, or the next to be given when there is none.
    first_sequence: u64,
    /// How many at the front of `sent` nobody waits for any more.
    abandoned: usize,
    /// The bytes of `waiting` and `sent`.
    bytes: usize,
    /// The leader that commands go to, in the term in which it leads.
    leader: Option<(Term, NodeId)>,
    /// How many of `sent` were sent to `leader`.
    sent_to_leader: usize,
    /// When `sent` is sent again, if nothing of it has been applied until then.
    send_again_at: Option<BootTime>,
    /// Applied commands that wait in the machine.
    parked: BTreeMap<u64, Parked>,
    /// The same by time.
    patience: BTreeSet<(BootTime, u64)>,
    /// What the machine must still be told of clients that are gone: who leaves, and what is given back.
    leaving: VecDeque<Operation>,
    /// What those may have got that leave, until the machine has been told.
    left: BTreeMap<u64, Claim>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    commands: usize,
    bytes: usize,
    batch_bytes: usize,
    timeout: Duration,
    send_again_after: Duration,
}

#[derive(Debug)]
struct Command {
    operation: Operation,
    bytes: usize,
    /// Who waits for the reply; `None` for the opening of the session.
    conn: Option<ConnId>,
    expires: BootTime,
}

/// A command that waits in the machine.
#[derive(Debug)]
struct Parked {
    conn: ConnId,
    claim: Option<Claim>,
    /// When somebody must look whether the log still goes on.
    expires: BootTime,
    /// How far its time had come then.
    stamp_ms: u64,
}

/// What a client is told when its command's time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// It was never sent.
    NotApplied(ConnId),
    /// It was sent, and may or may not take effect.
    Unknown(ConnId),
    /// It waits in the machine, under this number, for longer than it should.
    Overdue(u64),
}

/// An applied command of this node that is answered.
#[derive(Debug)]
pub(crate) struct Completed {
    /// Who waits for its reply; `None` if nobody does any more.
    pub(crate) conn: Option<ConnId>,
    what: What,
}

/// What was completed.
#[derive(Debug)]
enum What {
    Operation(Operation),
    /// One that has waited, of which no more is kept than what may have to be given back.
    Waited(Option<Claim>),
}

/// A command that was applied.
#[derive(Debug)]
struct Taken {
    /// Who waits for its reply; `None` if nobody does any more.
    conn: Option<ConnId>,
    operation: Operation,
}

/// The end of the time of what is not given up.
const NEVER: BootTime = BootTime { micros: u64::MAX };

impl Origin {
    /// A session that begins with its own opening.
    pub(crate) fn new(config: &Config) -> Self {
        let opening = Command { operation: Operation::OpenSession, bytes: 0, conn: None, expires: NEVER };
        Self {
            session: SessionId { node: config.node.0, incarnation: config.incarnation },
            limits: Limits {
                commands: config.origin_commands_max,
                bytes: config.origin_bytes_max,
                batch_bytes: config.batch_bytes_max,
                timeout: config.command_timeout,
                send_again_after: config.resend_after,
            },
            waiting: VecDeque::new(),
            sent: VecDeque::from([opening]),
            first_sequence: 0,
            abandoned: 1,
            bytes: 0,
            leader: None,
            sent_to_leader: 0,
            send_again_at: None,
            parked: BTreeMap::new(),
            patience: BTreeSet::new(),
            leaving: VecDeque::new(),
            left: BTreeMap::new(),
        }
    }

    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// The commands that are waiting or sent.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }

    /// Whether one more command may be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes < self.limits.bytes
    }

    /// The commands that wait in the machine, and those that leave it.
    pub(crate) fn parked(&self) -> usize {
        self.parked.len() + self.leaving.len()
    }

    /// Takes a command of a client, whose weight is `bytes`.
    pub(crate) fn submit(&mut self, now: BootTime, conn: ConnId, operation: Operation, bytes: usize) {
        self.bytes += bytes;
        let expires = now.after(self.limits.timeout);
        self.waiting.push_back(Command { operation, bytes, conn: Some(conn), expires });
    }

    /// The client of a command that waits in the machine is gone, and the machine must learn it. This is never given
    /// up: else the command would take what nobody gets. Answers whose it was, if it was parked.
    pub(crate) fn leave(&mut self, sequence: u64) -> Option<ConnId> {
        self.leaving.push_back(Operation::Leave { sequence });
        let Parked { conn, claim, .. } = self.unpark(sequence)?;
        self.left.extend(claim.map(|claim| (sequence, claim)));
        Some(conn)
    }

    /// Nobody is told what a command was answered: if it has got something, that is given back.
    pub(crate) fn give_back(&mut self, completed: Completed, sequence: u64, reply: &Reply) {
        let claim = match completed.what {
            What::Operation(operation) => Claim::of(&operation),
            What::Waited(claim) => claim,
        };
        self.leaving.extend(claim.and_then(|claim| claim.give_back(sequence, reply)));
    }

    /// All commands that wait in the machine are to be answered: this node stops.
    pub(crate) fn give_up_all(&mut self) {
        if !self.parked.is_empty() {
            self.leaving.push_back(Operation::Abandon { session: self.session });
        }
    }

    /// The client of a connection whose last command may wait is gone: if that was never sent, it never will be. Whether
    /// it was not.
    pub(crate) fn withdraw(&mut self, conn: ConnId) -> bool {
        let last = self.waiting.iter().rposition(|command| command.conn == Some(conn));
        let Some(command) = last.and_then(|last| self.waiting.remove(last)) else { return false };
        self.bytes -= command.bytes;
        true
    }

    /// A command that was applied waits in the machine, for `patience` at most. The connection that is to know it;
    /// none if nobody waits for its reply.
    pub(crate) fn park(
        &mut self,
        now: BootTime,
        stamp_ms: u64,
        sequence: u64,
        patience: Option<Duration>,
    ) -> Option<ConnId> {
        let Taken { conn, operation } = self.take_completed(now, sequence)?;
        let claim = Claim::of(&operation);
        let Some(conn) = conn else {
            self.left.extend(claim.map(|claim| (sequence, claim)));
            self.leave(sequence);
            return None;
        };
        self.keep(now, stamp_ms, sequence, (conn, claim), patience);
        Some(conn)
    }

    /// Time passes in the log. Where the log does not come, somebody must still give up.
    fn keep(
        &mut self,
        now: BootTime,
        stamp_ms: u64,
        sequence: u64,
        (conn, claim): (ConnId, Option<Claim>),
        patience: Option<Duration>,
    ) {
        let expires = patience.map_or(NEVER, |patience| now.after(patience + self.limits.timeout));
        self.parked.insert(sequence, Parked { conn, claim, expires, stamp_ms });
        self.patience.insert((expires, sequence));
    }

    /// A command waits in the machine for so much longer: the time of the log has passed more slowly than here.
    pub(crate) fn keep_waiting(
        &mut self,
        now: BootTime,
        stamp_ms: u64,
        sequence: u64,
        patience: Option<Duration>,
    ) {
        if let Some(Parked { conn, claim, .. }) = self.unpark(sequence) {
            self.keep(now, stamp_ms, sequence, (conn, claim), patience);
        }
    }

    /// The time of the log when a command was parked.
    pub(crate) fn parked_at(&self, sequence: u64) -> Option<u64> {
        self.parked.get(&sequence).map(|parked| parked.stamp_ms)
    }

    /// Takes a command that waits no longer.
    fn unpark(&mut self, sequence: u64) -> Option<Parked> {
        let parked = self.parked.remove(&sequence)?;
        self.patience.remove(&(parked.expires, sequence));
        Some(parked)
    }

    /// The numbers of the commands that wait in the machine.
    pub(crate) fn parked_sequences(&self) -> Vec<u64> {
        self.parked.keys().copied().collect()
    }

    /// Who leads has changed, or is not known any more: everything that is not applied is sent anew.
    pub(crate) fn follow(&mut self, leader: Option<(Term, NodeId)>) {
        if self.leader != leader {
            self.leader = leader;
            self.sent_to_leader = 0;
            self.send_again_at = None;
        }
    }

    /// What was under way to `peer` is lost: it is sent again soon, by when the connection may be back.
    pub(crate) fn lost_contact(&mut self, now: BootTime, peer: NodeId) {
        if self.leader.is_some_and(|(_, leader)| leader == peer) && self.sent_to_leader > 0 {
            self.send_again_at = Some(now.after(RECONNECT_PAUSE));
        }
    }

    /// What must be sent to the leader now, in order.
    pub(crate) fn forward(&mut self, now: BootTime) -> Option<(NodeId, Vec<Group>)> {
        let (_, leader) = self.leader?;
        if self.send_again_at.is_some_and(|at| now >= at) {
            self.sent_to_leader = 0;
            self.send_again_at = None;
        }
        while self.sent.len() < self.limits.commands
            && let Some(command) = self.next_to_send()
        {
            self.sent.push_back(command);
        }
        if self.sent_to_leader == self.sent.len() {
            return None;
        }
        let groups = self.groups_from(self.sent_to_leader);
        self.sent_to_leader = self.sent.len();
        self.send_again_at.get_or_insert(now.after(self.limits.send_again_after));
        Some((leader, groups))
    }

    /// What is sent next. Who leaves may overtake: he waits for no answer, and nobody for him.
    fn next_to_send(&mut self) -> Option<Command> {
        let Some(operation) = self.leaving.pop_front() else { return self.waiting.pop_front() };
        // What gives back names all that was asked, and groups are cut by what they weigh.
        let bytes = quorate_machine::weight::of_operation(&operation);
        self.bytes += bytes;
        Some(Command { operation, bytes, conn: None, expires: NEVER })
    }

    /// The sent commands from position `begin` on, in groups of bounded size.
    fn groups_from(&self, begin: usize) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut bytes = 0;
        for (position, command) in self.sent.iter().enumerate().skip(begin) {
            bytes += command.bytes;
            match groups.last_mut() {
                Some(group) if bytes <= self.limits.batch_bytes => {
                    group.operations.push(command.operation.clone());
                }
                Some(_) | None => {
                    bytes = command.bytes;
                    groups.push(Group {
                        session: self.session,
                        stream: ONLY_STREAM,
                        acked: self.first_sequence.saturating_sub(1),
                        first_sequence: self.first_sequence + position as u64,
                        operations: vec![command.operation.clone()],
                    });
                }
            }
        }
        groups
    }

    /// The machine has applied the command with this number, or answers one that has waited.
    ///
    /// # Panics
    /// If the machine has skipped a number: it applied a command out of order.
    pub(crate) fn complete(&mut self, now: BootTime, sequence: u64) -> Option<Completed> {
        if let Some(Parked { conn, claim, .. }) = self.unpark(sequence) {
            return Some(Completed { conn: Some(conn), what: What::Waited(claim) });
        }
        if let Some(claim) = self.left.remove(&sequence) {
            return Some(Completed { conn: None, what: What::Waited(Some(claim)) });
        }
        let Taken { conn, operation } = self.take_completed(now, sequence)?;
        Some(Completed { conn, what: What::Operation(operation) })
    }

    /// Takes the oldest command, which was applied; `None` if it was taken before.
    fn take_completed(&mut self, now: BootTime, sequence: u64) -> Option<Taken> {
        if sequence < self.first_sequence {
            return None;
        }
        assert!(
            sequence == self.first_sequence,
            "command {sequence} was applied before {}",
            self.first_sequence
        );
        let command = self.sent.pop_front().expect("an applied command was sent");
        self.bytes -= command.bytes;
        self.first_sequence += 1;
        self.sent_to_leader = self.sent_to_leader.saturating_sub(1);
        let in_flight = self.sent_to_leader > 0;
        self.send_again_at = in_flight.then(|| now.after(self.limits.send_again_after));
        if let Operation::Leave { sequence } = command.operation {
            self.left.remove(&sequence);
        }
        let is_abandoned = self.abandoned > 0;
        self.abandoned -= usize::from(is_abandoned);
        Some(Taken { conn: command.conn.filter(|_| !is_abandoned), operation: command.operation })
    }

    /// The number of the oldest sent command, if any is sent.
    pub(crate) fn oldest_sent(&self) -> Option<u64> {
        (!self.sent.is_empty()).then_some(self.first_sequence)
    }

    /// The next client whose command's time is up.
    pub(crate) fn take_expired(&mut self, now: BootTime) -> Option<Expired> {
        if let Some((expires, sequence)) = self.patience.first().copied()
            && now >= expires
        {
            return Some(Expired::Overdue(sequence));
        }
        while self.sent.get(self.abandoned).is_some_and(|command| command.conn.is_none()) {
            self.abandoned += 1;
        }
        if let Some(command) = self.sent.get(self.abandoned) {
            if now < command.expires {
                return None;
            }
            self.abandoned += 1;
            return command.conn.map(Expired::Unknown);
        }
        if now < self.waiting.front()?.expires {
            return None;
        }
        let command = self.waiting.pop_front()?;
        self.bytes -= command.bytes;
        if bug::on(Bug::RefusedApplied) {
            let operation = command.operation.clone();
            self.sent.push_back(Command { operation, bytes: 0, conn: None, expires: NEVER });
        }
        command.conn.map(Expired::NotApplied)
    }

    /// When something must happen, if nothing else does before.
    pub(crate) fn deadline(&self) -> Option<BootTime> {
        let sent = self.sent.iter().skip(self.abandoned).find(|command| command.conn.is_some());
        let oldest = sent.or(self.waiting.front()).map(|command| command.expires);
        let parked = self.patience.first().map(|(expires, _)| *expires);
        [oldest, parked, self.send_again_at].into_iter().flatten().min()
    }
}

/// A session has one stream today; the format has room for more.
const ONLY_STREAM: u64 = 0;

/// How long a lost connection gets to come back before its commands are sent again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const LEADER: Option<(Term, NodeId)> = Some((Term(1), NodeId(2)));
    const NEXT_LEADER: Option<(Term, NodeId)> = Some((Term(2), NodeId(3)));

    fn at(millis: u64) -> BootTime {
        BootTime { micros: millis * 1000 }
    }

    fn origin() -> Origin {
        Origin::new(&Config::for_node(NodeId(1), 1, 0))
    }

    fn submit(origin: &mut Origin, now: u64, conn: u64) {
        let args = vec![Bytes::from_static(b"incr"), Bytes::from_static(b"k")];
        let bytes = quorate_machine::weight::of_command(&args);
        origin.submit(at(now), ConnId(conn), Operation::Command { db: 0, user: 0, args }, bytes);
    }

    fn completed(origin: &mut Origin, now: BootTime, sequence: u64) -> Option<ConnId> {
        origin.complete(now, sequence).and_then(|completed| completed.conn)
    }

    /// (leader, first number, how many) of what is forwarded now.
    fn forwarded(origin: &mut Origin, now: u64) -> Vec<(u64, u64, usize)> {
        let Some((leader, groups)) = origin.forward(at(now)) else { return Vec::new() };
        groups.iter().map(|group| (leader.0, group.first_sequence, group.operations.len())).collect()
    }

    #[test]
    fn opening_travels_before_the_first_command() {
        let mut origin = origin();
        submit(&mut origin, 0, 1);
        assert_eq!(forwarded(&mut origin, 0), []);
        origin.follow(LEADER);
        assert_eq!(forwarded(&mut origin, 0), [(2, 0, 2)]);
        assert_eq!(forwarded(&mut origin, 0), []);
    }

    /// Each names all that was asked, values included: together they could be longer than an entry may be.
    #[test]
    fn large_give_backs_are_cut_into_groups() {
        let mut origin = origin();
        let weight = origin.limits.batch_bytes * 2 / 3;
        origin.follow(LEADER);
        assert_eq!(forwarded(&mut origin, 0), [(2, 0, 1)]);
        for sequence in 1..=3 {
            let args = vec![Bytes::from(vec![b'v'; weight])];
            origin.leaving.push_back(Operation::GiveBack { sequence, db: 0, args, tokens: vec![1] });
        }
        assert_eq!(forwarded(&mut origin, 0), [(2, 1, 1), (2, 2, 1), (2, 3, 1)]);
    }

    #[test]
    fn new_leader_gets_everything_that_is_not_applied_with_the_same_numbers() {
        let mut origin = origin();
        origin.follow(LEADER);
        submit(&mut origin, 0, 1);
        submit(&mut origin, 0, 1);
        assert_eq!(forwarded(&mut origin, 0), [(2, 0, 3)]);
        assert_eq!(completed(&mut origin, at(1), 0), None);
        assert_eq!(completed(&mut origin, at(1), 1), Some(ConnId(1)));
        origin.follow(NEXT_LEADER);
        assert_eq!(forwarded(&mut origin, 2), [(3, 2, 1)]);
        assert_eq!(completed(&mut origin, at(3), 1), None, "a duplicate");
        assert_eq!(completed(&mut origin, at(3), 2), Some(ConnId(1)));
        assert_eq!(origin.oldest_sent(), None);
        assert_eq!(origin.bytes, 0);
    }

    #[test]
    fn commands_without_a_sign_of_life_are_sent_again() {
        let mut origin = origin();
        origin.follow(LEADER);
        submit(&mut origin, 0, 1);
        assert_eq!(forwarded(&mut origin, 0), [(2, 0, 2)]);
        assert_eq!(forwarded(&mut origin, 499), []);
        assert_eq!(forwarded(&mut origin, 500), [(2, 0, 2)]);
    }

    #[test]
    fn only_what_was_never_sent_is_told_as_not_applied() {
        let mut origin = origin();
        origin.follow(LEADER);
        submit(&mut origin, 0, 1);
        forwarded(&mut origin, 0);
        origin.follow(None);
        submit(&mut origin, 1, 2);
        assert_eq!(origin.take_expired(at(14_999)), None);
        assert_eq!(origin.take_expired(at(15_001)), Some(Expired::Unknown(ConnId(1))));
        assert_eq!(origin.take_expired(at(15_001)), Some(Expired::NotApplied(ConnId(2))));
        assert_eq!(origin.take_expired(at(15_001)), None);
        origin.follow(NEXT_LEADER);
        assert_eq!(forwarded(&mut origin, 15_002), [(3, 0, 2)], "an abandoned command goes on");
        assert_eq!(completed(&mut origin, at(15_003), 0), None);
        assert_eq!(completed(&mut origin, at(15_003), 1), None);
    }

    /// An origin whose command 1, of connection 1, waits in the machine, for ten seconds at most.
    fn origin_with_parked() -> Origin {
        let mut origin = origin();
        origin.follow(LEADER);
        submit(&mut origin, 0, 1);
        forwarded(&mut origin, 0);
        completed(&mut origin, at(1), 0);
        assert_eq!(origin.park(at(1), 0, 1, Some(Duration::from_secs(10))), Some(ConnId(1)));
        assert_eq!((origin.parked(), origin.oldest_sent(), origin.bytes), (1, None, 0));
        origin
    }

    #[test]
    fn what_waits_in_the_machine_is_neither_sent_again_nor_in_the_way() {
        let mut origin = origin_with_parked();
        submit(&mut origin, 2, 2);
        assert_eq!(forwarded(&mut origin, 2), [(2, 2, 1)]);
        assert_eq!(completed(&mut origin, at(3), 2), Some(ConnId(2)));
        assert_eq!(origin.park(at(3), 0, 1, None), None, "it is known to wait");
        assert_eq!(completed(&mut origin, at(4), 1), Some(ConnId(1)));
        assert_eq!(completed(&mut origin, at(5), 1), None, "it was answered");
        assert_eq!((origin.parked(), origin.deadline()), (0, None));
    }

    #[test]
    fn client_that_is_gone_leaves_though_nobody_leads() {
        let mut origin = origin_with_parked();
        origin.follow(None);
        origin.leave(1);
        submit(&mut origin, 2, 2);
        assert_eq!(origin.take_expired(at(15_002)), Some(Expired::NotApplied(ConnId(2))));
        origin.follow(NEXT_LEADER);
        assert_eq!(forwarded(&mut origin, 15_003), [(3, 2, 1)]);
        submit(&mut origin, 15_003, 3);
        forwarded(&mut origin, 15_003);
        assert_eq!(
            origin.take_expired(at(30_003)),
            Some(Expired::Unknown(ConnId(3))),
            "not held up by who left"
        );
        assert_eq!(completed(&mut origin, at(30_004), 2), None);
        assert_eq!(completed(&mut origin, at(30_004), 3), None);
    }

    #[test]
    fn nobody_waits_for_ever_where_the_log_does_not_come() {
        let mut origin = origin_with_parked();
        origin.follow(None);
        assert_eq!(origin.deadline(), Some(at(25_001)));
        assert_eq!(origin.take_expired(at(25_000)), None);
        assert_eq!(origin.take_expired(at(25_001)), Some(Expired::Overdue(1)));
        origin.keep_waiting(at(25_001), 7, 1, Some(Duration::from_secs(1)));
        assert_eq!(origin.parked_at(1), Some(7));
        assert_eq!((origin.deadline(), origin.take_expired(at(25_001))), (Some(at(41_001)), None));
        origin.leave(1);
        origin.follow(NEXT_LEADER);
        assert_eq!(forwarded(&mut origin, 25_002), [(3, 2, 1)], "it leaves");
    }

    #[test]
    fn what_was_never_sent_is_not_begun_for_a_client_that_is_gone() {
        let mut origin = origin();
        submit(&mut origin, 0, 1);
        submit(&mut origin, 0, 2);
        submit(&mut origin, 0, 1);
        assert!(origin.withdraw(ConnId(1)));
        assert!(!origin.withdraw(ConnId(3)));
        origin.follow(LEADER);
        assert_eq!(forwarded(&mut origin, 1), [(2, 0, 3)], "the opening, and one command of each");
    }

    #[test]
    fn command_that_begins_to_wait_after_its_client_was_told_leaves_at_once() {
        let mut origin = origin();
        origin.follow(LEADER);
        submit(&mut origin, 0, 1);
        forwarded(&mut origin, 0);
        completed(&mut origin, at(1), 0);
        assert_eq!(origin.take_expired(at(15_000)), Some(Expired::Unknown(ConnId(1))));
        assert_eq!(origin.park(at(15_001), 0, 1, None), None);
        assert_eq!(forwarded(&mut origin, 15_001), [(2, 2, 1)]);
    }
}
