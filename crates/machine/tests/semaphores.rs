//! Semaphores beside a model: whoever takes, returns or loses permits, in whatever order.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_machine::{Machine, Operation};
use support::{Driver, SESSION, args, show};

/// How many permits there are.
const LIMIT: u64 = 4;
/// Holders with a name, and behind them those that are sessions.
const OWNERS: usize = 3;
const SESSIONS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Acquire {
        holder: usize,
        ttl_ms: u64,
        count: u64,
        wait_ms: u64,
    },
    /// What was granted, counted back from the newest.
    Extend {
        back: usize,
        ttl_ms: u64,
    },
    Release {
        back: usize,
    },
    /// Ends one that is open, and opens one if none is.
    Session {
        session: usize,
        ttl_ms: u64,
    },
    Delete,
    Pass {
        ms: u64,
    },
    /// Whose command, counted back from the newest.
    Leave {
        back: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let acquire = (0..OWNERS + SESSIONS, 1..300u64, 1..=LIMIT, prop_oneof![Just(0), 1..500u64]);
    prop_oneof![
        5 => acquire.prop_map(|(holder, ttl_ms, count, wait_ms)| Step::Acquire { holder, ttl_ms, count, wait_ms }),
        1 => (0..4usize, 1..300u64).prop_map(|(back, ttl_ms)| Step::Extend { back, ttl_ms }),
        3 => (0..4usize).prop_map(|back| Step::Release { back }),
        2 => (0..SESSIONS, 1..300u64).prop_map(|(session, ttl_ms)| Step::Session { session, ttl_ms }),
        1 => Just(Step::Delete),
        2 => (1..200u64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..6u64).prop_map(|back| Step::Leave { back }),
    ]
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    Owner(usize),
    /// By its number.
    Session(u64),
}

#[derive(Clone, Debug)]
struct Wish {
    holder: Holder,
    ttl_ms: u64,
    count: u64,
}

#[derive(Clone, Debug)]
struct Grant {
    token: u64,
    wish: Wish,
    until_ms: u64,
}

struct Waiter {
    sequence: u64,
    wish: Wish,
    until_ms: u64,
}

/// What is to be answered: to the step, and to those who waited.
type Answers = (String, Vec<(u64, String)>);

struct Model {
    now_ms: u64,
    token: u64,
    grants: Vec<Grant>,
    /// All tokens that were ever granted.
    tokens: Vec<u64>,
    waiters: Vec<Waiter>,
    /// Their numbers and until when they are open.
    sessions: [Option<(u64, u64)>; SESSIONS],
}

impl Model {
    fn is_open(&self, holder: &Holder) -> bool {
        match holder {
            Holder::Owner(_) => true,
            Holder::Session(id) => self.sessions.iter().flatten().any(|(other, _)| other == id),
        }
    }

    fn free(&self) -> u64 {
        LIMIT - self.grants.iter().map(|grant| grant.wish.count).sum::<u64>()
    }

    fn grant(&mut self, wish: Wish) -> String {
        self.token += 1;
        let until_ms = self.now_ms + wish.ttl_ms;
        self.grants.push(Grant { token: self.token, wish, until_ms });
        self.tokens.push(self.token);
        format!("(integer) {}", self.token)
    }

    /// Whoever is gone has nothing any more, and those who wait get what is free, in order.
    fn serve(&mut self) -> Vec<(u64, String)> {
        let now_ms = self.now_ms;
        let open: Vec<bool> = self.grants.iter().map(|grant| self.is_open(&grant.wish.holder)).collect();
        let mut open = open.into_iter();
        self.grants.retain(|grant| {
            let is_timed = matches!(grant.wish.holder, Holder::Owner(_));
            open.next().expect("one of each") && (!is_timed || grant.until_ms >= now_ms)
        });
        let mut served = Vec::new();
        // A first one whose session is gone is answered at once: nobody waits behind him.
        let is_due = |model: &Self, wish: &Wish| wish.count <= model.free() || !model.is_open(&wish.holder);
        while self.waiters.first().is_some_and(|waiter| is_due(self, &waiter.wish)) {
            let Waiter { sequence, wish, .. } = self.waiters.remove(0);
            let reply = match wish.holder {
                Holder::Session(id) if !self.is_open(&wish.holder) => not_open(id),
                _ => self.grant(wish),
            };
            served.push((sequence, reply));
        }
        served
    }

    /// The token that was granted so many ago; nobody has got 1.
    fn token(&self, back: usize) -> u64 {
        self.tokens.iter().rev().nth(back).copied().unwrap_or(1)
    }

    /// What a step sends, if it is a command.
    fn words(&self, step: &Step) -> Option<String> {
        Some(match *step {
            Step::Acquire { ttl_ms, count, wait_ms, .. } => {
                let holder = match self.wish(step).holder {
                    Holder::Owner(owner) => format!("OWNER o{owner} TTL {ttl_ms}"),
                    Holder::Session(id) => format!("SESSION {id}"),
                };
                let wait = if wait_ms > 0 { format!(" WAIT {wait_ms}") } else { String::new() };
                format!("SEMAPHORE ACQUIRE s {LIMIT} {holder} COUNT {count}{wait}")
            }
            Step::Extend { back, ttl_ms } => format!("SEMAPHORE EXTEND s {} {ttl_ms}", self.token(back)),
            Step::Release { back } => format!("SEMAPHORE RELEASE s {}", self.token(back)),
            Step::Session { session, ttl_ms } => match self.sessions[session] {
                Some((id, _)) => format!("SESSION CLOSE {id}"),
                None => format!("SESSION OPEN {ttl_ms}"),
            },
            Step::Delete => "DEL s".to_owned(),
            Step::Pass { .. } | Step::Leave { .. } => return None,
        })
    }

    fn wish(&self, step: &Step) -> Wish {
        let Step::Acquire { holder, ttl_ms, count, .. } = *step else { unreachable!("an acquisition") };
        let holder = match holder.checked_sub(OWNERS) {
            Some(session) => Holder::Session(self.sessions[session].map_or(1, |(id, _)| id)),
            None => Holder::Owner(holder),
        };
        Wish { holder, ttl_ms, count }
    }

    fn acquire(&mut self, step: &Step, wait_ms: u64, next: u64) -> String {
        let wish = self.wish(step);
        if let Holder::Session(id) = wish.holder
            && !self.is_open(&wish.holder)
        {
            return not_open(id);
        }
        if self.waiters.is_empty() && wish.count <= self.free() {
            return self.grant(wish);
        }
        if wait_ms == 0 {
            return "(nil)".to_owned();
        }
        self.waiters.push(Waiter { sequence: next, wish, until_ms: self.now_ms + wait_ms });
        format!("waits as #{next}")
    }

    fn answer(&mut self, step: &Step, next: u64) -> Answers {
        let stale = |token| format!("(error) STALE token {token} is no longer valid: nobody holds it");
        match *step {
            Step::Acquire { wait_ms, .. } => (self.acquire(step, wait_ms, next), Vec::new()),
            Step::Extend { back, ttl_ms } => {
                let (token, until_ms) = (self.token(back), self.now_ms + ttl_ms);
                let reply = match self.grants.iter_mut().find(|grant| grant.token == token) {
                    None => stale(token),
                    Some(Grant { wish: Wish { holder: Holder::Session(_), .. }, .. }) => {
                        "(error) ERR the permits last as long as their session: SESSION KEEPALIVE".to_owned()
                    }
                    Some(grant) => {
                        grant.until_ms = until_ms;
                        "OK".to_owned()
                    }
                };
                (reply, Vec::new())
            }
            Step::Release { back } => {
                let token = self.token(back);
                let had = self.grants.extract_if(.., |grant| grant.token == token).count();
                (if had > 0 { "OK".to_owned() } else { stale(token) }, self.serve())
            }
            Step::Session { session, ttl_ms } => match self.sessions[session].take() {
                Some(_) => ("(integer) 1".to_owned(), self.serve()),
                None => {
                    self.token += 1;
                    self.sessions[session] = Some((self.token, self.now_ms + ttl_ms));
                    (format!("(integer) {}", self.token), Vec::new())
                }
            },
            Step::Delete => {
                let existed = !self.grants.is_empty();
                self.grants.clear();
                (format!("(integer) {}", i32::from(existed)), self.serve())
            }
            Step::Pass { ms } => (String::new(), self.pass(ms)),
            Step::Leave { back } => {
                self.waiters.retain(|waiter| waiter.sequence != next.saturating_sub(back + 1));
                (String::new(), self.serve())
            }
        }
    }

    fn pass(&mut self, ms: u64) -> Vec<(u64, String)> {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        let mut late: Vec<_> = self.waiters.extract_if(.., |waiter| waiter.until_ms < now_ms).collect();
        late.sort_by_key(|waiter| waiter.until_ms);
        for session in &mut self.sessions {
            session.take_if(|(_, until_ms)| *until_ms < now_ms);
        }
        let mut told: Vec<_> = late.iter().map(|waiter| (waiter.sequence, "(nil)".to_owned())).collect();
        told.extend(self.serve());
        told
    }
}

fn not_open(id: u64) -> String {
    format!("(error) NOSESSION session {id} is not open: its time is over, or it was closed")
}

/// Has a replica take a step. What it answers at once.
fn take(driver: &mut Driver, step: &Step, words: Option<&str>, next: u64) -> String {
    match (words, step) {
        (Some(words), _) => show(&driver.command(0, &args(&words.split(' ').collect::<Vec<_>>()))),
        (None, Step::Pass { ms }) => {
            driver.advance(*ms);
            String::new()
        }
        (None, Step::Leave { back }) => {
            driver.run(vec![Operation::Leave { sequence: next.saturating_sub(back + 1) }]);
            String::new()
        }
        (None, _) => unreachable!("a command"),
    }
}

proptest! {
    /// Never more permits than there are, nobody loses his early or keeps them, nobody is passed; and a replica that begins with a
    /// snapshot goes on as one that never did.
    #[test]
    fn semaphores_are_what_the_model_says(steps in vec(step(), 1..80)) {
        let (mut driver, mut other) = (Driver::new(), Driver::new());
        let mut model = Model {
            now_ms: driver.stamp_ms,
            token: driver.machine.stats().fence,
            grants: Vec::new(),
            tokens: Vec::new(),
            waiters: Vec::new(),
            sessions: [None; SESSIONS],
        };
        for step in steps {
            // A key whose last holders were sessions that have ended is there until it is reclaimed: with the next entry.
            if matches!(step, Step::Delete) {
                driver.advance(0);
                other.advance(0);
            }
            let next = driver.machine.session(SESSION).expect("the session is open") + 1;
            let words = model.words(&step);
            let reply = take(&mut driver, &step, words.as_deref(), next);
            prop_assert_eq!(take(&mut other, &step, words.as_deref(), next), &reply[..]);
            let served: Vec<(u64, String)> =
                driver.served.drain(..).map(|(sequence, reply)| (sequence, show(&reply))).collect();
            prop_assert_eq!((reply, served), model.answer(&step, next), "{:?}", step);
            prop_assert_eq!(driver.machine.stats().waiting, model.waiters.len());
            let restored = Machine::restore(driver.machine.snapshot()).expect("a snapshot can be restored");
            prop_assert_eq!(restored.hash(), other.machine.hash());
            driver.machine = restored;
        }
    }
}

/// A copy had the tokens of the original, and whatever was copied back let a token that was returned be good again.
#[test]
fn permits_belong_to_the_name_of_their_semaphore() {
    let mut driver = Driver::new();
    let mut say = |line: &str| show(&driver.command(0, &args(&line.split(' ').collect::<Vec<_>>())));
    let token = say("SEMAPHORE ACQUIRE s 2 OWNER a TTL 1000");
    let token = token.strip_prefix("(integer) ").expect("a token");
    for line in ["COPY s t", "COPY s s DB 1", "RENAME s t", "RENAMENX s t"] {
        let refused = say(line);
        assert!(refused.starts_with("(error) ERR a semaphore keeps its name"), "{line}: {refused}");
    }
    assert_eq!(say("EXISTS s t"), "(integer) 1");
    // The holder may be named, and then it is his or nobody's.
    let stranger = say(&format!("SEMAPHORE RELEASE s {token} OWNER b"));
    assert!(stranger.starts_with("(error) STALE"), "{stranger}");
    assert_eq!(say(&format!("SEMAPHORE RELEASE s {token} OWNER a")), "OK");
}

/// 1,024 may have permits at once, and one more is refused and not kept waiting.
#[test]
fn holders_of_a_semaphore_are_bounded() {
    let mut driver = Driver::new();
    let mut say = |line: &str| show(&driver.command(0, &args(&line.split(' ').collect::<Vec<_>>())));
    for number in 0..1_024 {
        let reply = say(&format!("SEMAPHORE ACQUIRE s 2000 OWNER o{number} TTL 1000"));
        assert!(reply.starts_with("(integer)"), "{number}: {reply}");
    }
    let full = say("SEMAPHORE ACQUIRE s 2000 OWNER last TTL 1000");
    assert_eq!(full, "(nil)");
}
