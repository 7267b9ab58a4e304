//! A key of one's own with a time-to-live: it is there until that has passed, whatever happens to the cluster; once it was
//! seen to be gone it does not come back; each new value has a greater fencing token, and an equal value keeps it.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use quorate_machine::Reply;
use quorate_node::Answer;

use super::{
    Exchange, Outcome, Step, Workload, integer, locks::valid_until, place, read, string, think, unexpected,
    write,
};
use crate::{
    checks::{Failure, Span, check, history::History},
    random::Random,
    time::SimTime,
};

#[derive(Debug)]
pub(crate) struct Leases {
    client: usize,
    /// How many keys it has given up.
    keys: u64,
    key: String,
    next: u64,
    /// The value that is known to be there until then.
    known: Option<Known>,
    /// The values whose SET was refused.
    refused: BTreeSet<Bytes>,
    /// The greatest token that was ever seen.
    token: u64,
    asked: Asked,
    resting: bool,
}

#[derive(Debug, Clone)]
struct Known {
    value: String,
    ttl: Duration,
    until: SimTime,
    token: Option<u64>,
    /// It was seen that it has expired.
    is_gone: bool,
}

#[derive(Debug)]
enum Asked {
    Nothing,
    /// SET, GET and FENCE in one pipeline: the connection reads its own write.
    Set {
        value: String,
        ttl: Duration,
    },
    /// GET, PTTL and FENCE.
    Look,
}

fn key(client: usize, number: u64) -> String {
    format!("lease:{client}.{number}")
}

impl Leases {
    pub(crate) fn new(client: usize) -> Self {
        Self {
            client,
            keys: 0,
            key: key(client, 0),
            next: 0,
            known: None,
            refused: BTreeSet::new(),
            token: 0,
            asked: Asked::Nothing,
            resting: true,
        }
    }

    fn set(&mut self, random: &mut Random, history: &mut History) -> Step {
        let ttl = Duration::from_millis(random.between(100, 2000));
        self.next += 1;
        let value = match &self.known {
            // An equal value is set again: the token stays if the key is still there.
            Some(known) if random.chance(300) => known.value.clone(),
            Some(_) | None => format!("value-{}", self.next),
        };
        let ttl_ms = ttl.as_millis().to_string();
        let requests = vec![
            write(&["SET", &self.key, &value, "PX", &ttl_ms]),
            read(&["GET", &self.key]),
            read(&["FENCE", &self.key]),
        ];
        history.mortal.insert(self.key.clone());
        self.asked = Asked::Set { value, ttl };
        Step::Ask(requests)
    }

    /// What became of the last SET is not known, and it may take effect at any later time: the client may have moved to
    /// another node, whose commands are in no order with those of the one before. Nothing can be said of its key any more.
    fn begin_anew(&mut self) {
        self.keys += 1;
        self.key = key(self.client, self.keys);
        self.token = 0;
    }

    fn learn_set(&mut self, value: String, ttl: Duration, exchange: &Exchange) -> Result<(), Failure> {
        let before = self.known.take();
        match exchange.outcome(0) {
            Outcome::Refused => {
                self.refused.insert(value.into());
                self.known = before;
                return Ok(());
            }
            Outcome::Unknown => {
                self.begin_anew();
                return Ok(());
            }
            Outcome::Done(answer, _) if *answer == Answer::Reply(Reply::ok()) => {}
            Outcome::Done(answer, _) => return Err(unexpected("SET", answer)),
        }
        let until = valid_until(exchange.sent, ttl);
        let mut known = Known { value, ttl, until, token: None, is_gone: false };
        if let Outcome::Done(answer, span) = exchange.outcome(1) {
            known.check(&self.key, &self.refused, answer, span)?;
        }
        if let Outcome::Done(answer, span) = exchange.outcome(2)
            && let Some(token) = known.token_in(&self.key, answer, span)?
        {
            // The token stays only if the value was there, and was this one.
            let may_stay = before.is_some_and(|before| before.value == known.value);
            let grew = token > self.token || (may_stay && token == self.token);
            check(grew, "fencing tokens grow", || format!("{}: {} -> {token}", self.key, self.token))?;
            self.token = token;
            known.token = Some(token);
        }
        self.known = Some(known);
        Ok(())
    }

    fn learn_look(&mut self, exchange: &Exchange) -> Result<(), Failure> {
        let Some(known) = &mut self.known else { return Ok(()) };
        if let Outcome::Done(answer, span) = exchange.outcome(0) {
            known.check(&self.key, &self.refused, answer, span)?;
        }
        if let Outcome::Done(answer, span) = exchange.outcome(1) {
            known.check_time_left(&self.key, answer, span)?;
        }
        if let Outcome::Done(answer, span) = exchange.outcome(2)
            && let Some(token) = known.token_in(&self.key, answer, span)?
        {
            let expected = known.token.unwrap_or(token);
            check(token == expected && token >= self.token, "fencing tokens grow", || {
                format!("{}: an untouched value's token went from {expected} to {token}", self.key)
            })?;
            self.token = token;
            known.token = Some(token);
        }
        Ok(())
    }
}

impl Known {
    /// The value is there while it must be, and no other is.
    fn check(
        &mut self,
        key: &str,
        refused: &BTreeSet<Bytes>,
        answer: &Answer,
        span: Span,
    ) -> Result<(), Failure> {
        let seen = string("GET", answer)?;
        let is_there = seen.as_ref().is_some_and(|seen| seen == self.value.as_bytes());
        let was_refused = !is_there && seen.as_ref().is_some_and(|seen| refused.contains(seen));
        check(!was_refused, "what was refused is not applied", || {
            format!("{key} holds {seen:?}, which was refused, at {}", span.completed)
        })?;
        let may_be_gone = seen.is_none() && span.completed >= self.until;
        check(is_there || may_be_gone, "nothing expires early", || {
            format!("{key} holds {} until {}, and was {seen:?} at {}", self.value, self.until, span.completed)
        })?;
        self.stays_gone(key, is_there, span)
    }

    fn check_time_left(&mut self, key: &str, answer: &Answer, span: Span) -> Result<(), Failure> {
        let left = integer("PTTL", answer)?;
        let most = i64::try_from(self.ttl.as_millis()).expect("some seconds");
        let may_be_gone = left == -2 && span.completed >= self.until;
        check((1..=most).contains(&left) || may_be_gone, "PTTL is within the time-to-live", || {
            format!("{key}, set for {most} ms until {}, has {left} ms left at {}", self.until, span.completed)
        })?;
        self.stays_gone(key, left > 0, span)
    }

    fn token_in(&mut self, key: &str, answer: &Answer, span: Span) -> Result<Option<u64>, Failure> {
        let is_there = *answer != Answer::Reply(Reply::Null);
        self.stays_gone(key, is_there, span)?;
        if is_there {
            return place("FENCE", answer).map(Some);
        }
        check(span.completed >= self.until, "nothing expires early", || {
            format!("{key} holds {} until {}, and had no token at {}", self.value, self.until, span.completed)
        })?;
        Ok(None)
    }

    /// What was not there once is not there again, unless it is set again.
    fn stays_gone(&mut self, key: &str, is_there: bool, span: Span) -> Result<(), Failure> {
        check(!(self.is_gone && is_there), "what has expired stays expired", || {
            format!("{key}, set until {}, was gone and is there again at {}", self.until, span.completed)
        })?;
        self.is_gone = !is_there;
        Ok(())
    }
}

impl Workload for Leases {
    fn plan(&mut self, _now: SimTime, random: &mut Random, history: &mut History) -> Step {
        self.resting = !self.resting;
        if !self.resting {
            return think(random);
        }
        if self.known.is_none() || random.chance(300) {
            return self.set(random, history);
        }
        self.asked = Asked::Look;
        Step::Ask(vec![read(&["GET", &self.key]), read(&["PTTL", &self.key]), read(&["FENCE", &self.key])])
    }

    fn learn(&mut self, exchange: &Exchange, _history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => unreachable!("an exchange that was not planned"),
            Asked::Set { value, ttl } => self.learn_set(value, ttl, exchange),
            Asked::Look => self.learn_look(exchange),
        }
    }
}
