//! What may be asked at the Sentinel door, and the subcommands of SENTINEL.

use bytes::Bytes;
use quorate_machine::{Spec, check, unknown_command};

use super::view::View;
use crate::{
    connection::arguments::{help, is, unknown_subcommand},
    handle::Reply,
};

/// Those commands of the ordinary front door that this one has, too, with all their subcommands but one. QUIT and RESET
/// came to Redis's Sentinel with 7.2.
const SERVED: &[&str] = &[
    "auth",
    "client",
    "command",
    "hello",
    "info",
    "ping",
    "psubscribe",
    "punsubscribe",
    "quit",
    "reset",
    "role",
    "subscribe",
    "unsubscribe",
];

/// Nobody waits here who could be released.
const NOT_SERVED: &str = "client|unblock";

/// What a client asks.
#[derive(Clone, Copy, Debug)]
pub(in crate::connection) enum Asked {
    /// SENTINEL.
    Sentinel,
    /// A command that the ordinary front door knows as well.
    Command(&'static Spec),
}

/// What these arguments ask, or why that cannot be asked here.
pub(in crate::connection) fn understand(arguments: &[Bytes]) -> Result<Asked, Reply> {
    match arguments {
        [name] if is(name, "sentinel") => {
            return Err(Reply::error("ERR wrong number of arguments for 'sentinel' command"));
        }
        [name, ..] if is(name, "sentinel") => return Ok(Asked::Sentinel),
        _ => {}
    }
    let is_served = |name: &Bytes| SERVED.iter().any(|served| is(name, served));
    if !arguments.first().is_some_and(is_served) {
        return Err(unknown_command(arguments));
    }
    match check(arguments)? {
        spec if spec.name == NOT_SERVED => Err(unknown_subcommand("CLIENT", &arguments[1])),
        spec => Ok(Asked::Command(spec)),
    }
}

/// A subcommand of SENTINEL.
#[derive(Clone, Copy, Debug)]
enum Subcommand {
    Masters,
    Master,
    Address,
    Replicas,
    Sentinels,
    Quorum,
    MyId,
    Help,
}

/// Their names, and whether a master's name follows.
const SUBCOMMANDS: &[(&str, bool, Subcommand)] = &[
    ("masters", false, Subcommand::Masters),
    ("master", true, Subcommand::Master),
    ("get-master-addr-by-name", true, Subcommand::Address),
    ("replicas", true, Subcommand::Replicas),
    ("slaves", true, Subcommand::Replicas),
    ("sentinels", true, Subcommand::Sentinels),
    ("ckquorum", true, Subcommand::Quorum),
    ("myid", false, Subcommand::MyId),
    ("help", false, Subcommand::Help),
];

const HELP: &[&str] = &[
    "CKQUORUM <master-name>",
    "    Check whether enough voters to lead the cluster are in touch with this node.",
    "GET-MASTER-ADDR-BY-NAME <master-name>",
    "    Return host and port of the leader, or nil while there is none.",
    "MASTER <master-name>",
    "    Show the leader.",
    "MASTERS",
    "    Show the leader as the only element of a list.",
    "MYID",
    "    Return an id of this node.",
    "REPLICAS <master-name>",
    "    Show the nodes that do not lead. They take all commands as well.",
    "SENTINELS <master-name>",
    "    Show the Sentinel doors of the other nodes.",
];

/// `SENTINEL subcommand [master-name]`.
pub(super) fn run(view: &View<'_>, arguments: &[Bytes]) -> Reply {
    let (own, rest) = (&arguments[1], &arguments[2..]);
    let Some((name, takes_name, subcommand)) = SUBCOMMANDS.iter().find(|(name, ..)| is(own, name)) else {
        return unknown_subcommand("SENTINEL", own);
    };
    if rest.len() != usize::from(*takes_name) {
        let text = format!("ERR wrong number of arguments for 'sentinel|{name}' command");
        return Reply::error_text(text);
    }
    let is_ours = rest.iter().all(|name| view.is_called(name));
    match subcommand {
        Subcommand::Address if !is_ours => Reply::NullArray,
        _ if !is_ours => Reply::error("ERR No such master with that name"),
        Subcommand::Masters => view.masters(),
        Subcommand::Master => view.master().unwrap_or(Reply::error("ERR No leader is known yet")),
        Subcommand::Address => view.address(),
        Subcommand::Replicas => view.replicas(),
        Subcommand::Sentinels => view.sentinels(),
        Subcommand::Quorum => view.quorum(),
        Subcommand::MyId => view.own_id(),
        Subcommand::Help => help("SENTINEL", HELP),
    }
}
