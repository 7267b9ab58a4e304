//! Commands that concern a connection. The server runs those that have state there.

use bytes::Bytes;

use super::help;
use crate::command::{Group, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::reply::Reply;

/// Allowed in any state of the node, and fast.
const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);
/// As [`ANY_TIME`], not from scripts.
const DIRECTLY: Flags = ANY_TIME.and(Flags::NOSCRIPT);
/// As [`DIRECTLY`], also before authentication.
const OPEN: Flags = DIRECTLY.and(Flags::NO_AUTH);

const fn connection(name: &'static str, arity: i32) -> Spec {
    Spec::connection(Group::Connection, name, arity)
}

const fn client(name: &'static str, arity: i32) -> Spec {
    connection(name, arity).with(Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE))
}

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::pure(Group::Connection, "ping", -1, ping).with(Flags::FAST).doc(
        "1.0.0",
        "PING [message]",
        "Answers PONG, or the message.",
    ),
    Spec::pure(Group::Connection, "echo", 2, echo).with(ANY_TIME).doc(
        "1.0.0",
        "ECHO message",
        "Answers the message.",
    ),
    connection("select", 2).run_by(select).with(ANY_TIME).doc(
        "1.0.0",
        "SELECT index",
        "Chooses one of 16 databases.",
    ),
    connection("hello", -1).with(OPEN).doc(
        "6.0.0",
        "HELLO [protover [AUTH username password] [SETNAME clientname]]",
        "Chooses version 2 or 3 of the protocol and answers what this server is.",
    ),
    connection("auth", -2).with(OPEN).doc(
        "1.0.0",
        "AUTH [username] password",
        "Authenticates the connection.",
    ),
    connection("quit", -1).with(OPEN).doc("1.0.0", "QUIT", "Closes the connection after the reply."),
    connection("reset", 1).with(OPEN).doc("6.2.0", "RESET", "Makes the connection like a new one."),
    client("client", -2).container(CLIENT).doc(
        "2.4.0",
        "CLIENT",
        "A container for commands about connections.",
    ),
    Spec::connection(Group::Cluster, "readonly", 1).with(ANY_TIME).doc(
        "3.0.0",
        "READONLY",
        "Has this connection read the node's own data as they are, at once and without a majority, however old (FRESHNESS); behind a write of its own, in the log. Writes and transactions are as ever.",
    ),
    Spec::connection(Group::Cluster, "readwrite", 1).with(ANY_TIME).doc(
        "3.0.0",
        "READWRITE",
        "Has this connection read linearizably again, which is the default.",
    ),
];

const CLIENT: &[Spec] = &[
    client("client|id", 2).doc("5.0.0", "CLIENT ID", "Answers the connection's number."),
    client("client|setname", 3).doc("2.6.9", "CLIENT SETNAME connection-name", "Names the connection."),
    client("client|getname", 2).doc("2.6.9", "CLIENT GETNAME", "Answers the connection's name."),
    client("client|setinfo", 4).doc(
        "7.2.0",
        "CLIENT SETINFO <LIB-NAME libname | LIB-VER libver>",
        "Says which library the client uses.",
    ),
    client("client|info", 2).doc("6.2.0", "CLIENT INFO", "Answers what is known of the connection."),
    client("client|list", -2).with(Flags::ADMIN).doc(
        "2.4.0",
        "CLIENT LIST [TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        "Answers what is known of this node's connections.",
    ),
    client("client|kill", -3).with(Flags::ADMIN).doc(
        "2.4.0",
        "CLIENT KILL <ip:port | [ID client-id] [ADDR ip:port] [LADDR ip:port] [USER username] [SKIPME yes/no]>",
        "Closes connections of this node.",
    ),
    client("client|unblock", -3).with(Flags::ADMIN).doc(
        "5.0.0",
        "CLIENT UNBLOCK client-id [TIMEOUT | ERROR]",
        "Ends the waiting of another connection of this node, as if its time were up or with an error: 1, or 0 if it does \
         not wait.",
    ),
    client("client|no-evict", 3).with(Flags::ADMIN).doc(
        "7.0.0",
        "CLIENT NO-EVICT <ON | OFF>",
        "Answers OK: connections are not evicted for their memory.",
    ),
    client("client|no-touch", 3).doc(
        "7.2.0",
        "CLIENT NO-TOUCH <ON | OFF>",
        "Answers OK: keys have no time of last use.",
    ),
    client("client|reply", 3).doc(
        "3.2.0",
        "CLIENT REPLY <ON | OFF | SKIP>",
        "Leaves out replies from now on, or the next one.",
    ),
    Spec::pure(Group::Connection, "client|help", 2, |_, _| Ok(help("client"))).doc(
        "5.0.0",
        "CLIENT HELP",
        "Answers what subcommands there are.",
    ),
];

fn ping(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    match args {
        [_] => Ok(Reply::status("PONG")),
        [_, message] => Ok(Reply::Bulk(message.clone())),
        _ => Err(Reply::error("ERR wrong number of arguments for 'ping' command")),
    }
}

fn echo(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::Bulk(args[1].clone()))
}

/// A connection's database is the server's business: each of its commands, those of a transaction too, brings its
/// own. Only for the rest of a script it is changed here.
fn select(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    context.db = Context::parse_database(&args[1])?;
    Ok(Reply::ok())
}
