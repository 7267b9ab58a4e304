//! Elections: who leads is who holds a lock by this name, and candidates wait for it.
//!
//! * All that locks promise holds: a leader's token is greater than that of every leader before him, he leads for a time that
//!   he extends or as long as his session lasts, and the entry that ends his time elects the next one.
//! * Candidates of a greater priority are elected before others, and those of the same in the order of arrival. Nobody loses
//!   what he leads to a candidate who comes later.
//! * A leader says what others should know, such as his address, and may say something else later.
//! * A leader may hand over to one of the candidates: he resigns, and that one is the first, in one entry.

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::acquisition::{self, Queued, SHOWN_MAX};
use super::fencing::show_token;
use super::locks::{self, LockAt, Which, held, show_holder};
use super::repeating::once;
use super::{client_sessions, expiry, help};
use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::reply::Reply;
use crate::value::{Holder, Lock, Purpose, Value};
use crate::work;

pub(crate) const COMMANDS: &[Spec] =
    &[Spec::pure(Group::Election, "election", -2, |_, _| Ok(help("election"))).container(ELECTION).doc(
        "quorate",
        "ELECTION",
        "A container for commands about elections.",
    )];

const ELECTION: &[Spec] = &[
    Spec::write(Group::Election, "election|campaign", -5, acquisition::acquire)
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .with(Flags::BLOCKING.and(Flags::DENYOOM).and(Flags::FAST))
        .waiting_if(acquisition::asks_to_wait)
        .given_back_by(acquisition::give_back)
        .doc(
            "quorate",
            "ELECTION CAMPAIGN name <OWNER id TTL milliseconds | SESSION session> [WAIT milliseconds] [VALUE value] [PRIORITY priority] [REQUEST id]",
            "Leads for a time, or for as long as a session lasts, and answers the leader's fencing token; nil if somebody leads, after waiting among the candidates if asked.",
        ),
    Spec::write(Group::Election, "election|extend", -5, locks::extend).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::FAST).doc(
        "quorate",
        "ELECTION EXTEND name token milliseconds [REQUEST id]",
        "Has a leader lead so long from now on; an error if the token is not the current one.",
    ),
    Spec::write(Group::Election, "election|resign", -4, resign).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::FAST).doc(
        "quorate",
        "ELECTION RESIGN name token [OWNER id | SESSION session] [REQUEST id]",
        "Leads no longer, and the first candidate does; an error if the token is not the current one.",
    ),
    Spec::write(Group::Election, "election|transfer", -6, transfer)
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .with(Flags::NOSCRIPT)
        .doc(
            "quorate",
            "ELECTION TRANSFER name token <OWNER id | SESSION session> [REQUEST id]",
            "Hands over to a candidate who waits, before all others; an error if he does not, or the token is not the current one.",
        ),
    Spec::write(Group::Election, "election|proclaim", 5, proclaim)
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .with(Flags::DENYOOM.and(Flags::FAST))
        .doc(
            "quorate",
            "ELECTION PROCLAIM name token value",
            "Has a leader let others know another value; an error if the token is not the current one.",
        ),
    Spec::read(Group::Election, "election|leader", 3, leader).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::FAST).doc(
        "quorate",
        "ELECTION LEADER name",
        "Answers who leads, by which token, for how long, what he lets others know, and how many wait; nil if nobody leads.",
    ),
    Spec::read(Group::Election, "election|candidates", 3, candidates).keys(KeySpec::BEHIND_SUBCOMMAND).doc(
        "quorate",
        "ELECTION CANDIDATES name",
        "Answers of the candidates who wait, 128 at most, who they are and by which priority, in the order in which they are elected.",
    ),
    Spec::connection(Group::Election, "election|observe", -3).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::PUBSUB.and(Flags::NOSCRIPT)).doc(
        "quorate",
        "ELECTION OBSERVE name [FROM position]",
        "Listens to who leads, and what he lets others know, from now on or from a position in the log on, as SUBSCRIBE does to the channel __election@database__:name.",
    ),
    Spec::pure(Group::Election, "election|help", 2, |_, _| Ok(help("election"))).doc(
        "quorate",
        "ELECTION HELP",
        "Lists the subcommands.",
    ),
];

/// The candidates of an election, in the order in which they are elected.
fn queue(context: &Context<'_>, name: &[u8]) -> impl Iterator<Item = Queued> {
    acquisition::queue(context, name).filter(|queued| queued.purpose == Purpose::Leadership)
}

fn resign(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    locks::release(context, args).map(|_| Reply::ok())
}

fn transfer(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let candidate = match &args[4].to_ascii_uppercase()[..] {
        b"OWNER" => Holder::Owner(args[5].clone()),
        b"SESSION" => Holder::Session(client_sessions::parse_id(&args[5])?),
        _ => return Err(Reply::syntax_error()),
    };
    let which = Which::parse(context.db, args, 6)?;
    once(context, which.request.as_ref(), |context| {
        which.held(context)?;
        client_sessions::check(context, &candidate)?;
        let waiting = context.waiting_for_vacancy(which.name);
        let ticket = queue(context, which.name).find(|other| other.holder == candidate);
        context.spent.visited += work::of_changes(waiting);
        let Some(ticket) = ticket.map(|candidate| candidate.ticket) else {
            return Err(Reply::error("ERR no such candidate waits: ELECTION CANDIDATES shows who does"));
        };
        context.writable();
        if !bug::on(Bug::DeafTransfer) {
            context.state.keyspace.waiting.put_first(ticket);
        }
        context.delete(which.name);
        Ok(Reply::ok())
    })
}

fn proclaim(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let which = Which::parse(context.db, args, 5)?;
    let (lock, slot) = which.held(context)?;
    let lock = Lock { value: Some(Bytes::copy_from_slice(&args[4])), ..lock.clone() };
    let deadline = slot.deadline;
    context.check_value_bytes(lock.bytes())?;
    context.amend(which.name, Value::Lock(Box::new(lock)), deadline);
    Ok(Reply::ok())
}

fn leader(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let name = &args[2];
    let leader = held(context, Purpose::Leadership, name)?;
    Ok(leader.map_or(Reply::Null, |leader| describe(context, name, leader)))
}

fn describe(context: &Context<'_>, name: &[u8], (lock, slot): LockAt<'_>) -> Reply {
    let [owner, session] = lock.held.holder().map_or([Reply::Null, Reply::Null], show_holder);
    let left_ms = context.lasts_until(slot).map(|until| expiry::remaining_ms(context, until));
    let fields = [
        ("token", show_token(slot.token)),
        ("owner", owner),
        ("session", session),
        ("ttl-ms", Reply::Integer(left_ms.unwrap_or(-1))),
        ("value", lock.value.clone().map_or(Reply::Null, Reply::Bulk)),
        ("candidates", Reply::count(context.waiting_for_vacancy(name))),
    ];
    Reply::fields(fields)
}

fn candidates(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    held(context, Purpose::Leadership, &args[2])?;
    let all = queue(context, &args[2]).take(SHOWN_MAX);
    let shown = all.map(|candidate| {
        let [owner, session] = show_holder(&candidate.holder);
        let fields =
            [("owner", owner), ("session", session), ("priority", Reply::Integer(candidate.priority.into()))];
        Reply::fields(fields)
    });
    Ok(Reply::Array(shown.collect()))
}
