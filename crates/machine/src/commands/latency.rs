//! LATENCY: Redis's monitor of slow events, for tools that ask for it. It is off here and has seen nothing; `/metrics`
//! tells how long things take.

use bytes::Bytes;

use super::help;
use crate::command::{Group, Run, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::reply::Reply;

const DOCTOR: &[u8] =
    b"No events are monitored here. /metrics has histograms of what the shard and the log take.";

const ANY_TIME: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

const fn subcommand(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::pure(Group::Server, name, arity, run).with(ANY_TIME)
}

pub(crate) const COMMANDS: &[Spec] = &[Spec::pure(Group::Server, "latency", -2, |_, _| Ok(help("latency")))
    .with(ANY_TIME)
    .container(LATENCY)
    .doc("2.8.13", "LATENCY", "A container for commands about a monitor of latencies, which is off.")];

const LATENCY: &[Spec] = &[
    subcommand("latency|latest", 2, none).doc("2.8.13", "LATENCY LATEST", "Answers no events."),
    subcommand("latency|history", 3, none).doc("2.8.13", "LATENCY HISTORY event", "Answers no events."),
    subcommand("latency|reset", -2, |_, _| Ok(Reply::Integer(0))).doc(
        "2.8.13",
        "LATENCY RESET [event [event ...]]",
        "Answers that there were no events to forget.",
    ),
    subcommand("latency|doctor", 2, |_, _| Ok(Reply::Verbatim(Bytes::from_static(DOCTOR)))).doc(
        "2.8.13",
        "LATENCY DOCTOR",
        "Answers where latencies are told.",
    ),
    subcommand("latency|graph", 3, graph).doc(
        "2.8.13",
        "LATENCY GRAPH event",
        "Answers that there are no events.",
    ),
    subcommand("latency|histogram", -2, |_, _| Ok(Reply::Map(Vec::new()))).doc(
        "7.0.0",
        "LATENCY HISTOGRAM [command [command ...]]",
        "Answers no histograms.",
    ),
    Spec::pure(Group::Server, "latency|help", 2, |_, _| Ok(help("latency")))
        .with(Flags::LOADING.and(Flags::STALE))
        .doc("2.8.13", "LATENCY HELP", "Answers what subcommands there are."),
];

fn none(_: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::Array(Vec::new()))
}

fn graph(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let text = [b"ERR No samples available for event '", &args[2][..], b"'"].concat();
    Err(Reply::error_text(text))
}
