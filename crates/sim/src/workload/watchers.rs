//! Watchers: who holds a native lock that others take, or who leads where others stand for election.
//!
//! As the Rust client does it: first listen, then ask, and from there on follow what is told. Now and then a watcher asks all the
//! same, or ends its connection, and goes to some node. There it goes on where it was told something last, or watches something else.

use quorate_machine::Reply;
use quorate_node::Answer;

use super::{
    Exchange, Outcome, Step, Workload,
    candidates::{field, some_election},
    native_locks::some_lock,
    place, read, think, unexpected,
};
use crate::{
    checks::{
        Failure,
        history::History,
        notices::{Event, Notice, WatchId},
    },
    random::Random,
    time::SimTime,
};

#[derive(Debug)]
pub(crate) struct Watchers {
    has_locks: bool,
    has_elections: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It listens to nothing, and may have before.
    Apart(Option<Watched>),
    /// It has asked to listen.
    Coming(Watched),
    /// It listens.
    There(Watched, Doing),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// It asks how it is next, or has asked.
    Asking,
    Resting,
}

/// What is watched.
#[derive(Debug)]
struct Watched {
    name: String,
    is_lock: bool,
    watch: WatchId,
    /// Where to go on.
    position: Option<u64>,
}

impl Watchers {
    /// At least one of the two must be there.
    pub(crate) fn new(has_locks: bool, has_elections: bool) -> Self {
        Self { has_locks, has_elections, state: State::Apart(None) }
    }

    /// Goes on with what it has watched before, or not.
    fn listen(
        &mut self,
        before: Option<Watched>,
        now: SimTime,
        random: &mut Random,
        history: &mut History,
    ) -> Step {
        let goes_on = before.filter(|watched| watched.position.is_some() && random.chance(800));
        let watched = goes_on.unwrap_or_else(|| self.choose(now, random, history));
        let step = watched.listen();
        self.state = State::Coming(watched);
        step
    }

    fn choose(&self, now: SimTime, random: &mut Random, history: &mut History) -> Watched {
        let is_lock = self.has_locks && (!self.has_elections || random.chance(500));
        let name = if is_lock { some_lock(random) } else { some_election(random) };
        let watch = history.notices.begin(&name, now);
        Watched { name, is_lock, watch, position: None }
    }
}

impl Watched {
    fn listen(&self) -> Step {
        let [container, subcommand] = if self.is_lock { ["LOCK", "WATCH"] } else { ["ELECTION", "OBSERVE"] };
        let from = self.position.map(|position| position.to_string());
        let options: Vec<&str> = from.iter().flat_map(|position| ["FROM", position]).collect();
        Step::Ask(vec![read(&[&[container, subcommand, &self.name], &options[..]].concat())])
    }

    fn ask(&self) -> Step {
        let [container, subcommand] = if self.is_lock { ["LOCK", "INFO"] } else { ["ELECTION", "LEADER"] };
        Step::Ask(vec![read(&[container, subcommand, &self.name])])
    }

    /// Takes in who holds it, or that nobody does: of a lock that was once taken by force it is told then when that was.
    fn found(&self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let Outcome::Done(answer, span) = exchange.outcome(0) else { return Ok(()) };
        let token = match answer {
            Answer::Reply(Reply::Null) => return Ok(()),
            Answer::Reply(reply) if field(reply, "token") == Some(&Reply::Null) => return Ok(()),
            Answer::Reply(reply) if let Some(token @ Reply::Integer(_)) = field(reply, "token") => token,
            answer => return Err(unexpected("LOCK INFO or ELECTION LEADER", answer)),
        };
        let token = place("LOCK INFO", &Answer::Reply(token.clone()))?;
        history.tokens(&self.name).saw(token, span);
        history.notices.found(self.watch, token);
        Ok(())
    }
}

/// What a message says.
enum Said {
    /// Nothing of the past is told any more, and it can go on here.
    Begins(u64),
    Told(Notice),
}

/// Reads `event token position`, and a value behind that.
fn said(message: &[u8]) -> Option<Said> {
    let mut words = message.splitn(4, |byte| *byte == b' ');
    let mut word = || std::str::from_utf8(words.next()?).ok();
    let event = match word()? {
        "acquired" => Event::Acquired,
        "value" => Event::Value,
        "released" => Event::Released,
        "expired" => Event::Expired,
        "watching" => {
            word()?;
            return Some(Said::Begins(word()?.parse().ok()?));
        }
        _ => return None,
    };
    Some(Said::Told(Notice { event, token: word()?.parse().ok()?, position: word()?.parse().ok()? }))
}

impl Workload for Watchers {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match &mut self.state {
            State::Apart(_) if random.chance(500) => think(random),
            State::Apart(before) => {
                let before = before.take();
                self.listen(before, now, random, history)
            }
            State::There(watched, Doing::Asking) => watched.ask(),
            State::There(_, doing @ Doing::Resting) => {
                *doing = Doing::Asking;
                Step::Rest(random.millis(1, 1000))
            }
            State::Coming(watched) => unreachable!("{watched:?} is asked about at once"),
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        self.state = match std::mem::replace(&mut self.state, State::Apart(None)) {
            State::Coming(watched) => match exchange.outcome(0) {
                // It was too long ago, and what it has missed nobody knows.
                Outcome::Done(Answer::Reply(Reply::Error(text)), _) if text.starts_with(b"GAP ") => {
                    history.notices.end(watched.watch);
                    State::Apart(None)
                }
                Outcome::Done(Answer::Reply(Reply::Error(_)), _) | Outcome::Refused | Outcome::Unknown => {
                    history.notices.end(watched.watch);
                    State::Apart(Some(watched))
                }
                Outcome::Done(..) => {
                    history.notices.goes_on(watched.watch);
                    State::There(watched, Doing::Asking)
                }
            },
            State::There(watched, _) => {
                watched.found(exchange, history)?;
                State::There(watched, Doing::Resting)
            }
            // It was cut off meanwhile.
            State::Apart(before) => State::Apart(before),
        };
        Ok(())
    }

    fn hear(&mut self, now: SimTime, message: &[u8], history: &mut History) -> Result<(), Failure> {
        let (State::Coming(watched) | State::There(watched, _)) = &mut self.state else { return Ok(()) };
        let said = said(message).ok_or_else(|| {
            let text = format!("{} is told {}", watched.name, message.escape_ascii());
            Failure::new("answers are of the right kind", text)
        })?;
        match said {
            Said::Begins(position) => {
                watched.position = Some(position);
                history.notices.begins(watched.watch, position);
                Ok(())
            }
            Said::Told(notice) => {
                watched.position = Some(notice.position);
                history.notices.told(watched.watch, notice, now)
            }
        }
    }

    fn goes_elsewhere(&self, is_down: bool, random: &mut Random) -> bool {
        let has_seen_enough = matches!(self.state, State::There(_, Doing::Resting));
        (is_down || has_seen_enough) && random.chance(100)
    }

    fn cut_off(&mut self, history: &mut History) {
        self.state = match std::mem::replace(&mut self.state, State::Apart(None)) {
            State::Coming(watched) | State::There(watched, _) => {
                history.notices.end(watched.watch);
                State::Apart(Some(watched))
            }
            State::Apart(before) => State::Apart(before),
        };
    }
}
