//! Transactions. The server queues commands between MULTI and EXEC and remembers what WATCH saw; the machine
//! applies them as one operation of one entry, [`crate::Operation::Transaction`].

use crate::command::{Group, KeySpec, Spec};
use crate::flags::Flags;

const fn transaction(name: &'static str, arity: i32) -> Spec {
    const FLAGS: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
    Spec::connection(Group::Transactions, name, arity).with(FLAGS)
}

pub(crate) const COMMANDS: &[Spec] = &[
    transaction("multi", 1).with(Flags::FAST.and(Flags::NO_MULTI)).doc(
        "1.2.0",
        "MULTI",
        "Begins to queue commands for EXEC.",
    ),
    transaction("exec", 1).doc(
        "1.2.0",
        "EXEC",
        "Runs the queued commands at one instant, unless a watched key has changed.",
    ),
    transaction("discard", 1).with(Flags::FAST).doc("2.0.0", "DISCARD", "Forgets the queued commands."),
    transaction("watch", -2).keys(KeySpec::ALL).with(Flags::FAST.and(Flags::NO_MULTI)).doc(
        "2.2.0",
        "WATCH key [key ...]",
        "Lets EXEC run only if the keys are unchanged until then.",
    ),
    transaction("unwatch", 1).with(Flags::FAST).doc("2.2.0", "UNWATCH", "Forgets all watched keys."),
];
