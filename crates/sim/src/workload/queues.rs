//! Queues: clients put elements of their own, and wait for whichever comes first. Each is taken once, those of one client in
//! their order, and none is lost but to a client that does not know what became of its request.

use bytes::Bytes;
use quorate_machine::Reply;
use quorate_node::{Action, Answer, Request};

use super::{Exchange, Outcome, Step, Workload, arguments, integer, think, unexpected, write};
use crate::{
    checks::{Failure, history::History},
    random::Random,
    time::SimTime,
};

/// How many queues all clients share: few, so that some always wait.
const QUEUES: usize = 2;

#[derive(Debug)]
pub(crate) struct Queues {
    client: usize,
    next: u64,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Nothing,
    /// These elements were put, each by a request of its own.
    Put(String, Vec<Bytes>),
    /// An element is waited for.
    Take,
}

impl Queues {
    pub(crate) fn new(client: usize) -> Self {
        Self { client, next: 0, asked: Asked::Nothing }
    }

    fn element(&mut self) -> Bytes {
        self.next += 1;
        Bytes::from(format!("{}.{}", self.client, self.next))
    }
}

fn key(number: usize) -> String {
    format!("queue:{number}")
}

/// Waits for at most so many seconds, at all queues.
fn take(seconds: &str) -> Request {
    let keys: Vec<String> = (0..QUEUES).map(key).collect();
    let words: Vec<&str> =
        std::iter::once("BLPOP").chain(keys.iter().map(String::as_str)).chain([seconds]).collect();
    Request { db: 0, action: Action::Wait(arguments(&words)) }
}

impl Workload for Queues {
    fn plan(&mut self, _now: SimTime, random: &mut Random, history: &mut History) -> Step {
        match random.below(4) {
            0 => think(random),
            1 => {
                let key = key(random.index(QUEUES));
                let count = random.between(1, 3);
                let elements: Vec<Bytes> = (0..count).map(|_| self.element()).collect();
                let put = |element: &Bytes| write(&["RPUSH", &key, &String::from_utf8_lossy(element)]);
                let requests = elements.iter().map(put).collect();
                elements.iter().for_each(|element| history.queues.put(self.client, &key, element));
                self.asked = Asked::Put(key, elements);
                Step::Ask(requests)
            }
            _ => {
                self.asked = Asked::Take;
                Step::Ask(vec![take(["0.05", "0.5", "2"][random.index(3)])])
            }
        }
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => unreachable!("an exchange that was not planned"),
            Asked::Put(key, elements) => {
                for (at, element) in elements.iter().enumerate() {
                    match exchange.outcome(at) {
                        Outcome::Done(answer, _) => {
                            integer("RPUSH", answer)?;
                            history.queues.acknowledged(&key, element);
                        }
                        Outcome::Refused => history.queues.refused(element),
                        Outcome::Unknown => {}
                    }
                }
            }
            Asked::Take => match exchange.outcome(0) {
                Outcome::Done(Answer::Reply(Reply::NullArray), _) | Outcome::Refused => {}
                Outcome::Done(Answer::Reply(Reply::Array(taken)), span) => match &taken[..] {
                    [Reply::Bulk(key), Reply::Bulk(element)] => history.queues.taken(key, element, span)?,
                    _ => return Err(unexpected("BLPOP", &Answer::Reply(Reply::Array(taken.clone())))),
                },
                Outcome::Done(answer, _) => return Err(unexpected("BLPOP", answer)),
                Outcome::Unknown => history.queues.lost_sight(),
            },
        }
        Ok(())
    }
}
