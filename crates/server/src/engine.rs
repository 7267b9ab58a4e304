//! The consensus engines that a cluster can be born with.
//!
//! A cluster keeps the engine that it was born with for ever: it is written in the folder of each node, told in each
//! handshake, and known to whoever joins. Which one a node runs is decided once, when it is known whose folder it has
//! ([`crate::admission`]); from there on all that touches messages is made for that engine alone ([`crate::service`]).

use std::fmt;

use quorate_consensus::paxos::Ballot;
use quorate_consensus::{Membership, NodeId, Refusal, Term};

use crate::config::{Config, ReadMode, Value, table::AUTO, value::JoinAs};

/// An engine, by its name in folders, handshakes and settings.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Raft, as in Ongaro's dissertation.
    #[default]
    Raft,
    /// Multi-Paxos with elections by connectedness.
    Paxos,
}

impl EngineKind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Raft, Self::Paxos];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::Paxos => "paxos",
        }
    }

    /// The engine called `name`, if this program has it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// A term of this engine, for the beginning of a cluster on whose data `before` was the greatest, of whatever engine. The
    /// terms of Paxos are ballots, and not every number is one. `None` if nobody could stand after it: no cluster gets there,
    /// but a file may claim so.
    pub(crate) fn term_after(self, before: u64) -> Option<u64> {
        match self {
            Self::Raft => Some(before),
            Self::Paxos => {
                let ballot = Ballot::of(Term(before));
                let is_one = ballot == Ballot::NONE || ballot.is_sound();
                let ballot = if is_one { ballot } else { ballot.next_of(NodeId(1))? };
                ballot.next_of(NodeId(1)).map(|_| ballot.term().0)
            }
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Allowed engines.
#[derive(Clone, Copy, Debug)]
pub struct Engines;

impl fmt::Display for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("raft, paxos, or auto")
    }
}

/// `None` is the engine that is there already, or else the default.
impl Value for Option<EngineKind> {
    type Allowed = Engines;

    fn read(text: &str, _: &Engines) -> Option<Self> {
        if text == AUTO { Some(None) } else { EngineKind::named(text).map(Some) }
    }

    fn show(&self) -> String {
        self.map_or(AUTO, EngineKind::name).to_owned()
    }
}

impl Config {
    /// Which setting asks for what its engine does not have, and why that is refused.
    pub(crate) fn lacking(&self) -> Option<(&'static str, String)> {
        match self.engine {
            // Whoever has a folder or joins has its cluster's engine, and there the number is without effect.
            None => None,
            Some(EngineKind::Raft) if self.phase2_quorum > 0 => Some((
                "phase2-quorum",
                "allowed is 0, a majority, unless engine is paxos: no other has flexible quorums".to_owned(),
            )),
            Some(EngineKind::Raft) => None,
            Some(EngineKind::Paxos) if self.reads == ReadMode::Lease => Some((
                "reads",
                "allowed with the engine paxos is linearizable: its leaders hold no leases; for those, give the \
                 cluster the engine raft"
                    .to_owned(),
            )),
            Some(EngineKind::Paxos) if self.join_as == JoinAs::Witness => Some((
                "join-as",
                "allowed with the engine paxos is voter, learner or replace:ID: it has no witnesses; those need a \
                 cluster of the engine raft"
                    .to_owned(),
            )),
            Some(EngineKind::Paxos) => {
                let voters = Membership::of_voters(self.peers.0.keys().copied().map(NodeId));
                let refusal = self.with_quorum(voters).err()?;
                Some(("phase2-quorum", refusal.to_string()))
            }
        }
    }

    /// These voters of a new cluster, with the quorum that is set for it. One node that is a cluster of its own needs none.
    pub(crate) fn with_quorum(&self, voters: Membership) -> Result<Membership, Refusal> {
        match u8::try_from(self.phase2_quorum) {
            Ok(phase2 @ 1..) if !self.peers.0.is_empty() => voters.with_phase2_quorum(phase2, false),
            Ok(_) | Err(_) => Ok(voters),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_has_a_name_that_is_read_back() {
        for kind in EngineKind::ALL {
            assert_eq!(EngineKind::named(kind.name()), Some(kind));
            assert_eq!(Value::read(kind.name(), &Engines), Some(Some(kind)));
        }
        assert_eq!(EngineKind::named("viewstamped"), None);
        assert_eq!(<Option<EngineKind> as Value>::read("auto", &Engines), Some(None));
    }

    /// What begins under Paxos with the data of a Raft cluster has its term, which is no ballot.
    #[test]
    fn terms_of_another_engine_become_ballots_that_are_not_lower() {
        for before in [0, 1, 5, 65_535, 65_536, 65_537, 70_000, 5 << 16] {
            let term = EngineKind::Paxos.term_after(before).unwrap();
            let ballot = Ballot::of(Term(term));
            assert!(
                term >= before && (ballot == Ballot::NONE || ballot.is_sound()),
                "{before} became {ballot}"
            );
            assert_eq!(EngineKind::Raft.term_after(before), Some(before));
        }
    }

    /// Restoring a backup with such a term once ended in a panic, or in a cluster that elects nobody.
    #[test]
    fn nothing_begins_under_paxos_in_the_last_round() {
        let last = Ballot { round: Ballot::ROUND_MAX, node: NodeId(2) }.term().0;
        for before in [last, last - 2, last - 2 - 65_536, 1 << 62, u64::MAX] {
            assert_eq!(EngineKind::Paxos.term_after(before), None, "{before}");
            assert_eq!(EngineKind::Raft.term_after(before), Some(before));
        }
        assert_eq!(EngineKind::Paxos.term_after(last - 65_536), Some(last - 65_536));
    }
}
