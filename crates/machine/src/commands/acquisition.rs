//! How locks are taken: LOCK ACQUIRE, LOCK ACQUIREALL, ELECTION CAMPAIGN and SEMAPHORE ACQUIRE, at once or in
//! their turn.

use std::collections::BTreeSet;

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::client_sessions;
use super::fencing::show_token;
use super::locks::{held, of_readers, parse_ttl, release_held, until};
use super::repeating::once;
use super::semaphores::{self, Permits};
use crate::context::{Context, Patience};
use crate::identifiers::{FencingToken, Stamp};
use crate::integer;
use crate::reply::Reply;
use crate::requests::Request;
use crate::value::{Held, Holder, Living, Lock, Purpose, Value};
use crate::waiting::{Kind, Share, Ticket, Wait};
use crate::wire::Encoder;

/// What LOCK ACQUIRE, LOCK ACQUIREALL, ELECTION CAMPAIGN or SEMAPHORE ACQUIRE asks for.
struct Wish<'a> {
    purpose: Purpose,
    /// Of a semaphore; else the whole lock is asked for, or a part of it.
    permits: Option<Permits>,
    names: Names<'a>,
    holder: Holder,
    /// `None`: as long as the session that holds it.
    ttl_ms: Option<u64>,
    /// Whether others may share it.
    is_shared: bool,
    /// 0: not at all.
    wait_ms: u64,
    is_reentrant: bool,
    /// For how long nobody else is to get it if its time is up. Not where it is shared, or a session's.
    delay_ms: u64,
    value: Option<&'a Bytes>,
    /// Of a candidate; 0 for whoever wants a lock.
    priority: u32,
    /// How its client calls it.
    request: Option<&'a Bytes>,
}

/// Which locks are asked for.
#[derive(Clone, Copy)]
enum Names<'a> {
    One(&'a Bytes),
    /// All of them or none, in this order.
    All(&'a [Bytes]),
}

/// How many locks are taken at once at the most: whoever is to be served is looked for at each.
const NAMES_MAX: usize = 128;

impl<'a> Names<'a> {
    fn as_slice(self) -> &'a [Bytes] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::All(names) => names,
        }
    }

    /// `ACQUIRE name ..` or `ACQUIREALL numkeys name [name ...] ..`, and what is behind them.
    fn parse(args: &'a [Bytes]) -> Result<(Self, &'a [Bytes]), Reply> {
        let [_, command, first, rest @ ..] = args else { return Err(Reply::syntax_error()) };
        if !command.eq_ignore_ascii_case(b"ACQUIREALL") {
            return Ok((Self::One(first), rest));
        }
        let count = integer::parse(first).and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| (1..=NAMES_MAX).contains(count));
        let count = count.ok_or(Reply::error("ERR so many locks cannot be taken at once: 1 to 128 can"))?;
        let (names, rest) = rest.split_at_checked(count).ok_or(Reply::syntax_error())?;
        let different: BTreeSet<&Bytes> = names.iter().collect();
        match different.len() == count {
            true => Ok((Self::All(names), rest)),
            false => Err(Reply::error("ERR a lock is named twice")),
        }
    }

    /// What is answered to who has got them.
    fn show(self, tokens: &[FencingToken]) -> Reply {
        match (self, tokens) {
            (Self::One(_), [token]) => show_token(*token),
            _ => Reply::Array(tokens.iter().copied().map(show_token).collect()),
        }
    }
}

/// The options of all, as they were given.
#[derive(Default)]
struct Options<'a> {
    owner: Option<&'a Bytes>,
    ttl_ms: Option<u64>,
    session: Option<Holder>,
    wait_ms: Option<u64>,
    delay_ms: Option<u64>,
    value: Option<&'a Bytes>,
    priority: Option<u32>,
    count: Option<u64>,
    request: Option<&'a Bytes>,
    is_reentrant: bool,
    is_shared: bool,
}

impl<'a> Options<'a> {
    fn parse(mut rest: &'a [Bytes]) -> Result<Self, Reply> {
        let mut options = Self::default();
        while let [word, following @ ..] = rest {
            let word = word.to_ascii_uppercase();
            let flag = match &word[..] {
                b"REENTRANT" => Some(&mut options.is_reentrant),
                b"SHARED" => Some(&mut options.is_shared),
                _ => None,
            };
            let is_new = match (flag, following) {
                (Some(flag), following) => {
                    rest = following;
                    !std::mem::replace(flag, true)
                }
                (None, [argument, following @ ..]) => {
                    rest = following;
                    options.set(&word, argument)?
                }
                (None, []) => false,
            };
            if !is_new {
                return Err(Reply::syntax_error());
            }
        }
        Ok(options)
    }

    /// Whether there is such an option, and it is new.
    fn set(&mut self, word: &[u8], argument: &'a Bytes) -> Result<bool, Reply> {
        Ok(match word {
            b"OWNER" => self.owner.replace(argument).is_none(),
            b"TTL" => self.ttl_ms.replace(parse_ttl(argument)?).is_none(),
            b"SESSION" => {
                let session = Holder::Session(client_sessions::parse_id(argument)?);
                self.session.replace(session).is_none()
            }
            b"WAIT" => self.wait_ms.replace(parse_wait(argument)?).is_none(),
            b"DELAY" => self.delay_ms.replace(parse_time(argument, DELAY)?).is_none(),
            b"VALUE" => self.value.replace(argument).is_none(),
            b"COUNT" => self.count.replace(semaphores::parse_permits(argument)?).is_none(),
            b"PRIORITY" => self.priority.replace(parse_priority(argument)?).is_none(),
            b"REQUEST" => self.request.replace(argument).is_none(),
            _ => false,
        })
    }

    /// An election is one leader's alone, and lets him in once; who wants a lock or permits waits in the order of arrival.
    fn fit(&self, purpose: Purpose, limit: Option<u64>) -> bool {
        let is_plain = !self.is_shared && !self.is_reentrant && self.delay_ms.is_none();
        match (purpose, limit) {
            (Purpose::Exclusion, None) => self.priority.is_none() && self.count.is_none(),
            (Purpose::Leadership, _) => is_plain && self.count.is_none(),
            (Purpose::Exclusion, Some(_)) => is_plain && self.priority.is_none() && self.value.is_none(),
        }
    }

    fn holder(&self) -> Result<Holder, Reply> {
        match (self.owner, self.ttl_ms, &self.session) {
            (Some(owner), Some(_), None) if owner.is_empty() => {
                Err(Reply::error("ERR the owner of a lock needs a name"))
            }
            (Some(owner), Some(_), None) => Ok(Holder::Owner(Bytes::copy_from_slice(owner))),
            (None, None, Some(_)) if self.delay_ms.is_some() => {
                Err(Reply::error("ERR a lock of a session has no DELAY: it has no time of its own"))
            }
            (None, None, Some(session)) => Ok(session.clone()),
            _ => Err(Reply::syntax_error()),
        }
    }
}

const DELAY: &str = "ERR the delay of a lock is a number of milliseconds, or 0";

/// For how long somebody would wait, in milliseconds.
pub(super) fn parse_wait(text: &[u8]) -> Result<u64, Reply> {
    parse_time(text, "ERR the time to wait is a number of milliseconds, or 0")
}

fn parse_time(text: &[u8], refusal: &'static str) -> Result<u64, Reply> {
    let time_ms = integer::parse(text).and_then(|time_ms| u64::try_from(time_ms).ok());
    time_ms.ok_or(Reply::error(refusal))
}

/// The greatest priority of a candidate: beyond it is who the leader hands over to.
const PRIORITY_MAX: u32 = 1_000_000;

fn parse_priority(text: &[u8]) -> Result<u32, Reply> {
    let priority = integer::parse(text).and_then(|priority| u32::try_from(priority).ok());
    priority
        .filter(|priority| *priority <= PRIORITY_MAX)
        .ok_or(Reply::error("ERR the priority of a candidate is 0 to 1000000, and the greatest is preferred"))
}

impl<'a> Wish<'a> {
    fn parse(args: &'a [Bytes]) -> Result<Self, Reply> {
        let command = args.first().map_or(&[][..], |name| name);
        let purpose = Purpose::of_command(command);
        let (names, mut rest) = Names::parse(args)?;
        let mut limit = None;
        if command.eq_ignore_ascii_case(b"SEMAPHORE") {
            let (first, behind) = rest.split_first().ok_or(Reply::syntax_error())?;
            (limit, rest) = (Some(semaphores::parse_permits(first)?), behind);
        }
        let options = Options::parse(rest)?;
        if !options.fit(purpose, limit) {
            return Err(Reply::syntax_error());
        }
        let permits = limit.map(|limit| Permits { limit, count: options.count.unwrap_or(1) });
        if permits.is_some_and(|permits| permits.count > permits.limit) {
            return Err(Reply::error("ERR COUNT is more than there are permits"));
        }
        let holder = options.holder()?;
        let Options { ttl_ms, value, request, is_reentrant, is_shared, .. } = options;
        let (wait_ms, delay_ms) = (options.wait_ms.unwrap_or(0), options.delay_ms.unwrap_or(0));
        if matches!(names, Names::All(_)) && (is_shared || is_reentrant) {
            return Err(Reply::error("ERR locks that are taken together are neither SHARED nor REENTRANT"));
        }
        if is_shared && delay_ms > 0 {
            return Err(Reply::error("ERR a lock that is SHARED has no DELAY"));
        }
        let priority = options.priority.unwrap_or(0);
        Ok(Self {
            purpose,
            permits,
            names,
            holder,
            ttl_ms,
            is_shared,
            wait_ms,
            is_reentrant,
            delay_ms,
            value,
            priority,
            request,
        })
    }

    /// What it asks, if it has a name.
    fn request(&self, db: usize) -> Result<Option<Request>, Reply> {
        let Some(id) = self.request else { return Ok(None) };
        let command: &[u8] = match (self.purpose, self.names) {
            (Purpose::Exclusion, Names::One(_)) if self.permits.is_some() => b"permits",
            (Purpose::Exclusion, Names::One(_)) => b"acquire",
            (Purpose::Exclusion, Names::All(_)) => b"acquireall",
            (Purpose::Leadership, _) => b"campaign",
        };
        let holder = self.holder.to_bytes();
        let terms = self.terms();
        let names = self.names.as_slice().iter().map(|name| &name[..]);
        let words: Vec<&[u8]> = [command, &holder, &terms].into_iter().chain(names).collect();
        Request::new(id, db, &words).map(Some)
    }

    /// On which terms it is asked for, but for how long it may take and last: who asks again may have less time left.
    fn terms(&self) -> Vec<u8> {
        let mut to = Encoder::default();
        to.u8(u8::from(self.is_shared));
        to.u8(u8::from(self.is_reentrant));
        to.varint(self.delay_ms);
        to.varint(self.priority.into());
        to.option(self.permits.map(|permits| permits.limit));
        to.option(self.permits.map(|permits| permits.count));
        to.u8(u8::from(self.value.is_some()));
        self.value.iter().for_each(|value| to.bytes(value));
        to.0
    }

    /// Takes the lock, or the last place in its queue, or that of the request that waits already.
    fn run(&self, context: &mut Context<'_>, request: Option<&Request>) -> Result<Reply, Reply> {
        let waits =
            request.is_some_and(|request| context.state.keyspace.waiting.request(&request.id).is_some());
        if waits && (self.wait_ms == 0 || context.patience == Patience::None) {
            return Err(Reply::error("ERR the request waits, and can only be asked again by who waits, too"));
        }
        let names = self.names.as_slice();
        let is_free_to_pass = self.is_shared && bug::on(Bug::ReaderPasses);
        let is_first = is_free_to_pass || names.iter().all(|name| context.waiting_for_vacancy(name) == 0);
        if !waits {
            client_sessions::check(context, &self.holder)?;
            if let Some(tokens) = self.take(context, is_first)? {
                return Ok(self.names.show(&tokens));
            }
        }
        if self.wait_ms > 0 {
            let deadline = Some(Stamp(context.now.0.saturating_add(self.wait_ms)));
            let (keys, request) = (names.to_vec(), request.cloned());
            let reentrant = self.is_reentrant.then(|| self.holder.clone());
            let (kind, share, priority) = (Kind::Vacancy, self.share(), self.priority);
            let session = self.holder.session();
            context.wait(Wait { kind, keys, deadline, priority, share, session, reentrant, request });
        }
        Ok(Reply::Null)
    }

    fn share(&self) -> Share {
        match self.permits {
            Some(Permits { count, .. }) => Share::Permits { count },
            None if self.is_shared => Share::Part,
            None => Share::Whole,
        }
    }

    /// Takes all that is asked for, if that may be; each lock has its token. Only for a holder who is there.
    fn take(&self, context: &mut Context<'_>, is_first: bool) -> Result<Option<Vec<FencingToken>>, Reply> {
        if let Names::All(names) = self.names {
            for name in names {
                held(context, self.purpose, name)?;
            }
            if names.iter().any(|name| !context.is_vacant(name)) && !bug::on(Bug::PartialAll) {
                return Ok(None);
            }
        }
        let names = self.names.as_slice().iter();
        names.map(|name| self.take_one(context, name, is_first)).collect()
    }

    /// Takes a lock, if it is free or may be shared, and nobody is before; or if it may be entered again.
    fn take_one(
        &self,
        context: &mut Context<'_>,
        name: &Bytes,
        is_first: bool,
    ) -> Result<Option<FencingToken>, Reply> {
        if let Some(permits) = self.permits {
            let until = self.until(context.now, 0);
            return semaphores::take(context, name, permits, (&self.holder, until), is_first);
        }
        match held(context, self.purpose, name)? {
            None if !context.is_vacant(name) || !is_first => return Ok(None),
            None => {
                let (lock, deadline) = self.lock(context.now);
                context.check_value_bytes(lock.bytes())?;
                context.create(context.db, name, Value::Lock(Box::new(lock)), deadline);
            }
            Some((lock, slot)) => {
                let entered = self.enter((lock, slot.deadline), context.living(), is_first);
                let copied = of_readers(lock);
                let Some((lock, deadline)) = entered else {
                    return Ok(None);
                };
                context.spent.visited += copied;
                context.check_value_bytes(lock.bytes())?;
                context.amend(name, Value::Lock(Box::new(lock)), deadline);
            }
        }
        Ok(context.get(name).map(|slot| slot.token))
    }

    fn give_one_back(&self, context: &mut Context<'_>, name: &Bytes, token: FencingToken) {
        if self.permits.is_some() {
            return semaphores::give_back(context, name, &self.holder, token);
        }
        let Ok(Some((lock, slot))) = held(context, self.purpose, name) else { return };
        if lock.is_held_by(&self.holder, context.living()) && slot.token == token {
            release_held(context, self.purpose, name, Some(&self.holder));
        }
    }

    fn until(&self, now: Stamp, delay_ms: u64) -> Option<Stamp> {
        self.ttl_ms.map(|ttl_ms| until(now, ttl_ms, delay_ms))
    }

    /// A new lock, and the deadline of its key.
    fn lock(&self, now: Stamp) -> (Lock, Option<Stamp>) {
        let value = self.value.map(|value| Bytes::copy_from_slice(value));
        let delay_ms = if bug::on(Bug::ForgottenDelay) { 0 } else { self.delay_ms };
        let deadline = self.until(now, delay_ms);
        let held = match self.is_shared {
            true => Held::shared_by(&self.holder, deadline),
            false => Held::Alone { holder: self.holder.clone(), depth: 1 },
        };
        (Lock { purpose: self.purpose, held, delay_ms, value }, deadline)
    }

    /// A lock that is held, and the deadline of its key, once this holder has it as well or once more.
    fn enter(
        &self,
        (lock, deadline): (&Lock, Option<Stamp>),
        living: Living<'_>,
        is_first: bool,
    ) -> Option<(Lock, Option<Stamp>)> {
        let now = living.now;
        let is_own = |holder: &Holder| *holder == self.holder || bug::on(Bug::GreedyAcquire);
        match (&lock.held, &self.holder) {
            (Held::Alone { holder, depth }, _) if self.is_reentrant && is_own(holder) => {
                let asked = self.until(now, lock.delay_ms);
                let deadline = deadline.and_then(|present| asked.map(|asked| asked.max(present)));
                let held = Held::Alone { holder: holder.clone(), depth: depth.saturating_add(1) };
                Some((Lock { held, ..lock.clone() }, deadline))
            }
            (Held::Alone { .. }, _) if self.is_shared && bug::on(Bug::ReaderBesideWriter) => {
                Some((lock.clone(), deadline))
            }
            (Held::Shared(_), holder) if self.is_shared => {
                let enters_again = self.is_reentrant && lock.is_held_by(holder, living);
                let may_enter = enters_again || (is_first && lock.has_room(living));
                may_enter.then(|| lock.joined(holder, self.until(now, 0), living))
            }
            (Held::Alone { .. } | Held::Shared(_), _) => None,
        }
    }
}

/// Whether a command with these arguments may wait.
pub(super) fn asks_to_wait(args: &[Bytes]) -> bool {
    Wish::parse(args).is_ok_and(|wish| wish.wait_ms > 0)
}

pub(super) fn acquire(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let wish = Wish::parse(args)?;
    let request = wish.request(context.db)?;
    once(context, request.as_ref(), |context| wish.run(context, request.as_ref()))
}

/// Has a command that waited take what is free now, or may be entered by its holder.
pub(crate) fn serve(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let wish = Wish::parse(args)?;
    if !bug::on(Bug::GivenToTheGone) {
        client_sessions::check(context, &wish.holder)?;
    }
    let tokens = wish.take(context, true)?;
    Ok(tokens.map_or(Reply::Null, |tokens| wish.names.show(&tokens)))
}

/// Gives back what a command has taken whose client is gone, unless he has asked again since.
pub(super) fn give_back(context: &mut Context<'_>, args: &[Bytes], tokens: &[FencingToken]) {
    let Ok(wish) = Wish::parse(args) else { return };
    let is_his = match wish.request(context.db) {
        Ok(Some(request)) => context.state.requests.forget(&request, context.asker),
        Ok(None) | Err(_) => true,
    };
    if is_his {
        let names = wish.names.as_slice().iter().zip(tokens);
        names.for_each(|(name, token)| wish.give_one_back(context, name, *token));
    }
}

/// Who waits: the number of his place, on whose behalf, and for what.
pub(super) struct Queued {
    pub(super) ticket: Ticket,
    pub(super) holder: Holder,
    pub(super) priority: u32,
    pub(super) purpose: Purpose,
    pub(super) permits: Option<Permits>,
}

/// How many of those who wait are shown.
pub(super) const SHOWN_MAX: usize = 128;

/// All who wait for a key to be free, in order.
pub(super) fn queue(context: &Context<'_>, name: &[u8]) -> impl Iterator<Item = Queued> {
    let waiting = context.state.keyspace.waiting.for_vacancy(context.db, name);
    waiting.filter_map(|(ticket, waiter)| {
        let Wish { holder, priority, purpose, permits, .. } = Wish::parse(&waiter.args).ok()?;
        Some(Queued { ticket, holder, priority, purpose, permits })
    })
}
