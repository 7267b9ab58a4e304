//! The engines that are tested.

use quorate_consensus::{
    Term,
    paxos::{Ballot, Paxos},
    raft::Raft,
};

use crate::told::Tells;

/// An engine to be tested.
pub(crate) trait Subject: Tells {
    /// How its transcripts name a term.
    fn term_text(term: Term) -> String;
}

impl Subject for Raft {
    fn term_text(term: Term) -> String {
        term.to_string()
    }
}

impl Subject for Paxos {
    fn term_text(term: Term) -> String {
        Ballot::of(term).to_string()
    }
}
