//! The acceptor: the memory of the protocol. All that it does is to keep its promises.

use super::{Acceptance, Ballot, Effects, Message};
use crate::NodeId;

/// What an acceptor keeps on its disk: without it, it must not come back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    /// It takes part in no ballot below this one.
    pub promised: Ballot,
    /// What it accepted last.
    pub accepted: Option<Acceptance>,
}

impl Memory {
    /// That of an acceptor that was never asked.
    pub const NEW: Self = Self { promised: Ballot::NONE, accepted: None };
}

/// An acceptor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acceptor {
    memory: Memory,
    /// Who is told of acceptances.
    learners: Vec<NodeId>,
}

impl Acceptor {
    /// One that goes on with what is on its disk.
    #[must_use]
    pub fn new(memory: Memory, learners: impl IntoIterator<Item = NodeId>) -> Self {
        Self { memory, learners: learners.into_iter().collect() }
    }

    /// Answers a message from the proposer `from`; what is not for acceptors is ignored.
    pub fn receive(&mut self, from: NodeId, message: Message) -> Effects<Memory> {
        let ballot = match &message {
            Message::Prepare { ballot } | Message::Accept(Acceptance { ballot, .. }) => *ballot,
            Message::Promise { .. } | Message::Accepted(_) | Message::Refused { .. } => {
                return Effects::none();
            }
        };
        // The one comparison. An equal ballot is the same proposer's: a repetition, or its second phase.
        if ballot < self.memory.promised {
            let refused = Message::Refused { ballot, promised: self.memory.promised };
            return Effects { write: None, messages: vec![(from, refused)] };
        }
        self.memory.promised = ballot;
        let messages = match message {
            Message::Accept(acceptance) => self.accept(acceptance),
            Message::Prepare { .. }
            | Message::Promise { .. }
            | Message::Accepted(_)
            | Message::Refused { .. } => {
                vec![(from, Message::Promise { ballot, accepted: self.memory.accepted.clone() })]
            }
        };
        Effects { write: Some(self.memory.clone()), messages }
    }

    fn accept(&mut self, acceptance: Acceptance) -> Vec<(NodeId, Message)> {
        if let Some(last) = &self.memory.accepted {
            assert!(last.ballot <= acceptance.ballot, "accepted {acceptance} after {last}");
        }
        self.memory.accepted = Some(acceptance.clone());
        self.learners.iter().map(|&learner| (learner, Message::Accepted(acceptance.clone()))).collect()
    }

    /// What it has promised and accepted.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }
}
