//! What a connection tells the statistics of its front door, and the slow log.

use tokio::time::Instant;

use super::Exchange;
use crate::{
    connection::{arguments::is, slow_log::Begun, transaction::Command},
    handle::Reply,
};

impl Exchange {
    /// A command of the table counts from now on.
    pub(super) fn took(&mut self, command: &Command) {
        let id = self.front.statistics.took(command.spec);
        if let Some(begun) = &mut self.begun {
            begun.command = id;
            begun.takes_lock = self.queue.is_none() && takes_lock(command);
        }
    }

    /// A command of the table is refused before it counts, and with it the transaction that it should have been part of.
    pub(super) fn refuse_known(&mut self, command: &Command, refusal: Reply) {
        self.front.statistics.refused(command.spec);
        self.spoil(refusal);
    }

    /// The reply to a command has come at `ready`.
    pub(super) fn observe(&self, begun: &Begun, ready: Instant) {
        let taken = ready.saturating_duration_since(begun.at);
        let statistics = &self.front.statistics;
        if let Some(command) = begun.command {
            statistics.finished(command, taken);
        }
        if self.front.slow_log.observe(begun, taken, self.client.endpoints, &self.name) {
            statistics.slow.increment();
        }
    }

    /// What a reply says, if it is known to which command it is.
    pub(super) fn count(&self, begun: Option<&Begun>, reply: &Reply) {
        let statistics = &self.front.statistics;
        statistics.answered(reply);
        let Some(begun) = begun else { return };
        if let (Some(command), Reply::Error(_)) = (begun.command, reply) {
            statistics.failed(command);
        }
        if begun.takes_lock {
            statistics.locks.answered(reply);
        }
    }
}

/// Whether a command is how code for Redis takes a lock: its reply says whether it did.
fn takes_lock(command: &Command) -> bool {
    let has = |option: &str| command.arguments.iter().skip(3).any(|argument| is(argument, option));
    match command.spec.name {
        "setnx" => true,
        "set" => has("NX") && !has("GET"),
        _ => false,
    }
}
