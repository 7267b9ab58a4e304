//! Who listens, at which node: the little that a server's connections do for `LOCK WATCH` and `ELECTION OBSERVE`.
//!
//! * A subscription begins when its node has answered a read, and so is as far as every message that was sent before.
//! * A connection gets each message of its channel that its node hands out from then on, in that order, and before answers of the
//!   same step; or it is cut off.
//! * Whoever asks from a position on is told behind the answer what the node keeps of that ([`Recent`], as in a server), or that it
//!   does not keep all of it. A node keeps little, so that this happens.
//!
//! A real server's messages may be behind an answer that was ready at the same time. So no check relies on that order, only on
//! that of the messages.

use quorate_bug::Bug;
use quorate_consensus::Engine;
use quorate_machine::{ChannelKind, Publication, Reply, Watch};
use quorate_node::{Action, Answer, ConnId, Input, Recent, Request};

use super::{Event, World};
use crate::{time::SimTime, workload::arguments};

/// What a node keeps for those who come back: some forty messages.
const RECENT_BYTES_MAX: usize = 5_000;

/// What a connection listens to, or has asked to: one channel is enough for a watcher.
#[derive(Debug)]
pub(super) struct Subscriber {
    watch: Watch,
    is_confirmed: bool,
}

/// What a node keeps that has just begun, when everything up to this position was applied.
pub(super) fn recent(applied: u64) -> Recent {
    let mut recent = Recent::new(RECENT_BYTES_MAX);
    recent.lose(applied);
    recent
}

impl<E: Engine> World<E> {
    /// If the connection asks to listen, its node is asked how far it must be for that.
    pub(super) fn listen(&mut self, node: usize, conn: ConnId, requests: &mut [Request]) {
        for request in requests {
            let Some(watch) = watched_by(request) else { continue };
            let is_confirmed = self.plan.bug == Some(Bug::HearsThePast);
            let process = self.nodes[node].process.as_mut().expect("it is alive");
            process.subscribers.insert(conn, Subscriber { watch, is_confirmed });
            request.action = Action::Read(arguments(&["PING"]));
        }
    }

    /// The first answer on a connection that has asked to listen, and for nothing before, is the one to that. Returns what it is
    /// told instead, and what of the past behind that.
    pub(super) fn confirm(
        &mut self,
        node: usize,
        conn: ConnId,
        answer: Answer,
    ) -> (Answer, Vec<Publication>) {
        let process = self.nodes[node].process.as_mut().expect("it answers");
        let Some(subscriber) = process.subscribers.get_mut(&conn).filter(|asked| !asked.is_confirmed) else {
            return (answer, Vec::new());
        };
        let Watch { channel, from } = &subscriber.watch;
        let past = from.map_or(Ok(Vec::new()), |from| {
            process.recent.from(channel, from).map(|past| past.cloned().collect())
        });
        match (&answer, past) {
            (Answer::Reply(Reply::Error(_)), _) => {
                process.subscribers.remove(&conn);
                (answer, Vec::new())
            }
            (_, Err(gap)) => {
                process.subscribers.remove(&conn);
                (Answer::Reply(Reply::error_text(gap.reason())), Vec::new())
            }
            (_, Ok(mut past)) => {
                subscriber.is_confirmed = true;
                let (kind, channel) = (ChannelKind::Ordinary, channel.clone());
                let too_far = if self.plan.bug == Some(Bug::BeginsTooFar) { 5 } else { 0 };
                let message = Watch::begins(process.driver.machine().applied() + 1 + too_far);
                past.push(Publication { kind, channel, message, position: None });
                (answer, past)
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
            let process = self.nodes[node].process.as_mut().expect("it has just stepped");
            let hears = |subscriber: &Subscriber| {
                subscriber.is_confirmed && subscriber.watch.channel == publication.channel
            };
            let hearing = process.subscribers.iter().filter(|(_, subscriber)| hears(subscriber));
            let hearing: Vec<_> = hearing.map(|(conn, _)| *conn).collect();
            process.recent.keep(publication.clone());
            for conn in hearing {
                self.tell(at, node, conn, publication.clone());
            }
        }
    }

    /// Sends a message on its way to a connection of a node.
    pub(super) fn tell(&mut self, at: SimTime, node: usize, conn: ConnId, publication: Publication) {
        let process = self.nodes[node].process.as_ref().expect("it has just stepped");
        let Some(&client) = process.connections.get(&conn) else { return };
        self.trace.tell(at, || {
            let message = String::from_utf8_lossy(&publication.message);
            format!("n{} -> c{client} (message) {message}", node + 1)
        });
        let message = Box::new(publication);
        self.agenda.add(at + self.clients[client].latency, Event::Message { client, conn, message });
    }

    /// Ends the connections of all who listen, since each would miss messages without knowing.
    pub(super) fn cut_off_subscribers(&mut self, at: SimTime, node: usize) {
        let process = self.nodes[node].process.as_mut().expect("it has just stepped");
        process.recent.lose(process.driver.machine().applied());
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

/// What a request asks to listen to.
fn watched_by(request: &Request) -> Option<Watch> {
    let Action::Read(args) = &request.action else { return None };
    // Most reads name nothing there, and need not be looked up.
    args.get(2)?;
    let spec = quorate_machine::check(args).ok()?;
    Watch::parse(spec.name, request.db, args).ok()?
}
