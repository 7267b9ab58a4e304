//! Changes of members, and what comes of them.

use quorate_consensus::{Address, Lease, NodeId, Purpose, Step};
use quorate_node::Verdict;

use super::{Malformed, from_index, from_term};
use crate::peer::wire::{self, StepKind};

pub(super) fn step(step: Step) -> wire::Step {
    let kind = match step {
        Step::Add { node, address, purpose } => {
            let (votes, place, witness) = match purpose {
                Purpose::Learn => (false, 0, false),
                Purpose::Vote => (true, 0, false),
                Purpose::Replace(place) => (true, place.0, false),
                Purpose::Witness => (true, 0, true),
            };
            let address = address.map_or_else(String::new, |address| address.0.as_ref().to_owned());
            StepKind::Add(wire::Add { node: node.map_or(0, |node| node.0), address, votes, place, witness })
        }
        Step::Promote { node } => StepKind::Promote(node.0),
        Step::Demote { node } => StepKind::Demote(node.0),
        Step::Move { node, address } => {
            StepKind::Move(wire::Located { node: node.0, address: address.0.as_ref().to_owned() })
        }
        Step::Remove { node } => StepKind::Remove(node.0),
        Step::Lease(wanted) => StepKind::Lease(wanted.map(lease).unwrap_or_default()),
        Step::Quorum { phase2, forced } => {
            StepKind::Quorum(wire::Quorum { phase2: phase2.unwrap_or_default().into(), forced })
        }
    };
    wire::Step { kind: Some(kind) }
}

pub(super) fn from_step(step: wire::Step) -> Result<Step, Malformed> {
    Ok(match step.kind.ok_or(Malformed("a change with a step that does nothing"))? {
        StepKind::Add(wire::Add { node, address, votes, place, witness }) => {
            let purpose = match (votes, place, witness) {
                (false, 0, false) => Purpose::Learn,
                (true, 0, false) => Purpose::Vote,
                (true, place, false) => Purpose::Replace(NodeId(place)),
                (true, 0, true) => Purpose::Witness,
                (false, _, false) => return Err(Malformed("a learner that takes the place of a voter")),
                (_, _, true) => {
                    return Err(Malformed("a witness without a vote, or in the place of a voter"));
                }
            };
            let address = (!address.is_empty()).then(|| Address(address.into()));
            Step::Add { node: (node != 0).then_some(NodeId(node)), address, purpose }
        }
        StepKind::Promote(node) => Step::Promote { node: NodeId(node) },
        StepKind::Demote(node) => Step::Demote { node: NodeId(node) },
        StepKind::Move(wire::Located { node, address }) => {
            Step::Move { node: NodeId(node), address: Address(address.into()) }
        }
        StepKind::Remove(node) => Step::Remove { node: NodeId(node) },
        StepKind::Lease(wire::Lease { millis: 0, drift_ppm: 1.. }) => {
            return Err(Malformed("a lease of no length"));
        }
        StepKind::Lease(lease) => Step::Lease(from_lease(lease)),
        StepKind::Quorum(wire::Quorum { phase2, forced }) => {
            Step::Quorum { phase2: from_quorum(phase2)?, forced }
        }
    })
}

pub(super) fn lease(Lease { millis, drift_ppm }: Lease) -> wire::Lease {
    wire::Lease { millis, drift_ppm }
}

pub(super) fn from_lease(wire::Lease { millis, drift_ppm }: wire::Lease) -> Option<Lease> {
    (millis != 0).then_some(Lease { millis, drift_ppm })
}

pub(super) fn from_quorum(phase2: u32) -> Result<Option<u8>, Malformed> {
    let phase2 = u8::try_from(phase2).map_err(|_| Malformed("a quorum of more voters than there can be"))?;
    Ok((phase2 != 0).then_some(phase2))
}

pub(super) fn verdict(verdict: Verdict) -> wire::Verdict {
    match verdict {
        Verdict::Appended { index, term } => {
            wire::Verdict::Appended(wire::Position { index: index.0, term: term.0 })
        }
        Verdict::Refused(reason) => wire::Verdict::Refused(reason),
        Verdict::Later => wire::Verdict::Later(wire::Nothing {}),
    }
}

pub(super) fn from_verdict(verdict: wire::Verdict) -> Result<Verdict, Malformed> {
    Ok(match verdict {
        wire::Verdict::Appended(at) => {
            Verdict::Appended { index: from_index(at.index)?, term: from_term(at.term)? }
        }
        wire::Verdict::Refused(reason) => Verdict::Refused(reason),
        wire::Verdict::Later(wire::Nothing {}) => Verdict::Later,
    })
}
