//! SLOWLOG: the commands that took long at the node that the client is on. The server keeps them, since only it knows
//! how long a client has waited.

use super::help;
use crate::command::{Group, Spec};
use crate::flags::Flags;

const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE);

const fn subcommand(name: &'static str, arity: i32) -> Spec {
    Spec::node(Group::Server, name, arity).with(ANY_TIME.and(Flags::ADMIN))
}

pub(crate) const COMMANDS: &[Spec] = &[Spec::node(Group::Server, "slowlog", -2).container(SLOWLOG).doc(
    "2.2.12",
    "SLOWLOG",
    "A container for commands about this node's slow commands.",
)];

const SLOWLOG: &[Spec] = &[
    subcommand("slowlog|get", -2).doc(
        "2.2.12",
        "SLOWLOG GET [count]",
        "Answers the latest 10 slow commands, or a count of them, -1 for all: number, unix time, microseconds, arguments, \
         client's address and name.",
    ),
    subcommand("slowlog|len", 2).doc("2.2.12", "SLOWLOG LEN", "Answers how many slow commands are remembered."),
    subcommand("slowlog|reset", 2).doc("2.2.12", "SLOWLOG RESET", "Forgets them."),
    Spec::pure(Group::Server, "slowlog|help", 2, |_, _| Ok(help("slowlog"))).with(ANY_TIME).doc(
        "6.2.0",
        "SLOWLOG HELP",
        "Answers what subcommands there are.",
    ),
];
