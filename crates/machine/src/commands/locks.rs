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

use super::client_sessions;
use super::expiry;
use super::fencing::{parse_token, show_token, stale};
use super::help;
use crate::command::{Group, KeySpec, Spec};
use crate::context::{Caller, Context, Patience};
use crate::database::Slot;
use crate::flags::Flags;
use crate::identifiers::{FencingToken, Stamp};
use crate::integer;
use crate::reply::Reply;
use crate::requests::Request;
use crate::state::State;
use crate::value::{Holder, Lock, Value};
use crate::waiting::{Kind, Wait};

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
            "LOCK ACQUIRE name <OWNER id TTL milliseconds | SESSION session> [WAIT milliseconds] [REENTRANT] [VALUE value] [REQUEST id]",
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
    Spec::write(Group::Lock, "lock|force-release", 3, force_release).keys(NAME).with(Flags::FAST).doc(
        "quorate",
        "LOCK FORCE-RELEASE name",
        "Takes a lock away from its holder, and answers the token that he had; nil if nobody has it.",
    ),
    Spec::read(Group::Lock, "lock|info", 3, info).keys(NAME).with(Flags::FAST).doc(
        "quorate",
        "LOCK INFO name",
        "Answers who holds a lock, by which token, for how long, how often, and how many wait; nil if nobody holds it.",
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
        let (mut value, mut request, mut is_reentrant) = (None, None, false);
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
            (None, None, Some(session)) => Holder::Session(session),
            _ => return Err(Reply::syntax_error()),
        };
        Ok(Self { name, holder, ttl_ms, wait_ms: wait_ms.unwrap_or(0), is_reentrant, value, request })
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
        let deadline = self.ttl_ms.map(|ttl_ms| Stamp(context.now.0.saturating_add(ttl_ms)));
        match held(context, self.name)? {
            None => {
                let value = self.value.map(|value| Bytes::copy_from_slice(value));
                let lock = Lock { holder: self.holder.clone(), depth: 1, value };
                context.check_value_bytes(lock.bytes())?;
                context.create(context.db, self.name, Value::Lock(Box::new(lock)), deadline);
            }
            Some((lock, slot)) if self.is_reentrant && lock.holder == self.holder => {
                let lock = Lock { depth: lock.depth.saturating_add(1), ..lock.clone() };
                let deadline = slot.deadline.and_then(|present| deadline.map(|asked| asked.max(present)));
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

/// The lock at a key, with its slot; `None` if nobody holds it, an error reply if the key holds something else.
fn held<'a>(context: &'a Context<'_>, name: &[u8]) -> Result<Option<(&'a Lock, &'a Slot)>, Reply> {
    let Some(slot) = context.get(name) else { return Ok(None) };
    let Value::Lock(lock) = &slot.value else { return Err(Reply::wrong_type()) };
    Ok(Some((lock, slot)))
}

/// The lock at a key, if it has the token that `text` is.
fn held_by<'a>(context: &'a Context<'_>, name: &[u8], text: &[u8]) -> Result<(&'a Lock, &'a Slot), Reply> {
    let token = parse_token(text)?;
    match held(context, name)? {
        Some((lock, slot)) if slot.token == token => Ok((lock, slot)),
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
        if held_by(context, &args[2], &args[3])?.1.client_session().is_some() {
            return Err(Reply::error("ERR the lock lasts as long as its session: SESSION KEEPALIVE"));
        }
        context.set_deadline(&args[2], Some(Stamp(context.now.0.saturating_add(ttl_ms))));
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
    let Some((_, slot)) = held(context, &args[2])? else { return Ok(Reply::Null) };
    let token = slot.token;
    context.delete(&args[2]);
    Ok(show_token(token))
}

fn info(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let Some((lock, slot)) = held(context, &args[2])? else { return Ok(Reply::Null) };
    let until = context.lasts_until(slot);
    let ttl_ms = until.map_or(-1, |until| expiry::remaining_ms(context, until));
    let (owner, session) = match &lock.holder {
        Holder::Owner(owner) => (Reply::Bulk(owner.clone()), Reply::Null),
        Holder::Session(id) => (Reply::Null, client_sessions::show_id(*id)),
    };
    let waiting = context.waiting_for_vacancy(&args[2]);
    let field = |name, value| (Reply::bulk(name), value);
    Ok(Reply::Map(vec![
        field("token", show_token(slot.token)),
        field("owner", owner),
        field("session", session),
        field("ttl-ms", Reply::Integer(ttl_ms)),
        field("depth", Reply::Integer(i64::try_from(lock.depth).unwrap_or(i64::MAX))),
        field("value", lock.value.clone().map_or(Reply::Null, Reply::Bulk)),
        field("waiting", Reply::count(waiting)),
    ]))
}
