//! Native locks: taken, extended and released by their token, and waited for in a queue.
//!
//! * Whoever takes a lock that is free gets a token greater than all before. Who takes it again, if he asks for that, gets
//!   the same one; he releases it as often as he has taken it.
//! * Who would rather wait takes his place in the queue of the key: first come, first served. The entry that frees the lock
//!   gives it to the first of them, whose time to live begins there. No LOCK ACQUIRE passes them, not even in the transaction
//!   that has freed it; a write of another kind can put something else there, and then they go on waiting.
//! * A lock lasts a time of its own, which its holder extends, or as long as the session that holds it
//!   ([`crate::client_session`]).
//! * Who says `REQUEST id` may send the same again when an answer is lost: it takes effect once ([`crate::requests`]).
//! * A lock is a value of its own type, and the token that of its key, so that time, DEL, RENAME and the snapshot treat it
//!   like any other. DEL, FLUSHALL and a write that puts something else there take it away from its holder.

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::client_sessions;
use super::expiry;
use super::fencing::{parse_token, show_token, stale};
use super::{help, scan};
use crate::command::{Group, KeySpec, Spec};
use crate::context::{Caller, Context, Patience};
use crate::database::{PAGES, Slot};
use crate::flags::Flags;
use crate::force_release::ForceRelease;
use crate::glob;
use crate::identifiers::{FencingToken, Stamp};
use crate::integer;
use crate::reply::Reply;
use crate::requests::Request;
use crate::state::State;
use crate::value::{Holder, Lock, Value};
use crate::waiting::{Kind, Wait};
use crate::work;

const NAME: KeySpec = KeySpec::Range { first: 2, last: 2, step: 1 };

pub(crate) const COMMANDS: &[Spec] = &[Spec::pure(Group::Lock, "lock", -2, |_, _| Ok(help("lock")))
    .container(LOCK)
    .doc("quorate", "LOCK", "A container for commands about native locks.")];

const LOCK: &[Spec] = &[
    Spec::write(Group::Lock, "lock|acquire", -5, acquire)
        .keys(NAME)
        .with(Flags::BLOCKING.and(Flags::DENYOOM).and(Flags::FAST))
        .waiting_if(asks_to_wait)
        .given_back_by(give_back)
        .doc(
            "quorate",
            "LOCK ACQUIRE name <OWNER id TTL milliseconds | SESSION session> [WAIT milliseconds] [REENTRANT] [DELAY milliseconds] [VALUE value] [REQUEST id]",
            "Takes a lock for a time, or for as long as a session lasts, and answers its fencing token; nil if somebody has it, after waiting in its queue if asked.",
        ),
    Spec::write(Group::Lock, "lock|extend", -5, extend).keys(NAME).with(Flags::FAST).doc(
        "quorate",
        "LOCK EXTEND name token milliseconds [REQUEST id]",
        "Has a lock last so long from now on; an error if the token is not the current one.",
    ),
    Spec::write(Group::Lock, "lock|release", -4, release).keys(NAME).with(Flags::FAST).doc(
        "quorate",
        "LOCK RELEASE name token [REQUEST id]",
        "Releases a lock, and answers how often its holder has it still: 0 if it is free; an error if the token is not the current one.",
    ),
    Spec::write(Group::Lock, "lock|force-release", -3, force_release)
        .keys(NAME)
        .with(Flags::FAST.and(Flags::NOSCRIPT))
        .doc(
            "quorate",
            "LOCK FORCE-RELEASE name [BY who]",
            "Takes a lock away from its holder, and answers the token that he had; nil if nobody has it. LOCK INFO tells of it.",
        ),
    Spec::read(Group::Lock, "lock|info", 3, info).keys(NAME).with(Flags::FAST).doc(
        "quorate",
        "LOCK INFO name",
        "Answers who holds a lock, by which token, for how long, how often, and how many wait; nil if nobody does, and it was not taken away.",
    ),
    Spec::read(Group::Lock, "lock|list", -2, list).with(Flags::DANGEROUS).doc(
        "quorate",
        "LOCK LIST [MATCH pattern]",
        "Answers of each lock of the database that somebody holds its name, and what LOCK INFO answers.",
    ),
    Spec::pure(Group::Lock, "lock|help", 2, |_, _| Ok(help("lock"))).doc(
        "quorate",
        "LOCK HELP",
        "Lists the subcommands.",
    ),
];

/// What LOCK ACQUIRE asks for.
struct Wish<'a> {
    name: &'a Bytes,
    holder: Holder,
    /// `None`: as long as the session that holds it.
    ttl_ms: Option<u64>,
    /// 0: not at all.
    wait_ms: u64,
    is_reentrant: bool,
    /// For how long nobody else is to get it if its time is up.
    delay_ms: u64,
    value: Option<&'a Bytes>,
    /// How its client calls it.
    request: Option<&'a Bytes>,
}

impl<'a> Wish<'a> {
    /// `LOCK ACQUIRE name ..`
    fn parse(args: &'a [Bytes]) -> Result<Self, Reply> {
        let [_, _, name, rest @ ..] = args else { return Err(Reply::syntax_error()) };
        let mut rest = rest;
        let (mut owner, mut ttl_ms, mut session, mut wait_ms) = (None, None, None, None);
        let (mut delay_ms, mut value, mut request, mut is_reentrant) = (None, None, None, false);
        while let [word, following @ ..] = rest {
            rest = following;
            if word.eq_ignore_ascii_case(b"REENTRANT") && !is_reentrant {
                is_reentrant = true;
                continue;
            }
            let [argument, following @ ..] = rest else { return Err(Reply::syntax_error()) };
            rest = following;
            let is_new = match &word.to_ascii_uppercase()[..] {
                b"OWNER" => owner.replace(argument).is_none(),
                b"TTL" => ttl_ms.replace(parse_ttl(argument)?).is_none(),
                b"SESSION" => session.replace(client_sessions::parse_id(argument)?).is_none(),
                b"WAIT" => wait_ms.replace(parse_wait(argument)?).is_none(),
                b"DELAY" => delay_ms.replace(parse_delay(argument)?).is_none(),
                b"VALUE" => value.replace(argument).is_none(),
                b"REQUEST" => request.replace(argument).is_none(),
                _ => false,
            };
            if !is_new {
                return Err(Reply::syntax_error());
            }
        }
        let holder = match (owner, ttl_ms, session) {
            (Some(owner), Some(_), None) if owner.is_empty() => {
                return Err(Reply::error("ERR the owner of a lock needs a name"));
            }
            (Some(owner), Some(_), None) => Holder::Owner(Bytes::copy_from_slice(owner)),
            (None, None, Some(_)) if delay_ms.is_some() => {
                return Err(Reply::error("ERR a lock of a session has no DELAY: it has no time of its own"));
            }
            (None, None, Some(session)) => Holder::Session(session),
            _ => return Err(Reply::syntax_error()),
        };
        let (wait_ms, delay_ms) = (wait_ms.unwrap_or(0), delay_ms.unwrap_or(0));
        Ok(Self { name, holder, ttl_ms, wait_ms, is_reentrant, delay_ms, value, request })
    }

    /// What it asks, if it has a name.
    fn request(&self, db: usize) -> Result<Option<Request>, Reply> {
        self.request
            .map(|id| Request::new(id, db, &[b"acquire", self.name, &self.holder.to_bytes()]))
            .transpose()
    }

    /// Takes the lock, or the last place in its queue, or that of the request that waits already.
    fn run(&self, context: &mut Context<'_>, request: Option<&Request>) -> Result<Reply, Reply> {
        let waits =
            request.is_some_and(|request| context.state.keyspace.waiting.request(&request.id).is_some());
        if waits && (self.wait_ms == 0 || context.patience == Patience::None) {
            return Err(Reply::error("ERR the request waits, and can only be asked again by who waits, too"));
        }
        // Within a transaction a lock may be free whose queue was not served yet.
        let is_promised = !context.exists(self.name) && context.waiting_for_vacancy(self.name) > 0;
        if !waits
            && !is_promised
            && let Some(token) = self.take(context)?
        {
            return Ok(show_token(token));
        }
        if self.wait_ms > 0 {
            let deadline = Some(Stamp(context.now.0.saturating_add(self.wait_ms)));
            let (keys, request) = (vec![self.name.clone()], request.cloned());
            let reentrant = self.is_reentrant.then(|| self.holder.clone());
            context.wait(Wait { kind: Kind::Vacancy, keys, deadline, reentrant, request });
        }
        Ok(Reply::Null)
    }

    /// Takes the lock, if it is free or may be entered again.
    fn take(&self, context: &mut Context<'_>) -> Result<Option<FencingToken>, Reply> {
        if let Holder::Session(id) = self.holder
            && context.state.keyspace.client_sessions.get(id).is_none()
        {
            return Err(client_sessions::not_open(id));
        }
        let until = |delay_ms| self.ttl_ms.map(|ttl_ms| until(context.now, ttl_ms, delay_ms));
        let is_his = |lock: &Lock| lock.holder == self.holder || bug::on(Bug::GreedyAcquire);
        match held(context, self.name)? {
            // Its holder has lost it, and nobody may have it yet.
            None if context.exists(self.name) => return Ok(None),
            None => {
                let deadline = until(self.delay_ms);
                let value = self.value.map(|value| Bytes::copy_from_slice(value));
                let lock = Lock { holder: self.holder.clone(), depth: 1, delay_ms: self.delay_ms, value };
                context.check_value_bytes(lock.bytes())?;
                context.create(context.db, self.name, Value::Lock(Box::new(lock)), deadline);
            }
            Some((lock, slot)) if self.is_reentrant && is_his(lock) => {
                let lock = Lock { depth: lock.depth.saturating_add(1), ..lock.clone() };
                let asked = until(lock.delay_ms);
                let deadline = slot.deadline.and_then(|present| asked.map(|asked| asked.max(present)));
                context.amend(self.name, Value::Lock(Box::new(lock)), deadline);
            }
            Some(_) => return Ok(None),
        }
        Ok(context.get(self.name).map(|slot| slot.token))
    }
}

/// Whether a LOCK ACQUIRE with these arguments may wait.
fn asks_to_wait(args: &[Bytes]) -> bool {
    Wish::parse(args).is_ok_and(|wish| wish.wait_ms > 0)
}

/// The deadline of the key of a lock that is held for so long from now on.
fn until(now: Stamp, ttl_ms: u64, delay_ms: u64) -> Stamp {
    Stamp(now.0.saturating_add(ttl_ms).saturating_add(delay_ms))
}

/// The lock at a key, with its slot; `None` if there is none, an error reply if the key holds something else.
fn lock_at<'a>(context: &'a Context<'_>, name: &[u8]) -> Result<Option<(&'a Lock, &'a Slot)>, Reply> {
    let Some(slot) = context.get(name) else { return Ok(None) };
    let Value::Lock(lock) = &slot.value else { return Err(Reply::wrong_type()) };
    Ok(Some((lock, slot)))
}

/// The same; `None` as well if its holder has lost it, though nobody may have it yet.
fn held<'a>(context: &'a Context<'_>, name: &[u8]) -> Result<Option<(&'a Lock, &'a Slot)>, Reply> {
    Ok(lock_at(context, name)?.filter(|(lock, slot)| !lock.is_delayed(slot.deadline, context.now)))
}

/// The lock at a key, if it has the token that `text` is.
fn held_by<'a>(context: &'a Context<'_>, name: &[u8], text: &[u8]) -> Result<(&'a Lock, &'a Slot), Reply> {
    let token = parse_token(text)?;
    match held(context, name)? {
        Some((lock, slot)) if slot.token == token || bug::on(Bug::AnyTokenTaken) => Ok((lock, slot)),
        Some((_, slot)) => Err(stale(token, Some(slot.token))),
        None => Err(stale(token, None)),
    }
}

fn parse_ttl(text: &[u8]) -> Result<u64, Reply> {
    let ttl_ms = integer::parse(text).and_then(|ttl_ms| u64::try_from(ttl_ms).ok());
    ttl_ms
        .filter(|ttl_ms| *ttl_ms > 0)
        .ok_or(Reply::error("ERR a lock's time to live is a number of milliseconds"))
}

fn parse_wait(text: &[u8]) -> Result<u64, Reply> {
    let wait_ms = integer::parse(text).and_then(|wait_ms| u64::try_from(wait_ms).ok());
    wait_ms.ok_or(Reply::error("ERR the time to wait is a number of milliseconds, or 0"))
}

fn parse_delay(text: &[u8]) -> Result<u64, Reply> {
    let delay_ms = integer::parse(text).and_then(|delay_ms| u64::try_from(delay_ms).ok());
    delay_ms.ok_or(Reply::error("ERR the delay of a lock is a number of milliseconds, or 0"))
}

fn acquire(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let wish = Wish::parse(args)?;
    let request = wish.request(context.db)?;
    once(context, request.as_ref(), |context| wish.run(context, request.as_ref()))
}

/// Runs what has a name once, and answers who asks it again the same.
fn once(
    context: &mut Context<'_>,
    request: Option<&Request>,
    run: impl FnOnce(&mut Context<'_>) -> Result<Reply, Reply>,
) -> Result<Reply, Reply> {
    let Some(request) = request else { return run(context) };
    // A script may be undone, and what is remembered is not.
    if context.caller == Caller::Script {
        return Err(Reply::error("ERR scripts cannot name a REQUEST"));
    }
    if let Some(reply) = context.state.requests.reply_to(request, context.asker)? {
        return Ok(reply.clone());
    }
    if let Some(waiting) = context.state.keyspace.waiting.request(&request.id) {
        waiting.check(request)?;
    }
    let reply = run(context)?;
    if !matches!(context.patience, Patience::Needed(_)) {
        let State { requests, settings, .. } = &mut *context.state;
        requests.remember(request.clone(), context.asker, &reply, context.now, settings);
    }
    Ok(reply)
}

/// `[REQUEST id]`, of a command that names a lock and its token.
fn parse_request(context: &Context<'_>, args: &[Bytes], option: &[Bytes]) -> Result<Option<Request>, Reply> {
    match option {
        [] => Ok(None),
        [word, id] if word.eq_ignore_ascii_case(b"REQUEST") => {
            let command = args[1].to_ascii_lowercase();
            Request::new(id, context.db, &[&command, &args[2], &args[3]]).map(Some)
        }
        _ => Err(Reply::syntax_error()),
    }
}

/// Has a command that waited take the lock, which is free or its holder's.
pub(crate) fn serve(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let token = Wish::parse(args)?.take(context)?;
    Ok(token.map_or(Reply::Null, show_token))
}

/// Gives back what a LOCK ACQUIRE has taken whose client is gone, unless he has asked again since.
fn give_back(context: &mut Context<'_>, args: &[Bytes], token: FencingToken) {
    let Ok(wish) = Wish::parse(args) else { return };
    let is_his = match wish.request(context.db) {
        Ok(Some(request)) => context.state.requests.forget(&request, context.asker),
        Ok(None) | Err(_) => true,
    };
    if is_his && held(context, wish.name).is_ok_and(|held| held.is_some_and(|(_, slot)| slot.token == token))
    {
        release_held(context, wish.name);
    }
}

fn extend(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let ttl_ms = parse_ttl(&args[4])?;
    let request = parse_request(context, args, &args[5..])?;
    once(context, request.as_ref(), |context| {
        let (lock, slot) = held_by(context, &args[2], &args[3])?;
        if slot.client_session().is_some() {
            return Err(Reply::error("ERR the lock lasts as long as its session: SESSION KEEPALIVE"));
        }
        let until = until(context.now, ttl_ms, lock.delay_ms);
        context.set_deadline(&args[2], Some(until));
        Ok(Reply::ok())
    })
}

fn release(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let request = parse_request(context, args, &args[4..])?;
    once(context, request.as_ref(), |context| {
        held_by(context, &args[2], &args[3])?;
        Ok(release_held(context, &args[2]))
    })
}

/// Releases once a lock that is held. How often its holder has it still.
fn release_held(context: &mut Context<'_>, name: &Bytes) -> Reply {
    let Ok(Some((lock, slot))) = held(context, name) else { return Reply::Integer(0) };
    let (depth, deadline) = (lock.depth - 1, slot.deadline);
    if depth > 0 {
        let lock = Lock { depth, ..lock.clone() };
        context.amend(name, Value::Lock(Box::new(lock)), deadline);
    } else {
        context.delete(name);
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
    let Some((_, slot)) = lock_at(context, name)? else { return Ok(Reply::Null) };
    let release = ForceRelease { token: slot.token, by, at_ms: context.calendar_ms() };
    let token = slot.token;
    context.state.force_releases.add(context.db, name, release);
    context.delete(name);
    Ok(show_token(token))
}

/// The longest name of who releases by force.
const BY_BYTES_MAX: usize = 128;

fn info(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let name = &args[2];
    let lock = lock_at(context, name)?;
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
    let live = slots.filter(|(_, slot)| database.has(slot, context.now));
    let matching = live.filter(|(name, _)| pattern.is_none_or(|pattern| glob::matches(pattern, name)));
    let locks = matching.filter_map(|(name, slot)| match &slot.value {
        Value::Lock(lock) => Some((name, (&**lock, slot))),
        _ => None,
    });
    let name = |name: &Bytes| (Reply::bulk("name"), Reply::Bulk(name.clone()));
    let entry = |(key, lock)| [vec![name(key)], describe(context, key, Some(lock))].concat();
    let list = locks.map(|lock| Reply::Map(entry(lock))).collect();
    context.spent.visited += database.keys() as u64 + work::of_pages(PAGES);
    Ok(Reply::Array(list))
}

/// What is known of a lock, whoever holds it or if nobody does.
fn describe(context: &Context<'_>, name: &[u8], lock: Option<(&Lock, &Slot)>) -> Vec<(Reply, Reply)> {
    let forced = context.state.force_releases.get(context.db, name);
    let waiting = context.waiting_for_vacancy(name);
    let fields = match lock {
        None => [Reply::Null, Reply::Null, Reply::Null, Reply::Null, Reply::Null, Reply::Null, Reply::Null],
        Some((lock, slot)) => {
            let (owner, session) = match &lock.holder {
                Holder::Owner(owner) => (Reply::Bulk(owner.clone()), Reply::Null),
                Holder::Session(id) => (Reply::Null, client_sessions::show_id(*id)),
            };
            let left_ms = context.lasts_until(slot).map(|until| expiry::remaining_ms(context, until));
            let delay_ms = i64::try_from(lock.delay_ms).unwrap_or(i64::MAX);
            [
                show_token(slot.token),
                owner,
                session,
                Reply::Integer(left_ms.map_or(-1, |left_ms| left_ms.saturating_sub(delay_ms).max(0))),
                Reply::Integer(delay_ms),
                Reply::Integer(i64::try_from(lock.depth).unwrap_or(i64::MAX)),
                lock.value.clone().map_or(Reply::Null, Reply::Bulk),
            ]
        }
    };
    let names = ["token", "owner", "session", "ttl-ms", "delay-ms", "depth", "value"];
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
