//! Several locks at once: clients take one, two or three of four locks, all or none, in whatever order they name them, with a place
//! in the queues or without. Those that they have they release one after another, or keep until their time is over.
//!
//! Who is patient waits for longer than the world is allowed to take for an answer when everything works again. All who hold a
//! lock do so for a short time, so that he gets it; unless he waits for somebody who waits for him, or nobody looks for him (hazard 32).

use std::time::Duration;

use quorate_node::Request;

use super::{
    Exchange, Outcome, Step, Workload,
    shared_locks::{self, Acquired, Held, Holder, Repeated, Wanted},
    think,
};
use crate::{
    checks::{Failure, history::History},
    random::Random,
    time::SimTime,
};

/// How many locks all clients share: few, so that they want each other's.
const LOCKS: u64 = 4;
/// How many are taken at once at most.
const SEVERAL_MAX: u64 = 3;
/// How long a lock lasts at most, and once more since it is extended once: all who are before somebody in a queue are done in
/// some seconds.
const TTL_MS_MAX: u64 = 500;
/// For how long who is patient waits.
const PATIENCE_MS: u64 = 60_000;
/// Of a thousand times that a client might do something while its node is down, how often it goes to another one before.
const LEAVES_PERMILLE: u64 = 100;

#[derive(Debug)]
pub(crate) struct SeveralLocks {
    client: usize,
    attempts: u64,
    /// What it was just given, and may have waited for: it extends that before it relies on it.
    given: Vec<Held>,
    held: Vec<Held>,
    asked: Asked,
    /// Whether it was refused what it has to ask again.
    is_patient: bool,
}

/// What a client has asked.
#[derive(Debug)]
enum Asked {
    Nothing,
    /// It has asked for locks, or is about to ask again.
    Locks(Wanted),
    Extension(Held),
    /// It has asked to release a lock that it believes in no more, or is about to ask again.
    Release(Held),
    /// Who holds a lock.
    Holders(String),
}

impl SeveralLocks {
    pub(crate) fn new(client: usize) -> Self {
        let (given, held) = (Vec::new(), Vec::new());
        Self { client, attempts: 0, given, held, asked: Asked::Nothing, is_patient: false }
    }

    /// What it does that has no lock.
    fn begin(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match random.below(10) {
            0..2 => think(random),
            2..5 => self.look(lock(random.below(LOCKS))),
            _ => {
                self.attempts += 1;
                let name = format!("several-{}-{}", self.client, self.attempts);
                let request = Repeated::new(name.clone());
                let ttl = Duration::from_millis(random.between(100, TTL_MS_MAX));
                let wait_ms = match random.below(10) {
                    0..3 => 0,
                    3..6 => random.between(50, 1000),
                    _ => PATIENCE_MS,
                };
                let holder = Holder::Owner { name, ttl, valid_until: now };
                let keys = some_locks(random);
                self.acquire(now, Wanted { keys, holder, is_shared: false, wait_ms, request }, history)
            }
        }
    }

    /// What it does with a lock that it has.
    fn hold(&mut self, now: SimTime, held: Held, random: &mut Random, history: &mut History) -> Step {
        if now >= held.believed_until(history) {
            held.disbelieve(now, history);
            return think(random);
        }
        match random.below(10) {
            0..3 => {
                self.held.push(held);
                think(random)
            }
            3..5 => {
                let key = held.key.clone();
                self.held.push(held);
                self.look(key)
            }
            _ => {
                held.disbelieve(now, history);
                self.release(now, held)
            }
        }
    }

    fn ask(&mut self, asked: Asked, request: Request) -> Step {
        self.asked = asked;
        Step::Ask(vec![request])
    }

    fn acquire(&mut self, now: SimTime, mut wanted: Wanted, history: &mut History) -> Step {
        let request = wanted.ask(now, history);
        self.ask(Asked::Locks(wanted), request)
    }

    fn release(&mut self, now: SimTime, mut held: Held) -> Step {
        let request = held.ask_release(now);
        self.ask(Asked::Release(held), request)
    }

    fn look(&mut self, key: String) -> Step {
        let request = shared_locks::look(&key);
        self.ask(Asked::Holders(key), request)
    }

    fn acquired(
        &mut self,
        wanted: Wanted,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match wanted.learn(exchange, history)? {
            Acquired::Held(held) => self.given = held,
            Acquired::Not => {}
            Acquired::Again(wanted, is_refused) => {
                (self.asked, self.is_patient) = (Asked::Locks(wanted), is_refused);
            }
            Acquired::SessionGone => unreachable!("it has no session"),
        }
        Ok(())
    }
}

/// The locks that all share.
pub(crate) fn locks() -> impl Iterator<Item = String> {
    (0..LOCKS).map(lock)
}

fn lock(number: u64) -> String {
    format!("one-of-several:{number}")
}

/// One lock or more, in any order.
fn some_locks(random: &mut Random) -> Vec<String> {
    let mut all: Vec<u64> = (0..LOCKS).collect();
    let count = random.between(1, SEVERAL_MAX);
    (0..count).map(|_| lock(all.swap_remove(random.index(all.len())))).collect()
}

impl Workload for SeveralLocks {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        if std::mem::take(&mut self.is_patient) {
            return think(random);
        }
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => {
                if let Some(held) = self.given.pop() {
                    let request = held.ask_extension().expect("it has a time of its own");
                    return self.ask(Asked::Extension(held), request);
                }
                match self.held.pop() {
                    Some(held) => self.hold(now, held, random, history),
                    None => self.begin(now, random, history),
                }
            }
            Asked::Locks(wanted) => self.acquire(now, wanted, history),
            Asked::Release(held) => self.release(now, held),
            asked => unreachable!("{asked:?} is asked once"),
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Locks(wanted) => self.acquired(wanted, exchange, history)?,
            Asked::Extension(mut held) => match held.learn_extension(exchange, history)? {
                true => self.held.push(held),
                false => held.disbelieve(held.valid_until(history), history),
            },
            Asked::Release(mut held) => {
                if !held.learn_release(exchange, history)? {
                    self.is_patient = matches!(exchange.outcome(0), Outcome::Refused);
                    self.asked = Asked::Release(held);
                }
            }
            Asked::Holders(key) => {
                let Outcome::Done(answer, span) = exchange.outcome(0) else { return Ok(()) };
                let held = self.held.iter().find(|held| held.key == key);
                shared_locks::learn_who_holds(&key, held, (answer, span), history)?;
            }
            Asked::Nothing => unreachable!("it has asked for nothing"),
        }
        Ok(())
    }

    fn goes_elsewhere(&self, is_down: bool, random: &mut Random) -> bool {
        is_down && random.chance(LEAVES_PERMILLE)
    }

    fn end(&mut self, now: SimTime, history: &mut History) {
        self.given.drain(..).chain(self.held.drain(..)).for_each(|held| held.disbelieve(now, history));
    }
}
