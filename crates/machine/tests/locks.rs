//! Native locks beside a model: whatever is done to them, in whatever order, and whatever time does.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_machine::{Machine, Operation};
use support::{Driver, SESSION, args, show};

/// How many locks there are.
const LOCKS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Acquire {
        lock: usize,
        owner: u8,
        ttl_ms: u64,
        wait_ms: u64,
        is_reentrant: bool,
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
    },
    Delete {
        lock: usize,
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
    let lock = || 0..LOCKS;
    let acquire = (lock(), 0..3u8, 1..300u64, prop_oneof![Just(0), 1..500u64], any::<bool>());
    prop_oneof![
        4 => acquire.prop_map(|(lock, owner, ttl_ms, wait_ms, is_reentrant)| {
            Step::Acquire { lock, owner, ttl_ms, wait_ms, is_reentrant }
        }),
        1 => (lock(), any::<bool>(), 1..300u64)
            .prop_map(|(lock, is_stale, ttl_ms)| Step::Extend { lock, is_stale, ttl_ms }),
        2 => (lock(), prop::bool::weighted(0.2)).prop_map(|(lock, is_stale)| Step::Release { lock, is_stale }),
        1 => lock().prop_map(|lock| Step::Delete { lock }),
        2 => (1..200u64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..6u64).prop_map(|back| Step::Leave { back }),
    ]
}

#[derive(Clone, Debug)]
struct Held {
    owner: u8,
    token: u64,
    depth: u64,
    /// The last millisecond.
    until_ms: u64,
}

#[derive(Clone, Debug)]
struct Waiter {
    sequence: u64,
    lock: usize,
    owner: u8,
    ttl_ms: u64,
    until_ms: u64,
}

/// What is to be answered: to the step, and to those who waited.
type Answers = (String, Vec<(u64, String)>);

struct Model {
    now_ms: u64,
    token: u64,
    locks: [Option<Held>; LOCKS],
    waiters: Vec<Waiter>,
}

impl Model {
    fn grant(&mut self, lock: usize, owner: u8, ttl_ms: u64) -> String {
        self.token += 1;
        let (token, until_ms) = (self.token, self.now_ms + ttl_ms);
        self.locks[lock] = Some(Held { owner, token, depth: 1, until_ms });
        format!("(integer) {token}")
    }

    /// Gives a lock to whoever waits longest, if it is free.
    fn serve(&mut self, lock: usize) -> Vec<(u64, String)> {
        let first = self.waiters.iter().position(|waiter| waiter.lock == lock);
        let Some(first) = first.filter(|_| self.locks[lock].is_none()) else { return Vec::new() };
        let Waiter { sequence, owner, ttl_ms, .. } = self.waiters.remove(first);
        vec![(sequence, self.grant(lock, owner, ttl_ms))]
    }

    fn stale(&self, lock: usize, token: u64) -> String {
        match &self.locks[lock] {
            Some(held) => {
                format!("(error) STALE token {token} is not the current one, which is {}", held.token)
            }
            None => format!("(error) STALE token {token} is no longer valid: nobody holds it"),
        }
    }

    fn acquire(&mut self, step: &Step, sequence: u64) -> String {
        let Step::Acquire { lock, owner, ttl_ms, wait_ms, is_reentrant } = *step else { unreachable!() };
        match &mut self.locks[lock] {
            None => self.grant(lock, owner, ttl_ms),
            Some(held) if is_reentrant && held.owner == owner => {
                held.depth += 1;
                held.until_ms = held.until_ms.max(self.now_ms + ttl_ms);
                format!("(integer) {}", held.token)
            }
            Some(_) if wait_ms > 0 => {
                let until_ms = self.now_ms + wait_ms;
                self.waiters.push(Waiter { sequence, lock, owner, ttl_ms, until_ms });
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
        let mut answers: Vec<(u64, String)> =
            over.into_iter().map(|waiter| (waiter.sequence, "(nil)".to_owned())).collect();
        let mut free: Vec<(u64, usize)> = Vec::new();
        for (lock, held) in self.locks.iter_mut().enumerate() {
            free.extend(held.take_if(|held| held.until_ms < now_ms).map(|held| (held.until_ms, lock)));
        }
        free.sort_unstable();
        answers.extend(free.into_iter().flat_map(|(_, lock)| self.serve(lock)));
        answers
    }
}

fn words(step: &Step, token: impl Fn(usize, bool) -> u64) -> String {
    match *step {
        Step::Acquire { lock, owner, ttl_ms, wait_ms, is_reentrant } => {
            let reentrant = if is_reentrant { " REENTRANT" } else { "" };
            format!("LOCK ACQUIRE l{lock} OWNER o{owner} TTL {ttl_ms} WAIT {wait_ms}{reentrant}")
        }
        Step::Extend { lock, is_stale, ttl_ms } => {
            format!("LOCK EXTEND l{lock} {} {ttl_ms}", token(lock, is_stale))
        }
        Step::Release { lock, is_stale } => format!("LOCK RELEASE l{lock} {}", token(lock, is_stale)),
        Step::Delete { lock } => format!("DEL l{lock}"),
        Step::Pass { .. } | Step::Leave { .. } => unreachable!("no command"),
    }
}

fn expected(model: &mut Model, step: &Step, sequence: u64, token: u64) -> Answers {
    match *step {
        Step::Acquire { .. } => (model.acquire(step, sequence), Vec::new()),
        Step::Extend { lock, ttl_ms, .. } => match &mut model.locks[lock] {
            Some(held) if held.token == token => {
                held.until_ms = model.now_ms + ttl_ms;
                ("OK".to_owned(), Vec::new())
            }
            Some(_) | None => (model.stale(lock, token), Vec::new()),
        },
        Step::Release { lock, .. } => match &model.locks[lock] {
            Some(held) if held.token == token => model.release(lock),
            Some(_) | None => (model.stale(lock, token), Vec::new()),
        },
        Step::Delete { lock } => {
            let existed = model.locks[lock].take().is_some();
            (format!("(integer) {}", i32::from(existed)), model.serve(lock))
        }
        Step::Pass { ms } => (String::new(), model.pass(ms)),
        Step::Leave { back } => {
            let left = sequence.saturating_sub(back + 1);
            model.waiters.retain(|waiter| waiter.sequence != left);
            (String::new(), Vec::new())
        }
    }
}

/// Has a replica take a step. What it answers at once.
fn take(driver: &mut Driver, step: &Step, next: u64, token: impl Fn(usize, bool) -> u64) -> String {
    match step {
        Step::Pass { ms } => {
            driver.advance(*ms);
            String::new()
        }
        Step::Leave { back } => {
            let sequence = next.saturating_sub(back + 1);
            driver.run(vec![Operation::Leave { sequence }]);
            String::new()
        }
        Step::Acquire { .. } | Step::Extend { .. } | Step::Release { .. } | Step::Delete { .. } => {
            let words = words(step, token);
            show(&driver.command(0, &args(&words.split(' ').collect::<Vec<_>>())))
        }
    }
}

proptest! {
    /// Never two holders, tokens grow, nobody loses a lock early or keeps it, nobody is passed; and a replica that begins
    /// with a snapshot goes on as one that never did.
    #[test]
    fn locks_are_what_the_model_says(steps in vec(step(), 1..80)) {
        let (mut driver, mut other) = (Driver::new(), Driver::new());
        let fence = driver.machine.stats().fence;
        let mut model =
            Model { now_ms: driver.stamp_ms, token: fence, locks: [None, None], waiters: Vec::new() };
        for step in steps {
            let next = driver.machine.session(SESSION).expect("the session is open") + 1;
            // Nobody has got 1.
            let token = |lock: usize, is_stale: bool| {
                model.locks[lock].as_ref().filter(|_| !is_stale).map_or(1, |held| held.token)
            };
            let reply = take(&mut driver, &step, next, token);
            prop_assert_eq!(take(&mut other, &step, next, token), &reply[..]);
            let token = match step {
                Step::Extend { lock, is_stale, .. } | Step::Release { lock, is_stale } => token(lock, is_stale),
                Step::Acquire { .. } | Step::Delete { .. } | Step::Pass { .. } | Step::Leave { .. } => 0,
            };
            let expected = expected(&mut model, &step, next, token);
            let served: Vec<(u64, String)> =
                driver.served.drain(..).map(|(sequence, reply)| (sequence, show(&reply))).collect();
            prop_assert_eq!((reply, served), expected, "{:?}", step);
            prop_assert_eq!(driver.machine.stats().waiting, model.waiters.len());
            let restored = Machine::restore(driver.machine.snapshot()).expect("a snapshot can be restored");
            prop_assert_eq!(restored.hash(), other.machine.hash());
            driver.machine = restored;
        }
    }
}
