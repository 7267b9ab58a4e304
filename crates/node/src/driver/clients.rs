//! What clients ask, in which order it runs, and what they are told.

use quorate_consensus::{Engine, engine::ReadOutcome};
use quorate_log::Room;
use quorate_machine::Reply;

use crate::{
    connection::{Begin, ReadRequest},
    driver::{Driver, leading::Leadership},
    input::{ConnId, Now, Request},
    origin::Expired,
    output::Answer,
    peer::PeerMessage,
};

impl<E: Engine> Driver<E> {
    pub(super) fn take_requests(&mut self, conn: ConnId, requests: Vec<Request>) {
        self.connections.entry(conn).or_default().extend(requests);
        self.runnable.push_back(conn);
    }

    /// Begins whatever the connections' order allows.
    pub(super) fn run_connections(&mut self, now: Now) {
        while let Some(conn) = self.runnable.pop_front() {
            while self.begin_next(now, conn) {}
        }
    }

    /// Begins or refuses one request of a connection; false when there is none that may begin.
    fn begin_next(&mut self, now: Now, conn: ConnId) -> bool {
        let refusal = self.refusal();
        let Some(connection) = self.connections.get_mut(&conn) else { return false };
        match (connection.begin_next(refusal.is_none()), refusal) {
            (Some(Begin::Read(request)), _) => self.reads.add(conn, request),
            (Some(Begin::Log(operation)), _) => self.origin.submit(now.boot, conn, operation),
            (None, Some(refusal)) if connection.is_quiet() && connection.refuse_next().is_some() => {
                self.out.answers.push((conn, Answer::Reply(error(refusal))));
            }
            (None, _) => return false,
        }
        true
    }

    /// Why no command is taken for the log at this moment, if none is.
    fn refusal(&self) -> Option<&'static str> {
        if self.room != Room::Enough {
            Some(NO_ROOM)
        } else if !self.leader_has_room() {
            Some(NO_ROOM_AT_LEADER)
        } else if !self.origin.has_room() {
            Some(TOO_MUCH_WAITS)
        } else {
            None
        }
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

    /// Serves the reads whose index is confirmed and applied.
    pub(super) fn serve_reads(&mut self) {
        while let Some((stamp, group)) = self.reads.take_ready(self.applied()) {
            for (conn, request) in group.reads {
                let answer = match request {
                    ReadRequest::Command { db, args } => {
                        Answer::Reply(self.machine.read(stamp.millis, db, &args))
                    }
                    ReadRequest::Watch { db, keys } => Answer::Watched(self.machine.versions(db, &keys)),
                };
                self.answer(conn, answer);
            }
        }
    }

    /// Answers a request that was begun, so that the next of its connection may begin.
    pub(super) fn answer(&mut self, conn: ConnId, answer: Answer) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.answered();
        if connection.is_quiet() {
            self.runnable.push_back(conn);
        }
        self.out.answers.push((conn, answer));
    }

    /// Tells clients whose time is up what is known of their commands.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some(expired) = self.origin.take_expired(now.boot) {
            match expired {
                Expired::NotApplied(conn) => self.answer(conn, Answer::Reply(error(NO_LEADER))),
                Expired::Unknown(conn) => {
                    self.close(conn, "the command's outcome is unknown after its time-out")
                }
            }
        }
        while let Some(group) = self.reads.take_expired(now.boot, self.config.command_timeout) {
            for (conn, _) in group.reads {
                self.answer(conn, Answer::Reply(error(NO_LEADER)));
            }
        }
    }

    /// Tells a client nothing but that nothing is known.
    pub(super) fn close(&mut self, conn: ConnId, reason: &'static str) {
        if self.connections.remove(&conn).is_some() {
            self.out.answers.push((conn, Answer::Close(reason)));
        }
    }

    fn leader_has_room(&self) -> bool {
        match (&self.leadership, self.role.leader) {
            (Leadership::Following, Some(leader)) => {
                self.gossip.get(&leader).is_none_or(|(gossip, _)| gossip.room)
            }
            (Leadership::Following, None) | (Leadership::Leading(_), _) => true,
        }
    }
}

fn error(text: &'static str) -> Reply {
    Reply::Error(text.into())
}

// The codes are ones that stock clients know; each text says that nothing was applied.
const NO_LEADER: &str =
    "CLUSTERDOWN no leader answered in time: is a majority of the nodes up? The command was not applied";
const NO_ROOM: &str =
    "MISCONF the disk of this node has no room for the log. The command was not applied; reads go on";
const NO_ROOM_AT_LEADER: &str =
    "MISCONF the disk of the leader has no room for the log. The command was not applied; reads go on";
const TOO_MUCH_WAITS: &str =
    "CLUSTERDOWN too many commands of this node wait to be logged. The command was not applied";
