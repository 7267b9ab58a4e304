//! QUORATE on a connection: what an operator asks, and what is waited for.

use bytes::Bytes;

use super::Exchange;
use crate::{
    connection::{
        commands::{
            self,
            members::{Members, is_member, member},
            replication::{Transfer, is_transfer, transfer},
        },
        loading,
        replies::Slot,
    },
    handle::{Action, Reply},
    status::{Activity, NodeStatus},
};

impl Exchange {
    /// QUORATE is not in the table: it concerns neither the data nor Redis's clients, and acts inside MULTI as
    /// outside of it.
    pub(super) fn quorate(&mut self, arguments: &[Bytes]) {
        let status = self.front.shard.status();
        if is_transfer(arguments) {
            return match transfer(&status, arguments) {
                Transfer::Order { term, to, wait } => {
                    self.front.shard.transfer(term, to);
                    self.push(Slot::Wait(wait));
                }
                Transfer::Done(reply) => self.say(reply),
                Transfer::Refused(refusal) => self.spoil(refusal),
            };
        }
        if is_member(arguments) {
            return match member(&status, arguments) {
                Members::Listed(reply) => self.say(reply),
                Members::Change(_) if self.is_recovering() => self.spoil(loading::refusal(&status)),
                Members::Change(_) if self.queue.is_some() => {
                    self.spoil(Reply::error("ERR Command not allowed inside a transaction"));
                }
                Members::Change(change) => self.ask(Action::Reconfigure(change), Slot::Answer),
                Members::Refused(refusal) => self.spoil(refusal),
            };
        }
        let activity = Activity {
            commands: self.front.statistics.commands.get(),
            connections: self.front.connected() as u64,
            ..status.activity.clone()
        };
        let status = NodeStatus { activity, ..(*status).clone() };
        match commands::replication::quorate(&status, arguments) {
            refusal @ Reply::Error(_) => self.spoil(refusal),
            reply => self.say(reply),
        }
    }
}
