//! Who votes, who only listens, and how many make a quorum.
//!
//! A change of voters goes through a *joint* configuration (dissertation, section 4.3): while it is in force, each
//! decision needs enough of the new voters and enough of the old ones (of each a majority, unless another number is set), so
//! that no two decisions are ever made by disjoint groups, however many members change at once. What may become of what,
//! [`crate::change`] says.
//!
//! # Flexible quorums
//!
//! Under Multi-Paxos an entry may be committed by another number of voters than a majority, the *phase-2 quorum*. What a
//! candidate needs, the *phase-1 quorum*, follows: of `n` voters, `n + 1` less that number, so that each quorum of one kind
//! has a voter in common with each of the other. Two quorums of one kind need not meet. While voters or quorums change,
//! the old voters count by the old number, and the new ones by the new.
//!
//! # Witnesses
//!
//! Two nodes with data and a *witness* survive the loss of any one of the three. A witness votes, and counts in deciding
//! which configuration is in force, but has no data: an entry is committed when **every** full voter has it that is not
//! *set aside*. A full voter that has fallen silent is first set aside by an entry that leader and witness agree on; from
//! then on one disk holds the data, and nobody without that entry can be elected. The voter counts again once it has
//! caught up.
//!
//! Nobody else counts voters; how many make a quorum, [`crate::quorums`] knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{Address, NodeId, Quorums};

/// The most members of all kinds: nine voters are more than any data needs, and the others leave room to replace
/// all of them but two at once. Beyond it a change is refused.
pub const MEMBERS_MAX: usize = 16;

/// The greatest id of a member: a ballot of Multi-Paxos has 16 bits for it.
pub const ID_MAX: u64 = 65_535;

/// The members of a cluster, as data in the log and in snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Members that vote and count in the quorum.
    pub voters: BTreeSet<NodeId>,
    /// While a change of voters is under way, those that voted before it, and vote still; otherwise empty.
    pub outgoing: BTreeSet<NodeId>,
    /// Members that receive the log and count in no quorum. A voter that is to become one is among `outgoing`, too,
    /// until the change is done.
    pub learners: BTreeSet<NodeId>,
    /// The learners that the leader makes voters by itself, as soon as they have caught up, and the voter, if any,
    /// whose place each takes.
    pub promotions: BTreeMap<NodeId, Option<NodeId>>,
    /// No new member has this id or a lower one: they are used up, or were passed over. 0 before the first member.
    /// So an id is never used twice, and who was removed is told from who was not added yet.
    pub ids_used: u64,
    /// Where members are reached, as far as that was told. The engine only hands it on; it is part of the
    /// configuration since a node must find those whose votes it needs before it knows what is committed.
    pub addresses: BTreeMap<NodeId, Address>,
    /// For how long a leader may answer reads without asking; none if never.
    pub lease: Option<Lease>,
    /// The members whose disks are not counted on for data, and why.
    pub uncounted: BTreeMap<NodeId, Uncounted>,
    /// How many of `voters` commit an entry; none: a majority.
    pub phase2_quorum: Option<u8>,
    /// How many of `outgoing` do, while a change is under way; none: a majority.
    pub outgoing_phase2_quorum: Option<u8>,
}

/// Why a member's disk is not counted on for data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uncounted {
    /// It keeps none. One such member votes beside exactly two voters that do.
    Witness,
    /// It was silent. Only a voter beside a witness is set aside, and not both.
    SetAside,
}

/// Voters of whom each decision needs enough.
#[derive(Clone, Copy, Debug)]
struct Half<'a> {
    voters: &'a BTreeSet<NodeId>,
    phase2_quorum: Option<u8>,
}

impl Half<'_> {
    fn quorums(self) -> Quorums {
        Quorums { voters: self.voters.len(), phase2: self.phase2_quorum }
    }
}

/// The time for which voters elect nobody else after they have heard a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Its length by the voters' clocks, in milliseconds.
    pub millis: u32,
    /// By how much one node's boot-time clock may run faster than another's, in parts per million: the assumption on
    /// which reads by lease are linearizable. The leader's share of the lease is shorter by so much.
    pub drift_ppm: u32,
}

impl Lease {
    /// The longest lease: a cluster without its leader stands still for so long.
    pub const MILLIS_MAX: u32 = 60_000;
    /// The greatest drift: clocks of which one runs by a tenth faster are broken.
    pub const DRIFT_PPM_MAX: u32 = 100_000;

    /// Whether it is within the limits.
    #[must_use]
    pub fn is_sound(self) -> bool {
        (1..=Self::MILLIS_MAX).contains(&self.millis) && self.drift_ppm <= Self::DRIFT_PPM_MAX
    }

    /// How long a voter is bound after it has heard the leader, by its own clock.
    #[must_use]
    pub fn of_voter(self) -> Duration {
        Duration::from_millis(self.millis.into())
    }

    /// How long the leader may rely on that, by its own clock, from when it sent what the voters heard.
    #[must_use]
    pub fn of_leader(self) -> Duration {
        let micros = u64::from(self.millis) * u64::from(1_000_000 - self.drift_ppm) / 1000;
        Duration::from_micros(micros)
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms/{}ppm", self.millis, self.drift_ppm)
    }
}

impl Membership {
    /// A configuration of voters alone.
    #[must_use]
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        let voters = BTreeSet::from_iter(voters);
        Self { ids_used: voters.last().map_or(0, |last| last.0), voters, ..Self::default() }
    }

    /// The same configuration with these learners as well.
    #[must_use]
    pub fn with_learners(mut self, learners: impl IntoIterator<Item = NodeId>) -> Self {
        self.learners.extend(learners);
        self.ids_used = self.learners.last().map_or(0, |last| last.0).max(self.ids_used);
        self
    }

    /// The same configuration with these addresses as well.
    #[must_use]
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = (NodeId, Address)>) -> Self {
        self.addresses.extend(addresses);
        self
    }

    /// Finds what no change can lead to.
    ///
    /// # Errors
    /// A text that says what is wrong. Nobody at all is not wrong: it is the state of a node that has joined no
    /// cluster.
    pub fn check(&self) -> Result<(), &'static str> {
        let Self { voters, outgoing, learners, promotions, ids_used, addresses, lease, uncounted, .. } = self;
        let quorums = [self.phase2_quorum, self.outgoing_phase2_quorum];
        let places: Vec<NodeId> = promotions.values().copied().flatten().collect();
        let ids = || self.members().map(|member| member.0);
        if *self == Self::default() {
            Ok(())
        } else if voters.is_empty() {
            Err("a configuration without voters")
        } else if !voters.is_disjoint(learners) {
            Err("a configuration in which a voter is a learner, too")
        } else if voters == outgoing && quorums[0] == quorums[1] {
            Err("a change of voters that changes none")
        } else if !promotions.keys().all(|node| learners.contains(node)) {
            Err("a configuration that would promote who is no learner")
        } else if !places.iter().all(|place| voters.contains(place)) {
            Err("a configuration that would give away the place of who does not vote")
        } else if BTreeSet::from_iter(&places).len() < places.len() {
            Err("a configuration that would give away a place twice")
        } else if ids().any(|id| id == 0 || id > *ids_used) {
            Err("a configuration with a member whose id was never given out")
        } else if !addresses.keys().all(|&node| self.contains(node)) {
            Err("a configuration with the address of who is no member")
        } else if BTreeSet::from_iter(addresses.values()).len() < addresses.len() {
            Err("a configuration with an address of two members")
        } else if !addresses.values().all(Address::is_sound) {
            Err("a configuration with an empty or an overlong address")
        } else if !lease.is_none_or(Lease::is_sound) {
            Err("a configuration with a lease beyond its limits")
        } else if !uncounted.keys().all(|&node| self.contains(node)) {
            Err("a configuration with a witness that is no member")
        } else if !self.halves().all(|half| half.quorums().exist())
            || (quorums[1].is_some() && outgoing.is_empty())
        {
            Err("a configuration with a quorum that is none")
        } else if quorums != [None; 2] && self.witnesses().next().is_some() {
            Err("a configuration with a witness beside a flexible quorum")
        } else if !self.halves().all(|half| self.has_place_for_witnesses(half.voters)) {
            Err("a configuration with a witness beside other than two full voters")
        } else if !self.set_aside().all(|node| self.is_voter(node)) {
            Err("a configuration that sets aside who is no voter")
        } else if self.set_aside().next().is_some()
            && (!self.has_witness() || self.holders().next().is_none())
        {
            Err("a configuration that sets aside who cannot be spared")
        } else {
            Ok(())
        }
    }

    /// The number of members of all kinds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members().count()
    }

    /// Whether nobody is a member: the state of a node that has joined no cluster yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members().next().is_none()
    }

    /// Whether `node` is a member of any kind.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Whether `node` is no member, and never will be again.
    #[must_use]
    pub fn excludes(&self, node: NodeId) -> bool {
        node.0 <= self.ids_used && !self.contains(node)
    }

    /// All members, each once: those that vote in ascending order of their ids, then the others.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.electorate().chain(self.learners.difference(&self.outgoing).copied())
    }

    /// All that vote, in ascending order of their ids: voters, and those on their way out.
    pub fn electorate(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.union(&self.outgoing).copied()
    }

    /// Whether `node` votes, be it on its way out.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` alone decides everything.
    #[must_use]
    pub fn is_sole_voter(&self, node: NodeId) -> bool {
        self.electorate().eq([node])
    }

    /// Whether a change of voters is under way.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The configuration that a change of voters ends in: this one, once nobody is on the way out.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut settled = Self { outgoing: BTreeSet::new(), outgoing_phase2_quorum: None, ..self.clone() };
        settled.forget_the_departed();
        settled
    }

    /// Forgets where those are, and what they were, who are no members any more.
    pub(crate) fn forget_the_departed(&mut self) {
        let mut addresses = std::mem::take(&mut self.addresses);
        addresses.retain(|&node, _| self.contains(node));
        self.addresses = addresses;
        let has_witness = self.has_witness();
        let mut uncounted = std::mem::take(&mut self.uncounted);
        uncounted.retain(|&node, why| match why {
            Uncounted::Witness => self.contains(node),
            Uncounted::SetAside => has_witness && self.is_voter(node),
        });
        self.uncounted = uncounted;
    }

    /// Whether `node` keeps no data.
    #[must_use]
    pub fn is_witness(&self, node: NodeId) -> bool {
        self.uncounted.get(&node) == Some(&Uncounted::Witness)
    }

    /// Whether entries are committed without the disk of this voter.
    #[must_use]
    pub fn is_set_aside(&self, node: NodeId) -> bool {
        self.uncounted.get(&node) == Some(&Uncounted::SetAside)
    }

    /// The members that keep no data.
    pub fn witnesses(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.uncounted.keys().copied().filter(|&node| self.is_witness(node))
    }

    /// The voters without whose disks entries are committed.
    pub fn set_aside(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.uncounted.keys().copied().filter(|&node| self.is_set_aside(node))
    }

    /// Whether a witness votes.
    #[must_use]
    pub fn has_witness(&self) -> bool {
        // Asked with each acknowledgement: most clusters have none.
        !self.uncounted.is_empty() && self.electorate().any(|voter| self.is_witness(voter))
    }

    /// Whether so many witnesses may vote among these as do.
    pub(crate) fn has_place_for_witnesses(&self, voters: &BTreeSet<NodeId>) -> bool {
        let witnesses = voters.iter().filter(|&&voter| self.is_witness(voter)).count();
        witnesses == 0 || (witnesses, voters.len()) == (1, 3)
    }

    /// The voters with data that are not set aside: without a witness among them, all voters.
    pub fn holders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.electorate().filter(|&voter| self.may_lead(voter))
    }

    /// Whether `node` may lead: it has data, and none is committed without it.
    #[must_use]
    pub fn may_lead(&self, node: NodeId) -> bool {
        !self.uncounted.contains_key(&node)
    }

    /// The configuration that sets these voters aside, and no others.
    #[must_use]
    pub fn setting_aside(&self, set_aside: impl IntoIterator<Item = NodeId>) -> Self {
        let mut next = self.clone();
        next.uncounted.retain(|_, why| *why == Uncounted::Witness);
        next.uncounted.extend(set_aside.into_iter().map(|node| (node, Uncounted::SetAside)));
        next
    }

    /// The quorums of the voters, as far as they decide by themselves.
    #[must_use]
    pub fn quorums(&self) -> Quorums {
        Quorums { voters: self.voters.len(), phase2: self.phase2_quorum }
    }

    /// The groups of which each decision needs enough.
    fn halves(&self) -> impl Iterator<Item = Half<'_>> {
        let half = |voters, phase2_quorum| Half { voters, phase2_quorum };
        let outgoing = half(&self.outgoing, self.outgoing_phase2_quorum);
        std::iter::once(half(&self.voters, self.phase2_quorum)).chain(self.is_joint().then_some(outgoing))
    }

    fn has(&self, needed: impl Fn(Quorums) -> usize, agrees: impl Fn(NodeId) -> bool) -> bool {
        let are_enough = |half: Half<'_>| {
            half.voters.iter().filter(|&&voter| agrees(voter)).count() >= needed(half.quorums())
        };
        self.halves().all(are_enough)
    }

    /// How many voters may be gone, whichever, while there can be a leader, and all that was committed is there: a minority, or
    /// fewer where another number than a majority commits.
    #[must_use]
    pub fn losses_borne(&self) -> usize {
        self.halves().map(|half| half.quorums().losses_borne()).min().unwrap_or(0)
    }

    /// Whether those for whom `agrees` holds are enough for each decision: to elect a leader, and to commit. Nobody is never
    /// enough.
    pub fn has_quorum(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.has(Quorums::to_lead, agrees)
    }

    /// Whether they are enough to elect a leader: a phase-1 quorum.
    pub fn has_election_quorum(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.has(Quorums::to_elect, agrees)
    }

    /// Whether they are enough to commit: a phase-2 quorum.
    pub fn has_commit_quorum(&self, agrees: impl Fn(NodeId) -> bool) -> bool {
        self.has(Quorums::to_commit, agrees)
    }

    /// The greatest value that a commit quorum has reached, by `value_of` each; the smallest value of `T` when there are
    /// no voters.
    pub fn reached_by_quorum<T: Ord + Default>(&self, value_of: impl Fn(NodeId) -> T) -> T {
        let reached = |half: Half<'_>| {
            let mut values: Vec<T> = half.voters.iter().map(|&voter| value_of(voter)).collect();
            values.sort_unstable_by(|a, b| b.cmp(a));
            values.into_iter().nth(half.quorums().to_commit() - 1).unwrap_or_default()
        };
        self.halves().map(reached).min().unwrap_or_default()
    }

    /// The last entry that enough disks hold for the data's sake, by `value_of` each: those of all holders beside a
    /// witness, otherwise of a quorum.
    pub fn held_by_enough<T: Ord + Default>(&self, value_of: impl Fn(NodeId) -> T) -> T {
        if self.has_witness() {
            self.holders().map(value_of).min().unwrap_or_default()
        } else {
            self.reached_by_quorum(value_of)
        }
    }

    /// The least number of voters that must be there, once no change is under way.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.quorums().to_lead()
    }
}

/// Writes nodes as `n1,n2`.
fn list(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let write_half = |f: &mut fmt::Formatter<'_>, word, half: Half<'_>| {
            write!(f, "{word}={}", list(half.voters))?;
            half.phase2_quorum.map_or(Ok(()), |quorum| write!(f, "/{quorum}"))
        };
        for (word, half) in ["voters", " outgoing"].into_iter().zip(self.halves()) {
            write_half(f, word, half)?;
        }
        if !self.learners.is_empty() {
            write!(f, " learners={}", list(&self.learners))?;
        }
        if let Some(lease) = self.lease {
            write!(f, " lease={lease}")?;
        }
        for (word, nodes) in
            [("witnesses", self.witnesses().collect()), ("aside", self.set_aside().collect())]
        {
            let nodes: BTreeSet<NodeId> = nodes;
            if !nodes.is_empty() {
                write!(f, " {word}={}", list(&nodes))?;
            }
        }
        for (node, place) in &self.promotions {
            match place {
                Some(place) => write!(f, " {node} for {place}")?,
                None => write!(f, " {node} to vote")?,
            }
        }
        Ok(())
    }
}
