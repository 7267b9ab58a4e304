//! What proposers, acceptors and learners say to each other.

use std::fmt;

use super::{Ballot, Value};

/// What an acceptor has accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Acceptance {
    /// In which ballot.
    pub ballot: Ballot,
    /// The value that the ballot carried.
    pub value: Value,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// Phase 1, from a proposer to each acceptor: take part in no ballot below `ballot`.
    Prepare {
        /// The proposer's new ballot.
        ballot: Ballot,
    },
    /// An acceptor's answer, once the promise is durable.
    Promise {
        /// What it has promised to take part in next.
        ballot: Ballot,
        /// What it accepted last, if anything.
        accepted: Option<Acceptance>,
    },
    /// Phase 2, from a proposer that has a quorum's promises to each acceptor.
    Accept(Acceptance),
    /// From an acceptor to each learner, once the acceptance is durable.
    Accepted(Acceptance),
    /// From an acceptor to a proposer whose ballot comes too late, in either phase.
    Refused {
        /// The ballot that was refused.
        ballot: Ballot,
        /// What the acceptor has promised.
        promised: Ballot,
    },
}

impl fmt::Display for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.ballot, self.value.escape_ascii())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare { ballot } => write!(f, "Prepare {ballot}"),
            Self::Promise { ballot, accepted: None } => write!(f, "Promise {ballot}"),
            Self::Promise { ballot, accepted: Some(last) } => write!(f, "Promise {ballot} accepted {last}"),
            Self::Accept(acceptance) => write!(f, "Accept {acceptance}"),
            Self::Accepted(acceptance) => write!(f, "Accepted {acceptance}"),
            Self::Refused { ballot, promised } => write!(f, "Refused {ballot} promised {promised}"),
        }
    }
}
