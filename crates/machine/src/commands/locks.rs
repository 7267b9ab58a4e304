//! Native locks: taken, extended and released by their token, and waited for in a queue. How one is taken has a file of its
//! own, [`super::acquisition`].
//!
//! * Whoever takes a lock that is free gets a token greater than all before. Who takes it again, if he asks for that, gets
//!   the same one; he releases it as often as he has taken it.
//! * Who would rather wait takes his place in the queue of the key: first come, first served. The entry that frees the lock
//!   gives it to the first of them, whose time to live begins there. No LOCK ACQUIRE passes them, not even in the transaction
//!   that has freed it; a write of another kind can put something else there, and then they go on waiting.
//! * Readers share a lock and its token: who joins them holds it as well, each for his own time, or as long as his session lasts.
//!   They are fair to writers: who wants to join when somebody waits takes his place behind him.
//! * A lock lasts a time of its own, which its holder extends, or as long as the session that holds it
//!   ([`crate::client_session`]).
//! * Who says `REQUEST id` may send the same again when an answer is lost: it takes effect once ([`crate::requests`]).
//! * A lock is a value of its own type, and the token that of its key, so that time, DEL, RENAME (but for a lock that is shared)
//!   and the snapshot treat it like any other. DEL, FLUSHALL and a write that puts something else there take it away from its holder.

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::fencing::{parse_token, show_token, stale};
use super::repeating::once;
use super::{acquisition, client_sessions, expiry, help, scan};
use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::database::{PAGES, Slot};
use crate::flags::Flags;
use crate::force_release::ForceRelease;
use crate::glob;
use crate::identifiers::Stamp;
use crate::integer;
use crate::reply::Reply;
use crate::requests::Request;
use crate::value::{Held, Holder, Lock, Purpose, Released, Value};
use crate::work;

pub(crate) const COMMANDS: &[Spec] = &[Spec::pure(Group::Lock, "lock", -2, |_, _| Ok(help("lock")))
    .container(LOCK)
    .doc("quorate", "LOCK", "A container for commands about native locks.")];

const LOCK: &[Spec] = &[
    Spec::write(Group::Lock, "lock|acquire", -5, acquisition::acquire)
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .with(Flags::BLOCKING.and(Flags::DENYOOM).and(Flags::FAST))
        .waiting_if(acquisition::asks_to_wait)
        .given_back_by(acquisition::give_back)
        .doc(
            "quorate",
            "LOCK ACQUIRE name <OWNER id TTL milliseconds | SESSION session> [SHARED] [WAIT milliseconds] [REENTRANT] [DELAY milliseconds] [VALUE value] [REQUEST id]",
            "Takes a lock for a time, or for as long as a session lasts, and answers its fencing token; nil if somebody has it, after waiting in its queue if asked.",
        ),
    Spec::write(Group::Lock, "lock|acquireall", -6, acquisition::acquire)
        .keys(KeySpec::Counted { count_at: 2 })
        .with(Flags::BLOCKING.and(Flags::DENYOOM).and(Flags::MOVABLEKEYS))
        .waiting_if(acquisition::asks_to_wait)
        .given_back_by(acquisition::give_back)
        .doc(
            "quorate",
            "LOCK ACQUIREALL numkeys name [name ...] <OWNER id TTL milliseconds | SESSION session> [WAIT milliseconds] [DELAY milliseconds] [VALUE value] [REQUEST id]",
            "Takes several locks at once, and answers their fencing tokens in order; nil, and none of them, if somebody has one, after waiting for all if asked.",
        ),
    Spec::write(Group::Lock, "lock|extend", -5, extend).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::FAST).doc(
        "quorate",
        "LOCK EXTEND name token milliseconds [OWNER id] [REQUEST id]",
        "Has a lock last so long from now on; an error if the token is not the current one.",
    ),
    Spec::write(Group::Lock, "lock|release", -4, release).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::FAST).doc(
        "quorate",
        "LOCK RELEASE name token [OWNER id | SESSION session] [REQUEST id]",
        "Releases a lock, and answers how often its holder has it still: 0 if it is free; an error if the token is not the current one.",
    ),
    Spec::write(Group::Lock, "lock|force-release", -3, force_release)
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .with(Flags::FAST.and(Flags::NOSCRIPT))
        .doc(
            "quorate",
            "LOCK FORCE-RELEASE name [BY who]",
            "Takes a lock away from its holder, and answers the token that he had; nil if nobody has it. LOCK INFO tells of it.",
        ),
    Spec::read(Group::Lock, "lock|info", 3, info).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::FAST).doc(
        "quorate",
        "LOCK INFO name",
        "Answers who holds a lock, or has lost it while its DELAY lasts, by which token, for how long, how often, and how many wait; nil if nobody does, and it was not taken away.",
    ),
    Spec::read(Group::Lock, "lock|list", -2, list).with(Flags::DANGEROUS).doc(
        "quorate",
        "LOCK LIST [MATCH pattern]",
        "Answers of each lock of the database that somebody holds its name, and what LOCK INFO answers.",
    ),
    Spec::connection(Group::Lock, "lock|watch", -3).keys(KeySpec::BEHIND_SUBCOMMAND).with(Flags::PUBSUB.and(Flags::NOSCRIPT)).doc(
        "quorate",
        "LOCK WATCH name [FROM position]",
        "Listens to who holds a lock, from now on or from a position in the log on, as SUBSCRIBE does to the channel __lock@database__:name.",
    ),
    Spec::pure(Group::Lock, "lock|help", 2, |_, _| Ok(help("lock"))).doc(
        "quorate",
        "LOCK HELP",
        "Lists the subcommands.",
    ),
];

/// The deadline of the key of a lock that is held for so long from now on.
pub(super) fn until(now: Stamp, ttl_ms: u64, delay_ms: u64) -> Stamp {
    Stamp(now.0.saturating_add(ttl_ms).saturating_add(delay_ms))
}

/// A lock and the slot that it is in.
pub(super) type LockAt<'a> = (&'a Lock, &'a Slot);

/// The lock for a purpose at a key; `None` if there is none, an error reply if the key holds something else.
fn lock_at<'a>(context: &'a Context<'_>, purpose: Purpose, name: &[u8]) -> Result<Option<LockAt<'a>>, Reply> {
    match context.get(name) {
        None => Ok(None),
        // Those who shared it were sessions, and have ended.
        Some(slot) if slot.is_vacant(context.living()) => Ok(None),
        Some(slot) => match &slot.value {
            Value::Lock(lock) if lock.purpose == purpose => Ok(Some((lock, slot))),
            _ => Err(Reply::wrong_type()),
        },
    }
}

/// The same; `None` as well if its holder has lost it, though nobody may have it yet.
pub(super) fn held<'a>(
    context: &'a Context<'_>,
    purpose: Purpose,
    name: &[u8],
) -> Result<Option<LockAt<'a>>, Reply> {
    let lock = lock_at(context, purpose, name)?;
    Ok(lock.filter(|(lock, slot)| !lock.is_delayed(slot.deadline, context.now)))
}

pub(super) fn parse_ttl(text: &[u8]) -> Result<u64, Reply> {
    let ttl_ms = integer::parse(text).and_then(|ttl_ms| u64::try_from(ttl_ms).ok());
    ttl_ms
        .filter(|ttl_ms| *ttl_ms > 0)
        .ok_or(Reply::error("ERR the time to live is a number of milliseconds"))
}

/// What it costs to change who shares a lock, in visits: each of them is looked at and copied, and once more when it is put back.
pub(super) fn of_readers(lock: &Lock) -> u64 {
    work::of_changes(2 * lock.parts_len())
}

/// Which hold of a lock is meant, and how its client calls what he asks.
pub(super) struct Which<'a> {
    pub(super) purpose: Purpose,
    pub(super) name: &'a Bytes,
    pub(super) token: &'a Bytes,
    /// Of a lock that is shared one must be named.
    pub(super) reader: Option<Holder>,
    pub(super) request: Option<Request>,
}

impl<'a> Which<'a> {
    /// `LOCK EXTEND|RELEASE name token ..`, and behind the arguments that must be there `[OWNER id | SESSION session]
    /// [REQUEST id]`; and of an election likewise.
    pub(super) fn parse(db: usize, args: &'a [Bytes], required: usize) -> Result<Self, Reply> {
        let (name, token) = (&args[2], &args[3]);
        let (asked, mut options) = args.split_at(required);
        let (mut reader, mut request) = (None, None);
        while let [word, argument, following @ ..] = options {
            options = following;
            let is_new = match &word.to_ascii_uppercase()[..] {
                b"OWNER" => reader.replace(Holder::Owner(argument.clone())).is_none(),
                b"SESSION" => {
                    let session = client_sessions::parse_id(argument)?;
                    reader.replace(Holder::Session(session)).is_none()
                }
                b"REQUEST" => request.replace(argument).is_none(),
                _ => false,
            };
            if !is_new {
                return Err(Reply::syntax_error());
            }
        }
        if !options.is_empty() {
            return Err(Reply::syntax_error());
        }
        let purpose = Purpose::of_command(&args[0]);
        let command = args[1].to_ascii_lowercase();
        let asked = asked[2..].iter().map(|argument| &argument[..]);
        let whose = reader.as_ref().map(Holder::to_bytes).unwrap_or_default();
        let words: Vec<&[u8]> = [&command[..], &whose].into_iter().chain(asked).collect();
        let request = request.map(|id| Request::new(id, db, &words)).transpose()?;
        Ok(Self { purpose, name, token, reader, request })
    }

    /// The lock at the key, if it has that token and is that owner's.
    pub(super) fn held<'c>(&self, context: &'c Context<'_>) -> Result<LockAt<'c>, Reply> {
        let token = parse_token(self.token)?;
        let current = held(context, self.purpose, self.name)?;
        let Some((lock, slot)) =
            current.filter(|(_, slot)| slot.token == token || bug::on(Bug::AnyTokenTaken))
        else {
            return Err(stale(token, current.map(|(_, slot)| slot.token)));
        };
        match (&lock.held, &self.reader) {
            (Held::Alone { .. }, None) => Ok((lock, slot)),
            (Held::Shared(_), None) => Err(Reply::error(
                "ERR the lock is shared: say whose part of it is meant, by OWNER, or by SESSION to release it",
            )),
            (_, Some(reader)) if lock.is_held_by(reader, context.living()) => Ok((lock, slot)),
            (_, Some(Holder::Owner(_))) => {
                Err(Reply::error("STALE the lock is not held by that owner, or no longer"))
            }
            (_, Some(Holder::Session(_))) => {
                Err(Reply::error("STALE the lock is not held by that session, or no longer"))
            }
        }
    }
}

pub(super) fn extend(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let ttl_ms = parse_ttl(&args[4])?;
    let which = Which::parse(context.db, args, 5)?;
    once(context, which.request.as_ref(), |context| {
        let (lock, slot) = which.held(context)?;
        let is_of_session =
            slot.client_session().is_some() || matches!(which.reader, Some(Holder::Session(_)));
        if is_of_session {
            return Err(Reply::error("ERR the lock lasts as long as its session: SESSION KEEPALIVE"));
        }
        let until = until(context.now, ttl_ms, lock.delay_ms);
        let (living, looked) = (context.living(), of_readers(lock));
        let left = which.reader.as_ref().and_then(|reader| lock.with_part_until(reader, until, living));
        context.spent.visited += looked;
        match left {
            Some((lock, until)) => context.amend(which.name, Value::Lock(Box::new(lock)), until),
            None => drop(context.set_deadline(which.name, Some(until))),
        }
        Ok(Reply::ok())
    })
}

pub(super) fn release(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let which = Which::parse(context.db, args, 4)?;
    once(context, which.request.as_ref(), |context| {
        which.held(context)?;
        Ok(release_held(context, which.purpose, which.name, which.reader.as_ref()))
    })
}

/// Releases once a lock that is held, by this reader if it is shared. How often he has it still.
pub(super) fn release_held(
    context: &mut Context<'_>,
    purpose: Purpose,
    name: &Bytes,
    reader: Option<&Holder>,
) -> Reply {
    let Ok(Some((lock, slot))) = held(context, purpose, name) else { return Reply::Integer(0) };
    let Released { depth, left } = lock.released(slot.deadline, reader, context.living());
    context.spent.visited += of_readers(lock);
    match left {
        Some((lock, deadline)) => context.amend(name, Value::Lock(Box::new(lock)), deadline),
        None => drop(context.delete(name)),
    }
    Reply::Integer(i64::try_from(depth).unwrap_or(i64::MAX))
}

fn force_release(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let name = &args[2];
    let by = match &args[3..] {
        [] => None,
        [word, by] if word.eq_ignore_ascii_case(b"BY") => Some(Bytes::copy_from_slice(by)),
        _ => return Err(Reply::syntax_error()),
    };
    if by.as_ref().is_some_and(|by| by.len() > BY_BYTES_MAX) {
        return Err(Reply::error("ERR who releases a lock has a name of 128 bytes at most"));
    }
    let Some((_, slot)) = lock_at(context, Purpose::Exclusion, name)? else { return Ok(Reply::Null) };
    let release = ForceRelease { token: slot.token, by, at_ms: context.calendar_ms() };
    let token = slot.token;
    if !bug::on(Bug::UnrecordedForce) {
        context.state.force_releases.add(context.db, name, release);
    }
    if !bug::on(Bug::FeignedForce) {
        context.delete(name);
    }
    Ok(show_token(token))
}

/// The longest name of who releases by force.
const BY_BYTES_MAX: usize = 128;

fn info(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let name = &args[2];
    let lock = lock_at(context, Purpose::Exclusion, name)?;
    if lock.is_none() && context.state.force_releases.get(context.db, name).is_none() {
        return Ok(Reply::Null);
    }
    Ok(Reply::Map(describe(context, name, lock)))
}

fn list(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let pattern = match &args[2..] {
        [] => None,
        [word, pattern] if word.eq_ignore_ascii_case(b"MATCH") => Some(pattern),
        _ => return Err(Reply::syntax_error()),
    };
    pattern.map_or(Ok(()), |pattern| scan::check_pattern(pattern))?;
    let database = context.state.keyspace.database(context.db);
    let slots = database.pages().iter().flat_map(|page| &page.slots);
    let is_live = |slot: &Slot| database.has(slot, context.now) && !slot.is_vacant(context.living());
    let live = slots.filter(|(_, slot)| is_live(slot));
    let matching = live.filter(|(name, _)| pattern.is_none_or(|pattern| glob::matches(pattern, name)));
    let locks = matching.filter_map(|(name, slot)| match &slot.value {
        Value::Lock(lock) if lock.purpose == Purpose::Exclusion => Some((name, (&**lock, slot))),
        _ => None,
    });
    let name = |name: &Bytes| (Reply::bulk("name"), Reply::Bulk(name.clone()));
    let entry = |(key, lock)| [vec![name(key)], describe(context, key, Some(lock))].concat();
    let list = locks.map(|lock| Reply::Map(entry(lock))).collect();
    context.spent.visited += database.keys() as u64 + work::of_pages(PAGES);
    Ok(Reply::Array(list))
}

/// The name of who holds something, and his session: he has one of them.
pub(super) fn show_holder(holder: &Holder) -> [Reply; 2] {
    match holder {
        Holder::Owner(owner) => [Reply::Bulk(owner.clone()), Reply::Null],
        Holder::Session(id) => [Reply::Null, client_sessions::show_id(*id)],
    }
}

/// What is known of a lock, whoever holds it or if nobody does.
fn describe(context: &Context<'_>, name: &[u8], lock: Option<(&Lock, &Slot)>) -> Vec<(Reply, Reply)> {
    let forced = context.state.force_releases.get(context.db, name);
    let waiting = context.waiting_for_vacancy(name);
    let fields: Vec<Reply> = match lock {
        None => [Reply::bulk("free")].into_iter().chain([const { Reply::Null }; 9]).collect(),
        Some((lock, slot)) => {
            let [owner, session] = lock.held.holder().map_or([Reply::Null, Reply::Null], show_holder);
            let (mut readers, mut sessions) = (Vec::new(), Vec::new());
            for reader in lock.readers(context.living()) {
                match reader {
                    Holder::Owner(owner) => readers.push(Reply::Bulk(owner.clone())),
                    Holder::Session(id) => sessions.push(client_sessions::show_id(*id)),
                }
            }
            let left_ms = context.lasts_until(slot).map(|until| expiry::remaining_ms(context, until));
            let delay_ms = i64::try_from(lock.delay_ms).unwrap_or(i64::MAX);
            let is_delayed = lock.is_delayed(slot.deadline, context.now);
            let left_ms = left_ms.map(|left_ms| left_ms.saturating_sub(delay_ms).max(i64::from(!is_delayed)));
            vec![
                Reply::bulk(if is_delayed { "delayed" } else { "held" }),
                show_token(slot.token),
                owner,
                session,
                Reply::Array(readers),
                Reply::Array(sessions),
                Reply::Integer(left_ms.map_or(-1, |left_ms| if is_delayed { 0 } else { left_ms })),
                Reply::Integer(delay_ms),
                Reply::Integer(i64::try_from(lock.depth(context.living())).unwrap_or(i64::MAX)),
                lock.value.clone().map_or(Reply::Null, Reply::Bulk),
            ]
        }
    };
    let names = [
        "state",
        "token",
        "owner",
        "session",
        "readers",
        "reader-sessions",
        "ttl-ms",
        "delay-ms",
        "depth",
        "value",
    ];
    let mut fields: Vec<_> = names.map(Reply::bulk).into_iter().zip(fields).collect();
    fields.push((Reply::bulk("waiting"), Reply::count(waiting)));
    fields.push((Reply::bulk("force-released"), forced.map_or(Reply::Null, describe_force_release)));
    fields
}

fn describe_force_release(release: &ForceRelease) -> Reply {
    Reply::Map(vec![
        (Reply::bulk("token"), show_token(release.token)),
        (Reply::bulk("by"), release.by.clone().map_or(Reply::Null, Reply::Bulk)),
        (Reply::bulk("at-ms"), Reply::Integer(release.at_ms)),
    ])
}
