//! Semaphores: clients take one permit or more, with a place in the queue or without, extend and return them, and look who has
//! some and who waits. All name what they ask, and ask again when they lose sight of it.

use std::time::Duration;

use quorate_machine::Reply;
use quorate_node::{Action, Answer, Request};

use super::{
    Exchange, Outcome, Step, Workload, arguments, candidates::field, locks::valid_until,
    native_locks::is_stale, place, read, think, unexpected, write,
};
use crate::{
    checks::{Failure, Span, check, history::History},
    random::Random,
    time::SimTime,
};

/// How many semaphores all clients share, and how many permits each has: few, so that some always wait.
const SEMAPHORES: usize = 2;
pub(crate) const LIMIT: u64 = 3;
const NEVER_EARLY: &str = "nothing expires early";

#[derive(Debug)]
pub(crate) struct Permits {
    client: usize,
    attempts: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    /// It has asked who waits.
    Looking(String),
    /// It has asked for permits, or is about to ask again.
    Wanted(Wanted),
    /// It has asked to extend them, if it has asked for anything.
    Held(Held),
    /// It believes in its permits no more, and has asked to return them.
    Leaving(Held),
}

#[derive(Debug, Clone)]
struct Wanted {
    semaphore: String,
    /// As owner and as request.
    id: String,
    ttl: Duration,
    wait_ms: u64,
    count: u64,
    first_sent: Option<SimTime>,
}

/// Permits that a client believes in until `valid_until`.
#[derive(Debug, Clone)]
struct Held {
    semaphore: String,
    ttl: Duration,
    count: u64,
    token: u64,
    from: SimTime,
    valid_until: SimTime,
}

impl Permits {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, attempts: 0, state: State::Free }
    }

    fn begin(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        let semaphore = format!("semaphore:{}", random.index(SEMAPHORES));
        match random.below(10) {
            0..3 => think(random),
            3..6 => {
                let request = read(&["SEMAPHORE", "INFO", &semaphore]);
                self.state = State::Looking(semaphore);
                Step::Ask(vec![request])
            }
            _ => {
                self.attempts += 1;
                let id = format!("permits-{}-{}", self.client, self.attempts);
                let ttl = Duration::from_millis(random.between(100, 3000));
                let wait_ms = if random.chance(800) { random.between(50, 3000) } else { 0 };
                let count = random.between(1, LIMIT);
                self.ask(now, Wanted { semaphore, id, ttl, wait_ms, count, first_sent: None }, history)
            }
        }
    }

    /// Asks for permits, for the first time or again.
    fn ask(&mut self, now: SimTime, mut wanted: Wanted, history: &mut History) -> Step {
        if wanted.first_sent.is_some() {
            history.permits.turns.repeated(&wanted.id);
        }
        wanted.first_sent.get_or_insert(now);
        let Wanted { semaphore, id, ttl, wait_ms, count, .. } = &wanted;
        let [ttl, wait, count] = [ttl.as_millis().to_string(), wait_ms.to_string(), count.to_string()];
        let limit = LIMIT.to_string();
        let mut words = vec!["SEMAPHORE", "ACQUIRE", semaphore, &limit, "OWNER", id, "TTL", &ttl];
        words.extend(["COUNT", &count, "REQUEST", id]);
        if *wait_ms > 0 {
            words.extend(["WAIT", &wait]);
        }
        let args = arguments(&words);
        let action = if *wait_ms > 0 { Action::Wait(args) } else { Action::Write(args) };
        history.mortal.insert(semaphore.clone());
        self.state = State::Wanted(wanted);
        Step::Ask(vec![Request { db: 0, action }])
    }

    fn hold(&mut self, now: SimTime, random: &mut Random, history: &mut History, held: Held) -> Step {
        let token = held.token.to_string();
        if now >= held.valid_until {
            held.disbelieve(held.valid_until, history);
            return think(random);
        }
        let (state, request) = match random.below(10) {
            0..3 => {
                self.state = State::Held(held);
                return think(random);
            }
            3..6 => {
                let ttl = held.ttl.as_millis().to_string();
                let request = write(&["SEMAPHORE", "EXTEND", &held.semaphore, &token, &ttl]);
                (State::Held(held), request)
            }
            _ => {
                held.disbelieve(now, history);
                let request = write(&["SEMAPHORE", "RELEASE", &held.semaphore, &token]);
                (State::Leaving(held), request)
            }
        };
        self.state = state;
        Step::Ask(vec![request])
    }

    fn acquired(
        &mut self,
        wanted: Wanted,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match exchange.outcome(0) {
            Outcome::Unknown => self.state = State::Wanted(wanted),
            Outcome::Refused | Outcome::Done(Answer::Reply(Reply::Null), _) => {}
            Outcome::Done(answer, span) => {
                let token = place("SEMAPHORE ACQUIRE", answer)?;
                let Wanted { semaphore, id, ttl, count, first_sent, .. } = wanted;
                let invoked = first_sent.unwrap_or(span.invoked);
                history.tokens(&semaphore).took(token, Span { invoked, ..span })?;
                history.permits.turns.served(&semaphore, token, &id);
                let (from, valid_until) = (span.completed, valid_until(invoked, ttl));
                self.state = State::Held(Held { semaphore, ttl, count, token, from, valid_until });
            }
        }
        Ok(())
    }

    fn extended(
        &mut self,
        mut held: Held,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match exchange.outcome(0) {
            Outcome::Refused | Outcome::Unknown => {}
            Outcome::Done(answer, span) if is_stale(answer) => {
                held.disbelieve(held.valid_until, history);
                return held.may_be_over(span);
            }
            Outcome::Done(Answer::Reply(reply), _) if *reply == Reply::ok() => {
                held.valid_until = held.valid_until.max(valid_until(exchange.sent, held.ttl));
            }
            Outcome::Done(answer, _) => return Err(unexpected("SEMAPHORE EXTEND", answer)),
        }
        self.state = State::Held(held);
        Ok(())
    }
}

impl Held {
    fn disbelieve(&self, at: SimTime, history: &mut History) {
        history.permits.add(&self.semaphore, self.count, self.from, at.min(self.valid_until));
    }

    /// Judges that the service does not know the permits any more.
    fn may_be_over(&self, span: Span) -> Result<(), Failure> {
        check(span.completed >= self.valid_until, NEVER_EARLY, || {
            let (semaphore, token, until) = (&self.semaphore, self.token, self.valid_until);
            format!("{token} of {semaphore} is stale at {}, valid until {until}", span.completed)
        })
    }

    fn returned(&self, exchange: &Exchange) -> Result<(), Failure> {
        match exchange.outcome(0) {
            Outcome::Refused | Outcome::Unknown => Ok(()),
            Outcome::Done(answer, span) if is_stale(answer) => self.may_be_over(span),
            Outcome::Done(Answer::Reply(reply), _) if *reply == Reply::ok() => Ok(()),
            Outcome::Done(answer, _) => Err(unexpected("SEMAPHORE RELEASE", answer)),
        }
    }
}

/// Remembers who waits.
fn seen(semaphore: &str, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
    let (answer, info) = match exchange.outcome(0) {
        Outcome::Done(Answer::Reply(Reply::Null), _) | Outcome::Refused | Outcome::Unknown => return Ok(()),
        Outcome::Done(answer @ Answer::Reply(info), _) => (answer, info),
        Outcome::Done(answer, _) => return Err(unexpected("SEMAPHORE INFO", answer)),
    };
    let Some(Reply::Array(queue)) = field(info, "queue") else {
        return Err(unexpected("SEMAPHORE INFO", answer));
    };
    let owner = |waiter| match field(waiter, "owner") {
        Some(Reply::Bulk(owner)) => Ok(String::from_utf8_lossy(owner).into_owned()),
        _ => Err(unexpected("SEMAPHORE INFO", answer)),
    };
    history.permits.turns.see(semaphore, queue.iter().map(owner).collect::<Result<_, _>>()?);
    Ok(())
}

impl Workload for Permits {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match std::mem::replace(&mut self.state, State::Free) {
            State::Free => self.begin(now, random, history),
            State::Wanted(wanted) => self.ask(now, wanted, history),
            State::Held(held) => self.hold(now, random, history, held),
            state @ (State::Looking(_) | State::Leaving(_)) => {
                unreachable!("{state:?} is asked about at once")
            }
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, State::Free) {
            State::Looking(semaphore) => seen(&semaphore, exchange, history),
            State::Wanted(wanted) => self.acquired(wanted, exchange, history),
            State::Held(held) => self.extended(held, exchange, history),
            State::Leaving(held) => held.returned(exchange),
            State::Free => unreachable!("it has asked for nothing"),
        }
    }

    fn end(&mut self, now: SimTime, history: &mut History) {
        if let State::Held(held) = std::mem::replace(&mut self.state, State::Free) {
            held.disbelieve(now, history);
        }
    }
}
