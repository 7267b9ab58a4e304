//! What may become of a configuration, and why it may not.
//!
//! [`Membership::apply`] knows the rules that follow from the configuration alone. What else speaks against a
//! change (one is under way, a learner lags, too few would be reachable) only a leader knows: its engine refuses in
//! the same words.
//!
//! * A new member begins as a learner. Only a learner is promoted, so nobody votes before it has caught up.
//! * A new member's id is greater than any that was used before: a removed node is told from one that comes back.
//! * A change of voters, of any number of them, or of how many of them commit, is one joint configuration. A change of learners
//!   alone is a plain one.

use std::{collections::BTreeSet, fmt};

use quorate_bug::{self as bug, Bug};

use crate::{
    Address, Lease, Membership, NodeId, Term, Uncounted,
    membership::{ID_MAX, MEMBERS_MAX},
};

/// Steps that take effect together, or not at all. No node is named by two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change(pub Vec<Step>);

/// One step of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A new member, which receives the log and does not vote yet.
    Add {
        /// Its id, greater than all that were used before; none for the lowest of them.
        node: Option<NodeId>,
        /// Where it is reached, if that is known.
        address: Option<Address>,
        /// What it is to be in the end.
        purpose: Purpose,
    },
    /// A learner votes from now on. If it was added to take a voter's place, that one is removed.
    Promote {
        /// The learner.
        node: NodeId,
    },
    /// A voter becomes a learner.
    Demote {
        /// The voter.
        node: NodeId,
    },
    /// A member is reached at another place from now on.
    Move {
        /// The member.
        node: NodeId,
        /// Where it is.
        address: Address,
    },
    /// A member leaves for ever.
    Remove {
        /// The member.
        node: NodeId,
    },
    /// Leaders may answer reads by this lease from now on; none: they may not.
    Lease(Option<Lease>),
    /// So many voters commit an entry from now on.
    Quorum {
        /// How many; none: a majority.
        phase2: Option<u8>,
        /// Whether the loss of one node may stop the cluster, or lose what was committed.
        forced: bool,
    },
}

/// What a new member is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A learner.
    Learn,
    /// A voter, as soon as it has caught up.
    Vote,
    /// A voter, as soon as it has caught up, in the place of this one, which is removed then.
    Replace(NodeId),
    /// A voter without data, as soon as it has answered.
    Witness,
}

/// Why a change is not made. Nothing of it was, and nothing will be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// An earlier change is not done yet. Try again later.
    UnderWay,
    /// The leader has just begun, and does not know yet whether an earlier change is done (hazard 2). Try again
    /// soon.
    TermUncommitted {
        /// Its term.
        term: Term,
    },
    /// The learner lacks too much of the log to vote (hazard 4). Try again later.
    Lags {
        /// The learner.
        node: NodeId,
        /// The number of entries that it lacks.
        entries: u64,
        /// The number that it may lack.
        allowed: u64,
    },
    /// The learner needs a snapshot, and does not have it yet (hazard 4). Try again later.
    AwaitsSnapshot {
        /// The learner.
        node: NodeId,
    },
    /// The learner has acknowledged nothing yet, or was not heard lately. Try again when it is reachable.
    Unheard {
        /// The learner.
        node: NodeId,
    },
    /// After the change too few voters could be reached to go on.
    QuorumUnreachable {
        /// The voters after the change.
        voters: BTreeSet<NodeId>,
        /// Those of them that were heard lately.
        reachable: BTreeSet<NodeId>,
        /// How many of them are needed.
        needed: usize,
    },
    /// Nobody would vote.
    NoVoter,
    /// All that would vote have told that they never lead.
    NoLeader,
    /// There would be more than [`MEMBERS_MAX`] members.
    TooMany {
        /// How many there would be.
        members: usize,
    },
    /// No such member.
    Unknown {
        /// Who it is about.
        node: NodeId,
    },
    /// It is a member already.
    AlreadyMember {
        /// Who it is about.
        node: NodeId,
    },
    /// Ids are never used twice, nor is one that was passed over.
    IdUsed {
        /// Who it is about.
        node: NodeId,
        /// The lowest id that may be used.
        lowest: u64,
    },
    /// Ids end at [`ID_MAX`](crate::ID_MAX).
    IdLimit {
        /// Who it is about.
        node: NodeId,
    },
    /// Another member is reached there.
    AddressTaken {
        /// The address.
        address: Address,
        /// Whose it is.
        node: NodeId,
    },
    /// The address is empty, or longer than [`Address::BYTES_MAX`].
    AddressLength {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The lease is beyond its limits.
    LeaseLimits(Lease),
    /// It votes already.
    AlreadyVoter {
        /// Who it is about.
        node: NodeId,
    },
    /// It does not vote: neither can it be demoted, nor can somebody take its place.
    NotVoter {
        /// Who it is about.
        node: NodeId,
    },
    /// Another learner is to take this voter's place.
    PlaceTaken {
        /// The voter.
        place: NodeId,
    },
    /// A witness votes beside two full voters, no more and no less.
    WitnessPlace {
        /// The voters with data that there would be in the end.
        full: BTreeSet<NodeId>,
        /// The witnesses that there would be.
        witnesses: BTreeSet<NodeId>,
    },
    /// A witness has nothing that it could do without a vote.
    IsWitness {
        /// Who it is about.
        node: NodeId,
    },
    /// The cluster's engine cannot do it.
    Unsupported {
        /// What it cannot do.
        what: &'static str,
    },
    /// Of so many voters there is no such quorum beside which there is one for elections that meets it.
    QuorumSize {
        /// How many were to commit.
        phase2: u8,
        /// The number of voters.
        voters: usize,
    },
    /// The loss of one node could stop the cluster, or lose what was committed. It can be forced.
    QuorumFragile {
        /// How many would commit.
        phase2: usize,
        /// How many would elect a leader.
        phase1: usize,
        /// The number of voters.
        voters: usize,
    },
    /// Two steps name this node.
    NamedTwice {
        /// Who it is about.
        node: NodeId,
    },
    /// The change has no steps.
    Empty,
}

impl Change {
    /// A change of one step.
    #[must_use]
    pub fn of(step: Step) -> Self {
        Self(vec![step])
    }

    fn check_names(&self) -> Result<(), Refusal> {
        let mut names = BTreeSet::new();
        let named = self.0.iter().flat_map(Step::nodes);
        named
            .into_iter()
            .try_for_each(|node| if names.insert(node) { Ok(()) } else { Err(Refusal::NamedTwice { node }) })
    }
}

impl Step {
    /// Who it is about.
    fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        let (node, place) = match *self {
            Self::Add { node, purpose: Purpose::Replace(place), .. } => (node, Some(place)),
            Self::Add { node, purpose: Purpose::Learn | Purpose::Vote | Purpose::Witness, .. } => {
                (node, None)
            }
            Self::Promote { node }
            | Self::Demote { node }
            | Self::Move { node, .. }
            | Self::Remove { node } => (Some(node), None),
            Self::Lease(_) | Self::Quorum { .. } => (None, None),
        };
        node.into_iter().chain(place)
    }
}

impl Step {
    /// Whether it forces the quorum that it sets, if it sets one.
    fn quorum(&self) -> Option<bool> {
        match *self {
            Self::Quorum { forced, .. } => Some(forced),
            Self::Add { .. }
            | Self::Promote { .. }
            | Self::Demote { .. }
            | Self::Move { .. }
            | Self::Remove { .. }
            | Self::Lease(_) => None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            write!(f, "{}{step}", if position == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { node, address, purpose } => {
                write!(f, "add {}", node.map_or_else(|| "somebody".to_owned(), |node| node.to_string()))?;
                if let Some(address) = address {
                    write!(f, " at {address}")?;
                }
                match purpose {
                    Purpose::Learn => Ok(()),
                    Purpose::Vote => write!(f, " to vote"),
                    Purpose::Replace(place) => write!(f, " for {place}"),
                    Purpose::Witness => write!(f, " as witness"),
                }
            }
            Self::Promote { node } => write!(f, "promote {node}"),
            Self::Demote { node } => write!(f, "demote {node}"),
            Self::Move { node, address } => write!(f, "move {node} to {address}"),
            Self::Remove { node } => write!(f, "remove {node}"),
            Self::Lease(Some(lease)) => write!(f, "lease {lease}"),
            Self::Lease(None) => write!(f, "no lease"),
            Self::Quorum { phase2: Some(phase2), forced } => {
                write!(f, "commit by {phase2}{}", if *forced { ", forced" } else { "" })
            }
            Self::Quorum { phase2: None, .. } => write!(f, "commit by a majority"),
        }
    }
}

impl Membership {
    /// The configuration that the change leads to: joint if it changes who votes, or how many of them commit.
    ///
    /// # Errors
    /// Whatever speaks against it in this configuration.
    pub fn apply(&self, change: &Change) -> Result<Self, Refusal> {
        if self.is_joint() {
            return Err(Refusal::UnderWay);
        }
        if change.0.is_empty() {
            return Err(Refusal::Empty);
        }
        change.check_names()?;
        let mut next = self.clone();
        change.0.iter().try_for_each(|step| next.take(self, step))?;
        if next.voters.is_empty() {
            return Err(Refusal::NoVoter);
        }
        if next.len() > MEMBERS_MAX {
            return Err(Refusal::TooMany { members: next.len() });
        }
        let counts_otherwise = next.phase2_quorum != self.phase2_quorum && !bug::on(Bug::NumberAtOnce);
        if next.voters != self.voters || counts_otherwise {
            next.outgoing = self.voters.clone();
            next.outgoing_phase2_quorum = self.phase2_quorum;
        }
        next.forget_the_departed();
        next.check_witnesses()?;
        let quorum = change.0.iter().rev().find_map(Step::quorum);
        // Who was there already, by force, does not get worse.
        let is_spared =
            if quorum.is_none() { self.quorums().losses_borne() == 0 } else { quorum == Some(true) };
        next.check_quorum(is_spared)?;
        Ok(next)
    }

    /// One step of a change that began at `before`.
    fn take(&mut self, before: &Self, step: &Step) -> Result<(), Refusal> {
        match *step {
            Step::Add { node, ref address, purpose } => {
                let node = node.unwrap_or(NodeId(self.ids_used.saturating_add(1)));
                self.add(before, node, purpose)?;
                address.iter().try_for_each(|address| self.locate(node, address))
            }
            Step::Promote { node } => self.promote(before, node),
            Step::Demote { node } => self.demote(before, node),
            Step::Move { node, ref address } if before.contains(node) => self.locate(node, address),
            Step::Remove { node } if before.contains(node) => {
                self.remove(node);
                Ok(())
            }
            Step::Move { node, .. } | Step::Remove { node } => Err(Refusal::Unknown { node }),
            Step::Lease(Some(lease)) if !lease.is_sound() => Err(Refusal::LeaseLimits(lease)),
            Step::Lease(lease) => {
                self.lease = lease;
                Ok(())
            }
            Step::Quorum { phase2, .. } => {
                self.phase2_quorum = phase2;
                Ok(())
            }
        }
    }

    fn locate(&mut self, node: NodeId, address: &Address) -> Result<(), Refusal> {
        if !address.is_sound() {
            return Err(Refusal::AddressLength { bytes: address.0.len() });
        }
        let owner = self.addresses.iter().find(|&(&owner, known)| owner != node && known == address);
        if let Some((&node, _)) = owner {
            return Err(Refusal::AddressTaken { address: address.clone(), node });
        }
        self.addresses.insert(node, address.clone());
        Ok(())
    }

    fn add(&mut self, before: &Self, node: NodeId, purpose: Purpose) -> Result<(), Refusal> {
        if before.contains(node) {
            return Err(Refusal::AlreadyMember { node });
        }
        if node.0 > ID_MAX {
            return Err(Refusal::IdLimit { node });
        }
        if node.0 <= self.ids_used {
            return Err(Refusal::IdUsed { node, lowest: self.ids_used.saturating_add(1) });
        }
        self.learners.insert(node);
        self.ids_used = self.ids_used.max(node.0);
        let place = match purpose {
            Purpose::Learn => return Ok(()),
            Purpose::Vote => None,
            Purpose::Witness => {
                self.uncounted.insert(node, Uncounted::Witness);
                None
            }
            Purpose::Replace(place) if !before.contains(place) => {
                return Err(Refusal::Unknown { node: place });
            }
            Purpose::Replace(place) if !self.voters.contains(&place) => {
                return Err(Refusal::NotVoter { node: place });
            }
            Purpose::Replace(place) if self.promotions.values().any(|&taken| taken == Some(place)) => {
                return Err(Refusal::PlaceTaken { place });
            }
            Purpose::Replace(place) => Some(place),
        };
        self.promotions.insert(node, place);
        Ok(())
    }

    fn promote(&mut self, before: &Self, node: NodeId) -> Result<(), Refusal> {
        if before.voters.contains(&node) {
            return Err(Refusal::AlreadyVoter { node });
        }
        // Who is added by this very change has learned nothing yet.
        if !before.learners.contains(&node) {
            return Err(Refusal::Unknown { node });
        }
        self.learners.remove(&node);
        let place = self.promotions.remove(&node).flatten();
        self.voters.insert(node);
        place.into_iter().for_each(|place| self.remove(place));
        Ok(())
    }

    fn demote(&mut self, before: &Self, node: NodeId) -> Result<(), Refusal> {
        if !before.contains(node) {
            return Err(Refusal::Unknown { node });
        }
        if self.is_witness(node) {
            return Err(Refusal::IsWitness { node });
        }
        if !self.voters.remove(&node) {
            return Err(Refusal::NotVoter { node });
        }
        self.learners.insert(node);
        self.free_place(node);
        Ok(())
    }

    fn remove(&mut self, node: NodeId) {
        self.voters.remove(&node);
        self.learners.remove(&node);
        self.promotions.remove(&node);
        self.free_place(node);
    }

    /// Who was to take the place of this voter votes beside the others.
    fn free_place(&mut self, node: NodeId) {
        for place in self.promotions.values_mut().filter(|place| **place == Some(node)) {
            *place = None;
        }
    }

    /// The same configuration, in which so many of the voters commit an entry.
    ///
    /// # Errors
    /// If there is no such quorum, or, unless it is forced, if the loss of one node could stop the cluster or lose what was
    /// committed.
    pub fn with_phase2_quorum(mut self, phase2: u8, forced: bool) -> Result<Self, Refusal> {
        self.phase2_quorum = Some(phase2);
        self.check_quorum(forced)?;
        Ok(self)
    }

    /// Refuses a phase-2 quorum that cannot be, or should not.
    fn check_quorum(&self, forced: bool) -> Result<(), Refusal> {
        let quorums = self.quorums();
        let voters = quorums.voters;
        match self.phase2_quorum {
            Some(phase2) if !quorums.exist() => Err(Refusal::QuorumSize { phase2, voters }),
            Some(_) if !forced && quorums.losses_borne() == 0 => Err(Refusal::QuorumFragile {
                phase2: quorums.to_commit(),
                phase1: quorums.to_elect(),
                voters,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses witnesses for which there is no place, or will be none once all who wait for it vote.
    fn check_witnesses(&self) -> Result<(), Refusal> {
        if self.witnesses().next().is_none() {
            return Ok(());
        }
        let mut in_the_end = self.voters.clone();
        in_the_end.extend(self.promotions.keys());
        self.promotions.values().flatten().for_each(|place| _ = in_the_end.remove(place));
        for voters in [&self.voters, &in_the_end] {
            if !self.has_place_for_witnesses(voters) {
                let (witnesses, full) = voters.iter().partition(|&&voter| self.is_witness(voter));
                return Err(Refusal::WitnessPlace { full, witnesses });
            }
        }
        Ok(())
    }

    /// Refuses a configuration whose voters could not go on when the change is done, as far as `is_reachable`
    /// knows.
    ///
    /// # Errors
    /// [`Refusal::QuorumUnreachable`], with the arithmetic.
    pub fn check_reachable(&self, is_reachable: impl Fn(NodeId) -> bool) -> Result<(), Refusal> {
        let settled = self.settled();
        let unheld = settled.holders().find(|&holder| !is_reachable(holder));
        if let Some(node) = unheld.filter(|_| settled.has_witness()) {
            return Err(Refusal::Unheard { node });
        }
        if settled.has_quorum(&is_reachable) {
            return Ok(());
        }
        let reachable = self.voters.iter().copied().filter(|&voter| is_reachable(voter)).collect();
        let needed = settled.needed();
        Err(Refusal::QuorumUnreachable { voters: settled.voters, reachable, needed })
    }
}

/// Writes nodes as `n1 n2`.
fn list(nodes: &BTreeSet<NodeId>) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => write!(f, "another change of members is under way"),
            Self::TermUncommitted { term: _ } => {
                write!(f, "the leader has just begun: no entry of its own is committed yet")
            }
            Self::Lags { node, entries, allowed } => {
                write!(f, "{node} has not caught up: it lacks {entries} entries; allowed: {allowed}")
            }
            Self::AwaitsSnapshot { node } => {
                write!(f, "{node} has not caught up: it is being sent a snapshot")
            }
            Self::Unheard { node } => write!(f, "{node} has acknowledged nothing lately"),
            Self::QuorumUnreachable { voters, reachable, needed } => write!(
                f,
                "voters after the change: {}; reachable: {}; needed: {needed}",
                list(voters),
                list(reachable)
            ),
            Self::NoVoter => write!(f, "nobody would vote"),
            Self::NoLeader => write!(f, "nobody would lead: all voters after the change have priority 0"),
            Self::TooMany { members } => {
                write!(f, "there would be {members} members; allowed: {MEMBERS_MAX}")
            }
            Self::Unknown { node } => write!(f, "{node} is no member"),
            Self::AlreadyMember { node } => write!(f, "{node} is a member already"),
            Self::IdUsed { node, lowest } => {
                write!(f, "the id of {node} may have been used before; allowed: {lowest} and above")
            }
            Self::IdLimit { node } => write!(f, "the id of {node} is too great; allowed: up to {ID_MAX}"),
            Self::AddressTaken { address, node } => write!(f, "{address} is where {node} is reached"),
            Self::AddressLength { bytes } => {
                write!(f, "the address has {bytes} bytes; allowed: 1 to {}", Address::BYTES_MAX)
            }
            Self::LeaseLimits(lease) => write!(
                f,
                "a lease of {lease}; allowed: 1 to {} ms, with a drift of up to {} ppm",
                Lease::MILLIS_MAX,
                Lease::DRIFT_PPM_MAX
            ),
            Self::AlreadyVoter { node } => write!(f, "{node} votes already"),
            Self::NotVoter { node } => write!(f, "{node} does not vote"),
            Self::PlaceTaken { place } => write!(f, "another learner is to take the place of {place}"),
            Self::WitnessPlace { full, witnesses } => write!(
                f,
                "a witness votes beside exactly two voters with data; witnesses would be: {}, the others: {}",
                list(witnesses),
                list(full)
            ),
            Self::IsWitness { node } => write!(f, "{node} is a witness, and can only vote or be removed"),
            Self::Unsupported { what } => write!(f, "the engine of this cluster has no {what}"),
            Self::QuorumSize { phase2, voters } => {
                let left = voters.cast_signed() + 1 - isize::from(*phase2);
                write!(
                    f,
                    "if {phase2} of {voters} voters commit, {voters} + 1 - {phase2} = {left} would have to elect, so that \
                     both always have a voter in common; allowed: 1 to {voters}"
                )
            }
            Self::QuorumFragile { phase2, phase1, voters } => write!(
                f,
                "if {phase2} of {voters} voters commit, {voters} + 1 - {phase2} = {phase1} elect; with one voter lost, \
                 {} would be left, of the {} that a leader needs; it can be forced",
                voters - 1,
                phase2.max(phase1)
            ),
            Self::NamedTwice { node } => write!(f, "two steps of the change name {node}"),
            Self::Empty => write!(f, "the change has no steps"),
        }
    }
}
