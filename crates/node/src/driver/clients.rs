//! What clients ask, in which order it runs, and what they are told.

use quorate_consensus::{
    Engine, NodeId,
    engine::{ReadOutcome, RoleView},
};
use quorate_log::Room;
use quorate_machine::{Operation, Reply, weight};

use crate::{
    connection::{Next, ReadRequest, Refusal},
    driver::Driver,
    input::{Action, ConnId, Now, Request},
    origin::Expired,
    output::Answer,
    peer::PeerMessage,
};

impl<E: Engine> Driver<E> {
    pub(super) fn take_requests(&mut self, conn: ConnId, requests: Vec<Request>) {
        self.connections.entry(conn).or_default().extend(requests);
        self.runnable.push_back(conn);
    }

    /// A client is gone: what it waits for is not kept for it.
    pub(super) fn disconnected(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.remove(&conn) else { return };
        if let Some(sequence) = connection.parked {
            self.origin.leave(sequence);
        } else if connection.may_wait() {
            self.origin.withdraw(conn);
        }
    }

    /// A client waits for nothing any more, but for answers. It may be gone altogether: so what waits takes nothing,
    /// and what stands behind it is not begun.
    pub(super) fn gives_up(&mut self, conn: ConnId) {
        let connection = self.connections.entry(conn).or_default();
        connection.gives_up = true;
        if let Some(sequence) = connection.parked {
            self.origin.leave(sequence);
            self.close(conn, GAVE_UP);
        } else if connection.may_wait() && self.origin.withdraw(conn) {
            self.close(conn, GAVE_UP);
        }
    }

    /// Begins whatever the connections' order allows.
    pub(super) fn run_connections(&mut self, now: Now) {
        if self.runnable.is_empty() {
            return;
        }
        // Beginning a request changes nothing of it.
        let no_room = self.no_room();
        while let Some(conn) = self.runnable.pop_front() {
            while self.begin_next(now, conn, no_room) {}
        }
    }

    /// Begins or refuses one request of a connection; false when there is none that may begin.
    fn begin_next(&mut self, now: Now, conn: ConnId, no_room: Option<Refusal>) -> bool {
        let crowded = no_room.or_else(|| (!self.origin.has_room()).then_some(Refusal::TooMuchWaits));
        let entry_bytes_max = self.config.entry_bytes_max;
        let weigh = |action: &Action| {
            let bytes = weight_of(action);
            if bytes > entry_bytes_max { Err(Refusal::TooLarge) } else { crowded.map_or(Ok(bytes), Err) }
        };
        let is_witness = self.is_witness();
        let Some(connection) = self.connections.get_mut(&conn) else { return false };
        let next = match is_witness && connection.refuse() {
            true => Next::Refused(Refusal::Witness),
            false => connection.next(weigh),
        };
        match next {
            Next::Read(request) => self.reads.add(conn, request),
            Next::Stale { db, args } => self.stale_reads.push_back((conn, db, args)),
            Next::Log(operation, bytes) => self.origin.submit(now.boot, conn, operation, bytes),
            Next::Unblock { target, with_error, bytes } => {
                // One whose command is not known to wait has not begun to, as far as anybody can tell.
                let sequence =
                    self.connections.get(&target).and_then(|target| target.parked).unwrap_or(NOBODY);
                self.origin.submit(now.boot, conn, Operation::Unblock { sequence, with_error }, bytes);
            }
            Next::Reconfigure(change) => self.wish(now, conn, change),
            Next::Refused(refusal) => self.out.answers.push((conn, Answer::Reply(error(text(refusal))))),
            Next::Wait => return false,
        }
        true
    }

    /// Whether this node keeps no data, and so has nothing for clients; also one that was removed.
    pub(super) fn is_witness(&self) -> bool {
        self.machine.is_without_data() || self.membership.is_witness(self.config.node)
    }

    /// Which disks are too full for a command to be taken for the log, if they are.
    fn no_room(&self) -> Option<Refusal> {
        if self.room != Room::Enough {
            Some(Refusal::NoRoom)
        } else if self.role.leader.is_some_and(|leader| !self.has_room(leader)) {
            Some(Refusal::NoRoomAtLeader)
        } else if !self.membership.has_witness()
            && !self.membership.has_commit_quorum(|voter| self.has_room(voter))
        {
            // Beside a witness, a voter whose disk is full is set aside.
            Some(Refusal::NoRoomAtQuorum)
        } else {
            None
        }
    }

    /// Whether a member's disk has room, by what it told last; a member that has told nothing may have.
    pub(super) fn has_room(&self, member: NodeId) -> bool {
        if member == self.config.node {
            self.room == Room::Enough
        } else {
            self.gossip.get(&member).is_none_or(|(gossip, _)| gossip.room)
        }
    }

    /// Has what clients submit go to whoever leads. A witness has nobody follow: it would not see what becomes of it.
    pub(super) fn follow(&mut self, role: RoleView) {
        let leader = role.leader.filter(|_| !self.is_witness());
        self.origin.follow(leader.map(|leader| (role.term, leader)));
    }

    /// Sends what clients have submitted to whoever leads.
    pub(super) fn forward(&mut self, now: Now) {
        let Some((leader, groups)) = self.origin.forward(now.boot) else { return };
        for group in groups {
            if leader == self.config.node {
                self.offer(group);
            } else {
                self.out.send.push((leader, PeerMessage::Forward(group)));
            }
        }
    }

    /// Asks the engine how far this node must be for the reads of this batch, and again for overdue ones.
    pub(super) fn ask_for_reads(&mut self, now: Now) {
        let again_after = self.config.resend_after;
        let fresh = self.reads.ask(now.boot, again_after);
        let overdue =
            if self.reads.is_overdue(now.boot) { self.reads.ask_again(now.boot, again_after) } else { None };
        for id in fresh.into_iter().chain(overdue) {
            self.engine.step(now.boot, quorate_consensus::Input::Read { id });
        }
    }

    pub(super) fn read_outcome(&mut self, id: quorate_consensus::ReadId, outcome: ReadOutcome) {
        match outcome {
            ReadOutcome::Ready { index, stamp } => self.reads.confirmed(id, index, stamp),
            // Asked again when a leader is known, or when it is overdue.
            ReadOutcome::Dropped => {}
        }
    }

    /// Serves reads from this node's data as they are, as far as the step's work lasts. Not under repair: what is here
    /// may be less than others were told before.
    pub(super) fn serve_stale_reads(&mut self) {
        while self.work_left > 0
            && let Some((conn, db, args)) = self.stale_reads.pop_front()
        {
            if !self.repair.is_over() {
                self.answer(conn, Answer::Reply(error(UNDER_REPAIR)));
                continue;
            }
            let work = self.machine.work();
            let reply = if self.is_witness() {
                error(WITNESS)
            } else {
                self.machine.read(self.machine.stamp(), db, &args)
            };
            self.spend(work);
            self.answer(conn, Answer::Reply(reply));
        }
    }

    /// Serves the reads whose index is confirmed and applied, as far as the step's work lasts.
    pub(super) fn serve_reads(&mut self) {
        while self.work_left > 0
            && let Some((stamp, conn, request)) = self.reads.take_ready(self.applied())
        {
            let work = self.machine.work();
            let answer = match request {
                // It may have begun before this node knew that it is one.
                _ if self.is_witness() => Answer::Reply(error(WITNESS)),
                ReadRequest::Command { db, args } => {
                    Answer::Reply(self.machine.read(stamp.millis, db, &args))
                }
                ReadRequest::Watch { db, keys } => Answer::Watched(self.machine.versions(db, &keys)),
                ReadRequest::View => {
                    self.snapshots.wanted_by(conn);
                    continue;
                }
            };
            self.spend(work);
            self.answer(conn, answer);
        }
    }

    /// Answers a request that was begun, so that the next of its connection may begin.
    pub(super) fn answer(&mut self, conn: ConnId, answer: Answer) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.parked = None;
        if !connection.answered() {
            return;
        }
        if connection.is_quiet() {
            self.runnable.push_back(conn);
        }
        self.out.answers.push((conn, answer));
    }

    /// Whether a client is there to be answered.
    pub(super) fn is_there(&self, conn: ConnId) -> bool {
        self.connections.get(&conn).is_some_and(|connection| !connection.is_closed())
    }

    /// Tells clients whose time is up what is known of their commands.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some(expired) = self.origin.take_expired(now.boot) {
            match expired {
                Expired::NotApplied(conn) => self.answer(conn, Answer::Reply(error(NO_LEADER))),
                Expired::Unknown(conn) => {
                    self.close(conn, "the command's outcome is unknown after its time-out")
                }
                Expired::Overdue(sequence) => self.overdue(now, sequence),
            }
        }
        while let Some(group) = self.reads.take_expired(now.boot, self.config.command_timeout) {
            for conn in group.askers() {
                self.answer(conn, Answer::Reply(error(NO_LEADER)));
            }
        }
    }

    /// Tells a client nothing but that nothing is known. Its connection is remembered until it is gone, since more
    /// of its requests may be on their way here.
    pub(super) fn close(&mut self, conn: ConnId, reason: &'static str) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        if connection.may_wait() {
            self.origin.withdraw(conn);
        }
        if connection.close() {
            self.out.answers.push((conn, Answer::Close(reason)));
        }
    }
}

/// Why a connection closes whose client has closed its half while its command waited.
pub(super) const GAVE_UP: &str = "its client waits no longer";

/// The bytes that a request will count for when it is logged.
fn weight_of(action: &Action) -> usize {
    match action {
        Action::Read(args) | Action::StaleRead(args) | Action::Write(args) | Action::Wait(args) => {
            weight::of_command(args)
        }
        Action::Transaction { watched, commands } => weight::of_transaction(watched, commands),
        Action::Unblock { .. } => weight::of_command(&[]),
        Action::Watch(_) | Action::View | Action::Reconfigure(_) => 0,
    }
}

/// The number of no command: that of the session's opening.
const NOBODY: u64 = 0;

pub(super) fn error(text: &'static str) -> Reply {
    Reply::Error(text.into())
}

// The codes are ones that stock clients know; each text says that nothing was applied.
pub(super) const NO_LEADER: &str =
    "CLUSTERDOWN no leader answered in time: are enough nodes up to elect one? The command was not applied";

pub(super) const WITNESS: &str =
    "CLUSTERDOWN this node is a witness and keeps no data: ask another. The command was not applied";
const UNDER_REPAIR: &str =
    "LOADING this node is getting back what its disk has lost; the command was not applied";

/// What a client is told of a refusal.
fn text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoRoom => {
            "MISCONF the disk of this node has no room for the log. The command was not applied; reads go on"
        }
        Refusal::NoRoomAtLeader => {
            "MISCONF the disk of the leader has no room for the log. The command was not applied; reads go on"
        }
        Refusal::NoRoomAtQuorum => {
            "MISCONF the disks of too many nodes have no room for the log. The command was not applied; reads go on"
        }
        Refusal::TooMuchWaits => {
            "CLUSTERDOWN too many commands of this node wait to be logged. The command was not applied"
        }
        Refusal::Witness => WITNESS,
        Refusal::TooLarge => "ERR the command is larger than an entry of the log may be. It was not applied",
    }
}
