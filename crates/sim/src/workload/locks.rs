//! Plain lock code, as every Redis client has it: `SET key id NX PX ttl` to acquire, compare-and-delete to release,
//! compare-and-expire to extend, and `FENCE key id` for the token.
//!
//! The client believes in its lock for as long as its own clock says so, counted from when it sent the request that
//! was granted; meanwhile the service must agree with it, and nobody else may believe the same.

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::{Reply, Watched};
use quorate_node::{Action, Answer, Request};

use super::{
    Exchange, Outcome, Step, Workload, arguments, integer, place, read, string, think, unexpected, write,
};
use crate::{
    checks::{Failure, Span, check, history::History, holders::Way},
    clock::DRIFT_PPM_MAX,
    random::Random,
    time::{SimTime, micros},
};

/// How many locks all clients share.
const LOCKS: usize = 2;
const PROPERTY: &str = "nothing expires early";

const RELEASE: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) \
                       else return 0 end";
const EXTEND: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
                      return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end";

#[derive(Debug)]
pub(crate) struct Locks {
    client: usize,
    attempts: u64,
    /// Whether it changes its lock by scripts; otherwise by WATCH and MULTI.
    by_script: bool,
    state: State,
    asked: Asked,
}

#[derive(Debug)]
enum State {
    Free,
    Held(Held),
}

/// A lock that the client believes in until `valid_until`.
#[derive(Debug, Clone)]
struct Held {
    key: String,
    id: String,
    ttl: Duration,
    acquired: Span,
    valid_until: SimTime,
    /// Its fencing token, once that is known.
    token: Option<u64>,
    /// A change of unknown outcome may still be under way, and spoil a transaction.
    is_disturbed: bool,
    /// What it means to do under WATCH, once it knows that the lock is still its own.
    checked: Option<(Intent, Vec<Watched>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intent {
    Extend,
    Release,
}

#[derive(Debug)]
enum Asked {
    Nothing,
    Acquire { key: String, id: String, ttl: Duration },
    Fence,
    Check(Intent),
    Change(Intent),
}

/// Until when a client believes in what it asked for at `sent`: its clock may run slow against the cluster's.
pub(super) fn valid_until(sent: SimTime, ttl: Duration) -> SimTime {
    let drift = micros(ttl) * DRIFT_PPM_MAX / 1_000_000;
    sent + ttl.saturating_sub(Duration::from_micros(drift))
}

impl Locks {
    pub(crate) fn new(client: usize, random: &mut Random) -> Self {
        let by_script = quorate_machine::lookup(b"eval").is_some() && random.chance(600);
        Self { client, attempts: 0, by_script, state: State::Free, asked: Asked::Nothing }
    }

    fn acquire(&mut self, random: &mut Random, history: &mut History) -> Step {
        self.attempts += 1;
        let key = format!("lock:{}", random.index(LOCKS));
        let id = format!("holder-{}-{}", self.client, self.attempts);
        let ttl = random.millis(100, 3000);
        let ttl = Duration::from_millis(u64::try_from(ttl.as_millis()).expect("some seconds"));
        let request = write(&["SET", &key, &id, "NX", "PX", &ttl.as_millis().to_string()]);
        history.mortal.insert(key.clone());
        self.asked = Asked::Acquire { key, id, ttl };
        Step::Ask(vec![request])
    }

    /// What the holder of a lock does next.
    fn hold(&mut self, now: SimTime, random: &mut Random, history: &mut History, mut held: Held) -> Step {
        if now >= held.valid_until {
            end(&held, held.valid_until, self.client, history);
            return think(random);
        }
        if let Some((intent, watched)) = held.checked.take() {
            let request = held.in_transaction(intent, watched);
            return self.change(now, intent, held, request, history);
        }
        match random.below(10) {
            0..4 => {
                self.state = State::Held(held);
                think(random)
            }
            4..6 => {
                self.asked = Asked::Fence;
                let request = read(&["FENCE", &held.key, &held.id]);
                self.state = State::Held(held);
                Step::Ask(vec![request])
            }
            choice => {
                let intent = if choice < 8 { Intent::Extend } else { Intent::Release };
                if self.by_script {
                    let request = held.by_script(intent);
                    return self.change(now, intent, held, request, history);
                }
                self.asked = Asked::Check(intent);
                let watch = Request { db: 0, action: Action::Watch(arguments(&[&held.key])) };
                let get = read(&["GET", &held.key]);
                self.state = State::Held(held);
                Step::Ask(vec![watch, get])
            }
        }
    }

    fn change(
        &mut self,
        now: SimTime,
        intent: Intent,
        held: Held,
        request: Request,
        history: &mut History,
    ) -> Step {
        if intent == Intent::Release {
            end(&held, now, self.client, history);
        }
        self.asked = Asked::Change(intent);
        self.state = State::Held(held);
        Step::Ask(vec![request])
    }

    fn changed(
        &mut self,
        intent: Intent,
        mut held: Held,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        let (answer, span) = match (exchange.outcome(0), intent) {
            (Outcome::Done(answer, span), _) => (answer, span),
            (Outcome::Refused | Outcome::Unknown, Intent::Release) => return Ok(()),
            (outcome @ (Outcome::Refused | Outcome::Unknown), Intent::Extend) => {
                held.is_disturbed |= matches!(outcome, Outcome::Unknown);
                self.state = State::Held(held);
                return Ok(());
            }
        };
        match (was_changed(answer)?, intent) {
            (true, Intent::Extend) => {
                held.valid_until = held.valid_until.max(valid_until(exchange.sent, held.ttl));
                believe(&held, span.completed, self.client, history)?;
                self.state = State::Held(held);
            }
            (true, Intent::Release) => {}
            // Its own earlier change came in between: the next look at the lock decides.
            (false, Intent::Extend) if held.is_disturbed && !self.by_script => {
                self.state = State::Held(held);
            }
            (false, Intent::Release) if held.is_disturbed && !self.by_script => {}
            (false, intent) => {
                check(span.completed >= held.valid_until, PROPERTY, || {
                    let (key, id, until) = (&held.key, &held.id, held.valid_until);
                    format!("{intent:?} of {key} by {id} failed at {}, valid until {until}", span.completed)
                })?;
                if intent == Intent::Extend {
                    end(&held, held.valid_until, self.client, history);
                }
            }
        }
        Ok(())
    }
}

impl Held {
    fn by_script(&self, intent: Intent) -> Request {
        let ttl = self.ttl.as_millis().to_string();
        match intent {
            Intent::Release => write(&["EVAL", RELEASE, "1", &self.key, &self.id]),
            Intent::Extend => write(&["EVAL", EXTEND, "1", &self.key, &self.id, &ttl]),
        }
    }

    fn in_transaction(&self, intent: Intent, watched: Vec<Watched>) -> Request {
        let ttl = self.ttl.as_millis().to_string();
        let command = match intent {
            Intent::Release => arguments(&["DEL", &self.key]),
            Intent::Extend => arguments(&["PEXPIRE", &self.key, &ttl]),
        };
        Request { db: 0, action: Action::Transaction { watched, commands: vec![(0, command)] } }
    }

    /// Judges what the service says of the lock's holder.
    fn compare(&self, seen: Option<&Bytes>, span: Span) -> Result<bool, Failure> {
        let is_ours = seen.is_some_and(|seen| seen == self.id.as_bytes());
        check(is_ours || span.completed >= self.valid_until, PROPERTY, || {
            let (key, id, until) = (&self.key, &self.id, self.valid_until);
            format!("{key}, held by {id} until {until}, held {seen:?} at {}", span.completed)
        })?;
        Ok(is_ours)
    }
}

fn holder(held: &Held, client: usize) -> String {
    format!("client {client} ({})", held.id)
}

fn believe(held: &Held, from: SimTime, client: usize, history: &mut History) -> Result<(), Failure> {
    history.holders.believes(&held.key, (&holder(held, client), Way::Alone), from, held.valid_until)
}

fn end(held: &Held, at: SimTime, client: usize, history: &mut History) {
    let (holder, until) = (holder(held, client), at.min(held.valid_until));
    history.holders.add(&held.key, (&holder, Way::Alone), held.acquired.completed, until);
}

/// Whether a script or a transaction found the lock to be the client's own.
fn was_changed(answer: &Answer) -> Result<bool, Failure> {
    match answer {
        Answer::Reply(Reply::NullArray) => Ok(false),
        Answer::Reply(Reply::Array(replies)) => match &replies[..] {
            [Reply::Integer(count)] => Ok(*count == 1),
            _ => Err(unexpected("EXEC", answer)),
        },
        Answer::Reply(_) | Answer::Watched(_) | Answer::View(_) | Answer::Close(_) => {
            Ok(integer("EVAL", answer)? == 1)
        }
    }
}

impl Workload for Locks {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match std::mem::replace(&mut self.state, State::Free) {
            State::Free if random.chance(500) => think(random),
            State::Free => self.acquire(random, history),
            State::Held(held) => self.hold(now, random, history, held),
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        match (asked, std::mem::replace(&mut self.state, State::Free)) {
            (Asked::Acquire { key, id, ttl }, State::Free) => match exchange.outcome(0) {
                Outcome::Done(Answer::Reply(Reply::Null), _) | Outcome::Refused | Outcome::Unknown => {}
                Outcome::Done(answer, acquired) if *answer == Answer::Reply(Reply::ok()) => {
                    let valid_until = valid_until(exchange.sent, ttl);
                    let (token, is_disturbed, checked) = (None, false, None);
                    let held = Held { key, id, ttl, acquired, valid_until, token, is_disturbed, checked };
                    believe(&held, acquired.completed, self.client, history)?;
                    self.state = State::Held(held);
                }
                Outcome::Done(answer, _) => return Err(unexpected("SET NX", answer)),
            },
            (Asked::Fence, State::Held(mut held)) => {
                match exchange.outcome(0) {
                    Outcome::Done(Answer::Reply(Reply::Null), span) => {
                        held.compare(None, span)?;
                    }
                    Outcome::Done(answer, _) => {
                        let token = place("FENCE", answer)?;
                        let known = *held.token.get_or_insert(token);
                        check(token == known, "an acquisition has one token", || {
                            format!("{} of {}: {known}, then {token}", held.key, held.id)
                        })?;
                        history.tokens(&held.key).took(token, held.acquired)?;
                    }
                    Outcome::Refused | Outcome::Unknown => {}
                }
                self.state = State::Held(held);
            }
            (Asked::Check(intent), State::Held(mut held)) => {
                if let (Outcome::Done(Answer::Watched(watched), _), Outcome::Done(answer, span)) =
                    (exchange.outcome(0), exchange.outcome(1))
                    && held.compare(string("GET", answer)?.as_ref(), span)?
                {
                    held.checked = Some((intent, watched.clone()));
                }
                self.state = State::Held(held);
            }
            (Asked::Change(intent), State::Held(held)) => self.changed(intent, held, exchange, history)?,
            (asked @ (Asked::Nothing | Asked::Acquire { .. }), state)
            | (asked @ (Asked::Fence | Asked::Check(_) | Asked::Change(_)), state @ State::Free) => {
                unreachable!("{asked:?} in the state {state:?}")
            }
        }
        Ok(())
    }

    fn end(&mut self, now: SimTime, history: &mut History) {
        if let State::Held(held) = std::mem::replace(&mut self.state, State::Free) {
            end(&held, now, self.client, history);
        }
    }
}
