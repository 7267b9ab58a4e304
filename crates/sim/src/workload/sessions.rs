//! Sessions: clients open one, keep it alive by heartbeats, and take locks for as long as it lasts, alone or as readers who
//! share them, with a place in the queue or without. They release one, close the session while it holds some, or fall silent
//! and let it end. Meanwhile others take the same locks as owners, for a time of their own, and close what sessions they know.
//!
//! A session belongs to no connection: its client goes to another node now and then, and leaves one that is down. Nor does it
//! belong to a leader: who comes next neither ends it early nor has it last (hazard 29).
//!
//! A client believes in its session until its time-to-live has passed since it sent the last heartbeat that was answered, and
//! in a lock as long as in the session that holds it: see [`super::native_locks`] for owners.

use std::time::Duration;

use quorate_machine::Reply;
use quorate_node::{Answer, Request};

use super::{
    Exchange, Outcome, Step, Workload,
    candidates::field,
    integer,
    locks::valid_until,
    place, read,
    shared_locks::{self, Acquired, Held, Holder, Repeated, Wanted, is_gone, name_of_session},
    think, unexpected, write,
};
use crate::{
    checks::{Failure, check, history::History},
    random::Random,
    time::SimTime,
};

/// How many locks all clients share: few, so that readers and writers meet.
const LOCKS: usize = 3;
const NEVER_EARLY: &str = "nothing expires early";
/// Of a thousand times that a client might do something, how often it goes to another node before.
const MOVES_PERMILLE: u64 = 20;
/// The same, while its node is down.
const LEAVES_PERMILLE: u64 = 100;

#[derive(Debug)]
pub(crate) struct Sessions {
    client: usize,
    attempts: u64,
    session: Option<Session>,
    /// What the session holds; without one, what the client holds as an owner.
    held: Vec<Held>,
    asked: Asked,
    /// Whether it was refused what it has to ask again.
    is_patient: bool,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    id: u64,
    ttl: Duration,
    /// Whether its client does nothing until its time is over.
    is_silent: bool,
}

/// What a client has asked.
#[derive(Debug)]
enum Asked {
    Nothing,
    Opening(Duration),
    Heartbeat(Session),
    /// It has asked for a lock, or is about to ask again.
    Lock(Wanted),
    Extension(Held),
    /// It has asked to release a lock that it believes in no more, or is about to ask again.
    Release(Held),
    /// Who holds a lock.
    Holders(String),
    /// How a session is.
    Info(Session),
    Close(u64),
}

impl Sessions {
    pub(crate) fn new(client: usize) -> Self {
        Self {
            client,
            attempts: 0,
            session: None,
            held: Vec::new(),
            asked: Asked::Nothing,
            is_patient: false,
        }
    }

    /// What it does that has no session.
    fn act(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        if let Some(held) = self.held.pop() {
            return self.hold(now, held, random, history);
        }
        match random.below(10) {
            0..2 => think(random),
            2..6 => {
                let ttl = Duration::from_millis(random.between(200, 3000));
                let name = format!("client-{}", self.client);
                self.ask(Asked::Opening(ttl), write(&["SESSION", "OPEN", &millis(ttl), "NAME", &name]))
            }
            6..9 => {
                let ttl = Duration::from_millis(random.between(100, 3000));
                self.attempts += 1;
                let name = format!("owner-{}-{}", self.client, self.attempts);
                self.acquire(now, Holder::Owner { name, ttl, valid_until: now }, random, history)
            }
            _ => match history.sessions.open(now)[..] {
                [] => think(random),
                ref open => self.close(now, open[random.index(open.len())], history),
            },
        }
    }

    /// What it does with a lock that is its own.
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
                let request = held.ask_extension().expect("it has a time of its own");
                self.ask(Asked::Extension(held), request)
            }
            5 => {
                let key = held.key.clone();
                self.held.push(held);
                self.look(key)
            }
            _ => self.release(now, held, history),
        }
    }

    /// What it does with a session.
    fn use_session(
        &mut self,
        now: SimTime,
        session: Session,
        random: &mut Random,
        history: &mut History,
    ) -> Step {
        if now >= history.sessions.valid_until(session.id) {
            if session.is_silent && random.chance(500) {
                self.lose_session(now, history);
                return think(random);
            }
            // Perhaps it is open all the same.
            let session = Session { is_silent: false, ..session };
            self.session = Some(session);
            return match random.below(10) {
                0..5 => self.heartbeat(session),
                5..8 => self.acquire(now, Holder::Session(session.id), random, history),
                // Nobody relies on it any more where a close was refused.
                _ => {
                    self.lose_session(now, history);
                    think(random)
                }
            };
        }
        if session.is_silent {
            return think(random);
        }
        match random.below(20) {
            0..3 => think(random),
            3..7 => self.heartbeat(session),
            7..12 => self.acquire(now, Holder::Session(session.id), random, history),
            12..15 if !self.held.is_empty() => {
                let held = self.held.swap_remove(random.index(self.held.len()));
                self.release(now, held, history)
            }
            12..17 => self.look(some_lock(random)),
            17 => self.ask(Asked::Info(session), read(&["SESSION", "INFO", &session.id.to_string()])),
            18 => {
                self.lose_session(now, history);
                self.close(now, session.id, history)
            }
            _ => {
                self.session = Some(Session { is_silent: true, ..session });
                think(random)
            }
        }
    }

    fn ask(&mut self, asked: Asked, request: Request) -> Step {
        self.asked = asked;
        Step::Ask(vec![request])
    }

    fn heartbeat(&mut self, session: Session) -> Step {
        self.ask(Asked::Heartbeat(session), write(&["SESSION", "KEEPALIVE", &session.id.to_string()]))
    }

    /// Asks for a lock that it does not hold; for who holds one if it has all.
    fn acquire(&mut self, now: SimTime, holder: Holder, random: &mut Random, history: &mut History) -> Step {
        let key = some_lock(random);
        if self.held.iter().any(|held| held.key == key) {
            return self.look(key);
        }
        self.attempts += 1;
        let request = Repeated::new(format!("shared-{}-{}", self.client, self.attempts));
        let wait_ms = if random.chance(600) { random.between(50, 1000) } else { 0 };
        let wanted = Wanted { keys: vec![key], holder, is_shared: random.chance(600), wait_ms, request };
        self.ask_for(now, wanted, history)
    }

    fn ask_for(&mut self, now: SimTime, mut wanted: Wanted, history: &mut History) -> Step {
        let request = wanted.ask(now, history);
        self.ask(Asked::Lock(wanted), request)
    }

    fn look(&mut self, key: String) -> Step {
        let request = shared_locks::look(&key);
        self.ask(Asked::Holders(key), request)
    }

    fn release(&mut self, now: SimTime, held: Held, history: &mut History) -> Step {
        held.disbelieve(now, history);
        self.ask_release(now, held)
    }

    fn ask_release(&mut self, now: SimTime, mut held: Held) -> Step {
        let request = held.ask_release(now);
        self.ask(Asked::Release(held), request)
    }

    /// Closes a session, its own or another's: nobody believes in it from now on.
    fn close(&mut self, now: SimTime, id: u64, history: &mut History) -> Step {
        history.sessions.closes(id, now);
        history.holders.dismiss(&name_of_session(id));
        self.ask(Asked::Close(id), write(&["SESSION", "CLOSE", &id.to_string()]))
    }

    /// It has no session any more, or believes in none.
    fn lose_session(&mut self, at: SimTime, history: &mut History) {
        self.session = None;
        self.held.drain(..).for_each(|held| held.disbelieve(at, history));
    }

    fn opened(&mut self, ttl: Duration, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let Outcome::Done(answer, span) = exchange.outcome(0) else { return Ok(()) };
        let id = place("SESSION OPEN", answer)?;
        history.sessions.opened(id, span, valid_until(exchange.sent, ttl))?;
        self.session = Some(Session { id, ttl, is_silent: false });
        Ok(())
    }

    fn kept_alive(
        &mut self,
        session: Session,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match exchange.outcome(0) {
            Outcome::Unknown | Outcome::Refused => Ok(()),
            Outcome::Done(answer, span) if is_gone(answer) => {
                self.lose_session(span.completed, history);
                history.sessions.ended(session.id, span)
            }
            Outcome::Done(Answer::Reply(reply), span) if *reply == Reply::ok() => {
                let until = valid_until(exchange.sent, session.ttl);
                history.sessions.kept_alive(session.id, span, until)?;
                self.held.iter().try_for_each(|held| held.believe(span.completed, history))
            }
            Outcome::Done(answer, _) => Err(unexpected("SESSION KEEPALIVE", answer)),
        }
    }

    fn acquired(
        &mut self,
        wanted: Wanted,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match wanted.learn(exchange, history)? {
            Acquired::Held(held) => self.held.extend(held),
            Acquired::Not => {}
            Acquired::SessionGone => {
                let last = exchange.answers.last().map_or(exchange.sent, |(at, _)| *at);
                self.lose_session(last, history);
            }
            Acquired::Again(wanted, is_refused) => {
                (self.asked, self.is_patient) = (Asked::Lock(wanted), is_refused);
            }
        }
        Ok(())
    }

    fn closed(&mut self, id: u64, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let Outcome::Done(answer, span) = exchange.outcome(0) else { return Ok(()) };
        if !matches!(integer("SESSION CLOSE", answer)?, 0 | 1) {
            return Err(unexpected("SESSION CLOSE", answer));
        }
        // It may ask for something all the same, as a process does that does not know.
        self.session = Some(Session { id, ttl: Duration::ZERO, is_silent: true });
        history.sessions.ended(id, span)
    }

    fn learn_of_session(
        &mut self,
        session: Session,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        let Outcome::Done(answer, span) = exchange.outcome(0) else { return Ok(()) };
        let Answer::Reply(info) = answer else { return Err(unexpected("SESSION INFO", answer)) };
        if *info == Reply::Null {
            self.lose_session(span.completed, history);
            return history.sessions.ended(session.id, span);
        }
        let Some(Reply::Integer(locks)) = field(info, "locks") else {
            return Err(unexpected("SESSION INFO", answer));
        };
        history.sessions.may_be_open(session.id, span)?;
        let is_over = span.completed >= history.sessions.valid_until(session.id);
        let is_relied_on = |held: &&Held| held.valid_until(history) > span.completed;
        let believed = self.held.iter().filter(is_relied_on).count();
        check(is_over || usize::try_from(*locks).is_ok_and(|locks| locks >= believed), NEVER_EARLY, || {
            format!("session {} holds {locks} locks, of {believed} that it was given", session.id)
        })
    }
}

/// The locks that all share.
pub(crate) fn locks() -> impl Iterator<Item = String> {
    (0..LOCKS).map(|number| format!("shared-lock:{number}"))
}

fn some_lock(random: &mut Random) -> String {
    locks().nth(random.index(LOCKS)).expect("one of them")
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

impl Workload for Sessions {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        if std::mem::take(&mut self.is_patient) {
            return think(random);
        }
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => match self.session {
                Some(session) => self.use_session(now, session, random, history),
                None => self.act(now, random, history),
            },
            Asked::Lock(wanted) => self.ask_for(now, wanted, history),
            Asked::Release(held) => self.ask_release(now, held),
            asked => unreachable!("{asked:?} is asked once"),
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Opening(ttl) => self.opened(ttl, exchange, history),
            Asked::Heartbeat(session) => self.kept_alive(session, exchange, history),
            Asked::Lock(wanted) => self.acquired(wanted, exchange, history),
            Asked::Extension(mut held) => match held.learn_extension(exchange, history)? {
                true => {
                    self.held.push(held);
                    Ok(())
                }
                false => {
                    held.disbelieve(held.valid_until(history), history);
                    Ok(())
                }
            },
            Asked::Release(mut held) => {
                if !held.learn_release(exchange, history)? {
                    self.is_patient = matches!(exchange.outcome(0), Outcome::Refused);
                    self.asked = Asked::Release(held);
                }
                Ok(())
            }
            Asked::Holders(key) => {
                let Outcome::Done(answer, span) = exchange.outcome(0) else { return Ok(()) };
                let held = self.held.iter().find(|held| held.key == key);
                shared_locks::learn_who_holds(&key, held, (answer, span), history).map(drop)
            }
            Asked::Info(session) => self.learn_of_session(session, exchange, history),
            Asked::Close(id) => self.closed(id, exchange, history),
            Asked::Nothing => unreachable!("it has asked for nothing"),
        }
    }

    fn goes_elsewhere(&self, is_down: bool, random: &mut Random) -> bool {
        random.chance(if is_down { LEAVES_PERMILLE } else { MOVES_PERMILLE })
    }

    fn end(&mut self, now: SimTime, history: &mut History) {
        self.lose_session(now, history);
    }
}
