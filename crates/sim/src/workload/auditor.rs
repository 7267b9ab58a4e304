//! The last client of a node: reads everything once, when nobody writes any more.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use quorate_machine::Reply;
use quorate_node::Answer;

use super::{Exchange, Outcome, Step, Workload, lines, read, record, string, unexpected};
use crate::{
    checks::{Failure, history::History},
    linearizability::keyspace::Command,
    random::Random,
    time::SimTime,
};

/// How many keys are read at once.
const PORTION: usize = 32;

#[derive(Debug)]
pub(crate) struct Auditor {
    client: usize,
    node: usize,
    keys: Vec<Key>,
    /// What was read of the first of them.
    content: Vec<Option<Bytes>>,
    done: bool,
}

/// What a key is, which says how it is read, and who judges what is there.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// A string, judged by its own history.
    Text(String),
    /// A list.
    Queue(String),
    /// No key: the sessions of clients that are open.
    Sessions,
    /// One of the keyspace that calls are judged by: this read is the last of them.
    Called(String),
}

impl Key {
    fn name(&self) -> &str {
        match self {
            Self::Text(name) | Self::Queue(name) | Self::Called(name) => name,
            Self::Sessions => SESSIONS,
        }
    }
}

impl Auditor {
    pub(crate) fn new(client: usize, node: usize, keys: Vec<Key>) -> Self {
        Self { client, node, keys, content: Vec::new(), done: false }
    }

    /// What is read next.
    fn portion(&self) -> &[Key] {
        let left = &self.keys[self.content.len()..];
        &left[..left.len().min(PORTION)]
    }

    fn take_in(&self, exchange: &Exchange, history: &mut History) -> Result<Vec<Option<Bytes>>, Failure> {
        let mut contents = Vec::new();
        for (at, key) in self.portion().iter().enumerate() {
            let Outcome::Done(answer, _) = exchange.outcome(at) else { break };
            contents.push(match key {
                Key::Queue(_) => lines("LRANGE", answer)?,
                Key::Text(_) => there(answer)?,
                Key::Called(_) => string("GET", answer)?,
                Key::Sessions => how_many("SESSION LIST", answer)?,
            });
            if let Key::Called(name) = key {
                let command = Command::Get(Bytes::copy_from_slice(name.as_bytes()));
                record(exchange, at, self.client, (name, command), history)?;
            }
        }
        Ok(contents)
    }
}

/// By what name the sessions are told that are open in the end.
pub(crate) const SESSIONS: &str = "(sessions)";

/// What is at a key, be it a lock or the like, of which nobody can say what it holds.
fn there(answer: &Answer) -> Result<Option<Bytes>, Failure> {
    match answer {
        Answer::Reply(Reply::Error(text)) if text.starts_with(b"WRONGTYPE ") => Ok(Some(text.clone())),
        answer => string("GET", answer),
    }
}

/// How many there are, if there are any.
fn how_many(request: &str, answer: &Answer) -> Result<Option<Bytes>, Failure> {
    match answer {
        Answer::Reply(Reply::Array(all)) => Ok((!all.is_empty()).then(|| all.len().to_string().into())),
        Answer::Reply(_) | Answer::Watched(_) | Answer::View(_) | Answer::Close(_) => {
            Err(unexpected(request, answer))
        }
    }
}

/// A client that has nothing left to do looks up now and then.
const IDLE: Duration = Duration::from_secs(1);

impl Workload for Auditor {
    fn plan(&mut self, _now: SimTime, _random: &mut Random, history: &mut History) -> Step {
        if self.content.len() == self.keys.len() && !self.done {
            self.done = true;
            let names = self.keys.iter().map(|key| key.name().to_owned());
            let there = names.zip(&self.content).filter_map(|(name, content)| Some((name, content.clone()?)));
            history.audits.insert(self.node, there.collect::<BTreeMap<_, _>>());
        }
        if self.done {
            return Step::Rest(IDLE);
        }
        let whole = |key: &Key| match key {
            Key::Queue(name) => read(&["LRANGE", name, "0", "-1"]),
            Key::Text(name) | Key::Called(name) => read(&["GET", name]),
            Key::Sessions => read(&["SESSION", "LIST"]),
        };
        Step::Ask(self.portion().iter().map(whole).collect())
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let contents = self.take_in(exchange, history)?;
        self.content.extend(contents);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use quorate_node::ConnId;

    use super::*;
    use crate::{checks::Span, linearizability::keyspace::Seen};

    /// Whether it holds that a client was told that `SET k v` is done, nobody has read it since, and this is there in the end.
    fn is_held(in_the_end: Reply) -> bool {
        let at = |micros| SimTime { micros };
        let mut history = History::default();
        let command = Command::parse(&["SET", "k", "v"]).unwrap();
        let call = (command, Seen::of(&Reply::ok()).unwrap());
        history.calls.answered(0, "k", call, Span { invoked: at(1), completed: at(2) });
        let mut auditor = Auditor::new(1, 0, history.keys());
        let mut random = Random::new(1, 1);
        let Step::Ask(requests) = auditor.plan(at(3), &mut random, &mut history) else { panic!("it reads") };
        assert_eq!(requests.len(), 1);
        let answers = vec![(at(4), Answer::Reply(in_the_end))];
        auditor.learn(&Exchange { sent: at(3), conn: ConnId(1), answers }, &mut history).unwrap();
        history.calls.verify().is_ok()
    }

    #[test]
    fn acknowledged_value_that_nobody_has_read_is_there_in_the_end() {
        assert!(is_held(Reply::Bulk("v".into())));
        assert!(!is_held(Reply::Null));
    }

    #[test]
    fn what_was_not_answered_is_asked_again() {
        let mut history = History::default();
        let keys = (0..40).map(|number| Key::Text(number.to_string())).collect();
        let mut auditor = Auditor::new(1, 0, keys);
        let mut asked = Vec::new();
        for answered in [2, PORTION, PORTION] {
            let random = &mut Random::new(1, 1);
            let Step::Ask(requests) = auditor.plan(SimTime::default(), random, &mut history) else {
                break;
            };
            asked.push(requests.len());
            let answer = (SimTime::default(), Answer::Reply(Reply::Null));
            let answers = vec![answer; answered.min(requests.len())];
            let exchange = Exchange { sent: SimTime::default(), conn: ConnId(1), answers };
            auditor.learn(&exchange, &mut history).unwrap();
        }
        assert_eq!(asked, [32, 32, 6]);
        auditor.plan(SimTime::default(), &mut Random::new(1, 1), &mut history);
        assert!(history.audits[&0].is_empty());
    }
}
