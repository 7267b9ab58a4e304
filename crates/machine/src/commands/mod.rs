//! The commands, a file for each family: what a command is called and takes, what it does and what it answers
//! stand together.

pub(crate) mod acquisition;
pub(crate) mod barriers;
pub(crate) mod blocking;
mod client_sessions;
mod connection;
mod counters;
mod elections;
mod expiry;
mod fencing;
mod hash_numbers;
mod hashes;
mod introspection;
mod keys;
mod latency;
mod list_searches;
mod lists;
mod locks;
mod objects;
mod places;
mod popping;
mod pubsub;
mod repeating;
mod sampling;
mod scan;
mod scripting;
mod semaphores;
mod server;
mod set_algebra;
mod sets;
mod slow_log;
mod sorted_set_combinations;
mod sorted_set_picks;
mod sorted_set_ranges;
mod sorted_sets;
mod strings;
mod transactions;

use bytes::Bytes;

use crate::command::{Spec, lookup};
use crate::reply::Reply;

/// Every family's table.
pub(crate) const FAMILIES: &[&[Spec]] = &[
    strings::COMMANDS,
    counters::COMMANDS,
    lists::COMMANDS,
    list_searches::COMMANDS,
    blocking::LISTS,
    hashes::COMMANDS,
    hash_numbers::COMMANDS,
    sets::COMMANDS,
    set_algebra::COMMANDS,
    sorted_sets::COMMANDS,
    sorted_set_ranges::COMMANDS,
    sorted_set_picks::COMMANDS,
    blocking::SORTED_SETS,
    sorted_set_combinations::COMMANDS,
    keys::COMMANDS,
    objects::COMMANDS,
    expiry::COMMANDS,
    scan::COMMANDS,
    pubsub::COMMANDS,
    locks::COMMANDS,
    elections::COMMANDS,
    semaphores::COMMANDS,
    barriers::COMMANDS,
    client_sessions::COMMANDS,
    fencing::COMMANDS,
    transactions::COMMANDS,
    scripting::COMMANDS,
    connection::COMMANDS,
    server::COMMANDS,
    introspection::COMMANDS,
    latency::COMMANDS,
    slow_log::COMMANDS,
];

/// What `<container> HELP` answers: each subcommand and, indented, what it does.
pub(crate) fn help(container: &str) -> Reply {
    let name = container.to_uppercase();
    let subcommands = lookup(container.as_bytes()).map_or(&[][..], |spec| spec.subcommands);
    let title = format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    let lines = subcommands.iter().flat_map(|spec| {
        let syntax = spec.syntax.strip_prefix(&name).unwrap_or(spec.syntax).trim_start();
        [syntax.to_owned(), format!("    {}", spec.summary)]
    });
    let lines = std::iter::once(title).chain(lines);
    Reply::Array(lines.map(|line| Reply::Status(Bytes::from(line))).collect())
}
