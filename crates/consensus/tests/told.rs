//! What messages promise of their senders' disks, for the checks that they do not leave too early (hazards 5 to 7, 13).

use quorate_consensus::{
    Engine, Index, Term,
    paxos::{self, Paxos},
    raft::{self, Raft},
};

/// An engine whose promises are understood.
pub(crate) trait Tells: Engine {
    /// What a message promises to be on its sender's disk: a term, and a log up to an index.
    fn told(message: &Self::Message) -> (Option<Term>, Option<Index>);
}

impl Tells for Raft {
    fn told(message: &raft::message::Message) -> (Option<Term>, Option<Index>) {
        use raft::message::Body;
        if let Body::AppendAccepted { matched } = message.body {
            return (Some(message.term), Some(matched));
        }
        let votes = matches!(message.body, Body::Vote { .. } | Body::VoteAnswer { granted: true });
        (votes.then_some(message.term), None)
    }
}

impl Tells for Paxos {
    fn told(message: &paxos::message::Message) -> (Option<Term>, Option<Index>) {
        use paxos::message::Body;
        let term = message.ballot.term();
        if let Body::Promise { last: paxos::message::Position { index, .. } }
        | Body::Accepted { matched: index } = message.body
        {
            return (Some(term), Some(index));
        }
        (matches!(message.body, Body::Prepare { .. }).then_some(term), None)
    }
}
