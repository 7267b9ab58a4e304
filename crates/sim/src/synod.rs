//! Single-decree Paxos, played: nodes that each propose a value at once, over a network that cannot be trusted.
//!
//! Each node is proposer, acceptor and learner. Messages are lost, repeated and late; nodes crash, and come back with what
//! they had written. It goes on until all nodes have learned a value, which must be one value.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use quorate_consensus::{
    BootTime, Membership, NodeId,
    paxos::synod::{Acceptor, Effects, Learner, Message, Proposer, Value, acceptor::Memory, proposer::Round},
};

use crate::{agenda::Agenda, random::Random, time::SimTime};

/// Out of a thousand messages so many are lost, and so many come twice.
const LOST_PERMILLE: u64 = 200;
const REPEATED_PERMILLE: u64 = 100;
/// How long messages are on their way, in milliseconds.
const DELAY_MS: (u64, u64) = (1, 60);
/// When each node crashes first, in milliseconds, and for how long it is down.
const CRASH_MS: (u64, u64) = (10, 400);
const DOWN_MS: (u64, u64) = (20, 300);
/// How often each node crashes.
const CRASHES: u64 = 2;
/// By then a value must have been learned by all: waits grow to six seconds, and many are not needed.
const BOUND: Duration = Duration::from_secs(300);

/// How a play went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synod {
    /// All that happened, in compact notation.
    pub lines: Vec<String>,
    /// The value that all nodes have learned; or what is wrong.
    pub learned: Result<Value, String>,
}

/// Lets `nodes` nodes agree on a value. The same seed makes the same play.
#[must_use]
pub fn synod(seed: u64, nodes: u64) -> Synod {
    let mut play = Play::new(seed, nodes);
    let learned = play.run();
    Synod { lines: play.lines, learned }
}

enum Event {
    Wake(NodeId),
    Deliver { from: NodeId, to: NodeId, message: Message },
    Crash(NodeId),
    Restart(NodeId),
}

/// What survives a crash.
struct Disk {
    round: Round,
    memory: Memory,
}

/// What does not. None while the node is down.
struct Process {
    proposer: Proposer,
    acceptor: Acceptor,
    learner: Learner,
    /// For when it is to be woken.
    planned: Option<BootTime>,
}

struct Play {
    seed: u64,
    members: Membership,
    disks: BTreeMap<NodeId, Disk>,
    processes: BTreeMap<NodeId, Option<Process>>,
    agenda: Agenda<Event>,
    random: Random,
    lines: Vec<String>,
}

impl Play {
    fn new(seed: u64, nodes: u64) -> Self {
        let members = Membership::of_voters((1..=nodes).map(NodeId));
        let mut play = Self {
            seed,
            disks: members.electorate().map(|id| (id, Disk { round: 0, memory: Memory::NEW })).collect(),
            processes: BTreeMap::new(),
            members: members.clone(),
            agenda: Agenda::new(),
            random: Random::new(seed, 0),
            lines: Vec::new(),
        };
        for id in members.electorate() {
            play.start(id);
            for _ in 0..CRASHES {
                let at = play.in_millis(CRASH_MS);
                play.agenda.add(at, Event::Crash(id));
            }
        }
        play
    }

    fn run(&mut self) -> Result<Value, String> {
        while let Some((at, event)) = self.agenda.take() {
            if at.since(SimTime::default()) > BOUND {
                return Err(format!("after {BOUND:?} not all have learned a value"));
            }
            match event {
                Event::Wake(id) => self.wake(id),
                Event::Deliver { from, to, message } => self.deliver(from, to, message),
                Event::Crash(id) => self.crash(id),
                Event::Restart(id) => {
                    self.tell(&format!("{id} is back"));
                    self.start(id);
                }
            }
            if let Some(value) = self.verdict()? {
                return Ok(value);
            }
        }
        Err("nothing more happens".to_owned())
    }

    /// The value that all nodes have learned, if they have.
    fn verdict(&self) -> Result<Option<Value>, String> {
        let learners = self.processes.values().map(|process| Some(&process.as_ref()?.learner));
        let learned: Vec<Option<&Value>> = learners.map(|learner| learner?.learned()).collect();
        let mut values = learned.iter().copied().flatten();
        let Some(first) = values.next() else { return Ok(None) };
        if let Some(other) = values.find(|value| *value != first) {
            return Err(format!("{} and {} were both learned", first.escape_ascii(), other.escape_ascii()));
        }
        Ok(learned.iter().all(Option::is_some).then(|| first.clone()))
    }

    fn start(&mut self, id: NodeId) {
        let disk = &self.disks[&id];
        let own = Bytes::from(format!("value-of-{id}"));
        let process = Process {
            proposer: Proposer::new(id, self.members.clone(), own, disk.round, self.seed),
            acceptor: Acceptor::new(disk.memory.clone(), self.members.electorate()),
            learner: Learner::new(self.members.clone()),
            planned: None,
        };
        self.processes.insert(id, Some(process));
        self.agenda.add(self.agenda.now(), Event::Wake(id));
    }

    fn crash(&mut self, id: NodeId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.take().is_some() {
            self.tell(&format!("{id} crashes"));
            let back = self.in_millis(DOWN_MS);
            self.agenda.add(back, Event::Restart(id));
        }
    }

    fn wake(&mut self, id: NodeId) {
        let now = boot(self.agenda.now());
        let Some(Some(process)) = self.processes.get_mut(&id) else { return };
        // Who knows the value has nothing more to ask.
        if process.learner.learned().is_some() {
            return;
        }
        let effects = process.proposer.wake(now);
        self.proposed(id, effects);
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: Message) {
        let now = boot(self.agenda.now());
        let Some(Some(process)) = self.processes.get_mut(&to) else { return };
        self.lines.push(line(self.agenda.now(), &format!("{from}->{to} {message}")));
        match &message {
            Message::Prepare { .. } | Message::Accept(_) => {
                let effects = process.acceptor.receive(from, message);
                if let Some(memory) = effects.write {
                    self.disks.entry(to).and_modify(|disk| disk.memory = memory);
                }
                self.send(to, effects.messages);
            }
            Message::Promise { .. } | Message::Refused { .. } => {
                let effects = process.proposer.receive(now, from, message);
                self.proposed(to, effects);
            }
            Message::Accepted(_) => {
                let knew = process.learner.learned().is_some();
                process.learner.receive(from, message);
                if let Some(value) = process.learner.learned().filter(|_| !knew) {
                    let text = format!("{to} learns {}", value.escape_ascii());
                    self.tell(&text);
                }
            }
        }
    }

    /// Carries out what the proposer of a running node wants, and wakes it when it wants that.
    fn proposed(&mut self, id: NodeId, effects: Effects<Round>) {
        if let Some(round) = effects.write {
            self.disks.entry(id).and_modify(|disk| disk.round = round);
        }
        self.send(id, effects.messages);
        if let Some(Some(process)) = self.processes.get_mut(&id) {
            let deadline = process.proposer.deadline();
            if process.planned.replace(deadline) != Some(deadline) {
                self.agenda.add(SimTime { micros: deadline.micros }, Event::Wake(id));
            }
        }
    }

    fn send(&mut self, from: NodeId, messages: Vec<(NodeId, Message)>) {
        for (to, message) in messages {
            let copies = match (self.random.chance(LOST_PERMILLE), self.random.chance(REPEATED_PERMILLE)) {
                // Nothing is lost between the parts of one node.
                _ if from == to => 1,
                (true, _) => 0,
                (false, true) => 2,
                (false, false) => 1,
            };
            for _ in 0..copies {
                let at = self.in_millis(DELAY_MS);
                self.agenda.add(at, Event::Deliver { from, to, message: message.clone() });
            }
        }
    }

    /// A time in the near future.
    fn in_millis(&mut self, (low, high): (u64, u64)) -> SimTime {
        self.agenda.now() + self.random.millis(low, high)
    }

    fn tell(&mut self, text: &str) {
        self.lines.push(line(self.agenda.now(), text));
    }
}

fn line(at: SimTime, text: &str) -> String {
    format!("{at} {text}")
}

/// All clocks are right here: no promise of this protocol rests on one.
fn boot(at: SimTime) -> BootTime {
    BootTime { micros: at.micros }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_nodes_learn_one_value_and_not_always_the_same_ones() {
        let learned: BTreeSet<Value> = (0..300)
            .map(|seed| {
                synod(seed, 1 + seed % 7).learned.unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"))
            })
            .collect();
        assert!(learned.len() > 3, "{learned:?}");
    }

    #[test]
    fn equal_seeds_play_equally() {
        assert_eq!(synod(5, 3), synod(5, 3));
        assert_ne!(synod(5, 3).lines, synod(6, 3).lines);
    }
}
