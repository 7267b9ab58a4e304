//! Elections beside a model: whoever campaigns, leaves, hands over or is late, in whatever order.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_machine::{Machine, Operation};
use support::{Driver, SESSION, args, show};

/// Candidates, and how long each leads.
const OWNERS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Campaign {
        owner: usize,
        ttl_ms: u64,
        wait_ms: u64,
        priority: u32,
    },
    Extend {
        is_stale: bool,
        ttl_ms: u64,
    },
    Resign {
        is_stale: bool,
    },
    Transfer {
        is_stale: bool,
        to: usize,
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
    let campaign = (0..OWNERS, 1..300u64, prop_oneof![Just(0), 1..500u64], 0..3u32);
    let is_stale = || prop::bool::weighted(0.2);
    prop_oneof![
        5 => campaign.prop_map(|(owner, ttl_ms, wait_ms, priority)| {
            Step::Campaign { owner, ttl_ms, wait_ms, priority }
        }),
        1 => (is_stale(), 1..300u64).prop_map(|(is_stale, ttl_ms)| Step::Extend { is_stale, ttl_ms }),
        2 => is_stale().prop_map(|is_stale| Step::Resign { is_stale }),
        2 => (is_stale(), 0..OWNERS).prop_map(|(is_stale, to)| Step::Transfer { is_stale, to }),
        2 => (1..200u64).prop_map(|ms| Step::Pass { ms }),
        1 => (0..6u64).prop_map(|back| Step::Leave { back }),
    ]
}

#[derive(Clone, Debug)]
struct Candidate {
    sequence: u64,
    owner: usize,
    ttl_ms: u64,
    priority: u32,
    until_ms: u64,
}

struct Model {
    now_ms: u64,
    token: u64,
    /// Who leads, and up to when.
    leader: Option<(usize, u64)>,
    /// In the order of arrival.
    candidates: Vec<Candidate>,
}

/// What is to be answered: to the step, and to those who waited.
type Answers = (String, Vec<(u64, String)>);

impl Model {
    fn elect(&mut self, owner: usize, ttl_ms: u64) -> String {
        self.token += 1;
        self.leader = Some((owner, self.now_ms + ttl_ms));
        format!("(integer) {}", self.token)
    }

    /// Nobody leads: the first of those of the greatest priority does, or the one whom the last leader has chosen.
    fn succeed(&mut self, chosen: Option<usize>) -> Vec<(u64, String)> {
        self.leader = None;
        let first =
            (0..self.candidates.len()).min_by_key(|place| u32::MAX - self.candidates[*place].priority);
        let Some(place) = chosen.or(first) else { return Vec::new() };
        let Candidate { sequence, owner, ttl_ms, .. } = self.candidates.remove(place);
        vec![(sequence, self.elect(owner, ttl_ms))]
    }

    /// The token that a step names, or what it is told that it is not the leader's. Nobody has got 1.
    fn refusal(&self, is_stale: bool) -> Option<String> {
        match self.leader {
            None => Some("(error) STALE token 1 is no longer valid: nobody holds it".to_owned()),
            Some(_) if is_stale => {
                Some(format!("(error) STALE token 1 is not the current one, which is {}", self.token))
            }
            Some(_) => None,
        }
    }

    fn answer(&mut self, step: &Step, next: u64) -> Answers {
        let (Step::Extend { is_stale, .. } | Step::Resign { is_stale } | Step::Transfer { is_stale, .. }) =
            *step
        else {
            return self.go_on(step, next);
        };
        if let Some(refusal) = self.refusal(is_stale) {
            return (refusal, Vec::new());
        }
        let ok = "OK".to_owned();
        match *step {
            Step::Extend { ttl_ms, .. } => {
                self.leader = self.leader.map(|(owner, _)| (owner, self.now_ms + ttl_ms));
                (ok, Vec::new())
            }
            Step::Transfer { to, .. } => {
                // Of several campaigns of his the one that would be elected first.
                let his = (0..self.candidates.len()).filter(|place| self.candidates[*place].owner == to);
                match his.min_by_key(|place| u32::MAX - self.candidates[*place].priority) {
                    Some(place) => (ok, self.succeed(Some(place))),
                    None => {
                        let told = "(error) ERR no such candidate waits: ELECTION CANDIDATES shows who does";
                        (told.to_owned(), Vec::new())
                    }
                }
            }
            _ => (ok, self.succeed(None)),
        }
    }

    fn go_on(&mut self, step: &Step, next: u64) -> Answers {
        match *step {
            Step::Campaign { owner, ttl_ms, .. } if self.leader.is_none() => {
                (self.elect(owner, ttl_ms), Vec::new())
            }
            Step::Campaign { owner, ttl_ms, wait_ms, priority } if wait_ms > 0 => {
                let until_ms = self.now_ms + wait_ms;
                self.candidates.push(Candidate { sequence: next, owner, ttl_ms, priority, until_ms });
                (format!("waits as #{next}"), Vec::new())
            }
            Step::Pass { ms } => {
                self.now_ms += ms;
                let now_ms = self.now_ms;
                let mut late: Vec<_> =
                    self.candidates.extract_if(.., |candidate| candidate.until_ms < now_ms).collect();
                late.sort_by_key(|candidate| candidate.until_ms);
                let told = late.iter().map(|candidate| (candidate.sequence, "(nil)".to_owned()));
                let mut served: Vec<_> = told.collect();
                if self.leader.is_some_and(|(_, until_ms)| until_ms < now_ms) {
                    served.extend(self.succeed(None));
                }
                (String::new(), served)
            }
            Step::Leave { back } => {
                self.candidates.retain(|candidate| candidate.sequence != next.saturating_sub(back + 1));
                (String::new(), Vec::new())
            }
            _ => ("(nil)".to_owned(), Vec::new()),
        }
    }

    /// What a step sends, if it is a command.
    fn words(&self, step: &Step) -> Option<String> {
        let token = |is_stale| if is_stale || self.leader.is_none() { 1 } else { self.token };
        Some(match *step {
            Step::Campaign { owner, ttl_ms, wait_ms, priority } => {
                let wait = if wait_ms > 0 { format!(" WAIT {wait_ms}") } else { String::new() };
                format!("ELECTION CAMPAIGN e OWNER o{owner} TTL {ttl_ms} PRIORITY {priority}{wait}")
            }
            Step::Extend { is_stale, ttl_ms } => format!("ELECTION EXTEND e {} {ttl_ms}", token(is_stale)),
            Step::Resign { is_stale } => format!("ELECTION RESIGN e {}", token(is_stale)),
            Step::Transfer { is_stale, to } => format!("ELECTION TRANSFER e {} OWNER o{to}", token(is_stale)),
            Step::Pass { .. } | Step::Leave { .. } => return None,
        })
    }
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
    /// Never two leaders, tokens grow, nobody leads too long or loses what he leads early, and candidates are elected by priority,
    /// then in the order of arrival, but for the one who is handed over to; a replica that begins with a snapshot goes on as
    /// one that never did.
    #[test]
    fn elections_are_what_the_model_says(steps in vec(step(), 1..80)) {
        let (mut driver, mut other) = (Driver::new(), Driver::new());
        let mut model = Model {
            now_ms: driver.stamp_ms,
            token: driver.machine.stats().fence,
            leader: None,
            candidates: Vec::new(),
        };
        for step in steps {
            let next = driver.machine.session(SESSION).expect("the session is open") + 1;
            let words = model.words(&step);
            let reply = take(&mut driver, &step, words.as_deref(), next);
            prop_assert_eq!(take(&mut other, &step, words.as_deref(), next), &reply[..]);
            let served: Vec<(u64, String)> =
                driver.served.drain(..).map(|(sequence, reply)| (sequence, show(&reply))).collect();
            prop_assert_eq!((reply, served), model.answer(&step, next), "{:?}", step);
            prop_assert_eq!(driver.machine.stats().waiting, model.candidates.len());
            let restored = Machine::restore(driver.machine.snapshot()).expect("a snapshot can be restored");
            prop_assert_eq!(restored.hash(), other.machine.hash());
            driver.machine = restored;
        }
    }
}
