//! Who listens, at which node: the little that a server's connections do for `LOCK WATCH` and `ELECTION OBSERVE`.
//!
//! * A subscription begins when its node has answered a read, and so is as far as every message that was sent before.
//! * A connection gets each message of its channel that its node hands out from then on, in that order, and before answers of the
//!   same step; or it is cut off.
//!
//! A real server's messages may be behind an answer that was ready at the same time. So no check relies on that order, only on
//! that of the messages.

use bytes::Bytes;
use quorate_bug::Bug;
use quorate_consensus::Engine;
use quorate_machine::{Publication, Reply, Watch};
use quorate_node::{Action, Answer, ConnId, Input, Request};

use super::{Event, World};
use crate::{time::SimTime, workload::arguments};

/// What a connection listens to, or has asked to: one channel is enough for a watcher.
#[derive(Debug)]
pub(super) struct Subscriber {
    channel: Bytes,
    is_confirmed: bool,
}

impl<E: Engine> World<E> {
    /// If the connection asks to listen, its node is asked how far it must be for that.
    pub(super) fn listen(&mut self, node: usize, conn: ConnId, requests: &mut [Request]) {
        for request in requests {
            let Some(channel) = watched_by(request) else { continue };
            let is_confirmed = self.plan.bug == Some(Bug::HearsThePast);
            let process = self.nodes[node].process.as_mut().expect("it is alive");
            process.subscribers.insert(conn, Subscriber { channel, is_confirmed });
            request.action = Action::Read(arguments(&["PING"]));
        }
    }

    /// The first answer on a connection that has asked to listen, and for nothing before, is the one to that.
    pub(super) fn confirm(&mut self, node: usize, conn: ConnId, answer: &Answer) {
        let process = self.nodes[node].process.as_mut().expect("it answers");
        let Some(subscriber) = process.subscribers.get_mut(&conn).filter(|asked| !asked.is_confirmed) else {
            return;
        };
        match answer {
            Answer::Reply(Reply::Error(_)) => drop(process.subscribers.remove(&conn)),
            Answer::Reply(_) | Answer::Watched(_) | Answer::View(_) | Answer::Close(_) => {
                subscriber.is_confirmed = true;
            }
        }
    }

    /// Sends messages on their way to all who listen.
    pub(super) fn publish(&mut self, at: SimTime, node: usize, mut publications: Vec<Publication>) {
        let process = self.nodes[node].process.as_mut().expect("it has just stepped");
        if self.plan.bug == Some(Bug::TurnedMessages) {
            publications.reverse();
        }
        if self.plan.bug == Some(Bug::ForgottenListener) && self.random.chance(2) {
            process.subscribers.clear();
        }
        let connections = &process.connections;
        process.subscribers.retain(|conn, _| connections.contains_key(conn));
        for publication in publications {
            let hears = |subscriber: &Subscriber| {
                subscriber.is_confirmed && subscriber.channel == publication.channel
            };
            for (&conn, _) in process.subscribers.iter().filter(|(_, subscriber)| hears(subscriber)) {
                let client = connections[&conn];
                self.trace.tell(at, || {
                    let message = String::from_utf8_lossy(&publication.message);
                    format!("n{} -> c{client} (message) {message}", node + 1)
                });
                let (latency, message) = (self.clients[client].latency, Box::new(publication.clone()));
                self.agenda.add(at + latency, Event::Message { client, conn, message });
            }
        }
    }

    /// Ends the connections of all who listen, since each would miss messages without knowing.
    pub(super) fn cut_off_subscribers(&mut self, at: SimTime, node: usize) {
        let process = self.nodes[node].process.as_mut().expect("it has just stepped");
        let listening: Vec<_> =
            process.subscribers.extract_if(.., |_, subscriber| subscriber.is_confirmed).collect();
        for (conn, _) in listening {
            let process = self.nodes[node].process.as_mut().expect("it was just seen");
            let Some(client) = process.connections.remove(&conn) else { continue };
            self.trace.tell(at, || format!("n{} cuts off c{client}, who would miss messages", node + 1));
            self.agenda.add(at + self.clients[client].latency, Event::ConnectionLost { client, conn });
            self.put(at, node, Input::Disconnected { conn });
        }
    }
}

/// The channel that a request asks to listen to.
fn watched_by(request: &Request) -> Option<Bytes> {
    let Action::Read(args) = &request.action else { return None };
    // Most reads name nothing there, and need not be looked up.
    args.get(2)?;
    let spec = quorate_machine::check(args).ok()?;
    Some(Watch::parse(spec.name, request.db, args).ok()??.channel)
}
