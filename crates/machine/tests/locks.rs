//! Native locks beside a model: whatever is done to them, in whatever order, and whatever time does.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_machine::{Machine, Operation};
use support::{Driver, SESSION, args, show};

/// How many locks there are.
const LOCKS: usize = 2;
/// Holders with a name, and behind them those that are sessions.
const OWNERS: usize = 3;
const SESSIONS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Acquire {
        lock: usize,
        holder: usize,
        ttl_ms: u64,
        wait_ms: u64,
        is_reentrant: bool,
        is_named: bool,
        delay_ms: u64,
        is_shared: bool,
    },
    /// Both locks, or the other way round.
    AcquireAll {
        is_reversed: bool,
        holder: usize,
        ttl_ms: u64,
        wait_ms: u64,
        is_named: bool,
    },
    /// By the current token, or by one that never was.
    Extend {
        lock: usize,
        is_stale: bool,
        ttl_ms: u64,
        /// Whose part, if it is shared.
        owner: usize,
    },
    Release {
        lock: usize,
        is_stale: bool,
        is_named: bool,
        owner: usize,
    },
    /// What had a name, counted back from the newest, once more.
    Again {
        back: usize,
    },
    Delete {
        lock: usize,
    },
    Open {
        session: usize,
        ttl_ms: u64,
    },
    KeepAlive {
        session: usize,
    },
    Close {
        session: usize,
    },
    Pass {
        ms: u64,
    },
    /// Whose command, counted back from the newest.
    Leave {
        back: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (lock, session) = (|| 0..LOCKS, || 0..SESSIONS);
    let acquire = (
        lock(),
        0..OWNERS + SESSIONS,
        1..300u64,
        prop_oneof![Just(0), 1..500u64],
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(0), 1..200u64],
        any::<bool>(),
    );
    let all =
        (any::<bool>(), 0..OWNERS + SESSIONS, 1..300u64, prop_oneof![Just(0), 1..500u64], any::<bool>());
    prop_oneof![
        2 => all.prop_map(|(is_reversed, holder, ttl_ms, wait_ms, is_named)| {
            Step::AcquireAll { is_reversed, holder, ttl_ms, wait_ms, is_named }
        }),
        4 => acquire.prop_map(|(lock, holder, ttl_ms, wait_ms, is_reentrant, is_named, delay_ms, is_shared)| {
            // Sessions have no delay, and what is shared has none either.
            let delay_ms = if holder < OWNERS && !is_shared { delay_ms } else { 0 };
            Step::Acquire { lock, holder, ttl_ms, wait_ms, is_reentrant, is_named, delay_ms, is_shared }
        }),
        1 => (lock(), any::<bool>(), 1..300u64, 0..OWNERS + SESSIONS)
            .prop_map(|(lock, is_stale, ttl_ms, owner)| Step::Extend { lock, is_stale, ttl_ms, owner }),
        3 => (lock(), prop::bool::weighted(0.2), any::<bool>(), 0..OWNERS + SESSIONS)
            .prop_map(|(lock, is_stale, is_named, owner)| Step::Release { lock, is_stale, is_named, owner }),
        2 => (0..4usize).prop_map(|back| Step::Again { back }),
        1 => lock().prop_map(|lock| Step::Delete { lock }),
        2 => (session(), 1..300u64).prop_map(|(session, ttl_ms)| Step::Open { session, ttl_ms }),
        1 => session().prop_map(|session| Step::KeepAlive { session }),
        1 => session().prop_map(|session| Step::Close { session }),
        2 => (1..200u64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..6u64).prop_map(|back| Step::Leave { back }),
    ]
}

#[derive(Clone, Debug)]
struct Held {
    token: u64,
    is_shared: bool,
    /// One, if it is not shared.
    parts: Vec<Part>,
    /// For how long nobody gets it after the time of its holder.
    delay_ms: u64,
}

#[derive(Clone, Debug)]
struct Part {
    holder: Holder,
    depth: u64,
    /// The last millisecond, if no session has it.
    until_ms: u64,
}

impl Held {
    fn is_of(&self, session: u64) -> bool {
        self.parts.iter().any(|part| part.holder == Holder::Session(session))
    }

    /// The last millisecond of the first time that ends from then on, with the delay; `None` if only sessions have it.
    fn first_end_ms(&self, from_ms: u64) -> Option<u64> {
        let owners = self.parts.iter().filter(|part| matches!(part.holder, Holder::Owner(_)));
        owners.map(|part| part.until_ms + self.delay_ms).filter(|end_ms| *end_ms >= from_ms).min()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Owner(usize),
    /// By its number.
    Session(u64),
}

#[derive(Clone, Debug)]
struct Session {
    id: u64,
    ttl_ms: u64,
    until_ms: u64,
}

/// What LOCK ACQUIRE or LOCK ACQUIREALL asks for.
#[derive(Clone, Debug)]
struct Wish {
    /// One, or all of them together.
    locks: Vec<usize>,
    is_all: bool,
    holder: Holder,
    ttl_ms: u64,
    delay_ms: u64,
    is_reentrant: bool,
    is_shared: bool,
}

#[derive(Clone, Debug)]
struct Waiter {
    sequence: u64,
    wish: Wish,
    until_ms: u64,
    /// Its place in the model's list.
    named: Option<usize>,
}

/// What was asked under a name: its place in the model's list.
#[derive(Clone, Debug)]
struct Named {
    step: Step,
    holder: Holder,
    words: String,
    token: u64,
    /// What it was answered, if that was no error.
    reply: Option<String>,
}

/// What is to be answered: to the step, and to those who waited.
type Answers = (String, Vec<(u64, String)>);

struct Model {
    now_ms: u64,
    token: u64,
    locks: [Option<Held>; LOCKS],
    waiters: Vec<Waiter>,
    named: Vec<Named>,
    /// Those that were opened last, though they may have ended.
    sessions: [Option<Session>; SESSIONS],
}

impl Model {
    /// Gives all that is asked for, which is free.
    fn grant(&mut self, wish: &Wish) -> String {
        let mut tokens = Vec::new();
        for lock in &wish.locks {
            self.token += 1;
            let part = Part { holder: wish.holder.clone(), depth: 1, until_ms: self.now_ms + wish.ttl_ms };
            let (token, is_shared, delay_ms) = (self.token, wish.is_shared, wish.delay_ms);
            self.locks[*lock] = Some(Held { token, is_shared, parts: vec![part], delay_ms });
            tokens.push(format!("(integer) {token}"));
        }
        let tokens = tokens.join(", ");
        if wish.is_all { format!("[{tokens}]") } else { tokens }
    }

    /// Enters a lock that is held, for the first time or again.
    fn enter(&mut self, wish: &Wish) -> String {
        let until_ms = self.now_ms + wish.ttl_ms;
        let held = self.locks[wish.locks[0]].as_mut().expect("it is held");
        match held.parts.iter_mut().find(|part| part.holder == wish.holder) {
            Some(part) => {
                part.depth += 1;
                part.until_ms = part.until_ms.max(until_ms);
            }
            None => held.parts.push(Part { holder: wish.holder.clone(), depth: 1, until_ms }),
        }
        format!("(integer) {}", held.token)
    }

    /// Whether a lock that is held may be entered, by who is first in its queue or not.
    fn may_enter(&self, wish: &Wish, is_first: bool) -> bool {
        if wish.is_all {
            return false;
        }
        let Some(held) = self.locks[wish.locks[0]].as_ref().filter(|held| !self.is_lost(held)) else {
            return false;
        };
        let mut parts = held.parts.iter();
        let is_in = parts.any(|part| part.holder == wish.holder);
        match held.is_shared {
            true => wish.is_shared && (is_first || (is_in && wish.is_reentrant)),
            false => is_in && wish.is_reentrant,
        }
    }

    /// Those who wait for a lock.
    fn queue(&self, lock: usize) -> impl Iterator<Item = (usize, &Waiter)> {
        self.waiters.iter().enumerate().filter(move |(_, waiter)| waiter.wish.locks.contains(&lock))
    }

    /// Who is served next at a lock: the first, or who enters again. Readers do so in the order of their names. A first one whose
    /// session is gone is told so at once: nobody waits behind him.
    fn next_to_serve(&self, lock: usize) -> Option<usize> {
        let (first, waiter) = self.queue(lock).next()?;
        if self.refusal(&waiter.wish.holder).is_some() {
            return Some(first);
        }
        let Some(held) = &self.locks[lock] else {
            let is_first = |lock: &usize| self.queue(*lock).next().is_some_and(|(place, _)| place == first);
            let is_due = |lock: &usize| self.locks[*lock].is_none() && is_first(lock);
            return waiter.wish.locks.iter().all(is_due).then_some(first);
        };
        if held.is_shared && self.may_enter(&waiter.wish, true) {
            return Some(first);
        }
        let enters =
            |(_, waiter): &(usize, &Waiter)| waiter.wish.is_reentrant && self.may_enter(&waiter.wish, false);
        let again = self.queue(lock).filter(enters);
        again.min_by_key(|(place, waiter)| (waiter.wish.holder.clone(), *place)).map(|(place, _)| place)
    }

    /// Gives these locks to those who may have them, and looks at the others of who leaves a queue by that, in order.
    fn serve(&mut self, locks: impl IntoIterator<Item = usize>) -> Vec<(u64, String)> {
        let mut served = Vec::new();
        let mut woken: Vec<usize> = Vec::new();
        let wake = |woken: &mut Vec<usize>, lock| {
            if !woken.contains(&lock) {
                woken.push(lock)
            }
        };
        locks.into_iter().for_each(|lock| wake(&mut woken, lock));
        while let Some(lock) = woken.first().copied() {
            let Some(next) = self.next_to_serve(lock) else {
                woken.remove(0);
                continue;
            };
            let Waiter { sequence, wish, named, .. } = self.waiters.remove(next);
            wish.locks.iter().for_each(|lock| wake(&mut woken, *lock));
            let reply = match self.refusal(&wish.holder) {
                Some(refusal) => refusal,
                None if self.locks[lock].is_none() => self.grant(&wish),
                None => self.enter(&wish),
            };
            self.remember(named, &reply);
            served.push((sequence, reply));
        }
        served
    }

    fn is_open(&self, id: u64) -> bool {
        self.sessions.iter().flatten().any(|session| session.id == id)
    }

    /// What a holder is told that is no more.
    fn refusal(&self, holder: &Holder) -> Option<String> {
        match holder {
            Holder::Session(id) if !self.is_open(*id) => Some(not_open(*id)),
            Holder::Session(_) | Holder::Owner(_) => None,
        }
    }

    /// A session is open no more: its locks are free.
    fn end(&mut self, session: usize) -> Vec<(u64, String)> {
        let Some(Session { id, .. }) = self.sessions[session].take() else { return Vec::new() };
        let freed = self.leave(id);
        self.serve(freed)
    }

    /// A session that is no more has no lock, and no part of one. Which it had, or waited for as the first.
    fn leave(&mut self, id: u64) -> Vec<usize> {
        let is_his = |held: &Option<Held>| held.as_ref().is_some_and(|held| held.is_of(id));
        let is_first = |lock| {
            self.queue(lock).next().is_some_and(|(_, waiter)| waiter.wish.holder == Holder::Session(id))
        };
        let his: Vec<usize> =
            (0..LOCKS).filter(|lock| is_his(&self.locks[*lock]) || is_first(*lock)).collect();
        for lock in &his {
            self.locks[*lock].take_if(|held| {
                held.parts.retain(|part| part.holder != Holder::Session(id));
                held.parts.is_empty()
            });
        }
        his
    }

    fn remember(&mut self, named: Option<usize>, reply: &str) {
        if let Some(named) = named.filter(|_| !reply.starts_with("(error)") && !reply.starts_with("waits")) {
            self.named[named].reply = Some(reply.to_owned());
        }
    }

    /// What waits under a name is asked again: it has another number from now on, and waits from now on.
    fn replace(&mut self, named: usize, sequence: u64) -> Option<Answers> {
        let waiter = self.waiters.iter_mut().find(|waiter| waiter.named == Some(named))?;
        let (Step::Acquire { wait_ms, .. } | Step::AcquireAll { wait_ms, .. }) = self.named[named].step
        else {
            unreachable!()
        };
        waiter.until_ms = self.now_ms + wait_ms;
        let before = std::mem::replace(&mut waiter.sequence, sequence);
        let told =
            "(error) UNBLOCKED the request was sent again, and that command has its place in the queue now";
        Some((format!("waits as #{sequence}"), vec![(before, told.to_owned())]))
    }

    /// Whether its time is up, while nobody gets it yet.
    fn is_lost(&self, held: &Held) -> bool {
        held.delay_ms > 0 && held.parts.iter().all(|part| part.until_ms < self.now_ms)
    }

    /// Who holds a lock by this token, of those who share it this owner; or what he is told who does not.
    fn part(&mut self, lock: usize, token: u64, reader: &Holder) -> Result<&mut Part, String> {
        let held = self.locks[lock].as_ref().filter(|held| held.token == token && !self.is_lost(held));
        let Some(is_shared) = held.map(|held| held.is_shared) else { return Err(self.stale(lock, token)) };
        let is_his = |part: &&mut Part| !is_shared || part.holder == *reader;
        let mut parts = self.locks[lock].iter_mut().flat_map(|held| &mut held.parts);
        let who = if matches!(reader, Holder::Owner(_)) { "owner" } else { "session" };
        parts.find(is_his).ok_or(format!("(error) STALE the lock is not held by that {who}, or no longer"))
    }

    fn stale(&self, lock: usize, token: u64) -> String {
        match self.locks[lock].as_ref().filter(|held| !self.is_lost(held)) {
            Some(held) => {
                format!("(error) STALE token {token} is not the current one, which is {}", held.token)
            }
            None => format!("(error) STALE token {token} is no longer valid: nobody holds it"),
        }
    }

    fn acquire(&mut self, step: &Step, holder: Holder, named: Option<usize>, sequence: u64) -> String {
        if let Some(refusal) = self.refusal(&holder) {
            return refusal;
        }
        let (wish, wait_ms) = match *step {
            Step::Acquire { lock, ttl_ms, wait_ms, is_reentrant, delay_ms, is_shared, .. } => {
                let locks = vec![lock];
                (Wish { locks, is_all: false, holder, ttl_ms, delay_ms, is_reentrant, is_shared }, wait_ms)
            }
            Step::AcquireAll { is_reversed, ttl_ms, wait_ms, .. } => {
                let locks = if is_reversed { vec![1, 0] } else { vec![0, 1] };
                let (delay_ms, is_reentrant, is_shared) = (0, false, false);
                (Wish { locks, is_all: true, holder, ttl_ms, delay_ms, is_reentrant, is_shared }, wait_ms)
            }
            _ => unreachable!(),
        };
        let is_first = wish.locks.iter().all(|lock| self.queue(*lock).next().is_none());
        let is_free = wish.locks.iter().all(|lock| self.locks[*lock].is_none());
        if is_free && is_first {
            self.grant(&wish)
        } else if self.may_enter(&wish, is_first) {
            self.enter(&wish)
        } else if wait_ms > 0 {
            self.waiters.push(Waiter { sequence, wish, until_ms: self.now_ms + wait_ms, named });
            format!("waits as #{sequence}")
        } else {
            "(nil)".to_owned()
        }
    }

    fn release(&mut self, lock: usize, token: u64, reader: &Holder) -> Answers {
        let depth = match self.part(lock, token, reader) {
            Ok(part) => {
                part.depth -= 1;
                part.depth
            }
            Err(refusal) => return (refusal, Vec::new()),
        };
        self.locks[lock].take_if(|held| {
            held.parts.retain(|part| part.depth > 0);
            held.parts.is_empty()
        });
        (format!("(integer) {depth}"), self.serve([lock]))
    }

    fn pass(&mut self, ms: u64) -> Vec<(u64, String)> {
        let before_ms = self.now_ms;
        self.now_ms += ms;
        let now_ms = self.now_ms;
        let mut over: Vec<Waiter> = self.waiters.extract_if(.., |waiter| waiter.until_ms < now_ms).collect();
        // Those whose time ends at once keep the order of their places, which who asks again has taken over.
        over.sort_by_key(|waiter| waiter.until_ms);
        over.iter().for_each(|waiter| self.remember(waiter.named, "(nil)"));
        let left: Vec<usize> = over.iter().flat_map(|waiter| waiter.wish.locks.clone()).collect();
        let mut answers: Vec<(u64, String)> =
            over.into_iter().map(|waiter| (waiter.sequence, "(nil)".to_owned())).collect();
        let mut free: Vec<(u64, usize)> = Vec::new();
        for (lock, held) in self.locks.iter_mut().enumerate() {
            let end_ms = held.as_ref().and_then(|held| held.first_end_ms(before_ms));
            if let Some(end_ms) = end_ms.filter(|end_ms| *end_ms < now_ms) {
                held.take_if(|held| {
                    let is_there = |part: &Part| part.until_ms + held.delay_ms >= now_ms;
                    held.parts.retain(|part| matches!(part.holder, Holder::Session(_)) || is_there(part));
                    held.parts.is_empty()
                });
                free.push((end_ms, lock));
            }
        }
        free.sort_unstable();
        let mut ended: Vec<(u64, u64, usize)> = Vec::new();
        for (number, session) in self.sessions.iter().enumerate() {
            ended.extend(session.as_ref().map(|session| (session.until_ms, session.id, number)));
        }
        ended.retain(|(until_ms, ..)| *until_ms < now_ms);
        ended.sort_unstable();
        // All of it happens at once, before anybody is served.
        let mut by_session = Vec::new();
        for (_, id, number) in ended {
            self.sessions[number] = None;
            by_session.extend(self.leave(id));
        }
        // Behind one that is gone there may be others who can enter.
        let free = left.into_iter().chain(by_session).chain(free.into_iter().map(|(_, lock)| lock));
        answers.extend(self.serve(free.collect::<Vec<_>>()));
        answers
    }
}

/// How the part of a shared lock is named.
fn owner_of(holder: &Holder) -> String {
    match holder {
        Holder::Owner(owner) => format!(" OWNER o{owner}"),
        Holder::Session(0) => String::new(),
        Holder::Session(id) => format!(" SESSION {id}"),
    }
}

/// What is said of a session that is not open.
fn not_open(id: u64) -> String {
    format!("(error) NOSESSION session {id} is not open: its time is over, or it was closed")
}

/// A command, by the token of its lock and on behalf of its holder.
fn words(step: &Step, token: u64, holder: &Holder, name: Option<usize>) -> String {
    let name = name.map_or(String::new(), |name| format!(" REQUEST r{name}"));
    match *step {
        Step::Acquire { lock, ttl_ms, wait_ms, is_reentrant, delay_ms, is_shared, .. } => {
            let shared = if is_shared { " SHARED" } else { "" };
            let reentrant = if is_reentrant { " REENTRANT" } else { "" };
            let delay = if delay_ms > 0 { format!(" DELAY {delay_ms}") } else { String::new() };
            let holder = match holder {
                Holder::Owner(owner) => format!("OWNER o{owner} TTL {ttl_ms}"),
                Holder::Session(id) => format!("SESSION {id}"),
            };
            format!("LOCK ACQUIRE l{lock} {holder} WAIT {wait_ms}{reentrant}{delay}{shared}{name}")
        }
        Step::AcquireAll { is_reversed, ttl_ms, wait_ms, .. } => {
            let names = if is_reversed { "l1 l0" } else { "l0 l1" };
            let holder = match holder {
                Holder::Owner(owner) => format!("OWNER o{owner} TTL {ttl_ms}"),
                Holder::Session(id) => format!("SESSION {id}"),
            };
            format!("LOCK ACQUIREALL 2 {names} {holder} WAIT {wait_ms}{name}")
        }
        Step::Extend { lock, ttl_ms, .. } => {
            format!("LOCK EXTEND l{lock} {token} {ttl_ms}{}", owner_of(holder))
        }
        Step::Release { lock, .. } => format!("LOCK RELEASE l{lock} {token}{}{name}", owner_of(holder)),
        Step::Delete { lock } => format!("DEL l{lock}"),
        Step::Open { ttl_ms, .. } => format!("SESSION OPEN {ttl_ms}"),
        Step::KeepAlive { .. } => format!("SESSION KEEPALIVE {token}"),
        Step::Close { .. } => format!("SESSION CLOSE {token}"),
        Step::Again { .. } | Step::Pass { .. } | Step::Leave { .. } => unreachable!("no command of its own"),
    }
}

impl Model {
    /// The token, or the session, that a step names. Nobody has got 1.
    fn token(&self, step: &Step) -> u64 {
        match *step {
            Step::Extend { lock, is_stale, .. } | Step::Release { lock, is_stale, .. } => {
                self.locks[lock].as_ref().filter(|_| !is_stale).map_or(1, |held| held.token)
            }
            Step::KeepAlive { session } | Step::Close { session } => {
                self.sessions[session].as_ref().map_or(1, |session| session.id)
            }
            _ => 1,
        }
    }

    /// Who has this number: an owner, or a session, which has another one to itself.
    fn holder(&self, number: usize) -> Holder {
        match number.checked_sub(OWNERS) {
            Some(session) => Holder::Session(self.sessions[session].as_ref().map_or(1, |session| session.id)),
            None => Holder::Owner(number),
        }
    }

    /// What a step sends, if it is a command.
    fn command(&mut self, step: &Step) -> Option<Named> {
        let is_named = match *step {
            Step::Acquire { is_named, .. }
            | Step::AcquireAll { is_named, .. }
            | Step::Release { is_named, .. } => is_named,
            Step::Extend { .. }
            | Step::Delete { .. }
            | Step::Open { .. }
            | Step::KeepAlive { .. }
            | Step::Close { .. } => false,
            Step::Again { back } => {
                return self.named.len().checked_sub(back + 1).map(|place| self.named[place].clone());
            }
            Step::Pass { .. } | Step::Leave { .. } => return None,
        };
        let token = self.token(step);
        let holder = match *step {
            Step::Acquire { holder, .. } | Step::AcquireAll { holder, .. } => self.holder(holder),
            // Whose part is meant is said of shared locks alone; of others it does not matter what stands here.
            Step::Extend { lock, owner, .. } | Step::Release { lock, owner, .. }
                if self.locks[lock].as_ref().is_some_and(|held| held.is_shared) =>
            {
                self.holder(owner)
            }
            _ => Holder::Session(0),
        };
        let words = words(step, token, &holder, is_named.then_some(self.named.len()));
        let named = Named { step: step.clone(), holder, words, token, reply: None };
        self.named.extend(is_named.then(|| named.clone()));
        Some(named)
    }

    /// What a command is to be answered, and those who waited.
    fn answer(&mut self, command: &Named, sequence: u64) -> Answers {
        let named = self.named.iter().position(|named| named.words == command.words);
        if let Some(answers) = named.and_then(|named| self.replace(named, sequence)) {
            return answers;
        }
        if let Some(reply) = named.and_then(|named| self.named[named].reply.clone()) {
            return (reply, Vec::new());
        }
        let (reply, served) = self.carry_out(command, named, sequence);
        self.remember(named, &reply);
        (reply, served)
    }

    fn carry_out(&mut self, command: &Named, named: Option<usize>, sequence: u64) -> Answers {
        let Named { step, holder, token, .. } = command;
        let token = *token;
        match *step {
            Step::Acquire { .. } | Step::AcquireAll { .. } => {
                (self.acquire(step, holder.clone(), named, sequence), Vec::new())
            }
            Step::Extend { lock, ttl_ms, .. } => {
                let until_ms = self.now_ms + ttl_ms;
                let reply = self.part(lock, token, holder).map(|part| match part.holder {
                    Holder::Session(_) => {
                        "(error) ERR the lock lasts as long as its session: SESSION KEEPALIVE".to_owned()
                    }
                    Holder::Owner(_) => {
                        part.until_ms = until_ms;
                        "OK".to_owned()
                    }
                });
                (reply.unwrap_or_else(|refusal| refusal), Vec::new())
            }
            Step::Release { lock, .. } => self.release(lock, token, holder),
            Step::Delete { lock } => {
                let existed = self.locks[lock].take().is_some();
                (format!("(integer) {}", i32::from(existed)), self.serve([lock]))
            }
            Step::Open { session, ttl_ms } => {
                self.token += 1;
                let (id, until_ms) = (self.token, self.now_ms + ttl_ms);
                let before = self.sessions[session].replace(Session { id, ttl_ms, until_ms });
                assert!(before.is_none(), "it was closed before");
                (format!("(integer) {id}"), Vec::new())
            }
            Step::KeepAlive { session } => match &mut self.sessions[session] {
                Some(session) => {
                    session.until_ms = self.now_ms + session.ttl_ms;
                    ("OK".to_owned(), Vec::new())
                }
                None => (not_open(token), Vec::new()),
            },
            Step::Close { session } => {
                let was_open = self.sessions[session].is_some();
                (format!("(integer) {}", i32::from(was_open)), self.end(session))
            }
            Step::Again { .. } | Step::Pass { .. } | Step::Leave { .. } => {
                unreachable!("no command of its own")
            }
        }
    }

    /// What happens without a command.
    fn go_on(&mut self, step: &Step, next: u64) -> Answers {
        match *step {
            Step::Pass { ms } => (String::new(), self.pass(ms)),
            Step::Leave { back } => {
                let left = next.saturating_sub(back + 1);
                let gone = self.waiters.extract_if(.., |waiter| waiter.sequence == left).next();
                (String::new(), gone.map_or(Vec::new(), |waiter| self.serve(waiter.wish.locks)))
            }
            _ => (String::new(), Vec::new()),
        }
    }
}

/// Has a replica take a step. What it answers at once.
fn take(driver: &mut Driver, step: &Step, command: Option<&Named>, next: u64) -> String {
    match (command, step) {
        (Some(command), _) => show(&driver.command(0, &args(&command.words.split(' ').collect::<Vec<_>>()))),
        (None, Step::Pass { ms }) => {
            driver.advance(*ms);
            String::new()
        }
        (None, Step::Leave { back }) => {
            let sequence = next.saturating_sub(back + 1);
            driver.run(vec![Operation::Leave { sequence }]);
            String::new()
        }
        (None, _) => String::new(),
    }
}

proptest! {
    /// Never two holders, tokens grow, nobody loses a lock early or keeps it, nobody is passed, what is asked again takes effect
    /// once; and a replica that begins with a snapshot goes on as one that never did.
    #[test]
    fn locks_are_what_the_model_says(steps in vec(step(), 1..80)) {
        let (mut driver, mut other) = (Driver::new(), Driver::new());
        let mut model = Model {
            now_ms: driver.stamp_ms,
            token: driver.machine.stats().fence,
            locks: [None, None],
            waiters: Vec::new(),
            named: Vec::new(),
            sessions: [None, None],
        };
        for step in steps {
            // One at a time has each number.
            let step = match step {
                Step::Open { session, .. } if model.sessions[session].is_some() => Step::Close { session },
                step => step,
            };
            // A lock that only sessions that have ended shared is there until it is reclaimed: with the next entry.
            if matches!(step, Step::Delete { .. }) {
                driver.advance(0);
                other.advance(0);
            }
            let next = driver.machine.session(SESSION).expect("the session is open") + 1;
            let command = model.command(&step);
            let reply = take(&mut driver, &step, command.as_ref(), next);
            prop_assert_eq!(take(&mut other, &step, command.as_ref(), next), &reply[..]);
            let expected = match &command {
                Some(command) => model.answer(command, next),
                None => model.go_on(&step, next),
            };
            let served: Vec<(u64, String)> =
                driver.served.drain(..).map(|(sequence, reply)| (sequence, show(&reply))).collect();
            prop_assert_eq!((reply, served), expected, "{:?} {:?}", step, command);
            prop_assert_eq!(driver.machine.stats().waiting, model.waiters.len());
            let restored = Machine::restore(driver.machine.snapshot()).expect("a snapshot can be restored");
            prop_assert_eq!(restored.hash(), other.machine.hash());
            driver.machine = restored;
        }
    }
}

/// Who joins or leaves copies all who share the lock. It counted as little as to take a lock alone, and an entry full of it kept a
/// node from everything else.
#[test]
fn work_with_many_readers_is_counted() {
    let mut driver = Driver::new();
    let mut cost = |line: &str| {
        let before = driver.machine.work();
        let reply = show(&driver.command(0, &args(&line.split(' ').collect::<Vec<_>>())));
        (reply, driver.machine.work() - before)
    };
    let (token, first) = cost("LOCK ACQUIRE l OWNER o0 TTL 1000 SHARED");
    let token = token.strip_prefix("(integer) ").expect("a token").to_owned();
    for number in 1..1_023 {
        cost(&format!("LOCK ACQUIRE l OWNER o{number} TTL 1000 SHARED"));
    }
    for line in [
        "LOCK ACQUIRE l OWNER last TTL 1000 SHARED".to_owned(),
        format!("LOCK EXTEND l {token} 2000 OWNER o0"),
        format!("LOCK RELEASE l {token} OWNER o0"),
    ] {
        let (reply, work) = cost(&line);
        assert!(
            !reply.starts_with("(error)") && work > first + 1_000,
            "{line}: {reply}, {work} after {first}"
        );
    }
}
