//! Elections: clients campaign, with a priority and mostly a place among the candidates, extend what they lead, tell others
//! something, resign, or hand over to a candidate whom they see waiting. Some only look who leads.
//!
//! A leader believes that it leads as the holder of a lock does that it holds it: see [`super::native_locks`].

use std::time::Duration;

use quorate_machine::Reply;
use quorate_node::{Action, Answer, Request};

use super::{
    Exchange, Outcome, Step, Workload, arguments, locks::valid_until, native_locks::is_stale, place, read,
    think, unexpected, write,
};
use crate::{
    checks::{Failure, Span, check, history::History, holders::Way},
    random::Random,
    time::SimTime,
};

/// How many elections all clients share: few, so that some always wait.
const ELECTIONS: usize = 2;
const NEVER_EARLY: &str = "nothing expires early";

#[derive(Debug)]
pub(crate) struct Candidates {
    client: usize,
    campaigns: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is no candidate, and has asked for nothing.
    Apart,
    /// It has asked who leads.
    Looking(String),
    /// It campaigns, or is about to ask again.
    Campaigning(Campaign),
    Leading(Term, Use),
    /// It has asked to hand over to a candidate, or to nobody, and believes that it leads no more.
    Leaving(Term, Option<String>),
}

#[derive(Debug, Clone)]
struct Campaign {
    election: String,
    /// As owner and as request.
    id: String,
    ttl: Duration,
    wait_ms: u64,
    priority: u64,
    first_sent: Option<SimTime>,
}

/// It leads, and believes so until `valid_until`.
#[derive(Debug, Clone)]
struct Term {
    election: String,
    id: String,
    ttl: Duration,
    token: u64,
    acquired: Span,
    valid_until: SimTime,
}

/// What a leader has asked for.
#[derive(Debug, Clone)]
enum Use {
    Nothing,
    Extension,
    Value,
    /// Who waits.
    Queue,
}

impl Candidates {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, campaigns: 0, state: State::Apart }
    }

    fn begin(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        let election = some_election(random);
        match random.below(10) {
            0..4 => think(random),
            4..6 => {
                let request = read(&["ELECTION", "LEADER", &election]);
                self.state = State::Looking(election);
                Step::Ask(vec![request])
            }
            _ => {
                self.campaigns += 1;
                let id = format!("campaign-{}-{}", self.client, self.campaigns);
                let ttl = Duration::from_millis(random.between(100, 3000));
                let wait_ms = if random.chance(800) { random.between(50, 3000) } else { 0 };
                let priority = random.below(3);
                let campaign = Campaign { election, id, ttl, wait_ms, priority, first_sent: None };
                self.campaign(now, campaign, history)
            }
        }
    }

    /// Campaigns, for the first time or again.
    fn campaign(&mut self, now: SimTime, mut campaign: Campaign, history: &mut History) -> Step {
        if campaign.first_sent.is_some() {
            history.elections.turns.repeated(&campaign.id);
        }
        campaign.first_sent.get_or_insert(now);
        let Campaign { election, id, ttl, wait_ms, priority, .. } = &campaign;
        let (ttl, wait, priority) = (ttl.as_millis().to_string(), wait_ms.to_string(), priority.to_string());
        let mut words = vec!["ELECTION", "CAMPAIGN", election, "OWNER", id, "TTL", &ttl];
        words.extend(["PRIORITY", &priority, "REQUEST", id]);
        if *wait_ms > 0 {
            words.extend(["WAIT", &wait]);
        }
        let args = arguments(&words);
        let action = if *wait_ms > 0 { Action::Wait(args) } else { Action::Write(args) };
        history.mortal.insert(election.clone());
        self.state = State::Campaigning(campaign);
        Step::Ask(vec![Request { db: 0, action }])
    }

    fn lead(&mut self, now: SimTime, random: &mut Random, history: &mut History, term: Term) -> Step {
        let token = term.token.to_string();
        if now >= term.valid_until {
            self.disbelieve(&term, term.valid_until, history);
            return think(random);
        }
        let (what, request) = match random.below(10) {
            0..3 => {
                self.state = State::Leading(term, Use::Nothing);
                return think(random);
            }
            3..5 => {
                let ttl = term.ttl.as_millis().to_string();
                (Use::Extension, write(&["ELECTION", "EXTEND", &term.election, &token, &ttl]))
            }
            5 => (Use::Value, write(&["ELECTION", "PROCLAIM", &term.election, &token, &term.id])),
            6..8 => (Use::Queue, read(&["ELECTION", "CANDIDATES", &term.election])),
            _ => return self.leave(now, history, term, None),
        };
        self.state = State::Leading(term, what);
        Step::Ask(vec![request])
    }

    /// Resigns, or hands over.
    fn leave(&mut self, now: SimTime, history: &mut History, term: Term, to: Option<String>) -> Step {
        self.disbelieve(&term, now, history);
        let token = term.token.to_string();
        let request = match &to {
            None => write(&["ELECTION", "RESIGN", &term.election, &token]),
            Some(to) => {
                history.elections.chooses(to);
                write(&["ELECTION", "TRANSFER", &term.election, &token, "OWNER", to])
            }
        };
        self.state = State::Leaving(term, to);
        Step::Ask(vec![request])
    }

    fn campaigned(
        &mut self,
        campaign: Campaign,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match exchange.outcome(0) {
            Outcome::Unknown => self.state = State::Campaigning(campaign),
            Outcome::Refused => {}
            Outcome::Done(Answer::Reply(Reply::Null), _) => history.elections.not_elected(&campaign.id),
            Outcome::Done(answer, span) => {
                let token = place("ELECTION CAMPAIGN", answer)?;
                let Campaign { election, id, ttl, first_sent, .. } = campaign;
                let invoked = first_sent.unwrap_or(span.invoked);
                let acquired = Span { invoked, ..span };
                history.tokens(&election).took(token, acquired)?;
                history.elections.turns.served(&election, token, &id);
                let valid_until = valid_until(invoked, ttl);
                let term = Term { election, id, ttl, token, acquired, valid_until };
                self.believe(&term, acquired.completed, history)?;
                self.state = State::Leading(term, Use::Nothing);
            }
        }
        Ok(())
    }

    fn used(
        &mut self,
        mut term: Term,
        what: &Use,
        exchange: &Exchange,
        history: &mut History,
    ) -> Result<(), Failure> {
        match (exchange.outcome(0), what) {
            (Outcome::Refused | Outcome::Unknown, _) => {}
            (Outcome::Done(answer, span), _) if is_stale(answer) => {
                term.may_be_over(span)?;
                self.disbelieve(&term, term.valid_until, history);
                return Ok(());
            }
            (Outcome::Done(answer, _), Use::Queue) => {
                history.elections.waits(&term.election, queue(answer)?)?;
            }
            (Outcome::Done(Answer::Reply(reply), span), Use::Extension) if *reply == Reply::ok() => {
                term.valid_until = term.valid_until.max(valid_until(exchange.sent, term.ttl));
                self.believe(&term, span.completed, history)?;
            }
            (Outcome::Done(Answer::Reply(reply), _), Use::Value) if *reply == Reply::ok() => {}
            (Outcome::Done(answer, _), _) => return Err(unexpected("a leader's request", answer)),
        }
        self.state = State::Leading(term, what.clone());
        Ok(())
    }

    fn believe(&self, term: &Term, from: SimTime, history: &mut History) -> Result<(), Failure> {
        history.holders.believes(&term.election, (&self.leader(term), Way::Alone), from, term.valid_until)
    }

    fn disbelieve(&self, term: &Term, at: SimTime, history: &mut History) {
        let until = at.min(term.valid_until);
        let leader = self.leader(term);
        history.holders.add(&term.election, (&leader, Way::Alone), term.acquired.completed, until);
    }

    fn leader(&self, term: &Term) -> String {
        format!("client {} ({})", self.client, term.id)
    }
}

impl Term {
    /// Judges that the service knows another leader, or none.
    fn may_be_over(&self, span: Span) -> Result<(), Failure> {
        check(span.completed >= self.valid_until, NEVER_EARLY, || {
            let (election, token, until) = (&self.election, self.token, self.valid_until);
            format!("{token} of {election} is stale at {}, valid until {until}", span.completed)
        })
    }

    fn left(&self, to: Option<&String>, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match (exchange.outcome(0), to) {
            (Outcome::Refused | Outcome::Unknown, _) => Ok(()),
            (Outcome::Done(answer, span), _) if is_stale(answer) => self.may_be_over(span),
            (Outcome::Done(Answer::Reply(reply), _), to) if *reply == Reply::ok() => {
                to.into_iter().for_each(|to| history.elections.handed_over(&self.election, self.token, to));
                Ok(())
            }
            // He waits no longer.
            (Outcome::Done(Answer::Reply(Reply::Error(text)), _), Some(_))
                if text.starts_with(b"ERR no such candidate") =>
            {
                Ok(())
            }
            (Outcome::Done(answer, _), _) => Err(unexpected("ELECTION RESIGN or TRANSFER", answer)),
        }
    }
}

/// One of the elections that all share.
pub(super) fn some_election(random: &mut Random) -> String {
    format!("election:{}", random.index(ELECTIONS))
}

/// A field of a reply, by name.
pub(super) fn field<'r>(reply: &'r Reply, name: &'static str) -> Option<&'r Reply> {
    let Reply::Map(fields) = reply else { return None };
    fields.iter().find(|(key, _)| *key == Reply::bulk(name)).map(|(_, value)| value)
}

/// Who waits, by name and priority.
fn queue(answer: &Answer) -> Result<Vec<(String, i64)>, Failure> {
    let Answer::Reply(Reply::Array(candidates)) = answer else {
        return Err(unexpected("ELECTION CANDIDATES", answer));
    };
    let candidate = |reply| match (field(reply, "owner"), field(reply, "priority")) {
        (Some(Reply::Bulk(owner)), Some(Reply::Integer(priority))) => {
            Ok((String::from_utf8_lossy(owner).into_owned(), *priority))
        }
        _ => Err(unexpected("ELECTION CANDIDATES", answer)),
    };
    candidates.iter().map(candidate).collect()
}

/// Whoever looks sees no earlier leader than the last that is known.
fn seen(election: &str, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
    match exchange.outcome(0) {
        Outcome::Done(Answer::Reply(Reply::Null), _) | Outcome::Refused | Outcome::Unknown => Ok(()),
        Outcome::Done(Answer::Reply(leader), span)
            if let Some(Reply::Integer(token)) = field(leader, "token") =>
        {
            let token = place("ELECTION LEADER", &Answer::Reply(Reply::Integer(*token)))?;
            history.tokens(election).saw(token, span);
            Ok(())
        }
        Outcome::Done(answer, _) => Err(unexpected("ELECTION LEADER", answer)),
    }
}

impl Workload for Candidates {
    fn plan(&mut self, now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match std::mem::replace(&mut self.state, State::Apart) {
            State::Apart => self.begin(now, random, history),
            State::Campaigning(campaign) => self.campaign(now, campaign, history),
            State::Leading(term, Use::Queue) if now < term.valid_until && random.chance(700) => {
                let waiting = history.elections.turns.last_seen(&term.election);
                match waiting.is_empty() {
                    true => self.lead(now, random, history, term),
                    false => {
                        let to = waiting[random.index(waiting.len())].clone();
                        self.leave(now, history, term, Some(to))
                    }
                }
            }
            State::Leading(term, _) => self.lead(now, random, history, term),
            state @ (State::Looking(_) | State::Leaving(..)) => {
                unreachable!("{state:?} is asked about at once")
            }
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.state, State::Apart) {
            State::Looking(election) => seen(&election, exchange, history),
            State::Campaigning(campaign) => self.campaigned(campaign, exchange, history),
            State::Leading(term, what) => self.used(term, &what, exchange, history),
            State::Leaving(term, to) => term.left(to.as_ref(), exchange, history),
            State::Apart => unreachable!("it has asked for nothing"),
        }
    }

    fn end(&mut self, now: SimTime, history: &mut History) {
        if let State::Leading(term, _) = std::mem::replace(&mut self.state, State::Apart) {
            self.disbelieve(&term, now, history);
        }
    }
}
