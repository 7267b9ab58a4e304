//! Native locks: `LOCK ACQUIRE`, with a place in its queue or without, `LOCK EXTEND` and `LOCK RELEASE` by their token, and
//! `FENCED` for what only the holder may write.
//!
//! Half of the clients name what they ask (`REQUEST`). When they lose sight of it they ask again, under the same name, over
//! another connection: it must take effect once. The others forget a lock that they may have got, and it lasts for its time.
//!
//! A holder believes in its lock from the answer on until its time-to-live has passed since it *first* asked. Half of the locks
//! have a delay (`DELAY`): where the holder has not released it, nobody else is to have it for so long behind that. A lock that
//! somebody would take away by force ([`super::wardens`]) can be relied on no more.

use std::time::Duration;

use quorate_machine::Reply;
use quorate_node::{Action, Answer, Request};

use super::{
    Exchange, Outcome, Step, Workload, arguments, locks::valid_until, number, place, think, unexpected, write,
};
use crate::{
    checks::{Failure, Span, check, history::History, holders::Way},
    random::Random,
    time::SimTime,
};

/// How many locks all clients share.
const LOCKS: usize = 2;
const ONCE: &str = "a request that is sent again takes effect once";
const NEVER_EARLY: &str = "nothing expires early";
const FENCED: &str = "nobody writes under an earlier token";

#[derive(Debug)]
pub(crate) struct NativeLocks {
    client: usize,
    attempts: u64,
    /// Whether it names what it asks.
    names_requests: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    /// It has asked for a lock, or is about to ask again.
    Wanted(Wanted),
    Held(Held, Use),
    /// Its time is over, and it writes all the same, as a process does that stood still (hazard 28).
    Late(Held),
    /// It believes in the lock no more, and wants to know that it is released.
    Leaving(Held),
}

/// A lock that a client wants.
#[derive(Debug, Clone)]
struct Wanted {
    key: String,
    /// The name of the attempt: as owner and, if requests are named, as request.
    id: String,
    ttl: Duration,
    delay: Duration,
    wait_ms: u64,
    first_sent: Option<SimTime>,
}

/// A lock that a client believes in until `valid_until`.
#[derive(Debug, Clone)]
struct Held {
    key: String,
    id: String,
    ttl: Duration,
    /// For how long nobody else has it behind its time.
    delay: Duration,
    token: u64,
    acquired: Span,
    valid_until: SimTime,
    /// Whether it was asked to be released before.
    is_asked: bool,
}

/// What a holder has asked for.
#[derive(Debug, Clone, Copy)]
enum Use {
    Nothing,
    Extension,
    Write,
}

impl NativeLocks {
    pub(crate) fn new(client: usize, random: &mut Random) -> Self {
        Self { client, attempts: 0, names_requests: random.chance(500), state: State::Free }
    }

    fn want(&mut self, random: &mut Random) -> Wanted {
        self.attempts += 1;
        let ttl = Duration::from_millis(random.between(100, 3000));
        let delay = if random.chance(500) { random.between(100, 2000) } else { 0 };
        let wait_ms = if random.chance(600) { random.between(50, 3000) } else { 0 };
        Wanted {
            key: some_lock(random),
            id: format!("native-{}-{}", self.client, self.attempts),
            ttl,
            delay: Duration::from_millis(delay),
            wait_ms,
            first_sent: None,
        }
    }

    /// Asks for a lock, for the first time or again.
    fn acquire(&mut self, now: SimTime, mut wanted: Wanted, history: &mut History) -> Step {
        wanted.first_sent.get_or_insert(now);
        let [ttl, delay] = [wanted.ttl, wanted.delay].map(|time| time.as_millis().to_string());
        let wait = wanted.wait_ms.to_string();
        let mut words = vec!["LOCK", "ACQUIRE", &wanted.key, "OWNER", &wanted.id, "TTL", &ttl, "REENTRANT"];
        if wanted.wait_ms > 0 {
            words.extend(["WAIT", &wait]);
        }
        if !wanted.delay.is_zero() {
            words.extend(["DELAY", &delay]);
        }
        if self.names_requests {
            words.extend(["REQUEST", &wanted.id]);
        }
        let args = arguments(&words);
        let action = if wanted.wait_ms > 0 { Action::Wait(args) } else { Action::Write(args) };
        history.mortal.insert(wanted.key.clone());
        self.state = State::Wanted(wanted);
        Step::Ask(vec![Request { db: 0, action }])
    }

    fn hold(&mut self, now: SimTime, random: &mut Random, history: &mut History, held: Held) -> Step {
        if now >= held.valid_until {
            self.disbelieve(&held, held.valid_until, history);
            if random.chance(300) {
                return think(random);
            }
            let request = held.guarded_write();
            self.state = State::Late(held);
            return Step::Ask(vec![request]);
        }
        let (token, ttl) = (held.token.to_string(), held.ttl.as_millis().to_string());
        match random.below(10) {
            0..3 => {
                self.state = State::Held(held, Use::Nothing);
                think(random)
            }
            3..6 => {
                let request = held.guarded_write();
                self.state = State::Held(held, Use::Write);
                Step::Ask(vec![request])
            }
            6..8 => {
                let request = write(&["LOCK", "EXTEND", &held.key, &token, &ttl]);
                self.state = State::Held(held, Use::Extension);
                Step::Ask(vec![request])
            }
            _ => {
                self.disbelieve(&held, now, history);
                self.release(held)
            }
        }
    }

    fn release(&mut self, held: Held) -> Step {
        let (token, id) = (held.token.to_string(), format!("{}-release", held.id));
        let mut words = vec!["LOCK", "RELEASE", &held.key, &token];
        if self.names_requests {
            words.extend(["REQUEST", &id]);
        }
        let request = write(&words);
        self.state = State::Leaving(held);
        Step::Ask(vec![request])
    }

    fn acquired(
        &mut self,
        wanted: Wanted,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match exchange.outcome(0) {
            Outcome::Unknown if self.names_requests => self.state = State::Wanted(wanted),
            Outcome::Done(Answer::Reply(Reply::Null), _) | Outcome::Refused | Outcome::Unknown => {}
            Outcome::Done(answer, span) => {
                let token = place("LOCK ACQUIRE", answer)?;
                let invoked = wanted.first_sent.unwrap_or(span.invoked);
                let acquired = Span { invoked, ..span };
                history.tokens(&wanted.key).took(token, acquired)?;
                let Wanted { key, id, ttl, delay, .. } = wanted;
                let valid_until = valid_until(invoked, ttl);
                let held = Held { key, id, ttl, delay, token, acquired, valid_until, is_asked: false };
                self.believe(&held, acquired.completed, history)?;
                self.state = State::Held(held, Use::Nothing);
            }
        }
        Ok(())
    }

    fn used(
        &mut self,
        mut held: Held,
        what: Use,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match (exchange.outcome(0), what) {
            (Outcome::Refused | Outcome::Unknown, _) => {}
            (Outcome::Done(answer, span), _) if is_stale(answer) => {
                held.may_be_lost(NEVER_EARLY, span, history)?;
                self.disbelieve(&held, held.valid_until, history);
                return Ok(());
            }
            (Outcome::Done(answer, span), Use::Extension) => {
                if *answer != Answer::Reply(Reply::ok()) {
                    return Err(unexpected("LOCK EXTEND", answer));
                }
                held.may_be_there(span, history)?;
                held.valid_until = held.valid_until.max(valid_until(exchange.sent, held.ttl));
                self.believe(&held, span.completed, history)?;
            }
            (Outcome::Done(answer, span), Use::Write) => held.wrote_over(answer, span, history)?,
            (Outcome::Done(answer, _), Use::Nothing) => return Err(unexpected("nothing", answer)),
        }
        self.state = State::Held(held, Use::Nothing);
        Ok(())
    }

    fn released(&mut self, mut held: Held, exchange: &Exchange, history: &History) -> Result<(), Failure> {
        match exchange.outcome(0) {
            Outcome::Refused | Outcome::Unknown if self.names_requests => {
                held.is_asked |= matches!(exchange.outcome(0), Outcome::Unknown);
                self.state = State::Leaving(held);
                Ok(())
            }
            Outcome::Refused | Outcome::Unknown => Ok(()),
            // What it asked before may have been done; then this is another thing to it, and must have been answered the same.
            Outcome::Done(answer, span) if is_stale(answer) => {
                held.may_be_lost(if held.is_asked { ONCE } else { NEVER_EARLY }, span, history)
            }
            Outcome::Done(answer, span) => {
                check(*answer == Answer::Reply(Reply::Integer(0)), ONCE, || {
                    format!("{} was taken once by {}, and released with {answer:?} left", held.key, held.id)
                })?;
                if held.is_asked { Ok(()) } else { history.forced.may_be_held(&held.key, held.token, span) }
            }
        }
    }

    fn holder(&self, held: &Held) -> String {
        format!("client {} ({})", self.client, held.id)
    }

    fn believe(&self, held: &Held, from: SimTime, history: &mut History) -> Result<(), Failure> {
        let until = held.relied_until(history);
        history.holders.believes(&held.key, (&self.holder(held), Way::Alone), from, until)
    }

    fn disbelieve(&self, held: &Held, at: SimTime, history: &mut History) {
        let (holder, since) = (self.holder(held), held.acquired.completed);
        let until = at.min(held.relied_until(history));
        history.holders.add(&held.key, (&holder, Way::Alone), since, until);
        if at >= held.valid_until {
            // Nobody has asked to release it. It may have been acquired behind its time as its holder counts that.
            let (from, until) = (since.max(held.valid_until), valid_until(held.valid_until, held.delay));
            let way = Way::Delayed { token: held.token };
            history.holders.add(&held.key, (&format!("the delay of {holder}"), way), from, until);
        }
    }
}

impl Held {
    /// Writes the token where only the holder may write, and asks what was there.
    fn guarded_write(&self) -> Request {
        let (token, guarded) = (self.token.to_string(), format!("guarded-by:{}", self.key));
        write(&["FENCED", &self.key, &token, "GETSET", &guarded, &token])
    }

    fn wrote_over(&self, answer: &Answer, span: Span, history: &History) -> Result<(), Failure> {
        self.may_be_there(span, history)?;
        let before = number("FENCED GETSET", answer)?;
        check(before <= self.token, FENCED, || {
            format!("{} of {} overwrites what {before} has written", self.token, self.key)
        })
    }

    /// Until when nobody else can have it.
    fn relied_until(&self, history: &History) -> SimTime {
        history.forced.relied_until(&self.key, self.token, self.valid_until)
    }

    /// Judges that the service does not know the lock any more.
    fn may_be_lost(&self, property: &'static str, span: Span, history: &History) -> Result<(), Failure> {
        let until = self.relied_until(history);
        check(span.completed >= until, property, || {
            let (key, token) = (&self.key, self.token);
            format!("{token} of {key} is stale at {}, valid until {until}", span.completed)
        })
    }

    /// Judges that the service has taken its token for the current one.
    fn may_be_there(&self, span: Span, history: &History) -> Result<(), Failure> {
        history.forced.may_be_held(&self.key, self.token, span)
    }
}

/// The locks that all share.
pub(crate) fn locks() -> impl Iterator<Item = String> {
    (0..LOCKS).map(|number| format!("native-lock:{number}"))
}

pub(super) fn some_lock(random: &mut Random) -> String {
    locks().nth(random.index(LOCKS)).expect("one of them")
}

pub(super) fn is_stale(answer: &Answer) -> bool {
    matches!(answer, Answer::Reply(Reply::Error(text)) if text.starts_with(b"STALE "))
}

impl Workload for NativeLocks {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match std::mem::replace(&mut self.state, State::Free) {
            State::Free if random.chance(500) => think(random),
            State::Free => {
                let wanted = self.want(random);
                self.acquire(now, wanted, history)
            }
            State::Wanted(wanted) => self.acquire(now, wanted, history),
            State::Held(held, _) => self.hold(now, random, history, held),
            State::Leaving(held) => self.release(held),
            State::Late(held) => unreachable!("{held:?} is asked about at once"),
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, State::Free) {
            State::Wanted(wanted) => self.acquired(wanted, exchange, history),
            State::Held(held, what) => self.used(held, what, exchange, history),
            State::Leaving(held) => self.released(held, exchange, history),
            State::Late(held) => match exchange.outcome(0) {
                Outcome::Done(answer, span) if !is_stale(answer) => held.wrote_over(answer, span, history),
                Outcome::Done(..) | Outcome::Refused | Outcome::Unknown => Ok(()),
            },
            State::Free => unreachable!("it has asked for nothing"),
        }
    }

    fn end(&mut self, now: SimTime, history: &mut History) {
        if let State::Held(held, _) = std::mem::replace(&mut self.state, State::Free) {
            self.disbelieve(&held, now, history);
        }
    }
}
