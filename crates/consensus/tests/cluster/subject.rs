//! The engines that are tested.

use quorate_consensus::{
    Engine, Index, Term,
    paxos::{self, Ballot, Paxos},
    raft::{self, Raft},
};

/// An engine to be tested.
pub(crate) trait Subject: Engine {
    /// How its transcripts name a term.
    fn term_text(term: Term) -> String;

    /// What a message promises to be on its sender's disk: a term, and a log up to an index.
    fn told(message: &Self::Message) -> (Option<Term>, Option<Index>);
}

impl Subject for Raft {
    fn term_text(term: Term) -> String {
        term.to_string()
    }

    fn told(message: &raft::message::Message) -> (Option<Term>, Option<Index>) {
        use raft::message::Body;
        match &message.body {
            Body::Vote { .. } | Body::VoteAnswer { granted: true } => (Some(message.term), None),
            Body::AppendAccepted { matched } => (Some(message.term), Some(*matched)),
            _ => (None, None),
        }
    }
}

impl Subject for Paxos {
    fn term_text(term: Term) -> String {
        Ballot::of(term).to_string()
    }

    fn told(message: &paxos::message::Message) -> (Option<Term>, Option<Index>) {
        use paxos::message::Body;
        let term = message.ballot.term();
        match &message.body {
            Body::Prepare { .. } => (Some(term), None),
            Body::Promise { last } => (Some(term), Some(last.index)),
            Body::Accepted { matched } => (Some(term), Some(*matched)),
            _ => (None, None),
        }
    }
}
