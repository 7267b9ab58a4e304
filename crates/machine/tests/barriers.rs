//! Barriers beside a model: whoever arrives, waits, is taken back or leaves, in whatever order.

mod support;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_machine::{Machine, Operation};
use support::{Driver, SESSION, args, show};

const PARTIES_MAX: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Arrive {
        party: u8,
        parties: usize,
        /// 0: the time of the set is left alone.
        ttl_ms: u64,
        wait_ms: u64,
    },
    Await {
        parties: usize,
        wait_ms: u64,
    },
    /// Adds parties as to any set, in one command.
    Add {
        parties: BTreeSet<u8>,
    },
    TakeBack {
        party: u8,
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
    let (party, parties) = (|| 0..5u8, || 1..=PARTIES_MAX);
    let (ttl, wait) = (prop_oneof![Just(0), 1..300u64], || prop_oneof![Just(0), 1..500u64]);
    let arrive = (party(), parties(), ttl, wait());
    prop_oneof![
        5 => arrive.prop_map(|(party, parties, ttl_ms, wait_ms)| Step::Arrive { party, parties, ttl_ms, wait_ms }),
        3 => (parties(), wait()).prop_map(|(parties, wait_ms)| Step::Await { parties, wait_ms }),
        1 => proptest::collection::btree_set(party(), 1..4).prop_map(|parties| Step::Add { parties }),
        2 => party().prop_map(|party| Step::TakeBack { party }),
        1 => Just(Step::Delete),
        2 => (1..200u64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..6u64).prop_map(|back| Step::Leave { back }),
    ]
}

struct Waiter {
    sequence: u64,
    parties: usize,
    until_ms: u64,
}

/// What is to be answered: to the step, and to those who waited.
type Answers = (String, Vec<(u64, String)>);

#[derive(Default)]
struct Model {
    now_ms: u64,
    arrived: BTreeSet<u8>,
    /// Until when they have, if not for ever.
    until_ms: Option<u64>,
    waiters: Vec<Waiter>,
}

impl Model {
    fn has(&self, parties: usize) -> bool {
        self.arrived.len() >= parties
    }

    fn count(&self) -> String {
        format!("(integer) {}", self.arrived.len())
    }

    /// Those who wait for the fewest go first, and of these who came first.
    fn serve(&mut self) -> Vec<(u64, String)> {
        let enough = self.arrived.len();
        let mut served: Vec<_> = self.waiters.extract_if(.., |waiter| waiter.parties <= enough).collect();
        served.sort_by_key(|waiter| waiter.parties);
        served.iter().map(|waiter| (waiter.sequence, self.count())).collect()
    }

    fn wait(&mut self, parties: usize, wait_ms: u64, next: u64) -> String {
        match wait_ms {
            _ if self.has(parties) => self.count(),
            0 => "(nil)".to_owned(),
            _ => {
                self.waiters.push(Waiter { sequence: next, parties, until_ms: self.now_ms + wait_ms });
                format!("waits as #{next}")
            }
        }
    }

    /// A set that nobody is left in is gone, and its time with it.
    fn end_if_empty(&mut self) {
        if self.arrived.is_empty() {
            self.until_ms = None;
        }
    }

    fn answer(&mut self, step: &Step, next: u64) -> Answers {
        match step {
            Step::Arrive { party, parties, ttl_ms, wait_ms } => {
                self.arrived.insert(*party);
                if *ttl_ms > 0 {
                    self.until_ms = Some(self.now_ms + ttl_ms);
                }
                (self.wait(*parties, *wait_ms, next), self.serve())
            }
            Step::Await { parties, wait_ms } => (self.wait(*parties, *wait_ms, next), Vec::new()),
            Step::Add { parties } => {
                let before = self.arrived.len();
                self.arrived.extend(parties);
                (format!("(integer) {}", self.arrived.len() - before), self.serve())
            }
            Step::TakeBack { party } => {
                let had = self.arrived.remove(party);
                self.end_if_empty();
                (format!("(integer) {}", u8::from(had)), Vec::new())
            }
            Step::Delete => {
                let existed = !self.arrived.is_empty();
                self.arrived.clear();
                self.end_if_empty();
                (format!("(integer) {}", u8::from(existed)), Vec::new())
            }
            Step::Pass { ms } => (String::new(), self.pass(*ms)),
            Step::Leave { back } => {
                self.waiters.retain(|waiter| waiter.sequence != next.saturating_sub(back + 1));
                (String::new(), Vec::new())
            }
        }
    }

    fn pass(&mut self, ms: u64) -> Vec<(u64, String)> {
        self.now_ms += ms;
        let now_ms = self.now_ms;
        if self.until_ms.is_some_and(|until_ms| until_ms < now_ms) {
            self.arrived.clear();
            self.end_if_empty();
        }
        let mut late: Vec<_> = self.waiters.extract_if(.., |waiter| waiter.until_ms < now_ms).collect();
        late.sort_by_key(|waiter| waiter.until_ms);
        late.iter().map(|waiter| (waiter.sequence, "(nil)".to_owned())).collect()
    }
}

/// What a step sends, if it is a command.
fn words(step: &Step) -> Option<String> {
    let option = |name: &str, ms: u64| if ms > 0 { format!(" {name} {ms}") } else { String::new() };
    Some(match step {
        Step::Arrive { party, parties, ttl_ms, wait_ms } => {
            let (ttl, wait) = (option("TTL", *ttl_ms), option("WAIT", *wait_ms));
            format!("BARRIER ARRIVE b {parties} p{party}{ttl}{wait}")
        }
        Step::Await { parties, wait_ms } => format!("BARRIER AWAIT b {parties}{}", option("WAIT", *wait_ms)),
        Step::Add { parties } => {
            let parties: String = parties.iter().map(|party| format!(" p{party}")).collect();
            format!("SADD b{parties}")
        }
        Step::TakeBack { party } => format!("SREM b p{party}"),
        Step::Delete => "DEL b".to_owned(),
        Step::Pass { .. } | Step::Leave { .. } => return None,
    })
}

/// Has a replica take a step. What it answers at once.
fn take(driver: &mut Driver, step: &Step, next: u64) -> String {
    match (words(step), step) {
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
    /// Nobody goes on before as many have arrived as he waits for, and nobody waits when they have; and a replica that begins
    /// with a snapshot goes on as one that never did.
    #[test]
    fn barriers_are_what_the_model_says(steps in vec(step(), 1..80)) {
        let (mut driver, mut other) = (Driver::new(), Driver::new());
        let mut model = Model { now_ms: driver.stamp_ms, ..Model::default() };
        for step in steps {
            let next = driver.machine.session(SESSION).expect("the session is open") + 1;
            let reply = take(&mut driver, &step, next);
            prop_assert_eq!(take(&mut other, &step, next), &reply[..]);
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
