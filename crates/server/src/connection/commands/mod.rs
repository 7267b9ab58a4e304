//! The commands that the front door answers itself, a file for each family.
//!
//! The machine's table says what they are called and take; what they do needs a connection, the other
//! connections, or the node's own view of itself, none of which the machine has.

pub(super) mod client;
pub(super) mod config;
mod greeting;
mod info;
pub(in crate::connection) mod members;
mod pubsub;
pub(super) mod replication;
mod slow_log;

use std::cell::RefCell;

use bytes::Bytes;
use quorate_machine::{Class, Machine};

use super::{exchange::Exchange, transaction::Command};
use crate::{clock, handle::Reply};

/// Runs a command whose arguments were checked. What acts on the order of replies (MULTI, WATCH, WAIT outside
/// of a transaction) has been taken out before.
pub(super) fn run(exchange: &mut Exchange, command: &Command) -> Reply {
    let arguments = &command.arguments[..];
    let name = command.spec.name;
    let (family, subcommand) = name.split_once('|').unwrap_or((name, ""));
    match family {
        _ if command.spec.class == Class::Pure => pure(arguments),
        "hello" | "auth" | "quit" | "reset" | "select" | "unwatch" | "readonly" | "readwrite" => {
            greeting::run(exchange, name, arguments)
        }
        "client" => client::run(exchange, subcommand, arguments),
        "config" => config::run(&exchange.front, subcommand),
        "pubsub" => pubsub::run(&exchange.front, subcommand, arguments),
        "info" => info::run(&exchange.front, arguments),
        "slowlog" => slow_log::run(&exchange.front, subcommand, arguments),
        "freshness" => replication::freshness(&exchange.front.shard.status(), clock::now().boot),
        "role" => match &exchange.front.sentinel {
            Some(sentinel) => sentinel.role(),
            None => replication::role(&exchange.front.shard.status()),
        },
        "wait" | "waitaof" => match replication::wait(command) {
            // Inside of a transaction nothing waits.
            Ok(wait) => wait.reply_now(&exchange.front.shard.status()),
            Err(refusal) => refusal,
        },
        _ => Reply::error_text(format!("ERR command '{name}' cannot be run here")),
    }
}

/// PING, COMMAND and their like are the machine's, but need none of its state: an empty one answers them as
/// well as the shard's would, without a way to the shard.
fn pure(arguments: &[Bytes]) -> Reply {
    thread_local! {
        static EMPTY: RefCell<Machine> = RefCell::new(Machine::new(quorate_machine::Limits::default()));
    }
    EMPTY.with_borrow_mut(|machine| machine.read(0, 0, arguments))
}
