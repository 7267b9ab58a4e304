//! What a client asks of a lock that others may share with it, or of several locks at once, and what it believes of each: on its
//! own behalf, as an owner, or on that of a session.
//!
//! What is taken and released has a name (`REQUEST`), and is asked again until it is answered, mostly over another connection. So it
//! is known how often a lock is held; and what comes late, or twice, releases nobody else's (hazard 31).

use std::time::Duration;

use bytes::Bytes;
use quorate_machine::Reply;
use quorate_node::{Action, Answer, Request};

use super::{
    Exchange, Outcome, arguments, candidates::field, locks::valid_until, native_locks::is_stale, place, read,
    unexpected, write,
};
use crate::{
    checks::{Failure, Span, check, history::History, holders::Way},
    time::SimTime,
};

const NEVER_EARLY: &str = "nothing expires early";
const ONCE: &str = "a request that is sent again takes effect once";

/// On whose behalf a lock is held.
#[derive(Debug, Clone)]
pub(super) enum Holder {
    /// The client's own, under a name that is new for each lock, until then if it does not extend it.
    Owner { name: String, ttl: Duration, valid_until: SimTime },
    /// As long as this lasts.
    Session(u64),
}

/// A lock that a client wants, or several, of which it is given all or none.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) keys: Vec<String>,
    pub(super) holder: Holder,
    /// Not of several.
    pub(super) is_shared: bool,
    /// 0: it does not wait.
    pub(super) wait_ms: u64,
    pub(super) request: Repeated,
}

/// A lock that a client believes in.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) key: String,
    holder: Holder,
    /// Alone it need not be said who releases it.
    way: Way,
    token: u64,
    /// Since when it knows.
    from: SimTime,
    pub(super) release: Repeated,
}

/// What is asked until it is answered.
#[derive(Debug, Clone)]
pub(super) struct Repeated {
    name: String,
    first_sent: Option<SimTime>,
    /// Whether it may have taken effect already.
    may_be_done: bool,
}

/// What became of a request for a lock, or for several.
pub(super) enum Acquired {
    Held(Vec<Held>),
    /// Somebody else has it.
    Not,
    /// The session has ended for which it was asked for.
    SessionGone,
    /// It is to be asked for again, at once or a little later.
    Again(Wanted, bool),
}

impl Repeated {
    pub(super) fn new(name: String) -> Self {
        Self { name, first_sent: None, may_be_done: false }
    }

    /// It was answered by nothing, or refused: whether the question is open still.
    fn stays_open(&mut self, outcome: &Outcome<'_>) -> bool {
        self.may_be_done |= matches!(outcome, Outcome::Unknown);
        self.may_be_done
    }
}

impl Holder {
    fn words(&self) -> [String; 2] {
        match self {
            Self::Owner { name, .. } => ["OWNER".into(), name.clone()],
            Self::Session(id) => ["SESSION".into(), id.to_string()],
        }
    }

    fn valid_until(&self, history: &History) -> SimTime {
        match self {
            Self::Owner { valid_until, .. } => *valid_until,
            Self::Session(id) => history.sessions.valid_until(*id),
        }
    }
}

/// Who a session is to those who judge who holds what.
pub(super) fn name_of_session(id: u64) -> String {
    format!("session {id}")
}

impl Wanted {
    /// Asks for it, for the first time or again.
    pub(super) fn ask(&mut self, now: SimTime, history: &mut History) -> Request {
        self.request.first_sent.get_or_insert(now);
        for key in &self.keys {
            history.arrivals.asks(key, &self.request.name, now, self.wait_ms > 0);
            history.mortal.insert(key.clone());
        }
        let ([kind, holder], wait) = (self.holder.words(), self.wait_ms.to_string());
        let count = self.keys.len().to_string();
        let mut words = match &self.keys[..] {
            [_] => vec!["LOCK", "ACQUIRE"],
            _ => vec!["LOCK", "ACQUIREALL", &count],
        };
        words.extend(self.keys.iter().map(String::as_str));
        words.extend([&kind[..], &holder]);
        let ttl_ms;
        if let Holder::Owner { ttl, .. } = &self.holder {
            ttl_ms = ttl.as_millis().to_string();
            words.extend(["TTL", &ttl_ms]);
        }
        words.extend(["REQUEST", &self.request.name]);
        if self.is_shared {
            words.push("SHARED");
        }
        if self.wait_ms > 0 {
            words.extend(["WAIT", &wait]);
        }
        let args = arguments(&words);
        Request { db: 0, action: if self.wait_ms > 0 { Action::Wait(args) } else { Action::Write(args) } }
    }

    pub(super) fn learn(self, exchange: &Exchange, history: &mut History) -> Result<Acquired, Failure> {
        let (keys, name) = (self.keys.clone(), self.request.name.clone());
        let acquired = self.became(exchange, history)?;
        let held = match &acquired {
            Acquired::Again(..) => return Ok(acquired),
            Acquired::Held(held) => &held[..],
            Acquired::Not | Acquired::SessionGone => &[],
        };
        for (at, key) in keys.iter().enumerate() {
            let token = held.get(at).map(|held| held.token);
            history.arrivals.answered(key, &name, exchange.answers[0].0, token);
        }
        Ok(acquired)
    }

    fn became(mut self, exchange: &Exchange, history: &mut History) -> Result<Acquired, Failure> {
        Ok(match exchange.outcome(0) {
            outcome @ (Outcome::Unknown | Outcome::Refused) => match self.request.stays_open(&outcome) {
                true => Acquired::Again(self, matches!(outcome, Outcome::Refused)),
                false => self.not_given(history)?,
            },
            Outcome::Done(Answer::Reply(Reply::Null), _) => self.not_given(history)?,
            Outcome::Done(answer, span) if is_gone(answer) => {
                let Holder::Session(id) = self.holder else { return Err(unexpected("LOCK ACQUIRE", answer)) };
                history.sessions.ended(id, span)?;
                Acquired::SessionGone
            }
            Outcome::Done(answer, span) => Acquired::Held(self.granted(answer, span, history)?),
        })
    }

    /// It has got nothing, as an owner that nobody else is called by. Of an answer to who asks again it is not known for how long
    /// it has been true.
    fn not_given(self, history: &mut History) -> Result<Acquired, Failure> {
        if let Holder::Owner { name, .. } = &self.holder
            && !self.request.may_be_done
        {
            history.refusals.refused(name)?;
        }
        Ok(Acquired::Not)
    }

    fn granted(self, answer: &Answer, span: Span, history: &mut History) -> Result<Vec<Held>, Failure> {
        let tokens = match (&self.keys[..], answer) {
            ([_], answer) => vec![place("LOCK ACQUIRE", answer)?],
            (keys, Answer::Reply(Reply::Array(tokens))) if tokens.len() == keys.len() => {
                let token = |token: &Reply| place("LOCK ACQUIREALL", &Answer::Reply(token.clone()));
                tokens.iter().map(token).collect::<Result<_, _>>()?
            }
            (_, answer) => return Err(unexpected("LOCK ACQUIREALL", answer)),
        };
        let invoked = self.request.first_sent.unwrap_or(span.invoked);
        let acquired = Span { invoked, ..span };
        self.keys.iter().zip(tokens).map(|(key, token)| self.hold(key, token, acquired, history)).collect()
    }

    /// It is given one of the locks.
    fn hold(&self, key: &str, token: u64, acquired: Span, history: &mut History) -> Result<Held, Failure> {
        let mut holder = self.holder.clone();
        match &mut holder {
            Holder::Owner { ttl, valid_until: until, .. } => *until = valid_until(acquired.invoked, *ttl),
            Holder::Session(id) => history.sessions.given(*id, token, acquired)?,
        }
        let way = if self.is_shared { Way::Shared { token } } else { Way::Alone };
        let release = Repeated::new(format!("{}-release-{key}", self.request.name));
        let held = Held { key: key.to_owned(), holder, way, token, from: acquired.completed, release };
        held.believe(held.from, history)?;
        if self.is_shared {
            history.tokens(key).shared(token, acquired);
        } else {
            history.sessions.numbered(token, acquired);
            history.tokens(key).took(token, acquired)?;
        }
        Ok(held)
    }
}

impl Held {
    /// Until when its client believes in it.
    pub(super) fn believed_until(&self, history: &History) -> SimTime {
        self.holder.valid_until(history)
    }

    /// Until when nobody else can have it: somebody may take it by force, of which its client knows nothing.
    pub(super) fn valid_until(&self, history: &History) -> SimTime {
        history.forced.relied_until(&self.key, self.token, self.believed_until(history))
    }

    pub(super) fn believe(&self, from: SimTime, history: &mut History) -> Result<(), Failure> {
        let until = self.valid_until(history);
        history.holders.believes(&self.key, (&self.name(), self.way), from, until)
    }

    pub(super) fn disbelieve(&self, at: SimTime, history: &mut History) {
        let until = at.min(self.valid_until(history));
        history.holders.add(&self.key, (&self.name(), self.way), self.from, until);
    }

    fn name(&self) -> String {
        match &self.holder {
            Holder::Owner { name, .. } => format!("owner {name}"),
            Holder::Session(id) => name_of_session(*id),
        }
    }

    /// Asks to release it, for the first time or again.
    pub(super) fn ask_release(&mut self, now: SimTime) -> Request {
        self.release.first_sent.get_or_insert(now);
        let ([kind, holder], token) = (self.holder.words(), self.token.to_string());
        let mut words = vec!["LOCK", "RELEASE", &self.key, &token, "REQUEST", &self.release.name];
        if self.way != Way::Alone || self.token.is_multiple_of(2) {
            words.extend([&kind[..], &holder]);
        }
        write(&words)
    }

    /// Whether it is known to have been released, or lost.
    pub(super) fn learn_release(&mut self, exchange: &Exchange, history: &History) -> Result<bool, Failure> {
        match exchange.outcome(0) {
            outcome @ (Outcome::Unknown | Outcome::Refused) => {
                self.release.stays_open(&outcome);
                Ok(false)
            }
            // What was asked before may have been done, and must have been answered the same.
            Outcome::Done(answer, span) if is_stale(answer) => {
                let property = if self.release.may_be_done { ONCE } else { NEVER_EARLY };
                self.may_be_lost(property, span, history).map(|()| true)
            }
            Outcome::Done(answer, span) => {
                check(*answer == Answer::Reply(Reply::Integer(0)), ONCE, || {
                    format!(
                        "{} was taken once by {}, and released with {answer:?} left",
                        self.key,
                        self.name()
                    )
                })?;
                if !self.release.may_be_done {
                    history.forced.may_be_held(&self.key, self.token, span)?;
                }
                Ok(true)
            }
        }
    }

    /// Asks that it lasts longer; `None` if it lasts as long as a session.
    pub(super) fn ask_extension(&self) -> Option<Request> {
        let Holder::Owner { name, ttl, .. } = &self.holder else { return None };
        let (token, ttl_ms) = (self.token.to_string(), ttl.as_millis().to_string());
        Some(write(&["LOCK", "EXTEND", &self.key, &token, &ttl_ms, "OWNER", name]))
    }

    /// Whether it is held still.
    pub(super) fn learn_extension(
        &mut self,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<bool, Failure> {
        match exchange.outcome(0) {
            Outcome::Unknown | Outcome::Refused => Ok(true),
            Outcome::Done(answer, span) if is_stale(answer) => {
                self.may_be_lost(NEVER_EARLY, span, history).map(|()| false)
            }
            Outcome::Done(Answer::Reply(reply), span) if *reply == Reply::ok() => {
                if let Holder::Owner { ttl, valid_until: until, .. } = &mut self.holder {
                    *until = valid_until(exchange.sent, *ttl).max(*until);
                }
                history.forced.may_be_held(&self.key, self.token, span)?;
                self.believe(span.completed, history).map(|()| true)
            }
            Outcome::Done(answer, _) => Err(unexpected("LOCK EXTEND", answer)),
        }
    }

    /// Judges that the service does not know it to be held so any more.
    fn may_be_lost(&self, property: &'static str, span: Span, history: &History) -> Result<(), Failure> {
        let until = self.valid_until(history);
        check(span.completed >= until, property, || {
            let (key, token, name, at) = (&self.key, self.token, self.name(), span.completed);
            format!("{name} does not hold {key} by {token} any more at {at}, valid until {until}")
        })
    }

    /// Judges who holds it, by an answer.
    fn judge_seen(&self, seen: &Seen, span: Span, history: &History) -> Result<(), Failure> {
        let is_there = match &self.holder {
            Holder::Owner { name, .. } => seen.owners.iter().any(|owner| owner == name.as_bytes()),
            Holder::Session(id) => seen.sessions.contains(id),
        };
        let is_its_own = is_there && seen.token == Some(self.token);
        if is_its_own { Ok(()) } else { self.may_be_lost(NEVER_EARLY, span, history) }
    }
}

/// Whether an answer says that a session has ended.
pub(super) fn is_gone(answer: &Answer) -> bool {
    matches!(answer, Answer::Reply(Reply::Error(text)) if text.starts_with(b"NOSESSION "))
}

/// Who holds a lock, or has lost it while its delay lasts, and how many wait for it.
#[derive(Default)]
struct Seen {
    waiting: usize,
    /// `None` if nobody does.
    token: Option<u64>,
    owners: Vec<Bytes>,
    sessions: Vec<u64>,
    /// The last that was taken from its holder by force.
    forced: Option<u64>,
}

pub(super) fn look(key: &str) -> Request {
    read(&["LOCK", "INFO", key])
}

/// Takes in who holds a lock, of which the client may believe that it does: an answer, and when that came. The token of who does.
pub(super) fn learn_who_holds(
    key: &str,
    held: Option<&Held>,
    (answer, span): (&Answer, Span),
    history: &mut History,
) -> Result<Option<u64>, Failure> {
    let seen = seen(answer)?;
    for session in &seen.sessions {
        history.sessions.may_be_open(*session, span)?;
    }
    for owner in &seen.owners {
        history.refusals.has(&String::from_utf8_lossy(owner), key)?;
    }
    history.forced.recorded(key, seen.forced, span)?;
    if let Some(token) = seen.token {
        history.forced.may_be_held(key, token, span)?;
        history.tokens(key).saw(token, span);
    }
    history.arrivals.wait(key, seen.waiting, span);
    held.map_or(Ok(()), |held| held.judge_seen(&seen, span, history))?;
    Ok(seen.token)
}

/// Who holds a lock by the answer to LOCK INFO.
fn seen(answer: &Answer) -> Result<Seen, Failure> {
    let Answer::Reply(info) = answer else { return Err(unexpected("LOCK INFO", answer)) };
    if *info == Reply::Null {
        return Ok(Seen::default());
    }
    let number = |reply: &Reply| place("LOCK INFO", &Answer::Reply(reply.clone()));
    let token_in = |info: &Reply| match field(info, "token") {
        Some(Reply::Null) => Ok(None),
        Some(token) => number(token).map(Some),
        None => Err(unexpected("LOCK INFO", answer)),
    };
    let (Some(waiting), Some(forced)) = (field(info, "waiting"), field(info, "force-released")) else {
        return Err(unexpected("LOCK INFO", answer));
    };
    let waiting = usize::try_from(number(waiting)?).expect("a few");
    let forced = if *forced == Reply::Null { None } else { token_in(forced)? };
    let all = |one, several| {
        let readers = match field(info, several) {
            Some(Reply::Array(readers)) => readers.as_slice(),
            _ => &[],
        };
        field(info, one).into_iter().chain(readers)
    };
    let (mut owners, mut sessions) = (Vec::new(), Vec::new());
    for holder in all("owner", "readers").chain(all("session", "reader-sessions")) {
        match holder {
            Reply::Bulk(owner) => owners.push(owner.clone()),
            Reply::Integer(_) => sessions.push(number(holder)?),
            _ => {}
        }
    }
    Ok(Seen { waiting, token: token_in(info)?, owners, sessions, forced })
}
