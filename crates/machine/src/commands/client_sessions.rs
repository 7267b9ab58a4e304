//! SESSION: clients' sessions, each of which keeps any number of locks alive. See [`crate::client_session`].

use bytes::Bytes;

use super::expiry;
use super::help;
use crate::client_session::ClientSession;
use crate::command::{Group, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::identifiers::{ClientSessionId, Stamp};
use crate::integer;
use crate::reply::Reply;
use crate::value::Holder;
use crate::work;

pub(crate) const COMMANDS: &[Spec] = &[Spec::pure(Group::Session, "session", -2, |_, _| Ok(help("session")))
    .container(SESSION)
    .doc("quorate", "SESSION", "A container for commands about clients' sessions.")];

const SESSION: &[Spec] = &[
    Spec::write(Group::Session, "session|open", -3, open)
        .with(Flags::DENYOOM.and(Flags::FAST).and(Flags::NOSCRIPT))
        .doc(
            "quorate",
            "SESSION OPEN milliseconds [NAME name]",
            "Opens a session that lasts so long from each KEEPALIVE on, and answers its number.",
        ),
    Spec::write(Group::Session, "session|keepalive", 3, keepalive)
        .with(Flags::FAST.and(Flags::NOSCRIPT))
        .doc(
            "quorate",
            "SESSION KEEPALIVE session",
            "Has a session, with all locks that it holds, last its whole time from now on; an error if it has ended.",
        ),
    Spec::write(Group::Session, "session|close", 3, close).with(Flags::FAST.and(Flags::NOSCRIPT)).doc(
        "quorate",
        "SESSION CLOSE session",
        "Ends a session, which frees all locks that it holds: 1, or 0 if it has ended before.",
    ),
    Spec::read(Group::Session, "session|info", 3, info).with(Flags::FAST).doc(
        "quorate",
        "SESSION INFO session",
        "Answers what a session is called, how long it lasts, how long still, and how many locks it holds; nil if it has ended.",
    ),
    Spec::read(Group::Session, "session|list", 2, list).priced(price_of_list).doc(
        "quorate",
        "SESSION LIST",
        "Answers of each session that is open what SESSION INFO answers.",
    ),
    Spec::pure(Group::Session, "session|help", 2, |_, _| Ok(help("session"))).doc(
        "quorate",
        "SESSION HELP",
        "Lists the subcommands.",
    ),
];

/// The longest name of a session.
const NAME_BYTES_MAX: usize = 128;

/// The number of a session, which may have ended.
pub(super) fn parse_id(text: &[u8]) -> Result<ClientSessionId, Reply> {
    let id = integer::parse(text).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.map(ClientSessionId).ok_or(Reply::error("ERR a session is a positive integer"))
}

/// What is said of a session that is not open.
fn not_open(id: ClientSessionId) -> Reply {
    Reply::error_text(format!("NOSESSION session {} is not open: its time is over, or it was closed", id.0))
}

/// Who holds something, or is to, must be there: an error reply if he is a session that is not open.
pub(super) fn check(context: &Context<'_>, holder: &Holder) -> Result<(), Reply> {
    match holder {
        Holder::Session(id) if context.state.keyspace.client_sessions.get(*id).is_none() => {
            Err(not_open(*id))
        }
        Holder::Session(_) | Holder::Owner(_) => Ok(()),
    }
}

fn open(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let ttl_ms = integer::parse(&args[2]).and_then(|ttl_ms| u64::try_from(ttl_ms).ok());
    let ttl_ms = ttl_ms.filter(|ttl_ms| *ttl_ms > 0);
    let ttl_ms =
        ttl_ms.ok_or(Reply::error("ERR a session's time to live is a positive number of milliseconds"))?;
    let name = match &args[3..] {
        [] => None,
        [word, name] if word.eq_ignore_ascii_case(b"NAME") => Some(Bytes::copy_from_slice(name)),
        _ => return Err(Reply::syntax_error()),
    };
    if name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
        return Err(Reply::error("ERR the name of a session has 128 bytes at most"));
    }
    context.writable();
    let keyspace = &mut context.state.keyspace;
    if keyspace.client_sessions.len() as u64 >= context.state.settings.client_sessions_max {
        return Err(Reply::error("ERR too many sessions are open (quorate-client-sessions)"));
    }
    let deadline = Stamp(context.now.0.saturating_add(ttl_ms));
    let id = keyspace.open_client_session(ClientSession { name, ttl_ms, deadline });
    Ok(show_id(id))
}

fn keepalive(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let id = parse_id(&args[2])?;
    context.writable();
    match context.state.keyspace.client_sessions.keep_alive(id, context.now) {
        true => Ok(Reply::ok()),
        false => Err(not_open(id)),
    }
}

fn close(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let id = parse_id(&args[2])?;
    context.writable();
    let was_open = context.state.keyspace.client_sessions.remove(id);
    if was_open {
        context.state.keyspace.end_client_session(id);
    }
    Ok(Reply::flag(was_open))
}

fn info(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let id = parse_id(&args[2])?;
    let session = context.state.keyspace.client_sessions.get(id);
    Ok(session.map_or(Reply::Null, |session| describe(context, id, session)))
}

fn list(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Reply> {
    let sessions = context.state.keyspace.client_sessions.iter();
    let list = sessions.map(|(id, session)| describe(context, id, session)).collect();
    context.spent.visited += price_of_list(context, &[]);
    Ok(Reply::Array(list))
}

fn price_of_list(context: &Context<'_>, _: &[Bytes]) -> u64 {
    work::of_changes(context.state.keyspace.client_sessions.len())
}

fn describe(context: &Context<'_>, id: ClientSessionId, session: &ClientSession) -> Reply {
    let field = |name, value| (Reply::bulk(name), value);
    let ttl_ms = i64::try_from(session.ttl_ms).unwrap_or(i64::MAX);
    Reply::Map(vec![
        field("session", show_id(id)),
        field("name", session.name.clone().map_or(Reply::Null, Reply::Bulk)),
        field("lasts-ms", Reply::Integer(ttl_ms)),
        field("ttl-ms", Reply::Integer(expiry::remaining_ms(context, session.deadline))),
        field("locks", Reply::count(context.state.keyspace.locks_of(id))),
    ])
}

pub(super) fn show_id(id: ClientSessionId) -> Reply {
    Reply::Integer(i64::try_from(id.0).unwrap_or(i64::MAX))
}
