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
    },
    /// By the current token, or by one that never was.
    Extend {
        lock: usize,
        is_stale: bool,
        ttl_ms: u64,
    },
    Release {
        lock: usize,
        is_stale: bool,
        is_named: bool,
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
    );
    prop_oneof![
        4 => acquire.prop_map(|(lock, holder, ttl_ms, wait_ms, is_reentrant, is_named, delay_ms)| {
            // A lock of a session has none.
            let delay_ms = if holder < OWNERS { delay_ms } else { 0 };
            Step::Acquire { lock, holder, ttl_ms, wait_ms, is_reentrant, is_named, delay_ms }
        }),
        1 => (lock(), any::<bool>(), 1..300u64)
            .prop_map(|(lock, is_stale, ttl_ms)| Step::Extend { lock, is_stale, ttl_ms }),
        2 => (lock(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(lock, is_stale, is_named)| Step::Release { lock, is_stale, is_named }),
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
    holder: Holder,
    token: u64,
    depth: u64,
    /// The last millisecond, if no session has it.
    until_ms: u64,
    /// For how long nobody gets it after that.
    delay_ms: u64,
}

#[derive(Clone, Debug, PartialEq)]
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

#[derive(Clone, Debug)]
struct Waiter {
    sequence: u64,
    lock: usize,
    holder: Holder,
    ttl_ms: u64,
    delay_ms: u64,
    is_reentrant: bool,
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
    fn grant(&mut self, lock: usize, holder: Holder, ttl_ms: u64, delay_ms: u64) -> String {
        self.token += 1;
        let (token, until_ms) = (self.token, self.now_ms + ttl_ms);
        self.locks[lock] = Some(Held { holder, token, depth: 1, until_ms, delay_ms });
        format!("(integer) {token}")
    }

    /// Enters once more a lock that the owner has.
    fn enter(&mut self, lock: usize, ttl_ms: u64) -> String {
        let held = self.locks[lock].as_mut().expect("it is held");
        held.depth += 1;
        held.until_ms = held.until_ms.max(self.now_ms + ttl_ms);
        format!("(integer) {}", held.token)
    }

    /// Gives a lock to whoever waits longest, if it is free, with all that he waits for beside.
    fn serve(&mut self, lock: usize) -> Vec<(u64, String)> {
        let mut served = Vec::new();
        while self.locks[lock].is_none()
            && let Some(first) = self.waiters.iter().position(|waiter| waiter.lock == lock)
        {
            let first = self.waiters.remove(first);
            if let Some(refusal) = self.refusal(&first.holder) {
                served.push((first.sequence, refusal));
                continue;
            }
            let of_holder = |waiter: &mut Waiter| {
                waiter.lock == lock && waiter.holder == first.holder && waiter.is_reentrant
            };
            let again: Vec<Waiter> = self.waiters.extract_if(.., of_holder).collect();
            let reply = self.grant(lock, first.holder, first.ttl_ms, first.delay_ms);
            self.remember(first.named, &reply);
            served.push((first.sequence, reply));
            for waiter in again {
                let reply = self.enter(lock, waiter.ttl_ms);
                self.remember(waiter.named, &reply);
                served.push((waiter.sequence, reply));
            }
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
        let is_his =
            |held: &Option<Held>| held.as_ref().is_some_and(|held| held.holder == Holder::Session(id));
        let freed: Vec<usize> = (0..LOCKS).filter(|lock| is_his(&self.locks[*lock])).collect();
        freed.iter().for_each(|lock| self.locks[*lock] = None);
        freed.into_iter().flat_map(|lock| self.serve(lock)).collect()
    }

    fn remember(&mut self, named: Option<usize>, reply: &str) {
        if let Some(named) = named.filter(|_| !reply.starts_with("(error)") && !reply.starts_with("waits")) {
            self.named[named].reply = Some(reply.to_owned());
        }
    }

    /// What waits under a name is asked again: it has another number from now on, and waits from now on.
    fn replace(&mut self, named: usize, sequence: u64) -> Option<Answers> {
        let waiter = self.waiters.iter_mut().find(|waiter| waiter.named == Some(named))?;
        let Step::Acquire { wait_ms, .. } = self.named[named].step else { unreachable!() };
        waiter.until_ms = self.now_ms + wait_ms;
        let before = std::mem::replace(&mut waiter.sequence, sequence);
        let told =
            "(error) UNBLOCKED the request was sent again, and that command has its place in the queue now";
        Some((format!("waits as #{sequence}"), vec![(before, told.to_owned())]))
    }

    /// Whether its time is up, while nobody gets it yet.
    fn is_lost(&self, held: &Held) -> bool {
        held.delay_ms > 0 && held.until_ms < self.now_ms
    }

    /// Who holds a lock by this token.
    fn held_by(&mut self, lock: usize, token: u64) -> Option<&mut Held> {
        let is_his = self.locks[lock].as_ref().is_some_and(|held| held.token == token && !self.is_lost(held));
        self.locks[lock].as_mut().filter(|_| is_his)
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
        let Step::Acquire { lock, ttl_ms, wait_ms, is_reentrant, delay_ms, .. } = *step else {
            unreachable!()
        };
        match &self.locks[lock] {
            None => self.grant(lock, holder, ttl_ms, delay_ms),
            Some(held) if is_reentrant && held.holder == holder && !self.is_lost(held) => {
                self.enter(lock, ttl_ms)
            }
            Some(_) if wait_ms > 0 => {
                let until_ms = self.now_ms + wait_ms;
                self.waiters.push(Waiter {
                    sequence,
                    lock,
                    holder,
                    ttl_ms,
                    delay_ms,
                    is_reentrant,
                    until_ms,
                    named,
                });
                format!("waits as #{sequence}")
            }
            Some(_) => "(nil)".to_owned(),
        }
    }

    /// A release by the current token.
    fn release(&mut self, lock: usize) -> Answers {
        let held = self.locks[lock].as_mut().expect("it is held");
        held.depth -= 1;
        let depth = held.depth;
        self.locks[lock].take_if(|held| held.depth == 0);
        (format!("(integer) {depth}"), self.serve(lock))
    }

    fn pass(&mut self, ms: u64) -> Vec<(u64, String)> {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        let mut over: Vec<Waiter> = self.waiters.extract_if(.., |waiter| waiter.until_ms < now_ms).collect();
        over.sort_by_key(|waiter| (waiter.until_ms, waiter.sequence));
        over.iter().for_each(|waiter| self.remember(waiter.named, "(nil)"));
        let mut answers: Vec<(u64, String)> =
            over.into_iter().map(|waiter| (waiter.sequence, "(nil)".to_owned())).collect();
        let mut free: Vec<(u64, usize)> = Vec::new();
        for (lock, held) in self.locks.iter_mut().enumerate() {
            let is_over = |held: &mut Held| {
                matches!(held.holder, Holder::Owner(_)) && held.until_ms + held.delay_ms < now_ms
            };
            free.extend(held.take_if(is_over).map(|held| (held.until_ms + held.delay_ms, lock)));
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
            let is_his = |held: &Held| held.holder == Holder::Session(id);
            by_session
                .extend((0..LOCKS).filter(|lock| self.locks[*lock].take_if(|held| is_his(held)).is_some()));
        }
        let free = free.into_iter().map(|(_, lock)| lock).chain(by_session);
        answers.extend(free.flat_map(|lock| self.serve(lock)).collect::<Vec<_>>());
        answers
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
        Step::Acquire { lock, ttl_ms, wait_ms, is_reentrant, delay_ms, .. } => {
            let reentrant = if is_reentrant { " REENTRANT" } else { "" };
            let delay = if delay_ms > 0 { format!(" DELAY {delay_ms}") } else { String::new() };
            let holder = match holder {
                Holder::Owner(owner) => format!("OWNER o{owner} TTL {ttl_ms}"),
                Holder::Session(id) => format!("SESSION {id}"),
            };
            format!("LOCK ACQUIRE l{lock} {holder} WAIT {wait_ms}{reentrant}{delay}{name}")
        }
        Step::Extend { lock, ttl_ms, .. } => format!("LOCK EXTEND l{lock} {token} {ttl_ms}"),
        Step::Release { lock, .. } => format!("LOCK RELEASE l{lock} {token}{name}"),
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

    /// What a step sends, if it is a command.
    fn command(&mut self, step: &Step) -> Option<Named> {
        let is_named = match *step {
            Step::Acquire { is_named, .. } | Step::Release { is_named, .. } => is_named,
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
            Step::Acquire { holder, .. } if holder >= OWNERS => {
                Holder::Session(self.sessions[holder - OWNERS].as_ref().map_or(1, |session| session.id))
            }
            Step::Acquire { holder, .. } => Holder::Owner(holder),
            _ => Holder::Owner(0),
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
            Step::Acquire { .. } => (self.acquire(step, holder.clone(), named, sequence), Vec::new()),
            Step::Extend { lock, ttl_ms, .. } => {
                let until_ms = self.now_ms + ttl_ms;
                let reply = match self.held_by(lock, token) {
                    Some(Held { holder: Holder::Session(_), .. }) => {
                        "(error) ERR the lock lasts as long as its session: SESSION KEEPALIVE".to_owned()
                    }
                    Some(held) => {
                        held.until_ms = until_ms;
                        "OK".to_owned()
                    }
                    None => self.stale(lock, token),
                };
                (reply, Vec::new())
            }
            Step::Release { lock, .. } => match self.held_by(lock, token) {
                Some(_) => self.release(lock),
                None => (self.stale(lock, token), Vec::new()),
            },
            Step::Delete { lock } => {
                let existed = self.locks[lock].take().is_some();
                (format!("(integer) {}", i32::from(existed)), self.serve(lock))
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
                self.waiters.retain(|waiter| waiter.sequence != left);
                (String::new(), Vec::new())
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
