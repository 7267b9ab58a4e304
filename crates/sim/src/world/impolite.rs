//! Clients that do not do what is expected of them: they end their side of a connection while they are owed answers, or ask
//! and ask and read nothing.
//!
//! A server keeps what a client has not read up to a limit, and then closes its connection. Until then the driver is asked
//! for all of it; what is under way when the connection ends is nobody's any more.

use quorate_consensus::Engine;
use quorate_node::{Action, ConnId, Input, Request};

use super::{Event, World, phases::Phase};
use crate::{
    faults::Fault,
    time::SimTime,
    workload::{arguments, read, write},
};

/// Of a thousand exchanges, how many end with a client's side of its connection, where clients do that.
const HALF_CLOSED_PERMILLE: u64 = 50;
/// Of a thousand exchanges, how many are the last that a client reads of, where clients do that.
const UNREAD_PERMILLE: u64 = 20;
/// The most requests of one that reads nothing.
const UNREAD_REQUESTS_MAX: u64 = 100;
/// More answers than these are not kept for somebody who does not read them.
const UNREAD_MAX: usize = 50;
/// Where those clients write.
const KEY: &str = "unread";

impl<E: Engine> World<E> {
    /// Now and then a client that has just asked ends its side of the connection.
    pub(super) fn half_close(&mut self, at: SimTime, number: usize) {
        if !self.misbehaves(number, Fault::HalfClose, HALF_CLOSED_PERMILLE) {
            return;
        }
        let client = &mut self.clients[number];
        let Some((conn, life)) = client.connection else { return };
        client.is_leaving = true;
        self.counts.add(Fault::HalfClose);
        self.trace.tell(at, || format!("c{number} ends its side of the connection"));
        let input = Box::new(Input::GivesUp { conn });
        self.agenda.add(at + client.latency, Event::Tell { node: client.node, life, input });
    }

    /// Now and then a client that has just asked reads no answer any more, asks for much else, and some time later is gone.
    pub(super) fn stop_reading(&mut self, at: SimTime, number: usize) {
        if !self.misbehaves(number, Fault::StoppedReading, UNREAD_PERMILLE) {
            return;
        }
        let Some((conn, life)) = self.clients[number].connection else { return };
        let requests = self.unread_requests();
        let patience = self.random.millis(10, 3000);
        let client = &mut self.clients[number];
        client.unread = Some(0);
        self.counts.add(Fault::StoppedReading);
        self.trace.tell(at, || format!("c{number} asks {} times more, and reads nothing", requests.len()));
        let (node, latency) = (client.node, client.latency);
        self.agenda.add(at + latency, Event::Requests { client: number, node, life, conn, requests });
        self.agenda.add(at + patience, Event::HangUp { client: number, conn });
    }

    /// An answer has come that a client does not read: in the end that is too much for its node.
    pub(super) fn leave_unread(&mut self, at: SimTime, number: usize) {
        let Some(unread) = &mut self.clients[number].unread else { return };
        *unread += 1;
        if *unread > UNREAD_MAX {
            self.trace.tell(at, || format!("c{number} is cut off, since it reads nothing"));
            self.reset_client(at, number);
        }
    }

    /// A client ends its connection, if it still has it.
    pub(super) fn hang_up(&mut self, at: SimTime, number: usize, conn: ConnId) {
        if self.clients[number].is_connected_by(conn) {
            self.reset_client(at, number);
        }
    }

    fn misbehaves(&mut self, client: usize, fault: Fault, permille: u64) -> bool {
        let is_possible = matches!(self.phase, Phase::Faults) && self.operator != Some(client);
        is_possible && self.plan.faults.contains(&fault) && self.random.chance(permille)
    }

    /// Reads, writes and, once in a while, something that waits.
    fn unread_requests(&mut self) -> Vec<Request> {
        let count = self.random.between(1, UNREAD_REQUESTS_MAX);
        let waits = || Request { db: 0, action: Action::Wait(arguments(&["BLPOP", "unread:list", "1"])) };
        let random = &mut self.random;
        let request = |_| match random.below(20) {
            0 => waits(),
            1..10 => write(&["INCR", KEY]),
            _ => read(&["GET", KEY]),
        };
        (0..count).map(request).collect()
    }
}
