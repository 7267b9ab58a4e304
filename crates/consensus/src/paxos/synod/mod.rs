//! Single-decree Paxos: some processes choose one value, and never another.
//!
//! # The problem
//!
//! Several *proposers* each have a value. The network loses, repeats, delays and reorders messages; processes crash, and
//! come back with what is on their disks. All *learners* shall learn one value, which some proposer had, and whoever
//! learns later must learn the same.
//!
//! # Why it is not simply a vote
//!
//! Let a value be chosen when a majority of *acceptors* has accepted it. If each acceptor accepts the first value that it
//! hears, three proposers may get a third of them each, and nothing is ever chosen. So an acceptor must be able to accept
//! more than once; and then the danger is that a second majority accepts another value than the first did. Paxos lets
//! acceptors change their minds, and makes sure that, once a majority has accepted a value, they only ever change them to
//! that same value.
//!
//! # How it works
//!
//! Attempts are numbered by [`Ballot`]s: each belongs to one proposer, and carries one value at most. An attempt has two
//! phases.
//!
//! 1. *Prepare.* The proposer asks all acceptors for a promise to take part in no ballot below its own. An acceptor that
//!    has not promised more does so, and says with it which value it has accepted last, in which ballot.
//! 2. *Accept.* With promises of a quorum the proposer knows enough to choose a value that cannot contradict what lower
//!    ballots may have chosen: the one that was accepted in the highest ballot it was told of; only if nobody has accepted
//!    anything it is free to take its own. It asks all acceptors to accept that. An acceptor does, unless it has promised a
//!    higher ballot meanwhile, and tells the learners.
//!
//! A value is chosen at the moment when a quorum has accepted one ballot, whether or not anybody knows.
//!
//! # Why it is right
//!
//! Claim: if `v` was chosen in ballot `b`, then each higher ballot carries `v`. Take the lowest ballot `c > b` that would
//! carry another value. Its proposer had promises of a quorum, which shares an acceptor with the quorum that accepted `b`.
//! That acceptor accepted `b` *before* it promised `c`, since afterwards it would have refused. So the proposer of `c` was
//! told of a ballot from `b` on, and below `c`. All of those carry `v`, as `c` is the lowest that does not. It adopted the
//! highest of them, and so carries `v`: a contradiction. The two sentences that bear the proof are two lines of code: the
//! comparison in [`Acceptor`], and the adoption in [`Proposer`].
//!
//! # Invariants
//!
//! * A promise never goes back, and neither it nor an acceptance is told before it is durable: messages leave with the
//!   write that they need ([`Effects`]).
//! * A ballot carries one value. A proposer begins each attempt with a round that was never used, and writes it down before
//!   it says it. So a ballot is burnt whenever its outcome is not known: after a time-out, a refusal, a restart.
//! * What a learner has learned never changes.
//!
//! # Progress
//!
//! Two proposers can refuse each other's ballots for ever (there is no way around it: Fischer, Lynch and Paterson 1985). So
//! a proposer that was refused, or not answered, waits for a random time below a bound that doubles, and then tries again,
//! above what it was refused by, with twice the patience. Whoever has the network to itself for a moment wins.
//!
//! # What it does not do
//!
//! It decides once, among acceptors that never change. A log of decisions, with one prepare for many of them, is Multi-Paxos.
//!
//! Sources: Lamport, *The Part-Time Parliament* (1998), 2.3; *Paxos Made Simple* (2001), section 2. The essay's proof is that
//! of the latter, 2.2.

pub mod acceptor;
pub mod learner;
pub mod message;
pub mod proposer;

use bytes::Bytes;

use super::ballot::Ballot;
use crate::NodeId;
pub use acceptor::Acceptor;
pub use learner::Learner;
pub use message::{Acceptance, Message};
pub use proposer::Proposer;

/// What is to be decided on: bytes that mean nothing here.
pub type Value = Bytes;

/// What a process wants done: first the write, and once that is durable, the messages.
///
/// A crash before the write is durable loses both. A crash after it may lose the messages, which is what networks do, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effects<W> {
    /// The state that must be durable before a message leaves; it replaces what was written before.
    pub write: Option<W>,
    /// To whom, and what. Proposers, acceptors and learners are named by the node that they are a part of.
    pub messages: Vec<(NodeId, Message)>,
}

impl<W> Effects<W> {
    /// Nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self { write: None, messages: Vec::new() }
    }
}
