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
        is_named: bool,
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
    let acquire = (lock(), 0..3u8, 1..300u64, prop_oneof![Just(0), 1..500u64], any::<bool>(), any::<bool>());
    prop_oneof![
        4 => acquire.prop_map(|(lock, owner, ttl_ms, wait_ms, is_reentrant, is_named)| {
            Step::Acquire { lock, owner, ttl_ms, wait_ms, is_reentrant, is_named }
        }),
        1 => (lock(), any::<bool>(), 1..300u64)
            .prop_map(|(lock, is_stale, ttl_ms)| Step::Extend { lock, is_stale, ttl_ms }),
        2 => (lock(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(lock, is_stale, is_named)| Step::Release { lock, is_stale, is_named }),
        2 => (0..4usize).prop_map(|back| Step::Again { back }),
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
    is_reentrant: bool,
    until_ms: u64,
    /// Its place in the model's list.
    named: Option<usize>,
}

/// What was asked under a name: its place in the model's list.
#[derive(Clone, Debug)]
struct Named {
    step: Step,
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
}

impl Model {
    fn grant(&mut self, lock: usize, owner: u8, ttl_ms: u64) -> String {
        self.token += 1;
        let (token, until_ms) = (self.token, self.now_ms + ttl_ms);
        self.locks[lock] = Some(Held { owner, token, depth: 1, until_ms });
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
        let first = self.waiters.iter().position(|waiter| waiter.lock == lock);
        let Some(first) = first.filter(|_| self.locks[lock].is_none()) else { return Vec::new() };
        let first = self.waiters.remove(first);
        let of_owner =
            |waiter: &mut Waiter| waiter.lock == lock && waiter.owner == first.owner && waiter.is_reentrant;
        let again: Vec<Waiter> = self.waiters.extract_if(.., of_owner).collect();
        let reply = self.grant(lock, first.owner, first.ttl_ms);
        self.remember(first.named, &reply);
        let mut served = vec![(first.sequence, reply)];
        for waiter in again {
            let reply = self.enter(lock, waiter.ttl_ms);
            self.remember(waiter.named, &reply);
            served.push((waiter.sequence, reply));
        }
        served
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

    fn stale(&self, lock: usize, token: u64) -> String {
        match &self.locks[lock] {
            Some(held) => {
                format!("(error) STALE token {token} is not the current one, which is {}", held.token)
            }
            None => format!("(error) STALE token {token} is no longer valid: nobody holds it"),
        }
    }

    fn acquire(&mut self, step: &Step, named: Option<usize>, sequence: u64) -> String {
        let Step::Acquire { lock, owner, ttl_ms, wait_ms, is_reentrant, .. } = *step else { unreachable!() };
        match &self.locks[lock] {
            None => self.grant(lock, owner, ttl_ms),
            Some(held) if is_reentrant && held.owner == owner => self.enter(lock, ttl_ms),
            Some(_) if wait_ms > 0 => {
                let until_ms = self.now_ms + wait_ms;
                self.waiters.push(Waiter { sequence, lock, owner, ttl_ms, is_reentrant, until_ms, named });
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
            free.extend(held.take_if(|held| held.until_ms < now_ms).map(|held| (held.until_ms, lock)));
        }
        free.sort_unstable();
        answers.extend(free.into_iter().flat_map(|(_, lock)| self.serve(lock)));
        answers
    }
}

/// A command, by the current token of its lock or by `token`.
fn words(step: &Step, token: u64, name: Option<usize>) -> String {
    let name = name.map_or(String::new(), |name| format!(" REQUEST r{name}"));
    match *step {
        Step::Acquire { lock, owner, ttl_ms, wait_ms, is_reentrant, .. } => {
            let reentrant = if is_reentrant { " REENTRANT" } else { "" };
            format!("LOCK ACQUIRE l{lock} OWNER o{owner} TTL {ttl_ms} WAIT {wait_ms}{reentrant}{name}")
        }
        Step::Extend { lock, ttl_ms, .. } => format!("LOCK EXTEND l{lock} {token} {ttl_ms}"),
        Step::Release { lock, .. } => format!("LOCK RELEASE l{lock} {token}{name}"),
        Step::Delete { lock } => format!("DEL l{lock}"),
        Step::Again { .. } | Step::Pass { .. } | Step::Leave { .. } => unreachable!("no command of its own"),
    }
}

impl Model {
    /// The token that a step names. Nobody has got 1.
    fn token(&self, step: &Step) -> u64 {
        match *step {
            Step::Extend { lock, is_stale, .. } | Step::Release { lock, is_stale, .. } => {
                self.locks[lock].as_ref().filter(|_| !is_stale).map_or(1, |held| held.token)
            }
            _ => 1,
        }
    }

    /// What a step sends, if it is a command.
    fn command(&mut self, step: &Step) -> Option<Named> {
        let is_named = match *step {
            Step::Acquire { is_named, .. } | Step::Release { is_named, .. } => is_named,
            Step::Extend { .. } | Step::Delete { .. } => false,
            Step::Again { back } => {
                return self.named.len().checked_sub(back + 1).map(|place| self.named[place].clone());
            }
            Step::Pass { .. } | Step::Leave { .. } => return None,
        };
        let token = self.token(step);
        let words = words(step, token, is_named.then_some(self.named.len()));
        let named = Named { step: step.clone(), words, token, reply: None };
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
        let (reply, served) = self.carry_out(&command.step, command.token, named, sequence);
        self.remember(named, &reply);
        (reply, served)
    }

    fn carry_out(&mut self, step: &Step, token: u64, named: Option<usize>, sequence: u64) -> Answers {
        match *step {
            Step::Acquire { .. } => (self.acquire(step, named, sequence), Vec::new()),
            Step::Extend { lock, ttl_ms, .. } => match &mut self.locks[lock] {
                Some(held) if held.token == token => {
                    held.until_ms = self.now_ms + ttl_ms;
                    ("OK".to_owned(), Vec::new())
                }
                Some(_) | None => (self.stale(lock, token), Vec::new()),
            },
            Step::Release { lock, .. } => match &self.locks[lock] {
                Some(held) if held.token == token => self.release(lock),
                Some(_) | None => (self.stale(lock, token), Vec::new()),
            },
            Step::Delete { lock } => {
                let existed = self.locks[lock].take().is_some();
                (format!("(integer) {}", i32::from(existed)), self.serve(lock))
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
        };
        for step in steps {
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
