//! Clients: each is bound to one node, sends an exchange, waits for the answers, and thinks.

use std::time::Duration;

use quorate_bug::Bug;
use quorate_consensus::Engine;
use quorate_machine::{Machine, Publication, Reply};
use quorate_node::{Action, Answer, ConnId, Input, Request};

use super::{Event, World, phases::Phase};
use crate::{
    checks::Failure,
    faults::Fault,
    random::Random,
    time::SimTime,
    workload::{self, Exchange, Outcome, Step, Workload},
};

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) node: usize,
    /// One way, constant, so that a connection keeps its order.
    pub(super) latency: Duration,
    random: Random,
    workload: Box<dyn Workload>,
    /// Its connection, and the life of the node that it belongs to.
    pub(super) connection: Option<(ConnId, u64)>,
    pub(super) state: State,
    pub(super) paused_until: SimTime,
    /// When it last had an answer that was no refusal.
    pub(super) last_success: Option<SimTime>,
    /// It begins nothing any more.
    pub(super) retired: bool,
    /// It has ended its side of the connection, which it drops when it has its answers.
    pub(super) is_leaving: bool,
    /// How much was sent to it that it has not read, if it has stopped reading.
    pub(super) unread: Option<usize>,
    /// For the test of the checkers: the answer before the present one.
    previous: Option<Answer>,
}

/// What a client is doing.
#[derive(Debug)]
pub(super) enum State {
    /// A wake-up is planned.
    Thinking,
    /// An exchange is under way.
    Waiting { exchange: Exchange, expected: usize },
    /// It has ended.
    Retired,
}

/// How often a client without a connection looks for its node.
const RECONNECT: Duration = Duration::from_millis(40);

impl Client {
    pub(super) fn new(number: usize, node: usize, mut random: Random) -> Self {
        let workload = workload::choose(number, &mut random);
        Self::with(workload, node, random)
    }

    /// A client with a workload of its own.
    pub(super) fn with(workload: Box<dyn Workload>, node: usize, mut random: Random) -> Self {
        let latency = random.duration(Duration::from_micros(20), Duration::from_micros(500));
        Self {
            node,
            latency,
            random,
            workload,
            connection: None,
            state: State::Thinking,
            paused_until: SimTime::default(),
            last_success: None,
            retired: false,
            is_leaving: false,
            unread: None,
            previous: None,
        }
    }

    /// Whether nothing of it is under way.
    pub(super) fn is_thinking(&self) -> bool {
        matches!(self.state, State::Thinking)
    }

    pub(super) fn is_connected_by(&self, conn: ConnId) -> bool {
        self.connection.is_some_and(|(present, _)| present == conn)
    }
}

impl<E: Engine> World<E> {
    pub(super) fn client_wake(&mut self, at: SimTime, number: usize) {
        self.brief_operator(number);
        let client = &mut self.clients[number];
        if !client.is_thinking() {
            return;
        }
        if client.retired {
            client.workload.end(at, &mut self.history);
            client.state = State::Retired;
            return;
        }
        if at < client.paused_until {
            self.counts.add(Fault::ClientPause);
            self.trace.tell(at, || format!("c{number} stands still"));
            self.agenda.add(client.paused_until, Event::ClientWake { client: number });
            return;
        }
        let is_down = self.nodes[client.node].process.is_none();
        if client.workload.goes_elsewhere(is_down, &mut client.random) {
            self.move_client(at, number);
        }
        let Some((conn, life)) = self.connect(number) else {
            self.agenda.add(at + RECONNECT, Event::ClientWake { client: number });
            return;
        };
        let client = &mut self.clients[number];
        match client.workload.plan(at, &mut client.random, &mut self.history) {
            Step::Rest(duration) => {
                let is_operator = self.operator == Some(number);
                let permille = if is_operator { 1000 } else { self.plan.thinking_permille };
                let rest = duration * permille / 1000;
                let goes_on = match &self.plan.rhythm {
                    Some(rhythm) if self.follows_rhythm(at, number) => rhythm.goes_on(at, rest),
                    Some(_) | None => at + rest,
                };
                self.agenda.add(goes_on, Event::ClientWake { client: number });
            }
            Step::Ask(requests) => {
                if self.operator == Some(number) {
                    self.counts.add(Fault::Members);
                } else if let Some(rhythm) = &mut self.plan.rhythm
                    && !client.workload.looks_closely()
                {
                    rhythm.asked(at, requests.len());
                }
                self.trace
                    .tell(at, || format!("c{number} -> n{} {}", client.node + 1, requests_text(&requests)));
                let exchange = Exchange { sent: at, conn, answers: Vec::new() };
                client.state = State::Waiting { exchange, expected: requests.len() };
                let (node, latency) = (client.node, client.latency);
                self.agenda.add(at + latency, Event::Requests { client: number, node, life, conn, requests });
                self.half_close(at, number);
                self.stop_reading(at, number);
            }
        }
    }

    /// Whether a client rests between two bursts: when all is healed, each is owed an answer soon; and who looks closely while
    /// something is amiss does not rest.
    fn follows_rhythm(&self, at: SimTime, client: usize) -> bool {
        let is_awake = at < self.history.excited_until && self.clients[client].workload.looks_closely();
        matches!(self.phase, Phase::Faults) && self.operator != Some(client) && !is_awake
    }

    /// The client's connection, a new one if need be; `None` if its node is down.
    fn connect(&mut self, number: usize) -> Option<(ConnId, u64)> {
        let client = &mut self.clients[number];
        let node = &mut self.nodes[client.node];
        let process = node.process.as_mut()?;
        if let Some((conn, life)) = client.connection
            && life == node.life
            && process.connections.contains_key(&conn)
        {
            return Some((conn, life));
        }
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        process.connections.insert(conn, number);
        let before = client.connection.replace((conn, node.life));
        if before.is_some() {
            client.workload.cut_off(&mut self.history);
        }
        client.connection
    }

    pub(super) fn take_requests(
        &mut self,
        at: SimTime,
        client: usize,
        (node, life): (usize, u64),
        conn: ConnId,
        mut requests: Vec<Request>,
    ) {
        let is_alive = self.nodes[node].life == life && self.nodes[node].process.is_some();
        if is_alive {
            self.listen(node, conn, &mut requests);
        }
        if is_alive && self.plan.bug == Some(Bug::LocalRead) && requests.iter().all(is_read) {
            self.answer_by_itself(at, client, node, conn, &requests);
        } else if is_alive && self.plan.bug == Some(Bug::AnsweredEarly) && requests.iter().all(is_push) {
            self.answer_early(at, client, node, conn, requests);
        } else if is_alive && self.plan.bug == Some(Bug::WanderingReads) && requests.iter().all(is_stale) {
            let node = self.some_running(node);
            self.answer_by_itself(at, client, node, conn, &requests);
        } else if is_alive {
            self.put(at, node, Input::Requests { conn, requests });
        } else {
            self.agenda.add(at, Event::ConnectionLost { client, conn });
        }
    }

    /// For the test of the checkers: what the node's machine says at this moment, be it stale.
    fn answer_by_itself(
        &mut self,
        at: SimTime,
        client: usize,
        node: usize,
        conn: ConnId,
        requests: &[Request],
    ) {
        let process = self.nodes[node].process.as_ref().expect("it is alive");
        let copy = Machine::restore_up_to(process.driver.machine().snapshot(), self.nodes[node].build)
            .expect("a machine's own snapshot");
        let (mut copy, latency) = (copy, self.clients[client].latency);
        for request in requests {
            let (Action::Read(args) | Action::StaleRead(args)) = &request.action else {
                unreachable!("only reads are answered so")
            };
            let answer = Answer::Reply(copy.read(copy.stamp(), request.db, args));
            let (answer, past) = self.confirm(node, conn, answer);
            self.agenda.add(at + latency, Event::Answer { client, conn, answer: Box::new(answer) });
            past.into_iter().for_each(|message| self.tell(at, node, conn, message));
        }
    }

    /// Some node that runs and has data, or `otherwise`.
    fn some_running(&mut self, otherwise: usize) -> usize {
        let is_up = |node: &usize| self.nodes[*node].process.is_some();
        let running: Vec<usize> = self.servers().into_iter().filter(is_up).collect();
        if running.is_empty() { otherwise } else { *self.random.pick(&running) }
    }

    /// For the test of the checkers: success, before anything is logged. What then becomes of it, nobody is told.
    fn answer_early(
        &mut self,
        at: SimTime,
        client: usize,
        node: usize,
        conn: ConnId,
        requests: Vec<Request>,
    ) {
        for _ in &requests {
            let answer = Box::new(Answer::Reply(Reply::Integer(1)));
            self.agenda.add(at + self.clients[client].latency, Event::Answer { client, conn, answer });
        }
        self.put(at, node, Input::Requests { conn: NOBODY, requests });
    }

    /// Whether a client takes in what arrives over a connection: it may have another one by now, or have stopped reading.
    pub(super) fn reaches(&mut self, at: SimTime, number: usize, conn: ConnId) -> bool {
        let client = &self.clients[number];
        let (is_there, reads) = (client.is_connected_by(conn), client.unread.is_none());
        if is_there && !reads {
            self.leave_unread(at, number);
        }
        is_there && reads
    }

    pub(super) fn answered(&mut self, at: SimTime, number: usize, mut answer: Answer) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        if self.plan.bug == Some(Bug::ShiftedAnswers)
            && let Some(previous) = client.previous.replace(answer.clone())
        {
            answer = previous;
        }
        if self.operator == Some(number) {
            answer = mistold(self.plan.bug, answer);
        }
        let State::Waiting { exchange, expected } = &mut client.state else {
            return Err(Failure::new("one answer for each request", format!("c{number} asked for nothing")));
        };
        let closed = matches!(answer, Answer::Close(_));
        exchange.answers.push((at, answer));
        if closed {
            client.connection = None;
            client.workload.cut_off(&mut self.history);
            return self.finish_exchange(at, number);
        }
        if exchange.answers.len() == *expected {
            return self.finish_exchange(at, number);
        }
        Ok(())
    }

    /// A message arrives at a client.
    pub(super) fn heard(&mut self, at: SimTime, number: usize, message: &Publication) -> Result<(), Failure> {
        self.clients[number].workload.hear(at, &message.message, &mut self.history)
    }

    pub(super) fn connection_lost(
        &mut self,
        at: SimTime,
        number: usize,
        conn: ConnId,
    ) -> Result<(), Failure> {
        let client = &mut self.clients[number];
        if !client.is_connected_by(conn) {
            return Ok(());
        }
        client.connection = None;
        client.unread = None;
        client.workload.cut_off(&mut self.history);
        if matches!(client.state, State::Waiting { .. }) {
            self.trace.tell(at, || format!("c{number} loses its connection"));
            return self.finish_exchange(at, number);
        }
        Ok(())
    }

    fn finish_exchange(&mut self, now: SimTime, number: usize) -> Result<(), Failure> {
        self.brief_operator(number);
        let client = &mut self.clients[number];
        let State::Waiting { exchange, expected } = std::mem::replace(&mut client.state, State::Thinking)
        else {
            unreachable!("only an exchange that is under way ends");
        };
        for at in 0..expected {
            match exchange.outcome(at) {
                Outcome::Done(_, span) => {
                    self.report.answered += 1;
                    if client.last_success.is_none_or(|last| last < exchange.sent) {
                        client.last_success = Some(span.invoked);
                    }
                }
                Outcome::Refused => {
                    self.report.answered += 1;
                    self.report.refused += 1;
                }
                Outcome::Unknown => self.report.unknown += 1,
            }
        }
        client.workload.learn(&exchange, &mut self.history)?;
        if std::mem::take(&mut client.is_leaving) {
            self.reset_client(now, number);
        }
        let client = &mut self.clients[number];
        let soon = client.random.duration(Duration::from_micros(10), Duration::from_millis(2));
        self.agenda.add(now + soon, Event::ClientWake { client: number });
        Ok(())
    }

    /// A client drops its connection, whatever is under way on it.
    pub(super) fn reset_client(&mut self, at: SimTime, number: usize) -> bool {
        let Some((conn, life)) = self.clients[number].connection else { return false };
        let node = self.clients[number].node;
        self.agenda.add(at, Event::ConnectionLost { client: number, conn });
        if self.nodes[node].life == life
            && let Some(process) = &mut self.nodes[node].process
        {
            process.connections.remove(&conn);
            let input = Box::new(Input::Disconnected { conn });
            self.agenda.add(at + self.clients[number].latency, Event::Tell { node, life, input });
        }
        true
    }
}

/// The connection of no client.
const NOBODY: ConnId = ConnId(u64::MAX);

fn is_push(request: &Request) -> bool {
    matches!(&request.action, Action::Write(args) if args[0] == "RPUSH")
}

fn is_stale(request: &Request) -> bool {
    matches!(request.action, Action::StaleRead(_))
}

/// For the test of the checkers: what an operator is told of a change that was made, or was not.
fn mistold(bug: Option<Bug>, answer: Answer) -> Answer {
    match (bug, &answer) {
        (Some(Bug::DeniedChange), Answer::Reply(Reply::Status(_) | Reply::Integer(_) | Reply::Array(_))) => {
            Answer::Reply(Reply::error("ERR the members stay as they are: so it is told"))
        }
        (Some(Bug::FeignedChange), Answer::Reply(Reply::Error(_))) => Answer::Reply(Reply::ok()),
        _ => answer,
    }
}

fn is_read(request: &Request) -> bool {
    matches!(request.action, Action::Read(_))
}

fn requests_text(requests: &[Request]) -> String {
    let words = |args: &[bytes::Bytes]| {
        args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join(" ")
    };
    let text = |request: &Request| match &request.action {
        Action::Read(args) | Action::StaleRead(args) | Action::Write(args) | Action::Wait(args) => {
            words(args)
        }
        Action::Watch(keys) => format!("WATCH {}", words(keys)),
        Action::Reconfigure(change) => format!("MEMBER {change}"),
        Action::View => "(view)".to_owned(),
        Action::Unblock { target, .. } => format!("CLIENT UNBLOCK {}", target.0),
        Action::Transaction { commands, .. } => {
            let commands: Vec<_> = commands.iter().map(|(_, args)| words(args)).collect();
            format!("MULTI {} EXEC", commands.join(", "))
        }
    };
    requests.iter().map(text).collect::<Vec<_>>().join(" | ")
}
