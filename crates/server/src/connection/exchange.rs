//! One connection's side of the conversation, without its socket.
//!
//! Commands go in, in order; requests for the shard come out, and with the shard's answers the bytes of the
//! replies, in the same order. What belongs to the connection (database, protocol version, MULTI, WATCH, name)
//! lives here and nowhere else.
//!
//! Invariants:
//! * Each command takes one place in the order of replies, whoever answers it.
//! * A command whose meaning depends on an outcome that is not known (EXEC behind WATCH, anything behind
//!   WAIT) is not executed before it is: [`Exchange::accepts`] is false meanwhile, and input waits.
//! * Once it is closing, nothing more is executed; what was executed is still answered. A client that has only
//!   closed its own half is not closing yet: what it sent before counts.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use quorate_machine::{ChannelKind, Class, Watch, check};
use tokio::time::Instant;

use super::{
    FrontDoor,
    arguments::{footprint, is},
    clients::Client,
    commands,
    dismissal::REMOVED,
    listening::{self, Listener, Verb, Wish},
    loading::{self, needs_data},
    replies::{Answered, Replies, Slot},
    sentinel::{self, Asked},
    slow_log::Begun,
    transaction::{Command, Queue, detached, is_queued, selected},
};
use crate::{
    handle::{Action, Answer, Reply, Request, Watched},
    resp::{Frame, Protocol, ProtocolError},
    status::NodeStatus,
    subscriptions::{Listening, Mailbox, Message, Topic},
};

mod counting;
mod quorate;
mod transactions;

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) front: Arc<FrontDoor>,
    /// What others see of this connection.
    pub(super) client: Arc<Client>,
    pub(super) db: u32,
    pub(super) protocol: Protocol,
    pub(super) name: String,
    /// When its task last woke: the one reading of the clock in a turn.
    pub(super) now: Instant,
    replies: Replies,
    reply_mode: ReplyMode,
    /// READONLY: whether reads are served from this node's data as they are.
    pub(super) reads_stale: bool,
    /// Whether the command that is being executed is to be answered aloud.
    silent: bool,
    /// The command that is being executed, until it is known who answers it.
    begun: Option<Begun>,
    queue: Option<Queue>,
    watched: Vec<Watched>,
    listener: Listener,
    requests: Vec<Request>,
    last_command: &'static str,
    commands_executed: u64,
    /// Whether the node was recovering its data when it was last looked. Once it is not, it never is again.
    recovering: bool,
    /// Whether its client waits for nothing any more: it has ended its half of the connection, or all of it.
    gives_up: bool,
    phase: Phase,
}

/// How far a conversation has come; it only ever goes on to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Commands may still arrive.
    Open,
    /// The client has said its last. What has arrived is still executed, but no WAIT is waited for.
    InputEnded,
    /// Nothing more is executed. What was executed is still answered.
    Closing,
    /// The same, and the client is to read why.
    Refused,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyMode {
    /// Commands are answered.
    On,
    /// They are not.
    Off,
    /// The next one is not.
    SkipNext,
}

impl Exchange {
    pub(super) fn new(front: Arc<FrontDoor>, client: Arc<Client>) -> Self {
        let client_id = client.id;
        Self {
            front,
            client,
            db: 0,
            protocol: Protocol::default(),
            name: String::new(),
            now: Instant::now(),
            replies: Replies::default(),
            reply_mode: ReplyMode::On,
            reads_stale: false,
            silent: false,
            begun: None,
            queue: None,
            watched: Vec::new(),
            listener: Listener::new(client_id),
            requests: Vec::new(),
            last_command: "NULL",
            commands_executed: 0,
            recovering: true,
            gives_up: false,
            phase: Phase::Open,
        }
    }

    /// Whether the next command may be executed now.
    pub(super) fn accepts(&self) -> bool {
        let limits = &self.front.limits;
        self.phase < Phase::Closing
            && !self.replies.held()
            && self.replies.len() < limits.pipeline_max
            && self.replies.waiting_bytes() < limits.pipeline_bytes_max
    }

    /// Executes a command.
    pub(super) fn execute(&mut self, frame: Frame) {
        let Frame { arguments, bytes } = frame;
        self.begun = Some(Begun { frame: bytes, at: self.now, command: None, takes_lock: false });
        self.commands_executed += 1;
        self.silent = self.reply_mode != ReplyMode::On;
        if self.reply_mode == ReplyMode::SkipNext {
            self.reply_mode = ReplyMode::On;
        }
        self.dispatch(arguments);
        // Whoever is to measure it has taken it.
        self.begun = None;
    }

    fn dispatch(&mut self, arguments: Vec<Bytes>) {
        if self.front.sentinel.is_some() {
            self.execute_at_sentinel(arguments);
            return self.executed();
        }
        if is(&arguments[0], "quorate") {
            self.quorate(&arguments);
            return self.executed();
        }
        match check(&arguments) {
            Ok(spec) => self.execute_known(Command { spec, arguments }),
            Err(Reply::Error(reason)) if is(&arguments[0], "exec") => self.refuse_exec(&reason),
            Err(refusal) => self.spoil(refusal),
        }
    }

    fn execute_known(&mut self, command: Command) {
        self.last_command = command.spec.name;
        if needs_data(command.spec) && self.is_recovering() {
            return self.refuse_known(&command, loading::refusal(&self.front.shard.status()));
        }
        if needs_data(command.spec) && self.front.removed.load(Ordering::Relaxed) {
            return self.refuse_known(&command, Reply::error(REMOVED));
        }
        if let Some(refusal) = self.listener.refusal(self.protocol, command.spec) {
            self.front.statistics.refused(command.spec);
            return self.say(refusal);
        }
        self.took(&command);
        if let Some(verb) = listening::verb(command.spec) {
            return self.listen(verb, &command);
        }
        if command.spec.name == "client|unblock" {
            return self.unblock(&command.arguments);
        }
        if self.queue.is_some() && is_queued(command.spec) {
            return self.enqueue(command);
        }
        let Command { spec, arguments } = command;
        match spec.class {
            Class::Read if spec.name == "config|get" => {
                let own = commands::config::own_settings(&self.front, &arguments[2..]);
                self.ask(Action::Read(arguments), Slot::Settings(own));
            }
            Class::Write if spec.name == "config|set" && commands::config::is_own(&arguments) => {
                let reply = commands::config::set(&self.front, &arguments[2..]);
                self.say(reply);
                self.executed();
            }
            Class::Read => self.ask(self.reading(arguments), Slot::Answer),
            Class::Script if spec.is_readonly() => self.ask(self.reading(arguments), Slot::Answer),
            Class::Write if spec.may_wait(&arguments) => {
                self.ask(Action::Wait(arguments), Slot::Blocked);
            }
            Class::Write | Class::Script => {
                let published =
                    listening::sends_to(spec).map(|kind| Slot::Published(kind, arguments[1].clone()));
                self.ask(Action::Write(arguments), published.unwrap_or(Slot::Answer));
            }
            Class::Pure | Class::Connection | Class::Node => self.execute_own(Command { spec, arguments }),
        }
    }

    /// A read, as this connection wants it.
    fn reading(&self, arguments: Vec<Bytes>) -> Action {
        if self.reads_stale { Action::StaleRead(arguments) } else { Action::Read(arguments) }
    }

    /// A command at the Sentinel door, where nothing is asked of the shard.
    fn execute_at_sentinel(&mut self, arguments: Vec<Bytes>) {
        let reply = match sentinel::understand(&arguments) {
            Ok(Asked::Sentinel) => sentinel::run(self, &arguments),
            Ok(Asked::Command(spec)) => {
                self.last_command = spec.name;
                self.front.statistics.took(spec);
                match (self.listener.refusal(self.protocol, spec), listening::verb(spec)) {
                    (Some(refusal), _) => refusal,
                    (None, Some(verb)) => return self.listen(verb, &Command { spec, arguments }),
                    (None, None) => self.run(&Command { spec, arguments }),
                }
            }
            Err(refusal) => refusal,
        };
        self.say(reply);
    }

    /// Whether this node serves the connection as well without a leader: it reads what is there, and hears of nothing.
    pub(super) fn needs_no_leader(&self) -> bool {
        let is_member = !self.front.removed.load(Ordering::Relaxed);
        self.reads_stale && is_member && self.listener.listening() == Listening::default()
    }

    fn is_recovering(&mut self) -> bool {
        self.recovering = self.recovering && self.front.shard.status().loading;
        self.recovering
    }

    /// The commands that act on the order of things itself; all others are a function to a reply.
    fn execute_own(&mut self, command: Command) {
        match command.spec.name {
            "multi" => self.multi(),
            "exec" => self.exec(),
            "discard" => self.discard(),
            "watch" => self.watch(command.arguments),
            "wait" | "waitaof" => match commands::replication::wait(&command) {
                Ok(wait) => return self.push(Slot::Wait(wait)),
                Err(refusal) => self.say(refusal),
            },
            _ => {
                let reply = self.run(&command);
                self.say(reply);
            }
        }
        self.executed();
    }

    /// A command was answered here and now, unless the shard was asked. The clock is read again, since it may have been
    /// work.
    fn executed(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.observe(&begun, Instant::now());
        }
    }

    /// No answer will come any more: what has none until `now` has taken so long.
    pub(super) fn observe_unanswered(&mut self, now: Instant) {
        for begun in self.replies.take_unanswered() {
            self.observe(&begun, now);
        }
    }

    /// Runs a command of the connection or the node.
    fn run(&mut self, command: &Command) -> Reply {
        let pong = match command.spec.name {
            "ping" => self.listener.pong(self.protocol, &command.arguments),
            _ => None,
        };
        pong.unwrap_or_else(|| commands::run(self, command))
    }

    /// CLIENT UNBLOCK. The shard knows who waits, and the log whether that is in time.
    fn unblock(&mut self, arguments: &[Bytes]) {
        if self.queue.is_some() {
            return self.spoil(Reply::error("ERR Command not allowed inside a transaction"));
        }
        match commands::client::unblocked(arguments) {
            Ok((target, with_error)) if !self.is_recovering() && self.front.clients.contains(target) => {
                self.ask(Action::Unblock { target, with_error }, Slot::Answer);
            }
            Ok(_) => self.say(Reply::Integer(0)),
            Err(refusal) => self.say(refusal),
        }
        self.executed();
    }

    /// How many subscribers of this node a message reaches; an error stays as it is.
    fn reached(&self, kind: ChannelKind, channel: &[u8], reply: Reply) -> Reply {
        match reply {
            Reply::Integer(_) => Reply::count(self.front.shard.subscriptions().receivers(kind, channel)),
            other => other,
        }
    }

    fn listen(&mut self, verb: Verb, command: &Command) {
        if self.queue.is_some() {
            return self.spoil(Reply::error("ERR Command not allowed inside a transaction"));
        }
        let names = || command.arguments[1..].to_vec();
        let wish = match verb {
            Verb::Subscribe(topic) => Wish::Names(topic, names()),
            Verb::Watch => match Watch::parse(command.spec.name, self.db, &command.arguments) {
                Ok(watch) => Wish::Watch(watch.expect("it is one of the two")),
                Err(refusal) => return self.say(refusal),
            },
            Verb::Unsubscribe(topic) => {
                let confirmations = self.listener.unsubscribe(&self.front, topic, names());
                return self.listening_changed(confirmations);
            }
        };
        if let Some(refusal) = self.listener.refuse_wish(&wish) {
            return self.say(refusal);
        }
        if self.front.sentinel.is_some() {
            // What is told there is this node's own news, and begins now.
            return match self.listener.subscribe(&self.front, wish) {
                Ok(confirmations) => self.listening_changed(confirmations),
                Err(gap) => self.say(gap),
            };
        }
        // Any read will do: what counts is how far this node is when it is answered.
        let action = Action::Read(vec![Bytes::from_static(b"ping")]);
        self.requests.push(Request { db: self.db, action });
        self.replies.push_request(Slot::Subscribe(wish), self.silent, footprint(&command.arguments), None);
    }

    /// Begins to listen and says so, once for each name, also with CLIENT REPLY OFF: as messages, these are no replies.
    fn confirm(&mut self, wish: Wish) -> Result<(), Reply> {
        // What it listens to already comes before the confirmation, what it begins to listen to comes behind it.
        self.receive(usize::MAX);
        let confirmations = self.listener.subscribe(&self.front, wish)?;
        self.client.details().listening = self.listener.listening();
        let (last, others) = confirmations.split_last().expect("the table asks for a name at least");
        others.iter().for_each(|confirmation| self.replies.interject(confirmation));
        self.replies.deliver(last, false);
        Ok(())
    }

    /// RESET.
    pub(super) fn listen_to_nothing(&mut self) {
        for topic in [Topic::Channel, Topic::Pattern, Topic::Sharded] {
            self.listener.unsubscribe(&self.front, topic, Vec::new());
        }
        self.listening_changed(Vec::new());
    }

    /// Lets others know, tells the client of all that was sent before, and then of the change.
    fn listening_changed(&mut self, confirmations: Vec<Reply>) {
        self.client.details().listening = self.listener.listening();
        self.receive(usize::MAX);
        confirmations.into_iter().for_each(|confirmation| self.say(confirmation));
    }

    /// Tells the client of messages, as long as less than so many bytes wait to be written.
    pub(super) fn receive(&mut self, output_bytes_max: usize) {
        while self.output_bytes() < output_bytes_max
            && let Some(message) = self.listener.mailbox().and_then(Mailbox::take)
        {
            self.replies.interject(&message.push);
        }
    }

    /// The same for a message that was taken already.
    pub(super) fn receive_one(&mut self, message: &Message) {
        self.replies.interject(&message.push);
    }

    /// Where bytes go out, and where messages come in.
    pub(super) fn ends(&mut self) -> (&mut bytes::BytesMut, Option<&mut Mailbox>) {
        (&mut self.replies.output, self.listener.mailbox())
    }

    /// SELECT.
    pub(super) fn select(&mut self, argument: &[u8]) -> Reply {
        match selected(argument) {
            Ok(db) => {
                self.db = db;
                Reply::ok()
            }
            Err(refusal) => refusal,
        }
    }

    /// Replies from this command on are written in this version.
    pub(super) fn speak(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.push(Slot::Protocol(protocol));
    }

    /// CLIENT REPLY. Of the three only ON answers.
    pub(super) fn set_reply_mode(&mut self, mode: ReplyMode) {
        if (self.reply_mode, mode) != (ReplyMode::Off, ReplyMode::SkipNext) {
            self.reply_mode = mode;
        }
        self.silent = mode != ReplyMode::On;
    }

    /// Ends the connection once everything so far is answered; a WAIT is not waited for.
    pub(super) fn close(&mut self) {
        self.advance(Phase::Closing);
    }

    /// Ends it as well, and remembers that the client must be let read what it was told.
    pub(super) fn refuse(&mut self) {
        self.advance(Phase::Refused);
    }

    /// The client will send nothing more. What has arrived is still to be executed.
    pub(super) fn end_input(&mut self) {
        self.give_up();
        self.advance(Phase::InputEnded);
    }

    /// The client has ended its half of the connection, but not all that it had sent was read.
    pub(super) fn give_up(&mut self) {
        self.gives_up = true;
    }

    /// Whether it waits for nothing any more, which the shard must know when it is asked for something.
    pub(super) fn gives_up(&self) -> bool {
        self.gives_up
    }

    /// Whether the oldest command may be waiting for something to happen.
    pub(super) fn is_blocked(&self) -> bool {
        self.replies.is_blocked()
    }

    /// All commands that have arrived were executed.
    pub(super) fn drained(&mut self) {
        if self.phase == Phase::InputEnded {
            self.close();
        }
    }

    fn advance(&mut self, phase: Phase) {
        self.phase = self.phase.max(phase);
    }

    /// The input is not RESP: says so, and ends.
    pub(super) fn refuse_input(&mut self, error: &ProtocolError) {
        self.silent = false;
        self.say(Reply::error_text(format!("ERR Protocol error: {error}")));
        self.refuse();
    }

    /// Takes the next answer of the shard, which came at `ready`. An error says why the connection must be closed at once.
    pub(super) fn answer(&mut self, answer: Answer, ready: Instant) -> Result<(), &'static str> {
        if let Answer::Close(reason) = answer {
            self.observe_unanswered(ready);
            // Who has closed his half does not wait.
            let gave_up = self.gives_up && self.replies.is_blocked();
            self.replies.abandon();
            self.close();
            return if gave_up { Ok(()) } else { Err(reason) };
        }
        let Some(Answered { slot, silent, begun }) = self.replies.take_answered() else {
            return Err("an answer to nothing that was asked");
        };
        if let Some(begun) = &begun {
            self.observe(begun, ready);
        }
        let reply = match (slot, answer) {
            (Slot::Watch, Answer::Watched(seen)) => {
                self.watched.extend(detached(seen));
                Reply::ok()
            }
            (Slot::Transaction(plan), Answer::Reply(Reply::Array(replies))) => {
                let woven = self.weave(plan, replies);
                self.replies.deliver_executed(&woven, silent);
                return Ok(());
            }
            (Slot::Settings(own), Answer::Reply(reply)) => with_settings(reply, own),
            (Slot::Published(kind, channel), Answer::Reply(reply)) => self.reached(kind, &channel, reply),
            (Slot::Subscribe(_), Answer::Reply(refusal @ Reply::Error(_))) => refusal,
            (Slot::Subscribe(wish), Answer::Reply(_)) => match self.confirm(wish) {
                Ok(()) => return Ok(()),
                Err(gap) => gap,
            },
            // Not an array is what a transaction answers that did not take place.
            (Slot::Answer | Slot::Blocked | Slot::Watch | Slot::Transaction(_), Answer::Reply(reply)) => {
                reply
            }
            (
                Slot::Answer
                | Slot::Blocked
                | Slot::Transaction(_)
                | Slot::Published(..)
                | Slot::Subscribe(..)
                | Slot::Settings(_)
                | Slot::Known(_)
                | Slot::Executed(_)
                | Slot::Wait(_)
                | Slot::Protocol(_),
                Answer::Watched(_),
            )
            | (Slot::Known(_) | Slot::Executed(_) | Slot::Wait(_) | Slot::Protocol(_), Answer::Reply(_))
            | (_, Answer::View(_) | Answer::Close(_)) => {
                return Err("an answer of another kind than was asked for");
            }
        };
        self.count(begun.as_ref(), &reply);
        self.replies.deliver(&reply, silent);
        Ok(())
    }

    /// Whether a wait is at the front: it ends by a status or at its deadline.
    pub(super) fn is_waiting(&self) -> bool {
        self.replies.waiting().is_some()
    }

    /// When the wait at the front ends at the latest.
    pub(super) fn wait_deadline(&self) -> Option<Instant> {
        self.replies.waiting().and_then(|wait| wait.deadline)
    }

    /// Answers the wait at the front if `status` is what it waits for or its time has passed. True if it did.
    pub(super) fn poll_wait(&mut self, status: &NodeStatus, now: Instant) -> bool {
        let was_waiting = self.is_waiting();
        self.replies.poll_wait(status, now, self.gives_up || self.phase > Phase::Open);
        was_waiting && !self.is_waiting()
    }

    /// What is to be submitted to the shard.
    pub(super) fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// The encoded replies. Taking bytes from the front is the writer's part.
    pub(super) fn output(&mut self) -> &mut bytes::BytesMut {
        &mut self.replies.output
    }

    /// Bytes of the messages that the client has not been told of yet.
    pub(super) fn message_bytes(&self) -> usize {
        self.listener.waiting_bytes()
    }

    /// Bytes that wait to be written.
    pub(super) fn output_bytes(&self) -> usize {
        self.replies.output.len()
    }

    /// Whether it is closing and everything is answered; the output may still have to be written.
    pub(super) fn is_over(&self) -> bool {
        self.phase >= Phase::Closing && self.replies.len() == 0
    }

    /// Whether every command is answered and every reply written.
    pub(super) fn owes_nothing(&self) -> bool {
        self.replies.len() == 0 && self.replies.output.is_empty()
    }

    /// Whether nothing keeps the connection but its client's silence. Who listens is silent in his own right.
    pub(super) fn is_idle(&self) -> bool {
        self.owes_nothing() && !self.listener.listening().is_any()
    }

    /// Whether more input may come and is wanted.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the client was told why its input is not taken.
    pub(super) fn is_refused(&self) -> bool {
        self.phase == Phase::Refused
    }

    /// Bytes that the connection holds apart from its read buffer.
    pub(super) fn held_bytes(&self) -> usize {
        let queued = self.queue.as_ref().map_or(0, Queue::bytes);
        let listening = self.listener.listening().bytes + self.listener.waiting_bytes();
        self.replies.output.capacity()
            + self.replies.waiting_bytes()
            + queued
            + self.watched_bytes()
            + listening
    }

    /// Writes down for CLIENT LIST what has changed.
    pub(super) fn publish(&mut self, input_bytes: usize, input_free: usize) {
        self.front.statistics.commands.add(std::mem::take(&mut self.commands_executed));
        let mut details = self.client.details();
        details.command = self.last_command;
        if details.name != self.name {
            details.name.clone_from(&self.name);
        }
        details.db = self.db;
        details.protocol = self.protocol.number();
        details.queued = self.queue.as_ref().map(Queue::len);
        details.output_bytes = self.replies.output.len();
        details.input_bytes = input_bytes;
        details.input_free = input_free;
        details.last_active = std::time::Instant::now();
    }

    fn ask(&mut self, action: Action, slot: Slot) {
        let bytes = match &action {
            Action::Read(arguments)
            | Action::StaleRead(arguments)
            | Action::Write(arguments)
            | Action::Wait(arguments)
            | Action::Watch(arguments) => footprint(arguments),
            Action::Transaction { commands, .. } => {
                commands.iter().map(|(_, arguments)| footprint(arguments)).sum()
            }
            Action::Reconfigure(_) | Action::View | Action::Unblock { .. } => 0,
        };
        self.requests.push(Request { db: self.db, action });
        // What may wait for something is not slow because it does.
        let begun = self.begun.take().filter(|_| !matches!(slot, Slot::Blocked));
        self.replies.push_request(slot, self.silent, bytes, begun);
    }

    fn say(&mut self, reply: Reply) {
        self.count(self.begun.as_ref(), &reply);
        self.push(Slot::Known(reply));
    }

    fn push(&mut self, slot: Slot) {
        self.replies.push(slot, self.silent);
    }
}

/// CONFIG GET's reply with this node's own settings behind the cluster's; an error stays as it is.
fn with_settings(reply: Reply, own: Vec<(Reply, Reply)>) -> Reply {
    let Reply::Map(mut pairs) = reply else { return reply };
    pairs.extend(own);
    Reply::Map(pairs)
}

/// Whether a command is one that only a browser would send: it was made to by a page that wants to reach this
/// port from inside of the network.
pub(super) fn is_http(frame: &Frame) -> bool {
    let name = frame.arguments.first();
    name.is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
