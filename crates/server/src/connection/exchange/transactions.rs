//! MULTI, EXEC and WATCH on a connection: what is queued, and what becomes of it.

use bytes::Bytes;

use super::{Exchange, with_settings};
use crate::{
    connection::{
        arguments::footprint,
        commands,
        replies::Slot,
        transaction::{Command, Plan, Queue, Step, Woven, is_all_keyspace},
    },
    handle::{Action, Reply, Watched},
};

impl Exchange {
    /// Refuses a command, and with it the transaction that it should have been part of.
    pub(super) fn spoil(&mut self, refusal: Reply) {
        if let Some(queue) = &mut self.queue {
            queue.spoil();
        }
        self.say(refusal);
    }

    /// An EXEC that cannot be understood ends the transaction, since its client believes that it did.
    pub(super) fn refuse_exec(&mut self, reason: &[u8]) {
        self.forget_transaction();
        let reason = String::from_utf8_lossy(reason.strip_prefix(b"ERR ").unwrap_or(reason)).into_owned();
        let text = format!("EXECABORT Transaction discarded because of: {reason}");
        self.say(Reply::error_text(text));
    }

    pub(super) fn enqueue(&mut self, command: Command) {
        let limits = &self.front.limits;
        // What was watched is part of the same entry.
        let commands_max = limits.transaction_commands_max.saturating_sub(self.watched.len());
        let bytes_max = limits.transaction_bytes_max.saturating_sub(self.watched_bytes());
        let Some(queue) = &mut self.queue else { return };
        let fits = queue.push(command, commands_max, bytes_max);
        self.say(match fits {
            true => Reply::status("QUEUED"),
            false => Reply::error("ERR transaction is too large, see the limits of this server"),
        });
    }

    pub(super) fn multi(&mut self) {
        if self.queue.is_some() {
            return self.say(Reply::error("ERR MULTI calls can not be nested"));
        }
        self.queue = Some(Queue::new());
        self.say(Reply::ok());
    }

    pub(super) fn discard(&mut self) {
        if self.queue.take().is_none() {
            return self.say(Reply::error("ERR DISCARD without MULTI"));
        }
        self.watched.clear();
        self.say(Reply::ok());
    }

    pub(super) fn watch(&mut self, mut arguments: Vec<Bytes>) {
        arguments.remove(0);
        if self.queue.is_some() {
            self.say(Reply::error("ERR WATCH inside MULTI is not allowed"));
        } else if self.watches_too_much(&arguments) {
            self.say(Reply::error("ERR too many watched keys, see the limits of this server"));
        } else {
            self.ask(Action::Watch(arguments), Slot::Watch);
        }
    }

    fn watches_too_much(&self, more: &[Bytes]) -> bool {
        let limits = &self.front.limits;
        self.watched.len() + more.len() > limits.transaction_commands_max
            || self.watched_bytes() + footprint(more) > limits.transaction_bytes_max
    }

    pub(super) fn watched_bytes(&self) -> usize {
        self.watched.iter().map(|seen| seen.key.len() + size_of::<Watched>()).sum()
    }

    pub(super) fn exec(&mut self) {
        let Some(queue) = self.queue.take() else {
            return self.say(Reply::error("ERR EXEC without MULTI"));
        };
        let watched = std::mem::take(&mut self.watched);
        let Some((commands, plan)) = queue.plan(self.db) else {
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return self.say(Reply::error(text));
        };
        if commands.is_empty() && watched.is_empty() {
            let woven = self.weave(plan, Vec::new());
            return self.push(Slot::Executed(woven));
        }
        let slot = match is_all_keyspace(&plan) {
            true => Slot::Answer,
            false => Slot::Transaction(plan),
        };
        self.ask(Action::Transaction { watched, commands }, slot);
    }

    /// Runs the connection's own commands of a transaction that took place, among the shard's replies. What they
    /// change of how replies are written (CLIENT REPLY) counts from the next command on, lest parts of an array
    /// be missing; but a new version of the protocol counts at once, as with Redis.
    pub(super) fn weave(&mut self, plan: Plan, replies: Vec<Reply>) -> Woven {
        let bytes_max = self.front.limits.output_bytes_max;
        let silent = self.silent;
        let mut replies = replies.into_iter();
        let mut woven = Woven::default();
        for step in plan {
            let reply = match step {
                Step::Keyspace => replies.next().unwrap_or(Reply::Null),
                Step::Settings(arguments) => {
                    let own = commands::config::own_settings(&self.front, &arguments[2..]);
                    with_settings(replies.next().unwrap_or(Reply::Null), own)
                }
                Step::Published(kind, channel) => {
                    let reply = replies.next().unwrap_or(Reply::Null);
                    self.reached(kind, &channel, reply)
                }
                // Few bytes ask for much: CLIENT LIST is as long as there are clients.
                Step::Own(_) if woven.bytes() > bytes_max => {
                    Reply::error("ERR not executed: the replies before it exceed max-output-bytes")
                }
                Step::Own(command) => self.run(&command),
            };
            self.front.statistics.answered(&reply);
            woven.push(self.protocol, reply);
        }
        self.silent = silent;
        woven
    }

    /// Forgets MULTI and WATCH.
    pub(in crate::connection) fn forget_transaction(&mut self) {
        self.queue = None;
        self.unwatch();
    }

    pub(in crate::connection) fn unwatch(&mut self) {
        self.watched.clear();
    }
}
