//! Semaphores: so many at a time, each for a time of his own or as long as his session lasts.
//!
//! * Whoever gets permits gets a token with them, greater than all before, which names what he has. Others have some at the same
//!   time, so that no resource can refuse a late one by the greatest token that it has seen: FENCED asks.
//! * How many permits there are says each who asks for some, and all must say the same while somebody has any.
//! * Who would rather wait does so in the order of arrival, and nobody passes, also not who wants fewer. The entry that frees
//!   enough gives them to the first.

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::acquisition::{self, Queued, SHOWN_MAX};
use super::fencing::{parse_token, show_token, stale};
use super::locks::{Which, parse_ttl, show_holder, until};
use super::repeating::once;
use super::{expiry, help};
use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::identifiers::{FencingToken, Stamp};
use crate::integer;
use crate::reply::Reply;
use crate::value::{Grant, Holder, Semaphore, Value};
use crate::work;

pub(crate) const COMMANDS: &[Spec] =
    &[Spec::pure(Group::Semaphore, "semaphore", -2, |_, _| Ok(help("semaphore"))).container(SEMAPHORE).doc(
        "quorate",
        "SEMAPHORE",
        "A container for commands about semaphores.",
    )];

const SEMAPHORE: &[Spec] = &[
    Spec::write(Group::Semaphore, "semaphore|acquire", -6, acquisition::acquire)
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .with(Flags::BLOCKING.and(Flags::DENYOOM).and(Flags::FAST))
        .waiting_if(acquisition::asks_to_wait)
        .given_back_by(acquisition::give_back)
        .doc(
            "quorate",
            "SEMAPHORE ACQUIRE name permits <OWNER id TTL milliseconds | SESSION session> [COUNT count] [WAIT milliseconds] [REQUEST id]",
            "Takes one or more of so many permits for a time, or for as long as a session lasts, and answers the token that names them; nil if there are not enough, after waiting in the queue if asked.",
        ),
    Spec::write(Group::Semaphore, "semaphore|extend", -5, extend).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::FAST).doc(
        "quorate",
        "SEMAPHORE EXTEND name token milliseconds [OWNER id] [REQUEST id]",
        "Has permits last so long from now on; an error if that token has none.",
    ),
    Spec::write(Group::Semaphore, "semaphore|release", -4, release).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::FAST).doc(
        "quorate",
        "SEMAPHORE RELEASE name token [OWNER id | SESSION session] [REQUEST id]",
        "Returns the permits of a token, all at once; an error if it has none.",
    ),
    Spec::read(Group::Semaphore, "semaphore|info", 3, info).keys(KeySpec::BEHIND_SUBCOMMAND).doc(
        "quorate",
        "SEMAPHORE INFO name",
        "Answers how many permits there are, how many are free, who has the others, by which tokens, for how long, how many wait, and who, 128 at most, in their order; nil if nobody has any.",
    ),
    Spec::pure(Group::Semaphore, "semaphore|help", 2, |_, _| Ok(help("semaphore"))).doc(
        "quorate",
        "SEMAPHORE HELP",
        "Lists the subcommands.",
    ),
];

/// The permits that somebody wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permits {
    /// Of how many that there are.
    pub(super) limit: u64,
    pub(super) count: u64,
}

/// The greatest number of permits: sums of them do not overflow.
const PERMITS_MAX: u64 = 1_000_000_000;

pub(super) fn parse_permits(text: &[u8]) -> Result<u64, Reply> {
    let permits = integer::parse(text).and_then(|permits| u64::try_from(permits).ok());
    permits
        .filter(|permits| (1..=PERMITS_MAX).contains(permits))
        .ok_or(Reply::error("ERR a number of permits is 1 to 1000000000"))
}

/// The semaphore at a key, without those who are gone; `None` if nobody has a permit, an error reply if the key holds something
/// else.
fn semaphore_at(context: &mut Context<'_>, name: &[u8]) -> Result<Option<Semaphore>, Reply> {
    let living = context.living();
    let slot = context.get(name).filter(|slot| !slot.is_vacant(living));
    let semaphore = match slot.map(|slot| &slot.value) {
        None => None,
        Some(Value::Semaphore(semaphore)) => Some(semaphore.without_the_gone(living)),
        Some(_) => return Err(Reply::wrong_type()),
    };
    // Each of its holders is looked at and copied; so are they once more when it is put back.
    let holders = semaphore.as_ref().map_or(0, |semaphore| semaphore.grants(context.living()).count());
    context.spent.visited += work::of_changes(2 * holders);
    Ok(semaphore)
}

/// Takes permits, if there are enough and nobody is before.
pub(super) fn take(
    context: &mut Context<'_>,
    name: &Bytes,
    wanted: Permits,
    (holder, until): (&Holder, Option<Stamp>),
    is_first: bool,
) -> Result<Option<FencingToken>, Reply> {
    let present = semaphore_at(context, name)?;
    if let Some(present) = present.as_ref().filter(|present| present.limit != wanted.limit) {
        return Err(Reply::error_text(format!(
            "ERR the semaphore has {} permits, not {}: whoever asks for some says the same",
            present.limit, wanted.limit
        )));
    }
    let mut semaphore = present.unwrap_or(Semaphore::new(wanted.limit));
    let extra = u64::from(bug::on(Bug::ExtraPermit));
    if !is_first || semaphore.free(context.living()) + extra < wanted.count {
        return Ok(None);
    }
    let token = context.next_token();
    semaphore.put(token, Grant { holder: holder.clone(), permits: wanted.count, until });
    context.check_value_bytes(semaphore.bytes())?;
    let deadline = semaphore.deadline();
    context.grant(name, Value::Semaphore(Box::new(semaphore)), deadline, token);
    Ok(Some(token))
}

/// The semaphore in which a token has permits, and these.
fn granted(context: &mut Context<'_>, which: &Which<'_>) -> Result<(Semaphore, FencingToken, Grant), Reply> {
    let token = parse_token(which.token)?;
    let semaphore = semaphore_at(context, which.name)?;
    let is_theirs = |grant: &&Grant| which.reader.as_ref().is_none_or(|holder| grant.holder == *holder);
    let grant = semaphore.as_ref().and_then(|semaphore| semaphore.grant(token, context.living()));
    let grant = grant.filter(is_theirs).cloned();
    match (semaphore, grant) {
        (Some(semaphore), Some(grant)) => Ok((semaphore, token, grant)),
        (_, _) => Err(stale(token, None)),
    }
}

/// Puts what is left of a semaphore in its place.
fn leave(context: &mut Context<'_>, name: &Bytes, semaphore: Semaphore) {
    match semaphore.is_vacant(context.living()) {
        true => drop(context.delete(name)),
        false => {
            let deadline = semaphore.deadline();
            context.amend(name, Value::Semaphore(Box::new(semaphore)), deadline);
        }
    }
}

fn extend(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let ttl_ms = parse_ttl(&args[4])?;
    let which = Which::parse(context.db, args, 5)?;
    once(context, which.request.as_ref(), |context| {
        let (mut semaphore, token, grant) = granted(context, &which)?;
        if grant.until.is_none() {
            return Err(Reply::error("ERR the permits last as long as their session: SESSION KEEPALIVE"));
        }
        semaphore.put(token, Grant { until: Some(until(context.now, ttl_ms, 0)), ..grant });
        leave(context, which.name, semaphore);
        Ok(Reply::ok())
    })
}

fn release(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let which = Which::parse(context.db, args, 4)?;
    once(context, which.request.as_ref(), |context| {
        let (mut semaphore, token, _) = granted(context, &which)?;
        semaphore.remove(token);
        leave(context, which.name, semaphore);
        Ok(Reply::ok())
    })
}

/// Gives back what a holder was given under this token, who is gone.
pub(super) fn give_back(context: &mut Context<'_>, name: &Bytes, holder: &Holder, token: FencingToken) {
    let Ok(Some(mut semaphore)) = semaphore_at(context, name) else { return };
    if semaphore.grant(token, context.living()).is_some_and(|grant| grant.holder == *holder) {
        semaphore.remove(token);
        leave(context, name, semaphore);
    }
}

fn info(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let name = &args[2];
    let Some(semaphore) = semaphore_at(context, name)? else { return Ok(Reply::Null) };
    let living = context.living();
    let holders = semaphore.grants(living).map(|(token, grant)| describe(context, token, grant)).collect();
    let queue =
        acquisition::queue(context, name).filter_map(|queued| describe_queued(&queued)).take(SHOWN_MAX);
    let number = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let fields = [
        ("permits", number(semaphore.limit)),
        ("free", number(semaphore.free(living))),
        ("holders", Reply::Array(holders)),
        ("waiting", Reply::count(context.waiting_for_vacancy(name))),
        ("queue", Reply::Array(queue.collect())),
    ];
    Ok(Reply::fields(fields))
}

/// Who waits for permits, and for how many.
fn describe_queued(queued: &Queued) -> Option<Reply> {
    let [owner, session] = show_holder(&queued.holder);
    let count = i64::try_from(queued.permits?.count).unwrap_or(i64::MAX);
    let fields = [("owner", owner), ("session", session), ("count", Reply::Integer(count))];
    Some(Reply::fields(fields))
}

fn describe(context: &Context<'_>, token: FencingToken, grant: &Grant) -> Reply {
    let [owner, session] = show_holder(&grant.holder);
    let lasts_until = grant.until.or_else(|| {
        let session = grant.holder.session()?;
        context.state.keyspace.client_sessions.get(session).map(|session| session.deadline)
    });
    let left_ms = lasts_until.map_or(-1, |until| expiry::remaining_ms(context, until));
    let fields = [
        ("token", show_token(token)),
        ("owner", owner),
        ("session", session),
        ("count", Reply::Integer(i64::try_from(grant.permits).unwrap_or(i64::MAX))),
        ("ttl-ms", Reply::Integer(left_ms)),
    ];
    Reply::fields(fields)
}
