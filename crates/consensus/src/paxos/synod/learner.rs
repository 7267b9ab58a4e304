//! The learner: it finds out what was chosen, and has no say in it.

use std::collections::BTreeMap;

use super::{Acceptance, Message, Value};
use crate::{Membership, NodeId};

/// A learner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Learner {
    acceptors: Membership,
    /// What each acceptor is known to have accepted last. Older acceptances are forgotten, so that this is bounded: a
    /// value whose quorum was missed that way is learned from a later ballot, which carries it, too.
    accepted: BTreeMap<NodeId, Acceptance>,
    learned: Option<Value>,
}

impl Learner {
    /// One that has heard nothing yet.
    #[must_use]
    pub fn new(acceptors: Membership) -> Self {
        Self { acceptors, accepted: BTreeMap::new(), learned: None }
    }

    /// Takes note of what the acceptor `from` says; what is not for learners is ignored.
    pub fn receive(&mut self, from: NodeId, message: Message) {
        let Message::Accepted(acceptance) = message else { return };
        let last = self.accepted.get(&from).map(|last| last.ballot);
        if !self.acceptors.is_voter(from) || last >= Some(acceptance.ballot) {
            return;
        }
        self.accepted.insert(from, acceptance.clone());
        let agrees =
            |acceptor| self.accepted.get(&acceptor).is_some_and(|last| last.ballot == acceptance.ballot);
        if self.acceptors.has_quorum(agrees) {
            let learned = self.learned.get_or_insert_with(|| acceptance.value.clone());
            assert!(*learned == acceptance.value, "{acceptance} is chosen, after another value");
        }
    }

    /// The value that was chosen, once this learner knows.
    #[must_use]
    pub fn learned(&self) -> Option<&Value> {
        self.learned.as_ref()
    }
}
