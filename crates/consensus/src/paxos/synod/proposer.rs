//! The proposer: it drives attempts, and adopts what others may have had chosen.

use std::{collections::BTreeMap, time::Duration};

use super::{Acceptance, Ballot, Effects, Message, Value};
use crate::{BootTime, Membership, NodeId, jitter::Jitter};

/// How long a phase of the first attempt may take, and the bound of the first wait after it.
const PATIENCE: Duration = Duration::from_millis(100);
/// Both double with each failure so often: then they are six seconds, long enough for any network that works at all.
const DOUBLINGS_MAX: u32 = 6;

/// What a proposer keeps on its disk: the last round that it has used. It never uses one twice.
pub type Round = u64;

/// What a proposer has and when; what it keeps in mind between messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Nothing is under way before `until`.
    Waiting { until: BootTime },
    /// Promises are being gathered: what each acceptor has accepted so far.
    Preparing { promises: BTreeMap<NodeId, Option<Acceptance>>, until: BootTime },
    /// A quorum has promised, and was asked to accept.
    Accepting { until: BootTime },
}

/// A proposer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proposer {
    node: NodeId,
    acceptors: Membership,
    /// What it proposes if it is free to.
    own: Value,
    /// The last round used by itself.
    round: Round,
    /// The greatest round by which it was refused: the next attempt goes above it.
    refused_by: u64,
    /// Attempts that have failed.
    failures: u32,
    phase: Phase,
    jitter: Jitter,
}

impl Proposer {
    /// A proposer of `own`, part of `node`. `round` is what is on its disk, 0 if nothing is; `seed` feeds its waits.
    #[must_use]
    pub fn new(node: NodeId, acceptors: Membership, own: Value, round: Round, seed: u64) -> Self {
        let (phase, jitter) = (Phase::Waiting { until: BootTime::default() }, Jitter::new(seed, node.0));
        Self { node, acceptors, own, round, refused_by: 0, failures: 0, phase, jitter }
    }

    /// When [`Self::wake`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> BootTime {
        match self.phase {
            Phase::Waiting { until } | Phase::Preparing { until, .. } | Phase::Accepting { until } => until,
        }
    }

    /// Time has passed: begins the next attempt, or gives the present one up. A proposer does not know that its value was
    /// chosen: its caller stops waking it once a learner knows.
    pub fn wake(&mut self, now: BootTime) -> Effects<Round> {
        if now < self.deadline() {
            return Effects::none();
        }
        match self.phase {
            Phase::Waiting { .. } => self.prepare(now),
            Phase::Preparing { .. } | Phase::Accepting { .. } => {
                self.give_up(now);
                Effects::none()
            }
        }
    }

    /// Takes note of what the acceptor `from` says; what is not for proposers, or about an earlier ballot, is ignored.
    pub fn receive(&mut self, now: BootTime, from: NodeId, message: Message) -> Effects<Round> {
        if !self.acceptors.is_voter(from) {
            return Effects::none();
        }
        match message {
            Message::Promise { ballot, accepted } if ballot == self.ballot() => {
                self.promised(now, from, accepted)
            }
            Message::Refused { ballot, promised } if ballot == self.ballot() => {
                self.refused_by = self.refused_by.max(promised.round);
                match self.phase {
                    Phase::Waiting { .. } => {}
                    Phase::Preparing { .. } | Phase::Accepting { .. } => self.give_up(now),
                }
                Effects::none()
            }
            Message::Promise { .. }
            | Message::Refused { .. }
            | Message::Prepare { .. }
            | Message::Accept(_)
            | Message::Accepted(_) => Effects::none(),
        }
    }

    /// The ballot of the last attempt.
    #[must_use]
    pub fn ballot(&self) -> Ballot {
        Ballot { round: self.round, node: self.node }
    }

    fn prepare(&mut self, now: BootTime) -> Effects<Round> {
        self.round =
            self.round.max(self.refused_by).checked_add(1).expect("fewer attempts than 64 bits count");
        self.phase = Phase::Preparing { promises: BTreeMap::new(), until: now.after(self.patience()) };
        let ballot = self.ballot();
        Effects { write: Some(self.round), messages: self.to_acceptors(&Message::Prepare { ballot }) }
    }

    fn promised(&mut self, now: BootTime, from: NodeId, accepted: Option<Acceptance>) -> Effects<Round> {
        let ballot = self.ballot();
        let Phase::Preparing { promises, .. } = &mut self.phase else { return Effects::none() };
        if let Some(last) = &accepted {
            assert!(last.ballot < ballot, "{last} was accepted before {ballot} was prepared");
        }
        promises.insert(from, accepted);
        if !self.acceptors.has_quorum(|acceptor| promises.contains_key(&acceptor)) {
            return Effects::none();
        }
        // Whatever may have been chosen below this ballot is the value of the highest that was accepted.
        let highest = promises.values().flatten().max_by_key(|last| last.ballot);
        let value = highest.map_or_else(|| self.own.clone(), |last| last.value.clone());
        self.phase = Phase::Accepting { until: now.after(self.patience()) };
        Effects { write: None, messages: self.to_acceptors(&Message::Accept(Acceptance { ballot, value })) }
    }

    /// The present ballot is burnt, whatever becomes of it: a later attempt is a new one, after a random wait.
    fn give_up(&mut self, now: BootTime) {
        let bound = self.patience();
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: now.after(self.jitter.up_to(bound)) };
    }

    /// Grows with the failures: a network may be slow rather than contested.
    fn patience(&self) -> Duration {
        PATIENCE * 2_u32.pow(self.failures.min(DOUBLINGS_MAX))
    }

    fn to_acceptors(&self, message: &Message) -> Vec<(NodeId, Message)> {
        self.acceptors.electorate().map(|acceptor| (acceptor, message.clone())).collect()
    }
}
